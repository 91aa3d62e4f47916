//! What the questions and the equal command line say.

use std::time::Duration;

use basekeep_engine::listing::SnapshotSummary;
use basekeep_engine::postgres::quote_identifier;
use basekeep_engine::repositories::place;
use basekeep_engine::stored::manifest::Table;
use clap::ValueEnum;
use jiff::Timestamp;

use crate::output::table::clean;
use crate::output::units;

/// A line for each snapshot: id, source, age, time, size, proof.
pub(super) fn snapshots(all: &[&SnapshotSummary]) -> Vec<String> {
    let width = all.iter().map(|one| one.source.chars().count()).max().unwrap_or(0);
    let line = |one: &&SnapshotSummary| {
        let size = match (one.rows, one.bytes) {
            (Some(rows), Some(bytes)) => {
                format!("{}, {}", units::counted(rows, "row", "rows"), units::bytes(bytes))
            }
            _ => "no manifest".to_owned(),
        };
        let proof = match one.proven {
            Some(true) => ", proven by a drill",
            Some(false) => ", A DRILL FOUND DIFFERENCES",
            None => ", never drilled",
        };
        format!(
            "{}  {:<width$}  {} ({}), {size}{proof}",
            units::short(&one.id),
            clean(&one.source),
            age(one.time),
            units::time(one.time),
        )
    };
    all.iter().map(line).collect()
}

fn age(time: Timestamp) -> String {
    let seconds = u64::try_from(Timestamp::now().as_second() - time.as_second()).unwrap_or(0);
    match seconds / 86_400 {
        0 | 1 => format!("{} ago", units::duration(Duration::from_secs(seconds.max(60)))),
        days => format!("{days} days ago"),
    }
}

/// A line for each table: name, rows, size.
pub(super) fn tables(all: &[Table]) -> Vec<String> {
    let names: Vec<String> = all.iter().map(|table| clean(&table_name(table))).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |(name, table): (&String, &Table)| {
        let rows = units::counted(table.rows, "row", "rows");
        format!("{name:<width$}  {rows}, {}", units::bytes(table.bytes))
    };
    names.iter().zip(all).map(line).collect()
}

/// A table's name as `--table` takes it.
pub(super) fn table_name(table: &Table) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.name))
}

/// Quoted where it has to be.
fn identifier(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match !name.is_empty() && name.chars().all(plain) {
        true => name.to_owned(),
        false => quote_identifier(name),
    }
}

/// `merge: definitions and rows: the snapshot's are put in beside them`.
pub(super) fn choice<T: ValueEnum>(variant: &T) -> String {
    let Some(value) = variant.to_possible_value() else { return String::new() };
    match value.get_help() {
        Some(help) => format!("{}: {help}", value.get_name()),
        None => value.get_name().to_owned(),
    }
}

/// The command line that does the same without questions but the last one: what was typed, and the answers. No password that
/// stands in a URL is in it.
pub(super) fn line(typed: impl Iterator<Item = String>, answers: &[String]) -> String {
    let shown = |word: String| match word.split_once('=').filter(|(option, _)| option.starts_with("--")) {
        Some((option, url)) if url.contains("://") => format!("{option}={}", place(url)),
        None if word.contains("://") => place(&word),
        _ => word,
    };
    let words = std::iter::once("basekeep".to_owned()).chain(typed.map(shown)).chain(answers.iter().cloned());
    words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
}

/// A flag's value as it is typed.
pub(super) fn name<T: ValueEnum>(variant: &T) -> String {
    variant.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// A word as a POSIX shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_has_what_was_typed_and_no_password() {
        let typed = ["--repo", "https://me:geheim@host/r", "restore", "--no-owner"].map(str::to_owned);
        let line = line(typed.into_iter(), &["3fa91b2c".to_owned(), "--to".to_owned(), "a b".to_owned()]);
        assert!(line.starts_with("basekeep --repo ") && !line.contains("geheim"), "{line}");
        assert!(line.ends_with(" restore --no-owner 3fa91b2c --to 'a b'"), "{line}");
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("public.orders"), "public.orders");
        assert_eq!(quoted("public.\"Order's\""), "'public.\"Order'\\''s\"'");
        assert_eq!(quoted("postgresql://me@h/d?host=/tmp&port=1"), "'postgresql://me@h/d?host=/tmp&port=1'");
        assert_eq!(quoted(""), "''");
    }
}
