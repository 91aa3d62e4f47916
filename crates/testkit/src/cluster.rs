//! Throwaway clusters: created, started, and gone with the test process, however that ends.
//!
//! A small shell process waits for the end of a pipe whose other end this process holds. The kernel closes the pipe
//! on exit, panic and `kill -9` alike; the shell then stops the server at once and removes the directory.

use crate::database::TestDatabase;
use crate::programs::{Server, server};
use crate::unprivileged::{self, User};
use basekeep_postgres::ConnectOptions;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::{env, fs};

/// A running cluster. Clones share it; the last one to go takes it down.
#[derive(Clone)]
pub struct TestCluster {
    inner: Arc<Inner>,
}

/// How a server is brought to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Ends sessions, writes a checkpoint.
    Fast,
    /// As in a crash: the next start recovers.
    Immediate,
}

struct Inner {
    server: Server,
    superuser: &'static str,
    user: Option<User>,
    directory: PathBuf,
    port: u16,
    databases: AtomicU32,
    janitor: Child,
}

/// Runs when the pipe on its standard input ends. `$1` is the cluster's directory.
const JANITOR: &str = r#"
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
    kill -QUIT "$pid" 2>/dev/null
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ $tries -lt 100 ]; do sleep 0.05; tries=$((tries + 1)); done
    kill -KILL "$pid" 2>/dev/null
fi
cd / && rm -rf "$1"
"#;

impl TestCluster {
    /// The cluster of this version that the tests of one process share. Roles are shared too: give them names of
    /// your own, or use [`TestCluster::private`].
    pub fn shared(major: u32) -> Self {
        static SHARED: Mutex<BTreeMap<u32, TestCluster>> = Mutex::new(BTreeMap::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.entry(major).or_insert_with(|| Self::private(major, &[])).clone()
    }

    /// A cluster of its own, with these settings on top of the usual ones (quick and not durable).
    ///
    /// # Panics
    /// When the server is missing or does not start; the message has the end of its log.
    pub fn private(major: u32, settings: &[(&str, &str)]) -> Self {
        Self::with_superuser(server(major), "postgres", settings)
    }

    /// Like [`TestCluster::private`], with another name for the first superuser.
    ///
    /// # Panics
    /// As [`TestCluster::private`].
    pub fn with_superuser(server: Server, superuser: &'static str, settings: &[(&str, &str)]) -> Self {
        Self::with_files(server, superuser, settings, Inner::initdb)
    }

    /// Another cluster, from a copy of this one's files as they are now. This one is stopped.
    ///
    /// # Panics
    /// As [`TestCluster::private`].
    pub fn copied(&self, settings: &[(&str, &str)]) -> Self {
        Self::with_files(self.server().clone(), self.superuser(), settings, |copy| {
            let copied = Command::new("cp").arg("-a").arg(self.data_directory()).arg(copy.data()).status();
            assert!(copied.expect("cp starts").success());
        })
    }

    /// A hot standby of this cluster, which is running.
    ///
    /// # Panics
    /// As [`TestCluster::private`].
    pub fn standby(&self, settings: &[(&str, &str)]) -> Self {
        Self::with_files(self.server().clone(), self.superuser(), settings, |standby| {
            let output = unprivileged::command(&self.server().bin.join("pg_basebackup"), standby.user)
                .args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf", "--dbname"])
                .arg(self.url("postgres"))
                .arg("--pgdata")
                .arg(standby.data())
                .env_remove("LD_LIBRARY_PATH")
                .current_dir(&standby.directory)
                .output()
                .expect("pg_basebackup starts");
            assert!(output.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&output.stderr));
        })
    }

    fn with_files(
        server: Server,
        superuser: &'static str,
        settings: &[(&str, &str)],
        make: impl FnOnce(&Inner),
    ) -> Self {
        let directory = new_directory();
        let user = User::for_servers(&directory);
        if let Some(user) = user {
            user.give(&directory);
        }
        let janitor = Command::new("/bin/sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .expect("/bin/sh starts");
        let mut inner =
            Inner { server, superuser, user, directory, port: 0, databases: AtomicU32::new(0), janitor };
        make(&inner);
        inner.start_on_free_port(settings);
        Self { inner: Arc::new(inner) }
    }

    /// The installation it runs from.
    pub fn server(&self) -> &Server {
        &self.inner.server
    }

    /// The TCP port on 127.0.0.1, which is part of the socket's name too.
    pub fn port(&self) -> u16 {
        self.inner.port
    }

    /// The directory of its Unix socket.
    pub fn socket_directory(&self) -> &Path {
        &self.inner.directory
    }

    /// The data directory.
    pub fn data_directory(&self) -> PathBuf {
        self.inner.data()
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        self.inner.log()
    }

    /// The superuser's name: `postgres` unless it was told otherwise.
    pub fn superuser(&self) -> &'static str {
        self.inner.superuser
    }

    /// The superuser's URL over TCP. No password is asked.
    pub fn url(&self, database: &str) -> String {
        self.url_as(self.superuser(), database)
    }

    /// Another role's URL over TCP; name and database as URLs have them. No password is asked.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        format!("postgresql://{role}@127.0.0.1:{}/{database}", self.port())
    }

    /// The superuser's URL over the Unix socket.
    pub fn socket_url(&self, database: &str) -> String {
        let directory = self.socket_directory().display().to_string().replace('/', "%2F");
        format!("postgresql://{}@{directory}:{}/{database}", self.superuser(), self.port())
    }

    /// Options of the superuser for a database of this cluster, over TCP.
    pub fn options(&self, database: &str) -> ConnectOptions {
        crate::database::resolve(&self.url(database))
    }

    /// A new, empty database, dropped with the returned value.
    pub fn create_database(&self) -> TestDatabase {
        let number = self.inner.databases.fetch_add(1, Ordering::Relaxed);
        TestDatabase::create(self.clone(), format!("test_{number}"), "")
    }

    /// A new database with a name and `CREATE DATABASE` options of the caller's, such as
    /// `ENCODING 'SQL_ASCII' TEMPLATE template0`.
    pub fn create_database_as(&self, name: &str, options: &str) -> TestDatabase {
        TestDatabase::create(self.clone(), name.to_owned(), options)
    }

    /// Replaces `pg_hba.conf` and makes the server read it.
    pub fn set_hba(&self, lines: &str) {
        fs::write(self.inner.data().join("pg_hba.conf"), lines).expect("pg_hba.conf is writable");
        self.reload();
    }

    /// Writes a file that the server can read into the data directory, such as a certificate; mode 0600, the server's.
    pub fn write_file(&self, name: &str, content: &[u8]) {
        let path = self.inner.data().join(name);
        fs::write(&path, content).expect("the data directory is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("own file");
        if let Some(user) = self.inner.user {
            user.give(&path);
        }
    }

    /// Appends settings to `postgresql.conf`; [`TestCluster::reload`] or [`TestCluster::start`] makes them work.
    pub fn set(&self, settings: &[(&str, &str)]) {
        self.inner.set(settings);
    }

    /// Makes the server read its configuration again.
    pub fn reload(&self) {
        self.inner.pg_ctl(&["reload"]).expect("the server runs");
    }

    /// Stops the server; its data stays.
    pub fn stop(&self, how: Shutdown) {
        let mode = match how {
            Shutdown::Fast => "fast",
            Shutdown::Immediate => "immediate",
        };
        self.inner.pg_ctl(&["stop", "-w", "-m", mode]).expect("the server runs");
    }

    /// Starts the server again, on the same port.
    ///
    /// # Panics
    /// When it does not start; the message has the end of its log.
    pub fn start(&self) {
        self.inner.start().unwrap_or_else(|log| panic!("the server did not start:\n{log}"));
    }

    /// A command that runs as the servers' user when this process is root: for programs that refuse root.
    pub fn command(&self, program: &Path) -> Command {
        unprivileged::command(program, self.inner.user)
    }
}

impl Inner {
    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> String {
        let log = fs::read(self.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn initdb(&self) {
        let output = unprivileged::command(&self.server.bin.join("initdb"), self.user)
            .args(["-U", self.superuser, "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "--no-sync", "-D"])
            .arg(self.data())
            .env_remove("LD_LIBRARY_PATH")
            .current_dir(&self.directory)
            .output()
            .expect("initdb starts");
        assert!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn start_on_free_port(&mut self, settings: &[(&str, &str)]) {
        let socket_directory = self.directory.display().to_string();
        self.set(&[
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("shared_buffers", "64MB"),
            ("max_connections", "100"),
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", &socket_directory),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
        ]);
        self.set(settings);
        // Between the choice of a free port and its use another process may take it.
        for attempt in 1.. {
            self.port = free_port();
            self.set(&[("port", &self.port.to_string())]);
            match self.start() {
                Ok(()) => return,
                Err(log) if attempt == 5 || !log.contains("could not bind") => {
                    panic!("PostgreSQL {} did not start:\n{log}", self.server.major)
                }
                Err(_) => {}
            }
        }
    }

    fn set(&self, settings: &[(&str, &str)]) {
        let path = self.data().join("postgresql.conf");
        let mut text = fs::read_to_string(&path).expect("postgresql.conf is readable");
        for (name, value) in settings {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        }
        fs::write(&path, text).expect("postgresql.conf is writable");
    }

    /// The end of the log as an error.
    fn start(&self) -> Result<(), String> {
        let log = self.directory.join("log");
        self.pg_ctl(&["start", "-w", "-t", "60", "-l", &log.display().to_string()]).map_err(|_| {
            let text = self.log();
            text[text.len().saturating_sub(4000)..].to_owned()
        })
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Result<(), ()> {
        let status = unprivileged::command(&self.server.bin.join("pg_ctl"), self.user)
            .arg("-D")
            .arg(self.data())
            .args(arguments)
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir(&self.directory)
            .process_group(0)
            .status()
            .expect("pg_ctl starts");
        if status.success() { Ok(()) } else { Err(()) }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// An empty directory whose path is short enough for a Unix socket (107 bytes).
pub(crate) fn new_directory() -> PathBuf {
    let temporary = env::temp_dir();
    let parent = if temporary.as_os_str().len() > 60 { Path::new("/tmp") } else { &temporary };
    let directory = tempfile::Builder::new().prefix("basekeep-test-").tempdir_in(parent);
    directory.expect("the temporary directory is writable").keep()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback works");
    listener.local_addr().expect("a bound socket has an address").port()
}
