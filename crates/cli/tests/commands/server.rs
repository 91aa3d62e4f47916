//! Commands beside a running server: the doctor, several sources in one run, confirmation, JSON events.

use basekeep_testkit::{TestCluster, TestDatabase, load_sql};

use crate::sandbox::Sandbox;

/// A small database, and a sandbox that has a repository and calls it `shop`.
pub(crate) async fn shop() -> (TestDatabase, Sandbox) {
    let database = TestCluster::private(15, &[]).create_database();
    load_sql(
        &database,
        "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 100)",
    )
    .await;
    let sandbox = Sandbox::new().with_variable("BASEKEEP_PASSWORD", "x");
    let bin = database.cluster().server().bin.display().to_string();
    let sandbox = sandbox.with_variable("BASEKEEP_POSTGRES_BIN", &bin);
    sandbox.write(
        "basekeep.toml",
        &format!("[repository]\nurl = \"r\"\n[source.shop]\nurl = \"{}\"\n", database.url()),
    );
    sandbox.run("init").expect(0);
    (database, sandbox)
}

#[tokio::test]
async fn the_doctor_finds_a_good_source_good() {
    let (_database, sandbox) = shop().await;
    let ran = sandbox.run("doctor").expect(0);
    assert!(ran.stdout.contains("  ok       PostgreSQL 15."), "{}", ran.stdout);
    assert!(ran.stdout.contains("  ok       pg_dump 15."), "{}", ran.stdout);
    assert!(ran.stdout.contains("  ok       opens; 0 snapshots"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("failed"), "{}", ran.stdout);
    let document = sandbox.run("doctor --json").expect(0).json();
    assert_eq!(document["ok"], true);
    assert!(document["checks"].as_array().unwrap().len() > 5, "{document}");
}

#[tokio::test]
async fn a_source_that_fails_does_not_keep_the_others_from_being_backed_up() {
    let (database, sandbox) = shop().await;
    let good = database.url();
    sandbox.write(
        "basekeep.toml",
        &format!(
            "[repository]\nurl = \"r\"\n[source.away]\nurl = \"postgresql://me@127.0.0.1:1/d\"\n\
             [source.locked]\nurl = \"{good}\"\npassword_env = \"NOT_SET\"\n[source.shop]\nurl = \"{good}\"\n"
        ),
    );
    let ran = sandbox.run("backup").expect(13);
    assert!(ran.stderr.contains("cannot connect to 127.0.0.1:1"), "{}", ran.stderr);
    assert!(ran.stderr.contains("the variable NOT_SET is not set"), "{}", ran.stderr);
    assert!(ran.stdout.contains("of shop: 1 table, 100 rows"), "{}", ran.stdout);
    let listed = sandbox.run("list --json").expect(0).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    sandbox.run("backup shop --tag nightly --quiet").expect(0);
    let listed = sandbox.run("list --json --tag nightly").expect(0).json();
    assert_eq!(listed["snapshots"][0]["source"], "shop");
    let listed = sandbox.run("list --json --source shop --last 1").expect(0).json();
    assert_eq!(listed["snapshots"][0]["tags"][0], "nightly");
    sandbox.refused("list --source other", 0, "no snapshot matches\n");
}

#[tokio::test]
async fn long_work_in_json_is_a_line_per_event_and_the_result_last() {
    let (database, sandbox) = shop().await;
    let ran = sandbox.run("backup --json").expect(0);
    let lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["version"] == 1));
    assert!(lines.iter().any(|line| line["event"] == "ended" && line["source"] == "shop"), "{}", ran.stdout);
    let (last, before) = lines.split_last().unwrap();
    assert!(before.iter().all(|line| line["event"] != "result"));
    assert_eq!(last["event"], "result");
    assert_eq!(last["snapshots"][0]["rows"], 100);
    assert_eq!(ran.stderr, "");
    let quiet = sandbox.run("backup --json --quiet").expect(0);
    assert_eq!(quiet.json()["event"], "result");

    let target = database.cluster().create_database();
    let ran = sandbox.run(&format!("restore --to {} --yes --json", target.url())).expect(0);
    let result: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&result["event"], &result["rows"]), (&"result".into(), &100.into()), "{result}");
    assert_eq!(result["failed"], serde_json::json!([]));
}

#[tokio::test]
async fn a_plan_is_printed_and_nothing_is_done() {
    let (database, sandbox) = shop().await;
    let ran = sandbox.run("backup --dry-run").expect(0);
    assert!(
        ran.stdout.starts_with("dry run, nothing written: a snapshot of shop would hold 1 table"),
        "{}",
        ran.stdout
    );
    assert_eq!(sandbox.run("list --json").expect(0).json()["snapshots"], serde_json::json!([]));
    sandbox.run("backup").expect(0);
    let target = database.cluster().url("not_there_yet");
    let plan =
        sandbox.run(&format!("restore --to {target} --create-database --dry-run --json")).expect(0).json();
    assert_eq!(plan["tables"][0]["table"], "public.orders");
    assert_eq!(plan["tables"][0]["rows"], 100);
    let ran = sandbox.run(&format!("restore --to {target} --yes")).expect(2);
    assert!(ran.stderr.contains("hint: `--create-database` creates it"), "{}", ran.stderr);
    let ran = sandbox.run("restore --to shop --yes").expect(2);
    assert!(ran.stderr.contains("is not empty"), "{}", ran.stderr);
}

#[tokio::test]
async fn show_tells_tables_and_objects() {
    let (_database, sandbox) = shop().await;
    sandbox.run("backup").expect(0);
    let ran = sandbox.run("show").expect(0);
    assert!(ran.stdout.contains("public.orders"), "{}", ran.stdout);
    assert!(sandbox.run("show --tables").expect(0).stdout.contains("public.orders   100"));
    assert_eq!(sandbox.run("show --objects table").expect(0).stdout, "table public.orders\n");
    let ran = sandbox.run("show --objects tabel").expect(2);
    assert!(ran.stderr.contains("did you mean 'table'?"), "{}", ran.stderr);
    let document = sandbox.run("show --json").expect(0).json();
    assert_eq!(document["tables"][0]["name"], "orders");
    assert_eq!(document["source"], "shop");
    let objects = sandbox.run("show --objects --json").expect(0).json();
    assert!(objects["objects"].as_array().unwrap().len() > 1, "{objects}");
}

#[tokio::test]
async fn init_finds_the_local_stack_and_logs_in() {
    let cluster = TestCluster::private(15, &[]);
    let sandbox = Sandbox::new();
    let port = cluster.port();
    sandbox.write("supabase/config.toml", &format!("project_id = \"shop\"\n[db]\nport = {port}\n"));
    let ran = sandbox.run("init").expect(0);
    assert!(ran.stdout.contains("its usual password, login works"), "{}", ran.stdout);
    assert!(!sandbox.read("basekeep.toml").contains("\"postgres\""));
    assert_eq!(sandbox.read(".config/basekeep/shop.password"), "postgres\n");
    sandbox.run("doctor").expect(0);
}

#[test]
fn the_demo_gets_everything_back_slowly() {
    let bin = basekeep_testkit::server(15).bin.display().to_string();
    let sandbox = Sandbox::new().with_variable("BASEKEEP_POSTGRES_BIN", &bin);
    let ran = sandbox.run("demo").expect(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 12, "{}", ran.stdout);
    assert!(lines[8].ends_with("as before"), "{}", ran.stdout);
    assert!(lines[9].contains("proven: "), "{}", ran.stdout);
    assert!(lines[11].starts_with("everything is back, and proven"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
    assert!(!sandbox.path(".config").exists(), "nothing outside of temporary folders");
}
