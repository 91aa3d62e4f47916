//! Against the server: `row_to_json` of the same rows.

use std::collections::HashMap;

use basekeep_postgres::{Client, quote_identifier, session};
use basekeep_testkit::{ODD_CATALOG, SAMPLE_PROJECT, TestCluster, TestDatabase, load_sql};

use super::*;
use crate::snapshot_rows::tests::{Backup, backed_up};
use crate::snapshot_rows::{self, SnapshotRows};
use crate::stored::manifest::Table;

/// Without white space between tokens, strings in one form; numbers stay as they are written.
fn canonical(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.unwrap() + 2
        } else {
            first.len_utf8()
        };
        let token = &rest[..length];
        if first == '"' {
            // Half of a surrogate pair is no text.
            let again =
                serde_json::from_str::<String>(token).map(|text| serde_json::to_string(&text).unwrap());
            out.push_str(&again.unwrap_or_else(|_| token.to_owned()));
        } else if !first.is_ascii_whitespace() {
            out.push(first);
        }
        rest = &rest[length..];
    }
    out
}

async fn ours(backup: &Backup, table: &Table, layout: JsonLayout) -> String {
    let stored = backup.columns.table(&table.schema, &table.name).unwrap();
    let columns = Column::of_table(&backup.columns, stored);
    let mut json = Json::new(table.name.clone(), &columns, layout, Numbers::AsIs);
    let mut rows = SnapshotRows::open(&backup.repository, &backup.contents, table).unwrap();
    let mut out = Vec::new();
    json.begin(&mut out).unwrap();
    while let Some(piece) = rows.next().await {
        json.rows(&piece.unwrap(), &mut out).unwrap();
    }
    json.end(&mut out).unwrap();
    assert_eq!(json.losses(), [] as [String; 0]);
    String::from_utf8(out).unwrap()
}

async fn the_servers(client: &mut Client, table: &Table, columns: &[String]) -> Vec<String> {
    let list: Vec<String> = columns.iter().map(|name| quote_identifier(name)).collect();
    let condition = table.condition.as_deref().unwrap_or_default();
    let relation = format!("{}.{}", quote_identifier(&table.schema), quote_identifier(&table.name));
    let sql = format!(
        "SELECT pg_catalog.row_to_json(\"its row\")::text FROM (SELECT {} FROM ONLY {relation} {condition}) AS \"its row\"",
        list.join(", ")
    );
    let rows = client.query(&sql).await.unwrap();
    rows.iter().map(|row| row.get(0).unwrap().to_owned()).collect()
}

/// What is not the same text on both sides, in canonical form and sorted.
fn rest<'a>(ours: impl Iterator<Item = &'a str>, theirs: Vec<String>) -> (Vec<String>, Vec<String>) {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for row in theirs {
        *counts.entry(row).or_default() += 1;
    }
    let mut left: Vec<String> = ours
        .filter(|row| match counts.get_mut(*row) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        })
        .map(canonical)
        .collect();
    let right = counts.iter().flat_map(|(row, count)| std::iter::repeat_n(canonical(row), *count));
    let mut right: Vec<String> = right.collect();
    left.sort();
    right.sort();
    (left, right)
}

async fn all_are_equal(database: &TestDatabase) {
    let backup = backed_up(database, 1 << 20).await;
    let mut client = database.client().await;
    session::pin(&mut client).await.unwrap();
    let mut compared = 0;
    for table in &backup.contents.manifest.tables {
        let columns = snapshot_rows::columns(&backup.contents, table).unwrap();
        let theirs = the_servers(&mut client, table, &columns).await;
        let text = ours(&backup, table, JsonLayout::Lines).await;
        assert_eq!(text.lines().count() as u64, table.rows, "{}", table.name);
        let (left, right) = rest(text.lines(), theirs);
        assert_eq!(left, right, "{}.{}", table.schema, table.name);
        compared += table.rows;
        let array = ours(&backup, table, JsonLayout::Array).await;
        let array: Vec<&serde_json::value::RawValue> = serde_json::from_str(&array).unwrap();
        assert_eq!(array.iter().map(|row| row.get()).collect::<Vec<_>>(), text.lines().collect::<Vec<_>>());
    }
    assert!(compared > 100, "{compared}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_odd_catalog_is_what_row_to_json_says_on_15() {
    let database = TestCluster::shared(15).create_database();
    database.load(ODD_CATALOG).await;
    all_are_equal(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_odd_catalog_is_what_row_to_json_says_on_18() {
    let database = TestCluster::shared(18).create_database();
    database.load(ODD_CATALOG).await;
    all_are_equal(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_project_is_what_row_to_json_says() {
    let database = TestCluster::shared(15).create_database();
    database.load(SAMPLE_PROJECT).await;
    all_are_equal(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_nest_and_moments_at_the_edge_are_what_row_to_json_says() {
    let database = TestCluster::shared(15).create_database();
    let sql = r#"
        CREATE TYPE pair AS (a int, "b ""quoted""" text);
        CREATE TYPE deep AS (p pair, ps pair[], at timestamptz, j jsonb, e box[]);
        CREATE DOMAIN short AS varchar(20)[];
        CREATE DOMAIN money_like AS numeric(12,2);
        CREATE TABLE nested (d deep, ds deep[], s short, m money_like[], v int2vector, o oidvector, x "char", r int4multirange, c char(5)[]);
        INSERT INTO nested VALUES
            (ROW(ROW(1, E'x"y\\z,\n(t)\t\x0b'), ARRAY[ROW(NULL, '')::pair, NULL], '2024-02-29 12:30:15.25+05:30', '{"a": [1, 1e400, "\u00e9"]}',
                 ARRAY['(1,2),(0,0)'::box, NULL]),
             ARRAY[ROW(NULL, '{}', 'infinity', 'null', '{}')::deep, ROW(ROW(NULL, NULL), NULL, '0044-03-15 BC', '"s"', NULL)::deep],
             ARRAY['a', NULL, 'NULL', '', E'\\"', '{},']::short, ARRAY[1.10, 'NaN', -0.01]::numeric[], '1 2 3', '1 2', 'q', '{[1,2),(5,9]}', ARRAY['a', NULL]),
            (NULL, '[0:1]={NULL,NULL}', '{}', '[2:3][1:1]={{1},{2}}', '', '', '', '{}', '{}');
        CREATE TABLE moments AS SELECT 'infinity'::date AS d, '-infinity'::timestamp AS t, 'infinity'::timestamptz AS z
            UNION ALL SELECT '4713-01-01 BC', '4713-01-01 00:00:00.000001 BC', '0001-01-01 00:00:00+00 BC'
            UNION ALL SELECT '5874897-12-31', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00'
            UNION ALL SELECT '2024-02-29', '2024-02-29 00:00:00', '2024-02-29 23:59:60+14:30';
        CREATE TABLE documents (j json);
        INSERT INTO documents VALUES (E'{"a" :\n\t[1,\r\n 2.50], "a": "\\n\\u0041"}'), ('  "x"  '), ('null'), (NULL);
        CREATE TABLE lots AS SELECT n, n * 0.5 AS half, (n % 7 = 0) AS seven, random() AS r, md5(n::text) AS t, E'a\\b"c' || chr(n % 31 + 1) AS odd
            FROM generate_series(1, 5000) AS n;"#;
    load_sql(&database, sql).await;
    all_are_equal(&database).await;
}

#[test]
fn rows_that_do_not_fit_the_columns_are_refused_without_showing_them() {
    let columns = [
        Column { name: "ok".into(), shape: Shape::Bool },
        Column {
            name: "list".into(),
            shape: Shape::Array { element: Box::new(Shape::Int4), delimiter: b',' },
        },
    ];
    for (line, part) in [
        ("t\t{1}\t2\n", "a row of t"),
        ("t\n", "a row of t"),
        ("secret\t{1}\n", "column ok"),
        ("t\tsecret\n", "column list"),
    ] {
        let mut json = Json::new("t".into(), &columns, JsonLayout::Lines, Numbers::AsIs);
        let error = json.rows(line.as_bytes(), &mut Vec::new()).unwrap_err();
        assert!(error.message().contains(part) && !error.message().contains("secret"), "{error}");
    }
}

#[test]
fn bytes_that_are_no_text_are_replaced_and_counted() {
    let columns = [Column { name: "t".into(), shape: Shape::Text }];
    let mut json = Json::new("t".into(), &columns, JsonLayout::Lines, Numbers::AsIs);
    let mut out = Vec::new();
    json.rows(b"good\nb\xffd\n", &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "{\"t\":\"good\"}\n{\"t\":\"b\u{fffd}d\"}\n");
    assert!(json.losses()[0].contains("1 rows"));
}
