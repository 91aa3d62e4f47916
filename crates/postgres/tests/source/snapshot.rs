//! Exported snapshots, their facts and the locks of their readers.

use super::{catalog, connect, copy, options_as, table};
use basekeep_postgres::session::{
    begin_export, is_durable, join, lock_nowait_sql, lock_tables, replaced_since_snapshot,
};
use basekeep_testkit::{Shutdown, TestCluster, servers};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_joined_session_sees_what_the_exporting_one_sees() {
    for server in servers() {
        let database = TestCluster::shared(server.major).create_database();
        let mut writer = database.client().await;
        writer.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await.unwrap();
        let mut leader = connect(&database.options()).await;
        let snapshot = begin_export(&mut leader).await.unwrap();
        writer.execute("INSERT INTO t VALUES (2)").await.unwrap();
        let mut worker = connect(&database.options()).await;
        join(&mut worker, &snapshot.id).await.unwrap();
        assert_eq!(copy(&mut worker, "COPY public.t TO STDOUT").await, "1\n");
        assert_eq!(
            worker.query("SHOW transaction_read_only").await.unwrap().one().unwrap().get(0),
            Some("on")
        );

        assert!(snapshot.system_identifier.as_ref().is_some_and(|id| id.len() > 15));
        assert_eq!(snapshot.timeline, Some(1));
        assert!(snapshot.postmaster_start.is_some() && snapshot.crash_marker.is_some());
        assert!(snapshot.wal_position.is_some_and(|position| position > 0));
        assert!(snapshot.xmin <= snapshot.xmax && snapshot.snapshot.starts_with(&snapshot.xmin.to_string()));
        assert_eq!((snapshot.unavailable.len(), snapshot.in_recovery), (0, false));
        assert_eq!(snapshot.server_version / 10_000, server.major);
    }
}

#[tokio::test]
async fn a_denied_fact_costs_neither_the_others_nor_the_snapshot() {
    let database = TestCluster::shared(15).create_database();
    let mut client = database.client().await;
    client
        .execute(
            "CREATE ROLE fact_reader LOGIN; REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC;
             REVOKE EXECUTE ON FUNCTION pg_walfile_name(pg_lsn) FROM PUBLIC",
        )
        .await
        .unwrap();
    let mut reader = connect(&options_as(&database, "fact_reader")).await;
    let snapshot = begin_export(&mut reader).await.unwrap();
    assert_eq!((snapshot.system_identifier.as_deref(), snapshot.timeline), (None, None));
    assert!(snapshot.postmaster_start.is_some() && snapshot.wal_position.is_some());
    let denied: Vec<&str> = snapshot.unavailable.iter().map(|fact| fact.fact.as_str()).collect();
    assert_eq!(denied, ["system_identifier", "timeline"]);
    assert!(snapshot.unavailable[0].reason.contains("permission denied"));
    let mut worker = connect(&options_as(&database, "fact_reader")).await;
    join(&mut worker, &snapshot.id).await.unwrap();
}

#[tokio::test]
async fn storage_replaced_after_the_snapshot_is_noticed() {
    let database = TestCluster::shared(15).create_database();
    let mut writer = database.client().await;
    writer
        .execute("CREATE TABLE kept (id int); CREATE TABLE emptied (id int); CREATE TABLE rewritten (id int)")
        .await
        .unwrap();
    let mut leader = connect(&database.options()).await;
    begin_export(&mut leader).await.unwrap();
    let catalog = basekeep_postgres::catalog::read_catalog(&mut leader).await.unwrap();
    writer.execute("INSERT INTO kept VALUES (1)").await.unwrap();
    writer.execute("TRUNCATE emptied").await.unwrap();
    writer.execute("VACUUM FULL rewritten").await.unwrap();
    lock_tables(&mut leader, &catalog.tables).await.unwrap();
    let mut replaced = replaced_since_snapshot(&mut leader, &catalog.tables).await.unwrap();
    let mut expected = vec![table(&catalog, "emptied").oid, table(&catalog, "rewritten").oid];
    replaced.sort_unstable();
    expected.sort_unstable();
    assert_eq!(replaced, expected);
}

#[tokio::test]
async fn a_reader_does_not_wait_behind_somebody_who_waits_for_the_leader() {
    let database = TestCluster::shared(15).create_database();
    let mut writer = database.client().await;
    writer.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await.unwrap();
    let catalog = catalog(&database.options()).await;
    let mut leader = connect(&database.options()).await;
    let snapshot = begin_export(&mut leader).await.unwrap();
    lock_tables(&mut leader, &catalog.tables).await.unwrap();
    let pid = writer.backend_pid();
    let waiting = tokio::spawn(async move { writer.execute("TRUNCATE t").await });
    let mut watcher = connect(&database.options()).await;
    let started = Instant::now();
    while watcher
        .query(&format!("SELECT 1 FROM pg_locks WHERE pid = {pid} AND NOT granted"))
        .await
        .unwrap()
        .is_empty()
    {
        assert!(started.elapsed() < Duration::from_secs(20));
        tokio::task::yield_now().await;
    }
    let mut worker = connect(&database.options()).await;
    join(&mut worker, &snapshot.id).await.unwrap();
    let error = worker.execute(&lock_nowait_sql(&catalog.tables[0])).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("55P03"));
    assert_eq!(copy(&mut leader, &catalog.tables[0].copy_out_sql(None)).await, "1\n");
    leader.execute("ROLLBACK").await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_the_snapshot_saw_becomes_durable() {
    let cluster = TestCluster::private(15, &[("synchronous_commit", "off")]);
    let database = cluster.create_database();
    let mut writer = database.client().await;
    writer.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await.unwrap();
    let mut leader = connect(&database.options()).await;
    let snapshot = begin_export(&mut leader).await.unwrap();
    let started = Instant::now();
    while is_durable(&mut leader, &snapshot).await.unwrap() != Some(true) {
        assert!(started.elapsed() < Duration::from_secs(20));
        tokio::task::yield_now().await;
    }
    let mut future = snapshot.clone();
    future.wal_position = snapshot.wal_position.map(|position| position + (1 << 30));
    assert_eq!(is_durable(&mut leader, &future).await.unwrap(), Some(false));
}

#[tokio::test]
async fn a_crash_that_the_postmaster_survives_changes_the_marker() {
    for server in servers() {
        let cluster = TestCluster::private(server.major, &[]);
        let options = cluster.options("postgres");
        let before = begin_export(&mut connect(&options).await).await.unwrap();
        // A backend that dies takes all others with it; the postmaster starts them over after recovery.
        let victim = connect(&options).await;
        let killed = std::process::Command::new("kill")
            .args(["-9", &victim.backend_pid().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        let started = Instant::now();
        let after = loop {
            assert!(started.elapsed() < Duration::from_secs(60));
            let Ok(mut client) = basekeep_postgres::Client::connect(&options, "test").await else { continue };
            match begin_export(&mut client).await {
                Ok(after) if after.crash_marker != before.crash_marker => break after,
                _ => {}
            }
        };
        assert_eq!(after.postmaster_start, before.postmaster_start, "{}", server.major);
        cluster.stop(Shutdown::Fast);
        cluster.start();
        let restarted = begin_export(&mut connect(&options).await).await.unwrap();
        assert_ne!(restarted.postmaster_start, before.postmaster_start);
        assert_eq!(restarted.system_identifier, before.system_identifier);
    }
}

#[tokio::test]
async fn the_change_probe_counts_rows_and_sees_new_ones() {
    let database = TestCluster::shared(15).create_database();
    let mut writer = database.client().await;
    writer.execute("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 1000)").await.unwrap();
    let mut leader = connect(&database.options()).await;
    let first = begin_export(&mut leader).await.unwrap();
    let table = catalog(&database.options()).await.tables.remove(0);
    leader.execute("ROLLBACK").await.unwrap();
    let mut probe = async |blocks: std::ops::Range<u64>| {
        begin_export(&mut leader).await.unwrap();
        let rows = leader.query(&table.change_probe_sql(blocks, first.xmin)).await.unwrap();
        leader.execute("ROLLBACK").await.unwrap();
        let row = rows.one().unwrap();
        (row.parse::<u64>(0).unwrap(), row.parse::<bool>(1).unwrap())
    };
    assert_eq!(probe(0..u64::MAX).await, (1000, true));
    writer.execute("DELETE FROM t WHERE id = 1").await.unwrap();
    assert_eq!(probe(0..u64::MAX).await, (999, true));
    writer.execute("VACUUM FREEZE t").await.unwrap();
    assert_eq!(probe(0..u64::MAX).await, (999, true));
    let head = probe(0..1).await;
    writer.execute("UPDATE t SET id = 0 WHERE id = 1000").await.unwrap();
    assert_eq!(probe(0..u64::MAX).await, (999, false));
    assert!(probe(1..2).await.1);
    assert!(head.1);
    assert_eq!(probe(1000..2000).await, (0, true));
}
