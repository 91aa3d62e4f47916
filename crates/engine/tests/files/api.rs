//! Backups through the Storage API.

use basekeep_engine::backup::Source;
use basekeep_engine::files::FilesAccess;
use basekeep_engine::stored::manifest::Missing;
use basekeep_testkit::STORAGE_KEY;

use super::{ODD, World, access, count, missing};

#[tokio::test]
async fn every_name_that_a_service_accepts_is_backed_up_and_unchanged_files_are_taken_over() {
    let world = World::new().await;
    for name in ODD {
        let content =
            if name.ends_with("Placeholder") { String::new() } else { format!("content of {name}") };
        world.api.put("photos", name, content.as_str(), "text/html").await;
    }
    world.api.put("docs", "a", "other bucket", "application/pdf").await;
    let (report, snapshot) = world.backup().await;
    assert_eq!(missing(&report), []);
    assert_eq!(count(&report, "files"), 21);
    let stored = world.stored(&snapshot).await;
    assert_eq!(stored.len(), 21);
    assert_eq!(stored["photos/100%/50% off.png"], b"content of 100%/50% off.png");
    assert_eq!(stored["photos/a"], b"content of a");
    assert_eq!(stored["photos/%da/b"], b"content of a/b", "a folder with a file's name");
    assert_eq!(stored["photos/%da/%e"], b"content of a/");
    assert_eq!(stored["photos/%e%2520"], b"content of %20");
    assert_eq!(stored["photos/x/.emptyFolderPlaceholder"], b"");
    assert_eq!(stored["docs/a"], b"other bucket");

    world.api.take_requests();
    world.api.put("photos", "a", "changed", "text/html").await;
    let (report, snapshot) = world.backup().await;
    assert_eq!(count(&report, "files_taken_over"), 20);
    let asked: Vec<String> = world.api.take_requests().into_iter().map(|request| request.path).collect();
    let fetched: Vec<&String> =
        asked.iter().filter(|path| path.starts_with("/object/authenticated/")).collect();
    assert_eq!(fetched, ["/object/authenticated/photos/a"]);
    let again = world.stored(&snapshot).await;
    assert_eq!(again["photos/a"], b"changed");
    assert_eq!(again.len(), 21);
    assert!(stored.iter().all(|(path, content)| path == "photos/a" || again[path] == *content));
}

#[tokio::test]
async fn rows_without_files_are_told() {
    let world = World::new().await;
    for name in ["here", "lost"] {
        world.api.put("docs", name, name, "text/plain").await;
    }
    world.api.lose("docs", "lost").await;
    let (report, _) = world.backup().await;
    let told = missing(&report);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "storage files of 1 object (docs/lost)");
    assert_eq!(told[0].1, "the rows are there, and the storage has no such files");
    assert!(!report.is_complete());
    assert_eq!(count(&report, "files"), 1);
}

#[tokio::test]
async fn without_a_key_the_files_are_told_as_missing_unless_they_are_left_out_on_purpose() {
    let world = World::new().await;
    world.api.put("docs", "one", "1", "text/plain").await;
    world.api.put("photos", "two", "2", "text/plain").await;
    let plain = Source::new("app", world.project.options_as("postgres"));
    let (report, _) = world.backup_of(&plain).await;
    let told = missing(&report);
    assert_eq!(told[0].0, "files of 2 objects in 2 buckets");
    let of_files = |missing: &&Missing| missing.what.starts_with("files of");
    let hint = report.manifest.not_captured.iter().find(of_files).and_then(|m| m.hint.clone()).unwrap();
    assert!(hint.contains("service_key_env"), "{hint}");
    let skip = Source { files: FilesAccess::Skip, ..plain };
    let (report, _) = world.backup_of(&skip).await;
    assert_eq!(missing(&report), []);
    assert!(report.manifest.warnings.iter().any(|warning| warning.code == "files-skipped"));

    // Snapshots without files between two with files do not cost a transfer.
    world.backup().await;
    world.backup_of(&skip).await;
    let (report, snapshot) = world.backup().await;
    assert_eq!(count(&report, "files_taken_over"), 2);
    assert_eq!(world.stored(&snapshot).await.len(), 2);
}

#[tokio::test]
async fn a_wrong_key_is_told_once_and_the_rows_are_backed_up() {
    let world = World::new().await;
    for number in 0..30 {
        world.api.put("docs", &format!("{number}"), "x", "text/plain").await;
    }
    let source = Source { files: access(&world.api, "wrong"), ..world.source() };
    let (report, _) = world.backup_of(&source).await;
    let told = missing(&report);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "all files of 30 objects");
    assert!(told[0].1.contains("Invalid Compact JWS"), "{told:?}");
    assert!(!told[0].1.contains(STORAGE_KEY));
    let asked = world.api.take_requests().len();
    assert!(asked <= 10, "{asked} requests with a key that was refused");
}
