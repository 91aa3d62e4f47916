//! What a backup read of the rows, and what it took over.

use std::collections::BTreeMap;

use basekeep_engine::stored::manifest::{Manifest, Reading};
use serde::Serialize;

use crate::output::table::clean;
use crate::output::units;

#[derive(Serialize)]
pub(super) struct ReadingDocument<'a> {
    /// `changed`, `full` or `paranoid`.
    mode: &'a str,
    parent: Option<&'a str>,
    /// Why everything was read, if so.
    reason: Option<&'a str>,
    /// Backups in a row that took something over, up to this one.
    incrementals: u64,
    ranges: u64,
    ranges_taken_over: u64,
    ranges_compared: u64,
    read_bytes: u64,
    taken_over_bytes: u64,
    differing: &'a [String],
}

impl<'a> ReadingDocument<'a> {
    pub(super) fn of(reading: &'a Reading, m: &Manifest) -> Self {
        Self {
            mode: &reading.mode,
            parent: reading.parent.as_deref(),
            reason: reading.reason.as_deref(),
            incrementals: u64::from(reading.incrementals),
            ranges: reading.ranges,
            ranges_taken_over: reading.taken_over,
            ranges_compared: reading.compared,
            read_bytes: m.totals.bytes.saturating_sub(m.totals.taken_over_bytes),
            taken_over_bytes: m.totals.taken_over_bytes,
            differing: &reading.differing,
        }
    }
}

/// Lines of the summary.
pub(super) fn facts(reading: &Reading, m: &Manifest) -> Vec<(&'static str, String)> {
    let taken_over = m.totals.taken_over_bytes;
    let read = m.totals.bytes.saturating_sub(taken_over);
    let mut facts = Vec::new();
    match (&reading.reason, &reading.parent) {
        (Some(reason), _) => facts.push(("read", format!("everything: {}", clean(reason)))),
        (None, parent) => {
            let parent = parent.as_deref().map(units::short).unwrap_or_default();
            let over = format!("{} taken over from {parent}", units::bytes(taken_over));
            let compared = units::counted(reading.compared, "unchanged range", "unchanged ranges");
            facts.push(("read", format!("{}, {over}; {compared} compared", units::bytes(read))));
            for (reason, count) in reasons(m) {
                facts.push((
                    "read whole",
                    format!("{}: {}", units::counted(count, "table", "tables"), clean(reason)),
                ));
            }
        }
    }
    let differing =
        reading.differing.iter().map(|range| ("changed without a trace", clean(range).to_string()));
    facts.extend(differing);
    facts
}

/// Why tables were read as a whole, and how many.
fn reasons(m: &Manifest) -> BTreeMap<&str, u64> {
    let mut reasons = BTreeMap::new();
    for reason in m.tables.iter().filter_map(|table| table.read_whole.as_deref()) {
        *reasons.entry(reason).or_default() += 1;
    }
    reasons
}
