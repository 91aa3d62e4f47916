//! Scratch clusters for the drill, the demo and the tests, and the search for PostgreSQL's programs.

use crate::conninfo::ConnectOptions;
use crate::environment::Environment;
use std::path::{Path, PathBuf};

/// One installation of PostgreSQL's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory with `postgres` or `pg_dump` in it.
    pub dir: PathBuf,
    /// For example 17.
    pub major: u32,
    /// For example `17.10`.
    pub version: String,
    /// For example 170010.
    pub version_num: u32,
    /// Which programs are there.
    pub has_server: bool,
    /// `pg_dump`.
    pub has_pg_dump: bool,
    /// `pg_restore`.
    pub has_pg_restore: bool,
    /// `psql`.
    pub has_psql: bool,
}

/// All installations, newest first; the same version in the order of the search: `BASEKEEP_POSTGRES_BIN`, `PATH`, usual places.
pub fn find(_env: &Environment) -> Vec<Binaries> {
    todo!()
}

/// A `pg_dump` program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgDump {
    /// The program.
    pub path: PathBuf,
    /// For example 17.
    pub major: u32,
    /// For example `17.10`.
    pub version: String,
}

/// No pg_dump that can read this server.
#[derive(Debug, thiserror::Error)]
#[error("no pg_dump for a PostgreSQL {server_major} server")]
pub struct NoPgDump {
    /// Major version of the server.
    pub server_major: u32,
    /// Those that are too old.
    pub found: Vec<PgDump>,
}

impl NoPgDump {
    /// What to install.
    pub fn hints(&self) -> Vec<String> {
        todo!()
    }
}

/// The pg_dump for a server of this version: the same major, else the nearest newer one.
pub fn find_pg_dump(_env: &Environment, _server_version_num: u32) -> Result<PgDump, NoPgDump> {
    todo!()
}

/// How a scratch cluster is made.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Where its directory goes; the system's temporary directory by default.
    pub parent_dir: Option<PathBuf>,
    /// Lines of postgresql.conf.
    pub settings: Vec<(String, String)>,
    /// More arguments of initdb.
    pub initdb_args: Vec<String>,
    /// Listen on 127.0.0.1 too (with a password).
    pub tcp: bool,
    /// Name of the superuser.
    pub superuser: String,
    /// Keep fsync on.
    pub durable: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            parent_dir: None,
            settings: Vec::new(),
            initdb_args: Vec::new(),
            tcp: false,
            superuser: "postgres".into(),
            durable: false,
        }
    }
}

/// Why a scratch cluster did not start.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ClusterError {
    message: String,
    hints: Vec<String>,
}

impl ClusterError {
    /// What to do about it.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}

/// A running scratch cluster. Stopped and removed when dropped; killed with this process.
#[derive(Debug)]
pub struct ScratchCluster {}

impl ScratchCluster {
    /// Makes and starts a cluster.
    pub async fn start(_binaries: &Binaries, _options: ClusterOptions) -> Result<Self, ClusterError> {
        todo!()
    }
    /// Connects through the Unix socket as superuser to the database `postgres`.
    pub fn options(&self) -> ConnectOptions {
        todo!()
    }
    /// Connects over TCP with a password; `None` unless asked for.
    pub fn tcp_options(&self) -> Option<ConnectOptions> {
        todo!()
    }
    /// Port (also part of the socket's name).
    pub fn port(&self) -> u16 {
        todo!()
    }
    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        todo!()
    }
    /// Stops the server and removes its directory.
    pub async fn stop(self) -> Result<(), ClusterError> {
        todo!()
    }
    /// Lets the server run on after this process; says where it is and how to connect and to remove it.
    pub fn keep(self) -> KeptCluster {
        todo!()
    }
}

/// A cluster that was left running on request.
#[derive(Clone, Debug)]
pub struct KeptCluster {
    /// Its directory, to be removed when the server is stopped.
    pub dir: PathBuf,
    /// How to connect.
    pub options: ConnectOptions,
    /// Command lines for people: connect, stop and remove.
    pub instructions: Vec<String>,
}
