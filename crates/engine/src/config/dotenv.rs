//! `.env` files of a project, as far as passwords and connection URLs are looked up in them.
//!
//! Understood: `NAME=value`, `export NAME=value`, single and double quotes, comments. Nothing is expanded and nothing is
//! put into the process's environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of a project, those that win first.
const FILES: [&str; 2] = [".env.local", ".env"];

/// Variables of a project's `.env` files, with the file that each came from.
#[derive(Clone, Default)]
pub struct Dotenv(BTreeMap<String, (String, PathBuf)>);

impl Dotenv {
    /// Reads `.env.local` and `.env` of a folder; what cannot be read counts as absent.
    pub fn of_project(folder: &Path) -> Self {
        let mut variables = BTreeMap::new();
        for file in FILES.map(|name| folder.join(name)) {
            let Ok(text) = std::fs::read_to_string(&file) else { continue };
            for (name, value) in parse(&text) {
                variables.entry(name).or_insert_with(|| (value, file.clone()));
            }
        }
        Self(variables)
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The file that sets it.
    pub fn file_of(&self, name: &str) -> Option<&Path> {
        self.0.get(name).map(|(_, file)| file.as_path())
    }
}

impl std::fmt::Debug for Dotenv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Names only: values hold passwords.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The assignments in the text; of several to one name the last one counts.
fn parse(text: &str) -> BTreeMap<String, String> {
    let text = text.trim_start_matches('\u{feff}');
    text.lines().filter_map(assignment).collect()
}

fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let proper = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    proper.then(|| (name.to_owned(), unquote(value.trim())))
}

fn unquote(value: &str) -> String {
    match value.chars().next() {
        Some('\'') => value[1..].split('\'').next().unwrap_or_default().to_owned(),
        Some('"') => double_quoted(&value[1..]),
        // A comment begins at a # that follows a space; a # inside a word belongs to the password.
        _ => value.find(" #").map_or(value, |end| &value[..end]).trim_end().to_owned(),
    }
}

fn double_quoted(rest: &str) -> String {
    let mut out = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_as_shells_and_frameworks_write_them() {
        let found = parse(
            "\u{feff}# comment\nA=plain\nexport B = spaced # comment\nC='a # b' # c\nD=\"q\\\"x\\\\y\" \nE=p#ss=w\n\
             F=\nA=later\nnot a line\nG H=1\n",
        );
        let expected =
            [("A", "later"), ("B", "spaced"), ("C", "a # b"), ("D", "q\"x\\y"), ("E", "p#ss=w"), ("F", "")];
        assert_eq!(found, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn the_local_file_wins_and_values_are_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "A=shared\nB=only\n").unwrap();
        std::fs::write(folder.path().join(".env.local"), "A=mine\nEMPTY=\n").unwrap();
        let dotenv = Dotenv::of_project(folder.path());
        assert_eq!(dotenv.var("A"), Some("mine"));
        assert_eq!(dotenv.var("B"), Some("only"));
        assert_eq!(dotenv.var("EMPTY"), None);
        assert!(dotenv.file_of("A").unwrap().ends_with(".env.local"));
        assert!(!format!("{dotenv:?}").contains("mine"));
    }
}
