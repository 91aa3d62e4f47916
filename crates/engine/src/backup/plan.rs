//! What a backup will read: preflight, the exported snapshot, the catalog, and the pg_dump to use.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use basekeep_postgres::catalog::{Catalog, HIDDEN_ROWS, UnreadableKind, read_catalog};
use basekeep_postgres::cluster::{self, Binaries, PgDump};
use basekeep_postgres::globals::{Globals, read_globals};
use basekeep_postgres::large_objects::{self, LargeObjectInfo};
use basekeep_postgres::locks;
use basekeep_postgres::preflight::{Finding, Preflight, Severity, locked_tables, preflight_of_server};
use basekeep_postgres::session::{self, SourceSnapshot};
use basekeep_postgres::{Client, ConnectOptions, Environment, quote_identifier};
use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::changed::{Reading, Takeover};
use super::parent::Parent;
use super::rows::RANGE_BYTES;
use super::settings::{Jobs, Pace};
use super::watch::{self, Opening};
use super::{BackupOptions, Source, Stopped};
use crate::stored::manifest::{Missing, Warning};
use crate::words::counted;
use crate::{EngineError, ErrorKind, Event, Observer, ResultExt, Step};

/// Average chunk sizes: a file's tree node names every blob, so chunks grow with the table.
const CHUNK_SMALL: usize = 256 << 10;
const CHUNK_MEDIUM: usize = 1 << 20;
const CHUNK_LARGE: usize = 4 << 20;

/// `lock_not_available`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// `internal_error` ("cache lookup failed"), `undefined_table`, `undefined_object`, `invalid_schema_name`, `undefined_column`.
const GONE: [&str; 5] = ["XX000", "42P01", "42704", "3F000", "42703"];

/// Everything known before the first row is read.
pub(super) struct Plan {
    pub(super) time: Timestamp,
    /// Narrowed to the one server that the leading connection is on: only there does the snapshot exist.
    pub(super) connect: ConnectOptions,
    pub(super) snapshot: SourceSnapshot,
    pub(super) server_version: u32,
    pub(super) server_version_text: String,
    pub(super) catalog: Catalog,
    pub(super) globals: Globals,
    pub(super) large_objects: Vec<LargeObjectInfo>,
    pub(super) pg_dump: PgDump,
    /// How it is read: what the command line says, else what the source says.
    pub(super) pace: Pace,
    pub(super) jobs: usize,
    /// Relations that changed after the snapshot and are left out, and their names where pg_dump must leave them out too.
    pub(super) left_out: HashSet<u32>,
    pub(super) excluded: Vec<(String, String)>,
    pub(super) missing: Vec<Missing>,
    pub(super) warnings: Vec<Warning>,
    pub(super) parent: Option<Parent>,
    /// What of the rows is asked for; what is read in the end stands in `takeover`.
    pub(super) reading: Reading,
    pub(super) takeover: Takeover,
    /// Bytes of a table that one COPY reads.
    pub(super) range_bytes: u64,
}

/// The plan, the connection whose transaction holds the snapshot, and the one that will watch.
pub(super) async fn plan(
    source: &Source,
    options: &BackupOptions,
    observer: &Arc<dyn Observer>,
) -> Result<(Plan, Client, Opening), Stopped> {
    let began = Instant::now();
    let step = Step("plan");
    observer.event(Event::Began { step: step.clone() });
    let connecting = || format!("connect to {}", source.connect.redacted());
    // Each program is asked for its version; the server answers questions meanwhile.
    let environment = options.environment.clone().unwrap_or_else(Environment::of_process);
    let pg_dumps = tokio::task::spawn_blocking(move || cluster::find_pg_dumps(&environment));
    let found = preflight_of_server(&source.connect).await.doing(connecting)?;
    refuse_blocked(&found.findings)?;
    let mut leader = Client::connect(&source.connect, "basekeep").await.doing(connecting)?;
    let snapshot = session::begin_export(&mut leader).await.doing(|| "export a snapshot")?;
    let opening = watch::begin(leader.options(), &snapshot.id);
    let time = Timestamp::now();
    let pace = options.pace.or(source.pace);
    // The size of a table that somebody holds exclusively has to be waited for.
    locks::set_timeout(&mut leader, pace.lock_timeout()).await.doing(|| "set a timeout")?;
    let catalog = match read_catalog(&mut leader).await {
        Err(error) if error.sqlstate() == Some(LOCK_NOT_AVAILABLE) => {
            refuse_blocked(&locked_tables(&source.connect).await.doing(connecting)?)?;
            return Err(error).doing(|| "read the catalog")?;
        }
        // Functions of the server look objects up as they are now, and fail where one is gone that the snapshot sees.
        Err(error) if error.sqlstate().is_some_and(|state| GONE.contains(&state)) => {
            return Err(Stopped::Moved(format!("the catalog changed while it was read ({error})")));
        }
        catalog => catalog.doing(|| "read the catalog")?,
    };
    let globals = read_globals(&mut leader).await.doing(|| "read roles and settings")?;
    let large_objects = large_objects::list(&mut leader).await.doing(|| "list the large objects")?;
    let pg_dump = pg_dump(pg_dumps, found.facts.server_version).await?;

    let mut plan = Plan {
        time,
        connect: leader.options().clone(),
        server_version: found.facts.server_version,
        server_version_text: found.facts.server_version_text.clone(),
        pace,
        jobs: jobs(pace.jobs.unwrap_or_default(), &found, leader.options()),
        left_out: HashSet::new(),
        excluded: Vec::new(),
        missing: missing(&catalog, &globals, &large_objects),
        warnings: warnings(&found),
        snapshot,
        catalog,
        globals,
        large_objects,
        pg_dump,
        parent: None,
        reading: options.reading,
        takeover: Takeover::nothing(options.reading, "", 0),
        range_bytes: options.range_bytes.unwrap_or(RANGE_BYTES).max(1),
    };
    plan.leave_unlogged_out_on_a_standby();
    for missing in &plan.missing {
        observer.event(Event::Warning {
            code: "not-captured".into(),
            message: format!("not captured: {}: {}", missing.what, missing.reason),
            hint: missing.hint.clone(),
        });
    }
    for warning in &plan.warnings {
        observer.event(Event::Warning {
            code: warning.code.clone(),
            message: warning.message.clone(),
            hint: warning.hint.clone(),
        });
    }
    observer.event(Event::Ended {
        step,
        elapsed: began.elapsed(),
        detail: format!(
            "PostgreSQL {}, {}, snapshot {}",
            plan.server_version_text,
            counted(plan.catalog.tables.len() as u64, "table", "tables"),
            plan.snapshot.id
        ),
    });
    Ok((plan, leader, opening))
}

impl Plan {
    /// Relations that pg_dump must leave out, since it fails as a whole on what it may not lock.
    pub(super) fn excluded(&self) -> Vec<(String, String)> {
        let unreadable = self.catalog.unreadable.iter().filter(|u| u.fails_pg_dump);
        let unreadable = unreadable.map(|u| (u.relation.schema.clone(), u.relation.name.clone()));
        unreadable.chain(self.excluded.iter().cloned()).collect()
    }

    /// The encoding of everything that is read: UTF-8, unless the database has one that cannot be converted.
    pub(super) fn encoding(&self) -> &'static str {
        match self.catalog.database.encoding.as_str() {
            "SQL_ASCII" => "SQL_ASCII",
            "MULE_INTERNAL" => "MULE_INTERNAL",
            _ => "UTF8",
        }
    }

    /// Average chunk size of a table's file: the one of its first backup, as long as the parent tells.
    pub(super) fn chunk_average(&self, table: usize) -> usize {
        let table = &self.catalog.tables[table];
        if let Some(known) = self.parent.as_ref().and_then(|parent| parent.chunk_average(table)) {
            return known;
        }
        match table.pages * u64::from(table.block_size) {
            0..0x8_0000_0000 => CHUNK_SMALL,
            0x8_0000_0000..0x40_0000_0000 => CHUNK_MEDIUM,
            _ => CHUNK_LARGE,
        }
    }

    /// A standby cannot read unlogged tables: they are empty there, and the server refuses.
    fn leave_unlogged_out_on_a_standby(&mut self) {
        if !self.snapshot.in_recovery {
            return;
        }
        let unlogged = |table: &basekeep_postgres::catalog::Table| {
            table.persistence == basekeep_postgres::catalog::Persistence::Unlogged
        };
        for table in self.catalog.tables.iter().filter(|table| unlogged(table)) {
            self.missing.push(Missing {
                what: format!("rows of {}", display_name(table)),
                reason: "an unlogged table cannot be read on a standby".into(),
                hint: Some("back up the primary to have them".into()),
            });
        }
        self.catalog.tables.retain(|table| !unlogged(table));
    }
}

/// `schema.name` with quotes where they are needed.
pub(super) fn display_name(table: &basekeep_postgres::catalog::Table) -> String {
    format!("{}.{}", quote_identifier(&table.schema), quote_identifier(&table.name))
}

fn refuse_blocked(findings: &[Finding]) -> Result<(), EngineError> {
    let mut blocking = findings.iter().filter(|f| f.severity == Severity::Blocking);
    let Some(first) = blocking.next() else { return Ok(()) };
    let mut error = EngineError::new(ErrorKind::Failed, first.what.clone()).hint(first.hint.clone());
    for more in blocking {
        error = error.hint(format!("also: {}; {}", more.what, more.hint));
    }
    Err(error)
}

async fn pg_dump(found: JoinHandle<Vec<Binaries>>, server_version: u32) -> Result<PgDump, EngineError> {
    let found =
        found.await.map_err(|error| EngineError::failed("looking for pg_dump broke").caused_by(error))?;
    cluster::choose_pg_dump(&found, server_version / 10_000)
        .map_err(|error| EngineError::failed(error.to_string()).hints_from(error.hints()))
}

/// One connection more than cores, so that one waits for the server while others keep the cores busy; two more when the
/// server is elsewhere. Within what the server still has free, of which a few stay for others unless a number is asked for.
/// 0 means that the leading connection reads alone.
fn jobs(wanted: Jobs, found: &Preflight, connect: &ConnectOptions) -> usize {
    // The leader's, pg_dump's, and one that watches.
    let free = usize::try_from(found.facts.free_connections - 3).unwrap_or(0);
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    match wanted {
        Jobs::Number(wanted) => wanted.max(1).min(free),
        Jobs::Auto => auto(cores, is_local(connect.host()), free),
    }
}

/// Whether a server with this host is on this machine: a socket's folder, or loopback.
fn is_local(host: &str) -> bool {
    host.is_empty()
        || host.starts_with(['/', '@'])
        || host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn auto(cores: usize, local: bool, free: usize) -> usize {
    let wanted = cores.clamp(1, 8) + if local { 1 } else { 2 };
    wanted.min(free.saturating_sub(LEFT_FOR_OTHERS).max(1)).min(free)
}

/// Connections that `auto` does not take.
const LEFT_FOR_OTHERS: usize = 2;

fn missing(catalog: &Catalog, globals: &Globals, large_objects: &[LargeObjectInfo]) -> Vec<Missing> {
    let mut missing = Vec::new();
    for unreadable in &catalog.unreadable {
        let name = format!(
            "{}.{}",
            quote_identifier(&unreadable.relation.schema),
            quote_identifier(&unreadable.relation.name)
        );
        let what = match (unreadable.kind, unreadable.fails_pg_dump) {
            (UnreadableKind::Table, true) => format!("definition and rows of {name}"),
            (UnreadableKind::Table, false) => format!("rows of {name}"),
            (UnreadableKind::PartitionedTable, _) => format!("definition of {name}"),
            (UnreadableKind::Sequence, true) => format!("definition and value of {name}"),
            (UnreadableKind::Sequence, false) => format!("value of {name}"),
        };
        let hint = if unreadable.reason == HIDDEN_ROWS {
            "back up as a role with BYPASSRLS, or as a superuser"
        } else {
            "grant the role SELECT on it, or back up as its owner or a superuser"
        };
        missing.push(Missing { what, reason: unreadable.reason.clone(), hint: Some(hint.into()) });
    }
    let closed: Vec<String> =
        large_objects.iter().filter(|o| !o.readable).map(|o| o.oid.to_string()).collect();
    if !closed.is_empty() {
        missing.push(Missing {
            what: format!("{} large objects ({})", closed.len(), shortened(&closed)),
            reason: "the role may not read them".into(),
            hint: Some("grant SELECT on them, or back up as their owner or a superuser".into()),
        });
    }
    let listed = catalog.hidden.iter().chain(&globals.missing);
    missing.extend(listed.map(|what| Missing {
        what: what.clone(),
        reason: "the role may not read it".into(),
        hint: Some("back up as a superuser to have everything".into()),
    }));
    missing
}

fn shortened(items: &[String]) -> String {
    match items {
        [first, second, third, _, ..] => format!("{first}, {second}, {third}, …"),
        few => few.join(", "),
    }
}

fn warnings(found: &Preflight) -> Vec<Warning> {
    let said_elsewhere = ["unreadable", "unreadable-large-objects", "role-passwords", "hidden-definition"];
    found
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Warning && !said_elsewhere.contains(&f.code))
        .map(|f| Warning {
            code: f.code.to_owned(),
            message: f.what.clone(),
            hint: (!f.hint.is_empty()).then(|| f.hint.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_jobs_follow_the_cores_and_leave_connections_for_others() {
        assert_eq!(auto(2, true, 90), 3);
        assert_eq!(auto(2, false, 90), 4);
        assert_eq!(auto(64, true, 90), 9);
        assert!(is_local("/tmp") && is_local("127.0.0.1") && is_local("::1") && !is_local("db.example.com"));
        assert_eq!(auto(8, true, 5), 3);
        assert_eq!(auto(8, true, 2), 1);
        assert_eq!(auto(8, true, 1), 1);
        assert_eq!(auto(8, true, 0), 0, "the leading connection reads alone");
    }
}
