//! Which configuration, source and repository a command means, and what it says when it cannot tell.

use crate::sandbox::Sandbox;

#[test]
fn nothing_to_work_on_is_explained_to_a_newcomer() {
    let sandbox = Sandbox::new();
    sandbox.refused(
        "backup",
        2,
        "error: there is nothing to work on: no basekeep.toml here and no source given\n\
         hint: `basekeep init` finds your database and writes basekeep.toml\n\
         hint: or give a URL: `basekeep backup postgresql://user@host:5432/database --repo ./backups`\n",
    );
    sandbox.refused(
        "list",
        10,
        "error: no repository is named\n\
         hint: `basekeep init` writes basekeep.toml and makes a repository\n\
         hint: or name one with --repo FOLDER or BASEKEEP_REPOSITORY\n",
    );
    sandbox.refused(
        "backup factory",
        2,
        "error: 'factory' is not a postgresql:// URL, and there is no basekeep.toml that could name it\n\
         hint: `basekeep init` writes one; a URL looks like postgresql://user@host:5432/database\n",
    );
}

#[test]
fn typos_in_the_configuration_name_line_and_nearest_key() {
    let sandbox = Sandbox::new();
    sandbox.write("basekeep.toml", "[repository]\nurl = \"./backups\"\npasword_file = \"key\"\n");
    sandbox.refused(
        "list",
        2,
        "error: [FOLDER]/basekeep.toml:3: unknown key `pasword_file` in [repository]\n\
         hint: did you mean `password_file`?\n",
    );
}

#[test]
fn an_unknown_source_names_the_nearest_one() {
    let sandbox = Sandbox::new();
    sandbox.write("basekeep.toml", "[source.factory-pulse]\nurl = \"postgresql://h/d\"\n");
    sandbox.refused(
        "backup factory-puls",
        2,
        "error: there is no source 'factory-puls' in [FOLDER]/basekeep.toml\n\
         hint: did you mean 'factory-pulse'?\n",
    );
}

#[test]
fn the_configuration_is_found_from_inside_the_project_and_not_beyond() {
    let sandbox = Sandbox::new();
    sandbox.write("project/basekeep.toml", "nonsense = 1\n").write("project/supabase/functions/x", "");
    let run = |folder: &str| {
        let output = sandbox.command(["list"]).current_dir(sandbox.path(folder)).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run("project/supabase/functions").contains("unknown key `nonsense`"));
    sandbox.write("shared/basekeep.toml", "nonsense = 1\n").write("shared/deep/x", "");
    assert!(run("shared/deep").contains("no repository is named"), "no project root above: not looked for");
}

#[test]
fn a_named_configuration_must_exist() {
    Sandbox::new().refused(
        "list --config other.toml",
        2,
        "error: cannot read [FOLDER]/other.toml: No such file or directory (os error 2)\n\
         hint: `basekeep init` writes one\n",
    );
}

#[test]
fn a_missing_password_is_explained_without_a_question() {
    let sandbox = Sandbox::new();
    sandbox.refused(
        "list --repo ./backups",
        2,
        "error: no password is known for the repository at [FOLDER]/backups\n\
         hint: set BASEKEEP_PASSWORD, BASEKEEP_PASSWORD_FILE or BASEKEEP_PASSWORD_COMMAND\n\
         hint: `basekeep init` makes a key file and a configuration that names it\n",
    );
    sandbox.write("basekeep.toml", "[repository]\nurl = \"./backups\"\npassword_file = \"~/no.key\"\n");
    sandbox.refused(
        "list",
        2,
        "error: the repository's password: cannot read the password from [FOLDER]/no.key: \
         No such file or directory (os error 2)\n\
         hint: put the password into that file, or name another password_file\n",
    );
    Sandbox::new()
        .with_variable("BASEKEEP_PASSWORD", "x")
        .with_variable("BASEKEEP_PASSWORD_FILE", "y")
        .refused(
            "list --repo ./backups",
            2,
            "error: BASEKEEP_PASSWORD and BASEKEEP_PASSWORD_FILE contradict each other\nhint: unset one of them\n",
        );
}
