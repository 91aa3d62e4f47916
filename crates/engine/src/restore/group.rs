//! Tables that foreign keys hold together, and what is made anew with them: one connection, one transaction. Either all of it
//! is there afterwards or nothing has changed, and every foreign key leads somewhere.

mod rejects;

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use basekeep_postgres::{Client, Error};

use self::rejects::Rejects;
use super::definitions::reason;
use super::merge::{self, Merged};
use super::reconcile::{Drop, Load};
use super::references::{self, BrokenKey};
use super::rows::{self, LoadError, Way};
use super::run::Run;
use super::session::is_lost;
use super::work::{Action, Step, Table};
use crate::EngineError;

/// What is done in one transaction.
#[derive(Default)]
pub(super) struct Group {
    /// What goes first.
    pub(super) drops: Vec<Drop>,
    /// In an order in which they can be done one after the other.
    pub(super) members: Vec<Step>,
    /// Where rows go that do not fit; `None` makes them an error.
    pub(super) rejects: Option<PathBuf>,
}

/// Why nothing of a group was done.
pub(super) struct Failed {
    /// The member at fault, if it is one.
    pub(super) member: Option<usize>,
    pub(super) reason: String,
    /// Whether the connection is gone.
    pub(super) lost: bool,
}

impl Failed {
    fn server(member: Option<usize>, error: &Error) -> Self {
        Self { member, reason: reason(error), lost: is_lost(error) }
    }

    fn load(member: usize, error: &LoadError) -> Self {
        let lost = matches!(error, LoadError::Server(e) | LoadError::Unknown(e) if is_lost(e));
        Self { member: Some(member), reason: error.to_string(), lost }
    }

    fn file(member: usize, error: &EngineError) -> Self {
        Self { member: Some(member), reason: error.to_string(), lost: false }
    }
}

/// What became of a table's rows, by member.
pub(super) type Counts = Vec<(usize, Merged)>;

impl Group {
    /// The tables in it, by member.
    pub(super) fn tables(&self) -> impl Iterator<Item = (usize, &Table)> {
        self.members.iter().enumerate().filter_map(|(n, step)| match &step.action {
            Action::Table(table) => Some((n, table)),
            _ => None,
        })
    }

    /// Bytes of COPY text.
    pub(super) fn bytes(&self) -> u64 {
        self.tables().map(|(_, table)| table.bytes()).sum()
    }

    /// Does all of it. On an error nothing has changed, unless the connection was lost while it was made durable.
    pub(super) async fn run(&self, run: &Run, client: &mut Client) -> Result<Counts, Failed> {
        let mut loaded = 0;
        client.execute("BEGIN").await.map_err(|error| Failed::server(None, &error))?;
        let result = self.inside(run, client, &mut loaded).await;
        let result = match result {
            Ok(counts) => match client.execute("COMMIT").await {
                Ok(()) => Ok(counts),
                Err(error) => Err(Failed::server(None, &error)),
            },
            Err(failed) => {
                if client.is_usable()
                    && let Err(error) = client.execute("ROLLBACK").await
                {
                    return Err(Failed { lost: is_lost(&error), ..failed });
                }
                Err(failed)
            }
        };
        match &result {
            Ok(counts) => counts.iter().for_each(|(_, merged)| merged.correct(&run.counters)),
            Err(_) => {
                run.counters.rows.fetch_sub(loaded, Relaxed);
            }
        }
        result
    }

    async fn inside(&self, run: &Run, client: &mut Client, loaded: &mut u64) -> Result<Counts, Failed> {
        for drop in &self.drops {
            client.execute(&drop.sql).await.map_err(|error| Failed {
                reason: format!("drop {}: {}", drop.name, reason(&error)),
                lost: is_lost(&error),
                member: None,
            })?;
        }
        let mut quiet = false;
        self.make_room(client, &mut quiet).await?;
        let mut counts = Vec::new();
        let mut positions = Vec::new();
        let mut rejects = Rejects::new(self.rejects.as_deref());
        for (n, step) in self.members.iter().enumerate() {
            match &step.action {
                // Not undone when the transaction is, so it comes last.
                Action::Sql(statements) if step.sets_position => positions.push((n, statements)),
                Action::Sql(statements) => {
                    self.quiet(client, &mut quiet, false).await?;
                    for statement in statements {
                        let done = client.execute(&statement.sql).await;
                        done.map_err(|error| Failed::server(Some(n), &error))?;
                    }
                }
                Action::Table(table) => {
                    if table.load.is_some() {
                        self.quiet(client, &mut quiet, true).await?;
                    }
                    let merged = self.rows(run, client, n, table, &mut rejects, loaded).await?;
                    counts.push((n, merged));
                }
                Action::LargeObjects(_) | Action::Group(_) => {}
                Action::Impossible(reason) => {
                    return Err(Failed { member: Some(n), reason: reason.clone(), lost: false });
                }
            }
        }
        self.check(client, &mut counts, &mut rejects).await?;
        for (n, statements) in positions {
            for statement in statements {
                client.execute(&statement.sql).await.map_err(|error| Failed::server(Some(n), &error))?;
            }
        }
        rejects.finish().map_err(|error| Failed::file(0, &error))?;
        Ok(counts)
    }

    /// Triggers and rules act on what is defined, and not on rows that come back.
    async fn quiet(&self, client: &mut Client, quiet: &mut bool, wanted: bool) -> Result<(), Failed> {
        if *quiet != wanted {
            let role = if wanted { "replica" } else { "origin" };
            let sql = format!("SET LOCAL session_replication_role = {role}");
            client.execute(&sql).await.map_err(|error| Failed::server(None, &error))?;
            *quiet = wanted;
        }
        Ok(())
    }

    /// Removes the rows whose place is taken.
    async fn make_room(&self, client: &mut Client, quiet: &mut bool) -> Result<(), Failed> {
        let is_replaced = |table: &Table| table.load == Some(Load::Replace);
        let whole: Vec<String> = self
            .tables()
            .filter(|(_, table)| is_replaced(table) && table.condition.is_none())
            .map(|(_, table)| table.stored.clone())
            .collect();
        let parts = self.tables().filter(|(_, table)| is_replaced(table) && table.condition.is_some());
        let parts: Vec<(usize, &Table)> = parts.collect();
        if whole.is_empty() && parts.is_empty() {
            return Ok(());
        }
        self.quiet(client, quiet, true).await?;
        for (n, table) in parts {
            let condition = table.condition.as_deref().unwrap_or("true");
            let sql = format!("DELETE FROM ONLY {} WHERE ({condition}\n)", table.stored);
            client.execute(&sql).await.map_err(|error| Failed::server(Some(n), &error))?;
        }
        if whole.is_empty() {
            return Ok(());
        }
        // Refused where other tables refer to these, or the role may only delete.
        let only: Vec<String> = whole.iter().map(|name| format!("ONLY {name}")).collect();
        let truncate = format!("SAVEPOINT basekeep; TRUNCATE {}; RELEASE basekeep", only.join(", "));
        match client.execute(&truncate).await {
            Ok(()) => return Ok(()),
            Err(error) if is_lost(&error) => return Err(Failed::server(None, &error)),
            Err(_) => {}
        }
        let undo = client.execute("ROLLBACK TO basekeep").await;
        undo.map_err(|error| Failed::server(None, &error))?;
        for name in only {
            let sql = format!("DELETE FROM {name}");
            client.execute(&sql).await.map_err(|error| Failed::server(None, &error))?;
        }
        Ok(())
    }

    async fn rows(
        &self,
        run: &Run,
        client: &mut Client,
        n: usize,
        table: &Table,
        rejects: &mut Rejects,
        loaded: &mut u64,
    ) -> Result<Merged, Failed> {
        let failed = |error: LoadError| Failed::load(n, &error);
        let on_conflict = match table.load {
            Some(Load::Merge(on_conflict)) => Some(on_conflict),
            _ => None,
        };
        if on_conflict.is_none() && !rejects.are_wanted() {
            let mut inserted = 0;
            for unit in &table.units {
                let way = Way { condition: table.condition.as_deref(), ..Way::plain(&table.copy_sql) };
                let rows = rows::load(&run.repository, client, &way, &table.blobs, unit, &run.counters);
                let rows = rows.await.map_err(failed)?;
                inserted += rows;
                *loaded += rows;
            }
            return Ok(Merged { inserted, ..Merged::default() });
        }
        let staged = merge::stage(&run.repository, client, table, &run.counters).await.map_err(failed)?;
        *loaded += staged;
        let rejected = rejects.of_table(client, &self.members[n].name, table).await;
        let rejected = rejected.map_err(|error| Failed::file(n, &error))?;
        let merged = match on_conflict {
            Some(on_conflict) => merge::put_in(client, table, on_conflict).await.map_err(failed)?,
            None => merge::insert_all(client, table).await.map_err(failed)?,
        };
        client
            .execute(&format!("DROP TABLE {}", merge::STAGE))
            .await
            .map_err(|error| Failed::server(Some(n), &error))?;
        Ok(Merged { rejected, ..merged })
    }

    /// Looks where the foreign keys of and to the tables lead.
    async fn check(
        &self,
        client: &mut Client,
        counts: &mut Counts,
        rejects: &mut Rejects,
    ) -> Result<(), Failed> {
        let failed =
            |n: usize, key: &BrokenKey| Failed { member: Some(n), reason: key.describe(), lost: false };
        loop {
            let mut again = false;
            for (n, table) in self.tables() {
                let broken = references::broken(client, &table.stored, false).await;
                for key in broken.map_err(|error| Failed::server(Some(n), &error))? {
                    if !rejects.are_wanted() {
                        return Err(failed(n, &key));
                    }
                    let removed = rejects.of_key(client, table, &key).await;
                    let removed = removed.map_err(|error| Failed::file(n, &error))?;
                    again |= removed > 0;
                    if let Some((_, merged)) = counts.iter_mut().find(|(member, _)| *member == n) {
                        merged.rejected += removed;
                        merged.inserted = merged.inserted.saturating_sub(removed);
                    }
                }
            }
            // Rows that others referred to may have gone.
            if !again {
                break;
            }
        }
        // These are in order; what leads nowhere now is another table's, which is left alone.
        for (n, table) in self.tables() {
            let broken = references::broken(client, &table.stored, true).await;
            if let Some(key) = broken.map_err(|error| Failed::server(Some(n), &error))?.first() {
                return Err(failed(n, key));
            }
        }
        Ok(())
    }
}
