//! Which rows of a table are meant. The target decides, row by row, while they come: `COPY … WHERE` needs no more than the right to
//! put rows in, and no room for the others.

use std::collections::HashMap;

use super::contents::Contents;
use super::work::{Action, Step};
use super::{RestoreOptions, RowCondition};
use crate::EngineError;
use crate::selection::{Part, Selected, Selection};

/// The first colon outside of double quotes.
pub(super) fn first_colon(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == ':' && !quoted).then_some(at)
    })
}

/// Conditions alone mean the rows of their tables and nothing else.
pub(super) fn with_tables(options: &RestoreOptions) -> RestoreOptions {
    let mut options = options.clone();
    if !options.conditions.is_empty() && options.selection.is_everything() {
        options.selection = Selection {
            parts: [Part::Data].into(),
            tables: options.conditions.iter().map(|condition| condition.table.clone()).collect(),
            with_dependencies: options.selection.with_dependencies,
            ..Selection::default()
        };
    }
    options
}

/// The condition of each table's rows, by dump id. The archive is still whole.
///
/// Errors, as kind `Usage`: a table that the snapshot does not have, or whose rows are not selected.
pub(super) fn by_entry(
    conditions: &[RowCondition],
    contents: &Contents,
    selected: &Selected,
) -> Result<HashMap<i32, String>, EngineError> {
    let mut found: HashMap<i32, String> = HashMap::new();
    for RowCondition { table, condition } in conditions {
        let rows =
            Selection { parts: [Part::Data].into(), tables: vec![table.clone()], ..Selection::default() };
        let rows = rows.apply(&contents.archive)?;
        let mut any = false;
        for stored in rows.tables(&contents.manifest).filter(|t| selected.entries.contains(&t.dump_id)) {
            any = true;
            found
                .entry(stored.dump_id)
                .and_modify(|all| *all = format!("({all}\n) AND ({condition}\n)"))
                .or_insert_with(|| condition.clone());
        }
        if !any {
            return Err(EngineError::usage(format!(
                "--where is about {table}, whose rows are not among what is restored"
            )));
        }
    }
    Ok(found)
}

/// Tells the steps.
pub(super) fn apply(steps: &mut [Step], mut conditions: HashMap<i32, String>) {
    for step in steps {
        if let Action::Table(table) = &mut step.action {
            table.condition = conditions.remove(&step.dump_id);
            // One connection that freezes rows knows nothing of conditions.
            table.fresh &= table.condition.is_none();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_cut_off_at_the_first_colon_outside_of_quotes() {
        let read = |text: &str| text.parse::<RowCondition>().map(|c| (c.table, c.condition));
        assert_eq!(
            read("public.orders: at::date = '2024-01-01'").unwrap(),
            ("public.orders".to_owned(), "at::date = '2024-01-01'".to_owned())
        );
        assert_eq!(read("a.\"b:c\":x > 1").unwrap(), ("a.\"b:c\"".to_owned(), "x > 1".to_owned()));
        assert!(read("public.orders").is_err());
        assert!(read("public.orders:").is_err());
    }
}
