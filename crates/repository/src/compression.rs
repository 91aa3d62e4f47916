//! zstd with contexts that are made once for each thread.

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

use crate::{RepositoryError, Result};

/// No blob and no file of JSON is larger than this; a frame that claims more is not unpacked.
pub(crate) const LARGEST: usize = 2 << 30;

/// At level 1, the table of places where a match may begin has 2 to this power of entries, not 2 to the 14th. Rows repeat
/// themselves nearby, and the far matches that a larger table finds by chance are short and cost more than they
/// save: rows of numbers, times, UUIDs and hashes become 1 to 2.5 % smaller in an eighth less time, prose 4 % larger.
const LEVEL_1_HASH_LOG: u32 = 12;

/// Compresses into a buffer that is kept.
pub(crate) struct Packer(Compressor<'static>);

impl Packer {
    pub(crate) fn new(level: i32) -> Result<Self> {
        let mut packer = Compressor::new(level).map(Self).map_err(set_up)?;
        if level == 1 {
            packer.0.set_parameter(CParameter::HashLog(LEVEL_1_HASH_LOG)).map_err(set_up)?;
        }
        Ok(packer)
    }

    /// Frames that it makes are marked as compressed again, so that nobody tries once more: by the flag in the frame's
    /// header (RFC 8878, section 3.1.1.1) that says that a checksum follows the content. Backups never set it.
    pub(crate) fn marking(level: i32) -> Result<Self> {
        let mut packer = Self::new(level)?;
        packer.0.set_parameter(CParameter::ChecksumFlag(true)).map_err(set_up)?;
        Ok(packer)
    }

    /// The compressed length, or `None` if it does not fit into `room`.
    pub(crate) fn pack_into(&mut self, plain: &[u8], room: &mut [u8]) -> Option<usize> {
        self.0.compress_to_buffer(plain, room).ok()
    }
}

fn set_up(error: std::io::Error) -> RepositoryError {
    RepositoryError::internal("set up compression", error)
}

/// How much of a frame tells whether it is marked.
pub(crate) const FRAME_HEAD: usize = 5;
const CHECKSUM_FLAG: u8 = 1 << 2;

/// Whether a frame that begins so is marked as compressed again.
pub(crate) fn is_marked(frame: &[u8]) -> bool {
    matches!(frame, [0x28, 0xb5, 0x2f, 0xfd, descriptor, ..] if descriptor & CHECKSUM_FLAG != 0)
}

/// Decompresses into a buffer that is kept.
pub(crate) struct Unpacker(Decompressor<'static>);

impl Unpacker {
    pub(crate) fn new() -> Result<Self> {
        Decompressor::new().map(Self).map_err(|e| RepositoryError::internal("set up decompression", e))
    }

    /// Replaces `plain` by what is in `packed`, which must be exactly `length` bytes.
    pub(crate) fn unpack_into(
        &mut self,
        packed: &[u8],
        length: usize,
        plain: &mut Vec<u8>,
    ) -> Result<(), String> {
        if length > LARGEST {
            return Err(format!("it claims to hold {length} bytes"));
        }
        plain.resize(length, 0);
        match self.0.decompress_to_buffer(packed, plain.as_mut_slice()) {
            Ok(found) if found == length => Ok(()),
            Ok(found) => Err(format!("it holds {found} bytes instead of {length}")),
            Err(error) => Err(format!("it does not decompress: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_marked_by_those_who_compress_again_and_by_no_backup() {
        let plain = b"1\tone\n2\ttwo\n".repeat(100);
        let mut room = vec![0; plain.len()];
        for (mut packer, marked) in [
            (Packer::new(1).unwrap(), false),
            (Packer::new(19).unwrap(), false),
            (Packer::marking(19).unwrap(), true),
        ] {
            let length = packer.pack_into(&plain, &mut room).unwrap();
            assert_eq!(is_marked(&room[..FRAME_HEAD]), marked);
            let mut unpacked = Vec::new();
            Unpacker::new().unwrap().unpack_into(&room[..length], plain.len(), &mut unpacked).unwrap();
            assert_eq!(unpacked, plain);
        }
        assert!(!is_marked(b"1\tone\n"));
    }
}
