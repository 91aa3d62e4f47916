//! What `diff` tells against what was done: random changes with SQL, and a list of them.
//!
//! `BASEKEEP_SEED` chooses the history, `BASEKEEP_ROUNDS` how long it is.

mod model;

use std::collections::BTreeMap;
use std::sync::Arc;

use basekeep_engine::backup::{BackupOptions, Reading, Source, backup};
use basekeep_engine::diff::{self, Diff, Options};
use basekeep_engine::{Interrupt, Observer, Silent, history, listing};
use basekeep_postgres::Client;
use basekeep_repository::{Repository, Snapshot};
use basekeep_testkit::{TestCluster, TestDatabase};

use self::model::{Model, Watched, told};
use crate::incremental::random::Random;
use crate::support::{programs, repository};

/// Snapshots that are compared with the newest one.
const REMEMBERED: usize = 6;

struct History {
    database: TestDatabase,
    client: Client,
    repository: Repository,
    random: Random,
    model: Model,
    /// The last snapshots, and what was in the database then.
    taken: Vec<(Snapshot, Model)>,
    /// Some rows of the table `keyed` in each snapshot, by key.
    watched: Vec<(Snapshot, BTreeMap<String, Watched>)>,
}

impl History {
    async fn begin(major: u32) -> Self {
        let seed = std::env::var("BASEKEEP_SEED").map_or_else(|_| rand_seed(), |text| text.parse().unwrap());
        eprintln!("BASEKEEP_SEED={seed} on PostgreSQL {major}");
        let mut random = Random::new(seed);
        let database = TestCluster::private(major, &[]).create_database();
        let client = database.client().await;
        let (model, sql) = Model::begin(&mut random);
        let mut history = Self {
            database,
            client,
            repository: repository().await,
            random,
            model,
            taken: Vec::new(),
            watched: Vec::new(),
        };
        history.execute(&sql).await;
        history
    }

    async fn execute(&mut self, sql: &str) {
        if let Err(error) = self.client.execute(sql).await {
            panic!("{error}\n{sql}");
        }
    }

    async fn back_up(&mut self) {
        let range_bytes = *self.random.pick(&[8 << 10, 256 << 10, 16 << 20]);
        let reading = if self.random.below(4) == 0 { Reading::Full } else { Reading::Changed };
        let options = BackupOptions {
            reading,
            range_bytes: Some(range_bytes),
            environment: Some(programs(self.database.cluster().server().major)),
            ..BackupOptions::default()
        };
        let source = Source::new("shop", self.database.options());
        backup(&self.repository, &source, &options, Arc::new(Silent), &Interrupt::never()).await.unwrap();
        let snapshot = listing::find(&self.repository, "latest", None).await.unwrap();
        self.watched.push((snapshot.clone(), self.model.watched()));
        self.taken.push((snapshot, self.model.clone()));
        if self.taken.len() > REMEMBERED {
            self.taken.remove(0);
        }
    }

    fn options(&mut self) -> Options {
        Options {
            limit: usize::MAX,
            longest: usize::MAX,
            memory: *self.random.pick(&[0, 2_000, 200_000, 256 << 20]),
            ..Options::default()
        }
    }

    async fn diff(&mut self, a: usize, b: usize) -> Diff {
        let options = self.options();
        let observer: Arc<dyn Observer> = Arc::new(Silent);
        let (a, b) = (&self.taken[a].0, &self.taken[b].0);
        diff::snapshots(&self.repository, a, b, &options, &observer, &Interrupt::never()).await.unwrap()
    }

    /// Compares a snapshot with the database as it is.
    async fn check_live(&mut self, a: usize) {
        let options = self.options();
        let observer: Arc<dyn Observer> = Arc::new(Silent);
        let environment = programs(self.database.cluster().server().major);
        let (target, a) = (self.database.options(), &self.taken[a]);
        let never = Interrupt::never();
        let diff = diff::live(&self.repository, &a.0, &target, &environment, &options, &observer, &never);
        let mut diff = diff.await.unwrap();
        // The database itself may have got settings of other roles meanwhile; these tests change none.
        diff.notes.clear();
        assert_eq!(told(&diff), a.1.changes_to(&self.model));
    }

    /// Compares the versions of a row with what was in the database at each snapshot.
    async fn check_history(&self, key: &str) {
        let options = history::Options {
            table: "keyed".into(),
            key: vec![key.into()],
            longest: usize::MAX,
            ..history::Options::default()
        };
        let observer: Arc<dyn Observer> = Arc::new(Silent);
        let found =
            history::history(&self.repository, &options, &observer, &Interrupt::never()).await.unwrap();
        let told: Vec<String> = found.versions.iter().map(model::version).collect();
        assert_eq!(told, model::versions(&self.watched, key));
        let holding = self.watched.iter().filter(|(_, rows)| rows.contains_key(key)).count();
        assert_eq!((found.snapshots, found.holding), (self.watched.len() as u64, holding as u64));
    }

    /// Compares two of the snapshots with what was in the database at these times.
    async fn check(&mut self, a: usize, b: usize) {
        let diff = self.diff(a, b).await;
        let expected = self.taken[a].1.changes_to(&self.taken[b].1);
        assert_eq!(told(&diff), expected);
        assert_eq!(diff.is_equal(), expected.is_empty());
    }
}

fn rand_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}

fn rounds(usual: u64) -> u64 {
    std::env::var("BASEKEEP_ROUNDS").map_or(usual, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_changes_are_told_exactly_between_snapshots_of_a_live_database_and_of_one_row() {
    let mut history = History::begin(16).await;
    history.back_up().await;
    for _ in 0..rounds(5) {
        for sql in history.model.act(&mut history.random) {
            history.execute(&sql).await;
        }
        history.back_up().await;
        let last = history.taken.len() - 1;
        history.check(last - 1, last).await;
        let other = history.random.below(last as u64 + 1) as usize;
        history.check(last, other).await;
        for sql in history.model.act(&mut history.random) {
            history.execute(&sql).await;
        }
        history.check_live(other).await;
    }
    for key in 1..20 {
        history.check_history(&key.to_string()).await;
    }
}
