//! Targets that cannot be restored into are refused before anything is changed; new databases are made like the source's.

use basekeep_engine::ErrorKind;
use basekeep_engine::restore;
use basekeep_testkit::{TestCluster, load_sql};

use crate::support::{backed_up, into, restore};

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_empty_is_refused_with_what_it_holds() {
    let cluster = TestCluster::shared(15);
    let source = cluster.create_database();
    load_sql(&source, "CREATE TABLE a (id int)").await;
    let backup = backed_up(&source).await;
    for (sql, holds) in [
        ("CREATE TABLE b (id int)", "relation public.b"),
        ("CREATE SCHEMA s", "schema s"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "function public.f"),
        ("CREATE TYPE t AS ENUM ('x')", "type public.t"),
        ("SELECT lo_create(4711)", "large object 4711"),
        ("CREATE PUBLICATION p", "publication p"),
    ] {
        let target = cluster.create_database();
        load_sql(&target, sql).await;
        let error = restore(&backup, &into(&target.options())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.message().contains(holds), "{error}");
        assert!(!error.hints().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_database_is_an_error_that_names_the_flag_and_the_flag_creates_it() {
    let cluster = TestCluster::private(15, &[]);
    let source = cluster
        .create_database_as("sourced", "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    load_sql(&source, "CREATE TABLE a (id int, t text); INSERT INTO a VALUES (1, 'Ä');
        ALTER DATABASE sourced SET work_mem = '12MB'; COMMENT ON DATABASE sourced IS 'dear';
        CREATE ROLE keeper; ALTER DATABASE sourced OWNER TO keeper; REVOKE CONNECT ON DATABASE sourced FROM PUBLIC").await;
    let backup = backed_up(&source).await;
    let mut options = into(&cluster.options("made anew"));
    let error = restore(&backup, &options).await.unwrap_err();
    assert!(error.hints().iter().any(|hint| hint.contains("--create-database")), "{:?}", error.hints());

    options.create_database = true;
    let report = restore(&backup, &options).await.unwrap();
    assert_eq!(report.failed, []);
    let mut client = basekeep_postgres::Client::connect(&options.target, "test").await.unwrap();
    let rows = client
        .query("SELECT pg_encoding_to_char(encoding), datcollate, shobj_description(oid, 'pg_database'),
                    current_setting('work_mem'), datdba::regrole, has_database_privilege('pg_monitor', oid, 'CONNECT')
                  FROM pg_database WHERE datname = current_database()")
        .await
        .unwrap();
    let row = rows.iter().next().unwrap();
    let found: Vec<&str> = (0..6).map(|n| row.get(n).unwrap()).collect();
    assert_eq!(found, ["LATIN1", "C", "dear", "12MB", "keeper", "f"]);
    assert_eq!(client.query("SELECT t FROM a").await.unwrap().iter().next().unwrap().get(0), Some("Ä"));

    let error = restore(&backup, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.message().contains("exists already"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_server_is_refused_and_a_newer_one_is_not() {
    let old = TestCluster::shared(15);
    let new = TestCluster::shared(18);
    let source = new.create_database();
    load_sql(&source, "CREATE TABLE a (id int)").await;
    let error =
        restore(&backed_up(&source).await, &into(&old.create_database().options())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.message().contains("15") && error.message().contains("18"), "{error}");

    let source = old.create_database();
    load_sql(&source, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)").await;
    let target = new.create_database();
    let report = restore(&backed_up(&source).await, &into(&target.options())).await.unwrap();
    assert_eq!((report.failed, report.rows), (vec![], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_will_be_done_and_changes_nothing() {
    let cluster = TestCluster::private(15, &[]);
    let source = cluster.create_database();
    load_sql(
        &source,
        "CREATE ROLE planned; CREATE TABLE a (id int PRIMARY KEY); ALTER TABLE a OWNER TO planned;
        INSERT INTO a SELECT generate_series(1, 100)",
    )
    .await;
    let backup = backed_up(&source).await;
    let elsewhere = TestCluster::private(16, &[]);
    let target = elsewhere.create_database();
    let plan = restore::plan(&backup.repository, &backup.snapshot, &into(&target.options())).await.unwrap();
    assert_eq!(plan.roles, ["planned"]);
    assert_eq!(plan.tables, [("public.a".to_owned(), 100, 292)]);
    assert!(plan.objects.contains(&("table".to_owned(), 1)), "{:?}", plan.objects);
    assert!(
        plan.summary.iter().any(|line| line.contains("load 1 tables with 100 rows")),
        "{:?}",
        plan.summary
    );
    let mut client = target.client().await;
    let rows = client.query("SELECT to_regclass('a'), to_regrole('planned')").await.unwrap();
    let row = rows.iter().next().unwrap();
    assert_eq!((row.get(0), row.get(1)), (None, None));
}
