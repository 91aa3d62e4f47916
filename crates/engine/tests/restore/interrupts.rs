//! A restore that is told to stop cancels what the server is doing for it; one that loses its connections goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use basekeep_engine::restore;
use basekeep_engine::{ErrorKind, Event, Interrupt, InterruptHandle};
use basekeep_testkit::{TestCluster, TestDatabase, load_sql};

use crate::support::{Backup, Events, backed_up, into};
use crate::tampered::{is, with_entries};

const OURS: &str =
    "FROM pg_stat_activity WHERE application_name = 'basekeep restore' AND datname = current_database()";

/// A database whose restore does not get past `slow_index` for a minute.
async fn stuck_at_an_index() -> Backup {
    let source = TestCluster::shared(15).create_database();
    load_sql(
        &source,
        "CREATE TABLE a (id int PRIMARY KEY, n int); CREATE TABLE b (id int PRIMARY KEY REFERENCES a);
        CREATE INDEX slow_index ON a (n); INSERT INTO a SELECT n, n FROM generate_series(1, 1000) AS n",
    )
    .await;
    with_entries(backed_up(&source).await, |entry| {
        if is(entry, "INDEX", "slow_index") {
            entry.defn = Some("SELECT pg_catalog.pg_sleep(60);\n".into());
        }
    })
    .await
}

async fn count(target: &TestDatabase, sql: &str) -> u64 {
    let mut client = target.client().await;
    let rows = client.query(sql).await.unwrap();
    rows.iter().next().unwrap().parse(0).unwrap()
}

/// Waits until the query gives what is wanted.
async fn until(target: &TestDatabase, sql: &str, wanted: impl Fn(u64) -> bool) {
    let started = Instant::now();
    while !wanted(count(target, sql).await) {
        assert!(started.elapsed() < Duration::from_secs(30), "still not: {sql}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_cancels_running_statements_and_ends_in_seconds() {
    let backup = stuck_at_an_index().await;
    let target = TestCluster::shared(15).create_database();
    let plan = restore::plan(&backup.repository, &backup.snapshot, &into(&target.options())).await.unwrap();
    let (handle, interrupt) = InterruptHandle::new();
    let repository = backup.repository.clone();
    let running = tokio::spawn(async move {
        restore::execute(&repository, plan, Arc::new(Events::default()), &interrupt).await
    });
    until(&target, &format!("SELECT count(*) {OURS} AND query LIKE '%pg_sleep%'"), |n| n > 0).await;
    let asked = Instant::now();
    handle.interrupt();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(error.hints().iter().any(|hint| hint.contains(target.name())), "{:?}", error.hints());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    until(&target, &format!("SELECT count(*) {OURS}"), |n| n == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_whose_connection_is_killed_is_named_and_the_rest_comes_back() {
    let backup = stuck_at_an_index().await;
    let target = TestCluster::shared(15).create_database();
    let plan = restore::plan(&backup.repository, &backup.snapshot, &into(&target.options())).await.unwrap();
    let events = Arc::new(Events::default());
    let observer = events.clone();
    let repository = backup.repository.clone();
    let running =
        tokio::spawn(async move { restore::execute(&repository, plan, observer, &Interrupt::never()).await });
    until(&target, &format!("SELECT count(*) {OURS} AND query LIKE '%pg_sleep%'"), |n| n > 0).await;
    // All of them, also those that wait for work.
    count(&target, &format!("SELECT count(pg_terminate_backend(pid)) {OURS}")).await;
    let report = running.await.unwrap().unwrap();
    let lost: Vec<&str> = report.failed.iter().map(|f| f.object.as_str()).collect();
    assert!(lost.contains(&"index public.slow_index"), "{:?}", report.failed);
    assert!(report.failed.len() < 3, "{:?}", report.failed);
    assert_eq!(count(&target, "SELECT count(*) FROM a").await, 1000);
    let told = events.0.lock().unwrap().iter().any(
        |event| matches!(event, Event::ObjectFailed { object, .. } if object == "index public.slow_index"),
    );
    assert!(told);
}
