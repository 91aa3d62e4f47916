//! Rows, large objects, indexes, constraints and triggers, side by side on several connections.

mod frozen;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use basekeep_postgres::Client;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::definitions::{reason, run_step};
use super::group::Group;
use super::reconcile::Load;
use super::rows::Way;
use super::run::Run;
use super::schedule::{Next, Schedule, State, Task};
use super::session::{AGAIN, MORE_CORES, ONE_CORE, QUIET, is_lost};
use super::work::{Action, Stage, Step, Table};
use super::{OnConflict, large_objects, merge, rows};
use crate::words::counted;
use crate::{EngineError, Progress};

/// How often a unit is tried again after the connection broke under it.
const RETRIES: u32 = 2;

/// What the connections share in this stage.
struct Shared {
    run: Arc<Run>,
    /// Step of each task.
    step_of: Vec<usize>,
    schedule: Mutex<Schedule>,
    /// Reasons of units that failed, until the task is over.
    reasons: Mutex<HashMap<usize, String>>,
    /// Of groups that failed, the member at fault.
    at_fault: Mutex<HashMap<usize, usize>>,
    changed: Notify,
    /// Connections that still work.
    alive: AtomicUsize,
    /// Tables and large objects that are not settled yet.
    rows_open: AtomicUsize,
    rows_over: Notify,
}

/// Runs everything of the parallel stage; `client` is the first of its connections. Whatever cannot be done is in the
/// outcomes; an error means a defect.
pub(super) async fn run(run: &Arc<Run>, client: Client) -> Result<(), EngineError> {
    let (step_of, schedule, skipped) = schedule(run);
    let loads: Vec<usize> = step_of.iter().filter(|&&n| is_load(&run.steps[n])).copied().collect();
    let expected = Progress {
        bytes_expected: loads.iter().map(|&n| run.steps[n].weight).sum(),
        items_expected: loads.len() as u64,
        ..Progress::default()
    };
    let objects = step_of.len() - loads.len();
    let workers = run.jobs.clamp(1, step_of.len().max(1));
    let shared = Arc::new(Shared {
        run: run.clone(),
        step_of,
        schedule: Mutex::new(schedule),
        reasons: Mutex::default(),
        at_fault: Mutex::default(),
        changed: Notify::new(),
        alive: AtomicUsize::new(workers),
        rows_open: AtomicUsize::new(loads.len()),
        rows_over: Notify::new(),
    });
    for task in skipped {
        shared.note_settled(task);
    }
    let mut connections = JoinSet::new();
    connections.spawn(worker(shared.clone(), Some(client)));
    for _ in 1..workers {
        connections.spawn(worker(shared.clone(), None));
    }
    let all = async {
        while let Some(ended) = connections.join_next().await {
            ended.map_err(|error| EngineError::failed("a connection's task broke").caused_by(error))?;
        }
        Ok::<_, EngineError>(())
    };
    let steps = async {
        let step = run.begin("rows");
        shared.wait_for_rows().await;
        step.end(format!(
            "{}, {}",
            counted(run.outcomes.report().tables, "table", "tables"),
            counted(run.counters.rows.load(Relaxed), "row", "rows")
        ));
        let step = run.begin("indexes and constraints");
        shared.wait_for_all().await;
        step.end(counted(objects as u64, "object", "objects"));
    };
    let work = async { tokio::join!(all, steps).0 };
    tokio::select! {
        result = work => result,
        never = run.tell_progress(expected) => match never {},
    }
}

fn schedule(run: &Run) -> (Vec<usize>, Schedule, Vec<usize>) {
    let step_of: Vec<usize> =
        (0..run.steps.len()).filter(|&n| run.steps[n].stage == Stage::Parallel).collect();
    let mut task_of: HashMap<usize, usize> =
        step_of.iter().enumerate().map(|(task, &step)| (step, task)).collect();
    let mut step_of = step_of;
    let parallel = step_of.len();
    // Earlier steps that failed take part as tasks that are settled already; those that succeeded need not.
    let mut settled = HashMap::new();
    for step in 0..run.steps.len() {
        let state = run.outcomes.state(step);
        if matches!(state, State::Failed | State::Skipped(_)) && !task_of.contains_key(&step) {
            task_of.insert(step, step_of.len());
            settled.insert(step_of.len(), State::Failed);
            step_of.push(step);
        }
    }
    let tasks = step_of
        .iter()
        .enumerate()
        .map(|(number, &index)| {
            let step = &run.steps[index];
            if number >= parallel {
                return Task { units: 1, ..Task::default() };
            }
            Task {
                after: step.after.iter().filter_map(|(n, need)| Some((*task_of.get(n)?, *need))).collect(),
                exclusive: step.exclusive.clone(),
                shared: step.shared.clone(),
                weight: step.weight,
                alone: matches!(&step.action, Action::Table(table) if table.fresh),
                units: match &step.action {
                    Action::Table(Table { load: Some(Load::Merge(_)), .. }) => 1,
                    Action::Table(table) => table.units.len().max(1),
                    Action::Sql(_) | Action::LargeObjects(_) | Action::Group(_) | Action::Impossible(_) => 1,
                },
            }
        })
        .collect();
    let (schedule, skipped) = Schedule::new(tasks, &settled);
    (step_of, schedule, skipped)
}

/// Whether a step loads rows or large objects.
fn is_load(step: &Step) -> bool {
    matches!(step.action, Action::Table(_) | Action::LargeObjects(_) | Action::Group(_))
}

async fn worker(shared: Arc<Shared>, client: Option<Client>) {
    let mut client = match client {
        Some(client) => client,
        None => match shared.run.connections.open().await {
            Ok(client) => client,
            Err(error) => {
                let message = format!("restoring on fewer connections: {}", reason(&error));
                shared.run.outcomes.warn("fewer-connections", message);
                shared.connection_is_gone();
                return;
            }
        },
    };
    let mut last = None;
    let mut one_core = false;
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        match shared.next(last) {
            Next::Over => break,
            Next::Wait => changed.await,
            Next::Stuck => {
                shared.give_up(Some("it waits for something that waits for it: a defect of basekeep"))
            }
            Next::Unit { task, unit } => {
                last = Some(task);
                let alone = shared.rows_open.load(Relaxed) == 0;
                if shared.builds(task) && one_core == alone {
                    // It is only a matter of speed, and a lost connection is noticed at once again.
                    let _ = client.execute(if alone { MORE_CORES } else { ONE_CORE }).await;
                    one_core = !alone;
                }
                let (units, result) = shared.units(&mut client, task, unit).await;
                let mut gone = false;
                if matches!(&result, Err(Failure { lost: true, .. })) {
                    match shared.run.connections.reopen().await {
                        Ok(new) => (client, one_core) = (new, false),
                        Err(_) => gone = true,
                    }
                }
                shared.report(&mut client, task, units, result).await;
                if gone {
                    shared.connection_is_gone();
                    return;
                }
            }
        }
    }
    client.close().await;
}

/// Why a unit failed, and whether the connection went with it.
struct Failure {
    reason: String,
    lost: bool,
}

impl Failure {
    fn of(error: &basekeep_postgres::Error) -> Self {
        Self { reason: reason(error), lost: is_lost(error) }
    }
}

impl Shared {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, last: Option<usize>) -> Next {
        self.schedule().next(last)
    }

    /// Whether a task may build an index.
    fn builds(&self, task: usize) -> bool {
        let step = &self.run.steps[self.step_of[task]];
        step.weight > 0 && matches!(step.action, Action::Sql(_))
    }

    /// Does a unit, or with a new table as many as nobody else wants; gives their number.
    async fn units(&self, client: &mut Client, task: usize, unit: usize) -> (usize, Result<(), Failure>) {
        match &self.run.steps[self.step_of[task]].action {
            Action::Table(table) if table.fresh && unit == 0 => self.frozen(client, task, table).await,
            _ => (1, self.unit(client, task, unit).await),
        }
    }

    async fn unit(&self, client: &mut Client, task: usize, unit: usize) -> Result<(), Failure> {
        let run = &self.run;
        let step = &run.steps[self.step_of[task]];
        match &step.action {
            Action::Sql(_) => run_step(run, client, step).await.map_err(|error| Failure::of(&error)),
            Action::LargeObjects(objects) => large_objects::write(&run.repository, client, objects)
                .await
                .map_err(|error| Failure { lost: error.is_lost(), reason: error.to_string() }),
            Action::Group(group) => self.group(client, task, group).await,
            Action::Table(table @ Table { load: Some(load), .. }) => {
                // Its triggers are there already, and foreign keys may lead to rows that come later.
                client.execute(QUIET).await.map_err(|error| Failure::of(&error))?;
                let result = match load {
                    Load::Merge(on_conflict) => self.merge(client, step, table, *on_conflict).await,
                    Load::AtOnce | Load::Replace => self.rows(client, task, table, unit).await,
                };
                if client.is_usable() {
                    client.execute(AGAIN).await.map_err(|error| Failure::of(&error))?;
                }
                result
            }
            Action::Table(table) => self.rows(client, task, table, unit).await,
            Action::Impossible(reason) => Err(Failure { reason: reason.clone(), lost: false }),
        }
    }

    async fn rows(
        &self,
        client: &mut Client,
        task: usize,
        table: &Table,
        unit: usize,
    ) -> Result<(), Failure> {
        // A connection that is lost is noticed again, and replaced, by what follows.
        let columns =
            rows::binary_columns(client, &table.relation, &table.columns, table.bytes()).await.ok().flatten();
        let way = Way {
            binary: columns.as_deref(),
            hashed: false,
            condition: table.condition.as_deref(),
            ..Way::plain(&table.copy_sql)
        };
        self.rows_in(way, client, task, table, unit).await
    }

    async fn rows_in(
        &self,
        mut way: Way<'_>,
        client: &mut Client,
        task: usize,
        table: &Table,
        unit: usize,
    ) -> Result<(), Failure> {
        let run = &self.run;
        let Some(unit) = table.units.get(unit) else { return Ok(()) };
        let mut attempt = 0;
        loop {
            if self.schedule().is_broken(task) {
                return Err(Failure { reason: String::new(), lost: false });
            }
            let loaded = rows::load(&run.repository, client, &way, &table.blobs, unit, &run.counters).await;
            let error = match loaded {
                Ok(_) => return Ok(()),
                // If it is the rows, the server says so again.
                Err(error) if !way.hashed && error.may_go_plain() => {
                    way = Way { condition: table.condition.as_deref(), ..Way::plain(&table.copy_sql) };
                    continue;
                }
                // The end was not sent, so the server has nothing of it.
                Err(rows::LoadError::Server(error))
                    if is_lost(&error) && attempt < RETRIES && table.load.is_none() =>
                {
                    error
                }
                Err(error) => {
                    let lost = matches!(&error, rows::LoadError::Server(e) | rows::LoadError::Unknown(e) if is_lost(e));
                    return Err(Failure { reason: error.to_string(), lost });
                }
            };
            match run.connections.reopen().await {
                Ok(new) => *client = new,
                Err(_) => return Err(Failure::of(&error)),
            }
            attempt += 1;
        }
    }

    /// Several steps in one transaction.
    async fn group(&self, client: &mut Client, task: usize, group: &Group) -> Result<(), Failure> {
        match group.run(&self.run, client).await {
            Ok(counts) => {
                for (member, merged) in counts {
                    self.run.outcomes.merged(&group.members[member].name, merged);
                }
                Ok(())
            }
            Err(failed) => {
                if let Some(member) = failed.member {
                    let mut at_fault = self.at_fault.lock().unwrap_or_else(PoisonError::into_inner);
                    at_fault.insert(task, member);
                }
                Err(Failure { reason: failed.reason, lost: failed.lost })
            }
        }
    }

    /// The rows of one table beside those that it has, in a transaction of their own.
    async fn merge(
        &self,
        client: &mut Client,
        step: &Step,
        table: &Table,
        on_conflict: OnConflict,
    ) -> Result<(), Failure> {
        let run = &self.run;
        let mut loaded = 0;
        let mut result = client.execute("BEGIN").await.map_err(rows::LoadError::Server);
        let mut merged = merge::Merged::default();
        if result.is_ok() {
            result = async {
                loaded = merge::stage(&run.repository, client, table, &run.counters).await?;
                merged = merge::put_in(client, table, on_conflict).await?;
                client.execute("COMMIT").await.map_err(|error| match is_lost(&error) {
                    true => rows::LoadError::Unknown(error),
                    false => rows::LoadError::Server(error),
                })
            }
            .await;
        }
        let Err(error) = result else {
            merged.correct(&run.counters);
            run.outcomes.merged(&step.name, merged);
            return Ok(());
        };
        run.counters.rows.fetch_sub(loaded, Relaxed);
        if client.is_usable() {
            client.execute("ROLLBACK").await.map_err(|error| Failure::of(&error))?;
        }
        let lost = matches!(&error, rows::LoadError::Server(e) | rows::LoadError::Unknown(e) if is_lost(e));
        Err(Failure { reason: error.to_string(), lost })
    }

    async fn report(&self, client: &mut Client, task: usize, units: usize, result: Result<(), Failure>) {
        let success = result.is_ok();
        if let Err(failure) = result.as_ref()
            && !failure.reason.is_empty()
        {
            let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
            reasons.entry(task).or_insert_with(|| failure.reason.clone());
        }
        let (mut state, mut skipped) = (None, Vec::new());
        for _ in 0..units {
            (state, skipped) = self.schedule().report(task, success);
        }
        match state {
            Some(State::Done) => {
                self.run.done(self.step_of[task]);
                self.load_is_over(task);
            }
            Some(_) => {
                self.note_failed(task);
                self.empty(client, task).await;
                self.load_is_over(task);
            }
            None => {}
        }
        for skipped in skipped {
            self.note_settled(skipped);
        }
        self.changed.notify_waiters();
    }

    /// A table of which only some units came back is emptied: rows that look complete would be worse than none.
    async fn empty(&self, client: &mut Client, task: usize) {
        let step = &self.run.steps[self.step_of[task]];
        let Action::Table(table) = &step.action else { return };
        if table.units.len() < 2 || !table.own {
            return;
        }
        if let Err(error) = client.execute(&format!("TRUNCATE ONLY {}", table.relation)).await {
            let reason =
                format!("only a part of its rows is there, and it could not be emptied: {}", reason(&error));
            self.run.outcomes.lost(step.name.clone(), reason, false);
        }
    }

    fn note_failed(&self, task: usize) {
        let index = self.step_of[task];
        let reason = self.reasons.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
        let reason = reason.unwrap_or_else(|| "the target could not be reached any more".into());
        if let Action::Group(group) = &self.run.steps[index].action {
            let at_fault = self.at_fault.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
            return self.run.outcomes.group_failed(index, group, at_fault, &reason);
        }
        self.run.outcomes.failed(index, &self.run.steps[index], reason);
    }

    /// Takes note of a task that was settled without being tried.
    fn note_settled(&self, task: usize) {
        let state = self.schedule().state(task);
        let index = self.step_of[task];
        match state {
            State::Skipped(cause) => {
                self.run.outcomes.skipped(
                    index,
                    &self.run.steps[index],
                    self.step_of[cause],
                    &self.run.steps,
                );
            }
            _ => self.note_failed(task),
        }
        self.load_is_over(task);
    }

    /// One connection less; with the last one goes the hope for what is left.
    fn connection_is_gone(&self) {
        if self.alive.fetch_sub(1, Relaxed) > 1 {
            return;
        }
        self.give_up(None);
    }

    /// Settles all that has not begun as failed, for this reason where there is one.
    fn give_up(&self, reason: Option<&str>) {
        let given_up = self.schedule().give_up();
        for task in given_up {
            if let Some(reason) = reason {
                let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
                reasons.insert(task, reason.to_owned());
            }
            self.note_settled(task);
        }
        self.changed.notify_waiters();
    }

    fn load_is_over(&self, task: usize) {
        if !is_load(&self.run.steps[self.step_of[task]]) {
            return;
        }
        self.run.counters.items.fetch_add(1, Relaxed);
        if self.rows_open.fetch_sub(1, Relaxed) == 1 {
            self.rows_over.notify_waiters();
        }
    }

    async fn wait_for_rows(&self) {
        loop {
            let over = self.rows_over.notified();
            tokio::pin!(over);
            over.as_mut().enable();
            if self.rows_open.load(Relaxed) == 0 {
                return;
            }
            over.await;
        }
    }

    async fn wait_for_all(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.schedule().is_over() {
                return;
            }
            changed.await;
        }
    }
}
