//! `basekeep copy`, and repositories that are made to share data. Stock restic makes the snapshots.

use std::process::Command;

use crate::sandbox::Sandbox;

pub(crate) fn restic(sandbox: &Sandbox, repository: &str, password: &str, arguments: &[&str]) -> String {
    let output = Command::new("restic")
        .args(["--no-cache", "--repo"])
        .arg(sandbox.path(repository))
        .args(arguments)
        .env("RESTIC_PASSWORD", password)
        .current_dir(sandbox.path(""))
        .output()
        .expect("restic is installed; scripts/setup test does it");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "restic {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A repository `./r` with two snapshots of two sources.
fn sandbox() -> Sandbox {
    let sandbox =
        Sandbox::new().with_variable("BASEKEEP_REPOSITORY", "./r").with_variable("BASEKEEP_PASSWORD", "one");
    sandbox.run("init").expect(0);
    sandbox.write("data/file", "content");
    restic(&sandbox, "r", "one", &["backup", "--host", "shop", "--tag", "weekly", "data"]);
    sandbox.write("data/more", "more content");
    restic(&sandbox, "r", "one", &["backup", "--host", "blog", "data"]);
    sandbox
}

#[test]
fn snapshots_are_copied_once_and_a_filter_chooses() {
    let sandbox = sandbox();
    sandbox.write("to", "two\n");
    let made = sandbox
        .command(["init", "--repo", "./t", "--from-repo", "./r", "--copy-chunker-params"])
        .env("BASEKEEP_PASSWORD", "two")
        .env("BASEKEEP_FROM_PASSWORD", "one")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let polynomial = |repository: &str, password: &str| {
        let config = restic(&sandbox, repository, password, &["cat", "config"]);
        serde_json::from_str::<serde_json::Value>(&config).unwrap()["chunker_polynomial"].clone()
    };
    assert_eq!(polynomial("t", "two"), polynomial("r", "one"));

    let ran = sandbox.run("copy --to ./t --to-password-file to --source shop").expect(0);
    assert!(ran.stdout.starts_with("1 snapshot copied, "), "{}", ran.stdout);
    let ran = sandbox.run("copy --to ./t --to-password-file to --json").expect(0);
    let last: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["version"], 1);
    let count = |field: &str| last[field].as_array().unwrap().len();
    assert_eq!((count("copied"), count("present"), count("not_copied")), (1, 1, 0));
    assert!(!ran.stdout.contains("chunks-differ"), "{}", ran.stdout);
    let ran = sandbox.run("copy latest --to ./t --to-password-file to").expect(0);
    assert_eq!(ran.stdout, "0 snapshots copied, 1 there already\n");
    restic(&sandbox, "t", "two", &["check", "--read-data"]);
}

#[test]
fn a_damaged_snapshot_is_named_the_others_are_copied_and_the_exit_code_is_3() {
    let sandbox = sandbox();
    // Other chunks: it is told once.
    let made = sandbox.command(["init", "--repo", "./t"]).env("BASEKEEP_PASSWORD", "two").output().unwrap();
    assert!(made.status.success());
    let packs: Vec<_> = walk(&sandbox.path("r/data"));
    sandbox.write("data/last", "the newest one");
    restic(&sandbox, "r", "one", &["backup", "--host", "late", "data"]);
    for pack in walk(&sandbox.path("r/data")).into_iter().filter(|pack| !packs.contains(pack)) {
        std::fs::remove_file(pack).unwrap();
    }
    let output = sandbox
        .command(["copy", "--to", "./t"])
        .env("BASEKEEP_TO_PASSWORD_COMMAND", "echo two")
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert_eq!(stderr.matches("cut data at different places").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("was not copied: ").count(), 1, "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("2 snapshots copied, ") && stdout.ends_with(", 1 not copied\n"), "{stdout}");
    restic(&sandbox, "t", "two", &["check", "--read-data"]);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path())).collect()
}

#[test]
fn a_replica_is_named_as_the_configuration_names_it() {
    let sandbox = sandbox();
    sandbox.write("two.key", "two\n").write(
        "basekeep.toml",
        "[repository]\nurl = \"./r\"\n\n[[replica]]\nname = \"away\"\nurl = \"./t\"\npassword_file = \"two.key\"\n",
    );
    let made = sandbox.command(["init", "--repo", "./t"]).env("BASEKEEP_PASSWORD", "two").output().unwrap();
    assert!(made.status.success());
    let ran = sandbox.run("copy --to away").expect(0);
    assert!(ran.stdout.starts_with("2 snapshots copied, "), "{}", ran.stdout);
}

#[test]
fn what_is_missing_is_named_with_the_flag_that_gives_it() {
    let sandbox = sandbox();
    sandbox.refused(
        "copy --to ./t",
        2,
        "error: no password is known for the repository at [FOLDER]/t\nhint: use --to-password-file FILE\n\
         hint: or set BASEKEEP_TO_PASSWORD, BASEKEEP_TO_PASSWORD_FILE or BASEKEEP_TO_PASSWORD_COMMAND\n",
    );
    sandbox.write("to", "two\n");
    let ran = sandbox.run("copy --to ./t --to-password-file to").expect(10);
    assert!(
        ran.stderr.contains("hint: create one there with `basekeep init --repo [FOLDER]/t`"),
        "{}",
        ran.stderr
    );
    sandbox.write("to", "one\n");
    let ran = sandbox.run("copy --to ./r --to-password-file to").expect(1);
    assert!(ran.stderr.contains("source and target are the same repository"), "{}", ran.stderr);
}
