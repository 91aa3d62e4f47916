//! Buffers that are used again. Memory that went back to the system costs a page fault for each 4 KiB of it when it is
//! asked for anew, which is dear on virtual machines.

use std::sync::Mutex;

use crate::sync;

/// Empty buffers that keep their memory, up to a limit. The one that came last, which the processor's cache may still
/// hold, is taken first.
#[derive(Debug)]
pub(super) struct Spare {
    kept: Mutex<Kept>,
    /// Bytes that are kept at most.
    most: usize,
}

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Spare {
    /// Keeps at most so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { kept: Mutex::default(), most }
    }

    /// An empty buffer; without memory if there is none to spare.
    pub(super) fn take(&self) -> Vec<u8> {
        let mut kept = sync::lock(&self.kept);
        let buffer = kept.buffers.pop().unwrap_or_default();
        kept.bytes -= buffer.capacity();
        buffer
    }

    /// Takes a buffer back. Frees it if that would be too much.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        let mut kept = sync::lock(&self.kept);
        if buffer.capacity() > 0 && kept.bytes + buffer.capacity() <= self.most {
            buffer.clear();
            kept.bytes += buffer.capacity();
            kept.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_with_their_memory_and_no_more_is_kept_than_was_allowed() {
        let spare = Spare::new(250);
        assert_eq!(spare.take().capacity(), 0);
        for _ in 0..3 {
            let mut buffer = Vec::with_capacity(100);
            buffer.push(7);
            spare.give(buffer);
        }
        let taken: Vec<_> = (0..3).map(|_| spare.take()).collect();
        assert!(taken.iter().all(Vec::is_empty));
        assert_eq!(taken.iter().map(Vec::capacity).collect::<Vec<_>>(), [100, 100, 0]);
        spare.give(Vec::with_capacity(251));
        assert_eq!(spare.take().capacity(), 0);
    }
}
