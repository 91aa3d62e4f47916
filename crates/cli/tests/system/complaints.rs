//! What users of other tools complain about, as far as it shows on the command line.

use basekeep_testkit::server;
use basekeep_testkit::supabase::Platform;

use crate::program::{Bench, Ran};

/// supabase/cli#4066 and #5007.
#[tokio::test]
async fn no_docker_is_needed_and_a_pg_dump_that_is_too_old_is_refused_with_what_to_install() {
    let platform = Platform::start(server(17)).await;
    let project = platform.create_sample_project("app").await;
    let fresh = platform.create_project("fresh").await;
    let bench = Bench::new();
    let run = |args: &[&str], bin: Option<&std::path::Path>| {
        let mut command = bench.command(args);
        command.env("PATH", "/nonexistent");
        if let Some(bin) = bin {
            command.env("BASEKEEP_POSTGRES_BIN", bin);
        }
        Ran::of(command.output().unwrap())
    };
    let url = project.url_as("supabase_admin");
    let backup = ["backup", url.as_str(), "--name", "source", "--no-files"];
    run(&backup, None).expect(0);
    run(&["restore", "--to", &fresh.url(), "--yes"], None).expect(0);

    let refused = run(&backup, Some(&server(15).bin)).expect(1);
    assert!(refused.stderr.contains("PostgreSQL 17"), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
    assert_eq!(bench.snapshots(), 1);
}

/// supabase/cli#2605, and read-only roles without BYPASSRLS.
#[tokio::test]
async fn a_role_that_may_read_nothing_or_only_some_rows_makes_no_backup_that_looks_whole() {
    let platform = Platform::start(server(15)).await;
    let project = platform.create_sample_project("app").await;
    project
        .execute_as(
            "supabase_admin",
            "CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader; CREATE ROLE stranger LOGIN",
        )
        .await;
    let bench = Bench::new();
    let missing = |role: &str| {
        let url = project.url_as(role);
        let ran =
            bench.run(["backup", &url, "--name", role, "--no-files", "--json", "--no-progress"]).expect(3);
        let document: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
        let missing = document["snapshots"][0]["not_captured"].as_array().unwrap().clone();
        missing.iter().map(|one| one["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let reader = missing("reader");
    assert!(reader.contains(&r#"rows of "public"."profiles""#.to_owned()), "{reader:?}");
    assert!(!reader.iter().any(|what| what.contains("credentials")), "no policies hide it: {reader:?}");
    let stranger = missing("stranger");
    for table in ["\"profiles\"", "\"payroll\"", "\"users\""] {
        assert!(stranger.iter().any(|what| what.ends_with(table)), "{table}: {stranger:?}");
    }
}
