//! A repository: opened with a password, its index in memory, its files read and written.

use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use basekeep_store::{ErrorKind, Object, Put, Store, StoreError};
use bytes::Bytes;

use crate::cache::Cache;
use crate::config::Config;
use crate::crypto::Key;
use crate::id::sha256;
use crate::load::LoadedIndex;
use crate::{KeyId, Password, RepositoryError, Result, key_file, layout, unpacked};

/// How to make a repository.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// Cost of the password's key derivation: 2 to this power. 15 if `None`, as stock restic chooses on most machines.
    pub scrypt_log_n: Option<u8>,
    /// Cut chunks as this repository does, so that what is copied between the two, and later backups to either,
    /// deduplicate. Random otherwise.
    pub chunker_of: Option<Repository>,
}

/// An open repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) shared: Arc<Shared>,
    pub(crate) cache: Option<Arc<Cache>>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) key: Key,
    pub(crate) config: Config,
    /// How long to wait for locks of others.
    pub(crate) lock_wait: Mutex<Duration>,
    /// The key file that opened it.
    pub(crate) opened_with: Mutex<KeyId>,
    pub(crate) index: RwLock<LoadedIndex>,
    pub(crate) loading: tokio::sync::Mutex<()>,
}

impl Repository {
    /// Makes a repository of format version 2 where there is none.
    ///
    /// Errors: [`RepositoryError::AlreadyExists`]; [`RepositoryError::Damaged`] where a repository has lost its
    /// `config`.
    pub async fn init(store: Arc<dyn Store>, password: &Password, options: InitOptions) -> Result<Self> {
        let location = store.location();
        if exists(&*store, layout::CONFIG).await? {
            return Err(RepositoryError::AlreadyExists { location });
        }
        refuse_remains(&*store).await?;
        let key = Key::random();
        let mut config = Config::random();
        if let Some(like) = &options.chunker_of {
            config.chunker_polynomial = like.shared.config.chunker_polynomial;
        }
        let (master, password) = (key.clone(), password.clone());
        let log_n = options.scrypt_log_n.unwrap_or(key_file::DEFAULT_LOG_N);
        let contents =
            blocking(move || key_file::create(&master, &password, log_n, key_file::Maker::ours())).await??;
        let json = serde_json::to_vec(&config).map_err(|e| RepositoryError::internal("write config", e))?;
        let key_id = KeyId::of(&contents);
        let key_name = layout::key(key_id);
        put_new(&*store, &key_name, contents.into()).await?;
        if !put_config(&*store, key.seal(&json).into()).await? {
            store.delete(&key_name).await?;
            return Err(RepositoryError::AlreadyExists { location });
        }
        // From here on no other key can belong to it. Those that an interrupted init left would make stock restic take the
        // wrong one. Before, they could be those of another init that is about to succeed.
        for old in store.list(layout::KEYS).await? {
            if old.key != key_name
                && let Err(error) = store.delete(&old.key).await
            {
                tracing::warn!(%error, "a key that an interrupted init left could not be removed");
            }
        }
        Ok(Self::with(store, key, key_id, config))
    }

    /// Opens a repository; every key is tried. Repositories of version 1 can be read, not written.
    ///
    /// Errors: [`RepositoryError::NotFound`], [`RepositoryError::WrongPassword`],
    /// [`RepositoryError::UnsupportedVersion`], [`RepositoryError::Damaged`].
    pub async fn open(store: Arc<dyn Store>, password: &Password) -> Result<Self> {
        let sealed = match store.get(layout::CONFIG).await {
            Err(error) if error.kind == ErrorKind::NotFound => {
                refuse_remains(&*store).await?;
                return Err(RepositoryError::NotFound { location: store.location() });
            }
            result => result?,
        };
        let (key, key_id) = find_key(&*store, password, sealed.clone()).await?;
        let json = key.open(&sealed).map_err(|e| RepositoryError::damaged(layout::CONFIG, e))?;
        let config = Config::decode(&json).map_err(|e| RepositoryError::damaged(layout::CONFIG, e))?;
        if !(1..=2).contains(&config.version) {
            let needed = "versions 1 and 2 are";
            return Err(RepositoryError::UnsupportedVersion { version: config.version, needed });
        }
        Ok(Self::with(store, key, key_id, config))
    }

    fn with(store: Arc<dyn Store>, key: Key, key_id: KeyId, config: Config) -> Self {
        let (index, loading) = (RwLock::default(), tokio::sync::Mutex::default());
        let lock_wait = Mutex::default();
        let opened_with = Mutex::new(key_id);
        let shared = Arc::new(Shared { store, key, config, lock_wait, opened_with, index, loading });
        Self { shared, cache: None }
    }

    /// The repository's id, which it keeps wherever it is copied to.
    pub fn id(&self) -> &str {
        &self.shared.config.id
    }

    /// The format's version.
    pub fn version(&self) -> u32 {
        self.shared.config.version
    }

    /// Whether both cut chunks at the same places, so that equal data written to either gives equal blobs.
    pub fn chunks_like(&self, other: &Self) -> bool {
        self.shared.config.chunker_polynomial == other.shared.config.chunker_polynomial
    }

    /// Whether it is of a version that this program writes.
    ///
    /// Errors: [`RepositoryError::UnsupportedVersion`] for version 1, which it only reads.
    pub fn may_write(&self) -> Result<()> {
        match self.version() {
            2 => Ok(()),
            version => {
                let needed = "version 2 is needed for writing";
                Err(RepositoryError::UnsupportedVersion { version, needed })
            }
        }
    }

    /// Where it is, for people: without credentials.
    pub fn location(&self) -> String {
        self.shared.store.location()
    }

    /// The one file below `folder` whose id begins so; `what` names its kind in errors. A whole id is taken as it is.
    pub(crate) async fn find_id(&self, folder: &str, what: &'static str, prefix: &str) -> Result<[u8; 32]> {
        let mut fits: Vec<[u8; 32]> = self
            .list_ids(folder)
            .await?
            .iter()
            .filter_map(|file| layout::id_of(&file.key))
            .filter(|id| hex::encode(id).starts_with(prefix))
            .collect();
        match (fits.pop(), fits.len()) {
            (Some(id), 0) => Ok(id),
            (None, _) => Err(RepositoryError::NoSuchFile { what, prefix: prefix.to_owned() }),
            (Some(_), more) => {
                Err(RepositoryError::AmbiguousFile { what, prefix: prefix.to_owned(), count: more + 1 })
            }
        }
    }

    /// The files of a folder whose names are ids; others are not the repository's.
    pub(crate) async fn list_ids(&self, folder: &str) -> Result<Vec<Object>> {
        let mut files = self.shared.store.list(folder).await?;
        files.retain(|file| layout::id_of(&file.key).is_some());
        Ok(files)
    }

    /// Reads a sealed JSON file: its name, MAC and encoding are checked.
    pub(crate) async fn read_json<T: Send + 'static>(
        &self,
        key: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, String> + Send + 'static,
    ) -> Result<T> {
        let (data, fresh) = self.fetch(key).await?;
        let (shared, name) = (self.shared.clone(), layout::id_of(key));
        let keep = fresh.then(|| data.clone());
        let parsed = blocking(move || {
            if name.is_some_and(|name| name != sha256(&data)) {
                return Err("its content does not match its name".to_owned());
            }
            let encoded = shared.key.open(&data).map_err(|e| e.to_string())?;
            parse(&unpacked::decode(encoded)?)
        });
        let parsed = parsed.await?.map_err(|reason| RepositoryError::damaged(key, reason))?;
        if let Some(data) = keep {
            self.keep(key, data).await;
        }
        Ok(parsed)
    }

    /// What all packs take in the storage, in bytes: a list, and nothing read.
    pub async fn pack_bytes(&self) -> Result<u64> {
        let packs = self.shared.store.list(layout::DATA).await?;
        Ok(packs.iter().map(|pack| pack.size).sum())
    }

    /// Seals and writes a JSON file below `folder`; gives its key.
    pub(crate) async fn write_json(&self, folder: &str, json: Vec<u8>) -> Result<String> {
        let (key, sealed) = self.seal_json(folder, json).await?;
        put_new(&*self.shared.store, &key, sealed).await?;
        Ok(key)
    }

    /// Seals a JSON file and verifies it; gives the key that it will have below `folder`.
    pub(crate) async fn seal_json(&self, folder: &str, json: Vec<u8>) -> Result<(String, Bytes)> {
        let shared = self.shared.clone();
        let sealed = blocking(move || {
            let encoded = unpacked::encode(&json)?;
            let sealed = shared.key.seal(&encoded);
            let opened = shared.key.open(&sealed).map_err(|e| e.to_string()).and_then(unpacked::decode);
            if opened.as_ref() == Ok(&json) {
                return Ok(sealed);
            }
            Err(RepositoryError::internal(
                "verify a file before its upload",
                "it does not open to what was sealed",
            ))
        });
        let sealed = sealed.await??;
        Ok((format!("{folder}{}", hex::encode(sha256(&sealed))), sealed.into()))
    }
}

/// Writes `config`, the one file whose name is not its hash. Gives whether the one that is there is ours, not that of
/// another init.
async fn put_config(store: &dyn Store, sealed: Bytes) -> Result<bool> {
    for _ in 0..2 {
        if store.put(layout::CONFIG, sealed.clone()).await? == Put::Written {
            return Ok(true);
        }
        // The answer to our own put may have been lost, or only a part of it arrived.
        let there = store.get(layout::CONFIG).await?;
        if !sealed.starts_with(&there) || sealed == there {
            return Ok(sealed == there);
        }
        store.delete(layout::CONFIG).await?;
    }
    Ok(false)
}

/// Writes a file whose name nobody else can have chosen. One that is there already was left by an attempt of ours
/// whose answer was lost; if only a part of it arrived, it is replaced.
pub(crate) async fn put_new(store: &dyn Store, key: &str, data: Bytes) -> Result<(), StoreError> {
    for _ in 0..2 {
        let length = data.len() as u64;
        match store.put(key, data.clone()).await? {
            Put::Written => return Ok(()),
            Put::AlreadyExists if store.size(key).await? == length => return Ok(()),
            Put::AlreadyExists => store.delete(key).await?,
        }
    }
    Err(StoreError::new(ErrorKind::Corrupt, basekeep_store::Operation::Put, key, "only a part of it arrives"))
}

/// CPU work that would hold other tasks up.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| RepositoryError::internal("run a thread", e))
}

/// Whether an object is there, whatever a listing says.
pub(crate) async fn exists(store: &dyn Store, key: &str) -> Result<bool> {
    match store.size(key).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Without `config` there is no repository, unless something is left of one.
async fn refuse_remains(store: &dyn Store) -> Result<()> {
    for folder in [layout::SNAPSHOTS, layout::INDEX] {
        if !store.list(folder).await?.is_empty() {
            return Err(RepositoryError::damaged(
                layout::CONFIG,
                format!("it is missing, and {folder} has files"),
            ));
        }
    }
    Ok(())
}

/// Tries every key file with the password.
async fn find_key(store: &dyn Store, password: &Password, config: Bytes) -> Result<(Key, KeyId)> {
    let mut failures = Failures::default();
    for file in store.list(layout::KEYS).await? {
        let Some(name) = layout::id_of(&file.key) else { continue };
        let contents = match store.get(&file.key).await {
            Err(error) if error.kind == ErrorKind::NotFound => continue,
            result => result?,
        };
        let changed = sha256(&contents) != name;
        let password = password.clone();
        let opened = blocking(move || key_file::open(&contents, &password)).await?;
        match opened {
            Ok(key) if key.open(&config).is_ok() => return Ok((key, KeyId::from_bytes(name))),
            Ok(_) => failures.config = true,
            Err(key_file::Unopened::Damaged(reason)) => failures.damaged = Some((file.key, reason)),
            Err(key_file::Unopened::OtherPassword) if changed => {
                failures.damaged = Some((file.key, "its content does not match its name".to_owned()));
            }
            Err(key_file::Unopened::OtherPassword) => failures.other_password = true,
        }
    }
    Err(failures.into_error())
}

/// What was wrong with the keys that did not open.
#[derive(Default)]
struct Failures {
    config: bool,
    damaged: Option<(String, String)>,
    other_password: bool,
}

impl Failures {
    fn into_error(self) -> RepositoryError {
        match self.damaged {
            _ if self.config => {
                RepositoryError::damaged(layout::CONFIG, "a key opens with the password, but not this file")
            }
            Some((file, reason)) => RepositoryError::damaged(file, reason),
            None if self.other_password => RepositoryError::WrongPassword,
            None => RepositoryError::damaged(layout::KEYS, "there is no key file"),
        }
    }
}
