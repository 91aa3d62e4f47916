//! Servers that do not continue the history that a snapshot saw: everything must be read then.

use super::decide::moment;
use super::random::Random;
use super::sight::{self, Sight};
use basekeep_postgres::Client;
use basekeep_postgres::changes::{Continuity, continues};
use basekeep_testkit::{Shutdown, TestCluster, TestDatabase};
use std::process::Command;
use std::time::{Duration, Instant};

/// A table with rows in a few blocks.
const TABLE: &str =
    "CREATE TABLE public.t AS SELECT g AS id, repeat('x', 500) AS v FROM generate_series(1, 400) g";

/// A snapshot of the database and everything in it.
pub(crate) async fn look(client: &mut Client) -> Sight {
    let facts = sight::begin(client).await;
    let tables = sight::tables(client).await.unwrap();
    assert!(sight::lock(client, &tables).await);
    sight::read(client, facts, tables, None, &mut Random::new(1)).await
}

/// Looks and lets go.
async fn look_once(database: &TestDatabase) -> Sight {
    let mut client = database.client().await;
    look(&mut client).await
}

/// Writes and commits some transactions, each of which takes an id.
pub(crate) async fn use_ids(client: &mut Client, how_many: u32) {
    let sql = format!(
        "DO $$ BEGIN FOR i IN 1..{how_many} LOOP PERFORM pg_catalog.pg_current_xact_id(); COMMIT; END LOOP; END $$"
    );
    client.execute(&sql).await.unwrap();
}

fn refusal(before: &Sight, now: &Sight) -> String {
    continues(&moment(&before.facts), &now.facts, Continuity::Process, None)
        .expect_err("this is not the history that the first snapshot saw")
}

fn copy_files(from: &std::path::Path, to: &std::path::Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[tokio::test]
async fn a_folder_put_back_is_refused_also_when_ids_have_passed() {
    let cluster = TestCluster::private(15, &[]);
    let database = cluster.create_database();
    database.client().await.execute(TABLE).await.unwrap();
    let (data, saved) = (cluster.data_directory(), cluster.socket_directory().join("saved"));
    cluster.stop(Shutdown::Fast);
    copy_files(&data, &saved);
    cluster.start();
    let mut client = database.client().await;
    client.execute("UPDATE public.t SET v = 'first' WHERE id < 10").await.unwrap();
    let before = look_once(&database).await;

    cluster.stop(Shutdown::Fast);
    copy_files(&saved, &data);
    cluster.start();
    let mut client = database.client().await;
    let rewound = look_once(&database).await;
    refusal(&before, &rewound);
    // The same ids again, for something else, and more: by ids and position alone it looks like what comes after.
    client.execute("UPDATE public.t SET v = 'other' WHERE id < 10").await.unwrap();
    use_ids(&mut client, 200).await;
    client.execute("SELECT pg_switch_wal()").await.unwrap();
    let now = look_once(&database).await;
    assert!(now.facts.xmin > before.facts.xmax && now.facts.wal_position > before.facts.wal_position);
    assert_eq!(now.facts.system_identifier, before.facts.system_identifier);
    assert_eq!(
        (now.facts.timeline, now.facts.database_oid),
        (before.facts.timeline, before.facts.database_oid)
    );
    assert!(refusal(&before, &now).contains("restarted"));
}

#[tokio::test]
async fn servers_on_copies_of_one_folder_are_told_apart() {
    let cluster = TestCluster::private(15, &[]);
    let database = cluster.create_database();
    database.client().await.execute(TABLE).await.unwrap();
    cluster.stop(Shutdown::Fast);
    let copy = cluster.copied(&[]);
    cluster.start();
    let before = look_once(&database).await;
    let mut elsewhere = Client::connect(&copy.options(database.name()), "test").await.unwrap();
    elsewhere.execute("UPDATE public.t SET v = 'elsewhere'").await.unwrap();
    use_ids(&mut elsewhere, 50).await;
    elsewhere.execute("SELECT pg_switch_wal()").await.unwrap();
    let now = look(&mut elsewhere).await;
    assert_eq!(now.facts.system_identifier, before.facts.system_identifier);
    refusal(&before, &now);
}

#[tokio::test]
async fn a_server_that_crashed_is_refused() {
    let cluster = TestCluster::private(15, &[("synchronous_commit", "off"), ("wal_writer_delay", "10s")]);
    let database = cluster.create_database();
    let mut client = database.client().await;
    client.execute(TABLE).await.unwrap();
    client.execute("CHECKPOINT; UPDATE public.t SET v = 'lost'").await.unwrap();
    let before = look_once(&database).await;
    cluster.stop(Shutdown::Immediate);
    cluster.start();
    let mut client = database.client().await;
    use_ids(&mut client, 50).await;
    let now = look_once(&database).await;
    refusal(&before, &now);
    assert_ne!(now.facts.crash_marker, before.facts.crash_marker);
}

#[tokio::test]
async fn a_backend_that_was_killed_is_noticed_although_the_postmaster_lives_on() {
    for major in [15, 18] {
        let cluster =
            TestCluster::private(major, &[("synchronous_commit", "off"), ("wal_writer_delay", "10s")]);
        let database = cluster.create_database();
        let mut client = database.client().await;
        client.execute(TABLE).await.unwrap();
        client.execute("CHECKPOINT; UPDATE public.t SET v = 'lost'").await.unwrap();
        let before = look_once(&database).await;
        let victim = database.client().await;
        assert!(
            Command::new("kill").args(["-9", &victim.backend_pid().to_string()]).status().unwrap().success()
        );
        let mut client = recovered(&database, victim).await;
        use_ids(&mut client, 50).await;
        client.execute("SELECT pg_switch_wal()").await.unwrap();
        let now = look_once(&database).await;
        assert_eq!(now.facts.postmaster_start, before.facts.postmaster_start);
        assert!(refusal(&before, &now).contains("crash"), "{major}");
    }
}

/// A session after the crash that `victim` dies of.
async fn recovered(database: &TestDatabase, mut victim: Client) -> Client {
    let end = Instant::now() + Duration::from_secs(30);
    while victim.execute("SELECT").await.is_ok() {
        assert!(Instant::now() < end, "the session lives on");
    }
    loop {
        match Client::connect(&database.options(), "test").await {
            // It may still be one of the last before the others are ended too.
            Ok(mut client) => match client.query("SELECT pg_is_in_recovery()").await {
                Ok(_) => return client,
                Err(_) => continue,
            },
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_standby_continues_its_own_history_until_it_is_promoted() {
    for major in [15, 18] {
        let primary = TestCluster::private(major, &[]);
        let database = primary.create_database();
        let mut writer = database.client().await;
        writer.execute(TABLE).await.unwrap();
        let standby = primary.standby(&[]);
        let mut reader = Client::connect(&standby.options(database.name()), "test").await.unwrap();
        caught_up(&mut writer, &mut reader).await;
        let before = look(&mut reader).await;
        assert!(before.facts.in_recovery && before.facts.unavailable.is_empty(), "{:?}", before.facts);
        reader.execute("ROLLBACK").await.unwrap();
        writer.execute("UPDATE public.t SET v = 'later' WHERE id = 50").await.unwrap();
        caught_up(&mut writer, &mut reader).await;

        let now = look(&mut reader).await;
        let counts = sight::compare(&mut reader, &before, &now).await.unwrap();
        assert!(counts.unchanged > 2 && counts.changed > 0 && counts.incomparable == 0, "{counts:?}");
        reader.execute("ROLLBACK").await.unwrap();
        // What the primary says belongs to another process.
        let of_primary = look_once(&database).await;
        refusal(&before, &of_primary);
        refusal(&of_primary, &now);

        reader.execute("SELECT pg_promote()").await.unwrap();
        reader.execute("UPDATE public.t SET v = 'promoted' WHERE id = 1").await.unwrap();
        let promoted = look(&mut reader).await;
        assert_eq!(promoted.facts.postmaster_start, now.facts.postmaster_start);
        assert!(refusal(&now, &promoted).contains("timeline"), "{major}");
    }
}

/// Waits until the standby has replayed what the primary has written.
async fn caught_up(primary: &mut Client, standby: &mut Client) {
    let rows = primary.query("SELECT pg_current_wal_flush_lsn()").await.unwrap();
    let position = rows.one().unwrap().get(0).unwrap().to_owned();
    let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn");
    let end = Instant::now() + Duration::from_secs(30);
    while standby.query(&sql).await.unwrap().one().unwrap().get(0) != Some("t") {
        assert!(Instant::now() < end, "the standby does not follow");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
