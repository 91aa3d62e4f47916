//! Sources: how each one stands, and how it has grown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use basekeep_engine::config::connect_options;
use basekeep_engine::listing::{self, Filter, Listing, SnapshotSummary};
use basekeep_engine::monitor::{self, Options, Report, Severity, SourceReport};
use basekeep_engine::stored::manifest::Manifest;
use basekeep_server::history::{Query, Run as PastRun};
use basekeep_server::jobs::{JobKind, Outcome};
use basekeep_server::web::panel::{
    Answer, Growth, GrowthPoint, PanelError, Proof, SnapshotLine, Source, State, TableGrowth,
};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::EnginePanel;

/// How long what was read counts as true, unless something is known to have changed.
const FRESH: Duration = Duration::from_secs(5);
/// Tables are compared with the snapshot that was taken so long ago.
const BACK: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What one look at the repository told.
pub(super) struct Overview {
    pub(super) listing: Listing,
    report: Report,
    /// Runs that had ended when it was read.
    ended: u64,
}

impl EnginePanel {
    pub(super) async fn overview(&self) -> Answer<Arc<Overview>> {
        let mut held = self.0.overview.lock().await;
        if let Some((since, overview)) = &*held
            && since.elapsed() < FRESH
            && overview.ended == self.0.recorder.ended()
        {
            return Ok(overview.clone());
        }
        let ended = self.0.recorder.ended();
        let context = self.reading();
        let config = context.config()?;
        let repository = self.repository().await?;
        let listing = listing::list(&repository, &Filter::default()).await?;
        let options = Options::of(config, &[], Timestamp::now(), TimeZone::system());
        let report = monitor::monitor(&repository, &options).await?;
        let overview = Arc::new(Overview { listing, report, ended });
        *held = Some((Instant::now(), overview.clone()));
        Ok(overview)
    }

    pub(super) async fn all_sources(&self) -> Answer<Vec<Source>> {
        let overview = self.overview().await?;
        let context = self.reading();
        let config = context.config()?;
        let mut next = self.next_runs().await;
        let running: BTreeMap<String, i64> =
            self.0.live.running().into_iter().filter_map(|run| Some((run.job.source?, run.id))).collect();
        let mut sources = Vec::new();
        for report in &overview.report.sources {
            let name = &report.source;
            let entry = config.and_then(|config| config.sources.iter().find(|entry| &entry.name == name));
            let place = entry.and_then(|entry| connect_options(entry.url.expose(), &context.env).ok());
            let last = overview.listing.snapshots.iter().rfind(|snapshot| &snapshot.source == name);
            let (state, reason) = self.state(report)?;
            sources.push(Source {
                name: name.clone(),
                place: place.map(|options| options.redacted()),
                configured: entry.is_some(),
                profile: entry.and_then(|entry| entry.profile.clone()),
                snapshots: report.snapshots,
                last: last.map(line),
                proof: report.drilled.as_ref().map(|drill| Proof {
                    snapshot: Some(drill.snapshot.clone()),
                    time: drill.time,
                    equal: drill.equal,
                }),
                next: next.remove(name).unwrap_or_default(),
                running: running.get(name).map(i64::to_string),
                state,
                reason,
            });
        }
        sources.sort_by(|a, b| (!a.configured, &a.name).cmp(&(!b.configured, &b.name)));
        Ok(sources)
    }

    /// How a source stands, and why.
    fn state(&self, report: &SourceReport) -> Answer<(State, Option<String>)> {
        let newest = report.newest.as_ref().map(|newest| newest.time);
        if let Some(run) = self.last_run(&report.source, JobKind::Backup)?
            && run.outcome == Some(Outcome::Failed)
            && newest.is_none_or(|newest| run.started > newest)
        {
            let why =
                run.error.as_deref().and_then(|text| text.lines().next()).unwrap_or("it is not known why");
            return Ok((State::Bad, Some(format!("the last backup failed: {why}"))));
        }
        if newest.is_none() {
            return Ok((State::Unknown, None));
        }
        let worst = report.findings.iter().max_by_key(|finding| finding.severity);
        Ok(match worst {
            None => (State::Good, None),
            Some(finding) => {
                let state = match finding.severity {
                    Severity::Warning => State::Warning,
                    Severity::Critical => State::Bad,
                };
                (state, Some(finding.message.clone()))
            }
        })
    }

    fn last_run(&self, source: &str, job: JobKind) -> Answer<Option<PastRun>> {
        let query = Query { source: Some(source.to_owned()), job: Some(job), limit: 5, ..Query::default() };
        Ok(self.0.history.runs(&query)?.into_iter().find(|run| run.ended.is_some()))
    }

    pub(super) async fn growth_of(&self, source: &str) -> Answer<Growth> {
        let overview = self.overview().await?;
        let all: Vec<&SnapshotSummary> =
            overview.listing.snapshots.iter().filter(|snapshot| snapshot.source == source).collect();
        if all.is_empty() && !overview.report.sources.iter().any(|report| report.source == source) {
            return Err(PanelError::NotFound(format!("there is no source '{}'", source.escape_debug())));
        }
        let points = all.iter().filter_map(|snapshot| {
            Some(GrowthPoint {
                time: snapshot.time,
                snapshot: snapshot.id.clone(),
                rows: snapshot.rows?,
                bytes: snapshot.bytes?,
                added_bytes: snapshot.added_bytes?,
            })
        });
        let points: Vec<GrowthPoint> = points.collect();
        let Some(last) = points.last() else { return Ok(Growth::default()) };
        let from = last.time.checked_sub(BACK).unwrap_or(last.time);
        let first = points.iter().find(|point| point.time >= from);
        let (tables, between) = match first.filter(|first| first.snapshot != last.snapshot) {
            Some(first) => {
                let (before, now) =
                    (self.manifest(&first.snapshot).await?, self.manifest(&last.snapshot).await?);
                (changed(&before, &now), Some((first.time, last.time)))
            }
            None => (Vec::new(), None),
        };
        Ok(Growth { tables, between, points })
    }

    async fn manifest(&self, id: &str) -> Answer<Manifest> {
        let repository = self.repository().await?;
        let snapshot = listing::find(&repository, id, None).await?;
        Ok(listing::manifest(&repository, &snapshot).await?)
    }
}

/// Tables whose number of rows changed, those with most change first.
fn changed(before: &Manifest, now: &Manifest) -> Vec<TableGrowth> {
    let mut tables: BTreeMap<String, TableGrowth> = BTreeMap::new();
    let empty = |table: &str| TableGrowth {
        table: table.to_owned(),
        rows_before: None,
        rows: None,
        bytes_before: None,
        bytes: None,
    };
    for (manifest, is_now) in [(before, false), (now, true)] {
        for table in &manifest.tables {
            let name = format!("{}.{}", table.schema, table.name);
            let growth = tables.entry(name.clone()).or_insert_with(|| empty(&name));
            match is_now {
                false => (growth.rows_before, growth.bytes_before) = (Some(table.rows), Some(table.bytes)),
                true => (growth.rows, growth.bytes) = (Some(table.rows), Some(table.bytes)),
            }
        }
    }
    let mut tables: Vec<TableGrowth> =
        tables.into_values().filter(|table| table.rows_before != table.rows).collect();
    let by = |table: &TableGrowth| table.rows.unwrap_or(0).abs_diff(table.rows_before.unwrap_or(0));
    tables.sort_by(|a, b| by(b).cmp(&by(a)).then_with(|| a.table.cmp(&b.table)));
    tables
}

/// A snapshot in a line.
pub(super) fn line(summary: &SnapshotSummary) -> SnapshotLine {
    SnapshotLine {
        id: summary.id.clone(),
        time: summary.time,
        source: summary.source.clone(),
        tags: summary.tags.clone(),
        tables: summary.tables,
        rows: summary.rows,
        bytes: summary.bytes,
        added_bytes: summary.added_bytes,
        proven: summary.proven,
        not_captured: summary.not_captured,
        damaged: summary.damaged.clone(),
    }
}
