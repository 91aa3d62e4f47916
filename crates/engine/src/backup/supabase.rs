//! What a Supabase project adds to the database's own archive: its components, permissions, vault, cron jobs and queues.

mod queues;

use std::sync::Arc;

use basekeep_postgres::{Client, Row, Rows};
use basekeep_repository::Writer;
use basekeep_supabase::probe::{Denied, Probe};
use basekeep_supabase::recognize::{self, Project};
use basekeep_supabase::{components, permissions, services};
use serde::Serialize;

use super::Stopped;
use super::parts::{PartFile, Parts};
use super::plan::Plan;
use crate::stored::manifest;
use crate::stored::supabase as stored;
use crate::words::counted;
use crate::{EngineError, Observer, ResultExt, event};

const DENIED: &str = "back up as a role that may read it: `postgres` on Supabase, or a superuser";

/// Captures it all; nothing where the database is not that of a Supabase project.
pub(super) async fn capture(
    plan: &Plan,
    leader: &mut Client,
    writer: &Writer,
    observer: &Arc<dyn Observer>,
) -> Result<(Parts, Option<Project>), Stopped> {
    let found = recognize::recognize(leader).await.doing(|| "look for a Supabase project")?;
    let Some(project) = found else { return Ok((Parts::default(), None)) };
    let began = event::begin(observer, "supabase");
    let counted_parts =
        components::read(leader, &project).await.doing(|| "count the project's components")?;
    let detail = detail(&project, &counted_parts);
    let mut piece = Piece { parts: Parts::default(), writer };
    piece.denied(counted_parts.denied.clone());
    let mut described = describe(&project, counted_parts);
    if let Some(grants) = piece.permissions(leader).await? {
        described.count("grants", grants);
    }
    piece.vault(leader, &project).await?;
    piece.cron(leader, &project).await?;
    piece.queues(plan, leader, &project).await?;
    let mut parts = piece.parts;
    parts.supabase = Some(described);
    began.end(detail);
    Ok((parts, Some(project)))
}

/// The manifest's words for what was counted.
pub(crate) fn describe(project: &Project, found: components::Components) -> manifest::Supabase {
    let version = |version: &recognize::SchemaVersion| manifest::SchemaVersion {
        last: version.last.clone(),
        migrations: version.migrations,
        at_least: version.at_least.clone(),
        fingerprint: version.fingerprint.clone(),
    };
    manifest::Supabase {
        flavour: project.flavour.to_string(),
        reference: project.reference.clone(),
        role: project.role.name.clone(),
        auth_schema: project.auth.as_ref().map(version),
        storage_schema: project.storage.as_ref().map(version),
        counts: found.counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        users_by_hash: found.users_by_hash,
        identities_by_provider: found.identities_by_provider,
        encryption: found.encryption,
        supply_again: Vec::new(),
    }
}

fn detail(project: &Project, found: &components::Components) -> String {
    let count = |name: &str| found.counts.get(name).copied().unwrap_or(0);
    format!(
        "{} project, {}, {}",
        project.flavour,
        counted(count("users"), "user", "users"),
        counted(count("policies"), "policy", "policies")
    )
}

/// What is being captured.
struct Piece<'w> {
    parts: Parts,
    writer: &'w Writer,
}

impl Piece<'_> {
    fn denied(&mut self, denied: Vec<Denied>) {
        for denied in denied {
            self.parts.miss(denied.what, denied.reason, Some(DENIED));
        }
    }

    async fn permissions(&mut self, leader: &mut Client) -> Result<Option<u64>, Stopped> {
        let mut probe = Probe::new(leader);
        let rows = permissions::read(&mut probe).await.doing(|| "read the permission matrix")?;
        self.denied(probe.denied);
        let Some(rows) = rows else { return Ok(None) };
        let grants = read_rows("the permission matrix", &rows, |row| {
            Ok(stored::Grant {
                kind: row.parse(0)?,
                schema: row.parse(1)?,
                object: row.parse(2)?,
                role: row.parse(3)?,
                privileges: row.parse(4)?,
            })
        })?;
        let count = grants.len() as u64;
        let matrix = stored::Permissions { version: stored::VERSION, grants };
        self.put("the permission matrix", stored::PERMISSIONS, &matrix).await?;
        Ok(Some(count))
    }

    async fn vault(&mut self, leader: &mut Client, project: &Project) -> Result<(), Stopped> {
        const WHAT: &str = "secrets of the vault";
        let mut probe = Probe::new(leader);
        let bytes = services::vault_bytes(&mut probe, project).await.doing(|| format!("read the {WHAT}"))?;
        let small = bytes.is_some_and(|bytes| bytes <= stored::LARGEST as u64);
        let rows = match small {
            true => services::vault(&mut probe).await.doing(|| format!("read the {WHAT}"))?,
            false => None,
        };
        self.denied(probe.denied);
        if bytes.is_some() && !small {
            self.too_large(WHAT);
        }
        let Some(rows) = rows else { return Ok(()) };
        let secrets = read_rows(WHAT, &rows, |row| {
            Ok(stored::VaultSecret {
                id: row.parse(0)?,
                name: row.parse(1)?,
                description: row.parse(2)?,
                secret: row.parse::<Option<String>>(3)?.map(Into::into),
                created_at: row.parse(4)?,
                updated_at: row.parse(5)?,
            })
        })?;
        for closed in secrets.iter().filter(|secret| secret.secret.is_none()) {
            let name = closed.name.as_ref().unwrap_or(&closed.id);
            self.parts.miss(format!("secret {name} of the vault"), "the server does not decrypt it", None);
        }
        self.put(WHAT, stored::VAULT, &stored::Vault { version: stored::VERSION, secrets }).await
    }

    async fn cron(&mut self, leader: &mut Client, project: &Project) -> Result<(), Stopped> {
        let mut probe = Probe::new(leader);
        let rows = services::cron(&mut probe, project).await.doing(|| "read the cron jobs")?;
        self.denied(probe.denied);
        let Some(rows) = rows else { return Ok(()) };
        let jobs = read_rows("cron jobs", &rows, |row| {
            Ok(stored::CronJob {
                id: row.parse(0)?,
                name: row.parse(1)?,
                schedule: row.parse(2)?,
                command: row.parse(3)?,
                node_name: row.parse(4)?,
                node_port: row.parse(5)?,
                database: row.parse(6)?,
                username: row.parse(7)?,
                active: row.parse(8)?,
            })
        })?;
        self.put("cron jobs", stored::CRON, &stored::Cron { version: stored::VERSION, jobs }).await
    }

    /// Stores a document, unless it is so large that nobody would read it again.
    async fn put(&mut self, what: &str, path: &str, document: &impl Serialize) -> Result<(), Stopped> {
        let bytes = serde_json::to_vec(document)
            .map_err(|error| EngineError::failed(format!("write {path}")).caused_by(error))?;
        if bytes.len() > stored::LARGEST {
            self.too_large(what);
            return Ok(());
        }
        let content = self.writer.put_file(&bytes).await.doing(|| format!("store {path}"))?;
        self.parts.files.push(PartFile { path: path.to_owned(), content });
        Ok(())
    }

    fn too_large(&mut self, what: &str) {
        self.parts.miss(what, "more than 64 MiB, which is too large for one document", None);
    }
}

/// Each row as something of ours; the error names nothing of the row.
fn read_rows<T>(
    what: &str,
    rows: &Rows,
    read: impl Fn(Row<'_>) -> Result<T, basekeep_postgres::Error>,
) -> Result<Vec<T>, EngineError> {
    rows.iter().map(read).collect::<Result<_, _>>().doing(|| format!("read {what}"))
}
