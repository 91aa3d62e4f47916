//! Definitions as text for version control.

use std::collections::BTreeMap;
use std::path::Path;

use basekeep_engine::export::{ExportOptions, Format, LIST};
use basekeep_testkit::{ODD_CATALOG, SAMPLE_PROJECT, TestCluster, load_sql, small_sample_project};

use super::{export_to, fixture, psql};
use crate::support::{assert_same_text, backed_up, definitions, into, restore};

fn schema(split: bool) -> ExportOptions {
    ExportOptions { split, ..ExportOptions::new([Format::Schema]) }
}

/// All files below a folder, by name.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(current) = open.pop() {
        for entry in std::fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// The text loads, and a restored copy, where every oid is another one, gives the same bytes in both forms.
async fn the_same_for_a_copy(major: u32, text: &str) {
    let cluster = TestCluster::shared(major);
    let (source, backup) = fixture(&cluster, text).await;
    let copy = cluster.create_database();
    restore(&backup, &into(&copy.options())).await.unwrap();
    let backup_of_copy = backed_up(&copy).await;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for (folder, backup) in folders.iter().zip([&backup, &backup_of_copy]) {
        export_to(backup, &schema(false), folder.path()).await.unwrap();
        export_to(backup, &schema(true), folder.path()).await.unwrap();
    }
    let [one, two] = folders.each_ref().map(|folder| files(folder.path()));
    assert_eq!(one.keys().collect::<Vec<_>>(), two.keys().collect::<Vec<_>>());
    for (name, text) in &one {
        assert_same_text(text, &two[name]);
    }
    let loaded = cluster.create_database();
    psql(&loaded, &folders[0].path().join("schema.sql"));
    assert_same_text(&definitions(&source), &definitions(&loaded));
    // Everything that is in the one text is in the files, too.
    let statements = |text: &str| -> Vec<String> {
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with("--") && !line.starts_with("SET ") && !line.is_empty())
            .filter(|line| !line.starts_with("SELECT pg_catalog.set_config"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let split: String =
        one.iter().filter(|(name, _)| name.starts_with("schema/")).map(|(_, text)| text.as_str()).collect();
    assert_eq!(statements(&split), statements(&one["schema.sql"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_the_same_bytes_from_two_snapshots_and_from_two_servers() {
    let here = TestCluster::shared(15);
    let (source, first) = fixture(&here, &small_sample_project()).await;
    load_sql(&source, "DELETE FROM public.notifications").await;
    let second = backed_up(&source).await;
    // On another server every oid and the database's name are others.
    let there = TestCluster::private(15, &[]);
    let other = there.create_database_as("another name", "");
    load_sql(&other, "CREATE TABLE public.x (n int); DROP TABLE public.x").await;
    other.load(&small_sample_project()).await;
    let third = backed_up(&other).await;
    let mut all = Vec::new();
    for backup in [&first, &second, &third] {
        let folder = tempfile::tempdir().unwrap();
        export_to(backup, &schema(true), folder.path()).await.unwrap();
        all.push(files(folder.path()));
    }
    assert!(all[0].len() > 50, "{:?}", all[0].keys());
    for others in &all[1..] {
        assert_eq!(all[0].keys().collect::<Vec<_>>(), others.keys().collect::<Vec<_>>());
        for (name, text) in &all[0] {
            assert_same_text(text, &others[name]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_the_odd_catalog_follows_from_its_definitions_alone_15() {
    the_same_for_a_copy(15, ODD_CATALOG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_the_odd_catalog_follows_from_its_definitions_alone_18() {
    the_same_for_a_copy(18, ODD_CATALOG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_the_sample_project_follows_from_its_definitions_alone() {
    the_same_for_a_copy(15, SAMPLE_PROJECT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_objects_that_are_gone_go_and_those_of_others_stay() {
    let cluster = TestCluster::shared(15);
    let source = cluster.create_database();
    source
        .load(
            "CREATE TABLE kept (id int PRIMARY KEY); CREATE TABLE gone (id int); CREATE TABLE \"Kept\" (id int);
             CREATE SCHEMA extra; CREATE VIEW extra.v AS SELECT 1 AS one;
             CREATE POLICY own ON kept USING (true); COMMENT ON TABLE kept IS 'stays';",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("schema").join(name);
    export_to(&backed_up(&source).await, &schema(true), folder.path()).await.unwrap();
    let first = files(folder.path());
    let names: Vec<&str> = first.keys().map(String::as_str).filter(|name| *name != LIST).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    let kept = &first["schema/public/tables/kept.sql"];
    for part in
        ["CREATE TABLE public.kept", "kept_pkey PRIMARY KEY", "COMMENT ON TABLE public.kept IS 'stays'"]
    {
        assert!(kept.contains(part), "{kept}");
    }
    assert!(first["schema/public/policies/kept.own.sql"].contains("CREATE POLICY own ON public.kept"));
    let listed: Vec<&str> = first[LIST].lines().collect();
    assert_eq!(listed, names);

    std::fs::write(at("public/tables/mine.sql"), "mine").unwrap();
    let before = std::fs::metadata(at("public/tables/kept.sql")).unwrap().modified().unwrap();
    source.load("DROP TABLE gone; DROP SCHEMA extra CASCADE; CREATE TABLE new (id int);").await;
    let report = export_to(&backed_up(&source).await, &schema(true), folder.path()).await.unwrap();
    assert_eq!(report.removed, 3);
    let second = files(folder.path());
    assert!(second.contains_key("schema/public/tables/new.sql") && at("public/tables/mine.sql").exists());
    assert!(!second.contains_key("schema/public/tables/gone.sql") && !at("extra").exists());
    // A file that did not change is not even touched.
    assert_eq!(std::fs::metadata(at("public/tables/kept.sql")).unwrap().modified().unwrap(), before);
    // A part of the snapshot says nothing about the rest.
    let part = ExportOptions {
        selection: basekeep_engine::selection::Selection {
            tables: vec!["public.new".into()],
            ..Default::default()
        },
        ..schema(true)
    };
    export_to(&backed_up(&source).await, &part, folder.path()).await.unwrap();
    assert!(at("public/tables/kept.sql").exists());
}
