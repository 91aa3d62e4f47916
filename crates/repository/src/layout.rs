//! Keys of the repository's files in the store.

use crate::{KeyId, PackId, SnapshotId};

pub(crate) const CONFIG: &str = "config";
pub(crate) const DATA: &str = "data/";
pub(crate) const INDEX: &str = "index/";
/// Not restic's: which server does what ([`crate::Leases`]).
pub(crate) const LEASES: &str = "leases/";
pub(crate) const KEYS: &str = "keys/";
pub(crate) const LOCKS: &str = "locks/";
pub(crate) const SNAPSHOTS: &str = "snapshots/";

/// `data/3f/3fa9…`.
pub(crate) fn pack(id: PackId) -> String {
    let id = id.to_string();
    format!("{DATA}{}/{id}", &id[..2])
}

pub(crate) fn snapshot(id: SnapshotId) -> String {
    format!("{SNAPSHOTS}{id}")
}

pub(crate) fn key(id: KeyId) -> String {
    format!("{KEYS}{id}")
}

/// The last component, if it is an id; other names are not the repository's (unfinished writes, a stray file).
pub(crate) fn id_of(key: &str) -> Option<[u8; 32]> {
    let name = key.rsplit('/').next()?;
    name.parse::<PackId>().ok().map(|id| *id.as_bytes())
}
