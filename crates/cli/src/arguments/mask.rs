//! The option that masks personal values, and how its plan is shown; the same for export and restore.

use std::path::PathBuf;

use basekeep_engine::EngineError;
use basekeep_engine::mask::{MaskPlan, Rules};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::output::table::clean;
use crate::output::units;

/// Columns that are named in a warning.
const MOST: usize = 20;

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct MaskArguments {
    /// Replace personal values by the rules in this file; the secret comes from it or from `BASEKEEP_MASK_SECRET`
    #[arg(long, value_name = "RULES")]
    mask: Option<PathBuf>,
}

#[derive(Serialize)]
pub(crate) struct MaskDocument<'a> {
    columns: Vec<ColumnDocument<'a>>,
    uncovered: Vec<UncoveredDocument<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct ColumnDocument<'a> {
    schema: &'a str,
    table: &'a str,
    column: &'a str,
    method: &'a str,
    follows: Option<&'a str>,
}

#[derive(Serialize)]
struct UncoveredDocument<'a> {
    schema: &'a str,
    table: &'a str,
    column: &'a str,
    why: &'a str,
}

impl MaskArguments {
    /// The rules, where a file is named.
    pub(crate) fn rules(&self, context: &Context) -> Result<Option<Rules>, EngineError> {
        self.mask.as_deref().map(|file| Rules::read(file, &context.env)).transpose()
    }
}

impl<'a> MaskDocument<'a> {
    /// The plan for programs.
    pub(crate) fn of(plan: &'a MaskPlan) -> Self {
        let columns = plan.columns.iter().map(|column| ColumnDocument {
            schema: &column.schema,
            table: &column.table,
            column: &column.column,
            method: column.method,
            follows: column.follows.as_deref(),
        });
        let uncovered = plan.uncovered.iter().map(|column| UncoveredDocument {
            schema: &column.schema,
            table: &column.table,
            column: &column.column,
            why: &column.why,
        });
        Self { columns: columns.collect(), uncovered: uncovered.collect(), notes: &plan.notes }
    }
}

/// The covered columns, a line each.
pub(crate) fn text(plan: &MaskPlan) -> String {
    plan.columns
        .iter()
        .map(|column| {
            let name = format!("{}.{}.{}", column.schema, column.table, column.column);
            let follows = column.follows.as_ref().map(|other| format!(", as {}", clean(other)));
            format!("  mask {}: {}{}\n", clean(&name), column.method, follows.unwrap_or_default())
        })
        .collect()
}

/// Says what looks personal and is not covered, and what else there is to know.
pub(crate) fn warn(plan: &MaskPlan, context: &Context) {
    for note in &plan.notes {
        context.output.warning(&clean(note), None);
    }
    if plan.uncovered.is_empty() {
        return;
    }
    let count = units::counted(plan.uncovered.len() as u64, "column looks", "columns look");
    context.output.warning(&format!("{count} personal and no rule covers it"), None);
    for column in plan.uncovered.iter().take(MOST) {
        let name = format!("{}.{}.{}", column.schema, column.table, column.column);
        context.output.hint(&format!("{}: {}", clean(&name), column.why));
    }
    if plan.uncovered.len() > MOST {
        context.output.hint(&format!("and {} more; --json lists them all", plan.uncovered.len() - MOST));
    }
    context.output.hint("cover them with a rule, or with method keep");
}
