//! What would make a backup fail or be incomplete, found before it begins.
//!
//! Nothing here changes the server or leaves a trace in a session that a pooler may hand to others.

mod findings;
mod pooling;
mod server;

use crate::catalog::{Catalog, Unreadable, read_catalog};
use crate::{Client, ConnectOptions, Error, large_objects};
use findings::Findings;

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
    /// Tables whose rows would be backed up.
    pub tables: usize,
    /// Their size with TOAST, without indexes.
    pub table_bytes: u64,
    /// Large objects.
    pub large_objects: u64,
    /// What the role may not read.
    pub unreadable: Vec<Unreadable>,
}

/// The oldest server that is supported.
const OLDEST: u32 = 130_000;
/// The first server that is not known yet.
const UNKNOWN: u32 = 190_000;
/// SQLSTATE of a lock that was not granted within `lock_timeout`.
const LOCK_NOT_AVAILABLE: &str = "55P03";
const APPLICATION: &str = "basekeep preflight";

/// Connects (twice) and looks. An error means that the server could not be looked at; everything else is a finding.
pub async fn preflight(options: &ConnectOptions) -> Result<Preflight, Error> {
    look(options, true).await
}

/// The same without what the database holds, for those who are about to read the catalog themselves: that takes long when it
/// is large.
pub async fn preflight_of_server(options: &ConnectOptions) -> Result<Preflight, Error> {
    look(options, false).await
}

/// The tables that somebody holds exclusively now, as [`preflight`] says it.
pub async fn locked_tables(options: &ConnectOptions) -> Result<Vec<Finding>, Error> {
    let mut client = Client::connect(options, APPLICATION).await?;
    let locks = server::exclusive_locks(&mut client).await?;
    client.close().await;
    let mut findings = Findings::default();
    findings::report_locks(&locks, &mut findings);
    Ok(findings.into_all())
}

async fn look(options: &ConnectOptions, contents: bool) -> Result<Preflight, Error> {
    let mut client = Client::connect(options, APPLICATION).await?;
    let mut findings = Findings::default();
    let mut facts = server::facts(&mut client).await?;
    if facts.server_version < OLDEST {
        findings.blocking(
            "server-version",
            format!("the server is PostgreSQL {}, older than 13", facts.server_version_text),
            "upgrade the server, or back it up with its own pg_dump",
        );
        return Ok(findings.with(facts));
    }
    if facts.server_version >= UNKNOWN {
        findings.warning(
            "server-version",
            format!("the server is PostgreSQL {}, newer than this program knows", facts.server_version_text),
            "look for a newer release of basekeep; check a restore of this backup before relying on it",
        );
    } else {
        findings.ok("server-version", format!("the server is PostgreSQL {}", facts.server_version_text));
    }
    server::report(&facts, &mut findings);

    let pooling = pooling::probe(&mut client).await?;
    facts.pooler = pooling.is_pooled();
    pooling.report(client.options().port(), &mut findings);
    if !contents {
        if let Some(standby) = server::standby(&mut client).await? {
            standby.report(&mut findings);
        }
        client.close().await;
        return Ok(findings.with(facts));
    }
    let (catalog, contents) = match look_at_contents(&mut client).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(locks)) => {
            findings::report_locks(&locks, &mut findings);
            return Ok(findings.with(facts));
        }
        // A pooler in statement mode refuses transactions; that it blocks is the finding.
        Err(_) if pooling.is_blocking() => return Ok(findings.with(facts)),
        Err(error) => return Err(error),
    };
    facts.tables = catalog.tables.len();
    facts.table_bytes = catalog.tables.iter().map(|table| table.total_bytes).sum();
    facts.large_objects = contents.large_objects;
    findings::report_contents(&facts.role, &catalog, contents, &mut findings);
    facts.unreadable = catalog.unreadable;
    client.close().await;
    Ok(findings.with(facts))
}

/// What is known of contents besides the catalog.
struct Contents {
    large_objects: u64,
    unreadable_large_objects: u64,
    standby: Option<server::Standby>,
}

/// Reads the catalog in a transaction whose settings end with it: a pooler would hand a session's settings to others.
/// A table under an exclusive lock is a finding instead.
async fn look_at_contents(
    client: &mut Client,
) -> Result<Result<(Catalog, Contents), Vec<server::Lock>>, Error> {
    client
        .execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''; SET LOCAL row_security = off; SET LOCAL jit = off;
             SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '3s'; SET LOCAL quote_all_identifiers = off",
        )
        .await?;
    let catalog = match read_catalog(client).await {
        Ok(catalog) => catalog,
        Err(error) if error.sqlstate() == Some(LOCK_NOT_AVAILABLE) => {
            client.execute("ROLLBACK").await?;
            return Ok(Err(server::exclusive_locks(client).await?));
        }
        Err(error) => return Err(error),
    };
    let (large_objects, unreadable_large_objects) = large_objects::count(client).await?;
    let standby = server::standby(client).await?;
    client.execute("ROLLBACK").await?;
    Ok(Ok((catalog, Contents { large_objects, unreadable_large_objects, standby })))
}
