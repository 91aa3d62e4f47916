//! `basekeep check` as a user meets it.

use crate::sandbox::Sandbox;

/// A repository with a snapshot of 40 packs or so.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new()
        .with_variable("BASEKEEP_PASSWORD", "x")
        .with_variable("BASEKEEP_REPOSITORY", "backups");
    sandbox.run("init --repo backups").expect(0);
    for n in 0..12 {
        sandbox.write("shop/file.txt", &format!("{n} is the content\n").repeat(1000));
        let status = std::process::Command::new(basekeep_testkit::tool("restic", 0))
            .args(["--no-cache", "--quiet", "--repo"])
            .arg(sandbox.path("backups"))
            .args(["backup", "--host", "shop", "shop"])
            .env("RESTIC_PASSWORD", "x")
            .current_dir(sandbox.path(""))
            .status();
        assert!(status.unwrap().success());
    }
    sandbox
}

fn result(sandbox: &Sandbox, line: &str, code: i32) -> serde_json::Value {
    let ran = sandbox.run(line).expect(code);
    serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap()
}

#[test]
fn as_much_is_read_as_was_asked_for() {
    let sandbox = sandbox();
    let none = result(&sandbox, "check --json", 0);
    let packs = none["packs"].as_u64().unwrap();
    assert!((20..=30).contains(&packs), "{none}");
    assert_eq!((&none["ok"], &none["packs_read"], &none["snapshots"]), (&true.into(), &0.into(), &12.into()));
    let read = |line: &str| result(&sandbox, line, 0)["packs_read"].as_u64().unwrap();
    assert_eq!(read("check --read-data --json"), packs);
    assert_eq!(read("check --read-data-subset 25% --json"), packs.div_ceil(4));
    assert_eq!(read("check --read-data-subset 1 --json"), 1);
    let groups: u64 = (1..=4).map(|n| read(&format!("check --read-data-subset {n}/4 --json"))).sum();
    assert_eq!(groups, packs);
    let shown = sandbox.run("check --read-data-subset 25%").expect(0).stdout;
    assert!(shown.contains(&format!("{packs} packs, {} of them read", packs.div_ceil(4))), "{shown}");
    for wrong in ["0/4", "5/4", "200%", "some"] {
        sandbox.run(&format!("check --read-data-subset {wrong}")).expect(2);
    }
    sandbox.run("check --read-data --read-data-subset 5%").expect(2);
}

#[test]
fn damage_is_exit_code_4_and_a_leftover_is_a_note() {
    let sandbox = sandbox();
    let leftover = format!("backups/data/ab/{}", "ab".repeat(32));
    sandbox.write(&leftover, "torn");
    let ran = sandbox.run("check").expect(0);
    assert!(ran.stdout.starts_with("no damage found: 12 snapshots"), "{}", ran.stdout);
    assert!(ran.stderr.contains("1 pack is in no index"), "{}", ran.stderr);
    assert!(ran.stderr.contains("`basekeep prune` removes them"), "{}", ran.stderr);
    sandbox.run("prune").expect(0);
    assert!(!sandbox.path(&leftover).exists());

    let folder = std::fs::read_dir(sandbox.path("backups/data")).unwrap();
    let mut packs: Vec<_> = folder
        .flat_map(|f| std::fs::read_dir(f.unwrap().path()).unwrap())
        .map(|f| f.unwrap().path())
        .collect();
    packs.sort();
    let bad = &packs[0];
    let mut data = std::fs::read(bad).unwrap();
    data[20] ^= 1;
    std::fs::remove_file(bad).unwrap();
    std::fs::write(bad, data).unwrap();
    let ran = sandbox.run("check --read-data").expect(4);
    assert!(ran.stdout.contains(bad.file_name().unwrap().to_str().unwrap()), "{}", ran.stdout);
    assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
}
