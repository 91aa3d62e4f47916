//! Backups that run or ran on this machine, whoever started them: one small file each in the state folder, beside the
//! log of those that were detached. A file is locked as long as its process lives, so a run whose process is gone, or
//! whose number another process has by now, is never taken for one that runs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use basekeep_engine::EngineError;
use basekeep_engine::postgres::Environment;
use basekeep_server::history::state_folder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// So many runs are remembered.
const KEPT: usize = 100;
/// Logs of ended runs beyond this many bytes in all go, oldest first.
const KEPT_BYTES: u64 = 32 << 20;
const VERSION: u32 = 1;

/// What is known of a run. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// Its name: when it began, and its process.
    pub(crate) run: String,
    pub(crate) pid: u32,
    pub(crate) started: Timestamp,
    /// The names of its sources.
    pub(crate) sources: Vec<String>,
    /// It has a log.
    pub(crate) detached: bool,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) exit_code: Option<u8>,
    /// Snapshots that it made: source and id.
    pub(crate) snapshots: Vec<(String, String)>,
    /// The first thing that went wrong.
    pub(crate) error: Option<String>,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    /// With this exit code.
    Ended(u8),
    /// Its process went away without a word: killed, or the machine was switched off.
    Died,
}

impl State {
    /// The word in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended(_) => "ended",
            Self::Died => "died",
        }
    }
}

/// The folder of runs.
#[derive(Debug, Clone)]
pub(crate) struct Runs(PathBuf);

/// This process's own run. Its file is locked until it ends.
pub(crate) struct Own {
    file: File,
    record: Record,
}

impl Runs {
    /// `$XDG_STATE_HOME/basekeep/log`; `None` where there is no such place.
    pub(crate) fn of(env: &Environment) -> Option<Self> {
        state_folder(None, env).map(|folder| Self(folder.join("log")))
    }

    pub(crate) fn log(&self, run: &str) -> PathBuf {
        self.0.join(format!("{run}.log"))
    }

    fn record(&self, run: &str) -> PathBuf {
        self.0.join(format!("{run}.json"))
    }

    /// A name that no other run has.
    pub(crate) fn new_name(&self, pid: u32) -> String {
        let time = Timestamp::now().strftime("%Y%m%d-%H%M%S");
        let base = format!("{time}-{pid}");
        let names = std::iter::once(base.clone()).chain((2..).map(|n: u32| format!("{base}-{n}")));
        let free = |name: &String| !self.record(name).exists() && !self.log(name).exists();
        names.into_iter().take(1000).find(free).unwrap_or(base)
    }

    /// Makes the log of a new run, readable for its owner alone, and removes what is too old.
    pub(crate) fn make_log(&self, run: &str) -> Result<File, EngineError> {
        self.make_folder()?;
        self.rotate();
        let path = self.log(run);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
        file.map_err(|error| failed("write", &path, error))
    }

    /// Takes note that this process does a run from now on.
    pub(crate) fn begin(&self, run: &str, sources: Vec<String>, detached: bool) -> Result<Own, EngineError> {
        self.make_folder()?;
        if !detached {
            self.rotate();
        }
        let path = self.record(run);
        let record = Record {
            version: VERSION,
            run: run.to_owned(),
            pid: std::process::id(),
            started: Timestamp::now(),
            sources,
            detached,
            ended: None,
            exit_code: None,
            snapshots: Vec::new(),
            error: None,
        };
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| failed("write", &path, error))?;
        let mut own = Own { file, record };
        own.file.lock().and_then(|()| own.write()).map_err(|error| failed("write", &path, error))?;
        Ok(own)
    }

    /// All runs that are remembered, newest first.
    pub(crate) fn all(&self) -> Vec<(Record, State)> {
        let mut found: Vec<_> = self.names().iter().rev().filter_map(|name| self.read(name)).collect();
        found.sort_by_key(|(record, _)| std::cmp::Reverse(record.started));
        found
    }

    /// One run; `None` where there is none, or its file says nothing yet.
    pub(crate) fn read(&self, run: &str) -> Option<(Record, State)> {
        let mut file = File::open(self.record(run)).ok()?;
        let running = match file.try_lock_shared() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(_)) => return None,
        };
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        let record: Record = serde_json::from_str(&text).ok()?;
        let state = match (record.exit_code, running) {
            (Some(code), _) => State::Ended(code),
            (None, true) => State::Running,
            (None, false) => State::Died,
        };
        Some((record, state))
    }

    /// Names of runs, oldest first.
    fn names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return Vec::new() };
        let names = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".json").map(str::to_owned)
        });
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }

    fn make_folder(&self) -> Result<(), EngineError> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|error| failed("make", &self.0, error))
    }

    /// Forgets the oldest runs. What cannot be removed stays, which is no reason not to back up.
    fn rotate(&self) {
        let mut bytes = 0;
        for (n, (record, state)) in self.all().into_iter().enumerate() {
            let log = self.log(&record.run);
            bytes += log.metadata().map_or(0, |data| data.len());
            if state != State::Running && (n + 1 >= KEPT || bytes > KEPT_BYTES) {
                let _ = std::fs::remove_file(log);
                let _ = std::fs::remove_file(self.record(&record.run));
            }
        }
    }
}

impl Own {
    /// A snapshot was made.
    pub(crate) fn made(&mut self, source: &str, id: &str) {
        self.record.snapshots.push((source.to_owned(), id.to_owned()));
        let _ = self.write();
    }

    /// Something went wrong.
    pub(crate) fn failed(&mut self, error: &str) {
        self.record.error.get_or_insert_with(|| error.to_owned());
    }

    /// It ends. Its file is let go with the process.
    pub(crate) fn end(&mut self, exit_code: u8) {
        self.record.ended = Some(Timestamp::now());
        self.record.exit_code = Some(exit_code);
        let _ = self.write();
    }

    fn write(&mut self) -> std::io::Result<()> {
        let text = serde_json::to_string(&self.record)? + "\n";
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> EngineError {
    EngineError::failed(format!("cannot {what} {}", path.display()))
        .caused_by(error)
        .hint("XDG_STATE_HOME names another place for logs and state")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(folder: &Path) -> Runs {
        Runs(folder.join("log"))
    }

    #[test]
    fn a_run_is_seen_running_only_while_its_process_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let runs = runs(folder.path());
        let name = runs.new_name(7);
        let mut own = runs.begin(&name, vec!["shop".to_owned()], false).unwrap();
        assert_eq!(runs.read(&name).unwrap().1, State::Running);
        own.made("shop", "abc");
        // As if it were killed: another process may have its number by now.
        drop(own);
        let (record, state) = runs.read(&name).unwrap();
        assert_eq!((state, record.pid), (State::Died, std::process::id()));
        assert_eq!(record.snapshots, [("shop".to_owned(), "abc".to_owned())]);
        let second = runs.new_name(7);
        assert_ne!(second, name);
        let mut own = runs.begin(&second, vec!["shop".to_owned()], false).unwrap();
        own.failed("no");
        own.failed("later");
        own.end(13);
        let (record, state) = runs.read(&second).unwrap();
        assert_eq!((state, record.error.as_deref()), (State::Ended(13), Some("no")));
    }

    #[test]
    fn the_oldest_runs_are_forgotten_and_what_runs_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let runs = runs(folder.path());
        let running = runs.begin("00000000-000000-1", Vec::new(), true).unwrap();
        for n in 0..KEPT + 20 {
            let name = format!("20260101-{n:06}-1");
            runs.make_log(&name).unwrap();
            runs.begin(&name, Vec::new(), true).unwrap().end(0);
        }
        let left = runs.all();
        assert!(left.len() <= KEPT + 1, "{}", left.len());
        assert!(left.iter().any(|(_, state)| *state == State::Running));
        let logs = std::fs::read_dir(folder.path().join("log")).unwrap();
        let logs =
            logs.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "log"));
        assert!(logs.count() <= KEPT, "logs go with their runs");
        drop(running);
    }

    #[test]
    fn files_are_readable_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let runs = runs(folder.path());
        runs.make_log("a").unwrap();
        runs.begin("a", Vec::new(), true).unwrap();
        let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(runs.log("a")), mode(runs.record("a")), mode(runs.0.clone())),
            (0o600, 0o600, 0o700)
        );
    }
}
