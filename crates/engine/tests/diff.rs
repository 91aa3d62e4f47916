//! What `diff` tells against what was done: random changes with SQL, and a list of them.
//!
//! `BASEKEEP_SEED` chooses the history, `BASEKEEP_ROUNDS` how long it is.

mod model;

use std::sync::Arc;

use basekeep_engine::backup::{BackupOptions, Reading, Source, backup};
use basekeep_engine::diff::{self, Diff, Options};
use basekeep_engine::{Interrupt, Observer, Silent, listing};
use basekeep_postgres::Client;
use basekeep_repository::{Repository, Snapshot};
use basekeep_testkit::{TestCluster, TestDatabase};

use self::model::{Model, told};
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
}

impl History {
    async fn begin(major: u32) -> Self {
        let seed = std::env::var("BASEKEEP_SEED").map_or_else(|_| rand_seed(), |text| text.parse().unwrap());
        eprintln!("BASEKEEP_SEED={seed} on PostgreSQL {major}");
        let mut random = Random::new(seed);
        let database = TestCluster::private(major, &[]).create_database();
        let client = database.client().await;
        let (model, sql) = Model::begin(&mut random);
        let mut history =
            Self { database, client, repository: repository().await, random, model, taken: Vec::new() };
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
async fn random_changes_are_told_exactly_whichever_snapshots_are_compared() {
    let mut history = History::begin(16).await;
    history.back_up().await;
    for _ in 0..rounds(8) {
        for sql in history.model.act(&mut history.random) {
            history.execute(&sql).await;
        }
        history.back_up().await;
        let last = history.taken.len() - 1;
        history.check(last - 1, last).await;
        let other = history.random.below(last as u64 + 1) as usize;
        history.check(last, other).await;
    }
}
