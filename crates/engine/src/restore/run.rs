//! The execution of a plan: roles, definitions, rows and indexes, grants, materialized views, settings.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use basekeep_postgres::{Client, ConnectOptions};
use basekeep_repository::Repository;

use super::after::After;
use super::definitions::{reason, run_stage, run_step};
use super::late::Late;
use super::outcome::Outcomes;
use super::rows::Counters;
use super::session::{Connections, is_lost};
use super::work::{Action, Stage, Step, Work};
use super::{FailedObject, RestoreReport, parallel, target};
use crate::words::counted;
use crate::{EngineError, ErrorKind, Event, Interrupt, Observer, Progress, ResultExt};

/// `invalid_parameter_value`, for a locale that the operating system does not know.
const NO_SUCH_LOCALE: [&str; 2] = ["22023", "42809"];

/// What all connections of a restore share.
pub(super) struct Run {
    pub(super) repository: Repository,
    pub(super) connections: Connections,
    pub(super) steps: Vec<Step>,
    pub(super) outcomes: Outcomes,
    pub(super) counters: Counters,
    pub(super) jobs: usize,
    observer: Arc<dyn Observer>,
}

/// Restores; on an interrupt the running statements are cancelled and the target is left as it is.
pub(super) async fn run(
    repository: &Repository,
    work: Work,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<RestoreReport, EngineError> {
    let started = Instant::now();
    let name = work.target.database().to_owned();
    let created = work.create.is_some();
    let Work {
        target,
        create,
        setup,
        roles,
        steps,
        database,
        borrowed,
        jobs,
        warnings,
        lost,
        after,
        late,
        safety: _,
    } = work;
    let run = Arc::new(Run {
        repository: repository.clone(),
        connections: Connections::new(target.clone(), &setup, jobs),
        outcomes: Outcomes::new(steps.len(), observer.clone()),
        counters: Counters::default(),
        steps,
        jobs,
        observer,
    });
    // They were told with the plan.
    warnings.into_iter().for_each(|warning| run.outcomes.note(warning));

    for FailedObject { object, reason, skipped } in lost {
        run.outcomes.lost(object, reason, skipped);
    }

    let rest = Rest { roles, database, borrowed, after, late };
    let work = async {
        if let Some(options) = &create {
            run.create_database(&target, options).await?;
        }
        run.everything(rest).await
    };
    let result = tokio::select! {
        biased;
        () = interrupt.requested() => Err(EngineError::new(ErrorKind::Interrupted, "interrupted")),
        result = work => result,
    };
    if let Err(error) = result {
        run.connections.cancel_all().await;
        let left = if created { "if it was created" } else { "if anything was restored" };
        return Err(error.hint(format!(
            "the database '{name}' holds an incomplete restore, {left}: drop it before the next try, or go on with --resume"
        )));
    }
    let mut report = run.outcomes.report();
    report.rows = run.counters.rows.load(Relaxed);
    report.bytes = run.counters.bytes.load(Relaxed);
    report.elapsed = started.elapsed();
    Ok(report)
}

/// What comes before and after the archive's steps.
struct Rest {
    roles: Vec<Step>,
    database: Vec<Step>,
    borrowed: Vec<String>,
    after: Option<After>,
    late: Option<Late>,
}

impl Run {
    async fn create_database(
        &self,
        target: &ConnectOptions,
        options: &super::database::DatabaseOptions,
    ) -> Result<(), EngineError> {
        let name = target.database();
        let doing = || format!("create the database '{name}'");
        let mut client = target::connect(target, true).await?;
        let tablespace = options.tablespace.is_some();
        match client.execute(&options.create_sql(name, true, tablespace)).await {
            Ok(()) => {}
            Err(error) if error.sqlstate().is_some_and(|code| NO_SUCH_LOCALE.contains(&code)) => {
                client.execute(&options.create_sql(name, false, tablespace)).await.doing(doing)?;
                self.outcomes.warn(
                    "locale-not-available",
                    format!("the database's locale is not the source's: {}", reason(&error)),
                );
            }
            Err(error) => return Err(error).doing(doing),
        }
        client.close().await;
        Ok(())
    }

    async fn everything(self: &Arc<Self>, rest: Rest) -> Result<(), EngineError> {
        let mut client = self
            .connections
            .open()
            .await
            .doing(|| format!("connect to {}", self.connections.options().redacted()))?;
        if !rest.roles.is_empty() {
            let step = self.begin("roles");
            self.run_aside(&mut client, &rest.roles).await?;
            step.end(counted(rest.roles.len() as u64, "statement", "statements"));
        }
        let step = self.begin("definitions");
        run_stage(self, &mut client, Stage::Before).await?;
        run_stage(self, &mut client, Stage::Values).await?;
        step.end(counted(self.outcomes.report().objects, "object", "objects"));

        parallel::run(self, client).await?;

        let mut client = self.connections.reopen().await.doing(|| "reconnect to the target")?;
        let step = self.begin("grants");
        run_stage(self, &mut client, Stage::Privileges).await?;
        step.end(counted(self.count(Stage::Privileges) as u64, "object", "objects"));
        if self.count(Stage::Last) > 0 {
            let step = self.begin("materialized views");
            run_stage(self, &mut client, Stage::Last).await?;
            step.end(counted(self.count(Stage::Last) as u64, "object", "objects"));
        }
        self.run_aside(&mut client, &rest.database).await?;
        if let Some(after) = &rest.after {
            let step = self.begin("comparison");
            after.look(self, &mut client).await?;
            step.end("definitions and references".into());
        }
        if let Some(late) = &rest.late {
            let step = self.begin("vault, queues and cron");
            late.run(self, &mut client).await?;
            step.end("done".into());
        }
        self.give_back(&mut client, &rest.borrowed).await;
        self.flush(&mut client).await;
        client.close().await;
        Ok(())
    }

    /// Steps that are not in the archive: each on its own, nothing depends on them.
    async fn run_aside(&self, client: &mut Client, steps: &[Step]) -> Result<(), EngineError> {
        for step in steps {
            if let Err(error) = run_step(self, client, step).await {
                self.outcomes.lost(step.name.clone(), reason(&error), false);
                if is_lost(&error) {
                    *client = self.connections.reopen().await.doing(|| "reconnect to the target")?;
                }
            }
        }
        Ok(())
    }

    /// Ends memberships that were taken only to give objects away.
    async fn give_back(&self, client: &mut Client, borrowed: &[String]) {
        for role in borrowed {
            let sql = format!("REVOKE {} FROM CURRENT_USER", basekeep_postgres::quote_identifier(role));
            if let Err(error) = client.execute(&sql).await {
                self.outcomes.warn(
                    "membership-left",
                    format!("the restoring role is still a member of {role}: {}", reason(&error)),
                );
            }
        }
    }

    /// Makes everything durable: the commits before did not wait for the disk, and one that does takes them along. It must
    /// write something, so it creates and drops an empty temporary table.
    async fn flush(&self, client: &mut Client) {
        let sql = "SET synchronous_commit = on;
             BEGIN; CREATE TEMPORARY TABLE basekeep_flush (); DROP TABLE pg_temp.basekeep_flush; COMMIT";
        if let Err(error) = client.execute(sql).await {
            self.outcomes.warn(
                "not-flushed",
                format!("the last commits may not be on the target's disk yet: {}", reason(&error)),
            );
        }
    }

    fn count(&self, stage: Stage) -> usize {
        self.steps.iter().filter(|step| step.stage == stage).count()
    }

    /// Takes note of a step that succeeded.
    pub(super) fn done(&self, index: usize) {
        let action = &self.steps[index].action;
        self.outcomes.done(index, |report| match action {
            Action::Sql(_) | Action::Impossible(_) => report.objects += 1,
            Action::Table(_) => report.tables += 1,
            Action::LargeObjects(objects) => report.large_objects += objects.objects.len() as u64,
            Action::Group(group) => {
                let tables = group.tables().count();
                report.tables += tables as u64;
                report.objects += (group.members.len() - tables) as u64;
            }
        });
    }

    /// Tells that a step of the work begins.
    pub(super) fn begin(&self, name: &'static str) -> Began<'_> {
        let step = crate::Step(name);
        self.observer.event(Event::Began { step: step.clone() });
        Began {
            observer: &self.observer,
            step,
            started: Instant::now(),
            failures: self.outcomes.failures(),
            run: self,
        }
    }

    /// Tells progress of the rows until it is dropped.
    pub(super) async fn tell_progress(&self, expected: Progress) -> std::convert::Infallible {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            self.observer.event(Event::Progressed(Progress {
                bytes: self.counters.bytes.load(Relaxed),
                rows: self.counters.rows.load(Relaxed),
                items: self.counters.items.load(Relaxed),
                ..expected
            }));
        }
    }
}

/// A step of the work that has begun.
pub(super) struct Began<'a> {
    observer: &'a Arc<dyn Observer>,
    step: crate::Step,
    started: Instant,
    failures: usize,
    run: &'a Run,
}

impl Began<'_> {
    /// Tells that it ended, and how many objects failed in it.
    pub(super) fn end(self, detail: String) {
        let failed = self.run.outcomes.failures() - self.failures;
        let detail = if failed == 0 { detail } else { format!("{detail}, {failed} failed") };
        self.observer.event(Event::Ended { step: self.step, elapsed: self.started.elapsed(), detail });
    }
}
