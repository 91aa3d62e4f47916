//! `basekeep forget` and `basekeep unlock` as a user meets them, on snapshots that stock restic made.

use basekeep_testkit::tool;

use crate::sandbox::Sandbox;

/// A repository with a few snapshots of `shop`, one a day, the last one on that day of June 2024.
fn sandbox(days: u32) -> Sandbox {
    let sandbox = Sandbox::new()
        .with_variable("BASEKEEP_PASSWORD", "x")
        .with_variable("BASEKEEP_REPOSITORY", "backups")
        .with_variable("TZ", "UTC");
    sandbox.run("init --repo backups").expect(0);
    // A path that is the source's name, as basekeep writes it; what is inside does not matter here.
    for day in 1..=days {
        backup(&sandbox, &format!("2024-06-0{day} 10:00:00"), "shop");
    }
    sandbox
}

fn backup(sandbox: &Sandbox, time: &str, source: &str) {
    sandbox.write("content", time);
    let status = std::process::Command::new(tool("restic", 0))
        .args(["--no-cache", "--quiet", "--repo"])
        .arg(sandbox.path("backups"))
        .args(["backup", "--stdin", "--stdin-filename", source, "--host", source, "--time", time])
        .env("RESTIC_PASSWORD", "x")
        .env("TZ", "UTC")
        .stdin(std::fs::File::open(sandbox.path("content")).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
}

fn ids(sandbox: &Sandbox) -> Vec<String> {
    let listed = sandbox.run("list --json").expect(0).json();
    let snapshots = listed["snapshots"].as_array().unwrap().clone();
    snapshots.iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_policy_from_the_command_line_says_what_goes_and_why_the_rest_stays() {
    let sandbox = sandbox(8);
    let before = ids(&sandbox);
    let ran = sandbox.run("forget --keep-last 2 --keep-weekly 2 --dry-run").expect(0);
    let shown = ran.stdout.lines().map(|line| match line.split_once(char::is_whitespace) {
        // Ids are different each time.
        Some(("keep" | "would", _)) => {
            let id = before.iter().find(|id| line.contains(&id[..8])).unwrap();
            line.replace(&id[..8], "[ID]")
        }
        _ => line.to_owned(),
    });
    let mut shown: Vec<String> = shown.collect();
    let sum = shown.pop().unwrap();
    assert!(sum.starts_with("5 snapshots would go, 3 stay; `basekeep prune` would free about "), "{sum}");
    assert_eq!(
        shown,
        [
            "shop: keep the newest 2, 2 weekly",
            "keep      [ID]  2024-06-08 10:00:00    last, weekly",
            "keep      [ID]  2024-06-07 10:00:00    last",
            "would go  [ID]  2024-06-06 10:00:00",
            "would go  [ID]  2024-06-05 10:00:00",
            "would go  [ID]  2024-06-04 10:00:00",
            "would go  [ID]  2024-06-03 10:00:00",
            "keep      [ID]  2024-06-02 10:00:00    weekly",
            "would go  [ID]  2024-06-01 10:00:00",
            "",
        ]
    );
    assert_eq!(ids(&sandbox), before);

    let document = sandbox.run("forget --keep-last 2 --keep-weekly 2 --json").expect(0).json();
    assert_eq!((&document["version"], &document["dry_run"]), (&1.into(), &false.into()));
    assert_eq!(document["removed"].as_array().unwrap().len(), 5);
    assert!(document["frees_bytes"].as_u64().unwrap() > 0);
    let group = &document["groups"][0];
    assert_eq!(group["source"], "shop");
    assert_eq!(group["policy"], "the newest 2, 2 weekly");
    assert_eq!(group["keep"][0]["reasons"], serde_json::json!(["last", "weekly"]));
    assert_eq!(ids(&sandbox), [&before[1..2], &before[6..]].concat());
    let again = sandbox.run("forget --keep-last 2 --keep-weekly 2").expect(0);
    assert!(again.stdout.ends_with("nothing to remove: 3 snapshots stay\n"), "{}", again.stdout);
}

#[test]
fn profiles_decide_for_their_sources_and_for_nobody_else() {
    let sandbox = sandbox(4);
    backup(&sandbox, "2024-06-01 10:00:00", "other");
    sandbox.write(
        "basekeep.toml",
        "[source.shop]\nurl = \"postgresql://h/d\"\nprofile = \"p\"\n[profile.p]\nkeep = { max = 1 }\n",
    );
    let ran = sandbox.run("forget").expect(0);
    assert!(
        ran.stdout.contains("3 snapshots removed, 1 stay; `basekeep prune` frees about "),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.stderr, "note: 1 snapshot stays because no profile says what to keep of other\n");
    assert_eq!(ids(&sandbox).len(), 2);
}

#[test]
fn what_is_named_goes() {
    let sandbox = sandbox(4);
    let before = ids(&sandbox);
    let ran = sandbox.run(&format!("forget {} {}", &before[0][..8], &before[2])).expect(0);
    assert!(ran.stdout.contains("\n2 snapshots removed; "), "{}", ran.stdout);
    assert_eq!(ids(&sandbox), [&before[1..2], &before[3..]].concat());
    let ran = sandbox.run("forget latest --json").expect(0);
    assert_eq!(ran.json()["removed"][0], before[3].as_str());
    let warned = ran.json()["warnings"][0].as_str().unwrap().to_owned();
    assert!(warned.ends_with("was the last good snapshot of shop"), "{warned}");
}

#[test]
fn prune_frees_the_space_at_once_when_something_was_removed() {
    let sandbox = sandbox(3);
    let packs = || -> usize {
        let folders = std::fs::read_dir(sandbox.path("backups/data")).unwrap();
        folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
    };
    let before = packs();
    let dry = sandbox.run("forget --keep-last 1 --prune --dry-run").expect(0);
    assert!(dry.stdout.contains("`basekeep prune` would free about "), "{}", dry.stdout);
    assert_eq!(packs(), before);
    let document = sandbox.run("forget --keep-last 1 --prune --json").expect(0).json();
    assert_eq!(document["removed"].as_array().unwrap().len(), 2);
    assert!(document["prune"]["done"]["packs_deleted"].as_u64().unwrap() >= 2, "{document}");
    assert!(packs() < before);
    let again = sandbox.run("forget --keep-last 1 --prune").expect(0);
    assert_eq!(again.stdout.lines().last(), Some("nothing to remove: 1 snapshot stays"));
}

#[test]
fn nothing_is_removed_when_nothing_says_what_to_keep() {
    let sandbox = sandbox(2);
    sandbox.refused(
        "forget",
        2,
        "error: nothing says what to keep, so nothing is removed\n\
         hint: there is no basekeep.toml with a profile\n\
         hint: or give rules, such as --keep-within 30d --keep-monthly 12; add --dry-run to see what they would do\n",
    );
    sandbox.refused(
        "forget --keep-daily 0",
        2,
        "error: what the options say keeps nothing\n\
         hint: give rules such as --keep-within 30d --keep-monthly 12, or name snapshots to remove\n",
    );
    sandbox.refused(
        "forget --keep-last 2 latest",
        2,
        "error: snapshots and rules about what to keep contradict each other\n\
         hint: name snapshots to remove exactly those, or give rules and no snapshots\n",
    );
    let wrong = sandbox.run("forget --keep-within 30").expect(2);
    assert!(wrong.stderr.contains("'30' is no span of time: a unit is missing"), "{}", wrong.stderr);
    sandbox.write("basekeep.toml", "[repository]\nurl = \"backups\"\nappend_only = true\n");
    let refused = sandbox.run("forget --keep-last 1").expect(2);
    assert!(refused.stderr.starts_with("error: basekeep.toml says that this repository is append-only"));
    sandbox.run("forget --keep-last 1 --dry-run").expect(0);
    assert_eq!(ids(&sandbox).len(), 2);
}

#[test]
fn unlock_names_who_held_what_it_removes() {
    let sandbox = sandbox(0);
    assert_eq!(sandbox.run("unlock").expect(0).stdout, "no locks\n");
    let mut restic = std::process::Command::new(tool("restic", 0))
        .args(["--no-cache", "--quiet", "--repo"])
        .arg(sandbox.path("backups"))
        .args(["backup", "--stdin", "--host", "h"])
        .env("RESTIC_PASSWORD", "x")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pid = restic.id();
    let locks = || std::fs::read_dir(sandbox.path("backups/locks")).map_or(0, Iterator::count);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while locks() == 0 {
        assert!(std::time::Instant::now() < deadline, "restic does not lock");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let held = sandbox.run("unlock --json").expect(0).json();
    assert_eq!((&held["removed"], &held["held"][0]["pid"]), (&serde_json::json!([]), &pid.into()));
    assert!(held["held"][0]["stale"].is_null());
    restic.kill().unwrap();
    restic.wait().unwrap();
    let ran = sandbox.run("unlock").expect(0);
    assert!(ran.stdout.starts_with("removed  "), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("(process {pid})")), "{}", ran.stdout);
    assert!(ran.stdout.ends_with(": its process is gone\n"), "{}", ran.stdout);
    assert_eq!(locks(), 0);
}
