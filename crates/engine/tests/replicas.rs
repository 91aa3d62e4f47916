//! One read of a real database, several repositories: what each has afterwards, and how an outage heals.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use basekeep_engine::backup::{BackupOptions, BackupReport, Source, backup_to};
use basekeep_engine::replicas::{BackupTarget, ReplicaState};
use basekeep_engine::{EngineError, ErrorKind, Event, Interrupt, InterruptHandle};
use basekeep_postgres::Environment;
use basekeep_repository::{CheckOptions, InitOptions, Repository, WriterOptions};
use basekeep_store::{
    ErrorKind as StoreKind, Fault, Faults, Memory, Object, Operation, Put, Rule, Store, StoreError,
};
use basekeep_testkit::{TestCluster, TestDatabase, load_sql, tool};
use bytes::Bytes;
use tokio::sync::watch;

use crate::support::{Backup, Events, contents, into, restore};

/// About 12 MB that do not compress much, in one table that is read in ranges.
const ROWS: &str = "CREATE TABLE big AS SELECT n, md5(n::text) || md5((n + 1)::text) || md5(n || 'b') AS a
                    FROM generate_series(1, 100000) n;
                    CREATE TABLE small AS SELECT n FROM generate_series(1, 100) n;";

struct Place {
    faults: Arc<Faults>,
    gate: Arc<Gate>,
    repository: Repository,
}

/// Holds puts of packs while it is closed.
#[derive(Debug)]
struct Gate {
    inner: Memory,
    open: watch::Sender<bool>,
}

#[async_trait]
impl Store for Gate {
    async fn put(&self, key: &str, data: Bytes) -> Result<Put, StoreError> {
        if key.starts_with("data/") {
            let _ = self.open.subscribe().wait_for(|open| *open).await;
        }
        self.inner.put(key, data).await
    }
    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }
    async fn size(&self, key: &str) -> Result<u64, StoreError> {
        self.inner.size(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.inner.list(prefix).await
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
    fn location(&self) -> String {
        self.inner.location()
    }
}

impl Place {
    async fn new(password: &str) -> Self {
        let gate = Arc::new(Gate { inner: Memory::new(), open: watch::Sender::new(true) });
        let faults = Arc::new(Faults::new(gate.clone()));
        let options = InitOptions { scrypt_log_n: Some(10), ..InitOptions::default() };
        let repository = Repository::init(faults.clone(), &password.into(), options).await.unwrap();
        Self { faults, gate, repository }
    }

    fn target(&self, name: &str) -> BackupTarget {
        BackupTarget::new(name, &self.repository)
    }

    fn fails(&self, skip: u64) {
        let fault = Fault::Before(StoreKind::NoSpace);
        self.faults.inject(Rule { skip, ..Rule::every(Operation::Put, "data/", fault) });
    }

    /// Takes no pack until `first` was asked to take the snapshot.
    fn is_slower_than(&self, first: &Self) {
        self.gate.open.send_replace(false);
        let (gate, faults) = (self.gate.clone(), first.faults.clone());
        tokio::spawn(async move {
            let snapshot = |(operation, key): &(Operation, String)| {
                *operation == Operation::Put && key.starts_with("snapshots/")
            };
            while !faults.log().iter().any(snapshot) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            gate.open.send_replace(true);
        });
    }

    /// Snapshots of the source; and nothing is damaged.
    async fn snapshots(&self) -> usize {
        let checked = self
            .repository
            .check(&CheckOptions { read_data: true, ..CheckOptions::default() }, &|_| {})
            .await;
        assert!(checked.as_ref().unwrap().damage.is_empty(), "{checked:?}");
        self.repository.snapshots().await.unwrap().0.len()
    }
}

async fn source(rows: &str) -> TestDatabase {
    let database = TestCluster::shared(15).create_database();
    load_sql(&database, rows).await;
    database
}

struct Ran {
    result: Result<BackupReport, EngineError>,
    events: Vec<Event>,
}

impl Ran {
    fn states(&self) -> Vec<ReplicaState> {
        self.result.as_ref().unwrap().replicas.iter().map(|replica| replica.state).collect()
    }

    fn warnings(&self) -> Vec<&str> {
        let code = |event: &'_ Event| matches!(event, Event::Warning { .. });
        let warnings = self.events.iter().filter(|event| code(event));
        warnings
            .filter_map(|event| match event {
                Event::Warning { code, .. } => Some(code.as_str()),
                _ => None,
            })
            .collect()
    }
}

async fn run(database: &TestDatabase, targets: &[BackupTarget], interrupt: &Interrupt) -> Ran {
    let programs = tool("pg_dump", database.cluster().server().major);
    let folder = programs.parent().unwrap().display().to_string();
    let environment =
        Environment { vars: [("BASEKEEP_POSTGRES_BIN".to_owned(), folder)].into(), home: None, user: None };
    let options = BackupOptions {
        environment: Some(environment),
        // Two small packs wait for a slow repository, no more.
        writer: WriterOptions { pack_size: 256 << 10, replica_queue: 0, ..WriterOptions::default() },
        ..BackupOptions::default()
    };
    let source = Source::new("shop", database.options());
    let events = Arc::new(Events::default());
    let result = backup_to(targets, &source, &options, events.clone(), interrupt).await;
    let events = events.0.lock().unwrap().clone();
    Ran { result, events }
}

async fn back_up(database: &TestDatabase, targets: &[BackupTarget]) -> Ran {
    run(database, targets, &Interrupt::never()).await
}

/// What the place's newest snapshot restores to is what the backup read.
async fn assert_restores(place: &Place, database: &TestDatabase, ran: &Ran) {
    let snapshots = place.repository.snapshots().await.unwrap().0;
    let manifest = ran.result.as_ref().unwrap().manifest.clone();
    let target = database.cluster().create_database();
    let backup = Backup {
        repository: place.repository.clone(),
        snapshot: snapshots.last().unwrap().clone(),
        manifest: manifest.clone(),
    };
    let report = restore(&backup, &into(&target.options())).await.unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    // A backup of what was restored holds the same rows.
    let again = Place::new("again").await;
    let second = back_up(&target, &[again.target("again")]).await;
    assert_eq!(contents(&second.result.unwrap().manifest), contents(&manifest));
}

const DONE: [ReplicaState; 2] = [ReplicaState::Written, ReplicaState::Written];

#[tokio::test(flavor = "multi_thread")]
async fn every_repository_gets_the_backup_from_one_read() {
    let database = source(ROWS).await;
    let (one, two) = (Place::new("one").await, Place::new("two").await);
    // Both are quick, so neither queue matters; but small ones may fill up.
    let ran = back_up(&database, &[one.target("repository"), two.target("away")]).await;
    let report = ran.result.as_ref().unwrap();
    assert!(report.is_complete(), "{:?}", report.replicas);
    assert_eq!(report.snapshot, report.replicas[0].snapshot);
    assert_ne!(report.replicas[0].snapshot, report.replicas[1].snapshot);
    assert_eq!((one.snapshots().await, two.snapshots().await), (1, 1));
    assert_restores(&two, &database, &ran).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_out_of_reach_is_named_and_gets_everything_later() {
    let database = source("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n").await;
    let (one, two) = (Place::new("one").await, Place::new("two").await);
    let away = || BackupTarget::failed("away", "s3://gone", EngineError::failed("no answer"));
    for _ in 0..2 {
        let ran = back_up(&database, &[one.target("repository"), away()]).await;
        assert_eq!(ran.states(), [ReplicaState::Written, ReplicaState::Failed]);
        assert_eq!(ran.warnings(), ["replica-failed"]);
        let report = ran.result.unwrap();
        assert!(!report.is_complete());
        assert_eq!(report.replicas[1].reason.as_deref(), Some("no answer"));
    }
    let ran = back_up(&database, &[one.target("repository"), two.target("away")]).await;
    assert_eq!(ran.states(), DONE);
    assert_eq!(ran.result.as_ref().unwrap().replicas[1].healed, 2);
    assert_eq!((one.snapshots().await, two.snapshots().await), (3, 3));
    // And then there is nothing left to do.
    let ran = back_up(&database, &[one.target("repository"), two.target("away")]).await;
    assert_eq!(ran.result.as_ref().unwrap().replicas[1].healed, 0);
    assert!(ran.warnings().is_empty(), "{:?}", ran.warnings());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_fills_up_does_not_stop_the_other_and_is_made_good_by_the_next_run() {
    for full in [0, 1] {
        let database = source(ROWS).await;
        let places = [Place::new("one").await, Place::new("two").await];
        let targets = [places[0].target("repository"), places[1].target("away")];
        assert_eq!(back_up(&database, &targets).await.result.unwrap().replicas.len(), 2);
        load_sql(&database, "UPDATE big SET a = md5(a) || md5(a || 'x') || md5(a || 'y')").await;
        places[full].fails(4);
        let ran = back_up(&database, &targets).await;
        let states = ran.states();
        assert_eq!(states[full], ReplicaState::Failed);
        assert_ne!(states[1 - full], ReplicaState::Failed);
        assert!(ran.warnings().contains(&"replica-failed"), "{:?}", ran.warnings());
        assert_restores(&places[1 - full], &database, &ran).await;
        assert_eq!(places[full].snapshots().await, 1);

        places[full].faults.heal();
        let ran = back_up(&database, &targets).await;
        assert!(ran.result.as_ref().unwrap().is_complete());
        assert_eq!(ran.result.as_ref().unwrap().replicas[full].healed, 1);
        assert_eq!((places[0].snapshots().await, places[1].snapshots().await), (3, 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_replica_is_caught_up_once_the_database_is_released() {
    let database = source(ROWS).await;
    let (one, two) = (Place::new("one").await, Place::new("two").await);
    two.is_slower_than(&one);
    let ran = back_up(&database, &[one.target("repository"), two.target("away")]).await;
    assert_eq!(ran.states(), [ReplicaState::Written, ReplicaState::CaughtUp]);
    assert!(ran.result.as_ref().unwrap().is_complete());
    assert!(ran.warnings().is_empty(), "{:?}", ran.warnings());
    two.faults.heal();
    assert_eq!(two.snapshots().await, 1);
    assert_restores(&two, &database, &ran).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_replica_that_breaks_while_it_catches_up_is_behind() {
    let database = source(ROWS).await;
    let (one, two) = (Place::new("one").await, Place::new("two").await);
    two.is_slower_than(&one);
    // The writer never puts a snapshot there; the copy does.
    two.faults.inject(Rule::every(Operation::Put, "snapshots/", Fault::Before(StoreKind::Denied)));
    let targets = [one.target("repository"), two.target("away")];
    let ran = back_up(&database, &targets).await;
    assert_eq!(ran.states(), [ReplicaState::Written, ReplicaState::Behind]);
    assert_eq!(ran.warnings(), ["replica-behind"]);
    two.faults.heal();
    let ran = back_up(&database, &targets).await;
    assert_eq!(ran.result.as_ref().unwrap().replicas[1].healed, 1);
    assert_eq!((one.snapshots().await, two.snapshots().await), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_only_those_are_left_that_lack_something_the_database_is_read_again() {
    let database = source(ROWS).await;
    let (one, two) = (Place::new("one").await, Place::new("two").await);
    two.is_slower_than(&one);
    // It has taken all rows by then, and the slow one owes most of them.
    one.faults.inject(Rule::every(Operation::Put, "snapshots/", Fault::Before(StoreKind::NoSpace)));
    let ran = back_up(&database, &[one.target("repository"), two.target("away")]).await;
    assert_eq!(ran.states(), [ReplicaState::Failed, ReplicaState::Written]);
    assert_eq!(ran.warnings(), ["replica-failed", "started-again"]);
    two.faults.heal();
    assert_eq!(two.snapshots().await, 1);
    assert_restores(&two, &database, &ran).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_none_is_left_the_first_ones_error_is_told() {
    let database = source("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n").await;
    let away = |name: &str, kind| BackupTarget::failed(name, "s3://gone", EngineError::new(kind, name));
    let targets = [away("repository", ErrorKind::WrongPassword), away("away", ErrorKind::NoRepository)];
    let error = back_up(&database, &targets).await.result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongPassword);

    let (one, two) = (Place::new("one").await, Place::new("two").await);
    one.fails(0);
    two.fails(0);
    let ran = back_up(&database, &[one.target("repository"), two.target("away")]).await;
    let error = ran.result.unwrap_err();
    assert!(error.hints().iter().any(|hint| hint.contains("space")), "{error}");
    for place in [&one, &two] {
        place.faults.heal();
        assert_eq!(place.snapshots().await, 0);
        assert!(
            place.repository.lock(basekeep_repository::LockMode::Exclusive).await.is_ok(),
            "no lock stays"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_leaves_no_snapshot_in_any_of_them() {
    let database = source(ROWS).await;
    let (one, two) = (Place::new("one").await, Place::new("two").await);
    let (handle, interrupt) = InterruptHandle::new();
    handle.interrupt();
    let ran = run(&database, &[one.target("repository"), two.target("away")], &interrupt).await;
    assert_eq!(ran.result.unwrap_err().kind(), ErrorKind::Interrupted);
    for place in [&one, &two] {
        assert_eq!(place.snapshots().await, 0);
        assert!(
            place.repository.lock(basekeep_repository::LockMode::Exclusive).await.is_ok(),
            "no lock stays"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_forgotten_in_the_first_repository_stays_forgotten() {
    let database = source("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n").await;
    let (one, two) = (Place::new("one").await, Place::new("two").await);
    let targets = [one.target("repository"), two.target("away")];
    for _ in 0..3 {
        back_up(&database, &targets).await.result.unwrap();
    }
    let oldest = one.repository.snapshots().await.unwrap().0[0].id;
    one.faults.delete(&format!("snapshots/{oldest}")).await.unwrap();
    back_up(&database, &targets).await.result.unwrap();
    assert_eq!((one.snapshots().await, two.snapshots().await), (3, 4));
}
