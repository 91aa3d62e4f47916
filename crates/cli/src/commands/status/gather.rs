//! What is known, from the files of runs, the daemon's history, the repository and the configuration.

use basekeep_engine::config::{ProfileEntry, Schedule};
use basekeep_engine::listing::{self, Filter, Listing, SnapshotSummary};
use basekeep_engine::{EngineError, ErrorKind};
use basekeep_server::history::{History, Run, state_folder};
use basekeep_server::jobs::{Job, JobKind};
use jiff::Timestamp;

use super::{NextStatus, RunStatus, SnapshotStatus, SourceStatus, Status};
use crate::context::Context;
use crate::runs::{Record, Runs, State};

/// Also where the repository cannot be opened: then the error comes along.
pub(super) async fn gather(
    command: &Status,
    context: &Context,
    now: Timestamp,
) -> Result<(Vec<SourceStatus>, Option<EngineError>), EngineError> {
    let config = context.config()?;
    let (listing, error) = match listing(context).await {
        Ok(listing) => (listing, None),
        Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
        Err(error) => (Listing::default(), Some(error)),
    };
    let runs = Runs::of(&context.env).map(|runs| (runs.all(), runs));
    let history = history(context);
    let known = runs.as_ref().map(|(all, _)| all.as_slice()).unwrap_or_default();
    let sources = names(command, context, &listing, known)?;
    let found = sources.into_iter().map(|source| {
        let profile = config.and_then(|config| config.profile_of(&source));
        let mut status = SourceStatus {
            next: profile.map(|profile| next(profile, now)).unwrap_or_default(),
            ..SourceStatus::default()
        };
        if let Some((all, runs)) = &runs {
            let own = all.iter().filter(|(record, _)| record.sources.contains(&source));
            for (record, state) in own {
                let run = of_record(record, *state, runs);
                match state {
                    State::Running => status.running.push(run),
                    _ if status.last_run.is_none() => status.last_run = Some(run),
                    _ => {}
                }
            }
        }
        if let Some(history) = &history {
            of_daemon(history, &source, &mut status);
        }
        let mut of_source = listing.snapshots.iter().filter(|snapshot| snapshot.source == source);
        status.last = of_source.clone().next_back().map(|snapshot| of_snapshot(snapshot, now));
        status.proof = of_source
            .rfind(|snapshot| snapshot.proven == Some(true))
            .map(|snapshot| of_snapshot(snapshot, now));
        status.source = source;
        status
    });
    Ok((found.collect(), error))
}

async fn listing(context: &Context) -> Result<Listing, EngineError> {
    let repository = context.open_repository().await?;
    context.interrupt.guard(listing::list(&repository, &Filter::default())).await
}

/// The daemon's own history, where there is one. One that cannot be read says nothing.
fn history(context: &Context) -> Option<History> {
    let folder = state_folder(None, &context.env)?;
    match History::read(&folder) {
        Ok(history) => history,
        Err(error) => {
            let message = crate::output::with_causes(&error);
            context.output.warning(&format!("the history of runs cannot be read: {message}"), None);
            None
        }
    }
}

fn names(
    command: &Status,
    context: &Context,
    listing: &Listing,
    runs: &[(Record, State)],
) -> Result<Vec<String>, EngineError> {
    if !command.sources.is_empty() {
        let known = |name: &String| {
            listing.snapshots.iter().any(|snapshot| snapshot.source == *name)
                || runs.iter().any(|(record, _)| record.sources.contains(name))
        };
        for name in command.sources.iter().filter(|name| !known(name)) {
            context.wanted_sources(std::slice::from_ref(name), None)?;
        }
        return Ok(command.sources.clone());
    }
    let configured = context.config()?.map(|config| config.sources.as_slice()).unwrap_or_default();
    let mut names: Vec<String> = configured.iter().map(|source| source.name.clone()).collect();
    if names.is_empty() {
        names = listing.snapshots.iter().map(|snapshot| snapshot.source.clone()).collect();
        names.sort_unstable();
        names.dedup();
    }
    Ok(names)
}

fn of_record(record: &Record, state: State, runs: &Runs) -> RunStatus {
    RunStatus {
        job: "backup".to_owned(),
        run: Some(record.run.clone()),
        pid: Some(record.pid),
        started: record.started,
        ended: record.ended.map(|time| time.to_string()),
        state: state.name(),
        exit_code: record.exit_code,
        log: record.detached.then(|| runs.log(&record.run).display().to_string()),
        error: record.error.clone(),
    }
}

/// What the daemon runs, and its last backup if that is newer than what else is known.
fn of_daemon(history: &History, source: &str, status: &mut SourceStatus) {
    let running = history.running().unwrap_or_default();
    let own = running.iter().filter(|run| run.source.as_deref() == Some(source));
    status.running.extend(own.map(|run| of_run(run, "running")));
    let last = history.last(&Job::of(JobKind::Backup, source)).ok().flatten();
    if let Some(last) = last
        && status.last_run.as_ref().is_none_or(|known| !known.covers(last.started))
    {
        status.last_run = Some(of_run(&last, "ended"));
    }
}

impl RunStatus {
    /// Whether this run began at the same time or later, or the other is what was recorded of it.
    fn covers(&self, other: Timestamp) -> bool {
        let ended = self.ended.as_deref().and_then(|ended| ended.parse::<Timestamp>().ok());
        self.started >= other || ended.is_some_and(|ended| other <= ended)
    }
}

fn of_run(run: &Run, state: &'static str) -> RunStatus {
    RunStatus {
        job: run.job.to_string(),
        run: None,
        pid: None,
        started: run.started,
        ended: run.ended.map(|time| time.to_string()),
        state,
        exit_code: run.exit_code,
        log: None,
        error: run.error.clone(),
    }
}

fn of_snapshot(snapshot: &SnapshotSummary, now: Timestamp) -> SnapshotStatus {
    SnapshotStatus {
        id: snapshot.id.clone(),
        time: snapshot.time,
        age_seconds: now.duration_since(snapshot.time).as_secs(),
        tables: snapshot.tables,
        rows: snapshot.rows,
        bytes: snapshot.bytes,
        added_bytes: snapshot.added_bytes,
        not_captured: snapshot.not_captured,
        proven: snapshot.proven,
    }
}

fn next(profile: &ProfileEntry, now: Timestamp) -> Vec<NextStatus> {
    let zone = profile.zone();
    let jobs: [(&'static str, &Option<Schedule>); 2] =
        [("backup", &profile.backup), ("drill", &profile.drill)];
    let mut times: Vec<NextStatus> = jobs
        .into_iter()
        .filter_map(|(job, schedule)| {
            let time = schedule.as_ref()?.next(now, &zone)?;
            Some(NextStatus { job, time, in_seconds: time.duration_since(now).as_secs() })
        })
        .collect();
    times.sort_by_key(|next| next.time);
    times
}
