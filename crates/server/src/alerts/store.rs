//! The file of the alerts' state. Several programs may use it at once; each change is made under a lock.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::state::States;

const VERSION: u32 = 1;

/// Larger files are not ours.
const LARGEST: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(flatten)]
    states: States,
}

/// Where the state is kept: a file, or memory alone.
#[derive(Debug)]
pub(super) enum Store {
    File(PathBuf),
    Memory(Mutex<States>),
}

impl Store {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        file.map_or_else(|| Self::Memory(Mutex::default()), Self::File)
    }

    /// The state as it is.
    pub(super) fn read(&self) -> States {
        match self {
            Self::File(file) => load(file),
            Self::Memory(states) => states.lock().map(|states| states.clone()).unwrap_or_default(),
        }
    }

    /// Changes the state. What cannot be written is logged: the worst that follows is an alert that is told again.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut States) -> T) -> T {
        let file = match self {
            Self::Memory(states) => {
                return match states.lock() {
                    Ok(mut states) => change(&mut states),
                    Err(poisoned) => change(&mut poisoned.into_inner()),
                };
            }
            Self::File(file) => file,
        };
        let _lock = lock(file).inspect_err(
            |error| tracing::warn!(%error, file = %file.display(), "the alerts' state is not locked"),
        );
        let mut states = load(file);
        let before = states.clone();
        let result = change(&mut states);
        if states != before
            && let Err(error) = save(file, &states)
        {
            tracing::warn!(%error, file = %file.display(), "the alerts' state cannot be written: alerts may be repeated");
        }
        result
    }
}

/// Held until it is dropped.
fn lock(file: &Path) -> io::Result<File> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(beside(file, ".lock"))?;
    lock.lock()?;
    Ok(lock)
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// A file that is not there is an empty state; so is a damaged one, which is set aside.
fn load(file: &Path) -> States {
    let text = match read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return States::default(),
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), "the alerts' state cannot be read: alerts may be repeated");
            return States::default();
        }
    };
    match serde_json::from_str::<Document>(&text) {
        Ok(document) if document.version == VERSION => document.states,
        other => {
            let why =
                other.err().map_or_else(|| "it has another version".to_owned(), |error| error.to_string());
            tracing::warn!(%why, file = %file.display(), "the alerts' state is damaged: it is set aside");
            let _ = std::fs::rename(file, beside(file, ".damaged"));
            States::default()
        }
    }
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn save(file: &Path, states: &States) -> io::Result<()> {
    let text = serde_json::to_string(&Document { version: VERSION, states: states.clone() })?;
    let new = beside(file, ".new");
    let mut out = OpenOptions::new().create(true).truncate(true).write(true).open(&new)?;
    out.write_all(text.as_bytes())?;
    out.sync_data()?;
    std::fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use basekeep_engine::monitor::{Finding, Severity};

    #[test]
    fn the_state_is_kept_and_damage_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/alerts.json");
        let store = Store::new(Some(file.clone()));
        let now = jiff::Timestamp::UNIX_EPOCH;
        let finding = Finding::of_source("a", "c", Severity::Warning, "m", "r");
        let news = store.change(|states| states.observe("s", vec![finding], now, None));
        assert_eq!(news.len(), 1);
        assert_eq!(Store::new(Some(file.clone())).read().firing().count(), 1);
        std::fs::write(&file, "{\"version\":1,\"entries\":7}").unwrap();
        assert!(store.read().is_empty());
        assert!(folder.path().join("deep/alerts.json.damaged").exists());
    }
}
