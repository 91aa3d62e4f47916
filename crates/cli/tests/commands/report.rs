//! `basekeep report`: of a snapshot, of some days, in a folder, to a channel.

use std::io::{Read, Write};
use std::net::TcpListener;

use basekeep_testkit::load_sql;

use crate::sandbox::Sandbox;
use crate::server::shop;

fn reports(sandbox: &Sandbox) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(sandbox.path("reports")) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_report_says_what_changed_what_went_and_how_it_is_put_back() {
    let (database, sandbox) = shop().await;
    let config = sandbox.read("basekeep.toml") + "[report]\nfolder = \"reports\"\n";
    sandbox.write("basekeep.toml", &config);
    sandbox.run("backup").expect(0);
    let first = sandbox.run("report").expect(0).stdout;
    assert!(first.contains("it is the first one\n"), "{first}");
    load_sql(&database, "INSERT INTO orders SELECT generate_series(101, 130); CREATE TABLE items (id int)")
        .await;
    sandbox.run("forget --source shop --keep-last 1").expect(0);
    let ran = sandbox.run("backup").expect(0);
    assert!(ran.stderr.contains("report in [FOLDER]/reports/"), "{}", ran.stderr);
    let markdown = sandbox.run("report --markdown").expect(0).stdout;
    for expected in [
        "# Backup of shop\n",
        "| state | complete |\n",
        "| rows | 130 | 100 | +30 |\n",
        "| table | 2 | 1 | +1 |\n",
        "| public.orders | 130 | 100 | +30 |\n",
        "| public.items | 0 |  | new |\n",
        "- forget: 0 snapshots removed\n",
        "This snapshot was not drilled yet",
        " --to 'shop' --mode clear\n",
    ] {
        assert!(markdown.contains(expected), "{expected}\nin\n{markdown}");
    }
    let document = sandbox.run("report --json").expect(0).json();
    assert_eq!((&document["version"], &document["complete"]), (&1.into(), &true.into()));
    assert_eq!(document["before"]["snapshot"].as_str().unwrap().len(), 64);
    let text = sandbox.run("report").expect(0).stdout;
    assert!(text.contains("rows of public.orders"), "{text}");

    // Reports go with their snapshots.
    let before = reports(&sandbox);
    assert_eq!(before.len(), 4, "{before:?}");
    assert_eq!(sandbox.read(&format!("reports/{}", before[3])), markdown, "the same, written down");
    sandbox.run("forget --source shop --keep-last 1 --prune").expect(0);
    sandbox.run("backup").expect(0);
    let after = reports(&sandbox);
    assert_eq!(after.len(), 4, "{after:?}");
    assert!(!after.contains(&before[0]) && after.contains(&before[3]), "{before:?} {after:?}");
    let cleaned = sandbox.run("report --json").expect(0).json()["cleanup"].clone();
    assert!(cleaned["done"][0].as_str().unwrap().starts_with("forget: 1 snapshot removed"), "{cleaned}");
    assert!(cleaned["done"][1].as_str().unwrap().starts_with("prune: "), "{cleaned}");
}

#[tokio::test]
async fn a_report_that_cannot_be_written_does_not_spoil_the_backup() {
    let (_database, sandbox) = shop().await;
    let config = sandbox.read("basekeep.toml") + "[report]\nfolder = \"reports\"\n";
    sandbox.write("basekeep.toml", &config).write("reports", "a file");
    let ran = sandbox.run("backup").expect(0);
    assert!(ran.stderr.contains("warning: the report was not written: cannot write "), "{}", ran.stderr);
}

/// Takes one message, and gives its body.
fn receiver() -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut received, mut piece) = (Vec::new(), [0; 4096]);
        let whole = |text: &str| {
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
            (body.len() >= length).then(|| body.to_owned())
        };
        loop {
            let read = stream.read(&mut piece).unwrap();
            received.extend_from_slice(&piece[..read]);
            if let Some(body) = whole(&String::from_utf8_lossy(&received)) {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .unwrap();
                return body;
            }
            assert!(read > 0, "the connection ended early");
        }
    });
    (address, receiver)
}

#[tokio::test]
async fn channels_that_want_runs_get_a_report_of_each_backup() {
    let (_database, sandbox) = shop().await;
    let (address, receiver) = receiver();
    let notify = format!("[alerts]\nnotify = [{{ webhook = \"http://{address}/\", topics = [\"runs\"] }}]\n");
    sandbox.write("basekeep.toml", &(sandbox.read("basekeep.toml") + &notify));
    sandbox.run("backup").expect(0);
    let body = receiver.join().unwrap();
    assert!(
        body.contains("basekeep: backup of shop is complete") && body.contains("| rows | 100 |"),
        "{body}"
    );
}

#[tokio::test]
async fn a_digest_adds_up_runs_and_goes_to_the_channels_that_want_it() {
    let (_database, sandbox) = shop().await;
    sandbox.run("backup").expect(0);
    sandbox.run("backup postgresql://me:geheim@127.0.0.1:1/d --name shop").expect(13);
    let text = sandbox.run("report --digest").expect(0).stdout;
    assert!(
        text.contains("\nshop\n  snapshots   1, newest 0 h ago\n  failed runs 1\n  rows        100 (same)\n"),
        "{text}"
    );
    assert!(text.contains("backup of shop: 1 failed, last on "), "{text}");
    let document = sandbox.run("report --digest --days 30 --json").expect(0).json();
    let shop = &document["sources"][0];
    assert_eq!(
        (&shop["runs"]["backup"]["done"], &shop["runs"]["backup"]["failed"]),
        (&1.into(), &1.into()),
        "{document}"
    );
    assert!(!document.to_string().contains("geheim"), "{document}");
    let ran = sandbox.run("report --digest --notify").expect(2);
    assert!(ran.stderr.contains("there is nobody to send the digest to"), "{}", ran.stderr);

    let (address, receiver) = receiver();
    let config = format!(
        "{}[alerts]\nnotify = [{{ webhook = \"http://{address}/\" }}]\n",
        sandbox.read("basekeep.toml")
    );
    sandbox.write("basekeep.toml", &config);
    sandbox.run("report --digest --notify").expect(0);
    let body = receiver.join().unwrap();
    assert!(body.contains("basekeep: 7 days, 1 snapshots") && body.contains("| shop | 1 | 1 |"), "{body}");
}

#[tokio::test]
async fn serve_sends_a_digest_on_its_schedule() {
    let (_database, sandbox) = shop().await;
    let (address, receiver) = receiver();
    let more = format!(
        "profile = \"development\"\n[alerts]\ndigest = \"*/2 * * * * *\"\n\
         notify = [{{ webhook = \"http://{address}/\", topics = [\"digest\"] }}]\n"
    );
    sandbox.write("basekeep.toml", &(sandbox.read("basekeep.toml") + &more));
    let mut serve =
        sandbox.command(["serve", "--listen", "off"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    let body = receiver.join().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(serve.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    serve.wait().unwrap();
    assert!(body.contains("| shop | 0 |"), "{body}");
}
