//! The project's folder in a snapshot.

use std::path::Path;

use basekeep_engine::backup::Source;
use basekeep_engine::files::FilesAccess;
use basekeep_engine::listing;
use basekeep_testkit::TestCluster;

use crate::support::back_up;

const PLATFORM: &str = include_str!("platform.sql");

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_migrations_and_configuration_are_in_the_snapshot_and_secrets_are_not() {
    let database = TestCluster::private(15, &[]).create_database();
    database.load(PLATFORM).await;
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            ("supabase/functions/hello world/index.ts", "Deno.serve(() => new Response('hi'))"),
            ("supabase/functions/hello world/empty.txt", ""),
            ("supabase/functions/.env", "STRIPE_KEY=sk_live_1\n"),
            ("supabase/migrations/1_first.sql", "CREATE TABLE a ();"),
            ("supabase/config.toml", "project_id = \"x\"\n"),
        ],
    );
    let large = "0123456789abcdef".repeat(100_000);
    write(folder.path(), &[("supabase/functions/large/data.txt", &large)]);
    let missing = folder.path().join("supabase/functions/large/gone.ts");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &missing).unwrap();
    let source = Source {
        project: Some(folder.path().to_owned()),
        files: FilesAccess::Skip,
        ..Source::new("shop", database.options().with_user("operator", None))
    };
    let backup = back_up(&database, source).await;
    let read = async |name: &str| {
        let bytes = listing::read_file(&backup.repository, &backup.snapshot, name, 1 << 24).await.unwrap();
        bytes.map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let function = read("functions/hello world/index.ts").await;
    assert_eq!(function.as_deref(), Some("Deno.serve(() => new Response('hi'))"));
    assert_eq!(read("functions/hello world/empty.txt").await.as_deref(), Some(""));
    assert_eq!(read("functions/large/data.txt").await, Some(large));
    assert_eq!(read("migrations/1_first.sql").await.as_deref(), Some("CREATE TABLE a ();"));
    assert_eq!(read("project/config.toml").await.as_deref(), Some("project_id = \"x\"\n"));
    assert_eq!(read("functions/.env").await, None);
    let supabase = backup.manifest.supabase.as_ref().unwrap();
    assert_eq!(supabase.supply_again, ["supabase/functions/.env (STRIPE_KEY)"]);
    for (name, count) in
        [("edge_functions", 2), ("edge_function_files", 3), ("migration_files", 1), ("project_files", 1)]
    {
        assert_eq!(supabase.counts.get(name), Some(&count), "{name}");
    }
    assert_eq!(supabase.counts["users"], 4, "the database's counts stay");
    let missing: Vec<_> = backup.manifest.not_captured.iter().map(|missing| missing.what.as_str()).collect();
    assert_eq!(missing, ["supabase/functions/large/gone.ts"]);
}
