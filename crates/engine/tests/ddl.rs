//! DDL at every moment of a backup: the result is the snapshot's state, or a clear failure; nothing in between.

mod locks;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use basekeep_engine::backup::{BackupOptions, BackupReport, Jobs, OnTableChange, Pace, Source, backup};
use basekeep_engine::files::FilesAccess;
use basekeep_engine::{EngineError, Event, Interrupt, Observer, listing};
use basekeep_testkit::{TestCluster, TestDatabase, tool};

use crate::support::{self, Backup, into, restore};

const TABLES: &str = "
CREATE TYPE mood AS ENUM ('bad', 'good');
CREATE TABLE first (id int PRIMARY KEY, note text);
CREATE TABLE second (id int PRIMARY KEY, note text);
CREATE TABLE felt (id int PRIMARY KEY, how mood);
CREATE VIEW notes AS SELECT id, note FROM second;
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
INSERT INTO first SELECT n, 'first ' || n FROM generate_series(1, 100) n;
INSERT INTO second SELECT n, 'second ' || n FROM generate_series(1, 50) n;
INSERT INTO felt SELECT n, (CASE WHEN n % 2 = 0 THEN 'good' ELSE 'bad' END)::mood FROM generate_series(1, 10) n;";

/// When the DDL runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    /// The snapshot is taken, nothing is locked.
    Planned,
    /// Everything is locked, pg_dump and the readers start.
    Locked,
}

/// Runs SQL once (or `times`), at a moment of the backup, before the backup goes on.
struct Meddler {
    when: When,
    url: String,
    sql: String,
    left: Mutex<usize>,
    events: support::Events,
}

impl Observer for Meddler {
    fn event(&self, event: Event) {
        let now = match &event {
            Event::Ended { step, .. } if step.0 == "plan" => Some(When::Planned),
            Event::Began { step } if step.0 == "rows" => Some(When::Locked),
            _ => None,
        };
        self.events.event(event);
        let mut left = self.left.lock().unwrap();
        if now == Some(self.when) && *left > 0 {
            *left -= 1;
            run(&self.url, &self.sql);
        }
    }
}

impl Meddler {
    fn warned(&self, code: &str) -> usize {
        let events = self.events.0.lock().unwrap();
        let is_it = |event: &&Event| matches!(event, Event::Warning { code: other, .. } if other == code);
        events.iter().filter(is_it).count()
    }
}

fn run(url: &str, sql: &str) {
    let output =
        Command::new(tool("psql", 15)).args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql, url]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
}

fn options(how: OnTableChange) -> BackupOptions {
    let pace = Pace {
        on_table_change: Some(how),
        lock_timeout: Some(Duration::from_millis(1500)),
        jobs: Some(Jobs::Number(2)),
        ..Pace::default()
    };
    BackupOptions { environment: Some(support::programs(15)), pace, ..BackupOptions::default() }
}

fn source(database: &TestDatabase) -> Source {
    Source { files: FilesAccess::Skip, ..Source::new("shop", database.options()) }
}

struct Meddled {
    meddler: Arc<Meddler>,
    result: Result<BackupReport, EngineError>,
    repository: basekeep_engine::Repository,
}

impl Meddled {
    /// Restores the snapshot into a new database; gives its definitions and its contents.
    async fn restored(self, cluster: &TestCluster) -> (String, std::collections::BTreeMap<String, String>) {
        let manifest = self.result.unwrap().manifest;
        let snapshot = listing::find(&self.repository, "latest", None).await.unwrap();
        let backup = Backup { repository: self.repository, snapshot, manifest };
        let target = cluster.create_database();
        restore(&backup, &into(&target.options())).await.unwrap();
        (support::definitions(&target), target.contents().await)
    }
}

async fn meddled(
    database: &TestDatabase,
    when: When,
    sql: &str,
    times: usize,
    how: OnTableChange,
) -> Meddled {
    let repository = support::repository().await;
    let meddler = Arc::new(Meddler {
        when,
        url: database.url(),
        sql: sql.to_owned(),
        left: Mutex::new(times),
        events: support::Events::default(),
    });
    let observer: Arc<dyn Observer> = meddler.clone();
    let result = backup(&repository, &source(database), &options(how), observer, &Interrupt::never()).await;
    Meddled { meddler, result, repository }
}

async fn database(cluster: &TestCluster) -> TestDatabase {
    let database = cluster.create_database();
    run(&database.url(), TABLES);
    database
}

/// DDL before the locks: each of these would give a mixture of two states.
const CHANGES: [&str; 16] = [
    "DROP TABLE first",
    "TRUNCATE first",
    "VACUUM FULL first",
    "ALTER TABLE first RENAME TO other",
    "ALTER TABLE first RENAME TO third; ALTER TABLE second RENAME TO first; ALTER TABLE third RENAME TO second",
    "CREATE SCHEMA s; ALTER TABLE first SET SCHEMA s",
    "ALTER TABLE first RENAME COLUMN note TO remark",
    "ALTER TABLE second RENAME COLUMN id TO key",
    "ALTER TABLE first ADD COLUMN more int DEFAULT 5",
    "ALTER TABLE first DROP COLUMN note",
    "ALTER TABLE first ALTER COLUMN note TYPE varchar(20)",
    "ALTER TABLE first ALTER COLUMN id TYPE bigint",
    "DROP TABLE first; CREATE TABLE first (id int PRIMARY KEY, note text)",
    "ALTER TYPE mood RENAME VALUE 'good' TO 'fine'",
    "DROP VIEW notes",
    "CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 2'",
];

#[tokio::test]
async fn a_backup_that_a_replaced_table_overtakes_starts_again_and_is_consistent() {
    overtaken_by(&CHANGES[..5]).await;
}

#[tokio::test]
async fn a_backup_that_altered_columns_overtake_starts_again_and_is_consistent() {
    overtaken_by(&CHANGES[5..10]).await;
}

#[tokio::test]
async fn a_backup_that_altered_types_and_functions_overtake_starts_again_and_is_consistent() {
    overtaken_by(&CHANGES[10..]).await;
}

async fn overtaken_by(changes: &[&str]) {
    let cluster = TestCluster::shared(15);
    for change in changes {
        let database = database(&cluster).await;
        let change = change.split("; ").map(|one| format!("{one};")).collect::<String>();
        let done = meddled(&database, When::Planned, &change, 1, OnTableChange::Restart).await;
        assert!(done.result.is_ok(), "{change}: {:?}", done.result);
        assert_eq!(done.meddler.warned("table-changed"), 1, "{change}");
        let restored = done.restored(&cluster).await;
        support::assert_same_text(&restored.0, &support::definitions(&database));
        assert_eq!(restored.1, database.contents().await, "{change}");
    }
}

#[tokio::test]
async fn a_backup_fails_clearly_when_it_is_told_to_or_when_ddl_does_not_stop() {
    let cluster = TestCluster::shared(15);
    let renamed = database(&cluster).await;
    let sql = "ALTER TABLE first RENAME COLUMN note TO remark";
    let done = meddled(&renamed, When::Planned, sql, 1, OnTableChange::Fail).await;
    let error = done.result.unwrap_err();
    assert_eq!(error.message(), "public.first was altered, dropped or renamed after the snapshot was taken");
    assert!(listing::find(&done.repository, "latest", None).await.is_err());

    let truncated = database(&cluster).await;
    let done = meddled(&truncated, When::Planned, "TRUNCATE first", 3, OnTableChange::Restart).await;
    let error = done.result.unwrap_err();
    assert!(error.message().contains("public.first was truncated or rewritten"), "{error}");
    assert!(error.message().contains("3 times in a row"), "{error}");
    assert_eq!(done.meddler.warned("table-changed"), 2);
}

#[tokio::test]
async fn what_came_since_and_what_the_snapshot_alone_decides_does_not_start_it_again() {
    let cluster = TestCluster::shared(15);
    for change in [
        "CREATE TABLE newer (id int); CREATE VIEW newest AS SELECT * FROM first",
        "GRANT SELECT ON first TO PUBLIC; COMMENT ON TABLE first IS 'x'",
        "ALTER TYPE mood ADD VALUE 'better'",
        "INSERT INTO first VALUES (1000, 'more'); ANALYZE first",
    ] {
        let database = database(&cluster).await;
        let before = (support::definitions(&database), database.contents().await);
        let change = change.split("; ").map(|one| format!("{one};")).collect::<String>();
        let done = meddled(&database, When::Planned, &change, 1, OnTableChange::Restart).await;
        assert_eq!(done.meddler.warned("table-changed"), 0, "{change}");
        let restored = done.restored(&cluster).await;
        support::assert_same_text(&restored.0, &before.0);
        assert_eq!(restored.1, before.1, "{change}");
    }
}

#[tokio::test]
async fn a_changed_table_is_left_out_and_named_where_that_is_wanted() {
    let cluster = TestCluster::shared(15);
    for (change, what) in [
        ("DROP TABLE first", r#"definition and rows of "public"."first""#),
        ("ALTER TABLE first RENAME TO other", r#"definition and rows of "public"."first""#),
        ("ALTER TABLE first RENAME COLUMN note TO remark", r#"definition and rows of "public"."first""#),
        ("TRUNCATE first", r#"rows of "public"."first""#),
    ] {
        let database = database(&cluster).await;
        let done = meddled(&database, When::Planned, change, 1, OnTableChange::Skip).await;
        let report = done.result.as_ref().unwrap();
        assert!(!report.is_complete());
        let missing: Vec<&str> = report.manifest.not_captured.iter().map(|m| m.what.as_str()).collect();
        assert_eq!(missing, [what], "{change}");
        assert_eq!(done.meddler.warned("table-changed"), 0, "{change}");
        let (definitions, contents) = done.restored(&cluster).await;
        assert_eq!(definitions.contains("CREATE TABLE public.first"), what.starts_with("rows"), "{change}");
        assert_eq!(
            contents["table public.second"],
            database.contents().await["table public.second"],
            "{change}"
        );
    }
}

#[tokio::test]
async fn labels_that_are_renamed_while_rows_are_read_start_it_again() {
    let cluster = TestCluster::shared(15);
    let database = database(&cluster).await;
    let sql = "ALTER TYPE mood RENAME VALUE 'good' TO 'fine'";
    let done = meddled(&database, When::Locked, sql, 1, OnTableChange::Restart).await;
    assert_eq!(done.meddler.warned("table-changed"), 1);
    let restored = done.restored(&cluster).await;
    support::assert_same_text(&restored.0, &support::definitions(&database));
    assert_eq!(restored.1, database.contents().await);
}

/// A pg_dump that does something before it starts.
fn meddling_pg_dump(folder: &std::path::Path, url: &str, sql: &str) -> basekeep_postgres::Environment {
    use std::os::unix::fs::PermissionsExt;
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--version*) ;; *) if [ ! -e '{0}/done' ]; then : > '{0}/done'; '{1}' -X -q -c \"{sql}\" '{url}' || exit 1; fi ;; esac\nexec '{2}' \"$@\"\n",
        folder.display(),
        tool("psql", 15).display(),
        tool("pg_dump", 15).display()
    );
    let program = folder.join("pg_dump");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    basekeep_postgres::Environment {
        vars: [("BASEKEEP_POSTGRES_BIN".to_owned(), folder.display().to_string())].into(),
        home: None,
        user: None,
    }
}

#[tokio::test]
async fn views_that_change_while_pg_dump_runs_start_it_again() {
    let cluster = TestCluster::shared(15);
    for sql in ["ALTER VIEW notes RENAME COLUMN note TO remark", "DROP VIEW notes", "DROP FUNCTION one()"] {
        let database = database(&cluster).await;
        let folder = tempfile::tempdir().unwrap();
        let environment = meddling_pg_dump(folder.path(), &database.url(), sql);
        let options = BackupOptions { environment: Some(environment), ..options(OnTableChange::Restart) };
        let repository = support::repository().await;
        let events = Arc::new(support::Events::default());
        let observer: Arc<dyn Observer> = events.clone();
        let report = backup(&repository, &source(&database), &options, observer, &Interrupt::never()).await;
        let again = |event: &Event| matches!(event, Event::Warning { code, .. } if code == "table-changed");
        assert!(events.0.lock().unwrap().iter().any(again), "{sql}");
        let snapshot = listing::find(&repository, "latest", None).await.unwrap();
        let backup = Backup { repository, snapshot, manifest: report.unwrap().manifest };
        let target = cluster.create_database();
        restore(&backup, &into(&target.options())).await.unwrap();
        support::assert_same_text(&support::definitions(&target), &support::definitions(&database));
    }
}

#[tokio::test]
async fn limits_and_gentleness_change_how_fast_rows_come_and_nothing_else() {
    let cluster = TestCluster::shared(15);
    let database = database(&cluster).await;
    run(&database.url(), "INSERT INTO first SELECT n, repeat('x', 100) FROM generate_series(1000, 6000) n");
    let plain = meddled(&database, When::Planned, "SELECT", 1, OnTableChange::Restart).await;
    let mut options = options(OnTableChange::Restart);
    options.pace =
        Pace { gentle: Some(true), limit_rows: Some(15_000), limit_read: Some(2 << 20), ..options.pace };
    let repository = support::repository().await;
    let events = Arc::new(support::Events::default());
    let slow = backup(&repository, &source(&database), &options, events, &Interrupt::never()).await.unwrap();
    assert_eq!(support::contents(&slow.manifest), support::contents(&plain.result.unwrap().manifest));
    assert!(slow.is_complete());
}

#[tokio::test]
async fn a_server_without_connections_left_is_read_by_the_leading_one() {
    let cluster = TestCluster::shared(15);
    let database = database(&cluster).await;
    // The preflight's is gone by then: the leading connection, the one that watches, pg_dump.
    run(
        &database.url(),
        "CREATE ROLE few_connections LOGIN CONNECTION LIMIT 3; GRANT pg_read_all_data TO few_connections",
    );
    let connect = database.options().with_user("few_connections", None);
    let source = Source { files: FilesAccess::Skip, ..Source::new("shop", connect) };
    let repository = support::repository().await;
    let events = Arc::new(support::Events::default());
    let report =
        backup(&repository, &source, &options(OnTableChange::Restart), events, &Interrupt::never()).await;
    run(&database.url(), "DROP OWNED BY few_connections; DROP ROLE few_connections");
    assert_eq!(report.unwrap().manifest.totals.rows, 160);
}

/// Functions of the server fail on objects that are gone, while the catalog is read too.
#[tokio::test]
async fn tables_that_come_and_go_all_the_time_start_a_backup_again() {
    let cluster = TestCluster::shared(15);
    let database = database(&cluster).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (stopped, mut client) = (stop.clone(), database.client().await);
    let others = tokio::spawn(async move {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let come = "CREATE TABLE IF NOT EXISTS one_side (x int PRIMARY KEY);
                CREATE TABLE IF NOT EXISTS other_side (x int REFERENCES one_side)";
            for sql in [come, "DROP TABLE IF EXISTS other_side, one_side"] {
                // It locks the two in another order than the backup, so that they may wait for each other.
                if let Err(error) = client.execute(sql).await {
                    assert_eq!(error.sqlstate(), Some("40P01"), "{error}");
                }
            }
        }
    });
    for _ in 0..5 {
        let repository = support::repository().await;
        let events = Arc::new(support::Events::default());
        let options = options(OnTableChange::Restart);
        let observer: Arc<dyn Observer> = events.clone();
        match backup(&repository, &source(&database), &options, observer, &Interrupt::never()).await {
            Ok(report) => assert!(report.manifest.tables.iter().any(|t| t.name == "first" && t.rows == 100)),
            Err(error) => assert!(error.message().contains("times in a row"), "{error}"),
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    others.await.unwrap();
}
