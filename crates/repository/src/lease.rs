//! Leases: which of several servers does a job. They are ours; stock restic does not look into their folder.
//!
//! A lease is a folder of numbered files. The file with the highest number says who has it, and until when each job was done.
//! Every change is a new number, put where nothing is: taking it, renewing it, giving it back. So of two who want
//! the next number one gets it, and whoever finds a higher number than its own has lost it. An owner that stops
//! renewing is noticed by the number that stands still, on the observer's own steady clock: no two clocks have to agree.
//!
//! Where storage has no put-if-absent of its own, two can believe in the same number for a moment. Each one therefore looks
//! again after a pause, as with restic's locks, and the one whose content is not there has lost.

mod file;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use basekeep_store::{ErrorKind, Put};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::file::LeaseFile;
use crate::id::sha256;
use crate::{Repository, RepositoryError, Result, layout, sync, unpacked};

/// Times of a lease.
#[derive(Debug, Clone)]
pub struct LeaseOptions {
    /// After how long without a renewal others take it over.
    pub expires: Duration,
    /// The pause before the second look, where a list may show late what was put.
    pub settle: Duration,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        Self { expires: Duration::from_secs(60), settle: Duration::from_millis(300) }
    }
}

/// All leases of a repository, as one server sees them. It has to live as long as the server does: how long the others'
/// leases stand still is known from one look to the next.
#[derive(Debug)]
pub struct Leases {
    repository: Repository,
    options: LeaseOptions,
    seen: Mutex<BTreeMap<String, Seen>>,
}

/// What was seen of a lease that somebody else has.
#[derive(Debug, Clone, Copy)]
struct Seen {
    number: u64,
    since: Instant,
}

/// What became of asking for a lease.
#[derive(Debug)]
pub enum LeaseAttempt {
    /// It is ours.
    Held(Lease),
    /// Somebody else has it: `host (process 123)`.
    Busy(String),
}

/// A lease that is held, and renewed until it is released, dropped or lost.
#[derive(Debug)]
pub struct Lease {
    state: Arc<State>,
    renewing: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    repository: Repository,
    options: LeaseOptions,
    folder: String,
    nonce: String,
    done: BTreeMap<String, Timestamp>,
    number: Mutex<u64>,
    lost: watch::Sender<Option<String>>,
}

impl Leases {
    /// The leases of a repository.
    pub fn new(repository: Repository, options: LeaseOptions) -> Self {
        Self { repository, options, seen: Mutex::default() }
    }

    /// Takes the lease of `scope` unless somebody else has it.
    pub async fn acquire(&self, scope: &str) -> Result<LeaseAttempt> {
        let folder = self.folder(scope);
        let number = newest(&self.repository, &folder).await?;
        let before = match number {
            0 => None,
            number => match read(&self.repository, &folder, number).await? {
                Some(file) => Some(file),
                // It was replaced meanwhile: its owner is alive.
                None => return Ok(LeaseAttempt::Busy("another server".to_owned())),
            },
        };
        if let Some(file) = &before
            && !file.released
            && !self.stands_still(scope, number, file)
        {
            return Ok(LeaseAttempt::Busy(file.owner()));
        }
        let state = State {
            repository: self.repository.clone(),
            options: self.options.clone(),
            folder,
            nonce: hex::encode(rand::random::<[u8; 16]>()),
            done: before.map(|file| file.done).unwrap_or_default(),
            number: Mutex::new(number),
            lost: watch::Sender::new(None),
        };
        if let Some(other) = state.advance(false, &state.done).await? {
            return Ok(LeaseAttempt::Busy(other));
        }
        sync::lock(&self.seen).remove(scope);
        let state = Arc::new(state);
        let renewing = Some(tokio::spawn(renew(state.clone())));
        Ok(LeaseAttempt::Held(Lease { state, renewing }))
    }

    /// Until when each job was done, by what the lease of `scope` says, whoever has it.
    pub async fn done(&self, scope: &str) -> Result<BTreeMap<String, Timestamp>> {
        let folder = self.folder(scope);
        let number = newest(&self.repository, &folder).await?;
        if number == 0 {
            return Ok(BTreeMap::new());
        }
        let file = read(&self.repository, &folder, number).await?;
        Ok(file.map(|file| file.done).unwrap_or_default())
    }

    /// Whether a lease has not moved for as long as it may not.
    fn stands_still(&self, scope: &str, number: u64, file: &LeaseFile) -> bool {
        let mut seen = sync::lock(&self.seen);
        let entry = seen.entry(scope.to_owned()).or_insert(Seen { number, since: Instant::now() });
        if entry.number != number {
            *entry = Seen { number, since: Instant::now() };
        }
        // The owner's word counts where it is more careful than ours.
        entry.since.elapsed() >= self.options.expires.max(Duration::from_secs(file.expires_seconds))
    }

    /// Names of sources are nobody's business: the folder's name is a hash.
    fn folder(&self, scope: &str) -> String {
        let name = sha256(format!("{}\0{scope}", self.repository.id()).as_bytes());
        format!("{}{}/", layout::LEASES, hex::encode(&name[..16]))
    }
}

impl Lease {
    /// Until when `job` was done when the lease was taken.
    pub fn done(&self, job: &str) -> Option<Timestamp> {
        self.state.done.get(job).copied()
    }

    /// Ends when the lease is lost, with the reason.
    pub async fn lost(&self) -> String {
        let mut lost = self.state.lost.subscribe();
        let reason = lost.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Gives it back; `done` is a job and until when it is done now.
    pub async fn release(mut self, done: Option<(&str, Timestamp)>) -> Result<()> {
        if let Some(renewing) = self.renewing.take() {
            // A renewal that is cut off may have its number already; then ours is the one after it.
            renewing.abort();
            let _ = renewing.await;
        }
        if let Some(reason) = self.state.lost.borrow().clone() {
            return Err(RepositoryError::LockLost { reason });
        }
        let mut all = self.state.done.clone();
        if let Some((job, time)) = done {
            all.insert(job.to_owned(), time);
        }
        // The renewal that was cut off can make the first attempt find its own number taken.
        for _ in 0..2 {
            match self.state.advance(true, &all).await? {
                None => return Ok(()),
                Some(_) if self.state.follow_own().await? => {}
                Some(other) => return Err(RepositoryError::LockLost { reason: format!("{other} has it") }),
            }
        }
        Err(RepositoryError::LockLost { reason: "it could not be given back".to_owned() })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(renewing) = self.renewing.take() {
            renewing.abort();
        }
    }
}

impl State {
    /// Puts the next number. Gives who has it instead.
    async fn advance(&self, released: bool, done: &BTreeMap<String, Timestamp>) -> Result<Option<String>> {
        let store = &self.repository.shared.store;
        let number = *sync::lock(&self.number) + 1;
        let ours = LeaseFile::ours(&self.nonce, released, self.options.expires, done.clone());
        let key = key(&self.folder, number);
        let sealed = seal(&self.repository, &ours)?;
        let put = store.put(&key, sealed.clone()).await?;
        if !store.lists_at_once() {
            tokio::time::sleep(self.options.settle).await;
        }
        // An answer that was lost looks like somebody else's number; a storage without conditions may have let both in.
        if put == Put::AlreadyExists || !store.lists_at_once() {
            match read(&self.repository, &self.folder, number).await? {
                Some(file) if file.nonce == self.nonce => {}
                Some(file) => return Ok(Some(file.owner())),
                None => return Ok(Some("another server".to_owned())),
            }
        }
        let highest = newest(&self.repository, &self.folder).await?;
        if highest > number {
            // We slept, and others went past us.
            self.delete(number).await;
            return Ok(Some("another server".to_owned()));
        }
        *sync::lock(&self.number) = number;
        self.delete_before(number).await;
        Ok(None)
    }

    /// After a number turned out to be taken: whether it is our own, so that the next one can be tried.
    async fn follow_own(&self) -> Result<bool> {
        let highest = newest(&self.repository, &self.folder).await?;
        let file = read(&self.repository, &self.folder, highest).await?;
        let own = file.is_some_and(|file| file.nonce == self.nonce && !file.released);
        if own {
            *sync::lock(&self.number) = highest;
        }
        Ok(own)
    }

    /// Older numbers mean nothing any more. Storage that refuses deletes keeps them.
    async fn delete_before(&self, number: u64) {
        let Ok(objects) = self.repository.shared.store.list(&self.folder).await else { return };
        for old in objects.iter().filter_map(|object| number_of(&object.key)).filter(|old| *old < number) {
            self.delete(old).await;
        }
    }

    async fn delete(&self, number: u64) {
        if let Err(error) = self.repository.shared.store.delete(&key(&self.folder, number)).await {
            tracing::debug!(%error, "an old number of a lease stays");
        }
    }

    fn lose(&self, reason: String) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert(reason);
            first
        });
    }
}

/// Renews a lease until it is lost.
async fn renew(state: Arc<State>) {
    let every = state.options.expires / 3;
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(every).await;
        let began = Instant::now();
        match state.advance(false, &state.done).await {
            Ok(None) => renewed = began,
            Ok(Some(other)) => return state.lose(format!("{other} has it")),
            Err(error) => {
                tracing::warn!(%error, "the lease could not be renewed yet");
                // Whoever watches it will take it soon.
                if renewed.elapsed() + every >= state.options.expires {
                    return state.lose(format!("it could not be renewed: {error}"));
                }
            }
        }
    }
}

fn key(folder: &str, number: u64) -> String {
    format!("{folder}{number:016}")
}

fn number_of(key: &str) -> Option<u64> {
    let name = key.rsplit('/').next()?;
    if name.len() == 16 { name.parse().ok() } else { None }
}

/// The highest number; 0 where there is none.
async fn newest(repository: &Repository, folder: &str) -> Result<u64> {
    let objects = repository.shared.store.list(folder).await?;
    Ok(objects.iter().filter_map(|object| number_of(&object.key)).max().unwrap_or(0))
}

/// `None` where there is no such file (any more). One that cannot be read is as one of an unknown owner.
async fn read(repository: &Repository, folder: &str, number: u64) -> Result<Option<LeaseFile>> {
    let data = match repository.shared.store.get(&key(folder, number)).await {
        Ok(data) => data,
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let opened = repository.shared.key.open(&data).map_err(|error| error.to_string());
    let file = opened.and_then(unpacked::decode).and_then(|json| LeaseFile::decode(&json));
    Ok(Some(file.unwrap_or_else(|reason| {
        tracing::warn!(reason, "a lease cannot be read; it is honoured until it expires");
        LeaseFile::default()
    })))
}

fn seal(repository: &Repository, file: &LeaseFile) -> Result<Bytes> {
    Ok(repository.shared.key.seal(&unpacked::encode(&file.encode()?)?).into())
}

#[cfg(test)]
mod tests;
