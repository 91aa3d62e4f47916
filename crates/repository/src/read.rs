//! Reading blobs, trees and files. Everything is verified: MAC, length and SHA-256.

mod stream;

use basekeep_store::{ErrorKind, StoreError};

pub use stream::BlobStream;

use crate::compression::Unpacker;
use crate::crypto::Key;
use crate::id::sha256;
use crate::index::Location;
use crate::pack::BlobKind;
use crate::repository::blocking;
use crate::{BlobId, Node, NodeKind, Repository, RepositoryError, Result, Snapshot, Tree, TreeId, layout};

impl Repository {
    /// Reads a folder.
    pub async fn tree(&self, id: &TreeId) -> Result<Tree> {
        let places = self.places(BlobKind::Tree, (*id).into())?;
        self.tree_at(*id, places).await
    }

    pub(crate) async fn tree_at(&self, id: TreeId, places: Vec<Location>) -> Result<Tree> {
        let json = self.read_places(places).await?;
        let decoded = blocking(move || Tree::decode(&json)).await?;
        decoded.map_err(|reason| RepositoryError::DamagedTree { tree: id, reason })
    }

    /// The entry at a path such as `/source/manifest.json`; `None` if there is none. The root has no entry.
    pub async fn node_at(&self, snapshot: &Snapshot, path: &str) -> Result<Option<Node>> {
        let mut tree = snapshot.tree;
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let Some(node) = self.tree(&tree).await?.nodes.into_iter().find(|node| node.name == name) else {
                return Ok(None);
            };
            match node.subtree {
                _ if names.peek().is_none() => return Ok(Some(node)),
                Some(subtree) => tree = subtree,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The content of a file of at most `limit` bytes.
    ///
    /// Errors: [`RepositoryError::Refused`] for a larger one, and for what is no file.
    pub async fn read_small(&self, node: &Node, limit: usize) -> Result<Vec<u8>> {
        if node.kind != NodeKind::File {
            return Err(RepositoryError::Refused(format!("{} is not a file", node.name)));
        }
        let too_large =
            |size| RepositoryError::Refused(format!("{} has {size} bytes, more than {limit}", node.name));
        let size = usize::try_from(node.size).map_err(|_| too_large(node.size))?;
        if size > limit {
            return Err(too_large(node.size));
        }
        let mut content = Vec::with_capacity(size);
        let mut blobs = self.read_blobs(node.content.clone(), limit.clamp(1 << 20, 32 << 20));
        while let Some(blob) = blobs.next().await {
            content.extend_from_slice(&blob?);
            if content.len() > limit {
                return Err(too_large(content.len() as u64));
            }
        }
        Ok(content)
    }

    /// The plain length in bytes of a blob of file content; `None` if the index does not know it. After
    /// [`Repository::load_index`].
    pub fn blob_length(&self, blob: BlobId) -> Option<u32> {
        self.with_index(|index| index.find(BlobKind::Data, blob)).map(|place| place.blob.plain_length())
    }

    /// All places of a blob; an error if there is none.
    pub(crate) fn places(&self, kind: BlobKind, id: BlobId) -> Result<Vec<Location>> {
        let places: Vec<Location> = self.with_index(|index| index.locations(kind, id).collect());
        if places.is_empty() { Err(self.missing(id)) } else { Ok(places) }
    }

    fn missing(&self, blob: BlobId) -> RepositoryError {
        let unreadable: Vec<String> =
            self.unreadable_index_files().into_iter().map(|(file, _)| file).collect();
        let hint = match unreadable.as_slice() {
            [] => String::new(),
            files => format!(" (these are damaged: {})", files.join(", ")),
        };
        RepositoryError::MissingBlob { blob, hint }
    }

    /// Reads a blob from the first of its places that is good.
    pub(crate) async fn read_places(&self, places: Vec<Location>) -> Result<Vec<u8>> {
        let mut failure = RepositoryError::Refused("a blob has no place".to_owned());
        for place in places {
            match self.read_place(place).await {
                Ok(plain) => return Ok(plain),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn read_place(&self, place: Location) -> Result<Vec<u8>> {
        if let Some(plain) = self.cached_tree(place).await {
            return Ok(plain);
        }
        let start = u64::from(place.blob.offset);
        let range = start..start + u64::from(place.blob.length);
        let sealed = self.shared.store.get_range(&layout::pack(place.pack), range).await;
        let sealed = sealed.map_err(|error| unreadable(place, error))?;
        let (shared, kept) = (self.shared.clone(), sealed.clone());
        let plain = blocking(move || open_blob(&shared.key, &mut Unpacker::new()?, place, &sealed)).await??;
        self.keep_tree(place, kept).await;
        Ok(plain)
    }
}

/// A pack that is gone or too short is damage; anything else is the storage's failure.
pub(crate) fn unreadable(place: Location, error: StoreError) -> RepositoryError {
    let reason = match error.kind {
        ErrorKind::NotFound => "the pack is missing".to_owned(),
        ErrorKind::Corrupt => format!("the pack is too short: {}", error.source),
        _ => return error.into(),
    };
    RepositoryError::DamagedBlob { pack: place.pack, blob: place.blob.id, reason }
}

/// Opens a sealed blob and verifies it.
pub(crate) fn open_blob(
    key: &Key,
    unpacker: &mut Unpacker,
    place: Location,
    sealed: &[u8],
) -> Result<Vec<u8>> {
    let plain = open_unhashed(key, unpacker, place, sealed)?;
    if sha256(&plain) == *place.blob.id.as_bytes() {
        return Ok(plain);
    }
    let reason = "its hash differs".to_owned();
    Err(RepositoryError::DamagedBlob { pack: place.pack, blob: place.blob.id, reason })
}

/// Opens a sealed blob and verifies its MAC and length, so that it is what the repository's key sealed.
pub(crate) fn open_unhashed(
    key: &Key,
    unpacker: &mut Unpacker,
    place: Location,
    sealed: &[u8],
) -> Result<Vec<u8>> {
    let blob = place.blob;
    let mut open = || -> Result<Vec<u8>, String> {
        let opened = key.open(sealed).map_err(|e| e.to_string())?;
        if blob.uncompressed == 0 {
            return Ok(opened);
        }
        let mut plain = Vec::new();
        unpacker.unpack_into(&opened, blob.uncompressed as usize, &mut plain)?;
        Ok(plain)
    };
    open().map_err(|reason| RepositoryError::DamagedBlob { pack: place.pack, blob: blob.id, reason })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use basekeep_store::{Memory, Store};

    use crate::pack::{self, PackedBlob};
    use crate::{CheckOptions, InitOptions, PackId, SnapshotId, index_file, snapshot};

    use super::*;

    fn node(name: &str, content: Vec<BlobId>, size: u64, subtree: Option<TreeId>) -> Node {
        let kind = if subtree.is_some() { NodeKind::Dir } else { NodeKind::File };
        Node { name: name.into(), kind, mode: 0o600, modified: None, size, content, subtree }
    }

    /// Old programs put trees and data into the same packs, and repositories of theirs are still about.
    #[tokio::test]
    async fn packs_that_mix_trees_and_data_are_read_and_checked() {
        let options = InitOptions { scrypt_log_n: Some(10), ..InitOptions::default() };
        let store = Arc::new(Memory::new());
        let repository = Repository::init(store.clone(), &"x".into(), options).await.unwrap();
        let key = &repository.shared.key;
        let owner = crate::tree::Owner { uid: 0, gid: 0, user: "" };
        let data = b"content of the file".to_vec();
        let below = Tree { nodes: vec![node("file", vec![BlobId::of(&data)], data.len() as u64, None)] }
            .encode(owner);
        let root = Tree { nodes: vec![node("shop", vec![], 0, Some(TreeId::of(&below)))] }.encode(owner);
        let root_id = TreeId::of(&root);
        let (mut bytes, mut blobs) = (Vec::new(), Vec::new());
        for (kind, plain) in [(BlobKind::Tree, below), (BlobKind::Data, data.clone()), (BlobKind::Tree, root)]
        {
            let packed = zstd::bulk::compress(&plain, 1).unwrap();
            let smaller = packed.len() < plain.len();
            let sealed = key.seal(if smaller { &packed } else { &plain });
            blobs.push(PackedBlob {
                id: BlobId::of(&plain),
                kind,
                offset: bytes.len() as u32,
                length: sealed.len() as u32,
                uncompressed: if smaller { plain.len() as u32 } else { 0 },
            });
            bytes.extend_from_slice(&sealed);
        }
        let header = key.seal(&pack::encode_header(&blobs));
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        let id = PackId::of(&bytes);
        store.put(&layout::pack(id), bytes.into()).await.unwrap();
        repository.write_json(layout::INDEX, index_file::encode(&[(id, blobs)]).unwrap()).await.unwrap();
        let json =
            format!(r#"{{"time":"2020-01-01T00:00:00Z","tree":"{root_id}","paths":null}}"#).into_bytes();
        let snapshot = snapshot::decode(SnapshotId::of(&json), &json).unwrap();
        repository.write_json(layout::SNAPSHOTS, json).await.unwrap();

        repository.load_index().await.unwrap();
        let file = repository.node_at(&snapshot, "/shop/file").await.unwrap().unwrap();
        assert_eq!(repository.read_small(&file, 100).await.unwrap(), data);
        let report =
            repository.check(&CheckOptions { read_data: true, snapshots: None }, &|_| {}).await.unwrap();
        assert!(report.damage.is_empty() && report.notes.is_empty(), "{report:?}");
        assert_eq!((report.snapshots, report.blobs_read), (1, 3));

        // Prune takes them apart.
        let lock = repository.lock(crate::LockMode::Exclusive).await.unwrap();
        let plan = repository.plan_prune(&crate::PruneOptions::default(), &lock).await.unwrap();
        let outcome = repository.execute_prune(plan, &lock, &|_| {}).await.unwrap();
        assert_eq!((outcome.packs_deleted, outcome.packs_written, outcome.blobs_copied), (1, 2, 3));
        let file = repository.node_at(&snapshot, "/shop/file").await.unwrap().unwrap();
        assert_eq!(repository.read_small(&file, 100).await.unwrap(), data);
        let plan = repository.plan_prune(&crate::PruneOptions::default(), &lock).await.unwrap();
        assert!(plan.is_empty(), "{:?}", plan.summary);
        lock.release().await.unwrap();
    }
}
