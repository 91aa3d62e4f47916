//! Which column gets which mask, decided before anything happens: rules, then what foreign keys add to them, then whether
//! types, keys and constraints can bear it.

mod graph;
mod kinds;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use basekeep_repository::Repository;

use self::graph::Graph;
use super::ColumnMask;
use super::method::{Kind, Method};
use super::personal;
use super::rules::{Rule, Rules};
use crate::EngineError;
use crate::restore::Contents;
use crate::snapshot_rows::{self, SnapshotRows};
use crate::stored::columns::{Column, Columns, Table};

/// Two masks of different values are equal with a probability of 1 to 2 to this power at most, in a column where that must not be.
const CERTAINTY: f64 = 13.0;
/// Problems that are told at once.
const TOLD: usize = 20;

/// What masks will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MaskPlan {
    /// Columns that rules cover, also those that are kept on purpose.
    pub columns: Vec<MaskedColumn>,
    /// Columns that no rule covers and that look personal.
    pub uncovered: Vec<Uncovered>,
    /// What else to know.
    pub notes: Vec<String>,
}

/// A column that a rule covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedColumn {
    /// Its schema.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub column: String,
    /// The method's name in rules.
    pub method: &'static str,
    /// The column whose rule it follows, where a foreign key ties it to one.
    pub follows: Option<String>,
}

/// A column that looks personal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncovered {
    /// Its schema.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub column: String,
    /// Why it looks so.
    pub why: String,
}

/// A plan, and the masks for each table's fields.
pub(super) struct Planned {
    pub(super) plan: MaskPlan,
    pub(super) tables: HashMap<(String, String), Vec<Option<ColumnMask>>>,
}

/// Decides, or says everything that is wrong.
pub(super) fn plan(rules: &Rules, columns: &Columns, contents: &Contents) -> Result<Planned, EngineError> {
    let mut graph = Graph::new(columns, &contents.archive);
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    cover(rules, columns, &mut graph, &mut problems, &mut notes);
    graph.follow(&mut problems);

    let rows: HashMap<(&str, &str), u64> =
        contents.manifest.tables.iter().map(|t| ((t.schema.as_str(), t.name.as_str()), t.rows)).collect();
    let unique = graph.unique(columns, &contents.archive);
    let mut plan = MaskPlan::default();
    let mut tables = HashMap::new();
    for table in &columns.tables {
        let mut masks = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let name = graph::name(&table.schema, &table.name, &column.name);
            let Some((method, follows)) = graph.method(&name) else {
                masks.push(None);
                continue;
            };
            let kind = kinds::of_column(columns, column);
            let must_differ = unique.contains(&name);
            let count = rows.get(&(table.schema.as_str(), table.name.as_str())).copied().unwrap_or(0);
            problems.extend(
                problem(columns, table, column, method, kind, must_differ, count)
                    .map(|why| format!("{}: {why}", graph::shown(&name))),
            );
            plan.columns.push(MaskedColumn {
                schema: table.schema.clone(),
                table: table.name.clone(),
                column: column.name.clone(),
                method: method.name(),
                follows: follows.map(graph::shown),
            });
            let mask = ColumnMask { method: method.clone(), kind, unique: must_differ };
            masks.push((*method != Method::Keep).then_some(mask));
        }
        if masks.iter().any(Option::is_some) {
            if !has_these_columns(contents, table) {
                problems.push(format!(
                    "{}.{}: its rows have other columns than the list says",
                    table.schema, table.name
                ));
            }
            tables.insert((table.schema.clone(), table.name.clone()), masks);
        }
    }
    refuse(problems)?;
    if contents.manifest.large_objects.count > 0 {
        notes.push("large objects are not masked".into());
    }
    if contents.manifest.supabase.is_some() {
        notes.push(
            "files of storage, secrets of the vault, cron jobs and messages of queues are not masked".into(),
        );
    }
    plan.notes = notes;
    Ok(Planned { plan, tables })
}

fn refuse(problems: Vec<String>) -> Result<(), EngineError> {
    let more = problems.len().saturating_sub(TOLD);
    match problems.as_slice() {
        [] => return Ok(()),
        [only] => return Err(EngineError::usage(format!("the rules for masks do not fit: {only}"))),
        _ => {}
    }
    let hints = problems.into_iter().take(TOLD);
    let rest = (more > 0).then(|| format!("and {more} more"));
    Err(EngineError::usage("the rules for masks do not fit").hints_from(hints.chain(rest)))
}

/// Gives each column the first rule that fits it or, where it is in a partition, the table that it is a part of.
fn cover(
    rules: &Rules,
    columns: &Columns,
    graph: &mut Graph,
    problems: &mut Vec<String>,
    notes: &mut Vec<String>,
) {
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for table in &columns.tables {
        let family = graph.family(&table.schema, &table.name);
        let stored = table.columns.iter().map(|column| (&column.name, true));
        for (column, stored) in stored.chain(table.generated.iter().map(|name| (name, false))) {
            let fitting = |rule: &&Rule| fits(rule, &family, column).is_some();
            let Some(rule) = rules.rules.iter().find(fitting) else { continue };
            // All patterns that fit are of use, also those that come too late.
            for rule in &rules.rules {
                used.extend(fits(rule, &family, column));
            }
            if stored {
                graph.cover(graph::name(&table.schema, &table.name, column), &rule.method);
            } else if !matches!(rule.method, Method::Keep) {
                notes.push(format!(
                    "{}.{}.{column} is generated: it is masked as far as the columns are that it is made of",
                    table.schema, table.name
                ));
            }
        }
    }
    for pattern in rules
        .rules
        .iter()
        .flat_map(|rule| &rule.columns)
        .filter(|pattern| !used.contains(pattern.text.as_str()))
    {
        match pattern.is_exact() {
            true => problems.push(format!("the snapshot has no column {}", pattern.text)),
            false => notes.push(format!("no column fits {}", pattern.text)),
        }
    }
}

fn fits<'a>(rule: &'a Rule, family: &[(String, String)], column: &str) -> Option<&'a str> {
    let fitting = |(schema, table): &(String, String), pattern: &super::rules::ColumnPattern| {
        pattern.matches(schema, table, column)
    };
    rule.columns
        .iter()
        .find(|pattern| family.iter().any(|table| fitting(table, pattern)))
        .map(|pattern| pattern.text.as_str())
}

/// Why a method cannot be used for a column, if so.
fn problem(
    columns: &Columns,
    table: &Table,
    column: &Column,
    method: &Method,
    kind: Kind,
    must_differ: bool,
    rows: u64,
) -> Option<String> {
    let name = method.name();
    let in_key = table.primary_key.iter().flatten().any(|key| *key == column.name);
    let nulls_equal =
        table.unique_keys.iter().any(|key| key.nulls_equal && key.columns.contains(&column.name));
    match method {
        Method::Keep => return None,
        Method::Null if column.not_null || in_key => return Some("method null, but it is never null".into()),
        Method::Null if nulls_equal => {
            return Some("method null, but a unique key holds nulls for equal".into());
        }
        Method::Null => return None,
        Method::Constant(value) => {
            if let Some(why) = kinds::constant(columns, column, kind, value) {
                return Some(why);
            }
        }
        Method::Json(_) if kind != Kind::Json => {
            return Some(format!("method json, but its type is {}", column.type_name));
        }
        Method::Json(_) => {}
        Method::Hash if matches!(kind, Kind::Json | Kind::Other) => {
            return Some(format!("method hash keeps types, and knows none for {}", column.type_name));
        }
        Method::Hash => {}
        _ if !matches!(kind, Kind::Text { .. }) => {
            return Some(format!("method {name} is for text, but its type is {}", column.type_name));
        }
        _ => {}
    }
    if !must_differ {
        return None;
    }
    let needed = 2.0 * (rows.max(2) as f64).log2() + CERTAINTY;
    match method.telling_bits(kind, true) {
        None => Some(format!(
            "method {name} gives equal masks for different values, but they are unique; use hash, email or keep"
        )),
        Some(bits) if bits < needed => Some(format!(
            "its type {} is too short for method {name} to keep {rows} rows apart; use keep",
            column.type_name
        )),
        Some(_) => None,
    }
}

fn has_these_columns(contents: &Contents, table: &Table) -> bool {
    let stored = contents.manifest.tables.iter().find(|t| t.schema == table.schema && t.name == table.name);
    let names = stored.and_then(|stored| snapshot_rows::columns(contents, stored));
    names.is_some_and(|names| names.iter().eq(table.columns.iter().map(|column| &column.name)))
}

/// Adds columns that look personal and that no rule covers. Of each table the first rows are read.
pub(super) async fn look_for_personal(
    mut plan: MaskPlan,
    columns: &Columns,
    repository: &Repository,
    contents: &Contents,
) -> Result<MaskPlan, EngineError> {
    let mut covered: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for column in &plan.columns {
        covered.entry((&column.schema, &column.table)).or_default().insert(&column.column);
    }
    let mut uncovered = Vec::new();
    for stored in contents.manifest.tables.iter().filter(|table| table.rows > 0) {
        let Some(table) = columns.table(&stored.schema, &stored.name) else { continue };
        let covered = covered.get(&(stored.schema.as_str(), stored.name.as_str()));
        let open = |column: &Column| !covered.is_some_and(|covered| covered.contains(column.name.as_str()));
        let mut why: Vec<Option<String>> = table
            .columns
            .iter()
            .map(|column| {
                let kind = kinds::of_column(columns, column);
                personal::by_name(&column.name, kind, &column.type_name).filter(|_| open(column))
            })
            .collect();
        let looked_at: Vec<bool> = table
            .columns
            .iter()
            .zip(&why)
            .map(|(column, why)| {
                let readable = matches!(kinds::of_column(columns, column), Kind::Text { .. } | Kind::Json);
                why.is_none() && readable && open(column)
            })
            .collect();
        if looked_at.contains(&true)
            && let Some(piece) = SnapshotRows::open(repository, contents, stored)?.next().await
        {
            for (why, found) in why.iter_mut().zip(personal::by_content(&piece?, &looked_at)) {
                *why = why.take().or(found);
            }
        }
        uncovered.extend(table.columns.iter().zip(why).filter_map(|(column, why)| {
            Some(Uncovered {
                schema: table.schema.clone(),
                table: table.name.clone(),
                column: column.name.clone(),
                why: why?,
            })
        }));
    }
    plan.uncovered = uncovered;
    Ok(plan)
}
