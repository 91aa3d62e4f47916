//! A plan as a list: what happens to each object and to each table's rows.

use std::collections::HashMap;

use basekeep_archive::Entry;

use super::contents::Contents;
use super::reconcile::{Load, Reconciled};
use super::work::{Action, Step};
use super::{Change, ChangeKind};
use crate::selection::Selected;

/// All of them in the order of the archive. Grants and comments go with their object and are not listed.
pub(super) fn of(
    contents: &Contents,
    selected: &Selected,
    steps: &[Step],
    reconciled: Option<&Reconciled>,
) -> Vec<Change> {
    let rows: HashMap<i32, u64> =
        contents.manifest.tables.iter().map(|table| (table.dump_id, table.rows)).collect();
    let by_id: HashMap<i32, &Step> = steps.iter().map(|step| (step.dump_id, step)).collect();
    let change = |entry: &Entry| {
        let id = entry.dump_id;
        let is_there = reconciled.is_some_and(|found| found.present.contains(&id));
        let action = match by_id.get(&id).map(|step| &step.action) {
            Some(Action::Table(table)) => match table.load {
                None | Some(Load::AtOnce) => ChangeKind::Load,
                Some(Load::Merge(_)) => ChangeKind::Merge,
                Some(Load::Replace) => ChangeKind::ReplaceRows,
            },
            Some(Action::Sql(_)) if reconciled.is_some_and(|found| found.replaced.contains(&id)) => {
                ChangeKind::Replace
            }
            Some(Action::Sql(_) | Action::LargeObjects(_)) => ChangeKind::Create,
            Some(Action::Impossible(_) | Action::Group(_)) => return None,
            None if is_there => ChangeKind::Skip,
            // Settings of the archive, empty tables' rows, and what the target's platform lacks, which is told apart.
            None => return None,
        };
        Some(Change {
            object: entry.display(),
            action,
            rows: rows.get(&id).copied(),
            condition: match by_id.get(&id).map(|step| &step.action) {
                Some(Action::Table(table)) => table.condition.clone(),
                _ => None,
            },
            pulled_in: selected.pulled_in.contains(&id),
        })
    };
    let told = |entry: &&Entry| {
        !matches!(
            entry.desc.as_slice(),
            b"ACL" | b"DEFAULT ACL" | b"COMMENT" | b"SECURITY LABEL" | b"BLOB" | b"SEQUENCE OWNED BY"
        )
    };
    contents.archive.entries.iter().filter(told).filter_map(change).collect()
}

/// A step that is not in the archive.
pub(super) fn set(step: &Step) -> Change {
    Change {
        object: step.name.clone(),
        action: ChangeKind::Set,
        rows: None,
        condition: None,
        pulled_in: false,
    }
}
