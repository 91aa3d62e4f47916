//! The restored database's definitions against the snapshot's, both as pg_dump sees them.

use std::process::Stdio;

use basekeep_archive::{self as archive, Archive, CompareOptions, Difference, DifferenceKind, compare};
use basekeep_postgres::cluster::find_pg_dump;
use basekeep_postgres::{ConnectOptions, Environment};
use tokio::process::Command;

use crate::EngineError;

/// What a line of a difference shows of a definition.
const SHOWN: usize = 160;

/// Differences, one line each, and how many definitions were compared.
pub(super) async fn differences(
    expected: &Archive,
    restored: &ConnectOptions,
    server_version: u32,
    environment: &Environment,
) -> Result<(Vec<String>, u64), EngineError> {
    let found = dump(expected, restored, server_version, environment).await?;
    let options = CompareOptions {
        // A drill restores without tablespaces: the scratch server has none.
        restore: archive::RestoreOptions { tablespaces: false, ..archive::RestoreOptions::default() },
        large_objects: false,
    };
    let lines = compare(expected, &found, &options).iter().map(line).collect();
    let compared = expected
        .entries
        .iter()
        .filter(|entry| entry.section != archive::Section::Data)
        .filter(|entry| entry.create_sql(expected, &options.restore).is_some())
        .count();
    Ok((lines, compared as u64))
}

fn line(difference: &Difference) -> String {
    let object = &difference.identity;
    match &difference.kind {
        DifferenceKind::OnlyInA => format!("{object}: missing in the restored database"),
        DifferenceKind::OnlyInB => format!("{object}: only in the restored database"),
        DifferenceKind::Changed { a, b } => {
            let different = a.lines().zip(b.lines().chain(std::iter::repeat(""))).find(|(a, b)| a != b);
            let (a, b) = different.unwrap_or((a, b));
            format!("{object}: was '{}', is '{}'", shortened(a), shortened(b))
        }
    }
}

fn shortened(text: &str) -> String {
    let text = text.replace('\n', " ");
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

async fn dump(
    expected: &Archive,
    options: &ConnectOptions,
    server_version: u32,
    environment: &Environment,
) -> Result<Archive, EngineError> {
    let program = find_pg_dump(environment, server_version).map_err(|error| {
        let hints = error.hints();
        EngineError::failed(error.to_string()).hints_from(hints)
    })?;
    let mut command = Command::new(&program.path);
    command.args(["--format=custom", "--schema-only", "--compress=0", "--no-password"]);
    if let Some(encoding) = expected.encoding() {
        command.arg(format!("--encoding={encoding}"));
    }
    for name in options.child_environment_removed() {
        command.env_remove(name);
    }
    let output = command
        .envs(options.child_environment())
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| {
            EngineError::failed(format!("start {}: {error}", program.path.display())).caused_by(error)
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().next().unwrap_or("it said nothing");
        return Err(EngineError::failed(format!("pg_dump of the restored database failed: {first}")));
    }
    Archive::parse(&output.stdout)
        .map(Archive::into_directory)
        .map_err(|error| EngineError::failed(format!("read the archive of the restored database: {error}")))
}
