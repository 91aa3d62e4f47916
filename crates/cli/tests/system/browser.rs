//! The dashboard in a real Chromium. What it does there is in `dashboard.mjs`; here are the server, the database and the looks
//! at what was left behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use basekeep_testkit::{TestCluster, load_sql, tool};
use tempfile::TempDir;

/// Rows of its largest table but one.
const ORDERS: u32 = 60_000;
/// Stands in a column whose values no page may show.
const SECRET: &str = "planted-secret";

const SHOP: &str = "
CREATE TABLE public.customers (id int PRIMARY KEY, name text NOT NULL, email text, password_hash text);
INSERT INTO public.customers
    SELECT n, 'Customer ' || n, 'c' || n || '@example.com', 'planted-secret-' || n FROM generate_series(1, 50) n;
CREATE TABLE public.orders (id int PRIMARY KEY, customer int REFERENCES public.customers, total int NOT NULL, note text);
INSERT INTO public.orders SELECT n, 1 + n % 50, n % 1000, repeat(md5(n::text), 6) FROM generate_series(1, 60000) n;
CREATE TABLE public.order_lines (order_id int REFERENCES public.orders ON DELETE CASCADE, line int, article text,
    PRIMARY KEY (order_id, line));
INSERT INTO public.order_lines
    SELECT n, l, 'article ' || l FROM generate_series(1, 60000) n, generate_series(1, 2) l;
CREATE INDEX orders_customer ON public.orders (customer);
CREATE FUNCTION public.total(c int) RETURNS bigint LANGUAGE sql
    AS 'SELECT sum(total) FROM public.orders WHERE customer = c';
";

/// A dashboard that is served until this is dropped.
struct Served {
    process: Child,
    address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn basekeep(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_basekeep"));
    crate::program::clean(&mut command, folder);
    command
        .env("BASEKEEP_PASSWORD", crate::program::PASSWORD)
        .env("BASEKEEP_POSTGRES_BIN", crate::program::binaries())
        .current_dir(folder)
        .args(arguments);
    command
}

/// The hash of a password, as a line of the configuration.
fn hashed(folder: &Path, password: &str) -> String {
    std::fs::write(folder.join("password"), password).unwrap();
    let made = basekeep(folder, &["dashboard", "password", "--password-file", "password"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

fn serve(folder: &Path, config: &str, state: &str) -> Served {
    let arguments = ["--config", config, "dashboard", "--listen", "127.0.0.1:0", "--state", state];
    let mut process = basekeep(folder, &arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let address = lines
        .by_ref()
        .map(Result::unwrap)
        .find_map(|line| line.strip_prefix("the dashboard is at ").map(str::to_owned))
        .expect("it says where it is");
    // What it prints later must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Served { process, address }
}

fn config(folder: &TempDir, url: &str, dashboard: &str) -> String {
    let (ada, vic) =
        (hashed(folder.path(), "an operator's password"), hashed(folder.path(), "a viewer's password"));
    format!(
        "[repository]\nurl = \"./repo\"\n[source.shop]\nurl = \"{url}\"\nlimit_rows = 60000\n\
         [dashboard]\n{dashboard}\n\
         [dashboard.user.ada]\nrole = \"operator\"\n{ada}[dashboard.user.vic]\nrole = \"viewer\"\n{vic}"
    )
}

#[test]
fn an_operator_and_a_viewer_use_the_dashboard_in_a_browser() {
    let cluster = TestCluster::private(15, &[]);
    let database = cluster.create_database();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(load_sql(&database, SHOP));
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("basekeep.toml", &config(&folder, &database.url(), ""));
    write("short.toml", &config(&folder, &database.url(), "session_idle = \"2s\""));
    let made = basekeep(folder.path(), &["init", "--repo", "./repo"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let site = serve(folder.path(), "basekeep.toml", "state");
    let short = serve(folder.path(), "short.toml", "short");
    let (node, modules) = basekeep_testkit::node();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/dashboard.mjs");
    let driven = Command::new(node)
        .arg(script)
        .env("SITE", &site.address)
        .env("SHORT_SITE", &short.address)
        .env("BROWSER_MODULES", modules)
        .env("CHROMIUM", basekeep_testkit::chromium())
        .env("PSQL", tool("psql", 15))
        .env("DATABASE_URL", database.url())
        .env("TARGET", "shop_copy")
        .env("SNAPSHOT_SECRET", SECRET)
        .env("ORDERS", ORDERS.to_string())
        .output()
        .unwrap();
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(driven.status.success(), "{}\n{}", told(&driven.stdout), told(&driven.stderr));

    let audit = std::fs::read_to_string(folder.path().join("state/audit.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has = |who: &str, action: &str, outcome: &str| {
        lines.iter().any(|line| line["who"] == who && line["action"] == action && line["outcome"] == outcome)
    };
    for (who, action, outcome) in [
        ("", "login", "refused"),
        ("", "login", "done"),
        ("ada", "backup", "started"),
        ("ada", "drill", "started"),
        ("ada", "export", "started"),
        ("ada", "plan", "done"),
        ("ada", "restore", "refused"),
        ("ada", "restore", "started"),
        ("vic", "request", "refused"),
    ] {
        assert!(has(who, action, outcome), "{who} {action} {outcome} is not written down:\n{audit}");
    }
    for secret in ["an operator's password", "a viewer's password", SECRET, "$argon2id"] {
        assert!(!audit.contains(secret), "{secret} is written down");
    }
}
