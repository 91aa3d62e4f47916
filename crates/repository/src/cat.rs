//! The repository's parts as they are, for people who are curious and for support.

use crate::index::Location;
use crate::key_file;
use crate::pack::BlobKind;
use crate::{BlobId, PackId, Repository, RepositoryError, Result, TreeId, layout};

/// A kind of file in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Which blob is in which pack.
    Index,
    /// What a snapshot is.
    Snapshot,
    /// A password's key, as it is: sealed.
    Key,
    /// Who is at work.
    Lock,
    /// Blobs.
    Pack,
}

impl FileKind {
    fn folder(self) -> &'static str {
        match self {
            Self::Index => layout::INDEX,
            Self::Snapshot => layout::SNAPSHOTS,
            Self::Key => layout::KEYS,
            Self::Lock => layout::LOCKS,
            Self::Pack => layout::DATA,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Snapshot => "snapshot",
            Self::Key => "key",
            Self::Lock => "lock",
            Self::Pack => "pack",
        }
    }
}

impl Repository {
    /// The ids of all files of a kind, sorted.
    pub async fn ids(&self, kind: FileKind) -> Result<Vec<String>> {
        let files = self.list_ids(kind.folder()).await?;
        let mut ids: Vec<String> =
            files.iter().filter_map(|file| layout::id_of(&file.key)).map(hex::encode).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// What the one file says whose id begins so: JSON, or the bytes of a pack as they are stored. Its name, and its seal
    /// where it has one, are verified.
    ///
    /// Errors: [`RepositoryError::NoSuchFile`], [`RepositoryError::AmbiguousFile`], [`RepositoryError::Damaged`].
    pub async fn cat(&self, kind: FileKind, prefix: &str) -> Result<Vec<u8>> {
        let id = match prefix.parse::<PackId>() {
            Ok(whole) => *whole.as_bytes(),
            Err(_) => self.find_id(kind.folder(), kind.word(), prefix).await?,
        };
        let key = match kind {
            FileKind::Pack => layout::pack(PackId::from_bytes(id)),
            _ => format!("{}{}", kind.folder(), hex::encode(id)),
        };
        match kind {
            FileKind::Index | FileKind::Snapshot | FileKind::Lock => {
                self.without_cache().read_json(&key, |json| Ok(json.to_vec())).await
            }
            FileKind::Key | FileKind::Pack => {
                let data = self.shared.store.get(&key).await?;
                match crate::id::sha256(&data) == id {
                    true => Ok(data.to_vec()),
                    false => Err(RepositoryError::damaged(key, "its content does not match its name")),
                }
            }
        }
    }

    /// The repository's `config`, JSON.
    pub async fn cat_config(&self) -> Result<Vec<u8>> {
        self.read_json(layout::CONFIG, |json| Ok(json.to_vec())).await
    }

    /// The master key, JSON. Whoever has it can read everything, for ever, without a password.
    pub fn cat_master_key(&self) -> Result<Vec<u8>> {
        key_file::encode_master(&self.shared.key).map(|json| json.to_vec())
    }

    /// The plain content of the one blob whose id begins so, of either kind, or of a tree alone. After
    /// [`Repository::load_index`].
    ///
    /// Errors: [`RepositoryError::NoSuchFile`], [`RepositoryError::AmbiguousFile`], damage.
    pub async fn cat_blob(&self, prefix: &str, tree: bool) -> Result<Vec<u8>> {
        let (kind, id) = self.find_blob(prefix, tree)?;
        self.read_places(self.places(kind, id)?).await
    }

    /// The tree whose id begins so.
    pub fn find_tree(&self, prefix: &str) -> Result<TreeId> {
        self.find_blob(prefix, true).map(|(_, id)| id.into())
    }

    fn find_blob(&self, prefix: &str, tree: bool) -> Result<(BlobKind, BlobId)> {
        let what = if tree { "tree" } else { "blob" };
        let is_meant = |place: &Location| {
            (!tree || place.blob.kind == BlobKind::Tree) && place.blob.id.to_string().starts_with(prefix)
        };
        let mut fits: Vec<(BlobId, BlobKind)> = match prefix.parse::<BlobId>() {
            Ok(id) => self.with_index(|index| {
                let kinds = [BlobKind::Data, BlobKind::Tree];
                kinds.iter().filter_map(|kind| index.find(*kind, id)).filter(is_meant).map(handle).collect()
            }),
            Err(_) => self.with_index(|index| index.iter().filter(is_meant).map(handle).collect()),
        };
        fits.sort_unstable();
        // A blob can have several places, and the same content can be a tree and data.
        fits.dedup_by_key(|(id, _)| *id);
        match fits.as_slice() {
            [] => Err(RepositoryError::NoSuchFile { what, prefix: prefix.to_owned() }),
            [(id, kind)] => Ok((*kind, *id)),
            more => {
                Err(RepositoryError::AmbiguousFile { what, prefix: prefix.to_owned(), count: more.len() })
            }
        }
    }
}

fn handle(place: Location) -> (BlobId, BlobKind) {
    (place.blob.id, place.blob.kind)
}
