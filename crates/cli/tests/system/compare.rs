//! Whether two databases are the same, as stock programs and the servers themselves see it.

use std::collections::BTreeMap;
use std::process::Command;

use basekeep_postgres::{Client, quote_identifier};
use basekeep_testkit::TestDatabase;

/// Definitions as one pg_dump prints them, and every table's content as the server hashes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) definitions: String,
    pub(crate) contents: BTreeMap<String, String>,
}

/// `at_least` is the newest major version of the two databases that will be compared: one pg_dump describes both.
pub(crate) async fn picture(database: &TestDatabase, at_least: u32) -> Picture {
    Picture { definitions: definitions(database, at_least), contents: contents(database).await }
}

pub(crate) fn definitions(database: &TestDatabase, at_least: u32) -> String {
    let program = basekeep_testkit::pg_dump(at_least);
    let output =
        Command::new(program).args(["--schema-only", "-d"]).arg(database.socket_url()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // pg_dump draws a new key for these two lines in every run.
    text.lines().filter(|l| !l.starts_with("\\restrict ") && !l.starts_with("\\unrestrict ")).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    )
}

async fn contents(database: &TestDatabase) -> BTreeMap<String, String> {
    let mut client = database.client().await;
    client.execute("SET timezone = 'UTC'; SET extra_float_digits = 3; SET lc_monetary = 'C'").await.unwrap();
    let mut found = BTreeMap::new();
    let relations = client
        .query(
            "SELECT n.nspname, c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'S', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
             ORDER BY 1, 2",
        )
        .await
        .unwrap();
    let relations: Vec<[String; 3]> =
        relations.iter().map(|row| [0, 1, 2].map(|n| row.get(n).unwrap().to_owned())).collect();
    for [schema, name, kind] in relations {
        let relation = format!("{}.{}", quote_identifier(&schema), quote_identifier(&name));
        let value = content(&mut client, &relation, &kind).await;
        found.insert(relation, value);
    }
    let objects = "SELECT count(*), md5(string_agg(oid::text || ' ' || md5(lo_get(oid)), ',' ORDER BY oid))
                   FROM pg_largeobject_metadata";
    found.insert("large objects".into(), one_line(&mut client, objects).await);
    client.close().await;
    found
}

async fn content(client: &mut Client, relation: &str, kind: &str) -> String {
    match kind {
        "S" => one_line(client, &format!("SELECT last_value, is_called FROM {relation}")).await,
        "m" => {
            let sql = format!(
                "SELECT relispopulated FROM pg_class WHERE oid = '{}'::regclass",
                relation.replace('\'', "''")
            );
            if one_line(client, &sql).await == "f" {
                return "not populated".into();
            }
            rows(client, relation).await
        }
        _ => rows(client, &format!("ONLY {relation}")).await,
    }
}

async fn rows(client: &mut Client, relation: &str) -> String {
    let sql = format!(
        "SELECT count(*), md5(string_agg(md5(textin(record_out(t))), ',' ORDER BY md5(textin(record_out(t)))))
         FROM {relation} AS t"
    );
    one_line(client, &sql).await
}

async fn one_line(client: &mut Client, sql: &str) -> String {
    let rows = client.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let row = rows.iter().next().unwrap();
    (0..row.len()).map(|n| row.get(n).unwrap_or("NULL")).collect::<Vec<_>>().join(" ")
}

/// Panics with the first lines that differ.
#[track_caller]
pub(crate) fn assert_same(expected: &Picture, found: &Picture) {
    if expected.definitions != found.definitions {
        let differing = expected.definitions.lines().zip(found.definitions.lines()).find(|(a, b)| a != b);
        let (a, b) = differing.unwrap_or(("(one text ends earlier)", ""));
        let folder = tempfile::tempdir().unwrap().keep();
        std::fs::write(folder.join("expected.sql"), &expected.definitions).unwrap();
        std::fs::write(folder.join("found.sql"), &found.definitions).unwrap();
        panic!("definitions differ (see {}):\n- {a}\n+ {b}", folder.display());
    }
    for (relation, content) in &expected.contents {
        assert_eq!(found.contents.get(relation), Some(content), "content of {relation}");
    }
    assert_eq!(expected.contents.len(), found.contents.len(), "the same relations exist");
}
