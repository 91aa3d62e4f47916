//! Proving that a snapshot restores: restore into a scratch Postgres, then compare every table and every definition.

mod definitions;
mod record;
mod rows;
mod server;
mod values;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use basekeep_postgres::{Client, ConnectOptions, Environment, session};
use basekeep_repository::{Lock, Repository, Snapshot};
use jiff::Timestamp;

use self::server::Server;
use crate::event::begin;
use crate::restore::{self, Contents, RestoreOptions, RestorePlan, RestoreReport, Roles};
use crate::stored::proof::{self, Proof};
use crate::words::counted;
use crate::{EngineError, Event, Interrupt, Observer, ResultExt, listing};

/// How to drill.
#[derive(Debug, Clone, Default)]
pub struct DrillOptions {
    /// Restore into a new database on this server instead of a scratch cluster.
    pub on: Option<ConnectOptions>,
    /// Leave the restored database (and the scratch cluster) running.
    pub keep: bool,
    /// Where the scratch cluster's files go; the system's temporary folder otherwise.
    pub scratch: Option<PathBuf>,
    /// Connections.
    pub jobs: Option<usize>,
    /// Where PostgreSQL's programs are looked for; this process's environment otherwise.
    pub environment: Option<Environment>,
    /// Record the proof in the repository.
    pub record: bool,
}

/// One table's comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableComparison {
    /// `public.orders`.
    pub table: String,
    /// Rows in the backup.
    pub rows_expected: u64,
    /// Rows in the restored copy.
    pub rows_found: u64,
    /// Whether the digests are equal.
    pub equal: bool,
}

/// The result of a drill. A difference is not an error here; the caller turns it into exit code 4.
#[derive(Debug)]
pub struct DrillReport {
    /// What is recorded.
    pub proof: Proof,
    /// Every table.
    pub tables: Vec<TableComparison>,
    /// The restore's own report.
    pub restore: RestoreReport,
    /// With `keep`: how to connect to the restored database, and how to stop it.
    pub kept: Option<String>,
}

/// Restores, compares, records the proof, cleans up (also after an error or an interrupt).
pub async fn drill(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &DrillOptions,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<DrillReport, EngineError> {
    let lock = restore::lock(repository).await?;
    let result = locked(repository, &lock, snapshot, options, &observer, interrupt).await;
    restore::release(lock, &observer).await;
    result
}

async fn locked(
    repository: &Repository,
    lock: &Lock,
    snapshot: &Snapshot,
    options: &DrillOptions,
    observer: &Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<DrillReport, EngineError> {
    let manifest = interrupt.guard(listing::manifest(repository, snapshot)).await?;
    let began = begin(observer, "server");
    let server = interrupt.guard(Server::prepare(options, manifest.server.version_num)).await?;
    began.end(match &server {
        Server::Scratch(_) => "scratch cluster started".to_owned(),
        Server::Database(on) => on.redacted(),
    });
    let mut roles = Vec::new();
    let drill = Drill { repository, snapshot, options, observer, interrupt };
    let mut result = drill.run(&server.target(), &mut roles).await;
    if options.record
        && let Ok(report) = &result
        && let Err(error) = record::record(repository, lock, snapshot, &report.proof).await
    {
        result = Err(error);
    }
    if options.keep
        && let Ok(report) = &mut result
    {
        report.kept = Some(server.keep(&roles));
        return result;
    }
    if let Err(error) = server.remove(&roles).await {
        observer.event(Event::Warning {
            code: "drill-not-removed".into(),
            message: format!("what the drill made could not be removed: {error}"),
            hint: None,
        });
    }
    result
}

struct Drill<'a> {
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    options: &'a DrillOptions,
    observer: &'a Arc<dyn Observer>,
    interrupt: &'a Interrupt,
}

impl DrillOptions {
    fn environment(&self) -> Environment {
        self.environment.clone().unwrap_or_else(Environment::of_process)
    }
}

impl Drill<'_> {
    /// Restores and compares. `roles` gets the roles that the restore makes on somebody's server.
    async fn run(
        &self,
        target: &ConnectOptions,
        roles: &mut Vec<String>,
    ) -> Result<DrillReport, EngineError> {
        let started = Instant::now();
        let restore_options = RestoreOptions {
            create_database: true,
            tablespaces: false,
            jobs: self.options.jobs,
            ..RestoreOptions::new(target.clone())
        };
        let plan = self.interrupt.guard(self.plan(&restore_options)).await?;
        roles.clone_from(&plan.roles);
        let jobs = plan.work.jobs();
        let restore =
            restore::execute_locked(self.repository, plan, self.observer.clone(), self.interrupt).await?;
        let restore_seconds = started.elapsed().as_secs_f64();

        let comparing = Instant::now();
        let compared = self.interrupt.guard(self.compare(target, jobs)).await?;
        let mut differences: Vec<String> =
            restore.failed.iter().map(|failed| format!("{}: {}", failed.object, failed.reason)).collect();
        differences.extend(compared.differences);
        let proof = Proof {
            version: proof::VERSION,
            snapshot: self.snapshot.id.to_string(),
            tree: self.snapshot.tree.to_string(),
            time: Timestamp::now(),
            server: compared.server,
            equal: differences.is_empty(),
            tables: compared.tables.len() as u64,
            rows: compared.tables.iter().map(|table| table.rows_found).sum(),
            definitions: compared.definitions,
            differences,
            restore_seconds,
            compare_seconds: comparing.elapsed().as_secs_f64(),
        };
        Ok(DrillReport { proof, tables: compared.tables, restore, kept: None })
    }

    async fn plan(&self, options: &RestoreOptions) -> Result<RestorePlan, EngineError> {
        // On somebody's server only roles that the definitions name are made, since they are removed again.
        let wanted = if self.options.on.is_some() { Roles::Needed } else { Roles::All };
        restore::plan_locked(self.repository, self.snapshot, options, wanted).await
    }

    async fn compare(&self, target: &ConnectOptions, jobs: usize) -> Result<Compared, EngineError> {
        let contents = Contents::read(self.repository, self.snapshot).await?;
        let mut client =
            Client::connect(target, "basekeep drill").await.doing(|| "connect to the restored database")?;
        session::pin(&mut client).await.doing(|| "prepare a session for comparing")?;
        let began = begin(self.observer, "compare rows");
        let (tables, mut differences) =
            rows::compare(&contents, &mut client, target, jobs, self.observer).await?;
        differences.extend(values::sequences(&mut client, &contents.manifest.sequences).await?);
        differences.extend(values::large_objects(&mut client, &contents.manifest.large_objects).await?);
        began.end(format!(
            "{}, {}",
            counted(tables.len() as u64, "table", "tables"),
            counted(differences.len() as u64, "difference", "differences")
        ));

        let began = begin(self.observer, "compare definitions");
        let (lines, definitions) = definitions::differences(
            &contents.archive,
            target,
            client.server_version(),
            &self.options.environment(),
        )
        .await?;
        began.end(format!(
            "{}, {}",
            counted(definitions, "definition", "definitions"),
            counted(lines.len() as u64, "difference", "differences")
        ));
        differences.extend(lines);
        let server = client.parameter("server_version").unwrap_or_default().to_owned();
        client.close().await;
        Ok(Compared { server, tables, definitions, differences })
    }
}

/// What the comparison found.
struct Compared {
    server: String,
    tables: Vec<TableComparison>,
    definitions: u64,
    differences: Vec<String>,
}
