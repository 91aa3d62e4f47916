//! The text as Prometheus reads it.

use std::sync::Mutex;

use super::*;
use crate::agenda::Planned;
use crate::clock::SystemClock;
use crate::daemon::Daemon;
use crate::history::{NewRun, RunResult};
use crate::jobs::Trigger;
use crate::operations::{Leased, Operations};
use basekeep_engine::{Interrupt, InterruptHandle, Observer};

struct Idle;

#[async_trait]
impl Operations for Idle {
    fn planned(&self) -> Vec<Planned> {
        vec![Planned { job: Job::of(JobKind::Backup, "a \"b\"\\"), timetables: Vec::new() }]
    }

    async fn reload(&self) -> Result<(), EngineError> {
        Ok(())
    }

    async fn known(&self) -> Result<BTreeMap<Job, Timestamp>, EngineError> {
        Ok(BTreeMap::new())
    }

    async fn lease(&self, _: &Job) -> Result<Leased, EngineError> {
        Ok(Leased::Busy(String::new()))
    }

    async fn run(&self, _: &crate::agenda::Start, _: Arc<dyn Observer>, _: &Interrupt) -> RunResult {
        RunResult::of_exit_code(0)
    }
}

/// Answers once.
struct Once(Mutex<Option<RepositoryFacts>>);

#[async_trait]
impl AskRepository for Once {
    async fn facts(&self) -> Result<RepositoryFacts, EngineError> {
        self.0.lock().unwrap().take().ok_or_else(|| EngineError::failed("away"))
    }
}

#[tokio::test]
async fn metrics_say_what_the_repository_and_the_history_know() {
    let folder = tempfile::tempdir().unwrap();
    let history = Arc::new(History::open(folder.path()).unwrap().0);
    // Lately, or the daemon would forget the runs.
    let origin = Timestamp::now().as_second() - 2000;
    let at = |second: i64| Timestamp::from_second(origin + second).unwrap();
    let job = Job::of(JobKind::Backup, "a \"b\"\\");
    for (number, code) in [0, 1, 13].into_iter().enumerate() {
        let started = at(1000 + number as i64 * 100);
        let run = NewRun { job: job.clone(), trigger: Trigger::Schedule, due: None, attempt: 1, started };
        let result = RunResult { rows: Some(7), added_bytes: Some(-5), ..RunResult::of_exit_code(code) };
        history.record(&run, at(1010 + number as i64 * 100), &result).unwrap();
    }
    let daemon = Daemon::new(Arc::new(Idle), Arc::new(SystemClock), history);
    let (stop, interrupt) = InterruptHandle::new();
    let (handle, work) = daemon.start(interrupt);
    let work = tokio::spawn(work);
    let fact = SourceFacts { snapshots: 3, first: at(500), last: at(1000), drilled: Some((at(900), true)) };
    let facts = RepositoryFacts { sources: [("shop".to_owned(), fact)].into(), bytes: 1 << 40 };
    let repository = Arc::new(Once(Mutex::new(Some(facts))));
    let metrics = Metrics { handle, repository, known: tokio::sync::Mutex::default() };
    let text = metrics.render(at(1600)).await.unwrap();
    let backup = "{job_kind=\"backup\",source=\"a \\\"b\\\"\\\\\"";
    for line in [
        "basekeep_repository_up 1".to_owned(),
        "basekeep_repository_bytes 1099511627776".to_owned(),
        "basekeep_snapshot_age_seconds{source=\"shop\"} 600".to_owned(),
        "basekeep_proof_age_seconds{source=\"shop\"} 700".to_owned(),
        "basekeep_proof_equal{source=\"shop\"} 1".to_owned(),
        format!("basekeep_runs_total{backup},outcome=\"failed\"}} 2"),
        format!("basekeep_run_last_duration_seconds{backup}}} 10"),
        format!("basekeep_run_last_exit_code{backup}}} 13"),
        format!("basekeep_run_last_success{backup}}} 0"),
        format!("basekeep_run_last_added_bytes{backup}}} -5"),
        format!("basekeep_run_failures{backup}}} 2"),
        format!("basekeep_job_running{backup}}} 0"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    // Each name is described once, before its samples.
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let unique: std::collections::BTreeSet<&&str> = names.iter().collect();
    assert_eq!(names.len(), unique.len());
    // While the repository is away, what it said stays.
    metrics.known.lock().await.asked = None;
    let text = metrics.render(at(1700)).await.unwrap();
    assert!(text.contains("basekeep_repository_up 0\n"));
    assert!(text.contains("basekeep_snapshot_age_seconds{source=\"shop\"} 700\n"));
    stop.interrupt();
    work.await.unwrap();
}
