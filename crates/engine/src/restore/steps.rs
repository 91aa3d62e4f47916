//! From the archive's plan to steps that know their statements, rows and dependencies.

use std::collections::{HashMap, HashSet};

use basekeep_archive::{self as archive, Archive, Entry, Pass, Phase, StepKind};
use basekeep_postgres::{Digest, quote_identifier, quote_literal, quote_qualified};
use basekeep_repository::{Repository, Snapshot};

use super::contents::{Contents, blobs_toc};
use super::names::CopyStatement;
use super::reconcile::{Load, Reconciled};
use super::rows;
use super::schedule::Need;
use super::work::{Action, LargeObject, LargeObjects, Stage, Statement, Step, Table};
use crate::EngineError;
use crate::stored::manifest;

/// Stands among dump ids, which are greater than zero, for the lock that all policies take.
const POLICIES: i32 = -1;

/// The steps of the whole archive.
pub(super) async fn make(
    repository: &Repository,
    snapshot: &Snapshot,
    contents: &Contents,
    options: &archive::RestoreOptions,
    reconciled: Option<&Reconciled>,
    dispensable: &HashSet<i32>,
    superuser: bool,
) -> Result<Vec<Step>, EngineError> {
    let archive = &contents.archive;
    let selected = |entry: &Entry| reconciled.is_none_or(|found| found.keep.contains(&entry.dump_id));
    let plan = archive::plan(archive, options, &selected);
    let tables: HashMap<i32, &manifest::Table> =
        contents.manifest.tables.iter().map(|table| (table.dump_id, table)).collect();
    let blob_steps = plan.steps.iter().filter(|step| step.kind == StepKind::LargeObjects).count();
    let step_of: HashMap<i32, usize> =
        plan.steps.iter().enumerate().rev().map(|(n, step)| (step.dump_id, n)).collect();
    let mut steps: Vec<Step> = Vec::with_capacity(plan.steps.len());
    for planned in &plan.steps {
        let entry = &archive.entries[planned.entry];
        let action = match planned.kind {
            StepKind::Sql | StepKind::SequenceSet => sql(archive, entry, options, superuser),
            StepKind::TableData => {
                let load = reconciled.and_then(|found| found.loads.get(&entry.dump_id).copied());
                let made = |id: &i32| step_of.get(id).is_some_and(|&n| is_heap(archive, &plan.steps[n]));
                let fresh = entry.dependencies.iter().any(made);
                table(contents, entry, tables.get(&entry.dump_id).copied(), load, fresh)
            }
            StepKind::LargeObjects => {
                let expected = (blob_steps == 1).then(|| contents.manifest.large_objects.digest.clone());
                large_objects(repository, snapshot, contents, entry, expected).await?
            }
        };
        let after = dependencies(&plan, steps.len(), entry, &step_of);
        let stage = stage(planned, &after, &steps);
        let weight = weight(&action, &after, &steps);
        steps.push(Step {
            name: entry.display(),
            dump_id: entry.dump_id,
            stage,
            action,
            after,
            dispensable: dispensable.contains(&entry.dump_id),
            exclusive: exclusive(planned, entry),
            shared: planned.uses.iter().filter(|id| !planned.exclusive.contains(id)).copied().collect(),
            weight,
            sets_position: planned.kind == StepKind::SequenceSet,
        });
    }
    Ok(steps)
}

/// What a step locks. Policies name other tables than their own, so one waits for the other: they are quick.
fn exclusive(planned: &archive::Step, entry: &Entry) -> Vec<i32> {
    let mut locked = planned.exclusive.clone();
    if entry.desc == "POLICY" {
        locked.push(POLICIES);
    }
    locked
}

/// What a step waits for, and of that, what it cannot do without. The archive's plan adds edges that only keep its order;
/// what an entry itself names is what it needs. Definitions do not need rows to exist, only to come after them; what is
/// computed from rows does.
fn dependencies(
    plan: &archive::RestorePlan,
    step: usize,
    entry: &Entry,
    step_of: &HashMap<i32, usize>,
) -> Vec<(usize, Need)> {
    let is_data = |n: usize| {
        matches!(plan.steps[n].kind, StepKind::TableData | StepKind::LargeObjects | StepKind::SequenceSet)
    };
    let refresh = entry.desc == "MATERIALIZED VIEW DATA";
    let mut after: Vec<(usize, Need)> = Vec::new();
    for id in &entry.dependencies {
        if let Some(&n) = step_of.get(id).filter(|&&n| n < step) {
            after.push((n, if is_data(n) && !refresh { Need::End } else { Need::Success }));
        }
    }
    let named: Vec<usize> = after.iter().map(|(n, _)| *n).collect();
    after.extend(plan.steps[step].depends_on.iter().filter(|n| !named.contains(n)).map(|&n| (n, Need::End)));
    after
}

fn stage(step: &archive::Step, after: &[(usize, Need)], before: &[Step]) -> Stage {
    match (step.pass, step.phase) {
        (Pass::PostAcl, _) => Stage::Last,
        (Pass::Acl, _) => Stage::Privileges,
        (Pass::Main, Phase::PreData) => Stage::Before,
        (Pass::Main, Phase::PostData) => Stage::Parallel,
        (Pass::Main, Phase::Data) => {
            let alone = matches!(step.kind, StepKind::Sql | StepKind::SequenceSet)
                && after.iter().all(|&(n, _)| before[n].stage < Stage::Parallel);
            if alone { Stage::Values } else { Stage::Parallel }
        }
    }
}

/// Rows weigh their bytes; what is built from them half of that, so that a large table's keys begin early.
fn weight(action: &Action, after: &[(usize, Need)], before: &[Step]) -> u64 {
    match action {
        Action::Table(table) => table.bytes(),
        Action::Group(group) => group.bytes(),
        Action::LargeObjects(_) | Action::Impossible(_) => 0,
        Action::Sql(_) => after
            .iter()
            .filter(|(n, _)| matches!(before[*n].action, Action::Table(_)))
            .map(|(n, _)| before[*n].weight / 2)
            .max()
            .unwrap_or(0),
    }
}

/// The statements of an entry. Its owner is a part of its own: without the role there is still the object.
fn sql(archive: &Archive, entry: &Entry, options: &archive::RestoreOptions, superuser: bool) -> Action {
    let Some(sql) = entry.create_sql(archive, options) else { return Action::Sql(Vec::new()) };
    let without_owner = archive::RestoreOptions { owner: false, ..*options };
    let bare = entry.create_sql(archive, &without_owner).map(|sql| sql.queries).unwrap_or_default();
    let mut statements = Vec::with_capacity(sql.queries.len());
    for query in sql.queries {
        let owner = options.owner && query.starts_with(b"ALTER ") && !bare.contains(&query);
        match String::from_utf8(query.into()) {
            Ok(sql) if owner && !superuser => {
                statements.push(Statement { sql: given(entry, &sql), part: Some("owner") });
            }
            Ok(sql) => statements.push(Statement { sql, part: owner.then_some("owner") }),
            Err(_) => return Action::Impossible("its definition is not valid UTF-8".into()),
        }
    }
    Action::Sql(statements)
}

/// `ALTER … OWNER TO` for a role that is no superuser: the new owner must be allowed to create in the schema, if only for
/// this moment.
fn given(entry: &Entry, alter: &str) -> String {
    let text = |bytes: &Option<bstr::BString>| bytes.as_ref().map(ToString::to_string).unwrap_or_default();
    let (schema, owner) = (text(&entry.namespace), text(&entry.owner));
    if schema.is_empty() || owner.is_empty() {
        return alter.to_owned();
    }
    let (grantee, quoted) = (quote_identifier(&owner), quote_identifier(&schema));
    let body = format!(
        "BEGIN
    IF pg_catalog.has_schema_privilege({}, {}, 'CREATE') THEN
        {alter}
    ELSE
        GRANT CREATE ON SCHEMA {quoted} TO {grantee};
        {alter}
        REVOKE CREATE ON SCHEMA {quoted} FROM {grantee};
    END IF;
END",
        quote_literal(&owner),
        quote_literal(&schema)
    );
    format!("DO {};\n", quote_literal(&body))
}

/// Whether a step creates a table of Postgres's own storage.
fn is_heap(archive: &Archive, step: &archive::Step) -> bool {
    let entry = &archive.entries[step.entry];
    entry.desc == "TABLE"
        && entry.table_access_method.as_ref().is_none_or(|name| name.is_empty() || name == "heap")
}

fn table(
    contents: &Contents,
    entry: &Entry,
    stored: Option<&manifest::Table>,
    load: Option<Load>,
    fresh: bool,
) -> Action {
    let copy_sql = entry.copy_stmt.as_ref().map(|text| text.to_string()).unwrap_or_default();
    let Some(copy) = CopyStatement::parse(&copy_sql) else {
        return Action::Impossible("the archive has no COPY statement for it".into());
    };
    let Some(stored) = stored else {
        return Action::Impossible("the manifest does not know it".into());
    };
    let Ok(sum) = u128::from_str_radix(&stored.digest, 16) else {
        return Action::Impossible("the manifest has no digest of it".into());
    };
    let total = Digest { rows: stored.rows, bytes: stored.bytes, sum };
    let name = stored.file.rsplit('/').next().unwrap_or_default();
    let Some(blobs) = contents.blobs(name) else {
        return Action::Impossible(format!("the snapshot has no file {}", stored.file));
    };
    let index = contents.ranges.as_ref().ok().and_then(|ranges| ranges.get(&stored.file));
    let via_root = entry.is_load_via_partition_root() || stored.load_via_root.is_some();
    // Several loads into one root cannot be told apart afterwards, so each is one transaction; nor can rows from those that
    // a table had.
    let own = !via_root && stored.extension.is_none() && load.is_none();
    let index = index.map(Vec::as_slice).filter(|_| own);
    let mask = contents.masks.as_ref().and_then(|masks| masks.for_file(&stored.file));
    Action::Table(Table {
        copy_sql: copy_sql.trim_end().trim_end_matches(';').to_owned(),
        relation: copy.relation,
        stored: quote_qualified(&stored.schema, &stored.name),
        condition: None,
        own,
        fresh: fresh && own && stored.bytes >= rows::WORTH_FREEZING,
        load,
        columns: copy.columns,
        units: if stored.rows == 0 { Vec::new() } else { rows::units(total, blobs.len(), index, mask) },
        blobs: blobs.to_vec(),
    })
}

async fn large_objects(
    repository: &Repository,
    snapshot: &Snapshot,
    contents: &Contents,
    entry: &Entry,
    expected: Option<String>,
) -> Result<Action, EngineError> {
    let archive::Storage::Directory { file_name } = &entry.storage else {
        return Ok(Action::Impossible("the archive is not a directory archive".into()));
    };
    let mut objects = Vec::new();
    for (oid, file) in blobs_toc(repository, snapshot, &file_name.to_string()).await? {
        let Some(blobs) = contents.blobs(&file) else {
            return Ok(Action::Impossible(format!("the snapshot has no file {file}")));
        };
        objects.push(LargeObject { oid, blobs: blobs.to_vec() });
    }
    Ok(Action::LargeObjects(LargeObjects { objects, expected }))
}
