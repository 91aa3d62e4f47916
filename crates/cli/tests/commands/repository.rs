//! Repositories that are not there, or do not open.

use crate::sandbox::Sandbox;

#[test]
fn a_missing_repository_is_exit_code_10_with_the_command_that_makes_one() {
    let sandbox = Sandbox::new().with_variable("BASEKEEP_PASSWORD", "secret-word");
    for command in ["list", "show", "verify", "drill", "backup postgresql://me@127.0.0.1:1/d"] {
        let ran = sandbox.run(&format!("{command} --repo ./nowhere")).expect(10);
        assert!(
            ran.stderr.contains("hint: create one there with `basekeep init --repo [FOLDER]/nowhere`"),
            "{}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("secret-word"), "{}", ran.stderr);
    }
    assert!(!sandbox.path("nowhere").exists(), "looking makes nothing");
}

#[test]
fn a_wrong_password_is_exit_code_12_and_names_where_it_came_from() {
    let sandbox = Sandbox::new();
    let with = |name: &str, value: &str, line: &str| {
        let mut command = sandbox.command(line.split(' '));
        let output = command.env(name, value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(with("RESTIC_PASSWORD", "right", "init --repo ./r").0, Some(0));
    let (code, stderr) = with("BASEKEEP_PASSWORD", "wrong-word", "list --repo ./r");
    assert_eq!(code, Some(12), "{stderr}");
    assert!(
        stderr.contains("hint: the password that was tried came from the variable BASEKEEP_PASSWORD"),
        "{stderr}"
    );
    assert!(!stderr.contains("wrong-word"), "{stderr}");

    std::fs::write(sandbox.path("key"), "right\n").unwrap();
    assert_eq!(
        with("RESTIC_PASSWORD_FILE", "key", "list --repo ./r"),
        (Some(0), "no snapshots yet; `basekeep backup` makes one\n".to_owned())
    );
    assert_eq!(with("BASEKEEP_PASSWORD_COMMAND", "cat key", "list --repo ./r").0, Some(0));
}

#[test]
fn an_empty_repository_says_how_to_make_a_snapshot() {
    let sandbox =
        Sandbox::new().with_variable("BASEKEEP_PASSWORD", "x").with_variable("RESTIC_REPOSITORY", "./r");
    sandbox.run("init --repo ./r").expect(0);
    let ran = sandbox.run("list --json").expect(0);
    assert_eq!(ran.stdout, "{\"version\":1,\"snapshots\":[],\"unreadable\":[]}\n");
    sandbox.refused(
        "show",
        2,
        "error: the repository holds no snapshot yet\nhint: make one with `basekeep backup`\n",
    );
    sandbox.refused("list --quiet", 0, "");
}

#[test]
fn an_unreachable_source_is_exit_code_13() {
    let sandbox =
        Sandbox::new().with_variable("BASEKEEP_PASSWORD", "x").with_variable("BASEKEEP_REPOSITORY", "./r");
    sandbox.run("init").expect(0);
    let ran = sandbox.run("backup postgresql://me:geheim@127.0.0.1:1/d").expect(13);
    assert!(ran.stderr.contains("cannot connect to 127.0.0.1:1"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
    assert!(!ran.stderr.contains("geheim"), "{}", ran.stderr);
    let ran = sandbox.run("doctor postgresql://me:geheim@127.0.0.1:1/d").expect(13);
    assert!(ran.stdout.contains("failed"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("geheim"), "{}", ran.stdout);
}

#[test]
fn storage_that_is_not_supported_is_named() {
    let sandbox = Sandbox::new().with_variable("BASEKEEP_PASSWORD", "x");
    let ran = sandbox.run("list --repo gopher://bucket/prefix");
    assert!(matches!(ran.code, 1 | 2), "{}: {}", ran.code, ran.stderr);
    assert!(ran.stderr.contains("gopher"), "{}", ran.stderr);
}
