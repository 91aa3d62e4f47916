//! What happened within some days: of each source the runs, failures, growth, space and proof, and what alerts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::markdown::{cell, line};
use crate::listing::SnapshotSummary;
use crate::monitor;
use crate::words::{bytes, count};

/// The version of the JSON form.
pub const VERSION: u32 = 1;
/// Findings that are listed; the rest is counted.
const FINDINGS: usize = 50;

/// The digest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Digest {
    /// [`VERSION`].
    pub version: u32,
    /// Its first moment.
    pub from: Timestamp,
    /// Its last moment.
    pub to: Timestamp,
    /// Each source.
    pub sources: Vec<SourceDigest>,
    /// What was done to the repository as a whole: kind of job and how its runs ended.
    pub maintenance: BTreeMap<String, Runs>,
    /// Bytes that were freed.
    pub freed_bytes: u64,
    /// What alerts now: about what, and the finding.
    pub findings: Vec<(String, String)>,
    /// There is a history of runs; without one, runs are not known.
    pub history: bool,
}

/// Runs of one kind, by how they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Runs {
    /// All of it was done.
    pub done: u64,
    /// Something was left out.
    pub incomplete: u64,
    /// Failed, was interrupted, or found a difference.
    pub failed: u64,
    /// The newest error: when, and its first line.
    pub last_error: Option<(Timestamp, String)>,
}

/// What is known of runs from elsewhere (the engine keeps no history).
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Runs by kind of job and source; jobs about the repository have none.
    pub runs: BTreeMap<(String, Option<String>), Runs>,
    /// Bytes that retention and prune freed.
    pub freed_bytes: u64,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceDigest {
    /// Its name.
    pub source: String,
    /// Snapshots of these days that are still there.
    pub snapshots: u64,
    /// Runs by kind of job.
    pub runs: BTreeMap<String, Runs>,
    /// When the newest snapshot was taken.
    pub newest: Option<Timestamp>,
    /// Its rows.
    pub rows: Option<u64>,
    /// Rows more (or less) than in the last snapshot before these days, or the first of them.
    pub rows_change: Option<i64>,
    /// Its bytes, before compression.
    pub bytes: Option<u64>,
    /// Bytes more or less.
    pub bytes_change: Option<i64>,
    /// Bytes that these days' snapshots added to the repository.
    pub added_bytes: u64,
    /// The newest drill that found everything equal.
    pub proven: Option<Timestamp>,
}

/// What is said of the sources at the end of these days.
#[derive(Debug, Clone, Default)]
pub struct Now {
    /// Each source, and when the newest drill found everything equal.
    pub sources: Vec<(String, Option<Timestamp>)>,
    /// What alerts: about what, and the finding.
    pub findings: Vec<(String, String)>,
}

impl From<&monitor::Report> for Now {
    fn from(report: &monitor::Report) -> Self {
        let about =
            |finding: &monitor::Finding| finding.source.clone().unwrap_or_else(|| "repository".to_owned());
        let proven = |source: &monitor::SourceReport| source.proven.as_ref().map(|proof| proof.time);
        Self {
            sources: report.sources.iter().map(|source| (source.source.clone(), proven(source))).collect(),
            findings: report.findings().map(|finding| (about(finding), finding.message.clone())).collect(),
        }
    }
}

/// Adds it up. `all` are the repository's snapshots, oldest first. `known` is `None` where there is no history of runs.
pub fn digest(
    all: &[SnapshotSummary],
    now: &Now,
    known: Option<&Known>,
    from: Timestamp,
    to: Timestamp,
) -> Digest {
    let none = BTreeMap::new();
    let runs = known.map_or(&none, |known| &known.runs);
    let of = |source: Option<&str>| {
        let own = runs.iter().filter(|((_, about), _)| about.as_deref() == source);
        own.map(|((job, _), runs)| (job.clone(), runs.clone())).collect::<BTreeMap<_, _>>()
    };
    let sources = now.sources.iter().map(|(name, proven)| {
        let own: Vec<&SnapshotSummary> = all.iter().filter(|one| one.source == *name).collect();
        SourceDigest { runs: of(Some(name)), proven: *proven, ..source(name, &own, from) }
    });
    Digest {
        version: VERSION,
        from,
        to,
        sources: sources.collect(),
        maintenance: of(None),
        freed_bytes: known.map_or(0, |known| known.freed_bytes),
        findings: now.findings.clone(),
        history: known.is_some(),
    }
}

fn source(name: &str, own: &[&SnapshotSummary], from: Timestamp) -> SourceDigest {
    let within = || own.iter().filter(|one| one.time >= from);
    let base = own.iter().rfind(|one| one.time < from).or_else(|| own.first());
    let newest = own.last();
    let change = |figure: &dyn Fn(&SnapshotSummary) -> Option<u64>| {
        let (now, before) = (figure(newest?)?, figure(base?)?);
        Some(i64::try_from(now).ok()? - i64::try_from(before).ok()?)
    };
    SourceDigest {
        source: name.to_owned(),
        snapshots: within().count() as u64,
        runs: BTreeMap::new(),
        newest: newest.map(|one| one.time),
        rows: newest.and_then(|one| one.rows),
        rows_change: change(&|one| one.rows),
        bytes: newest.and_then(|one| one.bytes),
        bytes_change: change(&|one| one.bytes),
        added_bytes: within().filter_map(|one| one.added_bytes).sum(),
        proven: None,
    }
}

impl Digest {
    /// One line without markup.
    pub fn title(&self) -> String {
        let snapshots: u64 = self.sources.iter().map(|source| source.snapshots).sum();
        let failed: u64 = self.all_runs().map(|runs| runs.failed).sum();
        let state = match (self.findings.len(), failed) {
            (0, 0) => "all is well".to_owned(),
            (0, failed) => format!("{failed} failed, nothing alerts now"),
            (findings, _) => format!("{findings} to look at"),
        };
        format!("basekeep: {} days, {snapshots} snapshots, {state}", self.days())
    }

    fn days(&self) -> i64 {
        (self.to.duration_since(self.from).as_secs() + 43_200) / 86_400
    }

    fn all_runs(&self) -> impl Iterator<Item = &Runs> {
        self.sources.iter().flat_map(|source| source.runs.values()).chain(self.maintenance.values())
    }

    /// In Markdown.
    pub fn markdown(&self) -> String {
        let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
        let mut text = format!("# Backups from {} to {}\n\n", day(self.from), day(self.to));
        text += "| source | snapshots | failed runs | rows | change | size | change | added | newest | proven |\n\
                 | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |\n";
        for one in &self.sources {
            let cells = self.cells(one);
            text += &format!("| {} |\n", cells.map(|text| cell(&text)).join(" | "));
        }
        text + &self.rest()
    }

    /// In plain text, a paragraph for each source.
    pub fn text(&self) -> String {
        let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
        let mut text = format!("Backups from {} to {}\n", day(self.from), day(self.to));
        for one in &self.sources {
            let [source, snapshots, failed, rows, rows_change, size, change, added, newest, proven] =
                self.cells(one);
            text += &format!(
                "\n{}\n  snapshots   {snapshots}, newest {newest}\n  failed runs {failed}\n  rows        {rows} ({rows_change})\n\
                 \x20 size        {size} ({change}), {added} added to the repository\n  proven      {proven}\n",
                line(&source)
            );
        }
        text + &self.rest().replace("\n## ", "\n").replace("**", "")
    }

    fn cells(&self, one: &SourceDigest) -> [String; 10] {
        let unknown = || "?".to_owned();
        let failed: u64 = one.runs.values().map(|runs| runs.failed).sum();
        let signed = |change: Option<i64>, shown: &dyn Fn(u64) -> String| match change {
            None => unknown(),
            Some(0) => "same".to_owned(),
            Some(change) => format!("{}{}", if change > 0 { "+" } else { "-" }, shown(change.unsigned_abs())),
        };
        let age = |time: Option<Timestamp>| match time {
            None => "never".to_owned(),
            Some(time) => match self.to.duration_since(time).as_hours() {
                hours @ ..48 => format!("{} h ago", hours.max(0)),
                hours => format!("{} days ago", hours / 24),
            },
        };
        [
            one.source.clone(),
            count(one.snapshots),
            if self.history { count(failed) } else { unknown() },
            one.rows.map_or_else(unknown, count),
            signed(one.rows_change, &count),
            one.bytes.map_or_else(unknown, bytes),
            signed(one.bytes_change, &bytes),
            bytes(one.added_bytes),
            age(one.newest),
            age(one.proven),
        ]
    }

    fn rest(&self) -> String {
        let mut text = String::new();
        let named = self
            .sources
            .iter()
            .flat_map(|one| one.runs.iter().map(move |(job, runs)| (Some(&one.source), job, runs)));
        let all = named.chain(self.maintenance.iter().map(|(job, runs)| (None, job, runs)));
        let errors: Vec<String> = all
            .filter_map(|(source, job, runs)| {
                let (time, error) = runs.last_error.as_ref()?;
                let about = source.map(|source| format!(" of {}", line(source))).unwrap_or_default();
                let time = time.strftime("%Y-%m-%d %H:%M UTC");
                Some(format!(
                    "- {job}{about}: {} failed, last on {time}: {}\n",
                    count(runs.failed),
                    line(error)
                ))
            })
            .collect();
        if !errors.is_empty() {
            text += &format!("\n## What failed\n\n{}", errors.concat());
        }
        if self.freed_bytes > 0 {
            text += &format!("\n## Cleaned up\n\n{} freed\n", bytes(self.freed_bytes));
        }
        if self.findings.is_empty() {
            text += "\n## Nothing alerts\n";
        } else {
            text += "\n## What alerts now\n\n";
            for (about, message) in self.findings.iter().take(FINDINGS) {
                text += &format!("- **{}**: {}\n", line(about), line(message));
            }
            if let Some(rest @ 1..) = self.findings.len().checked_sub(FINDINGS) {
                text += &format!("- and {rest} more: `basekeep monitor`\n");
            }
        }
        if !self.history {
            text += "\nThere is no history of runs on this machine: failed ones are not known.\n";
        }
        text
    }
}

#[cfg(test)]
mod tests;
