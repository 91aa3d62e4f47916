//! A server with a directory of its own that goes away with us.

use super::binaries::Binaries;
use super::watcher::{Account, Watcher};
use crate::connection::Client;
use crate::conninfo::ConnectOptions;
use crate::environment::Environment;
use crate::secret::Secret;
use rand::distr::{Alphanumeric, SampleString};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How a scratch cluster is made.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Where its directory goes; the system's directory for temporary files by default.
    pub parent_dir: Option<PathBuf>,
    /// Settings of the server, over our own.
    pub settings: Vec<(String, String)>,
    /// More arguments of initdb. Encoding UTF8 and locale C come before them.
    pub initdb_args: Vec<String>,
    /// Lines of pg_hba.conf before ours. Ours let anybody in through the socket, which only we and the server's user can
    /// reach, and over TCP with the password.
    pub hba: Vec<String>,
    /// Listen on 127.0.0.1 too.
    pub tcp: bool,
    /// Name of the superuser.
    pub superuser: String,
    /// Keep what makes a server survive a crash of the machine.
    pub durable: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            parent_dir: None,
            settings: Vec::new(),
            initdb_args: Vec::new(),
            hba: Vec::new(),
            tcp: false,
            superuser: "postgres".into(),
            durable: false,
        }
    }
}

/// Why a scratch cluster did not start.
#[derive(Debug, thiserror::Error)]
#[error("the scratch server did not start: {message}")]
pub struct ClusterError {
    message: String,
    hints: Vec<String>,
}

impl ClusterError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new() }
    }

    /// What to do about it.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}

impl From<io::Error> for ClusterError {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// A running scratch cluster. Stopped and removed when dropped; stopped and removed too when this process is killed.
pub struct ScratchCluster {
    place: Place,
    options: ConnectOptions,
    tcp_options: Option<ConnectOptions>,
    watcher: Watcher,
}

/// Its directories. `socket_dir` is elsewhere only when the path would be too long for a socket.
#[derive(Clone, Debug)]
struct Place {
    dir: PathBuf,
    socket_dir: PathBuf,
    port: u16,
}

/// How long a server may take to start: initdb on a slow, busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Longest path of a socket on every system (macOS: 103 and a zero byte), less `/.s.PGSQL.65535`.
const LONGEST_SOCKET_DIR: usize = 103 - 15;

impl ScratchCluster {
    /// Makes a cluster and waits until it takes connections. Runs as the user `postgres`, else `nobody`, when we are root.
    pub async fn start(binaries: &Binaries, options: ClusterOptions) -> Result<Self, ClusterError> {
        if !binaries.has_server {
            return Err(ClusterError::new(format!("there is no server in {}", binaries.dir.display())));
        }
        let account = Account::for_server()?;
        let mut guard = RemoveOnFailure(Vec::new());
        let parent = options.parent_dir.clone().unwrap_or_else(std::env::temp_dir);
        let dir = make_dir(&parent, account.as_ref())?;
        guard.0.push(dir.clone());
        let socket_dir = if dir.as_os_str().len() <= LONGEST_SOCKET_DIR {
            dir.clone()
        } else {
            let short = make_dir(Path::new("/tmp"), account.as_ref())?;
            guard.0.push(short.clone());
            short
        };
        let password = Secret::new(Alphanumeric.sample_string(&mut rand::rng(), 32));
        let initdb_args = write_initdb_input(&dir, &options, &password, account.as_ref())?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            // Somebody may take a free port between our look and the server's start: then another one is tried.
            let port = if options.tcp { free_port()? } else { 5432 };
            let place = Place { dir: dir.clone(), socket_dir: socket_dir.clone(), port };
            write_file(&dir.join("settings"), &settings(&place, &options), account.as_ref())?;
            let watcher = Watcher::start(&binaries.dir, &dir, &socket_dir, &initdb_args, account.as_ref())?;
            let mut cluster = Self {
                options: connect_options(&place.socket_dir.display().to_string(), port, &options.superuser)?,
                tcp_options: match options.tcp {
                    true => Some(
                        connect_options("127.0.0.1", port, &options.superuser)?
                            .with_password(password.clone()),
                    ),
                    false => None,
                },
                place,
                watcher,
            };
            match cluster.await_ready().await {
                Ok(()) => {
                    guard.0.clear();
                    return Ok(cluster);
                }
                Err(e)
                    if attempts < 5
                        && options.tcp
                        && e.message.contains("could not create any TCP/IP sockets") =>
                {
                    cluster.watcher.stop_for_retry();
                }
                Err(mut e) => {
                    if let Some(account) = &account {
                        e.hints.push(format!(
                            "the server runs as the user {}, who must be able to reach {} and {}",
                            account.name,
                            binaries.dir.display(),
                            parent.display()
                        ));
                    }
                    return Err(e);
                }
            }
        }
    }

    async fn await_ready(&mut self) -> Result<(), ClusterError> {
        let end = Instant::now() + START_LIMIT;
        let options = self.options.clone();
        let ready = async {
            loop {
                match Client::connect(&options, "basekeep").await {
                    Ok(client) => {
                        client.close().await;
                        return Ok(());
                    }
                    Err(e) if Instant::now() > end => return Err(ClusterError::new(e.to_string())),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        tokio::select! {
            result = ready => result,
            () = self.watcher.server_ended() => Err(ClusterError::new(last_lines(&self.place.dir))),
        }
    }

    /// Connects through the Unix socket, as superuser, to the database `postgres`.
    pub fn options(&self) -> ConnectOptions {
        self.options.clone()
    }

    /// Connects over TCP with the superuser's password; `None` unless TCP was asked for.
    pub fn tcp_options(&self) -> Option<ConnectOptions> {
        self.tcp_options.clone()
    }

    /// The port, which is also part of the socket's name.
    pub fn port(&self) -> u16 {
        self.place.port
    }

    /// The directory of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.place.socket_dir
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.place.dir.join("data")
    }

    /// The server's log.
    pub fn log_file(&self) -> PathBuf {
        self.place.dir.join("server.log")
    }

    /// Stops the server and removes its directory; done when this returns.
    pub async fn stop(self) -> Result<(), ClusterError> {
        let dir = self.place.dir.clone();
        // The removal is not quick for a large cluster.
        let removed = tokio::task::spawn_blocking(move || drop(self)).await;
        match removed {
            Ok(()) if !dir.exists() => Ok(()),
            _ => Err(ClusterError::new(format!("{} could not be removed", dir.display()))),
        }
    }

    /// Lets the server run on after us; says where it is, how to connect, how to stop and remove it.
    pub fn keep(self) -> KeptCluster {
        let Place { dir, socket_dir, port } = self.place.clone();
        let user = self.options.user().to_owned();
        let options = self.options.clone();
        let instructions = vec![
            format!("psql -h {} -p {port} -U {user} postgres", socket_dir.display()),
            format!("kill -INT $(head -n 1 {}/data/postmaster.pid)", dir.display()),
            format!("rm -rf {}", dir.display()),
        ];
        self.watcher.release();
        KeptCluster { dir, options, instructions }
    }
}

impl std::fmt::Debug for ScratchCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ScratchCluster").field(&self.options).finish()
    }
}

/// A cluster that runs on by request.
#[derive(Clone, Debug)]
pub struct KeptCluster {
    /// Its directory, to be removed when the server is stopped.
    pub dir: PathBuf,
    /// How to connect.
    pub options: ConnectOptions,
    /// Command lines for people: connect, stop, remove.
    pub instructions: Vec<String>,
}

/// Removes what a failed start leaves behind; the watcher has stopped the server by then.
struct RemoveOnFailure(Vec<PathBuf>);

impl Drop for RemoveOnFailure {
    fn drop(&mut self) {
        for dir in &self.0 {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// A new directory that only the server's user (and root) can enter.
fn make_dir(parent: &Path, account: Option<&Account>) -> Result<PathBuf, ClusterError> {
    let suffix = Alphanumeric.sample_string(&mut rand::rng(), 8);
    let parent =
        parent.canonicalize().map_err(|e| ClusterError::new(format!("{}: {e}", parent.display())))?;
    let dir = parent.join(format!("basekeep-{suffix}"));
    fs::DirBuilder::new().mode(0o700).create(&dir)?;
    if let Some(account) = account {
        chown(&dir, Some(account.uid), Some(account.gid))?;
    }
    Ok(dir)
}

fn write_file(path: &Path, text: &str, account: Option<&Account>) -> io::Result<()> {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    if let Some(account) = account {
        chown(path, Some(account.uid), Some(account.gid))?;
    }
    Ok(())
}

/// Writes what the script passes on and gives initdb's arguments.
fn write_initdb_input(
    dir: &Path,
    options: &ClusterOptions,
    password: &Secret,
    account: Option<&Account>,
) -> io::Result<Vec<OsString>> {
    let password_file = dir.join("password");
    write_file(&password_file, password.expose(), account)?;
    let mut hba = options.hba.join("\n");
    hba.push_str("\nlocal all all trust\nlocal replication all trust\n");
    hba.push_str("host all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n");
    write_file(&dir.join("hba"), &hba, account)?;
    let mut args: Vec<OsString> =
        ["--encoding=UTF8", "--locale=C", "--auth=trust"].map(OsString::from).into();
    if !options.durable {
        args.push("--no-sync".into());
    }
    args.extend(["--username".into(), (&options.superuser).into(), "--pwfile".into(), password_file.into()]);
    args.extend(options.initdb_args.iter().map(OsString::from));
    Ok(args)
}

/// The settings as a configuration file; of a setting that is named twice the last counts.
fn settings(place: &Place, options: &ClusterOptions) -> String {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| all.push((name.to_owned(), value.to_owned()));
    set("listen_addresses", if options.tcp { "127.0.0.1" } else { "" });
    set("port", &place.port.to_string());
    set("unix_socket_directories", &place.socket_dir.display().to_string());
    set("unix_socket_permissions", "0777");
    set("log_destination", "stderr");
    set("logging_collector", "off");
    set("password_encryption", "scram-sha-256");
    if !options.durable {
        for (name, value) in [
            ("fsync", "off"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
            // What loads a table that it has just made writes no log then.
            ("wal_level", "minimal"),
            ("max_wal_senders", "0"),
            ("max_wal_size", "4GB"),
            ("checkpoint_timeout", "30min"),
        ] {
            set(name, value);
        }
    }
    all.extend(options.settings.iter().cloned());
    let quote = |value: &str| value.replace('\\', "\\\\").replace('\'', "''");
    all.iter().map(|(name, value)| format!("{name} = '{}'\n", quote(value))).collect()
}

fn connect_options(host: &str, port: u16, user: &str) -> Result<ConnectOptions, ClusterError> {
    let quote = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
    let conninfo =
        format!("host='{}' port={port} user='{}' dbname=postgres sslmode=disable", quote(host), quote(user));
    // An empty environment: nothing of the user's settings may lead elsewhere.
    ConnectOptions::resolve(&conninfo, &Environment::default()).map_err(|e| ClusterError::new(e.to_string()))
}

fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Why it failed, from the logs.
fn last_lines(dir: &Path) -> String {
    let read = |name: &str| {
        fs::read(dir.join(name)).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    };
    let (initdb, server) = (read("initdb.log"), read("server.log"));
    let log = if server.trim().is_empty() { initdb } else { server };
    let lines: Vec<&str> = log.lines().filter(|l| !l.trim().is_empty()).collect();
    match lines.get(lines.len().saturating_sub(5)..) {
        Some(last) if !last.is_empty() => last.join("; "),
        _ => "it wrote nothing to its log".into(),
    }
}
