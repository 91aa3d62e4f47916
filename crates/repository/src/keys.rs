//! The repository's keys: one master key, sealed once for each password that opens it.
//!
//! *Must*: a key is removed only after another one was seen to open the repository. A new key file is read back and
//! opened before it counts.

use basekeep_store::ErrorKind;
use bytes::Bytes;
use jiff::Timestamp;

use crate::id::sha256;
use crate::key_file::{self, Maker};
use crate::repository::{blocking, put_new};
use crate::{KeyId, Lock, Password, Repository, RepositoryError, Result, layout, sync};

/// A key of a repository, as its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// The file's name.
    pub id: KeyId,
    /// When it was made.
    pub created: Timestamp,
    /// By which user, empty if unknown.
    pub username: String,
    /// On which machine, empty if unknown.
    pub hostname: String,
    /// Whether it is the one that opened the repository.
    pub current: bool,
}

/// All keys of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// Those that can be read, oldest first. Whether they open is known only with their passwords.
    pub keys: Vec<KeyInfo>,
    /// Key files that cannot be read, each with the reason.
    pub unreadable: Vec<(String, String)>,
}

/// What a new key says of itself.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// The user who may know its password; this process's if `None`.
    pub username: Option<String>,
    /// That user's machine; this one if `None`.
    pub hostname: Option<String>,
    /// Cost of the password's key derivation: 2 to this power. 15 if `None`.
    pub scrypt_log_n: Option<u8>,
}

impl Repository {
    /// The key that opened this repository.
    pub fn current_key(&self) -> KeyId {
        *sync::lock(&self.shared.opened_with)
    }

    /// All keys. No password is needed for what they say.
    pub async fn keys(&self) -> Result<Keys> {
        let mut found = Keys::default();
        let current = self.current_key();
        for file in self.list_ids(layout::KEYS).await? {
            let Some(name) = layout::id_of(&file.key) else { continue };
            let contents = match self.shared.store.get(&file.key).await {
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                result => result?,
            };
            if sha256(&contents) != name {
                found.unreadable.push((file.key, "its content does not match its name".to_owned()));
                continue;
            }
            let id = KeyId::from_bytes(name);
            match key_file::inspect(&contents) {
                Ok(said) => found.keys.push(KeyInfo {
                    id,
                    created: said.created,
                    username: said.username,
                    hostname: said.hostname,
                    current: id == current,
                }),
                Err(reason) => found.unreadable.push((file.key, reason)),
            }
        }
        found.keys.sort_by_key(|key| (key.created, key.id));
        Ok(found)
    }

    /// The one key whose id begins so, also where its file is damaged.
    ///
    /// Errors: [`RepositoryError::NoSuchFile`], [`RepositoryError::AmbiguousFile`].
    pub async fn find_key(&self, prefix: &str) -> Result<KeyId> {
        self.find_id(layout::KEYS, "key", prefix).await.map(KeyId::from_bytes)
    }

    /// Adds a key for a further password, under a lock of either mode. It is durable and was seen to open when this
    /// returns. Its id is given.
    ///
    /// Errors: [`RepositoryError::Refused`] for an empty password.
    pub async fn add_key(&self, lock: &Lock, password: &Password, new: &NewKey) -> Result<KeyId> {
        if password.is_empty() {
            return Err(RepositoryError::Refused("an empty password protects nothing".to_owned()));
        }
        let mut maker = Maker::ours();
        maker.username = new.username.clone().unwrap_or(maker.username);
        maker.hostname = new.hostname.clone().unwrap_or(maker.hostname);
        let log_n = new.scrypt_log_n.unwrap_or(key_file::DEFAULT_LOG_N);
        let (shared, secret) = (self.shared.clone(), password.clone());
        let contents = blocking(move || key_file::create(&shared.key, &secret, log_n, maker)).await??;
        let id = KeyId::of(&contents);
        let key = layout::key(id);
        lock.state().confirm().await?;
        put_new(&*self.shared.store, &key, Bytes::from(contents)).await?;
        if let Err(error) = self.assert_opens(id, password).await {
            if let Err(left) = self.shared.store.delete(&key).await {
                tracing::warn!(%left, "a key file that does not open could not be removed");
            }
            return Err(error);
        }
        Ok(id)
    }

    /// Reads a key file from the storage and opens it.
    async fn assert_opens(&self, id: KeyId, password: &Password) -> Result<()> {
        let key = layout::key(id);
        let contents = self.shared.store.get(&key).await?;
        if KeyId::of(&contents) != id {
            return Err(RepositoryError::damaged(key, "it was stored wrongly"));
        }
        let (shared, password) = (self.shared.clone(), password.clone());
        let same = blocking(move || {
            key_file::open(&contents, &password).is_ok_and(|opened| opened.is_same(&shared.key))
        });
        match same.await? {
            true => Ok(()),
            false => Err(RepositoryError::damaged(key, "it does not open with its password")),
        }
    }

    /// Removes a key, under an exclusive lock: two who remove each other's key would leave none.
    ///
    /// Errors: [`RepositoryError::Refused`] for the key that opened this repository, which is always left.
    pub async fn remove_key(&self, lock: &Lock, id: KeyId) -> Result<()> {
        let current = self.current_key();
        if id == current {
            return Err(RepositoryError::Refused(format!(
                "key {} is the one in use; it is not removed",
                id.short()
            )));
        }
        // Whoever removes the other keys must be able to come back.
        let contents = self.shared.store.get(&layout::key(current)).await;
        match contents {
            Ok(contents) if KeyId::of(&contents) == current => {}
            Ok(_) => {
                return Err(RepositoryError::damaged(
                    layout::key(current),
                    "its content does not match its name; no other key is removed",
                ));
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                return Err(RepositoryError::Refused(format!(
                    "key {} that opened the repository is not there any more; no other key is removed",
                    current.short()
                )));
            }
            Err(error) => return Err(error.into()),
        }
        lock.state().confirm().await?;
        self.shared.store.delete(&layout::key(id)).await?;
        Ok(())
    }

    /// Replaces the password that opened this repository, under an exclusive lock: adds a key for the new one, sees it
    /// open, and removes the old one. Gives the new key's id.
    ///
    /// Errors: [`RepositoryError::OldKeyStays`] where only the last step failed; then both passwords open the repository.
    pub async fn change_password(&self, lock: &Lock, password: &Password, new: &NewKey) -> Result<KeyId> {
        let old = self.current_key();
        let id = self.add_key(lock, password, new).await?;
        *sync::lock(&self.shared.opened_with) = id;
        match self.remove_key(lock, old).await {
            Ok(()) => Ok(id),
            Err(error) => Err(RepositoryError::OldKeyStays { new: id, old, reason: error.to_string() }),
        }
    }
}
