//! What the last snapshot of the source knows of the rows: its range index, and the blobs of its data files.

use std::collections::HashMap;

use basekeep_postgres::Digest;
use basekeep_postgres::catalog::Table;
use basekeep_postgres::changes::{Moment, TableBefore};
use basekeep_repository::{BlobId, Repository, RepositoryError, Snapshot, SnapshotId};

use crate::files::Folders;
use crate::listing;
use crate::stored::{path, ranges};
use crate::{EngineError, ResultExt};

/// A range index larger than this is not read; everything is read anew then.
const LARGEST_RANGES: usize = 1 << 30;
/// Chunk sizes that a parent may ask for.
const CHUNK_AVERAGES: std::ops::RangeInclusive<u32> = 64 << 10..=8 << 20;

/// The newest snapshot of the same source.
pub(super) struct Parent {
    snapshot: Snapshot,
    /// `None` where there is no range index, or none that this program understands.
    pub(super) header: Option<ranges::Header>,
    tables: Vec<ranges::Table>,
    by_oid: HashMap<u32, usize>,
    by_name: HashMap<(String, String), usize>,
}

/// A range that can be taken over, if it is found unchanged.
#[derive(Debug, Clone)]
pub(super) struct KnownRange {
    pub(super) first_block: u64,
    pub(super) end_block: Option<u64>,
    pub(super) digest: Digest,
    /// Its blobs, each with its plain length.
    pub(super) blobs: Vec<(BlobId, u32)>,
}

impl Parent {
    /// A range index that cannot be read costs nothing but its knowledge.
    pub(super) async fn find(repository: &Repository, source: &str) -> Result<Option<Self>, EngineError> {
        let (snapshots, _) = repository.snapshots().await.doing(|| "list the snapshots")?;
        let of_source = |s: &&Snapshot| s.hostname == source && !listing::is_proof(s);
        let Some(snapshot) = snapshots.iter().rev().find(of_source) else { return Ok(None) };
        let text = listing::read_file(repository, snapshot, path::RANGES, LARGEST_RANGES).await;
        let text = text.ok().flatten().unwrap_or_default();
        let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let header = lines.next().and_then(|line| serde_json::from_slice::<ranges::Header>(line).ok());
        let tables: Vec<ranges::Table> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let by_oid = tables.iter().enumerate().map(|(number, table)| (table.oid, number)).collect();
        let named =
            |(number, table): (usize, &ranges::Table)| ((table.schema.clone(), table.name.clone()), number);
        let by_name = tables.iter().enumerate().map(named).collect();
        Ok(Some(Self { snapshot: snapshot.clone(), header, tables, by_oid, by_name }))
    }

    pub(super) fn id(&self) -> SnapshotId {
        self.snapshot.id
    }

    /// The average chunk size that it chose for a table of this name.
    pub(super) fn chunk_average(&self, table: &Table) -> Option<usize> {
        let number = self.by_name.get(&(table.schema.clone(), table.name.clone()))?;
        let average = self.tables.get(*number)?.chunk_average;
        CHUNK_AVERAGES.contains(&average).then_some(average as usize)
    }

    /// A table by its oid: names may change, the oid is its identity.
    pub(super) fn table(&self, oid: u32) -> Option<&ranges::Table> {
        self.tables.get(*self.by_oid.get(&oid)?)
    }

    pub(super) fn folders(&self, repository: &Repository) -> Folders {
        Folders::new(repository, &self.snapshot)
    }
}

/// A table's ranges with their blobs; the error is the reason why they cannot be used.
pub(super) async fn known_ranges(
    repository: &Repository,
    folders: &mut Folders,
    table: &ranges::Table,
) -> Result<Vec<KnownRange>, String> {
    let unreadable =
        |error: RepositoryError| format!("the last snapshot's list of its blobs cannot be read: {error}");
    let file = folders.file(&table.file).await.map_err(unreadable)?;
    let content = file.ok_or("the last snapshot does not have its rows")?.content;
    let known = |range: &ranges::Range| {
        let first = usize::try_from(range.first_blob).ok()?;
        let end = first.checked_add(usize::try_from(range.blobs).ok()?)?;
        let with_length = |blob: &BlobId| Some((*blob, repository.blob_length(*blob)?));
        let blobs = content.get(first..end)?.iter().map(with_length).collect::<Option<Vec<_>>>()?;
        let length: u64 = blobs.iter().map(|(_, length)| u64::from(*length)).sum();
        let digest = Digest { rows: range.rows, bytes: range.bytes, sum: range.digest };
        let whole = length == range.bytes;
        whole.then_some(KnownRange {
            first_block: range.first_block,
            end_block: range.end_block,
            digest,
            blobs,
        })
    };
    let ranges: Option<Vec<KnownRange>> = table.ranges.iter().map(known).collect();
    let ranges = ranges.ok_or("some of its blobs are missing in the repository")?;
    if !in_order(&ranges) {
        return Err("the last snapshot's list of its ranges is not in order".into());
    }
    Ok(ranges)
}

/// From block 0 on without gaps; only the last one may be open.
fn in_order(ranges: &[KnownRange]) -> bool {
    let mut next = Some(0);
    ranges.iter().all(|range| {
        let fits =
            next == Some(range.first_block) && range.end_block.is_none_or(|end| end > range.first_block);
        next = range.end_block;
        fits
    })
}

/// The facts of a header as change detection takes them.
pub(super) fn moment(header: &ranges::Header) -> Moment {
    Moment {
        system_identifier: header.system_identifier.clone(),
        timeline: header.timeline,
        database_oid: header.database_oid,
        xmin: header.xmin,
        xmax: header.next_xid,
        wal_position: header.lsn.as_deref().and_then(position),
        postmaster_start: header.postmaster_start.clone(),
        crash_marker: header.crash_marker.clone(),
        in_recovery: header.in_recovery,
        token: header.token.clone(),
    }
}

/// `16/B374D848` in bytes.
fn position(lsn: &str) -> Option<u64> {
    let (high, low) = lsn.split_once('/')?;
    Some(u64::from(u32::from_str_radix(high, 16).ok()?) << 32 | u64::from(u32::from_str_radix(low, 16).ok()?))
}

/// A stored table as change detection takes it.
pub(super) fn before(table: &ranges::Table) -> TableBefore<'_> {
    TableBefore {
        oid: table.oid,
        relfilenode: table.relfilenode,
        access_method: table.access_method.as_deref(),
        fingerprint: &table.fingerprint,
        ineligible: table.ineligible.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first_block: u64, end_block: Option<u64>) -> KnownRange {
        KnownRange { first_block, end_block, digest: Digest::default(), blobs: Vec::new() }
    }

    #[test]
    fn ranges_must_cover_the_table_once() {
        assert!(in_order(&[]) && in_order(&[range(0, None)]));
        assert!(in_order(&[range(0, Some(4)), range(4, Some(9))]));
        assert!(in_order(&[range(0, Some(4)), range(4, None)]));
        assert!(!in_order(&[range(1, None)]) && !in_order(&[range(0, Some(4)), range(5, None)]));
        assert!(!in_order(&[range(0, None), range(4, None)]) && !in_order(&[range(0, Some(0))]));
    }

    #[test]
    fn positions_are_read_as_they_are_written() {
        assert_eq!(position("16/B374D848"), Some(0x16_B374_D848));
        assert_eq!((position("16"), position("x/1"), position("")), (None, None, None));
    }
}
