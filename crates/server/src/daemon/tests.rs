//! The daemon on a simulated clock: its loop, its handle, and several servers that share a repository.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use basekeep_engine::config::ProfileEntry;
use basekeep_engine::{InterruptHandle, Observer};
use jiff::tz::TimeZone;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::agenda::Planned;
use crate::history::{Query, RunResult};
use crate::jobs::{JobKind, Trigger};
use crate::operations::{Held, Leased};
use crate::timetable::Timetable;

/// A clock that goes on when nothing else happens.
#[derive(Default)]
struct Simulated {
    now: Mutex<Timestamp>,
    waiting: Mutex<BTreeSet<Timestamp>>,
    moved: Notify,
}

#[async_trait]
impl Clock for Simulated {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    async fn sleep_until(&self, time: Timestamp) {
        loop {
            let moved = self.moved.notified();
            if self.now() >= time {
                return;
            }
            self.waiting.lock().unwrap().insert(time);
            moved.await;
        }
    }
}

impl Simulated {
    fn at(time: &str) -> Arc<Self> {
        let clock = Self::default();
        *clock.now.lock().unwrap() = time.parse().unwrap();
        Arc::new(clock)
    }

    /// Lets everything that can run do so, then time goes on, until `end`.
    async fn run_until(&self, end: Timestamp) {
        loop {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            let next = self.waiting.lock().unwrap().pop_first();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            *self.now.lock().unwrap() = next.max(self.now());
            self.moved.notify_waiters();
        }
        *self.now.lock().unwrap() = end;
        self.moved.notify_waiters();
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

/// What all servers share.
#[derive(Default)]
struct World {
    leases: Mutex<BTreeMap<Job, (u32, Arc<AtomicBool>)>>,
    done: Mutex<BTreeMap<Job, Timestamp>>,
    /// Who did what.
    runs: Mutex<Vec<(u32, Job, Option<Timestamp>)>>,
    at_work: Mutex<BTreeSet<Job>>,
    failures: AtomicU32,
    broken: AtomicBool,
}

struct Server {
    number: u32,
    alive: Arc<AtomicBool>,
    clock: Arc<Simulated>,
    world: Arc<World>,
    cron: Mutex<String>,
}

struct Lease {
    job: Job,
    server: u32,
    world: Arc<World>,
}

#[async_trait]
impl Held for Lease {
    fn done(&self, job: &Job) -> Option<Timestamp> {
        self.world.done.lock().unwrap().get(job).copied()
    }

    async fn lost(&self) -> String {
        std::future::pending().await
    }

    async fn release(self: Box<Self>, done: Option<(&Job, Timestamp)>) -> Result<(), EngineError> {
        if let Some((job, time)) = done {
            self.world.done.lock().unwrap().insert(job.clone(), time);
        }
        let released = self.world.leases.lock().unwrap().remove(&self.job);
        assert_eq!(released.map(|(server, _)| server), Some(self.server));
        Ok(())
    }
}

#[async_trait]
impl Operations for Server {
    fn planned(&self) -> Vec<Planned> {
        let profile = ProfileEntry {
            backup: self.cron.lock().unwrap().parse().ok(),
            timezone: Some(TimeZone::get("Europe/Zurich").unwrap()),
            jitter: Duration::from_secs(120),
            ..ProfileEntry::default()
        };
        let jobs = ["a", "b", "c"].map(|source| Job::of(JobKind::Backup, source));
        jobs.into_iter()
            .map(|job| Planned { timetables: Timetable::of(&job, &profile).into_iter().collect(), job })
            .collect()
    }

    async fn reload(&self) -> Result<(), EngineError> {
        if self.world.broken.load(Ordering::SeqCst) {
            return Err(EngineError::usage("basekeep.toml:1: unknown key `x`"));
        }
        "*/30 * * * *".clone_into(&mut self.cron.lock().unwrap());
        Ok(())
    }

    async fn known(&self) -> Result<BTreeMap<Job, Timestamp>, EngineError> {
        if self
            .world
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
        {
            return Err(EngineError::failed("the repository is away"));
        }
        let mut known = self.world.done.lock().unwrap().clone();
        for planned in self.planned() {
            known.entry(planned.job).or_insert_with(|| self.clock.now());
        }
        Ok(known)
    }

    async fn lease(&self, job: &Job) -> Result<Leased, EngineError> {
        let mut leases = self.world.leases.lock().unwrap();
        if let Some((holder, alive)) = leases.get(job)
            && alive.load(Ordering::SeqCst)
        {
            return Ok(Leased::Busy(holder.to_string()));
        }
        // That of a server that was killed has expired.
        leases.insert(job.clone(), (self.number, self.alive.clone()));
        Ok(Leased::Held(Box::new(Lease { job: job.clone(), server: self.number, world: self.world.clone() })))
    }

    async fn run(&self, start: &Start, _: Arc<dyn Observer>, interrupt: &Interrupt) -> RunResult {
        assert!(self.world.at_work.lock().unwrap().insert(start.job.clone()), "{} runs twice", start.job);
        let end = self.clock.now() + SignedDuration::from_mins(7);
        let result = tokio::select! {
            () = self.clock.sleep_until(end) => {
                self.world.runs.lock().unwrap().push((self.number, start.job.clone(), start.due));
                RunResult::of_exit_code(0)
            }
            () = interrupt.requested() => RunResult::of_exit_code(130),
        };
        self.world.at_work.lock().unwrap().remove(&start.job);
        result
    }
}

struct Running {
    handle: Handle,
    stop: InterruptHandle,
    task: JoinHandle<()>,
    alive: Arc<AtomicBool>,
    world: Arc<World>,
    number: u32,
    history: Arc<History>,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(number: u32, clock: &Arc<Simulated>, world: &Arc<World>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let history = Arc::new(History::open(folder.path()).unwrap().0);
        let alive = Arc::new(AtomicBool::new(true));
        let server = Server {
            number,
            alive: alive.clone(),
            clock: clock.clone(),
            world: world.clone(),
            cron: Mutex::new("0 * * * *".to_owned()),
        };
        let mut daemon = Daemon::new(Arc::new(server), clock.clone(), history.clone());
        daemon.limit = 4;
        let (stop, interrupt) = InterruptHandle::new();
        let (handle, work) = daemon.start(interrupt);
        let task = tokio::spawn(work);
        Self { handle, stop, task, alive, world: world.clone(), number, history, _folder: folder }
    }

    /// As kill -9: nothing is given back.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let leases = self.world.leases.lock().unwrap();
        for (job, _) in leases.iter().filter(|(_, (server, _))| *server == self.number) {
            self.world.at_work.lock().unwrap().remove(job);
        }
        self.alive.store(false, Ordering::SeqCst);
    }
}

fn hours(number: i64) -> SignedDuration {
    SignedDuration::from_hours(number)
}

#[tokio::test]
async fn two_servers_that_are_killed_in_turn_run_each_time_once() {
    // Across the end of summer time.
    let clock = Simulated::at("2026-10-23T10:10:00Z");
    let world = Arc::new(World::default());
    let mut one = Running::start(1, &clock, &world);
    let two = Running::start(2, &clock, &world);
    let mut other = two;
    for number in 3..15 {
        clock.run_until(clock.now() + hours(6) + SignedDuration::from_mins(52)).await;
        // In the middle of its runs.
        std::mem::swap(&mut one, &mut other);
        one.kill().await;
        clock.run_until(clock.now() + SignedDuration::from_mins(20)).await;
        one = Running::start(number, &clock, &world);
    }
    clock.run_until(clock.now() + hours(2)).await;
    let runs = world.runs.lock().unwrap().clone();
    let mut by_job: BTreeMap<Job, Vec<Timestamp>> = BTreeMap::new();
    for (_, job, due) in &runs {
        by_job.entry(job.clone()).or_default().push(due.unwrap());
    }
    assert_eq!(by_job.len(), 3);
    for (job, mut dues) in by_job {
        dues.sort_unstable();
        for pair in dues.windows(2) {
            assert_eq!(pair[1].duration_since(pair[0]), hours(1), "{job}: {pair:?}");
        }
        assert!(dues.len() > 80, "{job} ran {} times", dues.len());
    }
    let servers: BTreeSet<u32> = runs.iter().map(|(server, ..)| *server).collect();
    assert!(servers.len() > 5, "several servers did the work: {servers:?}");
}

#[tokio::test]
async fn a_daemon_that_is_stopped_interrupts_what_runs_and_gives_leases_back() {
    let clock = Simulated::at("2026-06-01T10:59:00Z");
    let world = Arc::new(World::default());
    let daemon = Running::start(1, &clock, &world);
    clock.run_until("2026-06-01T11:03:00Z".parse().unwrap()).await;
    assert_eq!(daemon.handle.live().running().len(), 3);
    daemon.stop.interrupt();
    clock.run_until("2026-06-01T11:04:00Z".parse().unwrap()).await;
    daemon.task.await.unwrap();
    assert!(world.leases.lock().unwrap().is_empty());
    assert!(world.done.lock().unwrap().is_empty(), "another server may do it");
    let runs = daemon.history.runs(&Query::default()).unwrap();
    assert!(runs.iter().all(|run| run.outcome == Some(Outcome::Interrupted)), "{runs:?}");
    assert!(daemon.handle.start(Job::of(JobKind::Backup, "a")).await.is_err());
}

#[tokio::test]
async fn jobs_are_started_and_stopped_by_hand() {
    let clock = Simulated::at("2026-06-01T10:10:00Z");
    let world = Arc::new(World::default());
    let daemon = Running::start(1, &clock, &world);
    clock.run_until("2026-06-01T10:11:00Z".parse().unwrap()).await;
    let job = Job::of(JobKind::Backup, "a");
    daemon.handle.start(job.clone()).await.unwrap();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert!(daemon.handle.start(job.clone()).await.is_err());
    assert_eq!(daemon.handle.live().running()[0].trigger, Trigger::Demand);
    assert!(daemon.handle.stop(job.clone()).await);
    clock.run_until("2026-06-01T10:30:00Z".parse().unwrap()).await;
    let runs = daemon.history.runs(&Query::default()).unwrap();
    assert_eq!(runs.len(), 1, "what was stopped is not tried again: {runs:?}");
    assert!(!daemon.handle.stop(job.clone()).await, "it does not run");
    assert!(daemon.handle.start(Job::of(JobKind::Backup, "elsewhere")).await.is_err());
    let upcoming = daemon.handle.upcoming().await;
    assert_eq!(upcoming.len(), 3);
    assert!(upcoming.iter().all(|upcoming| upcoming.next.is_some_and(|next| next > clock.now())));
    daemon.kill().await;
}

#[tokio::test]
async fn a_broken_configuration_leaves_the_old_one_and_a_good_one_is_taken_over() {
    let clock = Simulated::at("2026-06-01T10:10:00Z");
    let world = Arc::new(World::default());
    let daemon = Running::start(1, &clock, &world);
    clock.run_until("2026-06-01T10:11:00Z".parse().unwrap()).await;
    world.broken.store(true, Ordering::SeqCst);
    assert!(daemon.handle.reload().await.is_err());
    clock.run_until("2026-06-01T10:50:00Z".parse().unwrap()).await;
    assert!(world.runs.lock().unwrap().is_empty(), "hourly, as before");
    world.broken.store(false, Ordering::SeqCst);
    daemon.handle.reload().await.unwrap();
    clock.run_until("2026-06-01T11:50:00Z".parse().unwrap()).await;
    // 10:30 is caught up.
    assert_eq!(world.runs.lock().unwrap().len(), 9, "every half hour");
    daemon.kill().await;
}

#[tokio::test]
async fn nothing_is_started_before_the_repository_has_said_what_was_done() {
    let clock = Simulated::at("2026-06-01T10:59:30Z");
    let world = Arc::new(World::default());
    world.failures.store(3, Ordering::SeqCst);
    let job = Job::of(JobKind::Backup, "a");
    for source in ["a", "b", "c"] {
        let done = "2026-06-01T11:02:00Z".parse().unwrap();
        world.done.lock().unwrap().insert(Job::of(JobKind::Backup, source), done);
    }
    let daemon = Running::start(1, &clock, &world);
    clock.run_until("2026-06-01T11:00:20Z".parse().unwrap()).await;
    assert!(daemon.handle.start(job).await.unwrap_err().message().contains("cannot be asked yet"));
    clock.run_until("2026-06-01T11:40:00Z".parse().unwrap()).await;
    assert!(world.runs.lock().unwrap().is_empty(), "somebody else had done it");
    clock.run_until("2026-06-01T12:40:00Z".parse().unwrap()).await;
    assert_eq!(world.runs.lock().unwrap().len(), 3);
    daemon.kill().await;
}
