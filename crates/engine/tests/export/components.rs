//! One script for each component.

use std::path::PathBuf;

use basekeep_engine::export::{ExportOptions, Format};
use basekeep_testkit::{ODD_CATALOG, SAMPLE_PROJECT, TestCluster};

use super::sql::assert_same;
use super::{export_to, fixture, psql};
use crate::support::{assert_same_text, definitions};

/// The scripts in their order; the cluster has the roles.
fn scripts(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder.join("components")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files[0].ends_with("01-roles.sql"));
    files
}

async fn one_after_the_other(major: u32, text: &str) {
    let cluster = TestCluster::shared(major);
    let (source, backup) = fixture(&cluster, text).await;
    let folder = tempfile::tempdir().unwrap();
    export_to(&backup, &ExportOptions::new([Format::Components]), folder.path()).await.unwrap();
    let target = cluster.create_database();
    for script in scripts(folder.path()) {
        if !script.file_name().unwrap().to_str().unwrap().starts_with("copy-") {
            psql(&target, &script);
        }
    }
    assert_same(&source, &backup, &target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_give_the_whole_odd_catalog_one_after_the_other_15() {
    one_after_the_other(15, ODD_CATALOG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_give_the_whole_odd_catalog_one_after_the_other_18() {
    one_after_the_other(18, ODD_CATALOG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_give_the_whole_sample_project_one_after_the_other() {
    one_after_the_other(15, SAMPLE_PROJECT).await;
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// A database that has lost one component gets it back by its script alone, and nothing else changes.
#[tokio::test(flavor = "multi_thread")]
async fn each_script_alone_brings_back_what_a_database_has_lost() {
    let cluster = TestCluster::shared(15);
    let (source, backup) = fixture(&cluster, SAMPLE_PROJECT).await;
    let folder = tempfile::tempdir().unwrap();
    export_to(&backup, &ExportOptions::new([Format::Components]), folder.path()).await.unwrap();
    let before = definitions(&source);
    let losses = [
        (
            "16-policies.sql",
            "DO $$ DECLARE p record; BEGIN FOR p IN SELECT * FROM pg_policies LOOP
               EXECUTE format('DROP POLICY %I ON %I.%I', p.policyname, p.schemaname, p.tablename); END LOOP; END $$",
        ),
        (
            "15-row-security.sql",
            "DO $$ DECLARE t record; BEGIN FOR t IN SELECT oid::regclass AS name FROM pg_class
               WHERE relrowsecurity AND relkind IN ('r', 'p') LOOP
               EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', t.name); END LOOP; END $$",
        ),
        (
            "14-triggers.sql",
            "DO $$ DECLARE t record; BEGIN FOR t IN SELECT tgname, tgrelid::regclass AS tab FROM pg_trigger
               WHERE NOT tgisinternal AND tgparentid = 0 LOOP
               EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.tab); END LOOP; END $$",
        ),
        (
            "18-publications.sql",
            "DO $$ DECLARE p record; BEGIN FOR p IN SELECT pubname FROM pg_publication LOOP
               EXECUTE format('DROP PUBLICATION %I', p.pubname); END LOOP; END $$",
        ),
        (
            "19-event-triggers.sql",
            "DO $$ DECLARE t record; BEGIN FOR t IN SELECT evtname FROM pg_event_trigger LOOP
               EXECUTE format('DROP EVENT TRIGGER %I', t.evtname); END LOOP; END $$",
        ),
        ("17-grants.sql", "REVOKE ALL ON ALL TABLES IN SCHEMA public, auth, storage FROM PUBLIC, anon, authenticated"),
    ];
    for (script, loss) in losses {
        let file = folder.path().join("components").join(script);
        if !file.exists() {
            continue;
        }
        source.load(loss).await;
        assert_ne!(definitions(&source), before, "{script}");
        psql(&source, &file);
        // The order of grants is that in which they were made.
        assert_same_text(&sorted(&before), &sorted(&definitions(&source)));
    }
    let before = definitions(&source);
    // Functions are replaced by themselves, extensions are there.
    for script in ["02-extensions.sql", "04-functions.sql"] {
        let file = folder.path().join("components").join(script);
        if file.exists() {
            psql(&source, &file);
        }
    }
    // All rows go; keys, triggers and policies stay where they are.
    let with_rows: Vec<PathBuf> = scripts(folder.path())
        .into_iter()
        .filter(|file| ("05".."13").contains(&&file.file_name().unwrap().to_str().unwrap()[..2]))
        .collect();
    let texts: Vec<String> = with_rows.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let tables: Vec<&str> = texts
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.strip_prefix("COPY ").and_then(|rest| rest.split_once(" (")))
        .map(|(table, _)| table)
        .collect();
    assert!(with_rows.len() > 4 && tables.len() > 20, "{with_rows:?} {tables:?}");
    source.load(&format!("TRUNCATE {}", tables.join(", "))).await;
    for script in &with_rows {
        psql(&source, script);
    }
    assert_same_text(&before, &definitions(&source));
    assert_same(&source, &backup, &source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_with_their_hashes_and_the_head_says_what_is_needed() {
    let cluster = TestCluster::shared(15);
    let (_source, backup) = fixture(&cluster, SAMPLE_PROJECT).await;
    let folder = tempfile::tempdir().unwrap();
    export_to(&backup, &ExportOptions::new([Format::Components]), folder.path()).await.unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join("components").join(name)).unwrap();
    let users = read("05-users.sql");
    assert!(users.contains("COPY auth.users (") && users.contains("$2a$"), "password hashes are there");
    assert!(!users.contains("COPY auth.identities"));
    assert!(users.contains("--   of 03-schema.sql:\n--     table auth.users\n"), "{}", &users[..600]);
    let identities = read("06-identities.sql");
    assert!(
        identities.contains("--   of 05-users.sql:\n--     rows of auth.users\n"),
        "{}",
        &identities[..600]
    );
    let policies = read("16-policies.sql");
    assert!(policies.contains("CREATE POLICY") && !policies.contains("CREATE TABLE"));
    assert!(read("04-functions.sql").contains("CREATE OR REPLACE FUNCTION"));
}
