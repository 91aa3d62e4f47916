//! Steps that are SQL, one after the other: sent in batches, and one by one where a batch fails, so that the server's
//! answer belongs to one object.

use basekeep_postgres::{Client, Error};

use super::run::Run;
use super::session::is_lost;
use super::work::{Action, Stage, Statement, Step};
use crate::{EngineError, ResultExt};

/// A batch is one message and one transaction of the server's. Bounded, since a transaction's locks are.
const BATCH_STEPS: usize = 50;
const BATCH_BYTES: usize = 64 << 10;

/// `deadlock_detected`: the server ended one of two that waited for each other. It can be tried again.
const DEADLOCK: &str = "40P01";
const MOST_DEADLOCKS: u32 = 10;

/// Runs the steps of one stage in order. Objects that fail are in the outcomes; an error means that the target is gone.
pub(super) async fn run_stage(run: &Run, client: &mut Client, stage: Stage) -> Result<(), EngineError> {
    let steps: Vec<usize> = (0..run.steps.len()).filter(|&n| run.steps[n].stage == stage).collect();
    let mut position = 0;
    while position < steps.len() {
        let batch = next_batch(run, &steps[position..]);
        if batch.is_empty() {
            // The step at this position cannot succeed any more.
            position += 1;
            continue;
        }
        position += batch.len();
        send_batch(run, client, &batch).await?;
    }
    Ok(())
}

/// As many steps from the front as may go together. Empty when the first one is blocked, which is noted.
fn next_batch(run: &Run, steps: &[usize]) -> Vec<usize> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    for &index in steps {
        let step = &run.steps[index];
        if let Some(cause) = run.outcomes.blocked_by(step) {
            if batch.is_empty() {
                run.outcomes.skipped(index, step, cause, &run.steps);
            }
            break;
        }
        bytes += statements(step).iter().map(|s| s.sql.len()).sum::<usize>();
        if !batch.is_empty() && (batch.len() == BATCH_STEPS || bytes > BATCH_BYTES) {
            break;
        }
        batch.push(index);
    }
    batch
}

async fn send_batch(run: &Run, client: &mut Client, batch: &[usize]) -> Result<(), EngineError> {
    let possible = |&&n: &&usize| match &run.steps[n].action {
        Action::Impossible(reason) => {
            run.outcomes.failed(n, &run.steps[n], reason.clone());
            false
        }
        Action::Sql(_) | Action::Table(_) | Action::LargeObjects(_) | Action::Group(_) => true,
    };
    let batch: Vec<usize> = batch.iter().filter(possible).copied().collect();
    let text: String =
        batch.iter().flat_map(|&n| statements(&run.steps[n])).map(|s| terminated(&s.sql)).collect();
    if batch.len() > 1 {
        match client.execute(&text).await {
            Ok(()) => {
                batch.iter().for_each(|&n| run.done(n));
                return Ok(());
            }
            Err(error) if is_lost(&error) => reconnect(run, client).await?,
            Err(_) => {}
        }
    }
    for index in batch {
        let step = &run.steps[index];
        if let Some(cause) = run.outcomes.blocked_by(step) {
            run.outcomes.skipped(index, step, cause, &run.steps);
            continue;
        }
        match run_step(run, client, step).await {
            Ok(()) => run.done(index),
            Err(error) => {
                run.outcomes.failed(index, step, reason(&error));
                if is_lost(&error) {
                    reconnect(run, client).await?;
                }
            }
        }
    }
    Ok(())
}

async fn reconnect(run: &Run, client: &mut Client) -> Result<(), EngineError> {
    *client = run.connections.reopen().await.doing(|| "reconnect to the target")?;
    Ok(())
}

/// Runs one step's statements: all in one transaction if that works, otherwise the object itself and then its parts,
/// of which each may fail on its own.
pub(super) async fn run_step(run: &Run, client: &mut Client, step: &Step) -> Result<(), Error> {
    let statements = statements(step);
    let text: String = statements.iter().map(|s| terminated(&s.sql)).collect();
    let mut tries = 0;
    let error = loop {
        match client.execute(&text).await {
            Ok(()) => return Ok(()),
            // A policy, a trigger or a rule may use other tables than its own, which the plan does not know.
            Err(error) if error.sqlstate() == Some(DEADLOCK) && tries < MOST_DEADLOCKS => tries += 1,
            Err(error) => break error,
        }
    };
    if is_lost(&error) || statements.iter().all(|s| s.part.is_none()) {
        return Err(error);
    }
    let object: String = statements.iter().filter(|s| s.part.is_none()).map(|s| terminated(&s.sql)).collect();
    if !object.is_empty() {
        client.execute(&object).await?;
    }
    for statement in statements {
        let Some(part) = statement.part else { continue };
        if let Err(error) = client.execute(&statement.sql).await {
            run.outcomes.part_lost(step, part, reason(&error));
            if is_lost(&error) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// The server's message as a reason. Never holds row values: `Display` leaves details out.
pub(super) fn reason(error: &Error) -> String {
    error.to_string()
}

fn statements(step: &Step) -> &[Statement] {
    match &step.action {
        Action::Sql(statements) => statements,
        Action::Table(_) | Action::LargeObjects(_) | Action::Group(_) | Action::Impossible(_) => &[],
    }
}

fn terminated(sql: &str) -> String {
    let sql = sql.trim_end();
    if sql.ends_with(';') { format!("{sql}\n") } else { format!("{sql};\n") }
}
