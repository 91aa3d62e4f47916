//! What the dashboard shows and does, over the engine: the real [`Panel`].

mod compare;
mod download;
mod overview;
mod recorder;
mod restores;
mod runs;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use basekeep_engine::{EngineError, Interrupt, InterruptHandle, Repository};
use basekeep_server::history::History;
use basekeep_server::live::Live;
use basekeep_server::web::panel::{
    Answer, Comparison, DiffRequest, Download, ExportRequest, Growth, JobRequest, Panel, PanelError,
    RestorePlan, RestoreRequest, Run, RunDetail, RunFilter, SnapshotDetail, Snapshots, Source, Target,
    Updates,
};
use tokio::runtime::Handle;

use self::overview::Overview;
use self::recorder::Recorder;
use super::work::{self, Work};
use crate::arguments::Global;
use crate::context::Context;

/// How long a repository stays open; a change of its place or password is seen after that.
const OPEN: Duration = Duration::from_secs(300);

/// Cloning is cheap.
#[derive(Clone)]
pub(crate) struct EnginePanel(Arc<Shared>);

struct Shared {
    global: Global,
    history: Arc<History>,
    live: Live,
    work: Work,
    recorder: Recorder,
    repository: tokio::sync::Mutex<Option<(Instant, Repository)>>,
    overview: tokio::sync::Mutex<Option<(Instant, Arc<Overview>)>>,
    /// How to stop what runs here, by the run's id.
    stops: Mutex<BTreeMap<i64, InterruptHandle>>,
    /// Databases that are restored into.
    targets: Mutex<BTreeSet<String>>,
    /// Jobs are started one after the other, so that none is started twice.
    starting: tokio::sync::Mutex<()>,
}

impl EnginePanel {
    pub(crate) fn new(global: &Global, history: Arc<History>, live: Live, work: Work) -> Self {
        Self(Arc::new(Shared {
            global: global.clone(),
            recorder: Recorder::begin(&live),
            history,
            live,
            work,
            repository: tokio::sync::Mutex::default(),
            overview: tokio::sync::Mutex::default(),
            stops: Mutex::default(),
            targets: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
        }))
    }

    /// Stops what was started here, and waits until it has.
    pub(crate) async fn finish(&self) {
        let mut events = self.0.live.events();
        for stop in self.stops().values() {
            stop.interrupt();
        }
        while !self.stops().is_empty() {
            // A listener that is behind looks again, too.
            let _ = tokio::time::timeout(Duration::from_millis(200), events.recv()).await;
        }
    }

    /// The configuration as it is now.
    fn context(&self, interrupt: Interrupt) -> Context {
        work::context(&self.0.global, interrupt)
    }

    /// The same, for what is only read.
    pub(crate) fn reading(&self) -> Context {
        self.context(Interrupt::never())
    }

    fn stops(&self) -> std::sync::MutexGuard<'_, BTreeMap<i64, InterruptHandle>> {
        self.0.stops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something for a page on a thread of its own.
    async fn apart<T, F>(&self, work: impl FnOnce(Self) -> F + Send + 'static) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Answer<T>>,
    {
        let panel = self.clone();
        let done = apart(move || work(panel)).await;
        done.unwrap_or_else(|| Err(EngineError::failed("the work broke off").into()))
    }

    /// The repository, opened a short while ago or now.
    async fn repository(&self) -> Result<Repository, EngineError> {
        let mut held = self.0.repository.lock().await;
        if let Some((since, repository)) = &*held
            && since.elapsed() < OPEN
        {
            return Ok(repository.clone());
        }
        let repository = self.reading().open_repository().await?;
        *held = Some((Instant::now(), repository.clone()));
        Ok(repository)
    }

    /// What was known of the repository is not true any more.
    async fn changed(&self) {
        *self.0.overview.lock().await = None;
    }
}

#[async_trait]
impl Panel for EnginePanel {
    async fn sources(&self) -> Answer<Vec<Source>> {
        self.apart(|panel| async move { panel.all_sources().await }).await
    }

    async fn runs(&self, filter: &RunFilter) -> Answer<Vec<Run>> {
        self.past_runs(filter)
    }

    async fn run(&self, id: &str) -> Answer<RunDetail> {
        self.run_detail(id)
    }

    async fn follow(&self, id: &str) -> Answer<Updates> {
        self.updates(id)
    }

    async fn growth(&self, source: &str) -> Answer<Growth> {
        let source = source.to_owned();
        self.apart(|panel| async move { panel.growth_of(&source).await }).await
    }

    async fn snapshots(&self, source: Option<&str>) -> Answer<Snapshots> {
        let source = source.map(str::to_owned);
        self.apart(|panel| async move { panel.all_snapshots(source.as_deref()).await }).await
    }

    async fn snapshot(&self, id: &str) -> Answer<SnapshotDetail> {
        let id = id.to_owned();
        self.apart(|panel| async move { panel.snapshot_detail(&id).await }).await
    }

    async fn objects(&self, id: &str, kind: &str) -> Answer<Vec<String>> {
        let (id, kind) = (id.to_owned(), kind.to_owned());
        self.apart(|panel| async move { panel.objects_of(&id, &kind).await }).await
    }

    async fn diff(&self, request: &DiffRequest) -> Answer<Comparison> {
        let request = request.clone();
        self.apart(|panel| async move { panel.comparison(&request).await }).await
    }

    async fn export(&self, request: &ExportRequest) -> Answer<Download> {
        let request = request.clone();
        self.apart(|panel| async move { panel.download(&request).await }).await
    }

    async fn start(&self, job: &JobRequest, who: &str) -> Answer<String> {
        let (job, who) = (job.clone(), who.to_owned());
        self.apart(|panel| async move { panel.start_job(&job, &who).await }).await
    }

    async fn stop(&self, run: &str) -> Answer<()> {
        self.stop_run(run).await
    }

    async fn targets(&self) -> Answer<Vec<Target>> {
        self.apart(|panel| async move { panel.all_targets() }).await
    }

    async fn plan_restore(&self, request: &RestoreRequest) -> Answer<RestorePlan> {
        let request = request.clone();
        self.apart(|panel| async move { Ok(panel.planned(&request).await?.0) }).await
    }

    async fn start_restore(
        &self,
        request: &RestoreRequest,
        digest: &str,
        typed: &str,
        who: &str,
    ) -> Answer<String> {
        let (request, texts) = (request.clone(), [digest, typed, who].map(str::to_owned));
        self.apart(|panel| async move {
            let [digest, typed, who] = &texts;
            panel.restore(&request, digest, typed, who).await
        })
        .await
    }

    async fn ready(&self) -> Answer<()> {
        self.apart(|panel| async move {
            panel.reading().config()?;
            panel.repository().await?;
            Ok(())
        })
        .await
    }
}

/// Runs work on a thread of its own: some of the engine's stays on the thread where it began. `None` if it broke off.
async fn apart<T: Send + 'static, F: Future<Output = T>>(
    work: impl FnOnce() -> F + Send + 'static,
) -> Option<T> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work())).await.ok()
}

/// The id of a run, as pages spell it.
fn run_id(text: &str) -> Answer<i64> {
    text.parse().map_err(|_| PanelError::NotFound(format!("there is no run '{}'", text.escape_debug())))
}
