//! `basekeep history`: the versions of one row across snapshots.

use std::sync::Arc;

use basekeep_engine::diff::{FieldChange, Secrets};
use basekeep_engine::history::{self, Event, History as Found, Options, Version};
use basekeep_engine::{EngineError, Observer, Silent};
use clap::Args;
use serde::Serialize;

use super::diff::document::{FieldDocument, field};
use super::diff::text::{field_text, value_text};
use super::diff::{LONGEST, LONGEST_IN_JSON};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::table::clean;
use crate::output::{JSON_VERSION, units};

/// Show the versions of one row across snapshots
#[derive(Debug, Args)]
#[command(
    after_long_help = "The row is found by its primary key: its values in key order, or column=value for each. Any columns may be \
                             named; the first row that has these values is shown then. Of each snapshot only ranges that no \
                             earlier one had are read."
)]
pub(crate) struct History {
    /// The table, `schema.name`; without a schema `public`
    #[arg(value_name = "TABLE")]
    table: String,
    /// The row's key, such as `42`, or `country=DE number=7`
    #[arg(value_name = "KEY", required = true, num_args = 1..)]
    key: Vec<String>,
    /// The source whose snapshots are meant
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Show long values as a whole
    #[arg(long)]
    full: bool,
    /// Show secrets, too
    #[arg(long)]
    show_secrets: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    source: &'a str,
    schema: &'a str,
    table: &'a str,
    key: std::collections::BTreeMap<&'a str, &'a str>,
    snapshots: u64,
    holding: u64,
    read_bytes: u64,
    versions: Vec<VersionDocument<'a>>,
}

#[derive(Serialize)]
struct VersionDocument<'a> {
    event: &'a str,
    snapshot: &'a str,
    time: String,
    last_snapshot: &'a str,
    last_time: String,
    columns: Vec<FieldDocument<'a>>,
}

pub(crate) async fn run(command: &History, context: &Context) -> Result<Exit, EngineError> {
    let repository = context.open_repository().await?;
    let columns = context.config()?.map(|config| config.secret_columns.clone()).unwrap_or_default();
    let options = Options {
        table: command.table.clone(),
        key: command.key.clone(),
        source: command.source.clone(),
        secrets: Secrets { show: command.show_secrets, columns },
        longest: match (command.full, context.output.json) {
            (true, _) => usize::MAX,
            (false, true) => LONGEST_IN_JSON,
            (false, false) => LONGEST,
        },
    };
    let observer: Arc<dyn Observer> = if context.output.json { Arc::new(Silent) } else { context.observer() };
    let found = history::history(&repository, &options, &observer, &context.interrupt).await?;
    if context.output.json {
        context.output.document(&document(&found))?;
    } else {
        context.output.data(&text(&found))?;
    }
    Ok(Exit::Done)
}

fn word(event: Event) -> &'static str {
    match event {
        Event::Appeared => "appeared",
        Event::Changed => "changed",
        Event::Gone => "gone",
    }
}

fn document(found: &Found) -> Document<'_> {
    Document {
        version: JSON_VERSION,
        source: &found.source,
        schema: &found.table.0,
        table: &found.table.1,
        key: found.key.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        snapshots: found.snapshots,
        holding: found.holding,
        read_bytes: found.read_bytes,
        versions: found.versions.iter().map(version).collect(),
    }
}

fn version(version: &Version) -> VersionDocument<'_> {
    VersionDocument {
        event: word(version.event),
        snapshot: &version.snapshot,
        time: version.time.to_string(),
        last_snapshot: &version.last.0,
        last_time: version.last.1.to_string(),
        columns: version.fields.iter().map(field).collect(),
    }
}

fn text(found: &Found) -> String {
    let key: Vec<String> = found.key.iter().map(|(name, value)| clean(&format!("{name}={value}"))).collect();
    let mut text = format!("{}.{} {}\n", clean(&found.table.0), clean(&found.table.1), key.join(" "));
    for version in &found.versions {
        let fields: Vec<String> = version.fields.iter().map(|change| one(version.event, change)).collect();
        text += &format!(
            "{}  {}  {:8}  {}",
            units::time(version.time),
            units::short(&version.snapshot),
            word(version.event),
            fields.join(", ")
        );
        text = format!("{}\n", text.trim_end());
    }
    text + &format!(
        "in {} of {} of {}, {} read\n",
        units::count(found.holding),
        units::counted(found.snapshots, "snapshot", "snapshots"),
        clean(&found.source),
        units::bytes(found.read_bytes)
    )
}

fn one(event: Event, change: &FieldChange) -> String {
    match (event, &change.new) {
        (Event::Appeared, Some(value)) => format!("{} {}", clean(&change.name), value_text(value)),
        _ => field_text(change),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use basekeep_engine::diff::Value;

    #[test]
    fn a_version_is_one_line() {
        let shown = |text: &str| Some(Value::Shown(text.into()));
        let time = jiff::Timestamp::UNIX_EPOCH;
        let version = |event, fields| Version {
            snapshot: "0123456789".into(),
            time,
            last: ("0123456789".into(), time),
            event,
            fields,
        };
        let of = |old, new| vec![FieldChange { name: "total".into(), old, new }];
        let found = Found {
            source: "shop".into(),
            table: ("public".into(), "orders".into()),
            key: vec![("id".into(), "42".into())],
            versions: vec![
                version(Event::Appeared, of(None, shown("5"))),
                version(Event::Changed, of(shown("5"), Some(Value::Null))),
                version(Event::Gone, Vec::new()),
            ],
            snapshots: 4,
            holding: 2,
            read_bytes: 10,
        };
        let text = text(&found);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "public.orders id=42");
        assert!(lines[1].ends_with("  01234567  appeared  total 5"), "{text}");
        assert!(lines[2].ends_with("  changed   total 5 → NULL"), "{text}");
        assert!(lines[3].ends_with("  01234567  gone"), "{text}");
        assert_eq!(lines[4], "in 2 of 4 snapshots of shop, 10 B read");
    }
}
