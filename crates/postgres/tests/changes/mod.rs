//! The argument of change detection, tried on random histories: whatever happened between two snapshots, a range of blocks that is
//! called unchanged has the COPY text that it had.
//!
//! `BASEKEEP_HISTORIES` is the number of histories for each server, `BASEKEEP_SEED` the seed of the first life. A failure
//! prints the seed of its life and every statement of it.

mod decide;
mod life;
mod random;
mod rewinds;
mod sight;
mod statements;
mod traps;
mod wraparound;

use basekeep_testkit::TestCluster;
use life::Life;
use sight::Counts;

/// Histories in one life: tables grow old, ranges drift, transactions stay open across several snapshots.
const HISTORIES_OF_A_LIFE: u32 = 12;
/// Lives in one database, before its catalog has grown.
const LIVES_OF_A_DATABASE: u64 = 25;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => default,
    }
}

async fn histories(major: u32) {
    let histories = setting("BASEKEEP_HISTORIES", 480);
    let first = setting("BASEKEEP_SEED", u64::from(major) << 32);
    let cluster = TestCluster::private(
        major,
        &[
            ("max_prepared_transactions", "20"),
            ("autovacuum", "off"),
            ("lc_monetary", "C"),
            ("allow_in_place_tablespaces", "on"),
        ],
    );
    let rows: String = (0..90).map(|id| format!("{id}\tfrozen\n")).collect();
    cluster.write_file("rows.txt", rows.as_bytes());
    let mut counts = Counts::default();
    let mut database = cluster.create_database();
    let mut client = database.client().await;
    client.execute("CREATE TABLESPACE elsewhere LOCATION ''").await.unwrap();
    let mut life = Life::begin(&database).await;
    for number in 0..histories.div_ceil(u64::from(HISTORIES_OF_A_LIFE)) {
        if number % LIVES_OF_A_DATABASE == LIVES_OF_A_DATABASE - 1 {
            drop(life);
            database = cluster.create_database();
            life = Life::begin(&database).await;
        }
        counts += life.live(first + number, HISTORIES_OF_A_LIFE).await;
    }
    println!("PostgreSQL {major}: {counts:?}");
    // All of it is worth nothing when everything is called changed, or nothing is.
    let fifth = (counts.unchanged + counts.changed) / 5;
    assert!(counts.unchanged > fifth && counts.changed > fifth && counts.incomparable > 0, "{counts:?}");
}

#[tokio::test]
async fn what_is_called_unchanged_is_unchanged_on_15() {
    histories(15).await;
}

#[tokio::test]
async fn what_is_called_unchanged_is_unchanged_on_16() {
    histories(16).await;
}

#[tokio::test]
async fn what_is_called_unchanged_is_unchanged_on_17() {
    histories(17).await;
}

#[tokio::test]
async fn what_is_called_unchanged_is_unchanged_on_18() {
    histories(18).await;
}
