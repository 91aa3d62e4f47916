//! The repository's keys: listed, added, removed, and a password changed. Each with the lock that it needs.

use basekeep_repository::{Lock, LockMode, NewKey, Password, Repository, RepositoryError};
use jiff::Timestamp;

use crate::{EngineError, Interrupt, ResultExt};

/// One line of `key list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySummary {
    /// Full id, 64 hexadecimal digits.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// By which user, empty if unknown.
    pub username: String,
    /// On which machine, empty if unknown.
    pub hostname: String,
    /// Whether its password was given just now.
    pub current: bool,
}

/// What [`list`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyListing {
    /// The keys, oldest first.
    pub keys: Vec<KeySummary>,
    /// Key files that cannot be read, with the reason.
    pub unreadable: Vec<(String, String)>,
}

/// Whom a new key is for.
#[derive(Debug, Clone, Default)]
pub struct KeyOwner {
    /// A user's name; this process's if `None`.
    pub username: Option<String>,
    /// A machine's name; this one's if `None`.
    pub hostname: Option<String>,
}

impl KeyOwner {
    fn new_key(&self) -> NewKey {
        NewKey { username: self.username.clone(), hostname: self.hostname.clone(), scrypt_log_n: None }
    }
}

/// The repository's keys.
pub async fn list(repository: &Repository) -> Result<KeyListing, EngineError> {
    let found = repository.keys().await.doing(|| "list the keys")?;
    let keys = found.keys.into_iter().map(|key| KeySummary {
        id: key.id.to_string(),
        created: key.created,
        username: key.username,
        hostname: key.hostname,
        current: key.current,
    });
    Ok(KeyListing { keys: keys.collect(), unreadable: found.unreadable })
}

/// Adds a key for a further password and gives its id. It was seen to open the repository.
pub async fn add(
    repository: &Repository,
    password: &Password,
    owner: &KeyOwner,
    interrupt: &Interrupt,
) -> Result<String, EngineError> {
    refuse_empty(password)?;
    let (lock, new) = (locked(repository, LockMode::Shared).await?, owner.new_key());
    let work = async { repository.add_key(&lock, password, &new).await.doing(|| "add a key") };
    let id = released(interrupt.guard(work).await, lock).await?;
    Ok(id.to_string())
}

/// Removes the key whose id begins so, and gives its whole id.
///
/// Errors: kind `Usage` for the key in use, and for an id that fits none or several.
pub async fn remove(
    repository: &Repository,
    prefix: &str,
    interrupt: &Interrupt,
) -> Result<String, EngineError> {
    let id = repository.find_key(prefix).await.map_err(|error| match error {
        RepositoryError::NoSuchFile { .. } | RepositoryError::AmbiguousFile { .. } => {
            EngineError::from(error).hint("`basekeep key list` shows all of them")
        }
        other => EngineError::from(other).within("find the key"),
    })?;
    if id == repository.current_key() {
        return Err(EngineError::usage(format!("key {} belongs to the password in use", id.short()))
            .hint("`basekeep key passwd` replaces it; or open the repository with another key's password"));
    }
    let lock = locked(repository, LockMode::Exclusive).await?;
    let doing = || format!("remove key {}", id.short());
    let work = async { repository.remove_key(&lock, id).await.doing(doing) };
    released(interrupt.guard(work).await, lock).await?;
    Ok(id.to_string())
}

/// Replaces the password that opened the repository and gives the new key's id. The old one goes last.
pub async fn change_password(
    repository: &Repository,
    password: &Password,
    owner: &KeyOwner,
    interrupt: &Interrupt,
) -> Result<String, EngineError> {
    refuse_empty(password)?;
    let (lock, new) = (locked(repository, LockMode::Exclusive).await?, owner.new_key());
    let work = async {
        repository.change_password(&lock, password, &new).await.map_err(|error| match &error {
            RepositoryError::OldKeyStays { old, .. } => {
                let hint = format!(
                    "remove it with the new password: `basekeep key remove {}`, from an account that may delete",
                    old.short()
                );
                EngineError::from(error).hint(hint)
            }
            _ => EngineError::from(error).within("change the password"),
        })
    };
    let id = released(interrupt.guard(work).await, lock).await?;
    Ok(id.to_string())
}

fn refuse_empty(password: &Password) -> Result<(), EngineError> {
    match password.is_empty() {
        true => {
            Err(EngineError::usage("the new password is empty").hint("an empty password protects nothing"))
        }
        false => Ok(()),
    }
}

async fn locked(repository: &Repository, mode: LockMode) -> Result<Lock, EngineError> {
    repository.lock(mode).await.doing(|| "lock the repository")
}

async fn released<T>(result: Result<T, EngineError>, lock: Lock) -> Result<T, EngineError> {
    let released = lock.release().await;
    let value = result?;
    released.doing(|| "remove the repository's lock")?;
    Ok(value)
}
