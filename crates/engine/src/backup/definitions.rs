//! The source's definitions, inside the exported snapshot.

use std::sync::Arc;
use std::time::Instant;

use basekeep_archive::Archive;

use super::plan::Plan;
use super::{OnTableChange, Stopped};
use crate::definitions::{self, DumpError};
use crate::words::counted;
use crate::{EngineError, Event, Observer, Step};

/// Runs pg_dump and reads its archive. What the role may not lock is left out, definitions and all.
pub(super) async fn dump(plan: &Plan, observer: &Arc<dyn Observer>) -> Result<Archive, Stopped> {
    let began = Instant::now();
    let program = &plan.pg_dump;
    let mut arguments = vec![format!("--snapshot={}", plan.snapshot.id)];
    // Most tables are locked by us already; but behind a migration that waits for us it would wait for ever.
    let patience = plan.pace.lock_timeout().as_millis();
    if patience > 0 {
        arguments.push(format!("--lock-wait-timeout={patience}"));
    }
    arguments.extend(definitions::without(&plan.excluded()));
    let archive = definitions::dump(program, &plan.connect, Some(plan.encoding()), &arguments)
        .await
        .map_err(|error| stopped(error, plan.pace.on_table_change()))?;
    observer.event(Event::Ended {
        step: Step("definitions"),
        elapsed: began.elapsed(),
        detail: format!(
            "{} by pg_dump {}",
            counted(archive.entries.len() as u64, "entry", "entries"),
            program.version
        ),
    });
    Ok(archive)
}

/// What pg_dump says when a table cannot be locked, or something was dropped while it described it.
const MOVED: [&str; 7] = [
    "lock timeout",
    // This is what it sets for --lock-wait-timeout.
    "statement timeout",
    "does not exist",
    "cache lookup failed",
    "could not open relation",
    "could not find",
    "returned no data",
];

fn stopped(error: DumpError, on_change: OnTableChange) -> Stopped {
    let (message, more) = match error {
        DumpError::Broken(error) => return error.into(),
        DumpError::Refused { message, more } => (message, more),
    };
    if on_change != OnTableChange::Fail && MOVED.iter().any(|sign| message.contains(sign)) {
        return Stopped::Moved(format!("pg_dump did not find what the snapshot sees: {message}"));
    }
    let mut error = EngineError::failed(format!("pg_dump failed: {message}"));
    if message.contains("permission denied") {
        error = error.hint("the role needs SELECT on every table and sequence that pg_dump describes");
    }
    if message.contains("version mismatch") {
        error = error.hint("install the pg_dump of the server's version or a newer one");
    }
    error.hints_from(more).into()
}
