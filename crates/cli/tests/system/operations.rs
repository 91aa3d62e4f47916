//! The commands of docs/OPERATIONS.md do what the page says: its blocks that are marked `run`, one after the other.

use std::path::Path;
use std::process::Command;

use basekeep_testkit::{SAMPLE_PROJECT, TestCluster, load_sql};

use crate::compare::{assert_same, picture};
use crate::program::{Ran, binaries, clean};

const PAGE: &str = include_str!("../../../../docs/OPERATIONS.md");
const MARK: &str = "<!-- run -->\n```sh\n";

#[tokio::test]
async fn the_operations_page_works_as_it_stands() {
    let source = TestCluster::private(15, &[]).create_database();
    source.load(SAMPLE_PROJECT).await;
    // There is no service that has its files.
    load_sql(&source, "DELETE FROM storage.objects").await;
    let target = source.cluster().create_database();
    let folder = tempfile::tempdir().unwrap();
    let mut blocks = 0;
    for block in PAGE.split(MARK).skip(1) {
        let (script, _) = block.split_once("```").unwrap();
        run(folder.path(), script, &source.url(), &target.url()).expect(0);
        blocks += 1;
    }
    assert!(blocks >= 6, "only {blocks} blocks are marked");
    assert_same(&picture(&source, 15).await, &picture(&target, 15).await);
    let list = run(folder.path(), "basekeep list --repo ./backups --json", &source.url(), &target.url());
    let snapshot = &list.expect(0).json()["snapshots"][0];
    assert_eq!((&snapshot["source"], &snapshot["proven"]), (&"shop".into(), &true.into()));
}

fn run(folder: &Path, script: &str, source: &str, target: &str) -> Ran {
    let program = Path::new(env!("CARGO_BIN_EXE_basekeep")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    clean(&mut command, folder);
    command
        .env("PATH", format!("{}:{path}", program.display()))
        .env("BASEKEEP_PASSWORD", "correct-horse-battery-staple")
        .env("BASEKEEP_POSTGRES_BIN", binaries())
        .env("DATABASE_URL", source)
        .env("EMPTY_DATABASE_URL", target)
        .args(["-euxo", "pipefail", "-c", script]);
    Ran::of(command.output().unwrap())
}
