//! What would make a backup fail or be incomplete, found before it begins.
//!
//! Nothing here changes the server or leaves a trace in a session that a pooler may hand to others.

use crate::catalog::Unreadable;
use crate::{ConnectOptions, Error};

/// The result of [`preflight`].
#[derive(Clone, Debug)]
pub struct Preflight {
    /// What was found, blocking ones first.
    pub findings: Vec<Finding>,
    /// What is known of the server and the role.
    pub facts: Facts,
}

impl Preflight {
    /// Whether a backup can be made at all.
    pub fn is_blocked(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Blocking)
    }
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// A stable name, such as `transaction-pooler`.
    pub code: &'static str,
    /// What is the case, one sentence.
    pub what: String,
    /// What to do about it; empty for [`Severity::Ok`].
    pub hint: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A backup cannot be made, or would silently lack rows.
    Blocking,
    /// A backup can be made; something will be missing or might fail.
    Warning,
    /// Checked and good.
    Ok,
}

/// Facts of the server and the role.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// For example 150018.
    pub server_version: u32,
    /// `server_version` as the server words it.
    pub server_version_text: String,
    /// The database.
    pub database: String,
    /// Its encoding.
    pub encoding: String,
    /// The role of the session.
    pub role: String,
    /// Whether it is a superuser.
    pub superuser: bool,
    /// Whether row level security does not apply to it.
    pub bypass_rls: bool,
    /// Whether it may read `pg_authid`.
    pub reads_verifiers: bool,
    /// Whether the server is a standby.
    pub in_recovery: bool,
    /// `wal_level`.
    pub wal_level: String,
    /// `max_connections`.
    pub max_connections: u32,
    /// How many more sessions this role could open, as far as it can tell.
    pub free_connections: i64,
    /// The server's clock minus ours, in milliseconds (half the round trip is allowed for).
    pub clock_difference_ms: i64,
    /// Whether something between us and the server answers in its place (its process id is not the server's).
    pub pooler: bool,
    /// What the role may not read.
    pub unreadable: Vec<Unreadable>,
}

/// Connects (twice) and looks.
pub async fn preflight(options: &ConnectOptions) -> Result<Preflight, Error> {
    let _ = options;
    todo!()
}
