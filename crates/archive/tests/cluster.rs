//! A throwaway server, driven with the programs that come with PostgreSQL.
//!
//! Not the test kit: that one needs the database client, which this crate's tests should not wait for.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A running server, gone with the value.
pub(crate) struct Cluster {
    pub(crate) major: u32,
    directory: TempDir,
    user: Option<(u32, u32)>,
}

impl Cluster {
    pub(crate) fn start(major: u32) -> Self {
        Self::start_with(major, "")
    }

    /// Starts a server with these lines at the end of its configuration.
    pub(crate) fn start_with(major: u32, settings: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("bk-archive-").tempdir_in("/tmp").unwrap();
        let user = (directory.path().metadata().unwrap().uid() == 0).then(server_user);
        if let Some((uid, gid)) = user {
            chown(directory.path(), Some(uid), Some(gid)).unwrap();
        }
        let cluster = Self { major, directory, user };
        let data = cluster.data();
        cluster.server_program(
            "initdb",
            &["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "-N", "-D", &data],
        );
        let conf = format!("{data}/postgresql.conf");
        let mut text = fs::read_to_string(&conf).unwrap();
        text.push_str(&format!(
            "\nfsync = off\nfull_page_writes = off\nshared_buffers = 32MB\nlisten_addresses = ''\n\
             unix_socket_directories = '{}'\ntimezone = UTC\n{settings}\n",
            cluster.directory.path().display()
        ));
        fs::write(&conf, text).unwrap();
        let log = format!("{}/log", cluster.directory.path().display());
        cluster.server_program("pg_ctl", &["start", "-w", "-s", "-D", &data, "-l", &log]);
        cluster
    }

    pub(crate) fn create_database(&self, name: &str) {
        self.psql("postgres", &["-c", &format!("CREATE DATABASE \"{name}\" TEMPLATE template0")]);
    }

    /// psql with these arguments; the first error ends it.
    pub(crate) fn psql(&self, database: &str, arguments: &[&str]) -> String {
        let mut command = self.client("psql", self.major, database);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).args(arguments);
        String::from_utf8(run(&mut command).stdout).unwrap()
    }

    /// A client program of a PostgreSQL release, connected to a database of this server.
    pub(crate) fn client(&self, name: &str, major: u32, database: &str) -> Command {
        let mut command = Command::new(program(name, major));
        command
            .env("PGHOST", self.directory.path())
            .env("PGUSER", "postgres")
            .env("PGTZ", "UTC")
            .env("PGCLIENTENCODING", "UTF8")
            .arg("-d")
            .arg(format!("dbname={database}"));
        command
    }

    fn data(&self) -> String {
        format!("{}/data", self.directory.path().display())
    }

    fn server_program(&self, name: &str, arguments: &[&str]) {
        let mut command = Command::new(program(name, self.major));
        command.args(arguments).current_dir("/").stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        // The server that pg_ctl starts would keep pipes open.
        if name == "pg_ctl" {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            assert!(command.status().unwrap().success(), "pg_ctl {arguments:?}");
        } else {
            run(&mut command);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let data = self.data();
        if Path::new(&format!("{data}/postmaster.pid")).exists() {
            self.server_program("pg_ctl", &["stop", "-s", "-m", "immediate", "-D", &data]);
        }
    }
}

/// Runs a program to its end; its messages are part of the panic when it fails.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{messages}");
    output
}

/// A program of a PostgreSQL release, as `scripts/setup test` installs it.
fn program(name: &str, major: u32) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cache = std::env::var_os("BASEKEEP_CACHE").map_or_else(|| root.join(".cache"), PathBuf::from);
    let candidates = [
        cache.join(format!("postgres/{major}/bin/{name}")),
        PathBuf::from(format!("/usr/lib/postgresql/{major}/bin/{name}")),
        // Release 17 comes as a server without client programs.
        cache.join(format!("postgres/{}/bin/{name}", major + 1)),
    ];
    let found = candidates.iter().find_map(|path| path.canonicalize().ok());
    found.unwrap_or_else(|| panic!("{name} of PostgreSQL {major} is missing: run scripts/setup test"))
}

/// The server refuses to run as root.
fn server_user() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let user = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let fields: Vec<_> = line.split(':').collect();
        Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
    };
    user("postgres").or_else(|| user("nobody")).expect("a user postgres or nobody")
}
