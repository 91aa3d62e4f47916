//! What makes a restore fast changes nothing: frozen rows in the binary format, and a restore that was killed and is resumed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use basekeep_engine::restore::{self, Mode, RestoreOptions};
use basekeep_engine::{Event, Interrupt, Observer};
use basekeep_testkit::{TestCluster, TestDatabase, load_sql};
use tokio::sync::Notify;

use crate::support::{Backup, assert_same_text, backed_up, contents, definitions, into, restore};

/// Tables that are large enough to be frozen and to go as binary, and one each that cannot.
const LARGE: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy');
    CREATE DOMAIN short AS text CHECK (length(VALUE) < 10);
    CREATE TABLE wide (id bigint PRIMARY KEY, t text, v varchar(80), c char(9), n numeric(14,4), m numeric, f float8, g float4,
        s smallint, i int, b bool, u uuid, y bytea, d date, p timestamp, z timestamptz(3), j json, k jsonb, e mood,
        twice bigint GENERATED ALWAYS AS (id * 2) STORED);
    INSERT INTO wide SELECT n, CASE WHEN n % 5 > 0 THEN repeat(E'a\\\n\té', n % 20) END, md5(n::text), 'x' || n % 9, random() * n,
        (random() * n)::numeric ^ (n % 4), random() * 10::float8 ^ (n % 40 - 20), random(), n % 30000, n, n % 2 = 0, md5(n::text)::uuid,
        sha256(n::text::bytea), date '2000-01-01' + n % 9999, timestamp '1970-01-01' + n * interval '17.001 hours',
        now() - n * interval '1 hour', json_build_object('n', n), jsonb_build_object('m', n, 'l', repeat('y', n % 90)),
        (ARRAY['sad', 'ok', 'very happy'])[1 + n % 3]::mood FROM generate_series(1, 36000) AS n;
    CREATE INDEX wide_u ON wide (u, z);
    CREATE INDEX wide_t ON wide (v) INCLUDE (i);
    CREATE TABLE other (id int PRIMARY KEY REFERENCES wide (id), tags text[], w short);
    INSERT INTO other SELECT n, ARRAY[md5(n::text), repeat('z', n % 99), NULL], 'w' FROM generate_series(1, 20000) AS n;
    CREATE TABLE ancient (id int, happened timestamptz, note text);
    INSERT INTO ancient SELECT n, timestamptz '2020-01-01' - CASE WHEN n % 5000 = 0 THEN interval '4000 years' ELSE interval '1 day' END * 1,
        repeat(md5(n::text), 20) FROM generate_series(1, 20000) AS n;
    CREATE TABLE by_day (day date, note text) PARTITION BY RANGE (day);
    CREATE TABLE by_day_1 PARTITION OF by_day FOR VALUES FROM ('2024-01-01') TO ('2024-07-01');
    CREATE TABLE by_day_2 PARTITION OF by_day FOR VALUES FROM ('2024-07-01') TO ('2025-01-01');
    INSERT INTO by_day SELECT date '2024-01-01' + n % 366, repeat(md5(n::text), 20) FROM generate_series(1, 30000) AS n;
    CREATE TABLE few (id int PRIMARY KEY); INSERT INTO few VALUES (1), (2);
"#;

async fn large(major: u32) -> (TestDatabase, Backup) {
    let source = TestCluster::shared(major).create_database();
    load_sql(&source, LARGE).await;
    let backup = backed_up(&source).await;
    (source, backup)
}

async fn number(database: &TestDatabase, sql: &str) -> i64 {
    let mut client = database.client().await;
    let rows = client.query(sql).await.unwrap();
    rows.iter().next().unwrap().parse(0).unwrap()
}

async fn assert_equal(source: &TestDatabase, backup: &Backup, target: &TestDatabase) {
    assert_same_text(&definitions(source), &definitions(target));
    let again = backed_up(target).await;
    assert_eq!(contents(&again.manifest), contents(&backup.manifest));
}

async fn comes_back_frozen(major: u32) {
    let (source, backup) = large(major).await;
    let target = TestCluster::shared(major).create_database();
    let options = RestoreOptions { jobs: Some(1), ..into(&target.options()) };
    let report = restore(&backup, &options).await.unwrap();
    assert_eq!(report.failed, []);
    assert_eq!(report.rows, backup.manifest.totals.rows);
    assert_eq!(report.bytes, backup.manifest.totals.bytes);
    let mut client = target.client().await;
    client.execute("ANALYZE").await.unwrap();
    // Its pages are known to be visible to everybody, though nobody vacuumed them; a newer server adds some in advance.
    let visible = "SELECT 100 * relallvisible / relpages FROM pg_class WHERE relname = ";
    assert!(number(&target, &format!("{visible} 'wide'")).await > 90);
    assert!(number(&target, &format!("{visible} 'by_day_1'")).await > 90);
    assert_eq!(number(&target, &format!("{visible} 'few'")).await, 0, "too small for it");
    assert_equal(&source, &backup, &target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tables_of_every_type_come_back_frozen_and_equal_on_15() {
    comes_back_frozen(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tables_of_every_type_come_back_frozen_and_equal_on_18() {
    comes_back_frozen(18).await;
}

/// Ends a restore the way a crash does, at a moment that its events tell.
struct Killer {
    at: Box<dyn Fn(&Event) -> bool + Send + Sync>,
    reached: Mutex<bool>,
    now: Notify,
}

impl Observer for Killer {
    fn event(&self, event: Event) {
        if (self.at)(&event) {
            *self.reached.lock().unwrap() = true;
            self.now.notify_one();
        }
    }
}

pub(super) async fn killed(
    backup: &Backup,
    options: &RestoreOptions,
    at: impl Fn(&Event) -> bool + Send + Sync + 'static,
) {
    let killer = Arc::new(Killer { at: Box::new(at), reached: Mutex::new(false), now: Notify::new() });
    let plan = restore::plan(&backup.repository, &backup.snapshot, options).await.unwrap();
    let (repository, observer) = (backup.repository.clone(), killer.clone());
    let mut running =
        tokio::spawn(async move { restore::execute(&repository, plan, observer, &Interrupt::never()).await });
    tokio::select! {
        () = killer.now.notified() => running.abort(),
        ended = &mut running => {
            // It was too fast; the moment came all the same.
            drop(ended.unwrap());
            assert!(*killer.reached.lock().unwrap());
            return;
        }
    }
    let _ = running.await;
}

pub(super) async fn until_alone(target: &TestDatabase) {
    let others = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'basekeep restore'";
    for _ in 0..500 {
        if number(target, others).await == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the server still works for a restore that is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_killed_anywhere_is_resumed_and_does_not_load_finished_tables_again() {
    let (source, backup) = large(15).await;
    let total = backup.manifest.totals.bytes;
    let mut rows = BTreeSet::new();
    for tenth in [0, 3, 7, 10, 11] {
        let target = TestCluster::shared(15).create_database();
        let options = RestoreOptions { jobs: Some(2), ..into(&target.options()) };
        killed(&backup, &options, move |event| match event {
            Event::Progressed(progress) => tenth < 10 && progress.bytes >= total * tenth / 10,
            Event::Began { step } => match tenth {
                10 => step.0 == "indexes and constraints",
                11 => step.0 == "grants",
                _ => false,
            },
            // Whatever the moments of progress are: not later than here.
            Event::Ended { step, .. } => tenth < 10 && step.0 == "rows",
            _ => false,
        })
        .await;
        until_alone(&target).await;
        let resume = RestoreOptions { mode: Mode::Resume, ..options };
        let report = restore(&backup, &resume).await.unwrap();
        assert_eq!(report.failed, [], "killed at {tenth} tenths");
        if tenth >= 10 {
            assert_eq!(report.rows, 0, "killed at {tenth} tenths, all tables were finished");
        }
        rows.insert(report.rows);
        assert_equal(&source, &backup, &target).await;
    }
    assert!(rows.len() > 1, "{rows:?}");
}

/// The most memory that this process had at a time, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the server needs some 4 GB of memory for a value of 1 GB, and minutes"]
async fn values_of_a_billion_bytes_come_back_and_are_never_held() {
    let source = TestCluster::shared(15).create_database();
    load_sql(
        &source,
        "CREATE TABLE large (id int PRIMARY KEY, t text, y bytea);
         INSERT INTO large SELECT 1, repeat(md5('a'), 31250000), NULL;
         INSERT INTO large SELECT 2, NULL, decode(repeat(md5('b'), 15600000), 'hex');",
    )
    .await;
    let backup = backed_up(&source).await;
    let after_backup = peak();
    let target = TestCluster::shared(15).create_database();
    let report = restore(&backup, &into(&target.options())).await.unwrap();
    assert_eq!(report.failed, []);
    let after_restore = peak();
    println!("peak: {after_backup} MiB after the backup, {after_restore} MiB after the restore");
    assert!(after_restore < 256, "{after_restore} MiB");
    let sums = "SELECT pg_catalog.string_agg(pg_catalog.md5(coalesce(t, '')) || pg_catalog.md5(coalesce(y, '')), ' ' ORDER BY id) FROM large";
    let mut found = Vec::new();
    for database in [&source, &target] {
        let mut client = database.client().await;
        let rows = client.query(sums).await.unwrap();
        found.push(rows.iter().next().unwrap().get(0).unwrap().to_owned());
    }
    assert_eq!(found[0], found[1]);
}
