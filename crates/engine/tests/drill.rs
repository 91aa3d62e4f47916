//! A drill proves a good backup, names each difference of a bad one, and leaves nothing behind.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use basekeep_engine::drill::{DrillOptions, DrillReport, drill};
use basekeep_engine::listing;
use basekeep_engine::{EngineError, ErrorKind, Interrupt, InterruptHandle};
use basekeep_postgres::Environment;
use basekeep_testkit::{ODD_CATALOG, SAMPLE_PROJECT, TestCluster, load_sql, server};

use crate::support::{Backup, Events, backed_up};
use crate::tampered::{is, with_entries, with_files};

/// An environment in which only these versions of PostgreSQL are found (and what the system has).
fn environment(majors: &[u32]) -> Environment {
    let dirs: Vec<String> = majors.iter().map(|&major| server(major).bin.display().to_string()).collect();
    let vars = BTreeMap::from([
        ("BASEKEEP_POSTGRES_BIN".to_owned(), dirs.join(":")),
        ("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()),
    ]);
    Environment { vars, home: None, user: None }
}

fn options(majors: &[u32]) -> DrillOptions {
    DrillOptions {
        jobs: Some(3),
        environment: Some(environment(majors)),
        record: true,
        ..DrillOptions::default()
    }
}

async fn run(backup: &Backup, options: &DrillOptions) -> Result<DrillReport, EngineError> {
    drill(&backup.repository, &backup.snapshot, options, Arc::new(Events::default()), &Interrupt::never())
        .await
}

async fn proven(backup: &Backup) -> Option<bool> {
    let list = listing::list(&backup.repository, &listing::Filter::default()).await.unwrap();
    let id = backup.snapshot.id.to_string();
    list.snapshots.iter().find(|s| s.id == id).unwrap().proven
}

async fn proves(major: u32, fixture: &str) {
    let source = TestCluster::shared(major).create_database();
    source.load(fixture).await;
    let backup = backed_up(&source).await;
    let scratch = tempfile::tempdir().unwrap();
    // The server may run as another user than the tests.
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let wanted = DrillOptions { scratch: Some(scratch.path().to_owned()), ..options(&[major]) };
    let report = run(&backup, &wanted).await.unwrap();
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "the scratch cluster's files are gone");
    assert_eq!(report.proof.differences, Vec::<String>::new());
    assert!(report.proof.equal && report.tables.iter().all(|table| table.equal));
    assert_eq!(report.proof.rows, backup.manifest.totals.rows);
    assert!(report.proof.definitions > 10, "{}", report.proof.definitions);
    assert!(report.proof.server.starts_with(&major.to_string()), "{}", report.proof.server);
    assert_eq!(proven(&backup).await, Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_odd_catalog_is_proven_on_15() {
    proves(15, ODD_CATALOG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_odd_catalog_is_proven_on_18() {
    proves(18, ODD_CATALOG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_project_is_proven_on_16() {
    proves(16, SAMPLE_PROJECT).await;
}

/// PostgreSQL 17 made the largest interval mean infinity, so the one such value of the odd catalog comes back as another.
/// All else, the definitions included, is the same on both.
#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_only_a_newer_version_what_it_reads_otherwise_is_named() {
    let source = TestCluster::shared(16).create_database();
    source.load(ODD_CATALOG).await;
    let backup = backed_up(&source).await;
    let report = run(&backup, &options(&[18])).await.unwrap();
    assert!(report.proof.server.starts_with("18"), "{}", report.proof.server);
    assert_eq!(report.proof.differences.len(), 1, "{:?}", report.proof.differences);
    assert!(
        report.proof.differences[0]
            .starts_with("odd_values.times: the same number of rows, but other values")
    );
    assert_eq!(proven(&backup).await, Some(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_proven_on_a_server_of_somebody_and_nothing_stays_there() {
    let source = TestCluster::private(15, &[]).create_database();
    load_sql(
        &source,
        "CREATE ROLE drilled; CREATE TABLE a (id int PRIMARY KEY); ALTER TABLE a OWNER TO drilled;
        INSERT INTO a SELECT generate_series(1, 100)",
    )
    .await;
    let backup = backed_up(&source).await;
    let elsewhere = TestCluster::private(17, &[]);
    let on = DrillOptions { on: Some(elsewhere.options("postgres")), ..options(&[17, 18]) };
    let report = run(&backup, &on).await.unwrap();
    assert_eq!(report.proof.differences, Vec::<String>::new());
    let left = left_on(&elsewhere).await;
    assert_eq!(left, (Some("0".to_owned()), None));
}

/// Databases of drills, and the role that only the source has.
async fn left_on(cluster: &TestCluster) -> (Option<String>, Option<String>) {
    let mut client = basekeep_postgres::Client::connect(&cluster.options("postgres"), "test").await.unwrap();
    let rows = client
        .query(
            "SELECT (SELECT count(*) FROM pg_database WHERE datname LIKE 'basekeep%'), to_regrole('drilled')",
        )
        .await
        .unwrap();
    let row = rows.iter().next().unwrap();
    (row.get(0).map(str::to_owned), row.get(1).map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_difference_is_named_and_recorded() {
    let source = TestCluster::shared(15).create_database();
    load_sql(&source, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int); CREATE SEQUENCE s;
        CREATE INDEX b_id ON b (id); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1), (2); SELECT setval('s', 7);
        SELECT lo_from_bytea(4712, 'content')").await;
    let backup = backed_up(&source).await;
    let changed = with_entries(backup, |entry| {
        if is(entry, "INDEX", "b_id") {
            // Restores without an error, but not to what the archive says when it is dumped again.
            entry.defn = Some(
                "CREATE INDEX b_id ON public.b USING btree (id DESC);\nDELETE FROM public.b;\n\
                SELECT pg_catalog.setval('public.s', 8);\nSELECT pg_catalog.lo_create(4713);\n"
                    .into(),
            );
        }
        if is(entry, "CONSTRAINT", "a a_pkey") {
            entry.defn = Some("ALTER TABLE public.a ADD CONSTRAINT nonsense;\n".into());
        }
    })
    .await;
    let report = run(&changed, &options(&[15])).await.unwrap();
    let all = report.proof.differences.join("\n");
    assert!(!report.proof.equal);
    for part in [
        "a_pkey",
        "public.b: 2 rows in the backup, 0 in the restored database",
        "sequence public.s: 7",
        "large objects: 1 in the backup, 2 restored",
        "INDEX public.b_id",
    ] {
        assert!(all.contains(part), "'{part}' is not in:\n{all}");
    }
    assert_eq!(report.restore.failed.len(), 1, "{:?}", report.restore.failed);
    assert_eq!(proven(&changed).await, Some(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_restore_refuses_are_a_difference() {
    let source = TestCluster::shared(15).create_database();
    load_sql(&source, "CREATE TABLE a (id int); INSERT INTO a VALUES (1), (2)").await;
    let backup = backed_up(&source).await;
    let file = backup.manifest.tables[0].file.clone();
    let backup = with_files(backup, |name, _| (name == file).then(|| b"1\n3\n\\.\n\n\n".to_vec())).await;
    let report = run(&backup, &options(&[15])).await.unwrap();
    assert!(!report.proof.equal);
    assert!(report.proof.differences[0].contains("rows of public.a"), "{:?}", report.proof.differences);
    assert!(!report.tables[0].equal && report.tables[0].rows_found == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_drill_leaves_no_cluster_and_no_proof() {
    let source = TestCluster::shared(15).create_database();
    load_sql(&source, "CREATE TABLE a (id int); CREATE INDEX slow ON a (id)").await;
    let backup = with_entries(backed_up(&source).await, |entry| {
        if is(entry, "INDEX", "slow") {
            entry.defn = Some("SELECT pg_catalog.pg_sleep(60);\n".into());
        }
    })
    .await;
    let elsewhere = TestCluster::private(15, &[]);
    let on = DrillOptions { on: Some(elsewhere.options("postgres")), ..options(&[15]) };
    let (handle, interrupt) = InterruptHandle::new();
    let events = Arc::new(Events::default());
    let running = drill(&backup.repository, &backup.snapshot, &on, events, &interrupt);
    let asked = async {
        let mut client =
            basekeep_postgres::Client::connect(&elsewhere.options("postgres"), "test").await.unwrap();
        let asleep = "SELECT 1 FROM pg_stat_activity
                       WHERE application_name = 'basekeep restore' AND query LIKE '%pg_sleep%'";
        for _ in 0..1000 {
            if client.query(asleep).await.unwrap().iter().next().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        handle.interrupt();
        Instant::now()
    };
    let (result, asked) = tokio::join!(running, asked);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Interrupted);
    assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
    assert_eq!(left_on(&elsewhere).await.0.as_deref(), Some("0"));
    assert_eq!(proven(&backup).await, None);
}
