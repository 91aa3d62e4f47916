//! The restic repository format, version 2: keys, blobs, packs, index, trees, snapshots, locks, and checking them.
//! It knows nothing of databases, and reaches the storage through [`basekeep_store::Store`] alone.
//!
//! Order of writes: *must* packs, then the index that names them, then the snapshot. Deletes go the other way round.

mod error;
mod id;
mod password;
mod skeleton;

pub use error::{LockHolder, RepositoryError, Result};
pub use id::{BlobId, PackId, SnapshotId, TreeId};
pub use password::Password;
pub use skeleton::*;
