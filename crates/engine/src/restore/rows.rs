//! Loading one unit of a table: blobs from the repository into one COPY, counted and digested on the way. Rows whose
//! digest is not the one that was taken during the backup are never committed.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use basekeep_archive::TABLE_DATA_END;
use basekeep_postgres::{
    BinaryColumn, BinaryRows, Client, Digest, Error, NotBinary, RowDigester, quote_literal,
};
use basekeep_repository::{BlobId, Repository, RepositoryError};

use crate::mask::{MaskedRows, TableMask};
use crate::stored::ranges;

/// Decoded blobs that one connection keeps ready.
const PREFETCH: usize = 16 << 20;

/// What is loaded with one COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// Which blobs of the table's data file.
    pub(super) blobs: Range<usize>,
    /// What they must hold.
    pub(super) expected: Digest,
    /// Whether these are all blobs of the file, which ends with a marker that is no row.
    pub(super) whole: bool,
    /// What the rows are changed by; they go as text then.
    pub(super) mask: Option<Arc<TableMask>>,
}

/// What has been loaded so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) bytes: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) items: AtomicU64,
}

/// Why a unit was not loaded. The server has none of its rows, except after `Unknown`.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The server refused the rows, or the connection broke before the end was sent.
    #[error("{0}")]
    Server(Error),
    /// The connection broke after the end was sent: the rows may be there or not.
    #[error("the connection was lost before the server confirmed the rows: {0}")]
    Unknown(Error),
    /// The repository does not give the rows.
    #[error("{0}")]
    Repository(#[from] RepositoryError),
    /// The rows cannot be sent in the binary format.
    #[error("{0}")]
    NotBinary(#[from] NotBinary),
    /// The rows are not those of the backup.
    #[error("{0}")]
    Different(String),
}

/// A table is loaded in about this many units, so that connections can share it to the end...
const UNITS: u64 = 12;
/// ... but a unit has some work to do, since each one is a COPY and begins with an empty read-ahead.
const SMALLEST_UNIT: u64 = 16 << 20;
const LARGEST_UNIT: u64 = 128 << 20;

/// From this size on it pays to ask for the types of a table's columns.
const WORTH_ASKING: u64 = 1 << 20;
/// From this size on it pays to empty a new table in the transaction that loads it: that costs files and a flush of the log.
pub(super) const WORTH_FREEZING: u64 = 8 << 20;

/// The units of a table's file: runs of ranges, or the whole file where the range index does not fit the manifest.
pub(super) fn units(
    total: Digest,
    blobs: usize,
    index: Option<&[ranges::Range]>,
    mask: Option<Arc<TableMask>>,
) -> Vec<Unit> {
    let whole = || vec![Unit { blobs: 0..blobs, expected: total, whole: true, mask: mask.clone() }];
    let Some(ranges) = index.filter(|ranges| fits(total, blobs, ranges)) else { return whole() };
    let size = (total.bytes / UNITS).clamp(SMALLEST_UNIT, LARGEST_UNIT);
    let mut units: Vec<Unit> = Vec::new();
    for range in ranges.iter().filter(|range| range.blobs > 0) {
        let Some(blobs) = blob_range(range) else { return whole() };
        let digest = Digest { rows: range.rows, bytes: range.bytes, sum: range.digest };
        match units.last_mut().filter(|unit| unit.expected.bytes + range.bytes <= size) {
            Some(unit) => {
                unit.blobs.end = blobs.end;
                unit.expected += digest;
            }
            None => units.push(Unit { blobs, expected: digest, whole: false, mask: mask.clone() }),
        }
    }
    units
}

fn blob_range(range: &ranges::Range) -> Option<Range<usize>> {
    let first = usize::try_from(range.first_blob).ok()?;
    Some(first..first.checked_add(usize::try_from(range.blobs).ok()?)?)
}

/// Whether the ranges follow each other from the first blob on, leave only the end marker, and add up to the table.
pub(crate) fn fits(total: Digest, blobs: usize, ranges: &[ranges::Range]) -> bool {
    let mut next = 0;
    let mut sum = Digest::default();
    for range in ranges {
        match blob_range(range) {
            Some(r) if r.start == next && r.end <= blobs => next = r.end,
            _ => return false,
        }
        let (Some(rows), Some(bytes)) =
            (sum.rows.checked_add(range.rows), sum.bytes.checked_add(range.bytes))
        else {
            return false;
        };
        sum = Digest { rows, bytes, sum: sum.sum.wrapping_add(range.digest) };
    }
    sum == total && next < blobs
}

/// How a unit is loaded.
pub(super) struct Way<'a> {
    /// `COPY … FROM stdin`, without options.
    pub(super) copy_sql: &'a str,
    /// In the binary format, for columns of these types.
    pub(super) binary: Option<&'a [BinaryColumn]>,
    /// With `FREEZE`: the transaction made or emptied the table.
    pub(super) freeze: bool,
    /// Whether each blob's hash is verified; the digest of all rows always is.
    pub(super) hashed: bool,
    /// Which rows of those that are sent the server takes.
    pub(super) condition: Option<&'a str>,
}

impl<'a> Way<'a> {
    /// As text, everything verified.
    pub(super) fn plain(copy_sql: &'a str) -> Self {
        Self { copy_sql, binary: None, freeze: false, hashed: true, condition: None }
    }

    fn sql(&self) -> String {
        let options = match (self.binary.is_some(), self.freeze) {
            (true, true) => " WITH (FORMAT binary, FREEZE)",
            (true, false) => " WITH (FORMAT binary)",
            (false, true) => " WITH (FREEZE)",
            (false, false) => "",
        };
        // The line's end is for a condition that ends with a comment.
        let condition = self.condition.map(|sql| format!(" WHERE ({sql}\n)")).unwrap_or_default();
        format!("{}{options}{condition}", self.copy_sql)
    }
}

impl LoadError {
    /// Whether the rows may go in another way than with the binary format and `FREEZE`, each blob verified.
    pub(super) fn may_go_plain(&self) -> bool {
        match self {
            Self::Server(error) => !super::session::is_lost(error),
            Self::NotBinary(_) | Self::Different(_) => true,
            Self::Unknown(_) | Self::Repository(_) => false,
        }
    }
}

/// The types of a table's columns, if its rows can be sent in the binary format and it is worth asking.
///
/// Errors: only of the connection.
pub(super) async fn binary_columns(
    client: &mut Client,
    relation: &str,
    columns: &[String],
    bytes: u64,
) -> Result<Option<Vec<BinaryColumn>>, Error> {
    if bytes < WORTH_ASKING || columns.is_empty() || client.parameter("client_encoding") != Some("UTF8") {
        return Ok(None);
    }
    let sql = format!(
        "SELECT a.attname, a.atttypid, t.typtype FROM pg_catalog.pg_attribute AS a
           JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
          WHERE a.attrelid = {}::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped",
        quote_literal(relation)
    );
    let rows = match client.query(&sql).await {
        Ok(rows) => rows,
        Err(error) if super::session::is_lost(&error) => return Err(error),
        // What is wrong with the table is told when its rows come.
        Err(_) => return Ok(None),
    };
    let types: HashMap<&str, BinaryColumn> = rows
        .iter()
        .filter_map(|row| {
            let form = BinaryColumn::of_type(row.get(1)?.parse().ok()?, row.get(2) == Some("e"))?;
            Some((row.get(0)?, form))
        })
        .collect();
    Ok(columns.iter().map(|name| types.get(name.as_str()).copied()).collect())
}

/// Loads one unit; gives the number of rows that the server took.
pub(super) async fn load(
    repository: &Repository,
    client: &mut Client,
    way: &Way<'_>,
    blobs: &[BlobId],
    unit: &Unit,
    counters: &Counters,
) -> Result<u64, LoadError> {
    let mut told = 0;
    let result = stream(repository, client, way, blobs, unit, &mut |bytes| {
        counters.bytes.fetch_add(bytes, Relaxed);
        told += bytes;
    })
    .await;
    match &result {
        Ok(rows) => {
            counters.rows.fetch_add(*rows, Relaxed);
        }
        Err(_) => {
            counters.bytes.fetch_sub(told, Relaxed);
        }
    }
    result
}

async fn stream(
    repository: &Repository,
    client: &mut Client,
    way: &Way<'_>,
    blobs: &[BlobId],
    unit: &Unit,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<u64, LoadError> {
    let blobs = blobs[unit.blobs.clone()].to_vec();
    let mut source = match way.hashed {
        true => repository.read_blobs(blobs, PREFETCH),
        false => repository.read_blobs_unhashed(blobs, PREFETCH),
    };
    let way = &Way { binary: way.binary.filter(|_| unit.mask.is_none()), ..*way };
    let mut copy = client.copy_in(&way.sql()).await.map_err(LoadError::Server)?;
    let mut digester = RowDigester::new();
    let mut masked = unit.mask.as_deref().map(MaskedRows::new);
    let mut binary = way.binary.map(|columns| BinaryRows::new(columns.to_vec()));
    let mut tail = EndMarker::new(unit.whole);
    let problem = 'blobs: loop {
        match source.next().await {
            None => break None,
            Some(Err(error)) => break Some(LoadError::from(error)),
            Some(Ok(blob)) => {
                for part in tail.pass(&blob) {
                    digester.update(part);
                    let sent = match (&mut binary, &mut masked) {
                        (Some(rows), _) => rows.push(part).map_err(LoadError::from),
                        (None, Some(rows)) => {
                            rows.push(part).map_err(|error| LoadError::Different(error.to_string()))
                        }
                        (None, None) => Ok(part),
                    };
                    let sent = match sent {
                        Ok(sent) => sent,
                        Err(error) => break 'blobs Some(error),
                    };
                    copy.write(sent).await.map_err(LoadError::Server)?;
                    progress(part.len() as u64);
                }
            }
        }
    };
    let mut problem = problem.or_else(|| difference(digester.digest(), &tail, unit));
    if let (None, Some(rows)) = (&problem, &mut binary) {
        match rows.finish() {
            Ok(end) => copy.write(end).await.map_err(LoadError::Server)?,
            Err(error) => problem = Some(error.into()),
        }
    }
    if let Some(problem) = problem {
        copy.abort("the data is not what was backed up").await.map_err(LoadError::Server)?;
        return Err(problem);
    }
    let loaded = copy.finish().await.map_err(|error| {
        if super::session::is_lost(&error) { LoadError::Unknown(error) } else { LoadError::Server(error) }
    })?;
    if loaded == unit.expected.rows || way.condition.is_some() && loaded < unit.expected.rows {
        Ok(loaded)
    } else {
        Err(LoadError::Different(format!("the server took {loaded} of {} rows", unit.expected.rows)))
    }
}

fn difference(found: Digest, tail: &EndMarker, unit: &Unit) -> Option<LoadError> {
    if !tail.is_right() {
        return Some(LoadError::Different("the data file does not end as it should".into()));
    }
    (found != unit.expected).then(|| {
        LoadError::Different(format!(
            "the data differs from what was backed up ({} rows with digest {:032x}, not {} with {:032x})",
            found.rows, found.sum, unit.expected.rows, unit.expected.sum
        ))
    })
}

/// Keeps the last bytes of a whole file back, since they are no rows.
struct EndMarker {
    held: Vec<u8>,
    passed: Vec<u8>,
    wanted: bool,
}

impl EndMarker {
    fn new(wanted: bool) -> Self {
        Self { held: Vec::new(), passed: Vec::new(), wanted }
    }

    /// What can be sent now that `data` has come.
    fn pass<'a>(&'a mut self, data: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let keep = if self.wanted { TABLE_DATA_END.len() } else { 0 };
        let (first, second): (&[u8], &[u8]) = if data.len() >= keep {
            self.passed = std::mem::take(&mut self.held);
            let (send, hold) = data.split_at(data.len() - keep);
            self.held.extend_from_slice(hold);
            (&self.passed, send)
        } else {
            self.held.extend_from_slice(data);
            let hold = self.held.split_off(self.held.len().saturating_sub(keep));
            self.passed = std::mem::replace(&mut self.held, hold);
            (&self.passed, &[])
        };
        [first, second].into_iter().filter(|part| !part.is_empty())
    }

    fn is_right(&self) -> bool {
        !self.wanted || self.held == TABLE_DATA_END
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first_blob: u64, blobs: u64, bytes: u64) -> ranges::Range {
        ranges::Range { first_block: 0, end_block: None, rows: 1, bytes, digest: 5, first_blob, blobs }
    }

    #[test]
    fn the_end_marker_is_held_back_wherever_the_file_is_cut() {
        let file = b"1\ta\n2\tb\n\\.\n\n\n";
        for cut in 0..=file.len() {
            for second in cut..=file.len() {
                let mut tail = EndMarker::new(true);
                let mut sent = Vec::new();
                for piece in [&file[..cut], &file[cut..second], &file[second..]] {
                    tail.pass(piece).for_each(|part| sent.extend_from_slice(part));
                }
                assert_eq!(sent, b"1\ta\n2\tb\n");
                assert!(tail.is_right());
            }
        }
        let mut wrong = EndMarker::new(true);
        assert_eq!(wrong.pass(b"1\ta\n").count(), 0);
        assert!(!wrong.is_right());
    }

    #[test]
    fn ranges_are_joined_to_units_and_must_add_up() {
        let total = Digest { rows: 4, bytes: 40 << 20, sum: 20 };
        let good = [range(0, 2, 8 << 20), range(2, 0, 0), range(2, 3, 8 << 20), range(5, 1, 24 << 20)];
        let units = units(total, 7, Some(&good), None);
        assert_eq!(units.iter().map(|u| u.blobs.clone()).collect::<Vec<_>>(), [0..5, 5..6]);
        assert!(units.iter().all(|u| !u.whole));
    }

    #[test]
    fn a_wrong_range_index_means_the_whole_file() {
        let total = Digest { rows: 2, bytes: 20, sum: 10 };
        let cases: [&[ranges::Range]; 4] = [
            &[range(0, 2, 10), range(3, 1, 10)],
            &[range(0, 2, 10)],
            &[range(0, 2, 10), range(2, 99, 10)],
            &[range(0, 2, 10), range(2, u64::MAX, 10)],
        ];
        for bad in cases {
            assert_eq!(
                units(total, 5, Some(bad), None),
                [Unit { blobs: 0..5, expected: total, whole: true, mask: None }]
            );
        }
        assert!(units(total, 5, None, None)[0].whole);
    }
}
