//! `monitor` and `alert`: what is found in real snapshots, who is told, and the dashboard in a pseudo-terminal.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use basekeep_testkit::load_sql;

use crate::sandbox::Sandbox;
use crate::server::shop;
use crate::terminal::Terminal;

const PLANTED: &str = "tiefgeheim-4711";

/// Takes every POST, and keeps what it got.
fn receiver() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let kept = taken.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let length = text.lines().find_map(|line| {
                    line.to_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
                });
                if text.split_once("\r\n\r\n").is_some_and(|(_, body)| Some(body.len()) >= length) {
                    break;
                }
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => bytes.extend_from_slice(&buffer[..read]),
                }
            }
            kept.lock().unwrap().push(String::from_utf8_lossy(&bytes).into_owned());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (format!("http://{address}"), taken)
}

fn append(sandbox: &Sandbox, text: &str) {
    let config = sandbox.read("basekeep.toml");
    sandbox.write("basekeep.toml", &format!("{config}{text}"));
}

/// What arrived since the last call, as paths and documents.
fn taken(all: &Mutex<Vec<String>>) -> Vec<(String, serde_json::Value)> {
    let texts = std::mem::take(&mut *all.lock().unwrap());
    let parse = |text: &String| {
        let path = text.split_whitespace().nth(1).unwrap().to_owned();
        // The address itself has to be asked for.
        let rest = text.split_once("\r\n").unwrap().1;
        assert!(!rest.contains(PLANTED), "{text}");
        let body = rest.split_once("\r\n\r\n").unwrap().1;
        (path, serde_json::from_str(body).unwrap_or_else(|_| body.into()))
    };
    texts.iter().map(parse).collect()
}

#[tokio::test]
async fn the_monitor_finds_what_happened_and_tells_it_once() {
    let (database, sandbox) = shop().await;
    let (url, got) = receiver();
    append(
        &sandbox,
        &format!(
            "[alerts]\ntotal_rows = 1000\nnotify = [{{ webhook = \"{url}/hook?token={PLANTED}\" }}, {{ ping = \"{url}/ping\" }}]\n"
        ),
    );
    let ran = sandbox.run("monitor --notify").expect(1);
    assert!(ran.stdout.contains("CRITICAL shop: it was never backed up"), "{}", ran.stdout);
    let first = taken(&got);
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(first[0].1["alerts"][0]["code"], "never-backed-up");
    assert_eq!(first[0].1["alerts"][0]["command"], "basekeep backup shop");

    sandbox.run("backup").expect(0);
    let pings: Vec<String> = taken(&got).into_iter().map(|(path, _)| path).collect();
    assert_eq!(pings, ["/ping/start", "/ping"]);
    let ran = sandbox.run("monitor --notify").expect(0);
    assert!(ran.stdout.contains("nothing alerts"), "{}", ran.stdout);
    assert!(ran.stdout.contains("public.orders"), "{}", ran.stdout);
    let over = taken(&got);
    assert_eq!((over.len(), &over[0].1["alerts"][0]["state"]), (1, &"recovered".into()));
    sandbox.run("monitor --notify").expect(0);
    assert_eq!(taken(&got).len(), 0);

    load_sql(
        &database,
        "DELETE FROM orders WHERE id > 20; CREATE TABLE more AS SELECT generate_series(1, 2000) n",
    )
    .await;
    sandbox.run("backup").expect(0);
    taken(&got);
    let document = sandbox.run("monitor --json --notify").expect(1).json();
    assert_eq!((&document["version"], &document["alerting"]), (&1.into(), &true.into()));
    let codes: Vec<&str> = document["sources"][0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["total-rows", "table-lost-rows"]);
    let lost = &document["sources"][0]["findings"][1];
    assert_eq!(lost["message"], "public.orders lost many rows: 100 before, 20 now");
    assert_eq!(document["sources"][0]["tables"][0]["table"], "public.more");
    let both = taken(&got);
    assert_eq!((both.len(), both[0].1["alerts"].as_array().unwrap().len()), (1, 2), "one message for both");
    let listed = sandbox.run("alert list --json").expect(0);
    assert!(!listed.stdout.contains(PLANTED), "{}", listed.stdout);
    assert_eq!(listed.json()["alerts"].as_array().unwrap().len(), 2);

    load_sql(&database, "DROP TABLE orders; TRUNCATE more").await;
    sandbox.run("backup").expect(0);
    let document = sandbox.run("monitor --json").expect(1).json();
    let text = document["sources"][0]["findings"].to_string();
    assert!(text.contains("table-vanished") && text.contains("table-empty"), "{text}");
    assert!(!text.contains("total-rows"), "{text}");
    // The same without the cache.
    let fresh = sandbox.run("monitor --json --no-cache").expect(1).json();
    assert_eq!(fresh["sources"][0]["tables"], document["sources"][0]["tables"]);

    let failing = sandbox.read("basekeep.toml").replace(
        "[source.shop]\nurl = \"",
        "[source.shop]\nurl = \"postgresql://me:PLANTED@127.0.0.1:1/d\"#",
    );
    sandbox.write("basekeep.toml", &failing.replace("PLANTED", PLANTED));
    taken(&got);
    let ran = sandbox.run("backup").expect(13);
    assert!(!ran.stderr.contains(PLANTED), "{}", ran.stderr);
    let told = taken(&got);
    let paths: Vec<&str> = told.iter().map(|(path, _)| path.split('?').next().unwrap()).collect();
    assert!(paths.contains(&"/hook") && paths.contains(&"/ping/fail"), "{told:?}");
}

#[test]
fn channels_are_tested_and_what_does_not_work_is_named() {
    let sandbox = Sandbox::new().with_variable("BASEKEEP_PASSWORD", "x");
    let (url, got) = receiver();
    sandbox.write(
        "basekeep.toml",
        &format!(
            "[alerts]\nnotify = [{{ discord = \"{url}/d\" }}, {{ slack_env = \"NOT_SET\" }}, {{ command = \"cat > out.json; echo {PLANTED} >&2; exit 3\" }}, \
             {{ command = \"cat > said.json\", name = \"say\" }}]\n"
        ),
    );
    let ran = sandbox.run("alert test").expect(2);
    assert!(ran.stdout.contains("discord: sent\n") && ran.stdout.contains("say: sent\n"), "{}", ran.stdout);
    assert!(ran.stderr.contains("the variable NOT_SET is not set"), "{}", ran.stderr);
    assert!(ran.stderr.contains("the command failed: exit status: 3"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(&format!("echo {PLANTED}")), "{}", ran.stderr);
    assert_eq!(taken(&got).len(), 1);
    let said: serde_json::Value = serde_json::from_str(&sandbox.read("said.json")).unwrap();
    assert_eq!((&said["version"], &said["title"]), (&1.into(), &"basekeep: a test message".into()));
    sandbox.run("alert test --channel say").expect(0);
    let ran = sandbox.run("alert test --channel sya").expect(2);
    assert!(ran.stderr.contains("there is no channel 'sya'"), "{}", ran.stderr);
    let listed = sandbox.run("alert list").expect(0);
    assert!(
        listed.stdout.contains("NOT READY") && listed.stdout.contains("nothing alerts"),
        "{}",
        listed.stdout
    );
    sandbox.write("basekeep.toml", "");
    sandbox.run("alert test").expect(2);
}

#[tokio::test]
async fn the_dashboard_is_looked_around_in_and_left() {
    let (_database, sandbox) = shop().await;
    sandbox.run("backup").expect(0);
    let mut terminal = Terminal::start(sandbox.command(["monitor", "--watch"]));
    // Only cells that change are sent, so that single words can be waited for.
    terminal.wait_for("sources").wait_for("shop").wait_for("unknown");
    terminal.press("\t").wait_for("unknown");
    terminal.press("3").wait_for("public.orders");
    terminal.press("4").wait_for("nothing");
    terminal.press("5").wait_for("body");
    terminal.press("?").wait_for("another").press("\x1b");
    terminal.resize(5, 20).press("r").resize(1, 1).press("1").resize(40, 120).wait_for("sources");
    let (code, shown) = terminal.end_by("q");
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.trim_end().ends_with("\x1b[?1049l") || shown.contains("\x1b[?1049l"),
        "the screen is put back"
    );
    sandbox.refused(
        "monitor --watch",
        2,
        "error: --watch needs a terminal\nhint: `basekeep monitor` prints the same once, `--json` for programs\n",
    );
}
