//! The rows of one table of a snapshot, without a server: verified blobs as pieces of whole lines of COPY text, and a line
//! as fields. What was read is compared with the manifest's digest.
//!
//! Memory: what is read ahead, and one row, which the database allows to be 1 GB.

pub(crate) mod fields;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use basekeep_archive::TABLE_DATA_END;
use basekeep_postgres::{Digest, RowDigester};
use basekeep_repository::{BlobId, BlobStream, Repository};
use bytes::{Bytes, BytesMut};

use crate::mask::TableMask;
use crate::restore::{Contents, CopyStatement};
use crate::stored::manifest::Table;
use crate::stored::ranges;
use crate::{EngineError, ResultExt};

/// Decoded blobs that are kept ready, in bytes.
const PREFETCH: usize = 16 << 20;

/// Rows of a table, piece by piece.
#[derive(Debug)]
pub(crate) struct SnapshotRows {
    blobs: BlobStream,
    cutter: Cutter,
    digester: RowDigester,
    expected: Digest,
    /// A second piece of the last blob.
    next: Option<Bytes>,
    ended: bool,
    what: String,
    mask: Option<Arc<TableMask>>,
}

impl SnapshotRows {
    /// All rows of a table. The index must have been loaded.
    ///
    /// Errors: the snapshot has no data file of that table.
    pub(crate) fn open(
        repository: &Repository,
        contents: &Contents,
        table: &Table,
    ) -> Result<Self, EngineError> {
        let blobs = blobs(contents, table)?;
        Ok(Self::new(repository, table, blobs.to_vec(), total(table), true))
    }

    #[allow(dead_code, reason = "for what needs parts of a table")]
    /// The rows of some ranges of a table, of those that [`ranges`] gave, in this order.
    ///
    /// Errors: the snapshot has no data file of that table, or not these ranges.
    pub(crate) fn open_ranges(
        repository: &Repository,
        contents: &Contents,
        table: &Table,
        ranges: &[ranges::Range],
    ) -> Result<Self, EngineError> {
        let all = blobs(contents, table)?;
        let mut wanted = Vec::new();
        let mut expected = Digest::default();
        for range in ranges {
            let blobs = usize::try_from(range.first_blob)
                .ok()
                .zip(usize::try_from(range.first_blob.saturating_add(range.blobs)).ok())
                .and_then(|(first, end)| all.get(first..end))
                .ok_or_else(|| {
                    EngineError::failed(format!("the range index of {} is damaged", name(table)))
                })?;
            wanted.extend_from_slice(blobs);
            expected += Digest { rows: range.rows, bytes: range.bytes, sum: range.digest };
        }
        Ok(Self::new(repository, table, wanted, expected, false))
    }

    fn new(
        repository: &Repository,
        table: &Table,
        blobs: Vec<BlobId>,
        expected: Digest,
        whole: bool,
    ) -> Self {
        Self {
            blobs: repository.read_blobs(blobs, PREFETCH),
            cutter: Cutter::new(whole),
            digester: RowDigester::new(),
            expected,
            next: None,
            ended: false,
            what: format!("the rows of {}", name(table)),
            mask: None,
        }
    }

    /// The same with each row masked. What was read is compared with the manifest all the same.
    pub(crate) fn masked(self, mask: Option<Arc<TableMask>>) -> Self {
        Self { mask, ..self }
    }

    /// The next piece: one or more whole lines, each with its newline. `None` at the end.
    ///
    /// Errors: the repository does not give them, or (in place of the end) they are not the rows that were backed up:
    /// what was made of them must not be kept. After an error there is nothing more.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        let piece = self.unmasked().await?;
        let Some(mask) = &self.mask else { return Some(piece) };
        let masked = piece.and_then(|piece| {
            let mut out = Vec::new();
            mask.apply(&piece, &mut out).map(|()| out.into())
        });
        self.ended |= masked.is_err();
        Some(masked)
    }

    async fn unmasked(&mut self) -> Option<Result<Bytes, EngineError>> {
        if let Some(piece) = self.next.take() {
            self.digester.update(&piece);
            return Some(Ok(piece));
        }
        while !self.ended {
            let (first, second) = match self.blobs.next().await {
                Some(Ok(blob)) => self.cutter.push(blob),
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error).doing(|| format!("read {}", self.what)));
                }
                None => {
                    self.ended = true;
                    match self.cutter.finish() {
                        Ok(rest) => (rest, None),
                        Err(problem) => return Some(Err(self.different(problem))),
                    }
                }
            };
            if let Some(first) = first {
                self.next = second;
                self.digester.update(&first);
                // At the end the difference is told in place of the last rows.
                if !self.ended || self.digester.digest() == self.expected {
                    return Some(Ok(first));
                }
            }
        }
        let found = self.digester.digest();
        if found == self.expected {
            return None;
        }
        self.expected = found;
        Some(Err(self.different("their digest is another")))
    }

    fn different(&self, problem: &str) -> EngineError {
        EngineError::new(
            crate::ErrorKind::Difference,
            format!("{} are not what was backed up: {problem}", self.what),
        )
        .hint("`basekeep verify --read-data` names everything that is damaged and what it touches")
    }

    /// Rows, bytes and digest of what was read so far, before masks.
    pub(crate) fn digest(&self) -> Digest {
        self.digester.digest()
    }
}

#[allow(dead_code, reason = "for what needs parts of a table")]
/// The ranges of a table, if the range index fits the manifest: they follow each other and add up to the table.
pub(crate) fn ranges<'a>(contents: &'a Contents, table: &Table) -> Option<&'a [ranges::Range]> {
    let ranges = contents.ranges.as_ref().ok()?.get(&table.file)?;
    let blobs = blobs(contents, table).ok()?;
    crate::restore::ranges_fit(total(table), blobs.len(), ranges).then_some(ranges.as_slice())
}

/// The columns of a table's rows in their order, from the archive. `None` when the archive has no COPY statement for it.
pub(crate) fn columns(contents: &Contents, table: &Table) -> Option<Vec<String>> {
    let entry = contents.archive.entries.iter().find(|entry| entry.dump_id == table.dump_id)?;
    CopyStatement::parse(&entry.copy_stmt.as_ref()?.to_string()).map(|copy| copy.columns)
}

/// What the manifest says about all rows of a table.
pub(crate) fn total(table: &Table) -> Digest {
    Digest {
        rows: table.rows,
        bytes: table.bytes,
        // A digest that cannot be read matches nothing.
        sum: u128::from_str_radix(&table.digest, 16).unwrap_or_default(),
    }
}

/// The blobs of a table's data file, the end marker's included.
pub(crate) fn blobs<'a>(contents: &'a Contents, table: &Table) -> Result<&'a [BlobId], EngineError> {
    let file = table.file.rsplit('/').next().unwrap_or_default();
    contents.blobs(file).ok_or_else(|| {
        EngineError::failed(format!("the snapshot has no file with the rows of {}", name(table)))
    })
}

fn name(table: &Table) -> String {
    format!("{}.{}", table.schema, table.name)
}

/// Cuts blobs at line ends. What lies between two line ends of one blob is passed on as it is; only the lines that
/// go over from one blob to the next are copied.
#[derive(Debug)]
pub(crate) struct Cutter {
    /// The begun line, and the last bytes of a whole file, which are no rows.
    held: BytesMut,
    /// How many bytes at the end may be no rows.
    keep: usize,
}

impl Cutter {
    pub(crate) fn new(whole: bool) -> Self {
        Self { held: BytesMut::new(), keep: if whole { TABLE_DATA_END.len() } else { 0 } }
    }

    pub(crate) fn push(&mut self, blob: Bytes) -> (Option<Bytes>, Option<Bytes>) {
        let safe = &blob[..blob.len().saturating_sub(self.keep)];
        let Some(last) = memchr::memrchr(b'\n', safe) else {
            self.held.extend_from_slice(&blob);
            return (None, None);
        };
        let mut start = 0;
        let mut first = None;
        if !self.held.is_empty() {
            start = memchr::memchr(b'\n', safe).unwrap_or(last) + 1;
            self.held.extend_from_slice(&blob[..start]);
            first = Some(std::mem::take(&mut self.held).freeze());
        }
        let rest = (start <= last).then(|| blob.slice(start..=last));
        self.held = BytesMut::from(&blob[last + 1..]);
        if first.is_some() { (first, rest) } else { (rest, None) }
    }

    pub(crate) fn finish(&mut self) -> Result<Option<Bytes>, &'static str> {
        let mut held = std::mem::take(&mut self.held);
        if self.keep > 0 {
            if !held.ends_with(TABLE_DATA_END) {
                return Err("the data file does not end as it should");
            }
            held.truncate(held.len() - self.keep);
        }
        match held.last() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(held.freeze())),
            Some(_) => Err("the last row has no end"),
        }
    }
}

#[cfg(test)]
mod cutting {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]], whole: bool) -> Result<Vec<Bytes>, &'static str> {
        let mut cutter = Cutter::new(whole);
        let mut found = Vec::new();
        for piece in pieces {
            let (first, second) = cutter.push(Bytes::copy_from_slice(piece));
            found.extend(first.into_iter().chain(second));
        }
        found.extend(cutter.finish()?);
        Ok(found)
    }

    proptest! {
        #[test]
        fn pieces_are_whole_lines_wherever_the_file_is_cut(
            rows in proptest::collection::vec("[a-z\t]{0,40}", 0..30),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
            whole in any::<bool>(),
        ) {
            let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
            let mut file = text.clone().into_bytes();
            if whole {
                file.extend_from_slice(TABLE_DATA_END);
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|at| at.index(file.len() + 1)).collect();
            cuts.extend([0, file.len()]);
            cuts.sort_unstable();
            let blobs: Vec<&[u8]> = cuts.windows(2).map(|pair| &file[pair[0]..pair[1]]).collect();
            let pieces = cut(&blobs, whole).unwrap();
            prop_assert!(pieces.iter().all(|piece| piece.ends_with(b"\n")));
            prop_assert_eq!(pieces.concat(), text.as_bytes());
        }
    }

    #[test]
    fn a_file_without_its_end_or_with_half_a_row_is_refused() {
        assert!(cut(&[b"1\n2\n"], true).is_err());
        assert!(cut(&[b"1\n2"], false).is_err());
        assert!(cut(&[b"1\n2\\.\n\n\n"], true).is_err());
        assert_eq!(cut(&[], false).unwrap(), [] as [Bytes; 0]);
    }
}
