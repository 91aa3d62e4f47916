//! Definitions: `pg_dump --schema-only` inside our exported snapshot, parsed as an archive.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use basekeep_archive::Archive;
use basekeep_postgres::quote_identifier;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::Stopped;
use super::plan::Plan;
use crate::words::counted;
use crate::{EngineError, Event, Observer, Step};

/// How long pg_dump waits for a table's lock. A migration that waits for our own locks would make it wait for ever.
const LOCK_WAIT: &str = "30s";
/// Definitions of more than this are refused: memory is bounded by design. A thousand tables make about 2 MiB.
const LARGEST_ARCHIVE: u64 = 2 << 30;

/// Runs pg_dump and reads its archive. What the role may not lock is left out, definitions and all.
pub(super) async fn dump(plan: &Plan, observer: &Arc<dyn Observer>) -> Result<Archive, Stopped> {
    let began = Instant::now();
    let program = &plan.pg_dump;
    let mut command = Command::new(&program.path);
    command
        .args(["--format=custom", "--schema-only", "--compress=0", "--no-password"])
        .arg(format!("--snapshot={}", plan.snapshot.id))
        .arg(format!("--lock-wait-timeout={LOCK_WAIT}"))
        .arg(format!("--encoding={}", plan.encoding()));
    for (schema, name) in plan.excluded() {
        // Inside double quotes a pattern's characters stand for themselves.
        command.arg(format!("--exclude-table={}.{}", quote_pattern(&schema), quote_pattern(&name)));
    }
    for name in plan.connect.child_environment_removed() {
        command.env_remove(name);
    }
    command
        .envs(plan.connect.child_environment())
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| {
        EngineError::failed(format!("start {}: {error}", program.path.display())).caused_by(error)
    })?;
    let (mut stdout, mut stderr) = match (child.stdout.take(), child.stderr.take()) {
        (Some(stdout), Some(stderr)) => (stdout, stderr),
        _ => return Err(EngineError::failed("pg_dump was started without its pipes").into()),
    };
    let (mut archive, mut complaints) = (Vec::new(), Vec::new());
    let mut bounded = (&mut stdout).take(LARGEST_ARCHIVE + 1);
    let (read, _) = tokio::join!(bounded.read_to_end(&mut archive), read_some(&mut stderr, &mut complaints));
    read.map_err(|error| EngineError::failed(format!("read pg_dump's output: {error}")).caused_by(error))?;
    if archive.len() as u64 > LARGEST_ARCHIVE {
        return Err(EngineError::failed("pg_dump wrote more than 2 GiB of definitions").into());
    }
    let status =
        child.wait().await.map_err(|error| EngineError::failed(format!("wait for pg_dump: {error}")))?;
    if !status.success() {
        return Err(failed(status, &complaints));
    }
    let archive = Archive::parse(&archive).map_err(|error| {
        EngineError::failed(format!("read the archive of pg_dump {}: {error}", program.version))
            .caused_by(error)
    })?;
    observer.event(Event::Ended {
        step: Step("definitions"),
        elapsed: began.elapsed(),
        detail: format!(
            "{} by pg_dump {}",
            counted(archive.entries.len() as u64, "entry", "entries"),
            program.version
        ),
    });
    Ok(archive.into_directory())
}

/// Keeps the first part of what pg_dump complains about, and reads on so that it never blocks.
async fn read_some(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    into: &mut Vec<u8>,
) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        if into.len() < 64 * 1024 {
            into.extend_from_slice(&buffer[..n]);
        }
    }
}

fn failed(status: std::process::ExitStatus, complaints: &[u8]) -> Stopped {
    let text = String::from_utf8_lossy(complaints);
    let lines: Vec<&str> = text.lines().map(|l| l.trim_start_matches("pg_dump: ")).collect();
    let first = lines
        .iter()
        .find(|line| line.starts_with("error:"))
        .or_else(|| lines.first())
        .map_or("it said nothing", |line| line.trim_start_matches("error: "));
    if first.contains("lock timeout") || first.contains("does not exist") {
        return Stopped::Moved(format!("pg_dump could not lock a table: {first}"));
    }
    let mut error = EngineError::failed(format!("pg_dump failed ({status}): {first}"));
    if first.contains("permission denied") {
        error = error.hint("the role needs SELECT on every table and sequence that pg_dump describes");
    }
    if first.contains("version mismatch") {
        error = error.hint("install the pg_dump of the server's version or a newer one");
    }
    for line in lines.iter().filter(|l| l.starts_with("detail:") || l.starts_with("hint:")).take(3) {
        error = error.hint((*line).to_owned());
    }
    error.into()
}

fn quote_pattern(name: &str) -> String {
    // `quote_identifier` leaves plain names bare, but a bare pattern folds case and knows wildcards.
    let quoted = quote_identifier(name);
    if quoted.starts_with('"') { quoted } else { format!("\"{name}\"") }
}
