//! Ways in which rows look as if nothing had happened to them.

use super::decide::moment;
use super::rewinds::look;
use super::sight;
use basekeep_postgres::changes::{Continuity, continues};
use basekeep_postgres::{Client, quote_identifier};
use basekeep_testkit::TestCluster;

#[tokio::test]
async fn a_database_made_again_with_its_oid_from_an_older_copy_is_refused() {
    let cluster = TestCluster::private(15, &[]);
    let connect = async |database: &str| Client::connect(&cluster.options(database), "test").await.unwrap();
    let mut admin = connect("postgres").await;
    admin.execute("CREATE DATABASE app").await.unwrap();
    let mut client = connect("app").await;
    client
        .execute("CREATE TABLE public.t AS SELECT g AS id, 'as it was' AS v FROM generate_series(1, 50) g")
        .await
        .unwrap();
    client.close().await;
    admin.execute("CREATE DATABASE saved TEMPLATE app").await.unwrap();
    let mut client = connect("app").await;
    client.execute("UPDATE public.t SET v = 'as it is' WHERE id = 7").await.unwrap();
    let before = look(&mut client).await;
    client.close().await;
    admin.execute("DROP DATABASE app").await.unwrap();
    let oid = before.facts.database_oid;
    admin.execute(&format!("CREATE DATABASE app TEMPLATE saved OID = {oid}")).await.unwrap();
    // Same server process, same oids and files, no row newer than the first snapshot, as many as there were.
    let now = look(&mut connect("app").await).await;
    assert_eq!(now.facts.database_oid, oid);
    let same = |(old, new): (&sight::Seen, &sight::Seen)| {
        old.table.relfilenode == new.table.relfilenode && old.ranges[0].rows == new.ranges[0].rows
    };
    assert!(before.tables.values().zip(now.tables.values()).all(same));
    continues(&moment(&before.facts), &now.facts, Continuity::Process, None).unwrap_err();
}

#[tokio::test]
async fn a_database_that_nobody_touched_continues() {
    let cluster = TestCluster::shared(15);
    let database = cluster.create_database();
    let before = look(&mut database.client().await).await;
    let name = quote_identifier(database.name());
    let mut client = database.client().await;
    // Vacuum writes the database's row in place; settings have rows of their own.
    client.execute("CREATE TABLE public.t ()").await.unwrap();
    client.execute("VACUUM FREEZE").await.unwrap();
    client.execute(&format!("ALTER DATABASE {name} SET work_mem = '5MB'")).await.unwrap();
    let now = look(&mut client).await;
    assert!(now.facts.database_written < before.facts.xmin);
    continues(&moment(&before.facts), &now.facts, Continuity::Process, None).unwrap();
    client.execute("ROLLBACK").await.unwrap();
    client
        .execute(&format!(
            "GRANT CONNECT ON DATABASE {name} TO PUBLIC; ALTER DATABASE {name} CONNECTION LIMIT 90"
        ))
        .await
        .unwrap();
    let altered = look(&mut client).await;
    continues(&moment(&before.facts), &altered.facts, Continuity::Process, None).unwrap_err();
}

#[tokio::test]
async fn a_label_that_was_renamed_while_the_backup_read_is_not_taken_over_when_it_is_renamed_back() {
    let database = TestCluster::shared(15).create_database();
    let mut writer = database.client().await;
    writer
        .execute("CREATE TYPE public.mood AS ENUM ('sad', 'ok'); CREATE TABLE public.t (m public.mood); INSERT INTO public.t VALUES ('sad')")
        .await
        .unwrap();
    let mut reader = database.client().await;
    let facts = sight::begin(&mut reader).await;
    let tables = sight::tables(&mut reader).await.unwrap();
    assert!(sight::lock(&mut reader, &tables).await);
    writer.execute("ALTER TYPE public.mood RENAME VALUE 'sad' TO 'blue'").await.unwrap();
    let before = sight::read(&mut reader, facts, tables, None, &mut super::random::Random::new(1)).await;
    assert!(before.tables.values().all(|seen| seen.ranges[0].text == b"blue\n"));
    reader.execute("ROLLBACK").await.unwrap();
    writer.execute("ALTER TYPE public.mood RENAME VALUE 'blue' TO 'sad'").await.unwrap();
    let now = look(&mut reader).await;
    let counts = sight::compare(&mut reader, &before, &now).await.unwrap();
    assert_eq!((counts.unchanged, counts.incomparable), (0, 1));
}

#[tokio::test]
async fn a_base_type_with_elements_and_an_output_function_of_its_own_is_ineligible() {
    let database = TestCluster::shared(15).create_database();
    let mut client = database.client().await;
    client
        .execute(
            "CREATE TYPE public.spot;
             CREATE FUNCTION public.spot_in(cstring) RETURNS public.spot LANGUAGE internal IMMUTABLE STRICT AS 'point_in';
             CREATE FUNCTION public.spot_out(public.spot) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'point_out';
             CREATE TYPE public.spot (INPUT = public.spot_in, OUTPUT = public.spot_out, LIKE = point, ELEMENT = float8);
             CREATE TABLE public.t (s public.spot); CREATE TABLE public.arrays (a point[], b int[], c name, d oidvector)",
        )
        .await
        .unwrap();
    sight::begin(&mut client).await;
    for table in sight::tables(&mut client).await.unwrap() {
        assert_eq!(table.incremental_ineligible.is_some(), table.name == "t", "{}", table.name);
    }
}
