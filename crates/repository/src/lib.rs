//! The restic repository format, version 2: keys, blobs, packs, index, trees, snapshots, locks, and checking them.
//! It knows nothing of databases, and reaches the storage through [`basekeep_store::Store`] alone.
//!
//! Order of writes: *must* packs, then the index that names them, then the snapshot. Deletes go the other way round.

#[cfg(test)]
mod bench;
mod bits;
mod cache;
mod cat;
mod check;
mod chunker;
mod compression;
mod config;
mod copy;
mod crypto;
mod error;
mod forget;
mod go_text;
mod host;
mod id;
mod index;
mod index_file;
mod index_write;
mod key_file;
mod keys;
mod layout;
mod lease;
mod load;
mod lock;
mod pack;
mod pack_header;
mod password;
mod polynomial;
mod prune;
mod read;
mod repair;
mod repair_index;
mod repository;
mod snapshot;
mod snapshots;
mod sync;
#[cfg(feature = "synthetic")]
mod synthetic;
mod tree;
mod tree_builder;
mod unpacked;
mod walk;
mod writer;

pub use cache::CacheScope;
pub use cat::FileKind;
pub use check::{CheckOptions, CheckProgress, CheckReport, Damage, Subset, Touched};
pub use copy::{CopyProgress, CopyReport, NotCopied};
pub use error::{LockHolder, RepositoryError, Result};
pub use forget::StoredPacks;
pub use id::{BlobId, KeyId, PackId, SnapshotId, TreeId};
pub use keys::{KeyInfo, Keys, NewKey};
pub use lease::{Lease, LeaseAttempt, LeaseOptions, Leases};
pub use lock::{Lock, LockInfo, LockMode, LockOptions, LockSelection, Released, RemovedLocks, StaleReason};
pub use password::Password;
pub use prune::{
    Amount, MaxUnused, PruneOptions, PruneOutcome, PrunePlan, PruneProgress, PruneStage, PruneSummary,
};
pub use read::BlobStream;
pub use repair::RepairedPack;
pub use repair_index::{IndexRepairOutcome, IndexRepairPlan};
pub use repository::{InitOptions, Repository};
pub use snapshot::{NewSnapshot, Snapshot, Summary};
#[cfg(feature = "synthetic")]
pub use synthetic::PlantedBlob;
pub use tree::{Node, NodeKind, Tree};
pub use tree_builder::TreeBuilder;
pub use writer::{Changes, Ended, FileContent, FileWriter, Writer, WriterOptions, WriterStats};
