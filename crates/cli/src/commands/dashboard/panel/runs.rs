//! Runs: those of the history, those that go on, and starting and stopping them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use basekeep_engine::{EngineError, Interrupt, InterruptHandle, Observer};
use basekeep_server::daemon::Handle;
use basekeep_server::history::{NewRun, Query, Run as PastRun, RunResult};
use basekeep_server::jobs::{Job, JobKind, Outcome as Ended, Trigger};
use basekeep_server::live::{Counters as LiveCounters, LiveEvent};
use basekeep_server::web::panel::{
    Answer, Counters, JobKind as Wanted, JobRequest, NextRun, Outcome, PanelError, Run, RunDetail, RunFilter,
    RunUpdate, Updates,
};
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;

use super::recorder::told;
use super::{EnginePanel, apart, run_id};
use crate::commands::dashboard::work::{self, Work};

/// How long a job that was given to the daemon has to begin; then it waits for another one.
const BEGINS: Duration = Duration::from_secs(10);

/// What a run that is started here does.
pub(super) type Doing = Box<
    dyn FnOnce(Arc<dyn Observer>, Interrupt) -> LocalBoxFuture<'static, Result<RunResult, EngineError>>
        + Send,
>;

impl EnginePanel {
    pub(super) fn past_runs(&self, filter: &RunFilter) -> Answer<Vec<Run>> {
        let job = match &filter.job {
            Some(job) => Some(job.parse::<JobKind>().map_err(EngineError::usage)?),
            None => None,
        };
        let query = Query {
            source: filter.source.clone(),
            job,
            limit: filter.limit.unwrap_or(100),
            ..Query::default()
        };
        Ok(self.0.history.runs(&query)?.into_iter().map(|run| self.run_of(run)).collect())
    }

    fn run_of(&self, run: PastRun) -> Run {
        let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let summary = match run.outcome {
            Some(Ended::Failed | Ended::Interrupted) => run.error.map(first).or(run.summary),
            _ => run.summary,
        };
        Run {
            id: run.id.to_string(),
            job: run.job.name().to_owned(),
            source: run.source.unwrap_or_else(|| "the repository".to_owned()),
            started_by: self
                .0
                .recorder
                .by(run.id)
                .or_else(|| (run.trigger == Trigger::Demand).then(|| "a user".into())),
            started: run.started,
            ended: run.ended,
            outcome: outcome(run.outcome),
            summary,
            snapshot: run.snapshot,
            rows: run.rows,
            bytes: run.bytes,
            added_bytes: run.added_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        }
    }

    fn past_run(&self, id: &str) -> Answer<PastRun> {
        let found = self.0.history.run(run_id(id)?)?;
        found.ok_or_else(|| PanelError::NotFound(format!("there is no run {id}")))
    }

    pub(super) fn run_detail(&self, id: &str) -> Answer<RunDetail> {
        let run = self.past_run(id)?;
        let live = self.0.live.run(run.id);
        let mut events: Vec<_> = self.0.recorder.kept(run.id).events.into();
        if let (Some(ended), Some(error)) = (run.ended, &run.error) {
            use basekeep_server::web::panel::{EventKind, RunEvent};
            let lines = error.lines().map(|line| RunEvent {
                time: ended,
                kind: EventKind::Error,
                text: line.to_owned(),
            });
            let at = events.iter().position(|event| event.kind == EventKind::End).unwrap_or(events.len());
            events.splice(at..at, lines);
        }
        Ok(RunDetail {
            events,
            progress: live.as_ref().map(|live| counters(live.progress)),
            step: live.and_then(|live| live.step),
            run: self.run_of(run),
        })
    }

    pub(super) fn updates(&self, id: &str) -> Answer<Updates> {
        // Listening begins before looking, so that nothing falls in between.
        let events = self.0.live.events();
        let run = self.past_run(id)?;
        let number = run.id;
        let mut first = Vec::new();
        match self.0.live.run(number) {
            Some(live) => {
                first.extend(live.step.map(|name| RunUpdate::Step { name }));
                first.push(RunUpdate::Progress(counters(live.progress)));
            }
            None => first.push(self.end(number)),
        }
        let over = matches!(first.last(), Some(RunUpdate::Ended { .. }));
        let panel = self.clone();
        let rest = futures::stream::unfold((events, over), move |(mut events, over)| {
            let panel = panel.clone();
            async move {
                if over {
                    return None;
                }
                loop {
                    let update = match events.recv().await {
                        Ok(event) => update(&event, number),
                        // What was missed is on the page when it is loaded again; the end must not be.
                        Err(RecvError::Lagged(_)) if panel.0.live.run(number).is_some() => None,
                        Err(_) => Some(panel.end(number)),
                    };
                    match update {
                        Some(RunUpdate::Ended { .. }) => return Some((panel.end(number), (events, true))),
                        Some(update) => return Some((update, (events, false))),
                        None => {}
                    }
                }
            }
        });
        Ok(futures::stream::iter(first).chain(rest).boxed())
    }

    /// How a run ended, by the history.
    fn end(&self, id: i64) -> RunUpdate {
        let run = self.0.history.run(id).ok().flatten();
        let (ended, summary) = run.map_or((None, None), |run| (run.outcome, run.summary));
        RunUpdate::Ended { outcome: outcome(ended), summary }
    }

    /// The next times of each source's jobs.
    pub(super) async fn next_runs(&self) -> BTreeMap<String, Vec<NextRun>> {
        let Work::Daemon(handle) = &self.0.work else { return BTreeMap::new() };
        let mut next: BTreeMap<String, Vec<NextRun>> = BTreeMap::new();
        for upcoming in handle.upcoming().await {
            if let (Some(source), Some(time)) = (upcoming.job.source, upcoming.next) {
                next.entry(source)
                    .or_default()
                    .push(NextRun { job: upcoming.job.kind.name().to_owned(), time });
            }
        }
        next
    }

    pub(super) async fn start_job(&self, request: &JobRequest, who: &str) -> Answer<String> {
        let context = self.reading();
        let is_known =
            context.config()?.is_some_and(|config| config.sources.iter().any(|s| s.name == request.source));
        if request.job == Wanted::Backup && !is_known {
            let name = request.source.escape_debug();
            return Err(PanelError::NotFound(format!("there is no source '{name}' in the configuration")));
        }
        if let Some(snapshot) = &request.snapshot {
            self.found(snapshot).await?;
        }
        let kind = match request.job {
            Wanted::Backup => JobKind::Backup,
            Wanted::Drill => JobKind::Drill,
        };
        let _one_by_one = self.0.starting.lock().await;
        let job = Job::of(kind, &request.source);
        // The daemon knows the newest snapshot alone, and no source without a profile.
        let is_its = context.config()?.is_some_and(|config| config.profile_of(&request.source).is_some());
        if let (Work::Daemon(handle), None, true) = (&self.0.work, &request.snapshot, is_its) {
            return self.handed_over(handle, job, who).await;
        }
        if let Some(run) =
            self.0.live.running().into_iter().find(|run| run.job.source.as_deref() == Some(&request.source))
        {
            return Err(PanelError::Refused(format!("{} is going on already (run {})", run.job, run.id)));
        }
        let global = self.0.global.clone();
        let request = request.clone();
        self.spawn(
            job,
            who,
            Box::new(move |observer, interrupt| {
                Box::pin(async move {
                    let context = work::context(&global, interrupt);
                    match request.job {
                        Wanted::Backup => work::back_up(&context, &request.source, observer).await,
                        Wanted::Drill => {
                            work::drill(&context, &request.source, request.snapshot.as_deref(), observer)
                                .await
                        }
                    }
                })
            }),
        )
    }

    /// Gives a job to the daemon, and waits until it begins.
    async fn handed_over(&self, handle: &Handle, job: Job, who: &str) -> Answer<String> {
        let mut events = self.0.live.events();
        handle.start(job.clone()).await.map_err(|error| PanelError::Refused(error.to_string()))?;
        let begun = async {
            loop {
                match events.recv().await {
                    Ok(LiveEvent::Began(run)) if run.job == job => return Some(run.id),
                    Err(RecvError::Closed) => return None,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                }
            }
        };
        match tokio::time::timeout(BEGINS, begun).await {
            Ok(Some(id)) => {
                self.0.recorder.started_by(id, who);
                Ok(id.to_string())
            }
            _ => Err(PanelError::Refused(format!(
                "{job} waits for its turn: it begins by itself, look at the runs"
            ))),
        }
    }

    /// Runs something here, seen by everybody who looks at runs.
    pub(super) fn spawn(&self, job: Job, who: &str, doing: Doing) -> Answer<String> {
        let started = Timestamp::now();
        let new = NewRun { job: job.clone(), trigger: Trigger::Demand, due: None, attempt: 1, started };
        let id = self.0.history.begin(&new)?;
        self.0.recorder.started_by(id, who);
        let (stop, interrupt) = InterruptHandle::new();
        self.stops().insert(id, stop);
        let observer = self.0.live.begin(id, job, Trigger::Demand, None, started);
        let panel = self.clone();
        tokio::spawn(async move {
            // A panic in the work must not leave the run going on for ever.
            let result = match apart(move || doing(observer, interrupt)).await {
                Some(Ok(result)) => result,
                Some(Err(error)) => work::failed(&error),
                None => work::failed(&EngineError::failed("the work broke off")),
            };
            if let Err(error) = panel.0.history.finish(id, Timestamp::now(), &result) {
                tracing::warn!(%error, id, "the end of a run is not in the history");
            }
            panel.changed().await;
            panel.0.live.finish(id, result.outcome);
            panel.stops().remove(&id);
        });
        Ok(id.to_string())
    }

    pub(super) async fn stop_run(&self, id: &str) -> Answer<()> {
        let run = self.past_run(id)?;
        if let Some(stop) = self.stops().get(&run.id) {
            stop.interrupt();
            return Ok(());
        }
        if let (Work::Daemon(handle), None) = (&self.0.work, run.ended)
            && handle.stop(Job { kind: run.job, source: run.source }).await
        {
            return Ok(());
        }
        Err(PanelError::Refused("this run is over, or another process runs it".to_owned()))
    }
}

fn outcome(ended: Option<Ended>) -> Outcome {
    match ended {
        None => Outcome::Running,
        Some(Ended::Done) => Outcome::Done,
        Some(Ended::Incomplete) => Outcome::Incomplete,
        Some(Ended::Difference) => Outcome::Different,
        Some(Ended::Failed) => Outcome::Failed,
        Some(Ended::Interrupted) => Outcome::Stopped,
    }
}

fn counters(live: LiveCounters) -> Counters {
    let LiveCounters { bytes, bytes_expected, rows, items, items_expected, .. } = live;
    Counters { bytes, bytes_expected, rows, items, items_expected }
}

fn update(event: &LiveEvent, id: i64) -> Option<RunUpdate> {
    match event {
        LiveEvent::Step { id: its, step } if *its == id => Some(RunUpdate::Step { name: step.clone() }),
        LiveEvent::Progress { id: its, progress } if *its == id => {
            Some(RunUpdate::Progress(counters(*progress)))
        }
        LiveEvent::Finished { id: its, outcome: ended, .. } if *its == id => {
            Some(RunUpdate::Ended { outcome: outcome(Some(*ended)), summary: None })
        }
        event => told(event).filter(|(its, _)| *its == id).map(|(_, event)| RunUpdate::Event(event)),
    }
}
