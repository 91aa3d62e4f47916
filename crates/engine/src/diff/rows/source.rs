//! One side's rows, in pieces of whole lines: the chosen blobs of a snapshot.

use std::collections::VecDeque;

use basekeep_repository::{BlobStream, Repository};
use bytes::Bytes;

use super::choose::{Chosen, Part};
use crate::snapshot_rows::Cutter;
use crate::{EngineError, ResultExt};

/// Decoded blobs that are kept ready, in bytes.
const PREFETCH: usize = 16 << 20;

/// Why a side cannot be read.
#[derive(Debug)]
pub(super) enum Stopped {
    /// A row is longer than a blob, so that the edges of a shared run are not in its first and last blob: read everything.
    LongRow,
    Failed(EngineError),
}

impl From<EngineError> for Stopped {
    fn from(error: EngineError) -> Self {
        Self::Failed(error)
    }
}

/// The rows of chosen blobs.
pub(super) struct Stored {
    blobs: BlobStream,
    parts: std::vec::IntoIter<Part>,
    cutter: Cutter,
    ready: VecDeque<Bytes>,
    ended: bool,
    /// Bytes that were given.
    pub(super) read: u64,
}

impl Stored {
    /// With `whole` the blobs are all of a data file, its end marker included.
    pub(super) fn new(repository: &Repository, chosen: Chosen, whole: bool) -> Self {
        let (blobs, parts): (Vec<_>, Vec<_>) = chosen.into_iter().unzip();
        Self {
            blobs: repository.read_blobs(blobs, PREFETCH),
            parts: parts.into_iter(),
            cutter: Cutter::new(whole),
            ready: VecDeque::new(),
            ended: false,
            read: 0,
        }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Stopped> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                self.read += piece.len() as u64;
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            match self.blobs.next().await {
                Some(blob) => {
                    let blob = blob.doing(|| "read rows")?;
                    let part = match self.parts.next().unwrap_or(Part::All) {
                        Part::All => blob,
                        Part::Head => {
                            let end = memchr::memchr(b'\n', &blob).ok_or(Stopped::LongRow)?;
                            blob.slice(..=end)
                        }
                        Part::Tail => {
                            let end = memchr::memrchr(b'\n', &blob).ok_or(Stopped::LongRow)?;
                            blob.slice(end + 1..)
                        }
                    };
                    let (first, second) = self.cutter.push(part);
                    self.ready.extend(first.into_iter().chain(second));
                }
                None => {
                    self.ended = true;
                    let rest = self.cutter.finish().map_err(|problem| {
                        EngineError::new(
                            crate::ErrorKind::Difference,
                            format!("the rows are not what was backed up: {problem}"),
                        )
                    })?;
                    self.ready.extend(rest);
                }
            }
        }
    }
}
