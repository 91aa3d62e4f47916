//! Whether two databases are the same, as stock pg_dump and the servers themselves see it.

use std::collections::BTreeMap;
use std::process::Command;

use basekeep_testkit::TestDatabase;

/// Definitions as one pg_dump prints them, and what each relation holds by the server's own hashes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) definitions: String,
    pub(crate) contents: BTreeMap<String, String>,
}

/// `newest` is the newest major version of the databases that will be compared: one pg_dump describes them all.
pub(crate) async fn picture(database: &TestDatabase, newest: u32) -> Picture {
    Picture { definitions: definitions(database, newest), contents: database.contents().await }
}

fn definitions(database: &TestDatabase, newest: u32) -> String {
    let mut command = Command::new(basekeep_testkit::pg_dump(newest));
    let output = command.args(["--schema-only", "-d"]).arg(database.socket_url()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // pg_dump draws a new key for these two lines in every run.
    let drawn = |line: &&str| line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
    text.lines().filter(|line| !drawn(line)).map(|line| format!("{line}\n")).collect()
}

/// Panics with the first line that differs.
#[track_caller]
pub(crate) fn assert_same(expected: &Picture, found: &Picture) {
    if expected.definitions != found.definitions {
        let differing = expected.definitions.lines().zip(found.definitions.lines()).find(|(a, b)| a != b);
        let (a, b) = differing.unwrap_or(("(one text ends earlier)", ""));
        let folder = tempfile::tempdir().unwrap().keep();
        std::fs::write(folder.join("expected.sql"), &expected.definitions).unwrap();
        std::fs::write(folder.join("found.sql"), &found.definitions).unwrap();
        panic!("definitions differ (see {}):\n- {a}\n+ {b}", folder.display());
    }
    for (relation, content) in &expected.contents {
        assert_eq!(found.contents.get(relation), Some(content), "content of {relation}");
    }
    assert_eq!(expected.contents.len(), found.contents.len(), "the same relations exist");
}
