//! `basekeep init`: what it finds, what it writes, and that it overwrites nothing.

use std::os::unix::fs::PermissionsExt;

use crate::sandbox::Sandbox;

/// A Supabase project whose stack does not run, with a password that must not leak.
fn project() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox
        .write("supabase/config.toml", "project_id = \"factory-pulse\"\n[db]\nport = 1\n")
        .write(".env", "DB_PASSWORD=top-secret-word\n");
    sandbox
}

#[test]
fn a_supabase_project_gets_a_configuration_that_works_as_it_stands() {
    let sandbox = project();
    let ran = sandbox.run("init").expect(0);
    assert!(
        ran.stdout.contains("source         factory-pulse: postgresql://postgres@127.0.0.1:1/postgres"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr.contains("hint: save a copy of [FOLDER]/.config/basekeep/repository.key"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("next: `basekeep doctor`, then `basekeep backup`"), "{}", ran.stderr);

    let config = sandbox.read("basekeep.toml");
    assert!(config.contains("[source.factory-pulse]"), "{config}");
    assert!(config.contains("password_env = \"DB_PASSWORD\""), "{config}");
    assert!(config.contains("password_file = \"~/.config/basekeep/repository.key\""), "{config}");
    let key = sandbox.path(".config/basekeep/repository.key");
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(sandbox.path("backups/config").exists());
    for text in [&config, &ran.stdout, &ran.stderr] {
        assert!(!text.contains("top-secret-word"), "{text}");
    }

    assert_eq!(sandbox.run("list --json").expect(0).json()["snapshots"].as_array().unwrap().len(), 0);
    let ran = sandbox.run("backup").expect(13);
    assert!(ran.stderr.contains("127.0.0.1:1"), "{}", ran.stderr);
}

#[test]
fn running_it_again_changes_nothing() {
    let sandbox = project();
    sandbox.run("init").expect(0);
    let before = (sandbox.read("basekeep.toml"), sandbox.read(".config/basekeep/repository.key"));
    let ran = sandbox.run("init").expect(0);
    assert_eq!(ran.stdout.matches("was there, left as it is").count(), 3, "{}", ran.stdout);
    assert_eq!(before, (sandbox.read("basekeep.toml"), sandbox.read(".config/basekeep/repository.key")));
    let ran = sandbox.run("init postgresql://u:geheim@db.example.com/d").expect(2);
    assert!(ran.stderr.contains("is there already and is left as it is"), "{}", ran.stderr);
    assert!(ran.stderr.contains("postgresql://u@db.example.com/d"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("geheim"), "{}", ran.stderr);
}

#[test]
fn a_cloned_project_gets_the_key_and_the_repository_that_its_configuration_names() {
    let sandbox = Sandbox::new();
    let config = "[repository]\nurl = \"./b\"\npassword_file = \"k/key\"\n";
    sandbox.write("basekeep.toml", config);
    sandbox.run("init").expect(0);
    assert!(sandbox.path("b/config").exists());
    assert_eq!(sandbox.read("k/key").trim().len(), 64);
    assert_eq!(sandbox.read("basekeep.toml"), config);
}

#[test]
fn with_a_password_in_the_environment_just_the_repository_is_made() {
    let sandbox = Sandbox::new().with_variable("BASEKEEP_PASSWORD", "x");
    let ran = sandbox.run("init --repo ./only --json").expect(0);
    assert_eq!(ran.json()["repository"]["path"], "[FOLDER]/only");
    assert!(!sandbox.path("basekeep.toml").exists());
    assert!(!sandbox.path(".config").exists());
    let ran = sandbox.run("init --repo ./only").expect(2);
    assert!(ran.stderr.contains("there is a repository at [FOLDER]/only already"), "{}", ran.stderr);
}

#[test]
fn a_given_url_is_written_without_its_password() {
    let sandbox = Sandbox::new();
    sandbox.run("init postgresql://ada:geheim@127.0.0.1:1/shop?sslmode=disable --name shop").expect(0);
    let config = sandbox.read("basekeep.toml");
    assert!(config.contains("url = \"postgresql://ada@127.0.0.1:1/shop?sslmode=disable\""), "{config}");
    assert!(config.contains("password_file = \"~/.config/basekeep/shop.password\""), "{config}");
    assert!(!config.contains("geheim"), "{config}");
    assert_eq!(sandbox.read(".config/basekeep/shop.password"), "geheim\n");
}

#[test]
fn a_url_in_the_environment_is_a_source_and_its_variable_the_password() {
    let sandbox = Sandbox::new();
    sandbox.write(".env.local", "DATABASE_URL=\"postgresql://ada:geheim@127.0.0.1:1/shop?schema=public\"\n");
    sandbox.run("init").expect(0);
    let config = sandbox.read("basekeep.toml");
    assert!(config.contains("url = \"postgresql://ada@127.0.0.1:1/shop\""), "{config}");
    assert!(config.contains("password_env = \"DATABASE_URL\""), "{config}");
    assert!(!config.contains("geheim"), "{config}");
}

#[test]
fn without_any_database_the_next_step_is_named() {
    let sandbox = Sandbox::new();
    // A stack that runs on the machine of a developer would be found.
    if std::net::TcpStream::connect(("127.0.0.1", 54322)).is_ok() {
        return;
    }
    let ran = sandbox.run("init").expect(0);
    assert!(ran.stderr.contains("no database was found: add a section [source.NAME]"), "{}", ran.stderr);
    let ran = sandbox.run("backup").expect(2);
    assert!(ran.stderr.contains("names no source"), "{}", ran.stderr);
}
