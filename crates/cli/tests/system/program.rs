//! Runs `basekeep` and stock programs, and keeps what they said.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// A repository in a folder of its own, and an environment that nobody's configuration reaches.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        bench.run(["init", "--repo", bench.repo().to_str().unwrap()]).expect(0);
        bench
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    /// `basekeep` with these arguments; the repository is in the environment.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_basekeep"));
        clean(&mut command, self.folder.path());
        command
            .env("BASEKEEP_REPOSITORY", self.repo())
            .env("BASEKEEP_PASSWORD", PASSWORD)
            .env("BASEKEEP_POSTGRES_BIN", binaries())
            .args(args);
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    pub(crate) fn backup(&self, url: &str) -> Ran {
        // No storage service runs beside these databases.
        self.run(["backup", url, "--name", "source", "--no-files"])
    }

    /// How many backups `list` shows.
    pub(crate) fn snapshots(&self) -> usize {
        let listed = self.run(["list", "--json"]).expect(0).json();
        listed["snapshots"].as_array().unwrap().len()
    }

    /// Stock restic on the repository.
    pub(crate) fn restic<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        let mut command = Command::new(basekeep_testkit::tool("restic", 0));
        clean(&mut command, self.folder.path());
        command.env("RESTIC_PASSWORD", PASSWORD).arg("--no-cache").arg("-r").arg(self.repo()).args(args);
        Ran::of(command.output().unwrap())
    }

    /// Restores the newest snapshot with stock restic; the source's folder.
    pub(crate) fn restic_restore(&self) -> PathBuf {
        let target = self.folder.path().join("stock");
        self.restic([
            "restore",
            "latest",
            "--host",
            "source",
            "--verify",
            "--target",
            target.to_str().unwrap(),
        ])
        .expect(0);
        target.join("source")
    }
}

/// No variable of the developer's machine decides what a test sees.
pub(crate) fn clean(command: &mut Command, home: &Path) {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::null());
}

/// All test servers' programs, for `BASEKEEP_POSTGRES_BIN`.
pub(crate) fn binaries() -> std::ffi::OsString {
    std::env::join_paths(basekeep_testkit::servers().into_iter().map(|server| server.bin)).unwrap()
}
