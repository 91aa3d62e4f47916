//! The archive's entries for what pg_dump was not asked for: rows, sequences' values, refreshes of materialized views.

use std::collections::BTreeMap;

use basekeep_archive::{Archive, ArchiveError, MaterializedViewData, SequenceSet, TableData};
use basekeep_postgres::catalog::Table;
use basekeep_postgres::session::SequenceValue;

use super::plan::Plan;
use crate::EngineError;
use crate::stored::manifest;

/// One data entry for each table of the catalog; their dump ids in the same order.
pub(super) fn add_tables(archive: &mut Archive, plan: &Plan) -> Result<Vec<i32>, EngineError> {
    let tables: Vec<TableData> = plan.catalog.tables.iter().map(table_data).collect();
    archive.add_tables(&tables).map_err(|error| archive_error(&error, "rows"))
}

fn table_data(table: &Table) -> TableData {
    TableData {
        oid: table.oid,
        schema: table.schema.clone(),
        name: table.name.clone(),
        owner: table.owner.clone(),
        columns: table.copied_columns().map(|column| column.name.clone()).collect(),
        load_via_root: table.load_via_root.clone(),
        extension: table.extension.clone(),
    }
}

/// An entry for each sequence whose value was read.
pub(super) fn add_sequences(
    archive: &mut Archive,
    plan: &Plan,
    values: &[SequenceValue],
) -> Result<Vec<manifest::Sequence>, EngineError> {
    let by_oid: BTreeMap<u32, &SequenceValue> = values.iter().map(|value| (value.oid, value)).collect();
    let sequences = plan.catalog.sequences.iter();
    let sets: Vec<SequenceSet> = sequences
        .filter_map(|sequence| {
            let value = by_oid.get(&sequence.oid)?;
            Some(SequenceSet {
                oid: sequence.oid,
                schema: sequence.schema.clone(),
                name: sequence.name.clone(),
                owner: sequence.owner.clone(),
                last_value: value.last_value,
                is_called: value.is_called,
                extension: sequence.extension.clone(),
            })
        })
        .collect();
    archive.add_sequences(&sets).map_err(|error| archive_error(&error, "sequences"))?;
    let stored = sets.into_iter().map(|set| manifest::Sequence {
        schema: set.schema,
        name: set.name,
        last_value: set.last_value,
        is_called: set.is_called,
    });
    Ok(stored.collect())
}

/// A refresh for each populated materialized view. The result names those that cannot be refreshed after a restore,
/// since they read one that is not populated; pg_dump leaves these out too.
pub(super) fn add_materialized_views(archive: &mut Archive, plan: &Plan) -> Result<Vec<String>, EngineError> {
    let populated = plan.catalog.materialized_views.iter().filter(|view| view.populated);
    let views: Vec<MaterializedViewData> = populated
        .map(|view| MaterializedViewData {
            oid: view.oid,
            schema: view.schema.clone(),
            name: view.name.clone(),
            owner: view.owner.clone(),
            depends_on: view.depends_on.clone(),
        })
        .collect();
    let added = archive.add_materialized_views(&views);
    let ids = added.map_err(|error| archive_error(&error, "materialized views"))?;
    let left_out = views.iter().zip(ids).filter(|(_, id)| id.is_none());
    Ok(left_out.map(|(view, _)| format!("{}.{}", view.schema, view.name)).collect())
}

fn archive_error(error: &ArchiveError, what: &str) -> EngineError {
    EngineError::failed(format!("describe the {what} in the archive: {error}"))
}
