//! `basekeep prune` as a user meets it, on a repository that stock restic wrote and goes on using.

use basekeep_testkit::tool;

use crate::sandbox::Sandbox;

fn restic(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let output = std::process::Command::new(tool("restic", 0))
        .args(["--no-cache", "--repo"])
        .arg(sandbox.path("backups"))
        .args(arguments)
        .env("RESTIC_PASSWORD", "x")
        .current_dir(sandbox.path(""))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "restic {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Four snapshots of two files; one of the files changes each time.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new()
        .with_variable("BASEKEEP_PASSWORD", "x")
        .with_variable("BASEKEEP_REPOSITORY", "backups");
    sandbox.run("init --repo backups").expect(0);
    let noise = |seed: u32| -> String {
        let numbers = (0..40_000_u32).map(|n| (n ^ seed).wrapping_mul(2_654_435_761).to_string());
        numbers.collect::<Vec<_>>().join("\n")
    };
    sandbox.write("shop/same.txt", &noise(1));
    for n in 2..6 {
        sandbox.write("shop/changes.txt", &noise(n));
        restic(&sandbox, &["backup", "--quiet", "--host", "shop", "shop"]);
    }
    sandbox
}

#[test]
fn what_forget_left_is_freed_and_stock_restic_goes_on() {
    let sandbox = sandbox();
    let nothing = sandbox.run("prune").expect(0);
    assert!(nothing.stdout.contains("0 B that nothing needs"), "{}", nothing.stdout);
    restic(&sandbox, &["forget", "--keep-last", "1", "--group-by", ""]);
    let planned = sandbox.run("prune --max-unused 0% --dry-run").expect(0);
    assert!(planned.stdout.contains("would free "), "{}", planned.stdout);
    let before = restic(&sandbox, &["list", "packs"]);
    let ran = sandbox.run("prune --max-unused 0% --json").expect(0);
    let last: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["version"], &last["event"]), (&1.into(), &"result".into()));
    assert!(last["done"]["packs_deleted"].as_u64().unwrap() >= 3, "{last}");
    assert_eq!(last["plan"]["unused_after_bytes"], 0);
    assert_ne!(restic(&sandbox, &["list", "packs"]), before);
    let check = restic(&sandbox, &["check", "--read-data"]);
    assert!(check.contains("no errors were found"), "{check}");
    restic(&sandbox, &["restore", "latest", "--verify", "--target", "out"]);
    assert_eq!(sandbox.read("out/shop/changes.txt"), sandbox.read("shop/changes.txt"));
    let again = sandbox.run("prune --max-unused 0%").expect(0);
    assert!(again.stdout.ends_with("nothing to do; 0 B that nothing needs may stay\n"), "{}", again.stdout);
    restic(&sandbox, &["backup", "--quiet", "--host", "shop", "shop"]);
    assert!(restic(&sandbox, &["check", "--read-data"]).contains("no errors were found"));
}

#[test]
fn what_is_recompressed_stays_readable_for_stock_restic() {
    let sandbox = sandbox();
    let ran = sandbox.run("prune --recompress-after 0h --repack-small").expect(0);
    assert!(ran.stdout.contains("compressed harder"), "{}", ran.stdout);
    assert!(restic(&sandbox, &["check", "--read-data"]).contains("no errors were found"));
    restic(&sandbox, &["restore", "latest", "--verify", "--target", "out"]);
    assert_eq!(sandbox.read("out/shop/same.txt"), sandbox.read("shop/same.txt"));
    let again = sandbox.run("prune --recompress-after 0h").expect(0);
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);
}

#[test]
fn a_damaged_index_file_or_snapshot_stops_it_with_the_command_that_repairs() {
    for (folder, command) in [("index", "basekeep repair index"), ("snapshots", "basekeep repair snapshots")]
    {
        let sandbox = sandbox();
        let file = std::fs::read_dir(sandbox.path("backups").join(folder)).unwrap().next().unwrap().unwrap();
        let mut data = std::fs::read(file.path()).unwrap();
        data[40] ^= 1;
        std::fs::remove_file(file.path()).unwrap();
        std::fs::write(file.path(), data).unwrap();
        let packs = restic_packs(&sandbox);
        let ran = sandbox.run("prune --max-unused 0%").expect(1);
        assert!(ran.stderr.contains("nothing is removed"), "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("hint: `{command}`")), "{}", ran.stderr);
        assert_eq!(restic_packs(&sandbox), packs);
    }
}

fn restic_packs(sandbox: &Sandbox) -> usize {
    let folders = std::fs::read_dir(sandbox.path("backups/data")).unwrap();
    folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn limits_are_understood_or_refused() {
    let sandbox = sandbox();
    for line in ["prune --max-unused 100%", "prune --max-unused some", "prune --recompress-after soon"] {
        sandbox.run(line).expect(2);
    }
    sandbox.run("prune --max-unused unlimited --max-repack-size 500M -n").expect(0);
    sandbox.write("basekeep.toml", "[repository]\nurl = \"backups\"\nappend_only = true\n");
    let refused = sandbox.run("prune").expect(2);
    assert!(refused.stderr.contains("append-only"), "{}", refused.stderr);
    sandbox.run("prune --dry-run").expect(0);
}
