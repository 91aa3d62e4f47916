//! One source: connection, version, privileges, clock, and the programs that its backup and its drill need.

use basekeep_engine::backup::Source;
use basekeep_engine::postgres::preflight::{Facts, Severity, preflight};
use basekeep_engine::postgres::{Client, cluster};
use basekeep_engine::{EngineError, survey};

use super::checks::Group;
use crate::context::Context;
use crate::context::sources::Wanted;
use crate::output::units;

/// The findings, and how many bytes the database has (0 when it cannot be told).
pub(super) async fn look(context: &Context, wanted: &Wanted) -> (Group, u64) {
    let title = format!("source {}", wanted.name());
    let source = match wanted.resolve(context) {
        Ok(source) => source,
        Err(error) => return (Group::failed(title, "source", &error), 0),
    };
    let mut group = Group::new(format!("{title} ({})", source.connect.redacted()));
    let preflight = match preflight(&source.connect).await {
        Ok(preflight) => preflight,
        Err(error) => {
            group.error("connection", &EngineError::from(error));
            return (group, 0);
        }
    };
    let facts = &preflight.facts;
    let bytes = database_bytes(&source).await;
    group.ok("connection", connection(facts, bytes));
    for finding in &preflight.findings {
        let hints = if finding.hint.is_empty() { Vec::new() } else { vec![finding.hint.clone()] };
        match finding.severity {
            // The line above says it already.
            Severity::Ok if finding.code == "server-version" => {}
            Severity::Ok => group.ok(finding.code, &finding.what),
            Severity::Warning => group.warning(finding.code, &finding.what, hints),
            Severity::Blocking => group.failure(finding.code, &finding.what, hints),
        }
    }
    if !preflight.is_blocked() {
        project(&source, &mut group).await;
    }
    programs(context, facts, &mut group);
    (group, bytes.unwrap_or(0))
}

fn connection(facts: &Facts, bytes: Option<u64>) -> String {
    let kind = if facts.superuser { "superuser" } else { "role" };
    let size = bytes.map(|bytes| format!(" of {}", units::bytes(bytes))).unwrap_or_default();
    format!(
        "PostgreSQL {}, database {}{size}, {kind} {}",
        facts.server_version_text, facts.database, facts.role
    )
}

/// What a Supabase project has, a line each; nothing for other databases.
async fn project(source: &Source, group: &mut Group) {
    match survey::survey(source).await {
        Ok(lines) => {
            for line in lines {
                match line.captured {
                    true => group.ok(line.code, line.what),
                    false => group.warning(line.code, line.what, line.hint.into_iter().collect()),
                }
            }
        }
        Err(error) => group.warning("supabase", crate::output::with_causes(&error), error.hints().to_vec()),
    }
}

async fn database_bytes(source: &Source) -> Option<u64> {
    let mut client = Client::connect(&source.connect, "basekeep doctor").await.ok()?;
    // Denied where the role may not connect to the database by right; then the size is simply not shown.
    let rows = client.query("SELECT pg_catalog.pg_database_size(pg_catalog.current_database())").await.ok();
    let bytes = rows.and_then(|rows| rows.iter().next().and_then(|row| row.get(0)?.parse().ok()));
    client.close().await;
    bytes
}

fn programs(context: &Context, facts: &Facts, group: &mut Group) {
    match cluster::find_pg_dump(&context.env, facts.server_version) {
        Ok(found) => group.ok("pg-dump", format!("pg_dump {} ({})", found.version, found.path.display())),
        Err(missing) => group.failure("pg-dump", missing.to_string(), missing.hints()),
    }
    let major = facts.server_version / 10_000;
    let installed = cluster::find(&context.env);
    match installed.iter().filter(|found| found.has_server).find(|found| found.major >= major) {
        Some(found) => {
            group.ok(
                "drill",
                format!("a drill can run on PostgreSQL {} ({})", found.version, found.dir.display()),
            );
        }
        None => group.warning(
            "drill",
            format!("no PostgreSQL {major} server programs on this machine for a drill"),
            vec![
                format!("on Debian and Ubuntu: `apt install postgresql-{major}`"),
                "or drill on another server: `basekeep drill --on URL`".to_owned(),
            ],
        ),
    }
}
