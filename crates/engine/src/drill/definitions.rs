//! The restored database's definitions against the snapshot's, both as pg_dump sees them.

use basekeep_archive::{self as archive, Archive, CompareOptions, Difference, DifferenceKind, compare};
use basekeep_postgres::cluster::find_pg_dump;
use basekeep_postgres::{ConnectOptions, Environment};

use crate::EngineError;
use crate::definitions::{self, DumpError};

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
    let encoding = expected.encoding().map(ToString::to_string);
    definitions::dump(&program, options, encoding.as_deref(), &[]).await.map_err(|error| match error {
        DumpError::Broken(error) => error.within("describe the restored database"),
        DumpError::Refused { message, .. } => {
            EngineError::failed(format!("pg_dump of the restored database failed: {message}"))
        }
    })
}
