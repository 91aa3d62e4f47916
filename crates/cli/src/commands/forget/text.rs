//! What `forget` tells people.

use basekeep_engine::forget::{Entry, ForgetReport, Group};

use crate::output::table::{Align, Table, clean};
use crate::output::units;

/// A table for each group, and the sum.
pub(super) fn report(report: &ForgetReport, dry_run: bool) -> String {
    let mut text = String::new();
    for group in &report.groups {
        text += &heading(group);
        text += &table(group, dry_run);
        text.push('\n');
    }
    let going: usize = report.groups.iter().map(|group| group.remove.len()).sum();
    let staying: usize = report.groups.iter().map(|group| group.keep.len()).sum();
    let stay = format!("{} stay", units::count(staying as u64));
    let named = report.groups.iter().all(|group| group.policy.is_none());
    let snapshots = |number: usize| units::counted(number as u64, "snapshot", "snapshots");
    let sum = match (dry_run, going) {
        (_, 0) if staying == 1 => "nothing to remove: 1 snapshot stays".to_owned(),
        (_, 0) => format!("nothing to remove: {} stay", snapshots(staying)),
        (true, _) if named => format!("{} would go", snapshots(going)),
        (true, _) => format!("{} would go, {stay}", snapshots(going)),
        (false, _) if named => format!("{} removed", snapshots(report.removed.len())),
        (false, _) => format!("{} removed, {stay}", snapshots(report.removed.len())),
    };
    let space = report.frees_bytes.map_or_else(String::new, |bytes| {
        let verb = if dry_run { "would free" } else { "frees" };
        format!("; `basekeep prune` {verb} about {}", units::bytes(bytes))
    });
    text + &sum + &space + "\n"
}

/// The note about snapshots that no policy applies to.
pub(super) fn without_policy(source: &str, number: u64) -> String {
    let stay = match number {
        1 => "1 snapshot stays".to_owned(),
        _ => format!("{} stay", units::counted(number, "snapshot", "snapshots")),
    };
    format!("{stay} because no profile says what to keep of {}", clean(source))
}

fn heading(group: &Group) -> String {
    let mut text = clean(&group.source);
    let own = matches!(&group.paths[..], [path] if path.strip_prefix('/') == Some(&group.source));
    if !own {
        text += &format!(" {}", clean(&group.paths.join(" ")));
    }
    if let Some(tags) = &group.tags {
        text += &format!(
            " with tags {}",
            if tags.is_empty() { "(none)".to_owned() } else { clean(&tags.join(",")) }
        );
    }
    match &group.policy {
        Some(policy) => format!("{text}: keep {}\n", clean(policy)),
        None => format!("{text}\n"),
    }
}

fn table(group: &Group, dry_run: bool) -> String {
    let mut table = Table::new(&[("", Align::Left); 6]);
    let mut rows: Vec<(&Entry, bool)> = group.keep.iter().map(|entry| (entry, true)).collect();
    rows.extend(group.remove.iter().map(|entry| (entry, false)));
    rows.sort_by_key(|(entry, _)| std::cmp::Reverse((entry.time, entry.id)));
    for (entry, stays) in rows {
        let reasons: Vec<String> = entry.reasons.iter().map(ToString::to_string).collect();
        table.row([
            match (stays, dry_run) {
                (true, _) => "keep",
                (false, true) => "would go",
                (false, false) => "remove",
            }
            .to_owned(),
            units::short(&entry.id.to_string()).to_owned(),
            units::time(entry.time),
            if entry.proven == Some(true) { "proven" } else { "" }.to_owned(),
            reasons.join(", "),
            entry.tags.join(","),
        ]);
    }
    table.render()
}
