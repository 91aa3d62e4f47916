//! Reports of backups: what they say beyond the snapshot, and the ones that `[report]` and channels ask for.

use std::time::Duration;

use basekeep_engine::backup::BackupReport;
use basekeep_engine::config::{Config, Topic};
use basekeep_engine::listing::{self, Filter};
use basekeep_engine::replicas::BackupTarget;
use basekeep_engine::report::{self, Cleanup, Report, folder};
use basekeep_engine::{EngineError, Repository, Snapshot};
use basekeep_server::alerts::{Level, Message, Patience};
use basekeep_server::history::{History, Query, Run, state_folder};
use basekeep_server::jobs::JobKind;
use jiff::Timestamp;

use crate::context::Context;
use crate::output::{units, with_causes};

/// So many runs are looked through for what was cleaned up.
const RUNS: usize = 10_000;
/// How long channels are waited for.
const LIMIT: Duration = Duration::from_secs(120);

impl Context {
    /// A report of a snapshot, with what the history knows was cleaned up since the one before.
    pub(crate) async fn report(
        &self,
        repository: &Repository,
        snapshot: &Snapshot,
    ) -> Result<Report, EngineError> {
        let mut options = String::new();
        for (name, value) in [
            ("--config", self.global.config.as_ref().map(|file| file.display().to_string())),
            ("--repo", self.global.repo.clone()),
        ] {
            if let Some(value) = value {
                options += &format!(" {name} '{}'", value.replace('\'', r"'\''"));
            }
        }
        let mut report = self.interrupt.guard(report::report(repository, snapshot, &options)).await?;
        let since = report.before.as_ref().map(|before| before.time);
        report.cleanup = since.and_then(|since| self.cleanup(&report.source, since));
        Ok(report)
    }

    /// Runs that began since `since`, newest first; `None` without a history.
    pub(crate) fn runs_since(&self, since: Timestamp) -> Option<Vec<Run>> {
        let history = History::read(&state_folder(None, &self.env)?).ok().flatten()?;
        history.runs(&Query { since: Some(since), limit: RUNS, ..Query::default() }).ok()
    }

    fn cleanup(&self, source: &str, since: Timestamp) -> Option<Cleanup> {
        let mut cleanup = Cleanup::default();
        let runs = self.runs_since(since)?;
        let about = |run: &&Run| match run.job {
            JobKind::Forget => run.source.as_deref().is_none_or(|name| name == source),
            JobKind::Prune => true,
            _ => false,
        };
        for run in runs.iter().filter(about).rev() {
            cleanup.freed_bytes += freed(run);
            if let Some(summary) = &run.summary {
                cleanup.done.push(format!("{}: {summary}", run.job));
            }
        }
        (!cleanup.done.is_empty() || cleanup.freed_bytes > 0).then_some(cleanup)
    }

    /// Writes the report of a new snapshot where `[report]` wants it, and sends it to the channels that want summaries of
    /// runs. Whatever becomes of it, the backup stays.
    pub(crate) async fn keep_report(
        &self,
        targets: &[BackupTarget],
        backup: &BackupReport,
        removed: &[String],
    ) {
        if let Err(error) = self.try_keep_report(targets, backup, removed).await {
            let hint = error.hints().first().map(String::as_str);
            self.output.warning(&format!("the report was not written: {}", with_causes(&error)), hint);
        }
    }

    async fn try_keep_report(
        &self,
        targets: &[BackupTarget],
        backup: &BackupReport,
        removed: &[String],
    ) -> Result<(), EngineError> {
        let Some(config) = self.config()? else { return Ok(()) };
        let summaries = config.alerts.notify.iter().any(|channel| channel.topics.contains(&Topic::Runs));
        if config.report_folder.is_none() && !summaries {
            return Ok(());
        }
        let written = backup.replicas.iter().zip(targets).find_map(|(replica, target)| {
            let id = replica.snapshot.as_ref().filter(|_| replica.has_it())?;
            Some((id, target.opened.as_ref().ok()?))
        });
        let Some((id, repository)) = written else { return Ok(()) };
        let snapshot = self.interrupt.guard(listing::find(repository, id, None)).await?;
        let mut report = self.report(repository, &snapshot).await?;
        if !removed.is_empty() {
            let cleanup = report.cleanup.get_or_insert_default();
            cleanup.done.push(units::counted(
                removed.len() as u64,
                "old plain copy removed",
                "old plain copies removed",
            ));
        }
        if let Some(place) = &config.report_folder {
            let filter = Filter { source: Some(report.source.clone()), ..Filter::default() };
            let all = self.interrupt.guard(listing::list(repository, &filter)).await?.snapshots;
            let ids: Vec<String> = all.into_iter().map(|one| one.id).collect();
            let written = folder::keep(place, &report, &ids)?;
            if let Some(file) = written.files.first() {
                self.output.note(&format!("report in {}", file.display()));
            }
        }
        if summaries {
            let (title, level) = match report.complete {
                true => (format!("basekeep: backup of {} is complete", report.source), Level::Good),
                false => (format!("basekeep: backup of {} is incomplete", report.source), Level::Warning),
            };
            let message = Message::new(Topic::Runs, title, report::markdown(&report), Timestamp::now());
            self.send(config, message.about(&report.source).level(level)).await;
        }
        Ok(())
    }

    /// Sends a message, waits until it has arrived, and warns of channels that did not take it. Gives whether all did.
    pub(crate) async fn send(&self, config: &Config, message: Message) -> bool {
        let alerts = self.alerts(config, Patience::default());
        alerts.send(message);
        let failures = alerts.flush(LIMIT).await;
        for failure in &failures {
            let text = format!("channel '{}' was not told: {}", failure.channel, failure.reason);
            self.output.warning(&text, Some("`basekeep alert test` tries the channels"));
        }
        failures.is_empty()
    }
}

/// Bytes that a run took out of the repository.
pub(crate) fn freed(run: &Run) -> u64 {
    run.added_bytes.filter(|bytes| *bytes < 0).map_or(0, i64::unsigned_abs)
}
