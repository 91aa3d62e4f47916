//! `basekeep diff` between the snapshots of a database that changes.

use basekeep_testkit::{TestCluster, TestDatabase, load_sql};
use serde_json::Value;

use crate::sandbox::Sandbox;

const SHOP: &str = "
    CREATE ROLE diff_app LOGIN PASSWORD 'first';
    CREATE TABLE orders (id int PRIMARY KEY, note text, api_key text);
    INSERT INTO orders SELECT n, 'note ' || n, 'k' || n FROM generate_series(1, 100) n;
    CREATE TABLE gone (id int);
    CREATE TABLE same (id int);
    INSERT INTO same VALUES (1);
    CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n + n';
    CREATE SEQUENCE numbers;";
const CHANGES: &str = "
    ALTER ROLE diff_app PASSWORD 'second' CREATEDB;
    ALTER ROLE diff_app SET work_mem = '8MB';
    ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON orders TO diff_app USING (id > 5);
    GRANT SELECT ON orders TO diff_app;
    COMMENT ON TABLE orders IS 'what was bought';
    DROP TABLE gone;
    CREATE TABLE new (id int);
    INSERT INTO new VALUES (1), (2);
    CREATE OR REPLACE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
    SELECT nextval('numbers');
    INSERT INTO orders VALUES (101, 'new', 'k101');
    UPDATE orders SET note = E'red \\x1b[31m', api_key = 'other' WHERE id = 7;
    DELETE FROM orders WHERE id = 50;";

async fn shop() -> (TestDatabase, Sandbox) {
    let database = TestCluster::private(15, &[]).create_database();
    load_sql(&database, SHOP).await;
    let sandbox = Sandbox::new().with_variable("BASEKEEP_PASSWORD", "x");
    let bin = database.cluster().server().bin.display().to_string();
    let sandbox = sandbox.with_variable("BASEKEEP_POSTGRES_BIN", &bin);
    let config = format!("[repository]\nurl = \"r\"\n[source.shop]\nurl = \"{}\"\n", database.url());
    sandbox.write("basekeep.toml", &config);
    sandbox.run("init").expect(0);
    sandbox.run("backup").expect(0);
    (database, sandbox)
}

fn find<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let mut all = list.as_array().unwrap().iter();
    all.find(|item| item[key] == name).unwrap_or_else(|| panic!("no {name} in {list:#}"))
}

#[tokio::test]
async fn every_kind_of_difference_is_named_under_its_object() {
    let (database, sandbox) = shop().await;
    let alone = sandbox.run("diff").expect(2);
    assert!(alone.stderr.contains("is the first snapshot of 'shop'"), "{}", alone.stderr);
    sandbox.run("backup").expect(0);
    let equal = sandbox.run("diff --exit-code").expect(0);
    assert!(equal.stdout.contains("nothing differs"), "{}", equal.stdout);

    load_sql(&database, CHANGES).await;
    sandbox.run("backup").expect(0);
    let document = sandbox.run("diff --json").expect(0).json();
    assert_eq!((&document["version"], &document["equal"]), (&1.into(), &false.into()));
    let objects = &document["objects"];
    for (name, of, change) in [
        ("policy own on public.orders", "table public.orders", "added"),
        ("row security on public.orders", "table public.orders", "added"),
        ("privileges on table public.orders", "table public.orders", "added"),
        ("comment on table public.orders", "table public.orders", "added"),
        ("table public.gone", "table public.gone", "removed"),
        ("table public.new", "table public.new", "added"),
        ("function public.twice(integer)", "function public.twice(integer)", "changed"),
    ] {
        let object = find(objects, "name", name);
        assert_eq!((&object["of"], &object["change"]), (&of.into(), &change.into()), "{object:#}");
    }
    assert_eq!(objects.as_array().unwrap().len(), 7, "{objects:#}");
    let diff = find(objects, "kind", "function")["diff"].as_str().unwrap();
    assert!(diff.contains("-    AS $$SELECT n + n$$;\n+    AS $$SELECT n * 2$$;\n"), "{diff}");

    let items = &document["items"];
    let role = &find(items, "kind", "role")["shown"][0];
    assert_eq!((&role["name"], &role["change"]), (&"diff_app".into(), &"changed".into()));
    let password = find(&role["fields"], "name", "password");
    assert_eq!(password["new"]["hidden"], true, "{password}");
    assert_eq!(find(&role["fields"], "name", "create_db")["new"], "true");
    assert_eq!(find(items, "kind", "setting")["added"], 1);
    assert_eq!(find(items, "kind", "sequence")["changed"], 1);

    let tables = &document["tables"];
    assert_eq!(find(tables, "name", "gone")["change"], "removed");
    assert_eq!(find(tables, "name", "new")["b"]["rows"], 2);
    let orders = find(tables, "name", "orders");
    assert_eq!((&orders["a"]["rows"], &orders["b"]["rows"]), (&100.into(), &100.into()));
    let rows = &orders["rows"];
    assert_eq!((&rows["added"], &rows["removed"], &rows["changed"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(rows["changed_columns"], serde_json::json!({"note": 1, "api_key": 1}));
    let hidden = serde_json::json!({"hidden": true});
    assert_eq!(
        rows["shown"][0],
        serde_json::json!({"change": "changed", "count": 1, "key": {"id": "7"}, "columns": [
            {"name": "note", "old": "note 7", "new": "red \u{1b}[31m"},
            {"name": "api_key", "old": hidden, "new": hidden},
        ]})
    );
    assert_eq!(document["equal_tables"], 1);
}

#[tokio::test]
async fn text_is_short_first_and_exit_codes_tell() {
    let (database, sandbox) = shop().await;
    load_sql(&database, CHANGES).await;
    sandbox.run("backup").expect(0);
    let text = sandbox.run("diff --exit-code").expect(1).stdout;
    for line in [
        "differs       added  removed  changed\n",
        "  policy own on public.orders: added\n",
        "    -    AS $$SELECT n + n$$;\n",
        "  ~ id=7: note note 7 → red \\u{1b}[31m, api_key ••• → •••\n",
        "  - id=50: note note 50, api_key •••\n",
        "  + id=101: note new, api_key •••\n",
        "  diff_app: changed: create_db false → true, password ••• → •••\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let summary = sandbox.run("diff --summary").expect(0).stdout;
    assert!(!summary.contains("policy own") && summary.contains("public.orders"), "{summary}");
    let full = sandbox.run("diff --full --schema-only").expect(0).stdout;
    assert!(full.contains("+CREATE POLICY own ON public.orders TO diff_app USING ((id > 5));"), "{full}");
    assert!(!full.contains("tables have the same rows"), "{full}");
    let rows = sandbox.run("diff --rows --table public.ord* --limit 1 --show-secrets").expect(0).stdout;
    assert!(rows.contains("api_key k7 → other") && rows.contains("  and 2 more; --limit"), "{rows}");
    assert!(!rows.contains("policy own") && !rows.contains("public.new"), "{rows}");
    let figures = sandbox.run("diff --no-rows").expect(0).stdout;
    assert!(figures.contains("public.orders") && !figures.contains("id=7"), "{figures}");
    let first = sandbox.run("list --json").expect(0).json()["snapshots"][0]["id"].clone();
    let backwards = format!("diff latest {} --json", first.as_str().unwrap());
    let document = sandbox.run(&backwards).expect(0).json();
    assert_eq!(find(&document["tables"], "name", "new")["change"], "removed");
}

#[tokio::test]
async fn a_live_database_is_compared_and_a_selection_narrows_it() {
    let (database, sandbox) = shop().await;
    let equal = sandbox.run("diff latest live --exit-code").expect(0);
    assert!(equal.stdout.contains("nothing differs"), "{}", equal.stdout);
    load_sql(&database, CHANGES).await;
    let document = sandbox.run("diff live --json").expect(0).json();
    assert_eq!(document["b"]["snapshot"], Value::Null);
    assert_eq!(document["objects"].as_array().unwrap().len(), 7, "{document:#}");
    let orders = &find(&document["tables"], "name", "orders")["rows"];
    assert_eq!((&orders["added"], &orders["removed"], &orders["changed"]), (&1.into(), &1.into(), &1.into()));
    let url = database.url();
    let other = sandbox.run(&format!("diff --with {url} --table public.new --json")).expect(0).json();
    assert_eq!(other["objects"].as_array().unwrap().len(), 1, "{other:#}");
    assert_eq!(other["tables"].as_array().unwrap().len(), 1);
    assert_eq!(other["items"], serde_json::json!([]));
    let near = sandbox.run("diff live --table public.order").expect(2);
    assert!(near.stderr.contains("public.orders"), "{}", near.stderr);
}

#[tokio::test]
async fn the_versions_of_a_row_are_listed_and_secrets_of_the_configuration_hidden() {
    let (database, sandbox) = shop().await;
    load_sql(&database, "UPDATE orders SET note = 'second' WHERE id = 42").await;
    sandbox.run("backup").expect(0);
    load_sql(&database, "INSERT INTO orders VALUES (500)").await;
    sandbox.run("backup").expect(0);
    load_sql(&database, "DELETE FROM orders WHERE id = 42").await;
    sandbox.run("backup").expect(0);
    let text = sandbox.run("history public.orders 42").expect(0).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[1].ends_with("appeared  id 42, note note 42, api_key •••"), "{text}");
    assert!(lines[2].ends_with("changed   note note 42 → second"), "{text}");
    assert!(lines[3].ends_with("gone"), "{text}");
    assert!(lines[4].starts_with("in 3 of 4 snapshots of shop, "), "{text}");
    let config = sandbox.read("basekeep.toml");
    sandbox.write("basekeep.toml", &format!("{config}[diff]\nsecret = [\"orders.note\", \"!api_key\"]\n"));
    let document = sandbox.run("history orders id=42 --json").expect(0).json();
    let columns = &document["versions"][0]["columns"];
    assert_eq!(find(columns, "name", "note")["new"]["hidden"], true);
    assert_eq!(find(columns, "name", "api_key")["new"], "k42");
    assert_eq!(document["versions"][1]["event"], "changed");
    let wrong = sandbox.run("history orders 1 2").expect(2);
    assert!(
        wrong.stderr.contains("the key of public.orders has 1 column, and 2 values are given"),
        "{}",
        wrong.stderr
    );
    let near = sandbox.run("history order 1").expect(2);
    assert!(near.stderr.contains("did you mean 'public.orders'?"), "{}", near.stderr);
}
