//! `verify --live` says whether a database works as the snapshot's did, and ends with 4 when a line fails.

use basekeep_testkit::server;
use basekeep_testkit::supabase::Platform;

use crate::program::Bench;

#[tokio::test]
async fn a_live_project_is_checked_against_its_snapshot() {
    let platform = Platform::start(server(17)).await;
    let project = platform.create_sample_project("app").await;
    let bench = Bench::new();
    // The superuser reads what `postgres` may not.
    bench.run(["backup", &project.url_as("supabase_admin"), "--name", "source", "--no-files"]).expect(0);

    let url = project.url();
    let ran = bench.run(["verify", "--live", &url]).expect(0);
    let kept = "; the platform's own: auth.schema_migrations, realtime.schema_migrations, storage.migrations";
    assert!(ran.stdout.contains(kept), "{}", ran.stdout);
    let admin = project.url_as("supabase_admin");
    let ran = bench.run(["verify", "--live", &admin, "--source", "source"]).expect(0);
    assert!(ran.stdout.contains(": 12 ok, 0 failed, 0 not applicable\n"), "{}", ran.stdout);

    project.execute_as("postgres", "DROP POLICY \"Own documents\" ON storage.objects").await;
    let document = bench.run(["verify", "latest", "--live", &admin, "--json", "--no-progress"]).expect(4);
    let document: serde_json::Value = serde_json::from_str(document.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&document["ok"], &document["event"]), (&false.into(), &"result".into()));
    let failed: Vec<&str> = document["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["outcome"] == "failed")
        .map(|check| check["check"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["storage-policies", "row-security"]);

    let plain = platform.cluster().create_database();
    let ran = bench.run(["verify", "--live", &plain.url()]).expect(4);
    assert!(
        ran.stdout.contains("failed: all tables accessible: public.approvals does not exist\n"),
        "{}",
        ran.stdout
    );
    let ran = bench.run(["verify", "--live", "postgresql://me@127.0.0.1:1/gone"]).expect(13);
    assert!(ran.stderr.contains("127.0.0.1:1"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_restore_into_a_fresh_project_ends_with_the_checklist() {
    let (from, to) = (Platform::start(server(15)).await, Platform::start(server(17)).await);
    let project = from.create_sample_project("app").await;
    let (fresh, other) = (to.create_project("fresh").await, to.create_project("other").await);
    let bench = Bench::new();
    let backup = bench.backup(&project.url());
    assert!(matches!(backup.code, Some(0 | 3)), "{}", backup.stderr);
    let ran = bench.run(["restore", "--to", &fresh.url(), "--yes"]).expect(0);
    let lines =
        "checked: database connection, all tables accessible, user authentication, project creation, ";
    assert!(ran.stdout.contains(lines), "{}", ran.stdout);
    let document = bench.run(["restore", "--to", &other.url(), "--yes", "--json", "--no-progress"]).expect(0);
    let document: serde_json::Value = serde_json::from_str(document.stdout.lines().last().unwrap()).unwrap();
    let checks = document["checks"].as_array().unwrap();
    assert_eq!((checks.len(), checks.iter().filter(|check| check["outcome"] == "failed").count()), (12, 0));
}
