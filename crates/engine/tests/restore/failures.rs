//! An object that fails is named with the server's reason, what needs it is skipped with that reason, the rest comes back.

use basekeep_engine::restore::FailedObject;
use basekeep_testkit::{TestCluster, TestDatabase, load_sql};

use crate::support::{Backup, backed_up, into, restore};
use crate::tampered::{is, with_entries, with_files};

const SHOP: &str = "
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TABLE customers (id int PRIMARY KEY, mood mood, town text);
    CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, note text);
    CREATE TABLE lonely (id int PRIMARY KEY, value text);
    CREATE INDEX customers_town ON customers (town);
    CREATE VIEW happy AS SELECT id FROM customers WHERE mood = 'good';
    COMMENT ON VIEW happy IS 'those';
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM orders;
    INSERT INTO customers SELECT n, 'good', 'town ' || n % 7 FROM generate_series(1, 1000) AS n;
    INSERT INTO orders SELECT n, n % 1000 + 1, 'note' FROM generate_series(1, 5000) AS n;
    INSERT INTO lonely SELECT n, 'x' FROM generate_series(1, 10) AS n;
    REFRESH MATERIALIZED VIEW counted";

async fn shop() -> (TestDatabase, Backup) {
    let source = TestCluster::shared(15).create_database();
    load_sql(&source, SHOP).await;
    let backup = backed_up(&source).await;
    (source, backup)
}

async fn one(target: &TestDatabase, sql: &str) -> String {
    let mut client = target.client().await;
    let rows = client.query(sql).await.unwrap();
    rows.iter().next().unwrap().get(0).unwrap_or("NULL").to_owned()
}

fn failed<'a>(failed: &'a [FailedObject], object: &str) -> &'a FailedObject {
    failed.iter().find(|f| f.object == object).unwrap_or_else(|| panic!("{object} is not among {failed:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_failed_object_is_skipped_and_all_others_come_back() {
    let (_source, backup) = shop().await;
    let backup = with_entries(backup, |entry| {
        if is(entry, "TYPE", "mood") {
            entry.defn = Some("CREATE EXTENSION basekeep_does_not_exist;\n".into());
        }
    })
    .await;
    let target = TestCluster::shared(15).create_database();
    let report = restore(&backup, &into(&target.options())).await.unwrap();

    let cause = failed(&report.failed, "type public.mood");
    assert!(cause.reason.contains("basekeep_does_not_exist") && !cause.skipped, "{cause:?}");
    for (object, needs) in [
        ("table public.customers", "type public.mood"),
        ("rows of public.customers", "table public.customers"),
        ("view public.happy", "table public.customers"),
        ("index public.customers_town", "table public.customers"),
        ("comment on view public.happy", "view public.happy"),
    ] {
        let lost = failed(&report.failed, object);
        assert!(lost.skipped, "{lost:?}");
        assert_eq!(lost.reason, format!("needs {needs}, which was not restored"), "{object}");
    }
    assert!(report.failed.iter().any(|f| f.object.contains("orders_customer_fkey") && f.skipped));
    assert_eq!(one(&target, "SELECT count(*) FROM orders").await, "5000");
    assert_eq!(one(&target, "SELECT count(*) FROM lonely").await, "10");
    assert_eq!(one(&target, "SELECT n FROM counted").await, "5000");
    assert_eq!(one(&target, "SELECT count(*) FROM pg_constraint WHERE conname = 'orders_pkey'").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_the_rows_violate_is_named_and_the_rows_stay() {
    let (_source, backup) = shop().await;
    let backup = with_entries(backup, |entry| {
        if is(entry, "INDEX", "customers_town") {
            entry.defn = Some("CREATE UNIQUE INDEX customers_town ON public.customers (town);\n".into());
        }
    })
    .await;
    let target = TestCluster::shared(15).create_database();
    let report = restore(&backup, &into(&target.options())).await.unwrap();
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    let lost = failed(&report.failed, "index public.customers_town");
    assert!(lost.reason.contains("23505") && !lost.skipped, "{lost:?}");
    assert!(!lost.reason.contains("town 1"), "no row value is told: {lost:?}");
    assert_eq!(one(&target, "SELECT count(*) FROM customers").await, "1000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_which_another_cannot_be_made_takes_it_along() {
    let (_source, backup) = shop().await;
    let backup = with_entries(backup, |entry| {
        if is(entry, "CONSTRAINT", "customers customers_pkey") {
            entry.defn = Some(
                "ALTER TABLE ONLY public.customers ADD CONSTRAINT customers_pkey PRIMARY KEY (town);\n"
                    .into(),
            );
        }
    })
    .await;
    let target = TestCluster::shared(15).create_database();
    let report = restore(&backup, &into(&target.options())).await.unwrap();
    let key = report.failed.iter().find(|f| f.object.contains("customers_pkey")).unwrap();
    assert!(!key.skipped && key.reason.contains("23505"), "{key:?}");
    let foreign = report.failed.iter().find(|f| f.object.contains("orders_customer_fkey")).unwrap();
    assert!(foreign.skipped, "{foreign:?}");
    assert_eq!(report.failed.len(), 2, "{:?}", report.failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_not_those_of_the_backup_are_refused() {
    let (_source, backup) = shop().await;
    let file = backup.manifest.tables.iter().find(|t| t.name == "orders").unwrap().file.clone();
    let backup = with_files(backup, |name, bytes| {
        (name == file).then(|| {
            let text = String::from_utf8(bytes).unwrap();
            text.replacen("\tnote\n", "\tNote\n", 1).into_bytes()
        })
    })
    .await;
    let target = TestCluster::shared(15).create_database();
    let report = restore(&backup, &into(&target.options())).await.unwrap();
    let lost = failed(&report.failed, "rows of public.orders");
    assert!(lost.reason.contains("differs from what was backed up"), "{lost:?}");
    assert_eq!(one(&target, "SELECT count(*) FROM orders").await, "0");
    assert_eq!(one(&target, "SELECT count(*) FROM customers").await, "1000");
    assert_eq!(report.rows, 1010);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_file_that_ends_early_is_refused() {
    let (_source, backup) = shop().await;
    let file = backup.manifest.tables.iter().find(|t| t.name == "lonely").unwrap().file.clone();
    let backup = with_files(backup, |name, bytes| {
        (name == file || name == "ranges").then(|| bytes[..bytes.len() / 2].to_vec())
    })
    .await;
    let target = TestCluster::shared(15).create_database();
    let report = restore(&backup, &into(&target.options())).await.unwrap();
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    failed(&report.failed, "rows of public.lonely");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_usable_range_index_everything_comes_back_all_the_same() {
    let (_source, backup) = shop().await;
    let backup =
        with_files(backup, |name, _| (name == "ranges").then(|| b"{\"version\":99}\n".to_vec())).await;
    let target = TestCluster::shared(15).create_database();
    let report = restore(&backup, &into(&target.options())).await.unwrap();
    assert_eq!(report.failed, []);
    assert_eq!(report.rows, 6010);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_table_is_shared_by_the_connections_and_a_wrong_part_empties_it() {
    let source = TestCluster::shared(15).create_database();
    load_sql(
        &source,
        "CREATE TABLE large (id int, filler text); CREATE TABLE small (id int);
        INSERT INTO large SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 250000) AS n;
        INSERT INTO small VALUES (1)",
    )
    .await;
    let backup = backed_up(&source).await;
    let target = TestCluster::shared(15).create_database();
    let report = restore(&backup, &into(&target.options())).await.unwrap();
    assert_eq!(report.failed, []);
    assert_eq!(report.rows, 250_001);
    let sums = "SELECT sum(hashtextextended(id::text || filler, 0)) FROM large";
    assert_eq!(one(&target, sums).await, one(&source, sums).await);

    // Swap the digests of two ranges: the sum still fits the table, so the index is used, and two units are refused.
    let backup = with_files(backup, |name, bytes| (name == "ranges").then(|| swap_digests(&bytes))).await;
    let target = TestCluster::shared(15).create_database();
    let report = restore(&backup, &into(&target.options())).await.unwrap();
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    failed(&report.failed, "rows of public.large");
    assert_eq!(one(&target, "SELECT count(*) FROM large").await, "0");
    assert_eq!(one(&target, "SELECT count(*) FROM small").await, "1");
}

fn swap_digests(ranges: &[u8]) -> Vec<u8> {
    let mut lines: Vec<serde_json::Value> = ranges
        .split(|&b| b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    let list = lines
        .iter_mut()
        .filter_map(|l| l.get_mut("ranges")?.as_array_mut())
        .find(|list| list.len() > 2)
        .unwrap();
    let last = list.len() - 1;
    let (first_digest, last_digest) = (list[0][4].clone(), list[last][4].clone());
    list[0][4] = last_digest;
    list[last][4] = first_digest;
    lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
}
