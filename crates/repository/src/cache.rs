//! The local cache: copies of index files and tree blobs as the storage has them (sealed), and records that are derived
//! from the repository, sealed with keys of their own.
//!
//! It is never authoritative: what there is, a listing of the storage says. Everything read from it is verified as if it
//! came from the storage, and dropped if it is damaged. Nothing that goes wrong with it fails any work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use basekeep_store::{ErrorKind, Put, Store};
use bytes::Bytes;

use crate::compression::Unpacker;
use crate::id::sha256;
use crate::index::Location;
use crate::pack::BlobKind;
use crate::read::open_blob;
use crate::repository::blocking;
use crate::{BlobId, Repository, Result, layout, unpacked};

const TREES: &str = "trees/";
const RECORDS: &str = "records/";
/// Trees beyond this are removed, those first that were not used for the longest time, until a fifth is free again.
const MOST_TREES: u64 = 1 << 30;
/// Larger trees are not kept.
const LARGEST_TREE: usize = 64 << 20;
/// A tree that is used is written anew when it is older than this, so that its age tells when it was used last.
const REFRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// What a cache is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheScope {
    /// Records alone: for a repository whose files are at hand.
    Records,
    /// Index files and trees too: for a repository far away.
    Everything,
}

#[derive(Debug)]
pub(crate) struct Cache {
    store: Arc<dyn Store>,
    scope: CacheScope,
}

impl Repository {
    /// The same repository with a cache. `store` belongs to this repository alone.
    pub fn with_cache(&self, store: Arc<dyn Store>, scope: CacheScope) -> Self {
        Self { shared: self.shared.clone(), cache: Some(Arc::new(Cache { store, scope })) }
    }

    /// The same repository without a cache: every read asks the storage.
    pub fn without_cache(&self) -> Self {
        Self { shared: self.shared.clone(), cache: None }
    }

    /// A record that was kept; `None` if there is none or it is damaged. It is as authentic as the repository's own files;
    /// it may be an old one.
    pub async fn cached_record(&self, name: &'static str) -> Option<Vec<u8>> {
        let cache = self.cache.as_ref()?;
        let file = record(name);
        let sealed = cache.get(&file).await?;
        let repository = self.clone();
        let opened = blocking(move || {
            let opened = repository.record_key(name).open(&sealed).map_err(|e| e.to_string())?;
            unpacked::decode(opened)
        });
        match opened.await.ok()? {
            Ok(plain) => Some(plain),
            Err(reason) => {
                cache.drop_damaged(&file, &reason).await;
                None
            }
        }
    }

    /// Keeps a record in place of the one of this name.
    pub async fn keep_record(&self, name: &'static str, plain: Vec<u8>) {
        let Some(cache) = &self.cache else { return };
        let repository = self.clone();
        let sealed = blocking(move || -> Result<Vec<u8>> {
            Ok(repository.record_key(name).seal(&unpacked::encode(&plain)?))
        });
        match sealed.await.and_then(|sealed| sealed) {
            Ok(sealed) => cache.replace(&record(name), sealed.into()).await,
            Err(error) => tracing::debug!(%error, "a record was not kept in the cache"),
        }
    }

    /// A key for records of this name, so that nothing else that the repository sealed can pass for one.
    fn record_key(&self, name: &str) -> crate::crypto::Key {
        self.shared.key.derived(&format!("basekeep cache {name} of {}", self.id()))
    }

    /// A file, from the cache where it has it, and whether it should be kept there.
    pub(crate) async fn fetch(&self, key: &str) -> Result<(Bytes, bool)> {
        let cache = self.full_cache().filter(|_| key.starts_with(layout::INDEX));
        if let (Some(cache), Some(name)) = (cache, layout::id_of(key))
            && let Some(data) = cache.get(key).await
        {
            let (checked, copy) = (data.clone(), data);
            // The name says what the storage has.
            if blocking(move || sha256(&checked) == name).await? {
                return Ok((copy, false));
            }
            cache.drop_damaged(key, "its content does not match its name").await;
        }
        Ok((self.shared.store.get(key).await?, cache.is_some()))
    }

    /// Keeps a file whose name and seal were found right.
    pub(crate) async fn keep(&self, key: &str, data: Bytes) {
        if let Some(cache) = self.full_cache() {
            cache.put(key, data).await;
        }
    }

    /// A tree from the cache.
    pub(crate) async fn cached_tree(&self, place: Location) -> Option<Vec<u8>> {
        let cache = self.full_cache().filter(|_| place.blob.kind == BlobKind::Tree)?;
        let key = tree(place.blob.id);
        let sealed = cache.get(&key).await?;
        let (shared, kept) = (self.shared.clone(), sealed.clone());
        let opened = blocking(move || open_blob(&shared.key, &mut Unpacker::new()?, place, &sealed));
        match opened.await.ok()? {
            Ok(plain) => {
                cache.refresh(&key, kept).await;
                Some(plain)
            }
            Err(error) => {
                cache.drop_damaged(&key, &error.to_string()).await;
                None
            }
        }
    }

    /// Keeps a tree that was verified.
    pub(crate) async fn keep_tree(&self, place: Location, sealed: Bytes) {
        if place.blob.kind == BlobKind::Tree
            && sealed.len() <= LARGEST_TREE
            && let Some(cache) = self.full_cache()
        {
            cache.put(&tree(place.blob.id), sealed).await;
        }
    }

    /// Removes what the repository has no more, and trees beyond the bound. `index` names the index files that there are;
    /// they have been loaded.
    pub(crate) async fn clean_cache(&self, index: &BTreeSet<String>) {
        let Some(cache) = self.full_cache() else { return };
        let mut pruned = false;
        for file in cache.list(layout::INDEX).await {
            if !index.contains(&file.key) {
                pruned = true;
                cache.delete(&file.key).await;
            }
        }
        // Trees go with a prune, which replaces index files; and they grow slowly.
        if pruned || rand::random::<u8>() < 16 {
            self.clean_trees(cache, MOST_TREES).await;
        }
    }

    async fn clean_trees(&self, cache: &Cache, most: u64) {
        let mut trees = Vec::new();
        for file in cache.list(TREES).await {
            let known = layout::id_of(&file.key).is_some_and(|id| {
                self.with_index(|index| index.find(BlobKind::Tree, BlobId::from_bytes(id)).is_some())
            });
            match known {
                true => trees.push(file),
                false => cache.delete(&file.key).await,
            }
        }
        let mut total: u64 = trees.iter().map(|file| file.size).sum();
        if total <= most {
            return;
        }
        let mut by_age = Vec::with_capacity(trees.len());
        for file in trees {
            by_age.push((cache.modified(&file.key).await, file));
        }
        by_age.sort();
        for (_, file) in by_age {
            if total <= most / 5 * 4 {
                break;
            }
            total -= file.size;
            cache.delete(&file.key).await;
        }
    }

    fn full_cache(&self) -> Option<&Cache> {
        self.cache.as_deref().filter(|cache| cache.scope == CacheScope::Everything)
    }
}

fn tree(id: BlobId) -> String {
    let id = id.to_string();
    format!("{TREES}{}/{id}", &id[..2])
}

fn record(name: &str) -> String {
    format!("{RECORDS}{name}")
}

impl Cache {
    async fn get(&self, key: &str) -> Option<Bytes> {
        match self.store.get(key).await {
            Ok(data) => Some(data),
            Err(error) => {
                if error.kind != ErrorKind::NotFound {
                    tracing::debug!(%error, "the cache cannot be read");
                }
                None
            }
        }
    }

    async fn put(&self, key: &str, data: Bytes) {
        if let Err(error) = self.store.put(key, data).await {
            tracing::debug!(%error, "the cache cannot be written");
        }
    }

    async fn replace(&self, key: &str, data: Bytes) {
        match self.store.put(key, data.clone()).await {
            Ok(Put::Written) => {}
            Ok(Put::AlreadyExists) => {
                self.delete(key).await;
                self.put(key, data).await;
            }
            Err(error) => tracing::debug!(%error, "the cache cannot be written"),
        }
    }

    /// Notes that an entry is in use.
    async fn refresh(&self, key: &str, data: Bytes) {
        let age = self.modified(key).await.and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age > REFRESH) {
            self.replace(key, data).await;
        }
    }

    async fn modified(&self, key: &str) -> Option<SystemTime> {
        self.store.modified(key).await.ok().flatten()
    }

    async fn list(&self, folder: &str) -> Vec<basekeep_store::Object> {
        let listed = self.store.list(folder).await;
        listed.unwrap_or_else(|error| {
            tracing::debug!(%error, "the cache cannot be listed");
            Vec::new()
        })
    }

    async fn delete(&self, key: &str) {
        if let Err(error) = self.store.delete(key).await {
            tracing::debug!(%error, "an entry of the cache cannot be removed");
        }
    }

    async fn drop_damaged(&self, key: &str, reason: &str) {
        tracing::debug!(key, reason, "an entry of the cache is damaged and is dropped");
        self.delete(key).await;
    }
}

#[cfg(test)]
mod tests {
    use basekeep_store::Memory;

    use crate::index_file;
    use crate::pack::PackedBlob;
    use crate::{InitOptions, PackId};

    use super::*;

    #[tokio::test]
    async fn trees_that_are_gone_go_and_the_rest_is_bounded() {
        let options = InitOptions { scrypt_log_n: Some(10), ..InitOptions::default() };
        let repository = Repository::init(Arc::new(Memory::new()), &"x".into(), options).await.unwrap();
        let blob = |n: u8| PackedBlob {
            id: BlobId::of(&[n]),
            kind: BlobKind::Tree,
            offset: 0,
            length: 40,
            uncompressed: 0,
        };
        let packs = [(PackId::of(b"pack"), (0..10).map(blob).collect())];
        let json = index_file::encode(&packs).unwrap();
        let file = repository.write_json(layout::INDEX, json).await.unwrap();
        let cached = Arc::new(Memory::new());
        let repository = repository.with_cache(cached.clone(), CacheScope::Everything);
        repository.load_index().await.unwrap();
        for n in 0..12 {
            cached.put(&tree(BlobId::of(&[n])), vec![n; 100].into()).await.unwrap();
        }
        let cache = repository.full_cache().unwrap();
        repository.clean_trees(cache, 1000).await;
        assert_eq!(cached.list(TREES).await.unwrap().len(), 10, "two are in no index");
        repository.clean_trees(cache, 999).await;
        let left = cached.list(TREES).await.unwrap().len();
        assert_eq!(left, 7, "down to four fifths");

        // An index file that was replaced.
        cached.put("index/00", Bytes::new()).await.unwrap();
        repository.clean_cache(&BTreeSet::from([file.clone()])).await;
        let index: Vec<String> =
            cached.list(layout::INDEX).await.unwrap().into_iter().map(|f| f.key).collect();
        assert_eq!(index, [file]);
    }
}
