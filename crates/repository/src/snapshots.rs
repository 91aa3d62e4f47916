//! Which snapshots there are, read fast: many small files at once; and those that were read before from one record in the
//! cache.

use std::collections::HashMap;

use basekeep_store::{ErrorKind, Object};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::sha256;
use crate::repository::blocking;
use crate::{Repository, RepositoryError, Result, Snapshot, SnapshotId, layout, snapshot, unpacked};

/// Files that are fetched at the same time, and decoded together.
const FETCHES: usize = 16;
const TOGETHER: usize = 64;

const RECORD: &str = "snapshots";
const VERSION: u32 = 1;

/// The record: what the snapshot files say, by id. A file never changes.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    snapshots: HashMap<SnapshotId, Known>,
}

/// A snapshot file that was read.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    /// Of the file in the storage, so that one that was cut off since is noticed.
    size: u64,
    json: Box<RawValue>,
}

/// A snapshot, and what its file says.
type Read = (Snapshot, Known);

/// What became of one file.
type Decoded = (String, Result<Read, String>);

impl Repository {
    /// Snapshots by time, oldest first; and the files that cannot be read, each with the reason.
    ///
    /// The storage is always asked which files there are. Those that were read before may come from the cache.
    pub async fn snapshots(&self) -> Result<(Vec<Snapshot>, Vec<(String, String)>)> {
        let files = self.list_ids(layout::SNAPSHOTS).await?;
        let (mut read, rest, stale) = self.known_snapshots(files).await?;
        let (mut unreadable, known) = (Vec::new(), read.len());
        let mut fetches = futures::stream::iter(rest)
            .map(|file| fetch(self.clone(), file))
            .buffer_unordered(FETCHES)
            .chunks(TOGETHER)
            .map(|batch| decode_batch(self.clone(), batch))
            .buffer_unordered(2);
        while let Some(batch) = fetches.next().await {
            for (key, decoded) in batch? {
                match decoded {
                    Ok(one) => read.push(one),
                    Err(reason) => unreadable.push((key, reason)),
                }
            }
        }
        drop(fetches);
        let changed = stale || read.len() > known;
        let (mut snapshots, files): (Vec<Snapshot>, Vec<Known>) = read.into_iter().unzip();
        if self.cache.is_some() && changed {
            let ids = snapshots.iter().map(|snapshot| snapshot.id);
            self.keep_snapshots(ids.zip(files).collect()).await;
        }
        snapshots.sort_by_key(|snapshot| (snapshot.time, snapshot.id));
        unreadable.sort();
        Ok((snapshots, unreadable))
    }

    /// The one snapshot whose id begins so.
    ///
    /// Errors: [`RepositoryError::NoSuchSnapshot`], [`RepositoryError::AmbiguousSnapshot`].
    pub async fn find_snapshot(&self, prefix: &str) -> Result<Snapshot> {
        let files = self.list_ids(layout::SNAPSHOTS).await?;
        let mut fits: Vec<SnapshotId> = files
            .iter()
            .filter_map(|file| layout::id_of(&file.key))
            .map(SnapshotId::from_bytes)
            .filter(|id| id.to_string().starts_with(prefix))
            .collect();
        fits.sort_unstable();
        match fits.as_slice() {
            [] => Err(RepositoryError::NoSuchSnapshot { prefix: prefix.to_owned() }),
            [id] => {
                let id = *id;
                self.read_json(&layout::snapshot(id), move |json| snapshot::decode(id, json)).await
            }
            _ => Err(RepositoryError::AmbiguousSnapshot { prefix: prefix.to_owned(), matches: fits }),
        }
    }

    /// Those of the files that the record knows, the others, and whether the record names files that are gone.
    async fn known_snapshots(&self, files: Vec<Object>) -> Result<(Vec<Read>, Vec<Object>, bool)> {
        let Some(json) = self.cached_record(RECORD).await else { return Ok((Vec::new(), files, false)) };
        blocking(move || {
            let record = serde_json::from_slice::<Record>(&json).ok().filter(|r| r.version == VERSION);
            let mut record = record.map(|record| record.snapshots).unwrap_or_default();
            let (mut read, mut rest) = (Vec::with_capacity(files.len()), Vec::new());
            for file in files {
                let known = layout::id_of(&file.key).map(SnapshotId::from_bytes).and_then(|id| {
                    let known = record.remove(&id).filter(|known| known.size == file.size)?;
                    Some((snapshot::decode(id, known.json.get().as_bytes()).ok()?, known))
                });
                match known {
                    Some(one) => read.push(one),
                    None => rest.push(file),
                }
            }
            (read, rest, !record.is_empty())
        })
        .await
    }

    async fn keep_snapshots(&self, snapshots: HashMap<SnapshotId, Known>) {
        let json = blocking(move || serde_json::to_vec(&Record { version: VERSION, snapshots })).await;
        match json {
            Ok(Ok(json)) => self.keep_record(RECORD, json).await,
            Ok(Err(error)) => tracing::debug!(%error, "the record of snapshots was not kept"),
            Err(error) => tracing::debug!(%error, "the record of snapshots was not kept"),
        }
    }
}

/// A file's content; `None` for one that is gone meanwhile.
async fn fetch(repository: Repository, file: Object) -> Result<Option<(String, Bytes)>> {
    match repository.shared.store.get(&file.key).await {
        Ok(data) => Ok(Some((file.key, data))),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn decode_batch(
    repository: Repository,
    batch: Vec<Result<Option<(String, Bytes)>>>,
) -> Result<Vec<Decoded>> {
    let fetched = batch.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>>>()?;
    let decode = move |(key, data): (String, Bytes)| {
        let decoded = decode(&repository, &key, &data);
        (key, decoded)
    };
    blocking(move || fetched.into_iter().map(decode).collect()).await
}

fn decode(repository: &Repository, key: &str, data: &[u8]) -> Result<Read, String> {
    let name = layout::id_of(key).ok_or("its name is not an id")?;
    if name != sha256(data) {
        return Err("its content does not match its name".to_owned());
    }
    let encoded = repository.shared.key.open(data).map_err(|e| e.to_string())?;
    let json = unpacked::decode(encoded)?;
    let snapshot = snapshot::decode(SnapshotId::from_bytes(name), &json)?;
    let json = String::from_utf8(json).map_err(|e| e.to_string())?;
    let json = RawValue::from_string(json).map_err(|e| e.to_string())?;
    Ok((snapshot, Known { size: data.len() as u64, json }))
}
