//! Backups in the background and around other commands: `backup --detach`, `log`, `status`, `run`.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use basekeep_postgres::{Client, ConnectOptions, Environment};
use basekeep_testkit::TestDatabase;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use crate::sandbox::{Ran, Sandbox};
use crate::server::shop;

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs these arguments, which may have blanks in them.
fn run(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let output = sandbox.command(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A session that keeps every backup waiting until it is closed.
async fn hold(database: &TestDatabase) -> Client {
    let options = ConnectOptions::resolve(&database.url(), &Environment::of_process()).unwrap();
    let mut client = Client::connect(&options, "test").await.unwrap();
    client.execute("BEGIN; LOCK TABLE public.orders IN ACCESS EXCLUSIVE MODE").await.unwrap();
    client
}

fn status(sandbox: &Sandbox) -> serde_json::Value {
    sandbox.run("status --json").expect(0).json()["sources"][0].clone()
}

#[tokio::test]
async fn a_detached_backup_is_followed_to_its_end() {
    let (database, sandbox) = shop().await;
    let blocker = hold(&database).await;
    let ran = sandbox.run("backup --detach --lock-timeout 0 --tag nightly --quiet --json").expect(0);
    let started = ran.json();
    let pid = i32::try_from(started["pid"].as_i64().unwrap()).unwrap();
    assert_eq!(started["sources"], serde_json::json!(["shop"]));
    assert_eq!(getsid(Some(Pid::from_raw(pid))), Ok(Pid::from_raw(pid)), "a session of its own");
    let now = status(&sandbox);
    assert_eq!((&now["running"][0]["pid"], &now["running"][0]["run"]), (&started["pid"], &started["run"]));
    let text = sandbox.run("status shop").expect(0).stdout;
    assert!(text.contains(&format!("process {pid} (basekeep log -f ")), "{text}");
    assert!(
        text.contains("  last      no snapshot\n  proof     never drilled\n  next      no schedule\n"),
        "{text}"
    );
    let mut follow = sandbox.command(["log", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    blocker.close().await;
    let mut log = String::new();
    follow.stdout.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(follow.wait().unwrap().code(), Some(0), "{log}");
    assert!(log.lines().next().unwrap().ends_with(&format!("process {pid} began")), "{log}");
    assert!(log.lines().any(|line| line.starts_with("rows ")), "a line for each step: {log}");
    assert!(log.ends_with("ended with exit code 0\n"), "{log}");
    assert_eq!(
        std::fs::read_to_string(
            started["log"].as_str().unwrap().replace("[FOLDER]", sandbox.path("").to_str().unwrap())
        )
        .unwrap(),
        log
    );
    let now = status(&sandbox);
    assert_eq!((&now["running"], &now["last"]["rows"]), (&serde_json::json!([]), &100.into()), "{now}");
    assert_eq!((&now["last_run"]["state"], &now["last_run"]["exit_code"]), (&"ended".into(), &0.into()));
    assert_eq!(sandbox.run("list --json --tag nightly").json()["snapshots"].as_array().unwrap().len(), 1);
    // By its process and by its source, as lines of JSON.
    let told = sandbox.run(&format!("log {pid} --json")).expect(0).stdout;
    let last: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["state"], &last["exit_code"]),
        (&"result".into(), &"ended".into(), &0.into())
    );
    assert_eq!(told.lines().count(), log.lines().count() + 1);
    assert_eq!(sandbox.run("log shop").expect(0).stdout, log);
}

#[tokio::test]
async fn a_detached_backup_that_is_killed_is_not_taken_for_a_running_one() {
    let (database, sandbox) = shop().await;
    let blocker = hold(&database).await;
    let ran = sandbox.run("backup --detach --lock-timeout 0").expect(0);
    assert!(ran.stdout.starts_with("backup of shop began in the background: process "), "{}", ran.stdout);
    let running = status(&sandbox)["running"][0].clone();
    let pid = Pid::from_raw(i32::try_from(running["pid"].as_i64().unwrap()).unwrap());
    kill(pid, Signal::SIGKILL).unwrap();
    let ran = sandbox.run("log -f").expect(1);
    assert!(ran.stderr.contains(&format!("the run was killed: process {pid} is gone")), "{}", ran.stderr);
    let now = status(&sandbox);
    assert_eq!(
        (&now["running"], &now["last_run"]["state"]),
        (&serde_json::json!([]), &"died".into()),
        "{now}"
    );
    assert!(sandbox.run("status").expect(0).stdout.contains(" was killed (basekeep log "));
    blocker.close().await;
}

#[tokio::test]
async fn work_that_fails_at_once_is_reported_and_no_password_is_shown() {
    let (_database, sandbox) = shop().await;
    let ran = sandbox.run("backup --detach postgresql://me:geheim@127.0.0.1:1/d --name away").expect(0);
    let log = sandbox.run("log --follow").expect(13);
    assert!(log.stdout.contains("cannot connect to 127.0.0.1:1: "), "{}", log.stdout);
    assert!(log.stdout.ends_with("ended with exit code 13\n"), "{}", log.stdout);
    let status = sandbox.run("status away").expect(0);
    assert!(status.stdout.contains(" failed, exit code 13: away: "), "{}", status.stdout);
    let status = sandbox.run("status nobody").expect(2);
    assert!(status.stderr.contains("there is no source 'nobody'"), "{}", status.stderr);
    let folder = sandbox.path(".local/state/basekeep/log");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    let all: String = files.collect::<String>() + &ran.stdout + &ran.stderr + &log.stderr;
    assert!(all.contains("away") && !all.contains("geheim"), "{all}");
}

#[tokio::test]
async fn a_password_in_a_url_is_on_no_command_line() {
    let (database, sandbox) = shop().await;
    let blocker = hold(&database).await;
    let url = database.url();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (user, place) = rest.split_once('@').unwrap();
    let user = user.split(':').next().unwrap();
    let url = format!("{scheme}://{user}:geheim@{place}");
    let ran = sandbox.run(&format!("backup --detach --lock-timeout 0 {url} --name given --json")).expect(0);
    let pid = ran.json()["pid"].as_u64().unwrap();
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(line.contains("--handed-over") && !line.contains("geheim"), "{line}");
    blocker.close().await;
    sandbox.run("log -f").expect(0);
    assert_eq!(sandbox.run("list --json --source given").json()["snapshots"][0]["rows"], 100);
}

#[test]
fn what_cannot_work_in_the_background_is_told_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write("basekeep.toml", "[repository]\nurl = \"r\"\n[source.shop]\nurl = \"postgresql://h/d\"\n");
    let ran = sandbox.run("backup --detach").expect(2);
    assert!(ran.stderr.contains("no password is known for the repository"), "{}", ran.stderr);
    let ran = sandbox.run("backup --detach shopp").expect(2);
    assert!(ran.stderr.contains("did you mean 'shop'?"), "{}", ran.stderr);
    sandbox.refused("log", 2, "error: there is no log\nhint: `basekeep backup --detach` makes one\n");
    sandbox.refused("backup --handed-over", 2, "error: --handed-over is for this program's own processes\n");
}

#[tokio::test]
async fn status_knows_the_next_time_and_says_what_it_can_without_a_repository() {
    let (database, sandbox) = shop().await;
    sandbox.run("backup").expect(0);
    let config = sandbox.read("basekeep.toml") + "profile = \"production\"\n";
    sandbox.write("basekeep.toml", &config);
    let now = status(&sandbox);
    let jobs: Vec<_> =
        now["next"].as_array().unwrap().iter().map(|next| next["job"].as_str().unwrap()).collect();
    assert!(jobs == ["backup", "drill"] || jobs == ["drill", "backup"], "{now}");
    let soon = now["next"].as_array().unwrap().iter().find(|next| next["job"] == "backup").unwrap();
    assert!((0..=6 * 3600).contains(&soon["in_seconds"].as_i64().unwrap()), "{now}");
    assert_eq!(
        (&now["last_run"]["exit_code"], &now["last_run"]["log"]),
        (&0.into(), &serde_json::Value::Null)
    );
    std::fs::rename(sandbox.path("r"), sandbox.path("moved")).unwrap();
    let ran = sandbox.run("status").expect(10);
    assert!(ran.stdout.starts_with("shop\n  next      "), "{}", ran.stdout);
    let ran = sandbox.run("status --json").expect(10);
    assert_eq!(ran.json()["error"]["kind"], "no-repository");
    drop(database);
}

#[tokio::test]
async fn a_stack_starts_with_a_backup_in_the_background() {
    let (_database, sandbox) = shop().await;
    let ran = run(
        &sandbox,
        &[
            "run",
            "--when",
            "test -e up",
            "--tag",
            "start",
            "--",
            "sh",
            "-c",
            "echo stack; sleep 0.3; touch up",
        ],
    );
    let ran = ran.expect(0);
    assert_eq!(ran.stdout, "stack\n", "standard output is the command's");
    assert!(ran.stderr.contains("backup of shop began in the background: process "), "{}", ran.stderr);
    assert!(ran.stderr.contains("follow it with `basekeep log -f "), "{}", ran.stderr);
    sandbox.run("log -f").expect(0);
    assert_eq!(sandbox.run("list --json --tag start").json()["snapshots"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_command_goes_on_whatever_becomes_of_the_backup() {
    let (_database, sandbox) = shop().await;
    let ran = run(&sandbox, &["run", "--", "sh", "-c", "exit 7"]).expect(7);
    assert!(
        ran.stderr.contains("no backup: the command failed before one began")
            || ran.stderr.contains("began in"),
        "{}",
        ran.stderr
    );
    let ran = run(
        &sandbox,
        &[
            "run",
            "--wait",
            "1s",
            "--source",
            "postgresql://me:geheim@127.0.0.1:1/d",
            "--",
            "sh",
            "-c",
            "exit 0",
        ],
    );
    let ran = ran.expect(0);
    assert!(ran.stderr.contains("warning: no backup: the database "), "{}", ran.stderr);
    assert!(!ran.stderr.contains("geheim"), "{}", ran.stderr);
    let ran = run(&sandbox, &["run", "--source", "nobody", "--", "sh", "-c", "sleep 0.5; exit 5"]).expect(5);
    assert!(ran.stderr.contains("warning: no backup: there is no source 'nobody'"), "{}", ran.stderr);
    let ran = run(&sandbox, &["run", "--", "./not-there"]).expect(127);
    assert!(ran.stderr.starts_with("error: cannot start ./not-there"), "{}", ran.stderr);
}

#[tokio::test]
async fn signals_reach_the_command() {
    let (_database, sandbox) = shop().await;
    let trap = "trap 'exit 42' TERM; trap 'exit 43' INT; echo up; touch up; while :; do sleep 0.05; done";
    for (signal, code) in [(Signal::SIGTERM, 42), (Signal::SIGINT, 43), (Signal::SIGUSR1, 128 + 10)] {
        let _ = std::fs::remove_file(sandbox.path("up"));
        let mut child = Ended(
            sandbox
                .command(["run", "--when", "false", "--", "sh", "-c", trap])
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        );
        wait_until("the command", || sandbox.path("up").exists());
        kill(Pid::from_raw(i32::try_from(child.0.id()).unwrap()), signal).unwrap();
        assert_eq!(child.0.wait().unwrap().code(), Some(code), "{signal}");
    }
}

/// Does not outlive the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn before_a_deployment_the_backup_comes_first_and_says_the_way_back() {
    let (database, sandbox) = shop().await;
    let ran =
        run(&sandbox, &["run", "--before", "--", "sh", "-c", "basekeep() { :; }; echo deployed; exit 9"])
            .expect(9);
    assert_eq!(ran.stdout, "deployed\n", "standard output is the command's");
    let id = sandbox.run("list --json").json()["snapshots"][0]["id"].as_str().unwrap()[..8].to_owned();
    let back = format!("to go back: basekeep restore {id} --to 'shop' --mode clear\n");
    assert_eq!(ran.stderr.matches(&back).count(), 2, "before and after a failure: {}", ran.stderr);
    // The command is one that works.
    let target = database.cluster().create_database();
    let line = back.trim().trim_start_matches("to go back: basekeep ").replace("'shop'", &target.url());
    sandbox.run(&format!("{line} --yes")).expect(0);
}

#[tokio::test]
async fn before_a_deployment_a_backup_that_fails_keeps_it_from_starting() {
    let (_database, sandbox) = shop().await;
    let away = ["run", "--before", "--source", "postgresql://me@127.0.0.1:1/d", "--", "touch", "deployed"];
    let ran = run(&sandbox, &away).expect(13);
    assert!(
        ran.stderr.contains("error: the backup failed with exit code 13, so touch was not started"),
        "{}",
        ran.stderr
    );
    // The plain copy cannot be written: the backup is incomplete.
    let config = sandbox.read("basekeep.toml") + "[export]\nfolder = \"plain\"\n";
    sandbox.write("basekeep.toml", &config).write("plain", "a file");
    let ran = run(&sandbox, &["run", "--before", "--", "touch", "deployed"]).expect(3);
    assert!(
        ran.stderr.contains("error: the backup is incomplete, so touch was not started"),
        "{}",
        ran.stderr
    );
    assert!(!sandbox.path("deployed").exists());
    let ran =
        run(&sandbox, &["run", "--before", "--when", "false", "--wait", "1s", "--", "touch", "deployed"])
            .expect(13);
    assert!(ran.stderr.contains("the command false is not up after 1.0 s"), "{}", ran.stderr);
    assert!(!sandbox.path("deployed").exists());
    run(&sandbox, &["run", "--before", "--even-if", "incomplete", "--", "touch", "deployed"]).expect(0);
    assert!(sandbox.path("deployed").exists());
}
