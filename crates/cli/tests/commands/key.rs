//! `basekeep key`: what it says, and which passwords open the repository afterwards.

use crate::sandbox::Sandbox;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new()
        .with_variable("BASEKEEP_REPOSITORY", "./r")
        .with_variable("BASEKEEP_PASSWORD_FILE", "key");
    sandbox.write("key", "first\n").run("init").expect(0);
    sandbox
}

#[test]
fn keys_are_added_listed_and_removed() {
    let sandbox = sandbox();
    sandbox.write("new", "second\n");
    let added = sandbox.run("key add --new-password-file new --user ada --host desk --json").expect(0).json();
    assert_eq!(added["version"], 1);
    let id = added["added"].as_str().unwrap().to_owned();
    let listed = sandbox.run("key list --json").expect(0).json();
    let keys = listed["keys"].as_array().unwrap();
    assert_eq!((listed["version"].as_u64(), keys.len()), (Some(1), 2));
    let ours = keys.iter().find(|key| key["id"] == *id).unwrap();
    assert_eq!(
        (&ours["user"], &ours["host"], &ours["current"]),
        (&"ada".into(), &"desk".into(), &false.into())
    );
    let table = sandbox.run("key list").expect(0).stdout;
    assert_eq!(table.lines().filter(|line| line.starts_with('*')).count(), 1, "{table}");
    assert_eq!(unlocked(&sandbox, "second"), 0);

    let removed = sandbox.run(&format!("key remove {}", &id[..8])).expect(0);
    assert_eq!(removed.stderr, format!("removed key {}\n", &id[..8]));
    assert_eq!((unlocked(&sandbox, "second"), unlocked(&sandbox, "first")), (12, 0));
}

/// The exit code of opening the repository with this password alone.
fn unlocked(sandbox: &Sandbox, password: &str) -> i32 {
    std::fs::rename(sandbox.path("key"), sandbox.path("aside")).unwrap();
    sandbox.write("key", password);
    let code = sandbox.run("list").code;
    std::fs::rename(sandbox.path("aside"), sandbox.path("key")).unwrap();
    code
}

#[test]
fn a_changed_password_is_the_only_one_that_opens() {
    let sandbox = sandbox();
    let mut command = sandbox.command(["key", "passwd"]);
    let output = command.env("BASEKEEP_NEW_PASSWORD", "fresh-word").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.starts_with("changed the password: key "), "{stderr}");
    assert!(!stderr.contains("fresh-word"), "{stderr}");
    assert_eq!((unlocked(&sandbox, "fresh-word"), unlocked(&sandbox, "first")), (0, 12));
}

#[test]
fn what_cannot_be_a_new_password_or_a_key_to_remove_is_refused() {
    let sandbox = sandbox();
    sandbox.refused(
        "key add",
        2,
        "error: no new password is given\nhint: use --new-password-file FILE\nhint: or set BASEKEEP_NEW_PASSWORD, \
         BASEKEEP_NEW_PASSWORD_FILE or BASEKEEP_NEW_PASSWORD_COMMAND\n",
    );
    let ran = sandbox.write("empty", "\n").run("key add --new-password-file empty").expect(2);
    assert!(ran.stderr.contains("is empty"), "{}", ran.stderr);
    let listed = sandbox.run("key list --json").expect(0).json();
    let id = listed["keys"][0]["id"].as_str().unwrap();
    let ran = sandbox.run(&format!("key remove {id}")).expect(2);
    assert!(ran.stderr.contains("belongs to the password in use"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: `basekeep key passwd` replaces it"), "{}", ran.stderr);
    sandbox.refused(
        "key remove zz",
        2,
        "error: no key has an id that begins with 'zz'\nhint: `basekeep key list` shows all of them\n",
    );
    let locks = std::fs::read_dir(sandbox.path("r/locks"));
    assert_eq!(locks.map_or(0, Iterator::count), 0, "no lock stays behind");
}
