//! What changes the fingerprint of a table, and what does not.

use super::{catalog, connect, table};
use basekeep_testkit::{TestCluster, TestDatabase};

const SCHEMA: &str = "
CREATE SCHEMA other;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE inner_pair AS (m mood, n int);
CREATE TYPE pair AS (i inner_pair, t text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN moods AS mood[];
CREATE TYPE span AS RANGE (SUBTYPE = numeric);
CREATE TYPE apart AS ENUM ('x');
CREATE TABLE t (id int, v varchar(10), m mood, ms mood[], p pair, d moods, pos positive, s span, c text, g int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE nested (ps pair[]);
CREATE TABLE cash (price money);
INSERT INTO t (id) VALUES (1);
";

async fn fingerprint(database: &TestDatabase, name: &str) -> String {
    table(&catalog(&database.options()).await, name).fingerprint.clone()
}

#[tokio::test]
async fn what_changes_the_text_of_rows_changes_the_fingerprint() {
    for major in [15, 18] {
        let database = TestCluster::shared(major).create_database();
        let mut client = connect(&database.options()).await;
        client.execute(SCHEMA).await.unwrap();
        let mut before = fingerprint(&database, "t").await;
        for change in [
            "ALTER TABLE t ADD COLUMN added int",
            "ALTER TABLE t ADD COLUMN with_default int DEFAULT 7",
            "ALTER TABLE t DROP COLUMN added",
            "ALTER TABLE t ALTER COLUMN v TYPE varchar(20)",
            "ALTER TABLE t ALTER COLUMN v TYPE text",
            "ALTER TABLE t ALTER COLUMN c TYPE text COLLATE \"C\"",
            "ALTER TABLE t ALTER COLUMN g DROP EXPRESSION",
            "ALTER TYPE mood ADD VALUE 'great'",
            "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
            "ALTER TYPE inner_pair ADD ATTRIBUTE more int",
            "ALTER TYPE inner_pair DROP ATTRIBUTE more",
            "ALTER DOMAIN positive RENAME TO more_positive",
            "ALTER TYPE span SET SCHEMA other",
            "ALTER TABLE t ADD COLUMN g2 int GENERATED ALWAYS AS (1) STORED",
        ] {
            client.execute(change).await.unwrap_or_else(|error| panic!("{change}: {error}"));
            let after = fingerprint(&database, "t").await;
            assert_ne!(after, before, "{change} on {major}");
            before = after;
        }
        assert_eq!(before.len(), 64);
    }
}

#[tokio::test]
async fn nothing_else_changes_the_fingerprint() {
    let database = TestCluster::shared(15).create_database();
    let mut client = connect(&database.options()).await;
    client.execute(SCHEMA).await.unwrap();
    let before = fingerprint(&database, "t").await;
    for change in [
        "INSERT INTO t (id, m, p) VALUES (2, 'ok', ((ROW('sad', 1)), 'x'))",
        "UPDATE t SET id = id + 1",
        "ALTER TABLE t RENAME COLUMN v TO renamed",
        "ALTER TYPE pair RENAME ATTRIBUTE t TO renamed",
        "ALTER TABLE t ADD PRIMARY KEY (id)",
        "ALTER TABLE t ALTER COLUMN c SET DEFAULT 'x'",
        "ALTER TABLE t ALTER COLUMN c SET STORAGE EXTERNAL",
        "CREATE INDEX ON t (c)",
        "ALTER TYPE apart ADD VALUE 'y'",
        "ALTER DOMAIN positive DROP CONSTRAINT positive_check",
        "ALTER TABLE cash ADD COLUMN more int",
        "CREATE ROLE fingerprint_owner; ALTER TABLE t OWNER TO fingerprint_owner",
        "COMMENT ON TABLE t IS 'x'",
        "VACUUM FULL t",
    ] {
        client.execute(change).await.unwrap_or_else(|error| panic!("{change}: {error}"));
        assert_eq!(fingerprint(&database, "t").await, before, "{change}");
    }
}

#[tokio::test]
async fn labels_deep_inside_arrays_of_composites_count() {
    let database = TestCluster::shared(15).create_database();
    let mut client = connect(&database.options()).await;
    client.execute(SCHEMA).await.unwrap();
    let before = fingerprint(&database, "nested").await;
    client.execute("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'").await.unwrap();
    assert_ne!(fingerprint(&database, "nested").await, before);
}

#[tokio::test]
async fn money_depends_on_its_locale_and_nothing_else_does() {
    let database = TestCluster::shared(15).create_database();
    let mut client = connect(&database.options()).await;
    client.execute(SCHEMA).await.unwrap();
    let before = (fingerprint(&database, "cash").await, fingerprint(&database, "t").await);
    client.execute(&format!("ALTER DATABASE {} SET lc_monetary = 'C'", database.name())).await.unwrap();
    let after = (fingerprint(&database, "cash").await, fingerprint(&database, "t").await);
    assert_ne!(before.0, after.0);
    assert_eq!(before.1, after.1);
}

#[tokio::test]
async fn the_version_of_the_extension_of_a_type_counts() {
    let database = TestCluster::shared(15).create_database();
    let mut client = connect(&database.options()).await;
    client.execute("CREATE EXTENSION hstore; CREATE TABLE t (h hstore)").await.unwrap();
    let before = fingerprint(&database, "t").await;
    assert_eq!(table(&catalog(&database.options()).await, "t").incremental_ineligible, None);
    client.execute("UPDATE pg_extension SET extversion = '99' WHERE extname = 'hstore'").await.unwrap();
    assert_ne!(fingerprint(&database, "t").await, before);
}

#[tokio::test]
async fn types_whose_text_depends_on_other_objects_are_ineligible() {
    let database = TestCluster::shared(18).create_database();
    let mut client = connect(&database.options()).await;
    client
        .execute(
            "CREATE DOMAIN d AS regclass; CREATE TYPE c AS (r regtype[]); CREATE TYPE e AS RANGE (SUBTYPE = regrole);
             CREATE TABLE plain (a int, b text, c numeric[], d tstzrange, e int4multirange);
             CREATE TABLE r1 (x regclass); CREATE TABLE r2 (x d); CREATE TABLE r3 (x c[]); CREATE TABLE r4 (x e);
             CREATE TABLE r5 (x e_multirange); CREATE TABLE r6 (x aclitem[]); CREATE TABLE r7 (x r2);
             CREATE TABLE g (a text, x text GENERATED ALWAYS AS (a) STORED)",
        )
        .await
        .unwrap();
    let catalog = catalog(&database.options()).await;
    for table in &catalog.tables {
        let expected = table.name.starts_with('r');
        assert_eq!(
            table.incremental_ineligible.is_some(),
            expected,
            "{} {:?}",
            table.name,
            table.incremental_ineligible
        );
    }
}
