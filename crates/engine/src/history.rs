//! One row through time: its versions in the snapshots of a source.
//!
//! A row is looked for only in what no earlier snapshot had: a range of blocks whose content was searched once is never read
//! again, and while the range that holds the row is there, the row is as it was.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use basekeep_repository::{Repository, Snapshot};
use jiff::Timestamp;

use crate::diff::{Columns, FieldChange, Of, Secrets, Shape};
use crate::event::begin;
use crate::restore::{self, Contents};
use crate::snapshot_rows::fields::{escape, fields, lines};
use crate::snapshot_rows::{self, SnapshotRows};
use crate::stored::manifest::Table;
use crate::stored::ranges;
use crate::words::{bytes, counted};
use crate::{EngineError, Interrupt, Observer, ResultExt, config, diff, listing};

/// Which row, and how it is told.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Schema and name of the table; without a schema `public`.
    pub table: String,
    /// Values of the key's columns in key order, or `column=value` for each.
    pub key: Vec<String>,
    /// The source whose snapshots are looked at; the one of the newest snapshot when `None`.
    pub source: Option<String>,
    /// What is hidden.
    pub secrets: Secrets,
    /// Longer values are cut, in bytes.
    pub longest: usize,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is there, and was not in the snapshot before.
    Appeared,
    /// It has other values than in the snapshot before.
    Changed,
    /// It is not there any more.
    Gone,
}

/// A version of the row, or its absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The first snapshot with this version.
    pub snapshot: String,
    /// When that was taken.
    pub time: Timestamp,
    /// The last snapshot with this version, and when that was taken.
    pub last: (String, Timestamp),
    /// What happened.
    pub event: Event,
    /// All columns where it appeared, those that changed where it changed, none where it is gone.
    pub fields: Vec<FieldChange>,
}

/// All versions, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The source.
    pub source: String,
    /// Schema and name.
    pub table: (String, String),
    /// The columns and values that the row was found by.
    pub key: Vec<(String, String)>,
    /// The versions; empty when no snapshot has the row.
    pub versions: Vec<Version>,
    /// Snapshots that were looked at, and those that hold the row.
    pub snapshots: u64,
    /// Of these, how many hold the row.
    pub holding: u64,
    /// Bytes of COPY text that were read.
    pub read_bytes: u64,
}

/// Looks for a row in all snapshots of a source.
///
/// # Errors
/// Kind `Usage` when no snapshot has the table, or the key does not fit it; else when a snapshot cannot be read.
pub async fn history(
    repository: &Repository,
    options: &Options,
    observer: &Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<History, EngineError> {
    let lock = restore::lock(repository).await?;
    let work = async {
        let newest = listing::find(repository, "latest", options.source.as_deref()).await?;
        let (all, _) = repository.snapshots().await.doing(|| "list the snapshots")?;
        let of_source: Vec<Snapshot> =
            all.into_iter().filter(|s| s.hostname == newest.hostname && !listing::is_proof(s)).collect();
        let (schema, name) = options.table.split_once('.').unwrap_or(("public", &options.table));
        let table = (schema.to_owned(), name.to_owned());
        let mut search = Search {
            repository,
            options,
            table: &table,
            names: HashSet::new(),
            with: HashMap::new(),
            without: HashSet::new(),
            key: None,
            versions: Vec::new(),
            current: None,
            holding: 0,
            read: 0,
        };
        let began = begin(observer, "history");
        for snapshot in &of_source {
            search.snapshot(snapshot).await.doing(|| format!("search snapshot {}", snapshot.id.short()))?;
        }
        let Some(key) = search.key.take() else { return Err(search.no_such_table()) };
        let found = History {
            source: newest.hostname.clone(),
            key: key.columns.into_iter().zip(key.values).collect(),
            versions: search.versions,
            snapshots: of_source.len() as u64,
            holding: search.holding,
            read_bytes: search.read,
            table,
        };
        began.end(format!(
            "{}, {} read",
            counted(found.versions.len() as u64, "version", "versions"),
            bytes(found.read_bytes)
        ));
        Ok(found)
    };
    let result = interrupt.guard(work).await;
    restore::release(lock, observer).await;
    result
}

/// The row's key: columns and the values that they have.
struct Key {
    columns: Vec<String>,
    values: Vec<String>,
}

/// What a range holds: columns, rows, bytes and digest. Equal ones hold the same rows.
type Content = (Vec<String>, u64, u64, u128);

struct Search<'a> {
    repository: &'a Repository,
    options: &'a Options,
    table: &'a (String, String),
    /// Tables that there are, for the error.
    names: HashSet<String>,
    /// Contents that hold the row, and contents that do not.
    with: HashMap<Content, Vec<u8>>,
    without: HashSet<Content>,
    key: Option<Key>,
    versions: Vec<Version>,
    /// The row in the snapshot before, and its columns.
    current: Option<(Columns, Vec<u8>)>,
    holding: u64,
    read: u64,
}

impl Search<'_> {
    fn no_such_table(&self) -> EngineError {
        let wanted = format!("{}.{}", self.table.0, self.table.1);
        let known: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let error = EngineError::usage(format!("no snapshot has a table '{}'", wanted.escape_debug()));
        match config::nearest(&wanted, &known) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint("`basekeep show --tables` lists them"),
        }
    }

    async fn snapshot(&mut self, snapshot: &Snapshot) -> Result<(), EngineError> {
        let contents = Contents::read(self.repository, snapshot).await?;
        let tables = &contents.manifest.tables;
        let Some(table) = tables.iter().find(|t| (&t.schema, &t.name) == (&self.table.0, &self.table.1))
        else {
            self.names.extend(tables.iter().map(|t| format!("{}.{}", t.schema, t.name)));
            self.version(snapshot, None);
            return Ok(());
        };
        let stored = listing::columns(self.repository, snapshot).await?;
        let columns = diff::columns_of(&contents, stored.as_ref(), table);
        if self.key.is_none() {
            self.key = Some(key(&self.options.key, &columns, self.table)?);
        }
        let found = self.find(&contents, table, &columns).await?;
        self.version(snapshot, found.map(|line| (columns, line)));
        Ok(())
    }

    /// The row in one snapshot. Reads ranges that no earlier one had, until it is found.
    async fn find(
        &mut self,
        contents: &Contents,
        table: &Table,
        columns: &Columns,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(key) = &self.key else { return Ok(None) };
        let place = |name: &String| columns.names.iter().position(|other| other == name);
        // Where a column of the key is not there, the row cannot be either.
        let Some(places) = key.columns.iter().map(place).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let wanted: Vec<Vec<u8>> = key.values.iter().map(|value| copy_text(value)).collect();
        let whole = snapshot_rows::total(table);
        let of = |rows, bytes, digest| -> Content { (columns.names.clone(), rows, bytes, digest) };
        let ranges: Vec<(Content, Option<ranges::Range>)> = match snapshot_rows::ranges(contents, table) {
            Some(ranges) => ranges.iter().map(|r| (of(r.rows, r.bytes, r.digest), Some(*r))).collect(),
            None => vec![(of(whole.rows, whole.bytes, whole.sum), None)],
        };
        let known = ranges.iter().find_map(|(content, _)| self.with.get(content).cloned());
        let mut found = known;
        if found.is_none() {
            for (content, range) in &ranges {
                if self.without.contains(content) {
                    continue;
                }
                let mut rows = match range {
                    Some(range) => SnapshotRows::open_ranges(
                        self.repository,
                        contents,
                        table,
                        std::slice::from_ref(range),
                    )?,
                    None => SnapshotRows::open(self.repository, contents, table)?,
                };
                while let Some(piece) = rows.next().await {
                    let piece = piece?;
                    self.read += piece.len() as u64;
                    let is_it = |line: &&[u8]| is_row(line, &places, &wanted);
                    // Once found, the rest is read too, since the digest proves what was read.
                    found = found.or_else(|| lines(&piece).find(is_it).map(<[u8]>::to_vec));
                }
                match &found {
                    Some(line) => {
                        self.with.insert(content.clone(), line.clone());
                        break;
                    }
                    None => drop(self.without.insert(content.clone())),
                }
            }
        }
        let unique = |own: &Vec<String>| !own.is_empty() && own.iter().all(|name| key.columns.contains(name));
        if found.is_some() && columns.key.as_ref().is_some_and(unique) {
            // It is in one range, so it is in none of the others.
            let others = ranges.into_iter().map(|(content, _)| content);
            self.without.extend(others.filter(|content| !self.with.contains_key(content)));
        }
        Ok(found)
    }

    /// Takes note of what became of the row.
    fn version(&mut self, snapshot: &Snapshot, row: Option<(Columns, Vec<u8>)>) {
        self.holding += u64::from(row.is_some());
        let shape = |a: &Columns, b: &Columns| {
            let table = (self.table.0.as_str(), self.table.1.as_str());
            Shape::new(table, a, b, &self.options.secrets, self.options.longest)
        };
        let (event, fields) = match (&self.current, &row) {
            (None, None) => return self.extend(snapshot),
            (None, Some((columns, line))) => (Event::Appeared, shape(columns, columns).whole(Of::B, line)),
            (Some(_), None) => (Event::Gone, Vec::new()),
            (Some((a, old)), Some((b, new))) => {
                let shape = shape(a, b);
                let mut fields = shape.differing(old, new);
                let (removed, added) = (shape.only(Of::A), shape.only(Of::B));
                let of = |all: Vec<FieldChange>, names: Vec<String>| {
                    all.into_iter().filter(move |field| names.contains(&field.name))
                };
                fields.extend(of(shape.whole(Of::A, old), removed));
                fields.extend(of(shape.whole(Of::B, new), added));
                if fields.is_empty() {
                    self.current = row;
                    return self.extend(snapshot);
                }
                (Event::Changed, fields)
            }
        };
        self.current = row;
        let id = snapshot.id.to_string();
        self.versions.push(Version {
            snapshot: id.clone(),
            time: snapshot.time,
            last: (id, snapshot.time),
            event,
            fields,
        });
    }

    fn extend(&mut self, snapshot: &Snapshot) {
        if let Some(version) = self.versions.last_mut() {
            version.last = (snapshot.id.to_string(), snapshot.time);
        }
    }
}

fn copy_text(value: &str) -> Vec<u8> {
    let mut text = Vec::new();
    escape(value.as_bytes(), &mut text);
    text
}

fn is_row(line: &[u8], places: &[usize], wanted: &[Vec<u8>]) -> bool {
    if let ([place], [value]) = (places, wanted) {
        return fields(line).nth(*place).is_some_and(|field| field.0 == value.as_slice());
    }
    let all: Vec<&[u8]> = fields(line).map(|field| field.0).collect();
    places.iter().zip(wanted).all(|(place, value)| all.get(*place) == Some(&value.as_slice()))
}

/// The words of the command line as columns and values.
fn key(words: &[String], columns: &Columns, table: &(String, String)) -> Result<Key, EngineError> {
    let name = format!("{}.{}", table.0, table.1);
    let named: Option<Vec<(String, String)>> = words
        .iter()
        .map(|word| {
            let (column, value) = word.split_once('=')?;
            columns.names.iter().any(|name| name == column).then(|| (column.to_owned(), value.to_owned()))
        })
        .collect();
    let own = columns.key.as_deref().unwrap_or_default();
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        let (columns, values): (Vec<String>, Vec<String>) = named.into_iter().unzip();
        return Ok(Key { columns, values });
    }
    if own.is_empty() {
        return Err(EngineError::usage(format!("{name} has no key that is known"))
            .hint("name columns that tell the row: column=value")
            .hint(format!("its columns are {}", columns.names.join(", "))));
    }
    if own.len() != words.len() {
        return Err(EngineError::usage(format!(
            "the key of {name} has {}, and {} given",
            counted(own.len() as u64, "column", "columns"),
            counted(words.len() as u64, "value is", "values are"),
        ))
        .hint(format!("its columns are {}, in this order", own.join(", "))));
    }
    Ok(Key { columns: own.to_vec(), values: words.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_given_by_place_or_by_name() {
        let columns = Columns {
            names: ["a", "b", "c"].map(String::from).to_vec(),
            key: Some(vec!["b".into(), "a".into()]),
        };
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.into()).collect();
            key(&words, &columns, &("public".into(), "t".into()))
        };
        let places = of(&["1", "x=2"]).unwrap();
        assert_eq!(
            (places.columns, places.values),
            (vec!["b".into(), "a".into()], vec!["1".into(), "x=2".into()])
        );
        let named = of(&["a=1", "c="]).unwrap();
        assert_eq!(
            (named.columns, named.values),
            (vec!["a".into(), "c".into()], vec!["1".into(), String::new()])
        );
        assert!(of(&["1"]).is_err() && of(&[]).is_err());
        assert!(is_row(b"1\tx\\\\\ty", &[1, 0], &[copy_text("x\\"), b"1".to_vec()]));
    }
}
