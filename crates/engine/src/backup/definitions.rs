//! The source's definitions, inside the exported snapshot.

use std::sync::Arc;
use std::time::Instant;

use basekeep_archive::Archive;

use super::Stopped;
use super::plan::Plan;
use crate::definitions::{self, DumpError};
use crate::words::counted;
use crate::{EngineError, Event, Observer, Step};

/// How long pg_dump waits for a table's lock. A migration that waits for our own locks would make it wait for ever.
const LOCK_WAIT: &str = "30s";

/// Runs pg_dump and reads its archive. What the role may not lock is left out, definitions and all.
pub(super) async fn dump(plan: &Plan, observer: &Arc<dyn Observer>) -> Result<Archive, Stopped> {
    let began = Instant::now();
    let program = &plan.pg_dump;
    let mut arguments =
        vec![format!("--snapshot={}", plan.snapshot.id), format!("--lock-wait-timeout={LOCK_WAIT}")];
    arguments.extend(definitions::without(&plan.excluded()));
    let archive = definitions::dump(program, &plan.connect, Some(plan.encoding()), &arguments)
        .await
        .map_err(stopped)?;
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

fn stopped(error: DumpError) -> Stopped {
    let (message, more) = match error {
        DumpError::Broken(error) => return error.into(),
        DumpError::Refused { message, more } => (message, more),
    };
    if message.contains("lock timeout") || message.contains("does not exist") {
        return Stopped::Moved(format!("pg_dump could not lock a table: {message}"));
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
