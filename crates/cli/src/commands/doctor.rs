//! `basekeep doctor`: what works, what does not, and what to do about it.

mod checks;
mod repository;
mod source;

use basekeep_engine::EngineError;
use clap::Args;
use serde::Serialize;

use self::checks::{Check, Group, Status};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::JSON_VERSION;

/// Check configuration, connections, privileges, pg_dump and the repository
#[derive(Debug, Args)]
#[command(
    after_long_help = "Nothing is changed. The exit code is 0 when a backup can be made, otherwise that of the \
                             first failed check."
)]
pub(crate) struct Doctor {
    /// Names from basekeep.toml or postgresql:// URLs [default: all configured sources]
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    ok: bool,
    checks: Vec<CheckDocument<'a>>,
}

#[derive(Serialize)]
struct CheckDocument<'a> {
    group: &'a str,
    code: &'a str,
    status: &'static str,
    what: &'a str,
    hints: &'a [String],
}

pub(crate) async fn run(command: &Doctor, context: &Context) -> Result<Exit, EngineError> {
    let mut groups = Vec::new();
    groups.push(configuration(context));
    let mut needed_bytes = 0;
    if groups.iter().all(|group| group.exit() == Exit::Done) {
        match context.wanted_sources(&command.sources, None) {
            Ok(wanted) => {
                for source in &wanted {
                    let look = async { Ok(source::look(context, source).await) };
                    let (group, bytes) = context.interrupt.guard(look).await?;
                    needed_bytes += bytes;
                    groups.push(group);
                }
            }
            Err(error) => groups.push(Group::failed("sources", "source", &error)),
        }
        let look = async { Ok(repository::look(context, needed_bytes).await) };
        groups.push(context.interrupt.guard(look).await?);
        for entry in context.replicas().unwrap_or_default() {
            let look = async { Ok(repository::look_at_replica(context, entry, needed_bytes).await) };
            groups.push(context.interrupt.guard(look).await?);
        }
    }
    let exit = groups.iter().map(Group::exit).fold(Exit::Done, Exit::worst);
    if context.output.json {
        context.output.document(&document(&groups, exit))?;
    } else {
        context.output.data(&text(&groups, context.output.quiet))?;
        if exit == Exit::Done {
            context.output.note("a backup can be made: `basekeep backup`");
        }
    }
    Ok(exit)
}

fn configuration(context: &Context) -> Group {
    let mut group = Group::new("configuration");
    match context.config() {
        Ok(Some(config)) => {
            let names: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
            let sources = if names.is_empty() { "no sources".to_owned() } else { names.join(", ") };
            group.ok("configuration", format!("{}: {sources}", config.file.display()));
        }
        Ok(None) => group.ok("configuration", "no basekeep.toml here; options and the environment count"),
        Err(error) => group.error("configuration", &error),
    }
    group
}

fn document(groups: &[Group], exit: Exit) -> Document<'_> {
    let checks = groups.iter().flat_map(|group| {
        group.checks.iter().map(|check| CheckDocument {
            group: &group.name,
            code: &check.code,
            status: check.status.word(),
            what: &check.what,
            hints: &check.hints,
        })
    });
    Document { version: JSON_VERSION, ok: exit == Exit::Done, checks: checks.collect() }
}

fn text(groups: &[Group], only_findings: bool) -> String {
    let mut text = String::new();
    for group in groups {
        let shown: Vec<&Check> =
            group.checks.iter().filter(|check| !only_findings || check.status != Status::Ok).collect();
        if shown.is_empty() {
            continue;
        }
        text += &format!("{}\n", crate::output::table::clean(&group.name));
        for check in shown {
            text += &check.text();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_listed_with_what_to_do() {
        let mut group = Group::new("source shop");
        group.ok("connection", "PostgreSQL 15.18");
        group.warning("clock", "the clocks differ by 90 s", vec!["set the time".to_owned()]);
        let groups =
            [group, Group::failed("repository", "repository", &EngineError::failed("no").hint("do"))];
        assert_eq!(
            text(&groups, false),
            "source shop\n  ok       PostgreSQL 15.18\n  warning  the clocks differ by 90 s\n           hint: set the time\n\
             repository\n  failed   no\n           hint: do\n"
        );
        assert!(!text(&groups, true).contains("PostgreSQL"));
        let exit = groups.iter().map(Group::exit).fold(Exit::Done, Exit::worst);
        assert_eq!(exit, Exit::Failed);
        let value = serde_json::to_value(document(&groups, exit)).unwrap();
        assert_eq!(value["ok"], false);
        assert_eq!(value["checks"][1]["status"], "warning");
    }
}
