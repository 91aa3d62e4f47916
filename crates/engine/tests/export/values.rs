//! Rows as values, read back by those who read such files: the server's COPY, a JSON parser, DuckDB.

use std::path::Path;
use std::process::Command;

use basekeep_engine::export::{ExportOptions, Format};
use basekeep_engine::selection::Selection;
use basekeep_engine::{Interrupt, Silent, values::Numbers};
use basekeep_postgres::{Client, quote_identifier};
use basekeep_testkit::{ODD_CATALOG, SAMPLE_PROJECT, TestCluster, TestDatabase, duckdb, load_sql};

use super::{export_to, fixture, psql};
use crate::support::{Backup, backed_up};

async fn one(client: &mut Client, sql: &str) -> String {
    let rows = client.query(sql).await.unwrap();
    rows.iter().next().and_then(|row| row.get(0)).unwrap_or_default().to_owned()
}

/// Loads each CSV file into a table of the same columns and compares the rows as the server shows them.
async fn csv_comes_back(major: u32, text: &str, least: usize) {
    let cluster = TestCluster::shared(major);
    let (source, backup) = fixture(&cluster, text).await;
    let folder = tempfile::tempdir().unwrap();
    let report = export_to(&backup, &ExportOptions::new([Format::Csv]), folder.path()).await.unwrap();
    assert_eq!(report.failed, []);
    let files = report.files.iter().filter(|file| file.name.starts_with("csv/")).count();
    assert_eq!(files, backup.manifest.tables.len());
    assert_eq!(report.rows, backup.manifest.totals.rows);
    let mut client = source.client().await;
    client.execute("CREATE SCHEMA probe").await.unwrap();
    let mut loaded = 0;
    for table in &backup.manifest.tables {
        let file = folder.path().join(format!("csv/{}/{}.csv", table.schema, table.name));
        if !file.exists() {
            // Its name is none for a file, and was changed.
            continue;
        }
        let relation = format!("{}.{}", quote_identifier(&table.schema), quote_identifier(&table.name));
        let columns = format!(
            "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
              WHERE attrelid = '{}'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
            relation.replace('\'', "''")
        );
        let columns = one(&mut client, &columns).await;
        let condition = table.condition.clone().unwrap_or_default();
        let rows = format!("SELECT {columns} FROM ONLY {relation} {condition}");
        let probe = format!("probe.t{}", table.dump_id);
        client.execute(&format!("CREATE TABLE {probe} AS {rows} LIMIT 0")).await.unwrap();
        let script = folder.path().join("load.sql");
        std::fs::write(
            &script,
            format!("\\copy {probe} FROM '{}' WITH (FORMAT csv, HEADER)\n", file.display()),
        )
        .unwrap();
        psql(&source, &script);
        let differing = format!(
            "SELECT (SELECT count(*) FROM {probe}) || ' ' || count(*) FROM
               (SELECT \"its row\"::text FROM {probe} AS \"its row\" EXCEPT ALL SELECT \"its row\"::text FROM ({rows}) AS \"its row\") AS d"
        );
        assert_eq!(one(&mut client, &differing).await, format!("{} 0", table.rows), "{relation}");
        loaded += 1;
    }
    assert!(loaded >= least, "{loaded}");
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_of_the_odd_catalog_comes_back_through_copy() {
    csv_comes_back(18, ODD_CATALOG, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_of_the_sample_project_comes_back_through_copy() {
    csv_comes_back(15, SAMPLE_PROJECT, 20).await;
}

async fn numbers() -> (TestDatabase, Backup) {
    let source = TestCluster::shared(16).create_database();
    let sql = "CREATE TABLE numbers (id bigint, n numeric, f float8, empty text);
               INSERT INTO numbers VALUES (1, 1.50, 0.1, ''), (9007199254740993, 12345678901234567890.5, 'NaN', NULL);
               CREATE TABLE other (); INSERT INTO other DEFAULT VALUES";
    load_sql(&source, sql).await;
    let backup = backed_up(&source).await;
    (source, backup)
}

#[tokio::test(flavor = "multi_thread")]
async fn json_keeps_numbers_exact_as_strings_unless_told_otherwise() {
    let (_source, backup) = numbers().await;
    let folder = tempfile::tempdir().unwrap();
    let formats = [Format::Json, Format::JsonLines];
    export_to(&backup, &ExportOptions::new(formats), folder.path()).await.unwrap();
    let lines = std::fs::read_to_string(folder.path().join("jsonl/public/numbers.jsonl")).unwrap();
    assert_eq!(
        lines,
        "{\"id\":1,\"n\":1.50,\"f\":0.1,\"empty\":\"\"}\n\
         {\"id\":\"9007199254740993\",\"n\":\"12345678901234567890.5\",\"f\":\"NaN\",\"empty\":null}\n"
    );
    let array = std::fs::read(folder.path().join("json/public/other.json")).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&array).unwrap(), serde_json::json!([{}]));
    let options = ExportOptions { numbers: Numbers::AsIs, overwrite: true, ..ExportOptions::new(formats) };
    export_to(&backup, &options, folder.path()).await.unwrap();
    let lines = std::fs::read_to_string(folder.path().join("jsonl/public/numbers.jsonl")).unwrap();
    assert!(lines.contains("\"id\":9007199254740993,\"n\":12345678901234567890.5,\"f\":\"NaN\""), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_takes_the_values_of_one_table() {
    use basekeep_engine::export::{Target, export};
    let (_source, backup) = numbers().await;
    let to_stream = async |tables: &[&str]| {
        let selection =
            Selection { tables: tables.iter().map(|t| (*t).to_owned()).collect(), ..Selection::default() };
        let options = ExportOptions { selection, ..ExportOptions::new([Format::Csv]) };
        let file = tempfile::NamedTempFile::new().unwrap();
        let target = Target::Stream(Box::new(file.reopen().unwrap()));
        let observer: std::sync::Arc<dyn basekeep_engine::Observer> = std::sync::Arc::new(Silent);
        let never = Interrupt::never();
        let done = export(&backup.repository, &backup.snapshot, &options, target, &observer, &never).await;
        done.map(|_| std::fs::read_to_string(file.path()).unwrap())
    };
    let text = to_stream(&["public.numbers"]).await.unwrap();
    assert!(text.starts_with("id,n,f,empty\n1,1.50,0.1,\"\"\n"), "{text}");
    assert!(to_stream(&[]).await.unwrap_err().message().contains("one table"));
}

/// What DuckDB says, as CSV.
fn ask_duckdb(sql: &str) -> String {
    let output =
        Command::new(duckdb()).args(["-csv", "-noheader", "-nullvalue", "-", "-c", sql]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
}

const TYPES: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TABLE types (id int, b bool, s smallint, l bigint, d9 numeric(9,2), d18 numeric(18,4), d38 numeric(38,10), d0 numeric(5,-2), n numeric,
        f float4, g float8, day date, t timestamp, z timestamptz, u uuid, y bytea, j jsonb, a int[], e mood, x text);
    INSERT INTO types VALUES
        (1, true, -32768, 9223372036854775807, 1234567.89, -12345678901234.5678, 1234567890123456789012345678.0123456789, 12345, 1e30, 1.5, 0.1,
         '2024-02-29', '2024-02-29 12:30:15.25', '2024-02-29 12:30:15.25+05:30', '7d444840-9dc0-11d1-b245-5ffdce74fad2', '\x00ff', '{"a": 1}', '{1,NULL}', 'happy', 'ü"x'),
        (2, false, 0, 0, -0.01, 0, -1, 0, 'NaN', -1, 1e300, '1969-12-31', '1969-12-31 23:59:59.999999', '1900-01-01 00:00:00+00', NULL, '', 'null', '{}', 'sad', ''),
        (3, NULL, NULL, NULL, 'NaN', NULL, NULL, NULL, NULL, NULL, NULL, 'infinity', '-infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    CREATE TABLE nothing (id int, t text);
    CREATE TABLE no_columns ();
    CREATE TABLE lots AS SELECT n, n % 3 = 0 AS third, CASE WHEN n % 5 > 0 THEN repeat(md5(n::text), 10) END AS t FROM generate_series(1, 160000) AS n"#;

#[tokio::test(flavor = "multi_thread")]
async fn parquet_is_read_by_duckdb() {
    let source = TestCluster::shared(16).create_database();
    load_sql(&source, TYPES).await;
    let backup = backed_up(&source).await;
    let folder = tempfile::tempdir().unwrap();
    let report = export_to(&backup, &ExportOptions::new([Format::Parquet]), folder.path()).await.unwrap();
    let file =
        |name: &str| folder.path().join(format!("parquet/public/{name}.parquet")).display().to_string();

    let described =
        ask_duckdb(&format!("SELECT column_type FROM (DESCRIBE SELECT * FROM '{}')", file("types")));
    let expected = "INTEGER BOOLEAN SMALLINT BIGINT DECIMAL(9,2) DECIMAL(18,4) DECIMAL(38,10) DECIMAL(7,0) VARCHAR FLOAT DOUBLE DATE TIMESTAMP \
                    TIMESTAMP WITH TIME ZONE UUID BLOB JSON JSON VARCHAR VARCHAR";
    assert_eq!(described.lines().map(|line| line.trim_matches('"')).collect::<Vec<_>>().join(" "), expected);
    let rows = ask_duckdb(&format!(
        "SELECT * REPLACE (hex(y) AS y, epoch_us(z) AS z, d0::VARCHAR AS d0) FROM '{}' ORDER BY id",
        file("types")
    ));
    assert_eq!(
        rows,
        "1,true,-32768,9223372036854775807,1234567.89,-12345678901234.5678,1234567890123456789012345678.0123456789,12300,1000000000000000000000000000000,\
         1.5,0.1,2024-02-29,2024-02-29 12:30:15.25,1709190015250000,7d444840-9dc0-11d1-b245-5ffdce74fad2,00FF,\"{\"\"a\"\": 1}\",\"[1,null]\",happy,\"ü\"\"x\"\n\
         2,false,0,0,-0.01,0.0000,-1.0000000000,0,NaN,-1.0,1e+300,1969-12-31,1969-12-31 23:59:59.999999,-2208988800000000,-,,null,[],sad,\n\
         3,-,-,-,-,-,-,-,-,-,-,-,-,-,-,-,-,-,-,-\n"
    );
    let lost: Vec<&str> = report.failed.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(lost.len(), 4, "{lost:?}");
    assert!(
        lost.iter().any(|reason| reason.contains("column day"))
            && lost.iter().any(|reason| reason.contains("no tables without columns"))
    );

    assert_eq!(ask_duckdb(&format!("SELECT count(*), count(t) FROM '{}'", file("nothing"))), "0,0\n");
    let sums = "count(*), sum(n), count(t), sum(length(t)), max(t), sum(CASE WHEN third THEN 1 END)";
    let found = ask_duckdb(&format!("SELECT {sums} FROM '{}'", file("lots")));
    let mut client = source.client().await;
    let expected = one(&mut client, &format!("SELECT concat_ws(',', {sums}) FROM lots")).await;
    assert_eq!(found.trim_end(), expected);
    let groups =
        ask_duckdb(&format!("SELECT count(DISTINCT row_group_id) FROM parquet_metadata('{}')", file("lots")));
    assert_eq!(groups, "2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_of_the_sample_project_has_every_row() {
    let cluster = TestCluster::shared(15);
    let (_source, backup) = fixture(&cluster, SAMPLE_PROJECT).await;
    let folder = tempfile::tempdir().unwrap();
    let report = export_to(&backup, &ExportOptions::new([Format::Parquet]), folder.path()).await.unwrap();
    assert_eq!(report.failed, []);
    let count = |path: &Path| ask_duckdb(&format!("SELECT count(*) FROM '{}'", path.display()));
    for table in &backup.manifest.tables {
        let path = folder.path().join(format!("parquet/{}/{}.parquet", table.schema, table.name));
        assert_eq!(count(&path), format!("{}\n", table.rows), "{}.{}", table.schema, table.name);
    }
}
