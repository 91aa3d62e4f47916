//! Transaction ids near the ends of their circle: where they start again after 2^32, and 2^31 away from old rows.

use super::life::Life;
use super::rewinds::{look, use_ids};
use super::sight::{self, Counts};
use basekeep_postgres::Client;
use basekeep_testkit::{Shutdown, TestCluster, TestDatabase};

/// Transactions in a segment of `pg_xact`: 32 pages of 8 KiB, two bits for each.
const SEGMENT: u64 = 32 * 8192 * 4;
/// How far a server lets ids go beyond the oldest unfrozen row, less a margin.
const HOP: u64 = 2_000_000_000;

/// Lets no id pass before `next` (64 bits) is the next one, as if so many transactions had been used.
async fn advance(cluster: &TestCluster, next: u64) {
    let mut client = connect(cluster, "postgres").await;
    let mut now = next_id(&mut client).await;
    client.execute("UPDATE pg_database SET datallowconn = true").await.unwrap();
    while now < next {
        now = next.min(now + HOP);
        // Every row is frozen, or the server would refuse to go on.
        let rows = client.query("SELECT datname FROM pg_database").await.unwrap();
        for row in rows.iter() {
            connect(cluster, row.get(0).unwrap()).await.execute("VACUUM FREEZE").await.unwrap();
        }
        client.execute("CHECKPOINT").await.unwrap();
        cluster.stop(Shutdown::Fast);
        for segment in [now / SEGMENT, now / SEGMENT + 1] {
            let name = format!("pg_xact/{:04X}", segment % (1 << 12));
            if !cluster.data_directory().join(&name).exists() {
                cluster.write_file(&name, &vec![0; SEGMENT as usize / 4]);
            }
        }
        let (epoch, id) = (now >> 32, now & u64::from(u32::MAX));
        let program = cluster.server().bin.join("pg_resetwal");
        let output = cluster
            .command(&program)
            .arg("-D")
            .arg(cluster.data_directory())
            .args(["-x", &id.to_string(), "-e", &epoch.to_string()])
            .env_remove("LD_LIBRARY_PATH")
            .current_dir(cluster.socket_directory())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        cluster.start();
        client = connect(cluster, "postgres").await;
    }
}

async fn connect(cluster: &TestCluster, database: &str) -> Client {
    Client::connect(&cluster.options(database), "test").await.unwrap()
}

async fn next_id(client: &mut Client) -> u64 {
    let rows = client.query("SELECT pg_snapshot_xmax(pg_current_snapshot())").await.unwrap();
    rows.one().unwrap().parse(0).unwrap()
}

/// Writes between two snapshots whose ids are on both sides of `boundary`, and compares.
async fn across(cluster: &TestCluster, database: &TestDatabase, round: u64, boundary: u64) -> Counts {
    advance(cluster, boundary - 60).await;
    let mut writer = database.client().await;
    let mut reader = database.client().await;
    let mut open = database.client().await;
    let update = |id: u64| format!("UPDATE public.t SET v = 'round {round}' WHERE id = {}", id + round);
    open.execute(&format!("BEGIN; {}", update(20))).await.unwrap();
    writer.execute(&update(120)).await.unwrap();
    let before = look(&mut reader).await;
    reader.execute("ROLLBACK").await.unwrap();
    assert!(before.facts.xmin < boundary);
    writer.execute(&format!("DELETE FROM public.t WHERE id = {}", 220 + round)).await.unwrap();
    use_ids(&mut writer, 100).await;
    writer.execute(&update(320)).await.unwrap();
    open.execute("COMMIT").await.unwrap();
    let now = look(&mut reader).await;
    assert!(now.facts.xmin > boundary);
    let mut counts = sight::compare(&mut reader, &before, &now).await.unwrap();
    // Three rows far from each other.
    assert!(counts.changed - counts.needless >= 3, "{counts:?}");
    reader.execute("ROLLBACK").await.unwrap();
    drop(reader);
    counts += Life::begin(database).await.live(boundary, 6).await;
    counts
}

#[tokio::test]
async fn ids_may_pass_the_ends_of_their_circle_between_two_snapshots() {
    let cluster = TestCluster::private(
        15,
        &[("autovacuum", "off"), ("max_prepared_transactions", "20"), ("allow_in_place_tablespaces", "on")],
    );
    let database = cluster.create_database();
    let mut client = database.client().await;
    client.execute("CREATE TABLESPACE elsewhere LOCATION ''").await.unwrap();
    client
        .execute(
            "CREATE TABLE public.t AS SELECT g AS id, repeat('x', 700) AS v FROM generate_series(1, 500) g",
        )
        .await
        .unwrap();
    let oldest = next_id(&mut client).await;
    drop(client);
    // 2^31 after the oldest rows; where ids begin again; where the oldest rows seem to be new; and both once more.
    let boundaries = [oldest + (1 << 31), 1 << 32, oldest + (1 << 32), 3 << 31, 2 << 32];
    for (round, boundary) in boundaries.into_iter().enumerate() {
        let counts = across(&cluster, &database, round as u64, boundary).await;
        println!("{boundary}: {counts:?}");
    }
}
