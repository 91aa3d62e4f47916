//! Rules against real snapshots: what is decided, and what becomes of rows.

use std::collections::HashMap;

use basekeep_testkit::{SAMPLE_PROJECT, TestCluster, TestDatabase, load_sql};

use super::rules::tests::rules;
use super::*;
use crate::snapshot_rows::SnapshotRows;
use crate::snapshot_rows::tests::{Backup, backed_up};

async fn prepare(backup: &Backup, text: &str) -> Result<Masks, EngineError> {
    let snapshot = listing::find(&backup.repository, "latest", None).await.unwrap();
    Masks::prepare(&rules(text).unwrap(), &backup.repository, &snapshot, &backup.contents).await
}

async fn problems(backup: &Backup, text: &str) -> String {
    let error = prepare(backup, text).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Usage);
    format!("{error} {}", error.hints().join(" "))
}

/// A table's rows as they come out, field by field.
async fn rows(backup: &Backup, masks: &Masks, schema: &str, name: &str) -> Vec<Vec<Option<String>>> {
    let table =
        backup.contents.manifest.tables.iter().find(|t| t.schema == schema && t.name == name).unwrap();
    let mask = masks.for_table(schema, name);
    let mut rows = SnapshotRows::open(&backup.repository, &backup.contents, table).unwrap();
    let mut found = Vec::new();
    while let Some(piece) = rows.next().await {
        let piece = piece.unwrap();
        let mut out = Vec::new();
        match &mask {
            Some(mask) => mask.apply(&piece, &mut out).unwrap(),
            None => out.extend_from_slice(&piece),
        }
        for line in lines(&out) {
            let mut buffer = Vec::new();
            let texts =
                fields(line).map(|f| f.text(&mut buffer).map(|t| String::from_utf8_lossy(t).into_owned()));
            found.push(texts.collect());
        }
    }
    found
}

fn rule(columns: &[&str], method: &str) -> String {
    format!("[[rule]]\ncolumns = {columns:?}\nmethod = {method}\n")
}

async fn shop() -> (TestDatabase, Backup) {
    let database = TestCluster::shared(16).create_database();
    let sql = r#"
        CREATE TABLE people (id int PRIMARY KEY, email varchar(255) UNIQUE, mobile text, name text NOT NULL, note text, code varchar(4) UNIQUE,
            born date, ref uuid, meta jsonb, loud text GENERATED ALWAYS AS (upper(name)) STORED);
        CREATE UNIQUE INDEX once ON people (lower(note)) WHERE born IS NOT NULL;
        INSERT INTO people SELECT n, 'p' || n || '@shop.test', '+49 170 ' || 1000000 + n, E'N\\' || n % 10, 'n' || n, n, '2000-01-01', md5(n::text)::uuid,
            jsonb_build_object('mail', 'p' || n || '@shop.test', 'n', n) FROM generate_series(1, 200) AS n;
        INSERT INTO people VALUES (1000, NULL, NULL, '', NULL, NULL, NULL, NULL, NULL);
        CREATE TABLE orders (id bigint PRIMARY KEY, person bigint REFERENCES people, contact text REFERENCES people (email), day date)
            PARTITION BY RANGE (day);
        CREATE TABLE orders_old PARTITION OF orders FOR VALUES FROM (MINVALUE) TO ('2024-01-01') PARTITION BY RANGE (id);
        CREATE TABLE orders_old_1 PARTITION OF orders_old DEFAULT;
        CREATE TABLE orders_new PARTITION OF orders DEFAULT;"#;
    let sql = sql.replace("id bigint PRIMARY KEY, person", "id bigint, person");
    load_sql(&database, &sql).await;
    load_sql(&database, "INSERT INTO orders SELECT n, n % 200 + 1, 'p' || n % 200 + 1 || '@shop.test', date '2023-12-01' + n FROM generate_series(1, 60) AS n;").await;
    let backup = backed_up(&database, 1 << 20).await;
    (database, backup)
}

#[tokio::test(flavor = "multi_thread")]
async fn masked_keys_still_match_each_other_and_stay_unique() {
    let (_database, backup) = shop().await;
    let text = [
        rule(&["public.people.id"], "\"hash\""),
        rule(&["people.email"], "\"email\""),
        rule(&["mobile"], "\"phone\""),
        rule(&["people.name"], "\"name\""),
        rule(&["people.born"], "\"null\""),
        rule(&["people.meta"], "\"json\"\npaths = { \"$.mail\" = \"email\" }"),
    ];
    let masks = prepare(&backup, &text.concat()).await.unwrap();
    let people = rows(&backup, &masks, "public", "people").await;
    assert_eq!(people.len(), 201);
    let ids: HashMap<&str, &str> = people
        .iter()
        .filter_map(|row| Some((row[0].as_deref()?, row[1].as_deref().unwrap_or_default())))
        .collect();
    assert_eq!(ids.len(), 201);
    assert!(people.iter().all(|row| row[0].as_deref().unwrap().parse::<i16>().is_ok()));
    let mut orders = 0;
    for partition in ["orders_old_1", "orders_new"] {
        for row in rows(&backup, &masks, "public", partition).await {
            let (person, contact) = (row[1].as_deref().unwrap(), row[2].as_deref().unwrap());
            assert_eq!(ids.get(person), Some(&contact));
            orders += 1;
        }
    }
    assert_eq!(orders, 60);
    let first = &people[0];
    assert!(first[1].as_deref().unwrap().ends_with("@example.com"));
    assert!(first[2].as_deref().unwrap().starts_with("+999"));
    assert!(first[3].as_deref().unwrap().contains(' ') && !first[3].as_deref().unwrap().contains('\\'));
    assert!(first[4].as_deref() == Some("n1") && first[6].is_none());
    assert!(first[8].as_deref().unwrap().contains(first[1].as_deref().unwrap()), "the same address in JSON");
    let last = people.iter().find(|row| row[1].is_none()).unwrap();
    assert!(last[2].is_none() && last[3].as_deref() == Some(""), "null stays null, nothing stays nothing");

    let plan = masks.plan();
    let follows = |table: &str, column: &str| {
        plan.columns.iter().find(|c| c.table == table && c.column == column).and_then(|c| c.follows.clone())
    };
    assert_eq!(follows("orders_old_1", "person").as_deref(), Some("public.people.id"));
    assert_eq!(follows("orders_new", "contact").as_deref(), Some("public.people.email"));
    assert_eq!(follows("people", "email"), None);
    assert!(masks.for_table("public", "orders_new").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_secret_gives_the_same_masks_and_a_rule_for_a_table_covers_its_partitions() {
    let (_database, backup) = shop().await;
    let text = [rule(&["public.orders.day"], "\"null\""), rule(&["*.contact"], "\"hash\"")].concat();
    let masks = prepare(&backup, &text).await.unwrap();
    let again = prepare(&backup, &text).await.unwrap();
    for partition in ["orders_old_1", "orders_new"] {
        let found = rows(&backup, &masks, "public", partition).await;
        assert!(!found.is_empty() && found.iter().all(|row| row[3].is_none()), "{partition}");
        assert_eq!(found, rows(&backup, &again, "public", partition).await);
    }
    let people = rows(&backup, &masks, "public", "people").await;
    assert!(
        people.iter().all(|row| row[1].as_deref().is_none_or(|email| email.len() == 26)),
        "it is referred to"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_would_break_the_data_are_refused_together() {
    let (_database, backup) = shop().await;
    for (columns, method, part) in [
        (["people.name"], "\"null\"", "it is never null"),
        (["people.id"], "\"null\"", "it is never null"),
        (["people.born"], "\"hash\"", "knows none for date"),
        (["people.id"], "\"email\"", "is for text"),
        (["people.email"], "\"constant\"\nvalue = \"x\"", "equal masks for different values"),
        (["people.note"], "\"partial\"", "equal masks for different values"),
        (["people.code"], "\"hash\"", "too short"),
        (["people.code"], "\"constant\"\nvalue = \"too long\"", "is no character varying(4)"),
        (["people.meta"], "\"hash\"", "knows none for jsonb"),
        (["people.nmae"], "\"hash\"", "no column people.nmae"),
    ] {
        let told = problems(&backup, &rule(&columns, method)).await;
        assert!(told.contains(part), "{columns:?} {method}: {told}");
    }
    let both = [
        rule(&["people.email"], "\"email\""),
        rule(&["orders.contact"], "\"keep\""),
        rule(&["people.name"], "\"null\""),
    ];
    let told = problems(&backup, &both.concat()).await;
    assert!(told.contains("need the same rule") && told.contains("never null"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_looks_personal_and_is_not_covered_is_named() {
    let (_database, backup) = shop().await;
    let text = [
        rule(&["people.email"], "\"keep\""),
        rule(&["*.name", "*.fantasy"], "\"name\""),
        rule(&["loud"], "\"hash\""),
    ];
    let masks = prepare(&backup, &text.concat()).await.unwrap();
    let plan = masks.plan();
    let uncovered: Vec<String> =
        plan.uncovered.iter().map(|c| format!("{}.{}: {}", c.table, c.column, c.why)).collect();
    assert_eq!(
        uncovered,
        [
            "orders_new.contact: e-mail addresses stand in it",
            "orders_old_1.contact: e-mail addresses stand in it",
            "people.mobile: its name is that of a phone number",
            "people.meta: e-mail addresses stand in it",
        ]
    );
    assert!(plan.columns.iter().any(|c| c.column == "email" && c.method == "keep"));
    assert!(plan.notes.iter().any(|note| note.contains("*.fantasy")), "{:?}", plan.notes);
    assert!(
        plan.notes.iter().any(|note| note.contains("public.people.loud is generated")),
        "{:?}",
        plan.notes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_the_sample_projects_people_can_be_masked() {
    let database = TestCluster::shared(15).create_database();
    database.load(SAMPLE_PROJECT).await;
    let backup = backed_up(&database, 16 << 20).await;
    let text = [
        rule(&["auth.users.id"], "\"hash\""),
        rule(&["*.email"], "\"email\""),
        rule(&["auth.users.phone"], "\"phone\""),
        rule(
            &["auth.identities.identity_data"],
            "\"json\"\npaths = { \"$.email\" = \"email\", \"$.sub\" = \"hash\" }",
        ),
    ];
    let masks = prepare(&backup, &text.concat()).await.unwrap();
    let users = rows(&backup, &masks, "auth", "users").await;
    let public = rows(&backup, &masks, "public", "users").await;
    let columns = &backup.columns.table("public", "users").unwrap().columns;
    let id = columns.iter().position(|column| column.name == "id").unwrap();
    let known: std::collections::HashSet<_> = users.iter().map(|row| row[1].clone()).collect();
    assert!(!public.is_empty() && public.iter().all(|row| known.contains(&row[id])));
}
