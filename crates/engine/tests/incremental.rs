//! Chains of backups that read only what changed, over random histories: each holds, byte for byte, what one that reads
//! everything holds.
//!
//! The histories are those of the model test of `basekeep-postgres`, which tries thousands. `BASEKEEP_SEED` chooses one.

use std::sync::Arc;

use basekeep_engine::backup::{BackupOptions, Reading, Source, backup};
use basekeep_engine::forget::{ForgetOptions, Policies, forget};
use basekeep_engine::prune::{PruneOptions, prune};
use basekeep_engine::retention::Policy;
use basekeep_engine::stored::manifest::Manifest;
use basekeep_engine::{Interrupt, listing};
use basekeep_postgres::Client;
use basekeep_repository::Repository;
use basekeep_testkit::{TestCluster, TestDatabase};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::support::{Backup, Events, into, programs, repository, restore};

#[path = "../../postgres/tests/changes/random.rs"]
pub(crate) mod random;
#[allow(dead_code, reason = "a part of it is for the model test alone")]
#[path = "../../postgres/tests/changes/statements.rs"]
mod statements;

use random::Random;

/// Backups in a row that take something over.
const CHAIN: u32 = 10;

struct Chain {
    database: TestDatabase,
    repository: Repository,
    random: Random,
    tables: Vec<&'static str>,
    /// What was done, for the message of a failure.
    log: Vec<String>,
}

impl Chain {
    async fn begin(major: u32) -> (Self, Client) {
        let seed = std::env::var("BASEKEEP_SEED").map_or(u64::from(major), |text| text.parse().unwrap());
        let mut random = Random::new(seed);
        // Of its own: what runs in other tests' databases would keep the oldest transaction from moving on.
        let database = TestCluster::private(major, &[]).create_database();
        let mut client = database.client().await;
        let (sql, tables) = statements::tables(&mut random);
        client.execute("SET lock_timeout = '1ms'; SET client_min_messages = error").await.unwrap();
        client.execute(&sql).await.unwrap();
        let log = vec![format!("PostgreSQL {major}, seed {seed}")];
        (Self { database, repository: repository().await, random, tables, log }, client)
    }

    /// Some statements, each on its own; many fail.
    async fn act(&mut self, client: &mut Client) {
        for _ in 0..3 + self.random.below(12) {
            let table = *self.random.pick(&self.tables);
            let sql = match self.random.below(100) {
                0..14 => statements::maintenance(&mut self.random, table),
                14..24 => {
                    let other = *self.random.pick(&self.tables);
                    statements::definition(&mut self.random, table, other)
                }
                24..27 => statements::types(&mut self.random),
                _ => statements::rows(&mut self.random, table),
            };
            let failed = client.execute(&sql).await.err().map(|error| error.to_string());
            self.log.push(format!("{sql};  -- {}", failed.unwrap_or_default()));
        }
    }

    async fn back_up(&self, repository: &Repository, reading: Reading) -> Manifest {
        let options = BackupOptions {
            reading,
            range_bytes: Some(8 << 10),
            environment: Some(programs(self.database.cluster().server().major)),
            ..BackupOptions::default()
        };
        let source = Source::new("shop", self.database.options());
        let events = Arc::new(Events::default());
        backup(repository, &source, &options, events, &Interrupt::never()).await.unwrap().manifest
    }

    /// A backup that takes over what it can and one that reads everything, in the same state of the database.
    async fn compare(&mut self) -> Manifest {
        let manifest = self.back_up(&self.repository, Reading::Changed).await;
        let other = repository().await;
        let whole = self.back_up(&other, Reading::Full).await;
        let (mine, theirs) = (latest(&self.repository).await, latest(&other).await);
        self.log.push(format!("-- backup: {:?}", manifest.reading));
        assert_eq!(manifest.tables.len(), whole.tables.len());
        for (table, same) in manifest.tables.iter().zip(&whole.tables) {
            let text =
                listing::read_file(&self.repository, &mine, &table.file, 1 << 26).await.unwrap().unwrap();
            let read = listing::read_file(&other, &theirs, &same.file, 1 << 26).await.unwrap().unwrap();
            assert!(text == read, "{}\n{} is not what a full backup has", self.log.join("\n"), table.name);
            assert_eq!((&table.digest, table.rows), (&same.digest, same.rows), "{}", table.name);
        }
        manifest
    }

    /// Removes all snapshots but the newest, and what only they need.
    async fn forget_parents(&self) {
        let all = self.repository.snapshots().await.unwrap().0;
        let newest = latest(&self.repository).await.id;
        let older = all.iter().map(|snapshot| snapshot.id).filter(|id| *id != newest);
        let forgetting = ForgetOptions {
            snapshots: older.map(|id| id.to_string()).collect(),
            policies: Policies::Same(Policy::default()),
            source: None,
            tags: Vec::new(),
            group_by_tags: false,
            dry_run: false,
            space: false,
            now: Timestamp::now(),
            zone: TimeZone::UTC,
        };
        forget(&self.repository, &forgetting, &Interrupt::never()).await.unwrap();
        let pruning = PruneOptions {
            max_unused: None,
            max_repack_size: None,
            repack_small: true,
            recompress_after: None,
            dry_run: false,
            now: Timestamp::now(),
            zone: TimeZone::UTC,
        };
        prune(&self.repository, &pruning, Arc::new(Events::default()), &Interrupt::never()).await.unwrap();
        assert_eq!(self.repository.snapshots().await.unwrap().0.len(), 1);
    }
}

async fn latest(repository: &Repository) -> basekeep_repository::Snapshot {
    listing::find(repository, "latest", None).await.unwrap()
}

async fn a_chain_holds_what_full_backups_hold(major: u32) {
    let (mut chain, mut client) = Chain::begin(major).await;
    let mut open = chain.database.client().await;
    chain.compare().await;
    let (mut taken_over, mut ranges) = (0, 0);
    for number in 1..=CHAIN {
        // A transaction that each backup finds open, and that commits before the next one.
        let table = *chain.random.pick(&chain.tables);
        let late =
            format!("SET lock_timeout = '1ms'; BEGIN; UPDATE m.{table} SET v = 'late' WHERE id = {number}");
        if open.execute(&late).await.is_err() {
            open.execute("ROLLBACK").await.unwrap();
        }
        chain.act(&mut client).await;
        let manifest = chain.compare().await;
        open.execute("COMMIT").await.unwrap();
        let reading = manifest.reading.unwrap();
        assert_eq!((reading.incrementals, &reading.reason), (number, &None), "{reading:?}");
        (taken_over, ranges) = (taken_over + reading.taken_over, ranges + reading.ranges);
        if number % 4 == 0 {
            chain.forget_parents().await;
        }
    }
    assert!(taken_over > ranges / 10 && taken_over < ranges, "{taken_over} of {ranges}");
    chain.act(&mut client).await;
    let manifest = chain.compare().await;
    let target = chain.database.cluster().create_database();
    let snapshot = latest(&chain.repository).await;
    let last = Backup { repository: chain.repository, snapshot, manifest };
    let report = restore(&last, &into(&target.options())).await.unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(target.contents().await, chain.database.contents().await);
}

#[tokio::test]
async fn a_chain_of_backups_holds_what_full_ones_hold_on_15() {
    a_chain_holds_what_full_backups_hold(15).await;
}

#[tokio::test]
async fn a_chain_of_backups_holds_what_full_ones_hold_on_18() {
    a_chain_holds_what_full_backups_hold(18).await;
}
