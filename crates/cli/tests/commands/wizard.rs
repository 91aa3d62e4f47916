//! `restore` without a target: everything is asked for on a terminal, and the equal command line does the same.

use basekeep_postgres::{Client, ConnectOptions};
use basekeep_testkit::{TestCluster, TestDatabase, load_sql};

use crate::sandbox::Sandbox;
use crate::terminal::Terminal;

const DOWN: &str = "\x1b[B";
const ENTER: &str = "\r";

const SHOP: &str = "CREATE TABLE customers (id int PRIMARY KEY, name text);
    INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 30) n;
    CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers);
    INSERT INTO orders SELECT n, 1 + n % 30 FROM generate_series(1, 200) n;
    CREATE TABLE notes (note text); INSERT INTO notes VALUES ('keep me out');";

/// A database with a backup, and a sandbox with the repository.
async fn shop() -> (TestDatabase, Sandbox) {
    // One makes a database that nobody else removes.
    let database = TestCluster::private(15, &[]).create_database();
    load_sql(&database, SHOP).await;
    let bin = database.cluster().server().bin.display().to_string();
    let sandbox = Sandbox::new()
        .with_variable("BASEKEEP_PASSWORD", "x")
        .with_variable("BASEKEEP_POSTGRES_BIN", &bin)
        .with_variable("BASEKEEP_REPOSITORY", "r");
    sandbox.run("init --repo r").expect(0);
    sandbox.run(&format!("backup {} --name shop", database.url())).expect(0);
    (database, sandbox)
}

async fn count(database: &TestDatabase, table: &str) -> Option<u64> {
    count_in(&database.options(), table).await
}

async fn count_in(database: &ConnectOptions, table: &str) -> Option<u64> {
    let mut client = Client::connect(database, "test").await.unwrap();
    let sql = format!("SELECT count(*) FROM {table}");
    // A table that is not there is an error even where it is not read.
    let rows = client.query(&sql).await.ok()?;
    Some(rows.one().unwrap().parse(0).unwrap())
}

#[tokio::test]
async fn everything_is_asked_for_and_the_equal_command_line_is_shown() {
    let (source, sandbox) = shop().await;
    let target = source.cluster().create_database();
    let mut terminal = Terminal::start(sandbox.command(["restore"]));
    terminal.wait_for("Which snapshot?").wait_for("231 rows").wait_for("never drilled").press(ENTER);
    terminal.wait_for("What of it?").press(ENTER);
    terminal.wait_for("Where to?").press(&target.url()).press(ENTER);
    terminal.wait_for("the same without questions:").wait_for("basekeep restore ");
    terminal.wait_for("plan for snapshot").wait_for("Type the database's name");
    terminal.press(target.name()).press(ENTER);
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("231 rows") && shown.contains("restored into"), "{shown}");
    assert_eq!(count(&target, "public.notes").await, Some(1));

    // The same again without questions, from what was shown.
    let line = shown.split("basekeep restore ").nth(1).unwrap().lines().next().unwrap();
    let again = source.cluster().create_database();
    let line = line.trim().replace('\'', "").replace(target.name(), again.name());
    sandbox.run(&format!("restore {line} --yes")).expect(0);
    assert_eq!(count(&again, "public.orders").await, Some(200));
}

#[tokio::test]
async fn tables_are_picked_with_what_they_need_into_a_new_database() {
    let (source, sandbox) = shop().await;
    let target = source.cluster().create_database();
    let name = format!("{}_new", target.name());
    let url = target.url().replace(target.name(), &name);
    let mut terminal = Terminal::start(sandbox.command(["restore"]));
    terminal.wait_for("Which snapshot?").press(ENTER);
    terminal.wait_for("What of it?").press(DOWN).press(DOWN).press(ENTER);
    terminal
        .wait_for("Which tables?")
        .wait_for("public.orders")
        .press(DOWN)
        .press(DOWN)
        .press(" ")
        .press(ENTER);
    terminal.wait_for("Also what it needs").press("y");
    terminal.wait_for("Where to?").press(&url).press(ENTER);
    terminal.wait_for("Create it?").press("y");
    terminal.wait_for("--table public.orders --with-dependencies --to").wait_for("--create-database");
    terminal.wait_for("Type the database's name").press(&name).press(ENTER);
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    let made = source.cluster().options(&name);
    assert_eq!(count_in(&made, "public.orders").await, Some(200));
    assert_eq!(count_in(&made, "public.customers").await, Some(30));
    assert_eq!(count_in(&made, "public.notes").await, None);
}

#[tokio::test]
async fn breaking_off_changes_nothing_and_says_so() {
    let (source, sandbox) = shop().await;
    let target = source.cluster().create_database();
    let mut terminal = Terminal::start(sandbox.command(["restore"]));
    terminal.wait_for("Which snapshot?").press("\x03");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(130), "{shown}");
    assert!(shown.contains("\x1b[?25h"), "the cursor is shown again: {shown:?}");

    let mut terminal = Terminal::start(sandbox.command(["restore", "latest", "--only", "schema"]));
    terminal.wait_for("Where to?").press(&target.url()).press(ENTER);
    terminal.wait_for("basekeep restore latest --only schema --to");
    terminal.wait_for("Type the database's name").press("another").press(ENTER);
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("nothing was done"), "{shown}");
    assert_eq!(count(&target, "public.notes").await, None);
}

#[test]
fn nobody_is_asked_where_there_is_no_terminal() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run("restore --repo r").expect(2);
    assert!(ran.stderr.contains("no target is named") && ran.stderr.contains("--to"), "{}", ran.stderr);
}
