//! What can go wrong with a repository. Cheap to clone, since one cause can stop many streams.

use basekeep_store::{ErrorKind, StoreError};
use jiff::Timestamp;

use crate::{BlobId, KeyId, PackId, SnapshotId};

/// A failed operation on a repository.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// There is no `config` at that place.
    #[error("there is no repository at {location}")]
    NotFound {
        /// Where it was looked for.
        location: String,
    },
    /// `init` found one.
    #[error("there is a repository at {location} already")]
    AlreadyExists {
        /// Where.
        location: String,
    },
    /// None of the keys opens with this password.
    #[error("wrong password, or no key of the repository belongs to it")]
    WrongPassword,
    /// A format version that this program does not read, or does not write.
    #[error("repository format version {version} is not supported: {needed}")]
    UnsupportedVersion {
        /// The repository's version.
        version: u32,
        /// What would be.
        needed: &'static str,
    },
    /// Somebody holds a lock that excludes ours.
    #[error("the repository is locked{} by {} on {} (process {}) since {}",
        if holder.exclusive { " exclusively" } else { "" }, holder.username, holder.hostname, holder.pid, holder.since)]
    Locked {
        /// Who.
        holder: Box<LockHolder>,
    },
    /// Our lock could not be kept up; nothing may be written any more.
    #[error("the lock on the repository was lost: {reason}")]
    LockLost {
        /// Why.
        reason: String,
    },
    /// No snapshot has an id that begins so.
    #[error("no snapshot has an id that begins with '{prefix}'")]
    NoSuchSnapshot {
        /// What was asked for.
        prefix: String,
    },
    /// Several snapshots have ids that begin so.
    #[error("{} snapshots have ids that begin with '{prefix}'", matches.len())]
    AmbiguousSnapshot {
        /// What was asked for.
        prefix: String,
        /// Those that fit.
        matches: Vec<SnapshotId>,
    },
    /// No file of this kind has an id that begins so.
    #[error("no {what} has an id that begins with '{prefix}'")]
    NoSuchFile {
        /// `key`, `lock`, `index`, `pack`, `tree` or `blob`.
        what: &'static str,
        /// What was asked for.
        prefix: String,
    },
    /// Several files of this kind have ids that begin so.
    #[error("{count} have ids that begin with '{prefix}', where one {what} is meant")]
    AmbiguousFile {
        /// `key`, `lock`, `index`, `pack`, `tree` or `blob`.
        what: &'static str,
        /// What was asked for.
        prefix: String,
        /// How many fit.
        count: usize,
    },
    /// The password was changed, but the key of the old one is still there.
    #[error("the new password opens the repository, but the old one does too: key {} could not be removed: {reason}", old.short())]
    OldKeyStays {
        /// The new password's key.
        new: KeyId,
        /// The old password's.
        old: KeyId,
        /// Why.
        reason: String,
    },
    /// Not 64 hexadecimal digits.
    #[error("'{0}' is not an id")]
    InvalidId(String),
    /// A file of the repository is not what it should be.
    #[error("{file} is damaged: {reason}")]
    Damaged {
        /// Its key in the store, such as `index/3fa9…`.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A blob in a pack is not what it should be.
    #[error("blob {blob} in pack {pack} is damaged: {reason}")]
    DamagedBlob {
        /// The pack that holds it.
        pack: PackId,
        /// The blob.
        blob: BlobId,
        /// What is wrong.
        reason: String,
    },
    /// A blob that no index file names.
    #[error("blob {blob} is in no index file of the repository{hint}")]
    MissingBlob {
        /// The blob.
        blob: BlobId,
        /// Which index files could not be read, if any.
        hint: String,
    },
    /// A tree blob that cannot be understood.
    #[error("tree {tree} is damaged: {reason}")]
    DamagedTree {
        /// The tree.
        tree: crate::TreeId,
        /// What is wrong.
        reason: String,
    },
    /// Pruning could remove what a snapshot needs.
    #[error("nothing is removed: {reason}")]
    CannotPrune {
        /// Why.
        reason: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The writer refuses to make a snapshot.
    #[error("the snapshot is not written: {reason}")]
    Incomplete {
        /// Why.
        reason: String,
    },
    /// What was asked for makes no sense: a file that is larger than the limit, a path that cannot be.
    #[error("{0}")]
    Refused(String),
    /// Compression, randomness or a thread failed.
    #[error("{doing}: {reason}")]
    Internal {
        /// What was being done.
        doing: &'static str,
        /// What happened.
        reason: String,
    },
    /// What was sealed does not open to what it was made from: bad memory, most likely. It was not uploaded.
    #[error("blob {blob} did not verify before its upload ({reason}); the computer's memory may be faulty")]
    VerificationFailed {
        /// The blob.
        blob: BlobId,
        /// What differs.
        reason: String,
    },
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RepositoryError {
    /// The storage's kind of failure (no space, denied, …) where it is the cause.
    pub fn store_kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Store(error) => Some(error.kind),
            _ => None,
        }
    }

    /// Whether a file or blob is not what it should be, rather than that the storage failed.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::DamagedBlob { .. }
            | Self::DamagedTree { .. }
            | Self::MissingBlob { .. } => true,
            Self::Store(error) => matches!(error.kind, ErrorKind::NotFound | ErrorKind::Corrupt),
            _ => false,
        }
    }

    pub(crate) fn damaged(file: impl Into<String>, reason: impl ToString) -> Self {
        Self::Damaged { file: file.into(), reason: reason.to_string() }
    }

    pub(crate) fn internal(doing: &'static str, reason: impl ToString) -> Self {
        Self::Internal { doing, reason: reason.to_string() }
    }
}

/// Who holds a lock, as its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHolder {
    /// Whether it excludes all others.
    pub exclusive: bool,
    /// On which machine.
    pub hostname: String,
    /// The user there.
    pub username: String,
    /// The process there.
    pub pid: u32,
    /// When it was made or refreshed.
    pub since: Timestamp,
    /// The lock file's key in the store.
    pub file: String,
}

/// Results of this crate.
pub type Result<T, E = RepositoryError> = std::result::Result<T, E>;
