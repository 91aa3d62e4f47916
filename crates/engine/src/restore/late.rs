//! What comes back through functions of the platform, when all else is there: vault secrets, queues, and last the cron jobs.

mod found;
mod references;

use std::collections::BTreeMap;

use basekeep_postgres::{Client, Error, quote_identifier, quote_literal};
use basekeep_repository::{BlobId, Repository, Snapshot};

pub(super) use self::found::{Found, not_for_plain};
use super::contents::Contents;
use super::definitions::reason;
use super::run::Run;
use super::{Mode, OnConflict, RestoreOptions, reconcile::Reconciled};
use crate::selection::{Part, Selected};
use crate::stored::supabase::{CronJob, Queue, VaultSecret, read_cron, read_queues, read_vault};
use crate::{EngineError, ResultExt, listing};

/// Decoded bytes of a queue's messages that are kept ready.
const PREFETCH: usize = 4 << 20;

/// What is to be made.
#[derive(Default)]
pub(super) struct Late {
    secrets: Vec<VaultSecret>,
    queues: Vec<(Queue, Vec<Messages>)>,
    jobs: Vec<CronJob>,
    enable_cron: bool,
    /// Whether what the target has otherwise gives way.
    replaces: bool,
    /// The source's database, in which jobs of its own run.
    source: String,
    /// Functions that this restore makes and that name a secret by its id: for people, and how they are made.
    functions: Vec<(String, String)>,
    /// Other objects that do, for people.
    others: Vec<(String, String)>,
}

/// Messages that the database's archive does not have.
struct Messages {
    table: String,
    columns: Vec<String>,
    blobs: Vec<BlobId>,
    last_id: Option<i64>,
}

impl Late {
    /// Reads what the snapshot has. A file that cannot be read is told in `warnings`, and what it holds is missing.
    pub(super) async fn read(
        repository: &Repository,
        snapshot: &Snapshot,
        contents: &Contents,
        found: &Reconciled,
        options: &RestoreOptions,
        selected: &Selected,
    ) -> Result<Self, EngineError> {
        let mut late = Self {
            enable_cron: options.enable_cron,
            replaces: matches!(options.mode, Mode::Clear | Mode::Merge(OnConflict::Replace)),
            source: contents.manifest.server.database.clone(),
            ..Self::default()
        };
        if selected.has(Part::Encryption) {
            late.secrets =
                read_vault(repository, snapshot).await?.map(|vault| vault.secrets).unwrap_or_default();
        }
        if selected.has(Part::Cron) {
            late.jobs = read_cron(repository, snapshot).await?.map(|cron| cron.jobs).unwrap_or_default();
        }
        let queues = match selected.has(Part::Data) {
            true => read_queues(repository, snapshot).await?.map(|all| all.queues).unwrap_or_default(),
            false => Vec::new(),
        };
        for queue in queues {
            let mut messages = Vec::new();
            for table in &queue.tables {
                let Some(file) = &table.file else { continue };
                let full = format!("{}/{file}", listing::folder(snapshot));
                let doing = || format!("read {file} of snapshot {}", snapshot.id.short());
                let node = repository.node_at(snapshot, &full).await.doing(doing)?;
                messages.push(Messages {
                    table: table.name.clone(),
                    columns: table.columns.clone(),
                    blobs: node.map(|node| node.content).unwrap_or_default(),
                    last_id: table.last_id,
                });
            }
            late.queues.push((queue, messages));
        }
        // As they were before this target's grants were added to them.
        let definitions = found.expected.iter().flat_map(|archive| &archive.entries);
        for entry in definitions.filter(|entry| found.keep.contains(&entry.dump_id)) {
            let Some(text) = entry.defn.as_ref().map(ToString::to_string) else { continue };
            if !late.secrets.iter().any(|secret| text.contains(&secret.id)) {
                continue;
            }
            match entry.desc.as_slice() {
                b"FUNCTION" | b"PROCEDURE" => late.functions.push((entry.display(), text)),
                _ => late.others.push((entry.display(), text)),
            }
        }
        Ok(late)
    }

    /// Whether nothing is to be made.
    pub(super) fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.queues.is_empty() && self.jobs.is_empty()
    }

    /// What will be done, in lines for people.
    pub(super) fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.secrets.is_empty() {
            lines.push(format!(
                "create {} vault secrets, and change references to their ids",
                self.secrets.len()
            ));
        }
        if !self.queues.is_empty() {
            lines.push(format!("register {} queues", self.queues.len()));
        }
        if !self.jobs.is_empty() {
            let how = if self.enable_cron { "as they were" } else { "inactive: --enable-cron lets them run" };
            lines.push(format!("schedule {} cron jobs, {how}", self.jobs.len()));
        }
        lines
    }

    /// Does it. What cannot be made is in the outcomes.
    pub(super) async fn run(&self, run: &Run, client: &mut Client) -> Result<(), EngineError> {
        let ids = self.vault(run, client).await?;
        if !ids.is_empty() {
            references::change(run, client, &ids, &self.functions, &self.others).await?;
        }
        for (queue, messages) in &self.queues {
            if let Err(error) = queue_and_messages(run, client, queue, messages).await {
                run.outcomes.lost(format!("queue {}", queue.name), error, false);
            }
        }
        self.cron(run, client, &ids).await
    }

    /// Old ids and new ones, of the secrets that have another id now.
    async fn vault(&self, run: &Run, client: &mut Client) -> Result<BTreeMap<String, String>, EngineError> {
        let mut ids = BTreeMap::new();
        if self.secrets.is_empty() {
            return Ok(ids);
        }
        let there = has_function(client, "vault", "create_secret").await?;
        for secret in &self.secrets {
            let name = secret_name(secret);
            let Some(text) = &secret.secret else {
                run.outcomes.lost(
                    name,
                    "it could not be decrypted when it was backed up: supply it again".into(),
                    true,
                );
                continue;
            };
            if !there {
                run.outcomes.lost(name, "the target has no vault".into(), true);
                continue;
            }
            match make_secret(client, secret, text.expose(), self.replaces).await {
                Ok(Made { id, same }) => {
                    if !same {
                        run.outcomes.warn(
                            "secret-kept",
                            format!("{name} is on the target with another value, which stays"),
                        );
                    }
                    if id != secret.id {
                        ids.insert(secret.id.clone(), id);
                    }
                }
                Err(error) => run.outcomes.lost(name, reason(&error), false),
            }
        }
        Ok(ids)
    }

    async fn cron(
        &self,
        run: &Run,
        client: &mut Client,
        ids: &BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let there = has_function(client, "cron", "schedule").await?;
        let mut inactive = 0;
        for job in &self.jobs {
            let name = job_name(job);
            if !there {
                let reason = "the target has no pg_cron: enable it, then restore once more with --resume";
                run.outcomes.lost(name, reason.into(), true);
                continue;
            }
            if job.database != self.source {
                run.outcomes.lost(name, "it ran in another database".into(), true);
                continue;
            }
            let active = job.active && self.enable_cron;
            match schedule(client, job, &references::replaced(&job.command, ids), active, self.replaces).await
            {
                Ok(Scheduled::Made) => inactive += u64::from(job.active && !active),
                Ok(Scheduled::Same) => {}
                Ok(Scheduled::Kept) => run
                    .outcomes
                    .warn("cron-kept", format!("{name} is on the target with other words, which stay")),
                Err(error) => run.outcomes.lost(name, reason(&error), false),
            }
        }
        if inactive > 0 {
            run.outcomes.warn(
                "cron-inactive",
                format!("{inactive} cron jobs are inactive: --enable-cron would have let them run, and cron.alter_job does"),
            );
        }
        Ok(())
    }
}

/// As a person would name it.
fn secret_name(secret: &VaultSecret) -> String {
    match &secret.name {
        Some(name) => format!("vault secret '{name}'"),
        None => format!("vault secret {}", secret.id),
    }
}

/// As a person would name it.
fn job_name(job: &CronJob) -> String {
    match &job.name {
        Some(name) => format!("cron job '{name}'"),
        None => format!("cron job {}", job.id),
    }
}

/// A secret that is there now.
struct Made {
    id: String,
    /// Whether it has the snapshot's value.
    same: bool,
}

async fn make_secret(
    client: &mut Client,
    secret: &VaultSecret,
    text: &str,
    replaces: bool,
) -> Result<Made, Error> {
    let text = quote_literal(text);
    let description = quote_literal(&secret.description);
    // One that an earlier try made, or that the target has by this name.
    let known = match &secret.name {
        Some(name) => format!("name = {}", quote_literal(name)),
        None => format!(
            "(name IS NULL OR name = '') AND decrypted_secret = {text} AND coalesce(description, '') = {description}"
        ),
    };
    let sql = format!(
        "SELECT id, decrypted_secret = {text}, coalesce(description, '') = {description}
           FROM vault.decrypted_secrets WHERE {known} LIMIT 1"
    );
    let rows = client.query(&sql).await?;
    if let Some(row) = rows.iter().next() {
        let id = row.get(0).unwrap_or_default().to_owned();
        let (same, described) = (row.get(1) == Some("t"), row.get(2) == Some("t"));
        if replaces && !(same && described) {
            let sql =
                format!("SELECT vault.update_secret({}, {text}, NULL, {description})", quote_literal(&id));
            client.query(&sql).await?;
            return Ok(Made { id, same: true });
        }
        return Ok(Made { id, same });
    }
    let name = secret.name.as_deref().map_or_else(|| "NULL".to_owned(), quote_literal);
    let rows = client.query(&format!("SELECT vault.create_secret({text}, {name}, {description})")).await?;
    let id = rows.iter().next().and_then(|row| row.get(0)).unwrap_or_default().to_owned();
    Ok(Made { id, same: true })
}

/// What became of a job.
enum Scheduled {
    Made,
    /// It was there.
    Same,
    /// Another one of its name was there, and is.
    Kept,
}

async fn schedule(
    client: &mut Client,
    job: &CronJob,
    command: &str,
    active: bool,
    replaces: bool,
) -> Result<Scheduled, Error> {
    let (when, what) = (quote_literal(&job.schedule), quote_literal(command));
    let known = match &job.name {
        Some(name) => format!("jobname = {}", quote_literal(name)),
        None => format!("jobname IS NULL AND schedule = {when} AND command = {what}"),
    };
    let sql = format!(
        "SELECT jobid, schedule = {when} AND command = {what}, active FROM cron.job
          WHERE {known} AND database = pg_catalog.current_database()"
    );
    let rows = client.query(&sql).await?;
    if let Some(row) = rows.iter().next() {
        let (id, same) = (row.get(0).unwrap_or_default(), row.get(1) == Some("t"));
        if same && (!replaces || !active || row.get(2) == Some("t")) {
            return Ok(Scheduled::Same);
        }
        if !replaces {
            return Ok(Scheduled::Kept);
        }
        let sql = format!(
            "SELECT cron.alter_job(job_id := {id}, schedule := {when}, command := {what}, active := {active})"
        );
        client.query(&sql).await?;
        return Ok(Scheduled::Made);
    }
    let name = job.name.as_deref().map(|name| format!("{}, ", quote_literal(name))).unwrap_or_default();
    // One transaction: a job that must not run is never seen active.
    let body = format!(
        "DECLARE id bigint; BEGIN id := cron.schedule({name}{when}, {what});
         IF NOT {active} THEN PERFORM cron.alter_job(job_id := id, active := false); END IF; END"
    );
    client.execute(&format!("DO {}", quote_literal(&body))).await.map(|()| Scheduled::Made)
}

async fn queue_and_messages(
    run: &Run,
    client: &mut Client,
    queue: &Queue,
    messages: &[Messages],
) -> Result<(), String> {
    let told = |error: Error| reason(&error);
    if !has_function(client, "pgmq", "create").await.map_err(|error| error.to_string())? {
        return Err("the target has no pgmq: enable it, then restore once more with --resume".into());
    }
    if queue.partitioned {
        return Err(
            "it is partitioned: make it with pgmq.create_partitioned, whose settings no backup has".into()
        );
    }
    let make = if queue.unlogged { "create_unlogged" } else { "create" };
    client.execute(&format!("SELECT pgmq.{make}({})", quote_literal(&queue.name))).await.map_err(told)?;
    for table in messages {
        let relation = format!("pgmq.{}", quote_identifier(&table.table));
        let rows = client.query(&format!("SELECT FROM {relation} LIMIT 1")).await.map_err(told)?;
        if rows.iter().next().is_some() {
            run.outcomes.warn(
                "queue-in-use",
                format!("{relation} has messages already: those of the backup are not added"),
            );
            continue;
        }
        let columns: Vec<String> = table.columns.iter().map(|name| quote_identifier(name)).collect();
        let copy = format!("COPY {relation} ({}) FROM STDIN", columns.join(", "));
        load(&run.repository, client, &copy, &table.blobs).await?;
        if let Some(last) = table.last_id {
            let sql = format!(
                "SELECT pg_catalog.setval(pg_catalog.pg_get_serial_sequence({}, 'msg_id'), {last})",
                quote_literal(&relation)
            );
            client.execute(&sql).await.map_err(told)?;
        }
    }
    Ok(())
}

async fn load(
    repository: &Repository,
    client: &mut Client,
    copy_sql: &str,
    blobs: &[BlobId],
) -> Result<(), String> {
    let told = |error: Error| reason(&error);
    let mut source = repository.read_blobs(blobs.to_vec(), PREFETCH);
    let mut copy = client.copy_in(copy_sql).await.map_err(told)?;
    loop {
        match source.next().await {
            None => break,
            Some(Ok(blob)) => copy.write(&blob).await.map_err(told)?,
            Some(Err(error)) => {
                copy.abort("the messages cannot be read").await.map_err(told)?;
                return Err(error.to_string());
            }
        }
    }
    copy.finish().await.map_err(told)?;
    Ok(())
}

async fn has_function(client: &mut Client, schema: &str, name: &str) -> Result<bool, EngineError> {
    let sql = format!(
        "SELECT FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
          WHERE n.nspname = {} AND p.proname = {} LIMIT 1",
        quote_literal(schema),
        quote_literal(name)
    );
    let rows = client.query(&sql).await.doing(|| format!("look for {schema}.{name}"))?;
    Ok(rows.iter().next().is_some())
}
