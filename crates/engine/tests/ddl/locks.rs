//! Locks of others: a backup names who keeps it from one, and tells who waits for it.

use super::*;
use basekeep_postgres::Client;

/// Waits until a query has rows, from within an observer.
fn poll(url: &str, sql: &str) {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    let waiting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut client = Client::connect(&support::options(&url), "test").await.unwrap();
            let started = std::time::Instant::now();
            while client.query(&sql).await.unwrap().is_empty() {
                assert!(started.elapsed() < Duration::from_secs(20), "{sql}");
                tokio::task::yield_now().await;
            }
            client.close().await;
        });
    });
    waiting.join().unwrap();
}

/// Takes a lock when everything is planned, and keeps it.
struct Holder {
    url: String,
    events: support::Events,
    child: Mutex<Option<std::process::Child>>,
}

const HELD: &str = "SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE c.relname = 'first' AND l.mode = 'AccessExclusiveLock' AND l.granted";

impl Observer for Holder {
    fn event(&self, event: Event) {
        let planned = matches!(&event, Event::Ended { step, .. } if step.0 == "plan");
        self.events.event(event);
        if planned {
            let sql = "SET application_name = 'migrate'; BEGIN; LOCK TABLE first; SELECT pg_sleep(600)";
            let child = Command::new(tool("psql", 15)).args(["-X", "-q", "-c", sql, &self.url]).spawn();
            *self.child.lock().unwrap() = Some(child.unwrap());
            poll(&self.url, HELD);
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn holder(database: &TestDatabase) -> Arc<Holder> {
    Arc::new(Holder { url: database.url(), events: support::Events::default(), child: Mutex::default() })
}

#[tokio::test]
async fn who_keeps_a_backup_from_a_lock_is_named() {
    let cluster = TestCluster::shared(15);
    let database = database(&cluster).await;
    let repository = support::repository().await;
    let options = options(OnTableChange::Restart);
    let error =
        backup(&repository, &source(&database), &options, holder(&database), &Interrupt::never()).await;
    let error = error.unwrap_err();
    assert!(error.message().starts_with("a lock on public.first was not to be had within "), "{error}");
    assert!(error.message().contains(" (user postgres, application migrate, active, for "), "{error}");
    assert!(error.message().contains("LOCK TABLE first"), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("--lock-timeout")));
}

#[tokio::test]
async fn a_table_that_cannot_be_locked_is_left_out_where_that_is_wanted() {
    let cluster = TestCluster::shared(15);
    let database = database(&cluster).await;
    let repository = support::repository().await;
    let options = options(OnTableChange::Skip);
    let report =
        backup(&repository, &source(&database), &options, holder(&database), &Interrupt::never()).await;
    let missing = &report.unwrap().manifest.not_captured;
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].what, r#"definition and rows of "public"."first""#);
    assert!(missing[0].reason.contains("application migrate"), "{:?}", missing[0]);
}

#[tokio::test]
async fn a_lock_that_is_held_from_the_beginning_is_told_too() {
    let cluster = TestCluster::shared(15);
    let database = database(&cluster).await;
    let mut migration = database.client().await;
    migration.execute("BEGIN; LOCK TABLE first").await.unwrap();
    let done = meddled(&database, When::Planned, "SELECT", 1, OnTableChange::Restart).await;
    let error = done.result.unwrap_err();
    let pid = migration.backend_pid();
    assert_eq!(error.message(), format!("session {pid} holds an exclusive lock on public.first"));
}

#[tokio::test]
async fn a_role_that_may_not_see_what_others_run_learns_who_they_are() {
    let cluster = TestCluster::shared(15);
    let database = database(&cluster).await;
    run(&database.url(), "CREATE ROLE lock_reader LOGIN; GRANT pg_read_all_data TO lock_reader");
    let connect = database.options().with_user("lock_reader", None);
    let source = Source { files: FilesAccess::Skip, ..Source::new("shop", connect) };
    let repository = support::repository().await;
    let options = options(OnTableChange::Restart);
    let result = backup(&repository, &source, &options, holder(&database), &Interrupt::never()).await;
    run(&database.url(), "DROP OWNED BY lock_reader; DROP ROLE lock_reader");
    let error = result.unwrap_err();
    assert!(error.message().contains("(user postgres, application migrate)"), "{error}");
    assert!(error.message().contains("pg_monitor"), "{error}");
}

#[tokio::test]
async fn a_migration_that_waits_for_a_backup_is_told_of_and_the_backup_ends() {
    a_waiting_migration_disturbs_nothing("").await;
}

#[tokio::test]
async fn tiny_tables_that_are_read_together_come_apart_when_one_is_waited_for() {
    let tables: Vec<String> = (0..60)
        .map(|n| format!("CREATE TABLE tiny_{n} AS SELECT n FROM generate_series(1, {n}) n; "))
        .collect();
    a_waiting_migration_disturbs_nothing(&tables.concat()).await;
}

async fn a_waiting_migration_disturbs_nothing(more: &str) {
    let cluster = TestCluster::shared(15);
    let database = database(&cluster).await;
    if !more.is_empty() {
        run(&database.url(), more);
    }
    let url = database.url();
    // The migration asks for its lock when all are taken; the backup goes on when it is seen to wait.
    struct Migration {
        url: String,
        child: Mutex<Option<std::process::Child>>,
        events: support::Events,
    }
    impl Observer for Migration {
        fn event(&self, event: Event) {
            let locked = matches!(&event, Event::Began { step } if step.0 == "rows");
            self.events.event(event);
            if locked && self.child.lock().unwrap().is_none() {
                let sql = "ALTER TABLE first ADD COLUMN later int";
                let child = Command::new(tool("psql", 15)).args(["-X", "-q", "-c", sql, &self.url]).spawn();
                *self.child.lock().unwrap() = Some(child.unwrap());
                poll(&self.url, "SELECT FROM pg_locks WHERE NOT granted");
            }
        }
    }
    let observer = Arc::new(Migration { url, child: Mutex::default(), events: support::Events::default() });
    let repository = support::repository().await;
    let shared: Arc<dyn Observer> = observer.clone();
    let report = backup(
        &repository,
        &source(&database),
        &options(OnTableChange::Restart),
        shared,
        &Interrupt::never(),
    )
    .await;
    let status = observer.child.lock().unwrap().take().unwrap().wait().unwrap();
    assert!(status.success(), "the migration goes on when the backup has ended");
    let report = report.unwrap();
    assert!(report.is_complete());
    let first = report.manifest.tables.iter().find(|table| table.name == "first").unwrap();
    assert_eq!(first.rows, 100);
    for table in report.manifest.tables.iter().filter(|table| table.name.starts_with("tiny_")) {
        assert_eq!(table.name, format!("tiny_{}", table.rows));
    }
    let events = observer.events.0.lock().unwrap();
    let told = events.iter().find_map(|event| match event {
        Event::Warning { code, message, .. } if code == "session-waits" => Some(message.clone()),
        _ => None,
    });
    assert!(told.as_ref().is_some_and(|told| told.contains("public.first")), "{told:?}");
}

#[tokio::test]
async fn a_snapshot_that_is_held_for_long_is_told_of_once() {
    let cluster = TestCluster::shared(15);
    let database = database(&cluster).await;
    let mut options = options(OnTableChange::Restart);
    options.pace.warn_after = Some(Duration::from_nanos(1));
    let repository = support::repository().await;
    let events = Arc::new(support::Events::default());
    let report =
        backup(&repository, &source(&database), &options, events, &Interrupt::never()).await.unwrap();
    let told = report.manifest.warnings.iter().filter(|warning| warning.code == "snapshot-held").count();
    assert_eq!(told, 1);
    assert!(report.is_complete(), "a warning is no lack");
}
