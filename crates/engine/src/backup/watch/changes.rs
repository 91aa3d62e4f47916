//! What DDL between the snapshot and the locks means for a backup, and what is done about it.

use std::collections::HashSet;

use basekeep_postgres::catalog::Table;
use basekeep_postgres::ddl::{self, Changed, ObjectKind};
use basekeep_postgres::locks::{self, OtherSession};
use basekeep_postgres::{Client, Error, session};

use super::{Watch, in_words};
use crate::backup::Stopped;
use crate::backup::plan::{Plan, display_name};
use crate::backup::settings::OnTableChange;
use crate::stored::manifest::Missing;
use crate::{EngineError, Event, ResultExt};

/// When the catalog is compared with what the snapshot sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backup) enum Moment {
    /// pg_dump has described everything.
    Described,
    /// All rows are read. Tables are locked; only an enum's labels could have changed under us.
    Read,
}

/// `lock_not_available`: also when `lock_timeout` runs out.
const LOCK_NOT_AVAILABLE: &str = "55P03";

impl Watch {
    /// Locks every table until the leading transaction ends, and makes sure that what is locked is what the snapshot sees. With
    /// [`OnTableChange::Skip`] tables that are not leave the plan.
    pub(in crate::backup) async fn lock_tables(
        &self,
        plan: &mut Plan,
        leader: &mut Client,
    ) -> Result<(), Stopped> {
        let skip = self.pace.on_table_change() == OnTableChange::Skip;
        let tables = &plan.catalog.tables;
        if skip {
            let (refused, blockers) = self.while_locking(locks::lock_possible(leader, tables)).await;
            let refused = refused.doing(|| "lock the tables")?;
            let why = |error: &Error| match is_gone(error) {
                true => "it was dropped, renamed or moved after the snapshot was taken".to_owned(),
                false => self.not_locked(&blockers),
            };
            let left_out: Vec<(u32, Reason)> = refused
                .iter()
                .map(|(position, error)| (tables[*position].oid, Reason::Definition(why(error))))
                .collect();
            self.leave_out(plan, left_out);
        } else {
            let (locked, blockers) = self.while_locking(session::lock_tables(leader, tables)).await;
            match locked {
                Ok(()) => {}
                Err(error) if is_gone(&error) => {
                    return Err(self.changed("a table was dropped, renamed or moved".into()));
                }
                Err(error) if error.sqlstate() == Some(LOCK_NOT_AVAILABLE) => {
                    return Err(self.locked_out(&blockers).into());
                }
                Err(error) if error.sqlstate() == Some(DEADLOCK) => {
                    return Err(
                        self.changed("a migration and the backup waited for each other's locks".into())
                    );
                }
                Err(error) => return Err(EngineError::from(error).within("lock the tables").into()),
            }
        }
        self.compare_tables(plan).await
    }

    /// Compares once more, at a later moment.
    pub(in crate::backup) async fn compare(&self, plan: &Plan, moment: Moment) -> Result<(), Stopped> {
        let about_rows = |changed: &Changed| changed.kind == ObjectKind::Label;
        let found = self.changes(plan).await?;
        let wanted = found.into_iter().find(|changed| moment == Moment::Described || about_rows(changed));
        match wanted {
            Some(changed) => Err(self.changed(in_words_of(&changed))),
            None => Ok(()),
        }
    }

    async fn compare_tables(&self, plan: &mut Plan) -> Result<(), Stopped> {
        let mut found = self.changes(plan).await?;
        if self.pace.on_table_change() == OnTableChange::Skip {
            let mut left_out: Vec<(u32, Reason)> = Vec::new();
            let mine: HashSet<u32> = plan.catalog.tables.iter().map(|table| table.oid).collect();
            for changed in &found {
                let Some(oid) = changed.relation.filter(|oid| mine.contains(oid)) else { continue };
                let known = left_out.iter_mut().find(|(known, _)| *known == oid);
                match (changed.kind, known) {
                    (ObjectKind::Storage, None) => left_out.push((oid, Reason::Rows)),
                    (ObjectKind::Storage, Some(_)) => {}
                    (_, Some((_, reason))) => *reason = altered(),
                    (_, None) => left_out.push((oid, altered())),
                }
            }
            self.leave_out(plan, left_out);
            found.retain(|changed| changed.relation.is_none_or(|oid| !plan.is_left_out(oid)));
        }
        match found.first() {
            Some(changed) => Err(self.changed(in_words_of(changed))),
            None => Ok(()),
        }
    }

    /// What is not any more what the snapshot sees, of what is in the backup.
    async fn changes(&self, plan: &Plan) -> Result<Vec<Changed>, EngineError> {
        let doing = || "compare the definitions with the snapshot's";
        let mut client = self.client.lock().await;
        if !client.is_usable() {
            *client = self.connect().await.doing(doing)?;
        }
        if ddl::sums(&mut client).await.doing(doing)? == self.then {
            return Ok(Vec::new());
        }
        let mut found = ddl::changed_since(&mut client, &self.snapshot_id).await.doing(doing)?;
        let tables: HashSet<u32> = plan.catalog.tables.iter().map(|table| table.oid).collect();
        let unreadable: HashSet<u32> = plan.catalog.unreadable.iter().map(|u| u.relation.oid).collect();
        found.retain(|changed| match changed.relation {
            Some(oid) if changed.kind == ObjectKind::Storage => tables.contains(&oid),
            Some(oid) => !unreadable.contains(&oid) && !plan.is_left_out(oid),
            None => true,
        });
        Ok(found)
    }

    fn changed(&self, what: String) -> Stopped {
        let what = format!("{what} after the snapshot was taken");
        match self.pace.on_table_change() {
            OnTableChange::Fail => EngineError::failed(what)
                .hint("--on-table-change restart starts again with a new snapshot")
                .into(),
            OnTableChange::Restart | OnTableChange::Skip => Stopped::Moved(what),
        }
    }

    fn leave_out(&self, plan: &mut Plan, tables: Vec<(u32, Reason)>) {
        for (oid, reason) in tables {
            let missing = plan.leave_out(oid, &reason);
            self.observer.event(Event::Warning {
                code: "not-captured".into(),
                message: format!("not captured: {}: {}", missing.what, missing.reason),
                hint: missing.hint,
            });
        }
    }

    fn not_locked(&self, blockers: &[OtherSession]) -> String {
        let waited = in_words(self.pace.lock_timeout());
        match blockers {
            [] => format!("a lock on it was not to be had within {waited}"),
            [first, ..] => format!("a lock on it was not to be had within {waited}, because of {first}"),
        }
    }

    fn locked_out(&self, blockers: &[OtherSession]) -> EngineError {
        let waited = in_words(self.pace.lock_timeout());
        let relation = blockers.first().and_then(|other| other.relation.as_deref()).unwrap_or("a table");
        let mut message = format!("a lock on {relation} was not to be had within {waited}");
        if let Some(first) = blockers.first() {
            message += &format!(": {first} holds one, or waits for one");
        }
        let mut error = EngineError::failed(message)
            .hint("wait until that session is done, or end it; --lock-timeout waits longer, --on-table-change skip leaves the table out");
        for more in blockers.iter().skip(1).take(3) {
            error = error.hint(format!("also {more}"));
        }
        error
    }
}

/// Why a table is left out.
pub(in crate::backup) enum Reason {
    /// It is as it was, but for its rows.
    Rows,
    /// The table itself is not what the snapshot sees, or cannot be locked.
    Definition(String),
}

impl Plan {
    /// Takes a table out. Its definition goes too, unless only its rows are gone.
    fn leave_out(&mut self, oid: u32, reason: &Reason) -> Missing {
        let position = self.catalog.tables.iter().position(|table| table.oid == oid);
        let table: Option<Table> = position.map(|position| self.catalog.tables.remove(position));
        let name = table.as_ref().map_or_else(|| oid.to_string(), display_name);
        self.left_out.insert(oid);
        let missing = match reason {
            Reason::Rows => Missing {
                what: format!("rows of {name}"),
                reason: "it was truncated or rewritten after the snapshot was taken".into(),
                hint: Some("back up again".into()),
            },
            Reason::Definition(reason) => {
                self.excluded.extend(table.map(|table| (table.schema, table.name)));
                // What it owns goes with it: pg_dump describes a sequence by itself otherwise.
                let owned = |owner: &Option<(u32, String)>| owner.as_ref().is_some_and(|(o, _)| *o == oid);
                for sequence in self.catalog.sequences.iter().filter(|s| owned(&s.owned_by)) {
                    self.left_out.insert(sequence.oid);
                    self.excluded.push((sequence.schema.clone(), sequence.name.clone()));
                }
                self.catalog.sequences.retain(|s| !owned(&s.owned_by));
                Missing {
                    what: format!("definition and rows of {name}"),
                    reason: reason.clone(),
                    hint: Some("back up again".into()),
                }
            }
        };
        self.missing.push(missing.clone());
        missing
    }

    fn is_left_out(&self, oid: u32) -> bool {
        self.left_out.contains(&oid)
    }
}

fn altered() -> Reason {
    Reason::Definition("it was altered, dropped or renamed after the snapshot was taken".into())
}

/// `deadlock_detected`: a migration locks tables in another order than we do.
const DEADLOCK: &str = "40P01";

/// undefined_table, undefined_schema.
fn is_gone(error: &Error) -> bool {
    matches!(error.sqlstate(), Some("42P01" | "3F000"))
}

fn in_words_of(changed: &Changed) -> String {
    let name = &changed.name;
    match changed.kind {
        ObjectKind::Schema => format!("schema {name} was renamed or dropped"),
        ObjectKind::Relation => format!("{name} was altered, dropped or renamed"),
        ObjectKind::Storage => format!("{name} was truncated or rewritten"),
        ObjectKind::Type => format!("type {name} was altered, dropped or renamed"),
        ObjectKind::Label => format!("a label of enum {name} was renamed or dropped"),
        ObjectKind::Function => format!("function {name} was replaced, altered or dropped"),
    }
}
