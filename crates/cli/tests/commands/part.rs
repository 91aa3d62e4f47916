//! `restore` of a part: what the flags mean, what the plan says in words and as a document, and what is refused.

use basekeep_testkit::{TestCluster, TestDatabase, load_sql};
use serde_json::Value;

use crate::sandbox::{Ran, Sandbox};

/// A shop with its backup, and a database to restore to, called `live` in the configuration.
async fn shop() -> (TestDatabase, TestDatabase, Sandbox) {
    let source = TestCluster::private(15, &[]).create_database();
    load_sql(
        &source,
        "CREATE TABLE customers (id int PRIMARY KEY, email text NOT NULL);
         CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, note text);
         INSERT INTO customers SELECT n, 'person' || n || '@example.com' FROM generate_series(1, 10) AS n;
         INSERT INTO orders SELECT n, 1 + n % 10, 'note ' || n FROM generate_series(1, 100) AS n;
         ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY \"own orders\" ON orders USING (customer = 1);
         CREATE FUNCTION total(int) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.orders WHERE customer = $1'",
    )
    .await;
    let live = source.cluster().create_database();
    let bin = source.cluster().server().bin.display().to_string();
    let sandbox =
        Sandbox::new().with_variable("BASEKEEP_PASSWORD", "x").with_variable("BASEKEEP_POSTGRES_BIN", &bin);
    sandbox.write(
        "basekeep.toml",
        &format!(
            "[repository]\nurl = \"r\"\n[source.shop]\nurl = \"{}\"\n[source.live]\nurl = \"{}\"\n",
            source.url(),
            live.url()
        ),
    );
    sandbox.run("init").expect(0);
    sandbox.run("backup shop --quiet").expect(0);
    (source, live, sandbox)
}

/// A command line whose arguments may hold blanks: they are separated by `|`.
fn run(sandbox: &Sandbox, line: &str) -> Ran {
    let output = sandbox.command(line.split('|')).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

async fn one(database: &TestDatabase, sql: &str) -> String {
    let mut client = database.client().await;
    let rows = client.query(sql).await.unwrap();
    rows.iter().next().and_then(|row| row.get(0)).unwrap_or_default().to_owned()
}

/// `action object` of each change, with its rows.
fn changes(document: &Value) -> Vec<String> {
    let all = document["changes"].as_array().unwrap().iter();
    all.map(|change| {
        let text = |key: &str| change[key].as_str().unwrap_or_default().to_owned();
        let rows = change["rows"].as_u64().map(|rows| format!(" {rows}")).unwrap_or_default();
        let pulled_in = if change["pulled_in"] == true { " needed" } else { "" };
        let condition = change["where"].as_str().map(|sql| format!(" where {sql}")).unwrap_or_default();
        format!("{} {}{rows}{condition}{pulled_in}", text("action"), text("object"))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_comes_with_what_it_needs_and_the_plan_says_so_in_words_and_as_a_document() {
    let (_source, live, sandbox) = shop().await;
    let ran = run(&sandbox, "restore|--to|live|--table|public.orders|--yes").expect(2);
    assert!(ran.stderr.contains("table public.customers (for "), "{}", ran.stderr);
    assert!(ran.stderr.contains("--with-dependencies"), "{}", ran.stderr);
    let line = "restore|--to|live|--table|public.orders|--with-dependencies";
    let plan = run(&sandbox, &format!("{line}|--dry-run|--json")).expect(0).json();
    let found = changes(&plan);
    for wanted in [
        "create table public.orders",
        "create table public.customers needed",
        "load rows of public.orders 100",
        "load rows of public.customers 10 needed",
        "create policy \"own orders\" on public.orders",
    ] {
        assert!(found.iter().any(|change| change == wanted), "{wanted}: {found:#?}");
    }
    assert!(found.iter().all(|change| !change.contains("total")), "{found:#?}");
    let text = run(&sandbox, &format!("{line}|--dry-run")).expect(0).stdout;
    assert!(text.contains("create  table public.customers (needed)"), "{text}");
    assert!(
        text.lines().any(|l| l.contains("load") && l.contains("rows of public.orders") && l.ends_with("100")),
        "{text}"
    );
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(one(&live, tables).await, "0", "a dry run changes nothing");
    run(&sandbox, &format!("{line}|--yes")).expect(0);
    assert_eq!(one(&live, "SELECT count(*) FROM public.orders").await, "100");
    // Now it is there.
    let ran = run(&sandbox, &format!("{line}|--yes")).expect(2);
    assert!(
        ran.stderr.contains("has what was selected already") && ran.stderr.contains("--mode clear"),
        "{}",
        ran.stderr
    );
    // A single policy into it.
    load_sql(&live, "DROP POLICY \"own orders\" ON public.orders").await;
    let policy = "restore|--to|live|--object|policy:public.orders/own orders";
    let plan = run(&sandbox, &format!("{policy}|--dry-run|--json")).expect(0).json();
    assert_eq!(changes(&plan), ["create policy \"own orders\" on public.orders"]);
    run(&sandbox, &format!("{policy}|--yes")).expect(0);
    assert_eq!(one(&live, "SELECT count(*) FROM pg_policies").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_chosen_cleared_renamed_and_left_out_by_flags() {
    let (_source, live, sandbox) = shop().await;
    run(&sandbox, "restore|--to|live|--yes|--no-check").expect(0);
    load_sql(&live, "UPDATE orders SET note = 'mine' WHERE id <= 5").await;
    let line = "restore|--to|live|--where|public.orders: id <= 3|--mode|clear|--no-safety-backup";
    let plan = run(&sandbox, &format!("{line}|--dry-run|--json")).expect(0).json();
    let found = changes(&plan);
    assert!(found.contains(&"replace-rows rows of public.orders 100 where id <= 3".into()), "{found:#?}");
    let text = run(&sandbox, &format!("{line}|--dry-run")).expect(0).stdout;
    assert!(text.contains("rows of public.orders where id <= 3") && text.contains("up to 100"), "{text}");
    run(&sandbox, &format!("{line}|--yes")).expect(0);
    assert_eq!(
        one(&live, "SELECT string_agg(id::text, ',' ORDER BY id) FROM orders WHERE note = 'mine'").await,
        "4,5"
    );

    // With a backup of the target first, which is named.
    let clear = "restore|latest|--source|shop|--to|live|--only|data|--table|public.orders|--mode|clear";
    let ran = run(&sandbox, &format!("{clear}|--yes|--json")).expect(0);
    let last: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    let id = last["safety_snapshot"].as_str().unwrap();
    assert_eq!(one(&live, "SELECT count(*) FROM orders WHERE note = 'mine'").await, "0");
    let ran = run(&sandbox, &format!("diff|{id}|latest|--table|public.orders|--summary|--exit-code"));
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);

    // Beside the live tables.
    run(&sandbox, "restore|--to|live|--schema|public|--rename-schema|public=before|--yes").expect(0);
    run(&sandbox, "restore|--to|live|--table|public.orders|--into-schema|other|--yes").expect(0);
    let counts = "SELECT (SELECT count(*) FROM before.orders) || ' ' || (SELECT count(*) FROM other.orders)";
    assert_eq!(one(&live, counts).await, "100 100");

    // What does not fit.
    load_sql(&live, "TRUNCATE orders; ALTER TABLE orders ADD CHECK (id <> 7)").await;
    let merge = "restore|--to|live|--only|data|--table|public.orders|--mode|merge|--yes";
    let ran = run(&sandbox, merge).expect(3);
    assert!(ran.stdout.contains("failed: rows of public.orders"), "{}", ran.stdout);
    let ran = run(&sandbox, &format!("{merge}|--load-what-fits|--rejects|rejected")).expect(3);
    assert!(ran.stdout.contains("1 row did not fit"), "{}", ran.stdout);
    assert!(sandbox.read("rejected/public.orders.csv").contains("orders_id_check"));
    assert_eq!(one(&live, "SELECT count(*) FROM orders").await, "99");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_wrong_is_refused_with_what_would_be_right() {
    let (_source, live, sandbox) = shop().await;
    for (arguments, wanted) in [
        ("--table|public.order", "public.orders"),
        ("--table|orders", "public.orders"),
        ("--schema|publc", "'public'"),
        ("--only|polices", "policies"),
        ("--object|polcy:public.orders/own orders", "policy"),
        ("--object|policy:public.orders/own", "own orders"),
        ("--object|orders", "kind:name"),
        ("--where|public.orders", "schema.table: condition"),
        ("--where|public.order: id = 1", "public.orders"),
        ("--where|public.orders: id = 1|--mode|claer", "clear"),
        ("--rename-schema|public", "old=new"),
        ("--rename-schema|publi=b", "publi"),
        ("--rename-table|public.orders=x", "schema.old=schema.new"),
        ("--into-schema|a|--rename-schema|public=b", "cannot be used with"),
        ("--mode|merge|--on-conflict|kep", "keep"),
        ("--on-conflict|keep", "--mode merge"),
        ("--load-what-fits", "--rejects"),
        ("--load-what-fits|--rejects|d", "--mode merge or clear"),
        ("--mask|nowhere.toml", "nowhere.toml"),
        ("--only|roles|--jobs|0", "1..=256"),
    ] {
        let ran = run(&sandbox, &format!("restore|--to|live|{arguments}|--yes"));
        assert_eq!(ran.code, 2, "{arguments}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(wanted), "{arguments}: {}", ran.stderr);
    }
    assert_eq!(
        one(&live, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").await,
        "0"
    );
}
