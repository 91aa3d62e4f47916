//! Backups that read only what changed: what is taken over, what is read, and why.

use std::sync::Arc;

use basekeep_engine::backup::{BackupOptions, BackupReport, ChangePolicy, Reading, Source, backup};
use basekeep_engine::stored::columns::Kind;
use basekeep_engine::stored::manifest::Manifest;
use basekeep_engine::{Event, Interrupt};
use basekeep_postgres::ConnectOptions;
use basekeep_postgres::changes::Continuity;
use basekeep_repository::Repository;
use basekeep_testkit::{TestCluster, TestDatabase};

use crate::support::{Events, contents, programs, repository};

/// A database, and a repository that its backups go to.
struct Bench {
    database: TestDatabase,
    repository: Repository,
    policy: ChangePolicy,
}

impl Bench {
    async fn new(major: u32, sql: &str) -> Self {
        let database = TestCluster::shared(major).create_database();
        database.client().await.execute(sql).await.unwrap();
        Self { database, repository: repository().await, policy: ChangePolicy::default() }
    }

    async fn sql(&self, sql: &str) {
        let mut client = self.database.client().await;
        for statement in sql.split(';').filter(|statement| !statement.trim().is_empty()) {
            client.execute(statement).await.unwrap();
        }
    }

    async fn run(&self, repository: &Repository, reading: Reading) -> (BackupReport, Vec<Event>) {
        self.run_from(repository, reading, self.database.options()).await
    }

    async fn run_as(&self, role: &str) -> (BackupReport, Vec<Event>) {
        let connect = self.database.options().with_user(role, None);
        self.run_from(&self.repository, Reading::Changed, connect).await
    }

    async fn run_from(
        &self,
        repository: &Repository,
        reading: Reading,
        connect: ConnectOptions,
    ) -> (BackupReport, Vec<Event>) {
        let options = BackupOptions {
            reading,
            range_bytes: Some(64 << 10),
            environment: Some(programs(self.database.cluster().server().major)),
            ..BackupOptions::default()
        };
        let source = Source { changes: self.policy, ..Source::new("shop", connect) };
        let events = Arc::new(Events::default());
        let report =
            backup(repository, &source, &options, events.clone(), &Interrupt::never()).await.unwrap();
        let events = std::mem::take(&mut *events.0.lock().unwrap());
        (report, events)
    }

    /// A backup that takes over what it can, and beside it one that reads everything: they hold the same.
    async fn changed(&self) -> Manifest {
        let manifest = self.run(&self.repository, Reading::Changed).await.0.manifest;
        let whole = self.run(&repository().await, Reading::Full).await.0.manifest;
        let rows = |manifest| {
            let mut rows = contents(manifest);
            // Written by the backup itself, after its snapshot.
            rows.remove("basekeep.continuity");
            rows
        };
        assert_eq!(rows(&manifest), rows(&whole));
        manifest
    }
}

const ORDERS: &str = "CREATE TABLE orders (id int PRIMARY KEY, note text);
    INSERT INTO orders SELECT n, repeat('x', 60) || n FROM generate_series(1, 20000) n;
    CREATE TABLE tiny (n int); INSERT INTO tiny VALUES (1);";

fn what_was_read(manifest: &Manifest) -> &basekeep_engine::stored::manifest::Reading {
    manifest.reading.as_ref().unwrap()
}

fn whole(manifest: &Manifest, table: &str) -> Option<String> {
    manifest.tables.iter().find(|t| t.name == table).unwrap().read_whole.clone()
}

#[tokio::test]
async fn what_did_not_change_is_taken_over_and_what_changed_is_read() {
    let bench = Bench::new(15, ORDERS).await;
    let first = bench.changed().await;
    assert_eq!(what_was_read(&first).reason.as_deref(), Some("it is the first backup of the source"));
    assert_eq!((first.totals.taken_over_bytes, what_was_read(&first).incrementals), (0, 0));

    let second = bench.changed().await;
    let note = what_was_read(&second);
    assert_eq!((note.incrementals, note.reason.clone()), (1, None));
    assert!(note.ranges > 20 && note.taken_over + note.compared == note.ranges, "{note:?}");
    assert_eq!(note.compared, 2);
    assert!(second.totals.added_bytes < first.totals.added_bytes / 4, "{:?}", second.totals);

    bench.sql("UPDATE orders SET note = 'new' WHERE id = 10000; DELETE FROM orders WHERE id = 1").await;
    bench.sql("INSERT INTO orders SELECT n, repeat('m', 65) FROM generate_series(20001, 21000) n").await;
    let third = bench.changed().await;
    let note = what_was_read(&third);
    assert!(note.taken_over > 10 && note.taken_over + 4 <= note.ranges, "{note:?}");
    assert_eq!(whole(&third, "orders"), None);
    // Its only range may be one of those that are read to be compared.
    let compared = Some("all of its ranges changed, or were read to compare them");
    let tiny = whole(&third, "tiny");
    assert!(tiny.is_none() || tiny.as_deref() == compared, "{tiny:?}");
}

#[tokio::test]
async fn the_columns_of_all_tables_their_types_and_keys_are_stored() {
    let more = "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE moods (moods mood[] NOT NULL, total int GENERATED ALWAYS AS (1) STORED, \
                order_id int REFERENCES orders);";
    let bench = Bench::new(15, &format!("{ORDERS}{more}")).await;
    let (report, _) = bench.run(&bench.repository, Reading::Full).await;
    let snapshot = basekeep_engine::listing::find(&bench.repository, "latest", None).await.unwrap();
    bench.repository.load_index().await.unwrap();
    let columns = basekeep_engine::listing::columns(&bench.repository, &snapshot).await.unwrap().unwrap();
    let files = |tables: Vec<&str>| tables.into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        files(columns.tables.iter().map(|table| table.file.as_str()).collect()),
        files(report.manifest.tables.iter().map(|table| table.file.as_str()).collect())
    );
    for column in columns.tables.iter().flat_map(|table| &table.columns) {
        assert!(columns.type_of(column.of).is_some(), "{}", column.name);
    }
    let moods = columns.table("public", "moods").unwrap();
    let [list, reference] = moods.columns.as_slice() else { panic!("{:?}", moods.columns) };
    assert_eq!((list.type_name.as_str(), list.not_null, reference.not_null), ("public.mood[]", true, false));
    let Kind::Array { element } = columns.type_of(list.of).unwrap().kind else { panic!("no array") };
    assert_eq!(columns.type_of(element).unwrap().kind, Kind::Enum);
    assert_eq!(moods.generated, ["total"]);
    assert_eq!(moods.foreign_keys[0].references, ("public".to_owned(), "orders".to_owned()));
    assert_eq!(
        columns.table("public", "orders").unwrap().primary_key.as_deref(),
        Some(&["id".to_owned()][..])
    );
}

#[tokio::test]
async fn a_full_read_can_be_asked_for_and_is_forced_now_and_then() {
    let mut bench = Bench::new(15, ORDERS).await;
    bench.policy.full_every = 2;
    let mut reasons = Vec::new();
    for _ in 0..5 {
        let manifest = bench.changed().await;
        reasons.push((what_was_read(&manifest).incrementals, what_was_read(&manifest).reason.clone()));
    }
    let forced = Some("2 backups took rows over since the last full read".to_owned());
    let first = Some("it is the first backup of the source".to_owned());
    assert_eq!(reasons, [(0, first), (1, None), (2, None), (0, forced), (1, None)]);
    let manifest = bench.run(&bench.repository, Reading::Full).await.0.manifest;
    assert_eq!(what_was_read(&manifest).reason.as_deref(), Some("a full read was asked for"));
    assert_eq!(manifest.totals.taken_over_bytes, 0);
}

#[tokio::test]
async fn a_paranoid_backup_reads_and_compares_everything() {
    let bench = Bench::new(15, ORDERS).await;
    bench.changed().await;
    bench.sql("UPDATE orders SET note = 'new' WHERE id = 10000").await;
    let (report, _) = bench.run(&bench.repository, Reading::Paranoid).await;
    let note = what_was_read(&report.manifest);
    assert!(note.compared + 3 >= note.ranges && note.compared > 15, "{note:?}");
    assert_eq!((note.taken_over, note.differing.len()), (0, 0));
    assert!(report.is_complete());
}

#[tokio::test]
async fn tables_that_were_replaced_or_look_different_are_read_and_say_why() {
    let more = "CREATE TYPE mood AS ENUM ('good', 'bad');
        CREATE TABLE moods AS SELECT n, 'good'::mood AS mood, repeat('y', 50) AS pad FROM generate_series(1, 3000) n;
        CREATE TABLE truncated AS SELECT * FROM moods; CREATE TABLE rewritten AS SELECT * FROM moods;
        CREATE TABLE renamed AS SELECT * FROM moods; CREATE TABLE names AS SELECT n, 'pg_class'::regclass AS c, repeat('z', 50) AS pad FROM moods;";
    let bench = Bench::new(15, &format!("{ORDERS}{more}")).await;
    bench.changed().await;
    bench.sql("ALTER TYPE mood RENAME VALUE 'good' TO 'fine'; TRUNCATE truncated; ALTER TABLE renamed RENAME TO other").await;
    bench.sql("INSERT INTO truncated SELECT * FROM moods; VACUUM FULL rewritten").await;
    let manifest = bench.changed().await;
    let changed = Some("its columns, their types or the server's version changed");
    assert_eq!(whole(&manifest, "moods").as_deref(), changed);
    assert_eq!(whole(&manifest, "truncated").as_deref(), Some("it was truncated or rewritten"));
    assert_eq!(whole(&manifest, "other").as_deref(), changed);
    assert!(whole(&manifest, "names").unwrap().contains("names other objects"));
    assert_eq!(whole(&manifest, "orders"), None);

    bench.sql("ALTER TABLE other RENAME TO another").await;
    let manifest = bench.changed().await;
    assert_eq!(whole(&manifest, "another"), None);
}

#[tokio::test]
async fn with_the_token_a_restarted_server_is_known_and_a_rewound_one_is_not() {
    let cluster = TestCluster::private(16, &[]);
    let database = cluster.create_database();
    let mut bench = Bench { database, repository: repository().await, policy: ChangePolicy::default() };
    bench.sql(ORDERS).await;
    bench.changed().await;
    cluster.stop(basekeep_testkit::Shutdown::Fast);
    cluster.start();
    let restarted = bench.changed().await;
    assert_eq!(what_was_read(&restarted).reason.as_deref(), Some("the server was restarted"));

    bench.policy.continuity = Continuity::Token;
    let reasons = async |bench: &Bench| what_was_read(&bench.changed().await).reason.clone();
    assert_eq!(reasons(&bench).await.as_deref(), Some("the last backup has no token"));
    cluster.stop(basekeep_testkit::Shutdown::Fast);
    cluster.start();
    assert_eq!(reasons(&bench).await, None);
    bench.sql("UPDATE basekeep.continuity SET token = 'x', earlier = earlier[2:]").await;
    let rewound = reasons(&bench).await.unwrap();
    assert!(rewound.contains("put back to an earlier moment"), "{rewound}");
}

#[tokio::test]
async fn a_role_that_may_not_write_the_token_backs_up_and_is_told() {
    let mut bench = Bench::new(15, ORDERS).await;
    bench.policy.continuity = Continuity::Token;
    let role = format!("reader_of_{}", bench.database.name().replace('-', "_"));
    bench.sql(&format!("CREATE ROLE \"{role}\" LOGIN; GRANT pg_read_all_data TO \"{role}\"")).await;
    for _ in 0..2 {
        let (report, events) = bench.run_as(&role).await;
        let told = |event: &Event| matches!(event, Event::Warning { code, .. } if code == "no-token");
        assert_eq!(events.iter().filter(|event| told(event)).count(), 1);
        assert_eq!(report.manifest.totals.taken_over_bytes, 0, "without a token nothing is taken over");
        assert_eq!(contents(&report.manifest)["public.orders"].0, 20000);
    }
    bench.sql(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"")).await;
}

/// Files changed from outside, which no transaction id tells.
#[tokio::test]
async fn a_change_without_a_trace_is_noticed_and_everything_is_read() {
    for (reading, whole_reason) in [(Reading::Changed, true), (Reading::Paranoid, false)] {
        let cluster = TestCluster::private(15, &[]);
        let database = cluster.create_database();
        let policy = ChangePolicy { continuity: Continuity::Token, ..ChangePolicy::default() };
        let bench = Bench { database, repository: repository().await, policy };
        bench.sql(ORDERS).await;
        bench.run(&bench.repository, Reading::Changed).await;
        let mut client = bench.database.client().await;
        client.execute("CHECKPOINT").await.unwrap();
        let rows = client.query("SELECT pg_relation_filepath('orders')").await.unwrap();
        let file = cluster.data_directory().join(rows.one().unwrap().get(0).unwrap());
        drop(client);
        cluster.stop(basekeep_testkit::Shutdown::Fast);
        let patched: Vec<u8> = std::fs::read(&file)
            .unwrap()
            .into_iter()
            .map(|byte| if byte == b'x' { b'y' } else { byte })
            .collect();
        std::fs::write(&file, patched).unwrap();
        cluster.start();

        let (report, events) = bench.run(&bench.repository, reading).await;
        let note = what_was_read(&report.manifest);
        assert!(!note.differing.is_empty(), "{note:?}");
        assert!(note.differing.iter().all(|what| what.contains("orders")), "{note:?}");
        assert!(!report.is_complete(), "the exit code must not be 0");
        assert_eq!((report.manifest.totals.taken_over_bytes, note.reason.is_some()), (0, whole_reason));
        let told = |event: &Event| matches!(event, Event::Warning { code, .. } if code == "change-detection");
        assert_eq!(events.iter().filter(|event| told(event)).count(), 1);
        let whole = bench.run(&repository().await, Reading::Full).await.0.manifest;
        let orders = |manifest: &Manifest| contents(manifest)["public.orders"];
        assert_eq!(orders(&report.manifest), orders(&whole), "the snapshot has what is there now");
    }
}
