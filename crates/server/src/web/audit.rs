//! The audit log: one line of JSON for each action, with who, what, from where, and what came of it. What cannot be written down
//! is not done.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use basekeep_engine::EngineError;
use jiff::Timestamp;
use serde::Serialize;

/// The file is set aside as `.1` when it is larger than this, in bytes.
const LARGEST: u64 = 32 << 20;
/// The longest text in a line, in characters.
const LONGEST: usize = 500;

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    pub(crate) time: Timestamp,
    /// The user, as far as is known.
    pub(crate) who: &'a str,
    /// The client's address.
    pub(crate) from: &'a str,
    /// `login`, `logout`, `backup`, `drill`, `restore`, `plan`, `export`, `stop`, `request`.
    pub(crate) action: &'a str,
    /// What it was about.
    pub(crate) what: &'a str,
    /// `done`, `started`, `refused`, `failed`.
    pub(crate) outcome: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) detail: &'a str,
}

#[derive(Debug)]
pub(crate) struct Audit {
    path: PathBuf,
    file: Mutex<Option<(File, u64)>>,
    largest: u64,
}

impl Audit {
    pub(crate) fn open(path: &Path) -> Result<Self, EngineError> {
        let audit = Self { path: path.to_owned(), file: Mutex::new(None), largest: LARGEST };
        let failed = |error| {
            EngineError::failed(format!("cannot open the audit log {}", path.display())).caused_by(error)
        };
        *audit.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(audit.reopen().map_err(failed)?);
        Ok(audit)
    }

    fn reopen(&self) -> std::io::Result<(File, u64)> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    /// Writes a line. Names that clients chose are cut.
    pub(crate) fn write(&self, entry: &Entry<'_>) -> Result<(), EngineError> {
        let entry = Entry { who: cut(entry.who), what: cut(entry.what), detail: cut(entry.detail), ..*entry };
        let failed = |error: std::io::Error| {
            EngineError::failed(format!("cannot write the audit log {}", self.path.display()))
                .caused_by(error)
        };
        let mut line = serde_json::to_vec(&entry).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        self.append(&line).map_err(failed)
    }

    fn append(&self, line: &[u8]) -> std::io::Result<()> {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut file, mut size) = match held.take() {
            Some(open) => open,
            None => self.reopen()?,
        };
        if size > self.largest {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            std::fs::rename(&self.path, aside)?;
            (file, size) = self.reopen()?;
        }
        file.write_all(line)?;
        *held = Some((file, size + line.len() as u64));
        Ok(())
    }
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(LONGEST).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn entry<'a>(who: &'a str, what: &'a str) -> Entry<'a> {
        let time = Timestamp::UNIX_EPOCH;
        Entry { time, who, from: "127.0.0.1", action: "login", what, outcome: "refused", detail: "" }
    }

    #[test]
    fn each_action_is_a_line_that_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::open(&path).unwrap();
        audit.write(&entry("eve\n{}", &"x".repeat(10_000))).unwrap();
        audit.write(&entry("ada", "")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines.len(), lines[0]["who"].as_str()), (2, Some("eve\n{}")));
        assert_eq!(lines[0]["what"].as_str().unwrap().len(), LONGEST);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_log_is_bounded_and_an_unwritable_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit { largest: 300, ..Audit::open(&path).unwrap() };
        for _ in 0..20 {
            audit.write(&entry("ada", "x")).unwrap();
        }
        let total: u64 = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        assert!(total < 1200, "{total}");
        assert!(Audit::open(&folder.path().join("no/such/audit.jsonl")).is_err());
    }
}
