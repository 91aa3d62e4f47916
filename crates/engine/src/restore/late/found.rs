//! What the target has of it already, for the plan.

use basekeep_postgres::{Client, quote_literal};

use super::{Late, has_function, job_name, secret_name};
use crate::restore::{Change, ChangeKind};
use crate::stored::manifest::Manifest;
use crate::{EngineError, ResultExt};

/// What will happen to each secret, queue and job, and what differs and stays.
#[derive(Default)]
pub(in crate::restore) struct Found {
    pub(in crate::restore) changes: Vec<Change>,
    pub(in crate::restore) differs: Vec<(String, String)>,
}

/// How the target has one thing.
enum State {
    Absent,
    Same,
    Other,
}

impl Late {
    /// Looks. What the role may not read counts as absent; then the execution tells.
    pub(in crate::restore) async fn look(&self, client: &mut Client) -> Result<Found, EngineError> {
        let mut found = Found::default();
        // Jobs are behind policies.
        client.execute("SET row_security = on").await.doing(|| "prepare to look at the target")?;
        if !self.secrets.is_empty() && has_function(client, "vault", "create_secret").await? {
            let sql = "SELECT name, decrypted_secret, coalesce(description, '') FROM vault.decrypted_secrets";
            let there = rows(client, sql).await;
            for secret in &self.secrets {
                let text = secret.secret.as_ref().map(|text| text.expose().to_owned());
                let named = |row: &&Vec<Option<String>>| match &secret.name {
                    Some(name) => row[0].as_ref() == Some(name),
                    None => row[0].as_deref().unwrap_or_default().is_empty() && row[1] == text,
                };
                let state = there.iter().find(named).map_or(State::Absent, |row| {
                    let same = row[1] == text && row[2].as_deref() == Some(secret.description.as_str());
                    if same { State::Same } else { State::Other }
                });
                found.add(secret_name(secret), state, self.replaces);
            }
        } else {
            self.secrets.iter().for_each(|secret| found.add(secret_name(secret), State::Absent, false));
        }
        if !self.queues.is_empty() && has_function(client, "pgmq", "create").await? {
            let there = rows(client, "SELECT queue_name FROM pgmq.meta").await;
            for (queue, _) in &self.queues {
                let is_there = there.iter().any(|row| row[0].as_ref() == Some(&queue.name));
                let state = if is_there { State::Same } else { State::Absent };
                found.add(format!("queue {}", queue.name), state, false);
            }
        }
        if self.jobs.is_empty() {
            return Ok(found);
        }
        let there = match has_function(client, "cron", "schedule").await? {
            true => {
                let database = quote_literal(client.options().database());
                let sql =
                    format!("SELECT jobname, schedule, command FROM cron.job WHERE database = {database}");
                rows(client, &sql).await
            }
            false => Vec::new(),
        };
        for job in &self.jobs {
            let same = |row: &Vec<Option<String>>| {
                row[1].as_ref() == Some(&job.schedule) && row[2].as_ref() == Some(&job.command)
            };
            let named = |row: &&Vec<Option<String>>| match &job.name {
                Some(_) => row[0] == job.name,
                None => row[0].is_none() && same(row),
            };
            let state = there
                .iter()
                .find(named)
                .map_or(State::Absent, |row| if same(row) { State::Same } else { State::Other });
            found.add(job_name(job), state, self.replaces);
        }
        Ok(found)
    }
}

impl Found {
    fn add(&mut self, object: String, state: State, replaces: bool) {
        let action = match state {
            State::Absent => ChangeKind::Create,
            State::Same => ChangeKind::Skip,
            State::Other if replaces => ChangeKind::Replace,
            State::Other => {
                self.differs.push((object.clone(), "it is another on the target, which stays".into()));
                ChangeKind::Skip
            }
        };
        self.changes.push(Change { object, action, rows: None, condition: None, pulled_in: false });
    }
}

/// All rows of a query; none where the role may not ask.
async fn rows(client: &mut Client, sql: &str) -> Vec<Vec<Option<String>>> {
    match client.query(sql).await {
        Ok(rows) => {
            let row =
                |row: basekeep_postgres::Row<'_>| (0..3).map(|i| row.get(i).map(str::to_owned)).collect();
            rows.iter().map(row).collect()
        }
        Err(error) => {
            tracing::debug!("the target does not tell: {error}");
            Vec::new()
        }
    }
}

/// What a server that is no project does not get of a project, as a warning.
pub(in crate::restore) fn not_for_plain(manifest: &Manifest) -> Option<String> {
    let counts = &manifest.supabase.as_ref()?.counts;
    let kinds = [("vault_secrets", "vault secrets"), ("cron_jobs", "cron jobs"), ("queues", "queues")];
    let told: Vec<String> = kinds
        .iter()
        .filter_map(|(key, name)| Some((counts.get(*key).filter(|n| **n > 0)?, name)))
        .map(|(n, name)| format!("{n} {name}"))
        .collect();
    (!told.is_empty()).then(|| {
        format!(
            "the target is no Supabase project: {} stay in the snapshot (`basekeep export --format files` writes them)",
            told.join(", ")
        )
    })
}
