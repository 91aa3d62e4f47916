//! Findings as they are gathered, and those about what the database holds.

use super::server::Lock;
use super::{Contents, Facts, Finding, Preflight, Severity};
use crate::catalog::{Catalog, HIDDEN_ROWS};
use std::collections::BTreeMap;

/// Names listed in one finding.
const NAMED: usize = 10;

#[derive(Default)]
pub(super) struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    pub(super) fn blocking(&mut self, code: &'static str, what: String, hint: impl Into<String>) {
        self.all.push(Finding { severity: Severity::Blocking, code, what, hint: hint.into() });
    }

    pub(super) fn warning(&mut self, code: &'static str, what: String, hint: impl Into<String>) {
        self.all.push(Finding { severity: Severity::Warning, code, what, hint: hint.into() });
    }

    pub(super) fn ok(&mut self, code: &'static str, what: impl Into<String>) {
        self.all.push(Finding { severity: Severity::Ok, code, what: what.into(), hint: String::new() });
    }

    pub(super) fn into_all(self) -> Vec<Finding> {
        self.all
    }

    /// The result, worst findings first, otherwise in the order they were made.
    pub(super) fn with(mut self, facts: Facts) -> Preflight {
        self.all.sort_by_key(|finding| finding.severity);
        Preflight { findings: self.all, facts }
    }
}

pub(super) fn report_contents(role: &str, catalog: &Catalog, contents: Contents, findings: &mut Findings) {
    if catalog.unreadable.iter().all(|unreadable| unreadable.reason != HIDDEN_ROWS) {
        findings.ok("row-level-security", format!("no row is hidden from role {role} by row level security"));
    }

    let mut by_reason: BTreeMap<(&str, bool), Vec<String>> = BTreeMap::new();
    for unreadable in &catalog.unreadable {
        let name = format!("{}.{}", unreadable.relation.schema, unreadable.relation.name);
        by_reason.entry((&unreadable.reason, unreadable.fails_pg_dump)).or_default().push(name);
    }
    if by_reason.is_empty() {
        findings.ok("unreadable", format!("all {} tables are readable", catalog.tables.len()));
    }
    for ((reason, fails), names) in by_reason {
        let hint = if reason == HIDDEN_ROWS {
            "back up as a role with BYPASSRLS, or as superuser"
        } else {
            "grant SELECT on them and USAGE on their schema (or membership in pg_read_all_data)"
        };
        let lost = if fails { "neither their definition nor their rows are" } else { "their data is not" };
        findings.warning(
            "unreadable",
            format!("role {role} may not read {}: {reason}; {lost} in the backup", listed(&names)),
            hint,
        );
    }

    if contents.unreadable_large_objects > 0 {
        findings.warning(
            "unreadable-large-objects",
            format!(
                "role {role} may not read {} of {} large objects",
                contents.unreadable_large_objects, contents.large_objects
            ),
            "back up as superuser or as their owner, or grant SELECT on them",
        );
    }
    for hidden in &catalog.hidden {
        findings.warning("hidden-definition", hidden.clone(), "back up as superuser to include them");
    }
    if let Some(standby) = contents.standby {
        standby.report(findings);
    }
}

/// Tables that somebody holds exclusively: a backup would wait for them.
pub(super) fn report_locks(locks: &[Lock], findings: &mut Findings) {
    const CODE: &str = "table-locked";
    const HINT: &str =
        "wait until it ends, or end it with pg_terminate_backend; a backup waits for such locks";
    if locks.is_empty() {
        findings.warning(
            CODE,
            "a table was locked exclusively for a while".to_owned(),
            "run the preflight again",
        );
    }
    for lock in locks {
        findings.blocking(
            CODE,
            format!("session {} holds an exclusive lock on {}.{}", lock.pid, lock.schema, lock.table),
            HINT,
        );
    }
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..12).map(|n| format!("t{n}")).collect();
        assert_eq!(listed(&names[..2]), "t0, t1");
        assert!(listed(&names).ends_with("t9 and 2 more"));
    }
}
