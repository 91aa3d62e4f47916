//! Command lines that are wrong, and help.

use std::io::Read;
use std::process::Stdio;

use crate::sandbox::Sandbox;

#[test]
fn exit_codes_and_variables_are_documented_in_help() {
    let ran = Sandbox::new().run("--help").expect(0);
    for code in ["0  done", "2  wrong usage", "3  done, but", "4  verification", "10  no repository"] {
        assert!(ran.stdout.contains(code), "{code}");
    }
    for code in ["11  repository locked", "12  wrong password", "13  source unreachable", "130  interrupted"]
    {
        assert!(ran.stdout.contains(code), "{code}");
    }
    for name in ["BASEKEEP_PASSWORD_FILE", "RESTIC_PASSWORD", "BASEKEEP_CONFIG", "BASEKEEP_POSTGRES_BIN"] {
        assert!(ran.stdout.contains(name), "{name}");
    }
}

#[test]
fn every_command_explains_itself() {
    let sandbox = Sandbox::new();
    for command in [
        "init",
        "doctor",
        "backup",
        "list",
        "show",
        "verify",
        "repair",
        "drill",
        "restore",
        "demo",
        "completions",
        "man",
    ] {
        let ran = sandbox.run(&format!("{command} --help")).expect(0);
        assert!(ran.stdout.contains(&format!("Usage: basekeep {command}")), "{command}");
        assert!(ran.stdout.contains("--json"), "{command}");
    }
}

#[test]
fn a_mistyped_option_or_command_is_refused_with_the_nearest_one() {
    let sandbox = Sandbox::new();
    sandbox.refused(
        "backup --dry-rum",
        2,
        "error: unexpected argument '--dry-rum' found\n\
         hint: a similar argument exists: '--dry-run'\n\
         hint: usage: basekeep backup --dry-run [SOURCE]...\n\
         hint: `--help` explains the options\n",
    );
    let ran = sandbox.run("bakcup").expect(2);
    assert!(ran.stderr.starts_with("error: unrecognized subcommand 'bakcup'\nhint: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("'backup'"), "{}", ran.stderr);
}

#[test]
fn no_command_at_all_shows_the_commands() {
    let ran = Sandbox::new().run("").expect(2);
    assert!(ran.stdout.is_empty());
    assert!(ran.stderr.contains("restore"), "{}", ran.stderr);
}

#[test]
fn errors_are_json_when_json_is_asked_for() {
    let sandbox = Sandbox::new();
    for (line, kind, code) in [
        ("list --json --nonsense", "usage", 2),
        ("--json list", "no-repository", 10),
        ("backup --json", "usage", 2),
    ] {
        let ran = sandbox.run(line).expect(code);
        let document: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(document["version"], 1, "{line}");
        assert_eq!(document["error"]["kind"], kind, "{line}");
        assert_eq!(document["error"]["exit_code"], code, "{line}");
        assert!(!document["error"]["hints"].as_array().unwrap().is_empty(), "{line}");
        assert!(ran.stdout.is_empty(), "{line}");
    }
}

#[test]
fn a_restore_without_a_terminal_names_the_flag_that_is_missing() {
    let sandbox = Sandbox::new();
    sandbox.refused(
        "restore --to postgresql://me:geheim@127.0.0.1:1/target --repo ./backups",
        2,
        "error: the restore into postgresql://me@127.0.0.1:1/target is not confirmed\n\
         hint: add --yes to go on without a question, or --dry-run to see the plan\n",
    );
    let ran = sandbox.run("restore latest").expect(2);
    assert!(ran.stderr.contains("--to"), "{}", ran.stderr);
}

#[test]
fn odd_names_and_tags_are_refused() {
    let sandbox = Sandbox::new().with_variable("BASEKEEP_PASSWORD", "x");
    for (args, about) in [
        (vec!["backup", "postgresql://h/d", "--name", "../x"], "cannot be a source's name"),
        (vec!["backup", "postgresql://h/d", "--name", ""], "cannot be a source's name"),
        (vec!["backup", "postgresql://h/d", "--tag", ""], "cannot be a tag"),
        (vec!["backup", "postgresql://h/d", "--tag", "a,b"], "cannot be a tag"),
        (vec!["backup", "postgresql://h/d", "postgresql://h/d"], "is given twice"),
        (
            vec!["backup", "postgresql://h/a", "postgresql://h/b", "--name", "x"],
            "--name needs exactly one source",
        ),
        (vec!["backup", "postgresql://h/d?sslmod=require"], "sslmod"),
        (vec!["backup", "mysql://h/d"], "mysql"),
        (vec!["list", "--repo", ""], "the repository's place is empty"),
    ] {
        let output = sandbox.command(&args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(about), "{args:?}: {stderr}");
        assert!(stderr.contains("hint: ") || about == "is given twice", "{args:?}: {stderr}");
    }
}

#[test]
fn completions_and_manual_pages_are_printed() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            sandbox.run(&format!("completions {shell}")).expect(0).stdout.contains("basekeep"),
            "{shell}"
        );
    }
    assert!(sandbox.run("man").expect(0).stdout.starts_with(".ie"), "a page in roff");
    sandbox.run("man --output pages").expect(0);
    assert!(sandbox.read("pages/basekeep-restore.1").contains("create\\-database"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Sandbox::new()
        .command(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}
