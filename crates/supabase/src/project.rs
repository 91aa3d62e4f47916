//! What of a project's folder belongs into a backup: edge functions, migrations, configuration, seeds, schemas.
//!
//! Files with secrets (`.env*`, `.npmrc`) are never taken; they are listed, with the names of their variables, as what a
//! restored project needs again. Links are followed inside the project's folder alone.

mod secrets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where things of the folder `supabase` go in a snapshot, below the source's folder.
const PLACES: [(&str, &str); 9] = [
    ("functions", "functions"),
    ("migrations", "migrations"),
    ("config.toml", "project/config.toml"),
    ("schemas", "project/schemas"),
    ("seeds", "project/seeds"),
    ("templates", "project/templates"),
    ("tests", "project/tests"),
    ("roles.sql", "project/roles.sql"),
    ("import_map.json", "project/import_map.json"),
];
/// Folders that tools fill and can fill again.
const SKIPPED: [&str; 4] = ["node_modules", ".git", ".temp", ".branches"];
/// More files than this are not looked at.
const MOST_FILES: usize = 100_000;
/// More problems than this are not listed one by one.
const MOST_PROBLEMS: usize = 1000;
/// How deep folders may lie in each other.
const DEEPEST: usize = 64;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Files to store, sorted by their place in the snapshot.
    pub files: Vec<ProjectFile>,
    /// The edge functions: folders of `functions` that do not begin with `_` or `.`.
    pub functions: BTreeSet<String>,
    /// What is not stored since it is secret, with the names of variables: `supabase/functions/.env (STRIPE_KEY)`.
    pub supply_again: Vec<String>,
    /// What could not be taken.
    pub problems: Vec<Problem>,
}

/// A file of the project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProjectFile {
    /// Its place in the snapshot, below the source's folder.
    pub path: String,
    /// Where it is.
    pub file: PathBuf,
}

/// Something that could not be taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its path, as a person would write it.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// Looks through a project's folder; blocks. `None` when it has no folder `supabase`.
pub fn scan(project: &Path) -> Option<Found> {
    let root = project.join("supabase");
    if !root.is_dir() {
        return None;
    }
    let inside = project.canonicalize().unwrap_or_else(|_| project.to_owned());
    let mut scan = Scan { inside, open: Vec::new(), found: Found::default() };
    for (name, place) in PLACES {
        let path = root.join(name);
        if path.symlink_metadata().is_ok() {
            scan.entry(&path, &format!("supabase/{name}"), place);
        }
    }
    scan.loose_files(&root);
    let Scan { mut found, .. } = scan;
    found.files.sort();
    found.files.dedup_by(|a, b| a.path == b.path);
    found.functions = functions(&found.files);
    secrets::of_config(&root.join("config.toml"), &mut found.supply_again);
    found.supply_again.sort();
    Some(found)
}

/// The names of edge functions among files.
fn functions(files: &[ProjectFile]) -> BTreeSet<String> {
    let of = |file: &ProjectFile| {
        let (name, _) = file.path.strip_prefix("functions/")?.split_once('/')?;
        (!name.starts_with(['_', '.'])).then(|| name.to_owned())
    };
    files.iter().filter_map(of).collect()
}

struct Scan {
    /// The project's folder, without links.
    inside: PathBuf,
    /// The folders that the present one lies in, without links: one that comes again would never end.
    open: Vec<PathBuf>,
    found: Found,
}

impl Scan {
    /// Seeds, and files with secrets, which lie directly in `supabase`.
    fn loose_files(&mut self, root: &Path) {
        for (name, path) in self.names_in(root, "supabase") {
            let lower = name.to_lowercase();
            if lower.starts_with("seed") && lower.ends_with(".sql") {
                self.entry(&path, &format!("supabase/{name}"), &format!("project/{name}"));
            } else if secrets::is_secret(&name) {
                self.entry(&path, &format!("supabase/{name}"), "");
            }
        }
    }

    /// One file, folder or link. `shown` is what people call it, `place` where it goes.
    fn entry(&mut self, path: &Path, shown: &str, place: &str) {
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) => return self.problem(shown, &error.to_string()),
        };
        if !real.starts_with(&self.inside) {
            return self.problem(shown, "it is a link out of the project's folder");
        }
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let names = [name(path), name(&real)];
        if names.iter().flatten().any(|name| SKIPPED.contains(&name.as_str())) {
            return;
        }
        let metadata = match fs::metadata(&real) {
            Ok(metadata) => metadata,
            Err(error) => return self.problem(shown, &error.to_string()),
        };
        if metadata.is_dir() {
            return self.folder(real, shown, place);
        }
        if names.iter().flatten().any(|name| secrets::is_secret(name)) {
            self.found.supply_again.push(secrets::describe(&real, shown));
        } else if !metadata.is_file() {
            self.problem(shown, "it is no regular file");
        } else if self.found.files.len() < MOST_FILES {
            self.found.files.push(ProjectFile { path: place.to_owned(), file: real });
        } else {
            self.problem(shown, "the folder has more than 100,000 files");
        }
    }

    fn folder(&mut self, real: PathBuf, shown: &str, place: &str) {
        if self.open.contains(&real) {
            return self.problem(shown, "it is a link to a folder that it lies in");
        }
        if self.open.len() >= DEEPEST {
            return self.problem(shown, "folders lie too deep in each other");
        }
        let entries = self.names_in(&real, shown);
        self.open.push(real);
        for (name, path) in entries {
            self.entry(&path, &format!("{shown}/{name}"), &format!("{place}/{name}"));
        }
        self.open.pop();
    }

    /// The entries of a folder, sorted.
    fn names_in(&mut self, folder: &Path, shown: &str) -> Vec<(String, PathBuf)> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                self.problem(shown, &error.to_string());
                return Vec::new();
            }
        };
        let mut names = Vec::new();
        for entry in entries {
            match entry.map(|entry| (entry.file_name().into_string(), entry.path())) {
                Ok((Ok(name), path)) => names.push((name, path)),
                Ok((Err(name), _)) => {
                    self.problem(&format!("{shown}/{}", name.to_string_lossy()), "its name is not UTF-8");
                }
                Err(error) => self.problem(shown, &error.to_string()),
            }
        }
        names.sort();
        names
    }

    fn problem(&mut self, what: &str, reason: &str) {
        let problem = match self.found.problems.len() {
            0..MOST_PROBLEMS => Problem { what: what.to_owned(), reason: reason.to_owned() },
            MOST_PROBLEMS => Problem {
                what: "more files of the project's folder".into(),
                reason: "there are more problems than are listed".into(),
            },
            _ => return,
        };
        self.found.problems.push(problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let file = root.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    }

    fn paths(found: &Found) -> Vec<&str> {
        found.files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn what_belongs_to_the_project_is_found_and_what_tools_made_is_not() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &[
                ("supabase/config.toml", "[auth]\nkey = \"env(OPENAI_KEY)\"\n# other = \"env(NOT_THIS)\"\n"),
                ("supabase/functions/hello/index.ts", ""),
                ("supabase/functions/hello/node_modules/x/index.js", ""),
                ("supabase/functions/_shared/cors.ts", ""),
                ("supabase/functions/deno.json", "{}"),
                ("supabase/functions/.env", "# a comment\nSTRIPE_KEY=sk_live\nexport OTHER = 'x'\n"),
                ("supabase/functions/.env.example", "STRIPE_KEY=\n"),
                ("supabase/.env.local", "A=1\n"),
                ("supabase/migrations/20240101_first.sql", ""),
                ("supabase/seed.sql", ""),
                ("supabase/seed_more.sql", ""),
                ("supabase/schemas/a.sql", ""),
                ("supabase/.temp/project-ref", "abcd"),
                ("supabase/somewhere/else.txt", ""),
                ("src/app.ts", ""),
            ],
        );
        let found = scan(folder.path()).unwrap();
        assert_eq!(
            paths(&found),
            [
                "functions/.env.example",
                "functions/_shared/cors.ts",
                "functions/deno.json",
                "functions/hello/index.ts",
                "migrations/20240101_first.sql",
                "project/config.toml",
                "project/schemas/a.sql",
                "project/seed.sql",
                "project/seed_more.sql",
            ]
        );
        assert_eq!(found.functions.iter().map(String::as_str).collect::<Vec<_>>(), ["hello"]);
        assert_eq!(
            found.supply_again,
            [
                "supabase/.env.local (A)",
                "supabase/functions/.env (STRIPE_KEY, OTHER)",
                "variable OPENAI_KEY, which supabase/config.toml names",
            ]
        );
        assert_eq!(found.problems, []);
        assert_eq!(scan(&folder.path().join("src")), None);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_inside_the_project_alone_and_never_round_and_round() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let (project, outside) = (folder.path().join("p"), folder.path().join("outside"));
        write(
            &project,
            &[("supabase/functions/a/index.ts", ""), ("shared/util.ts", ""), (".env", "KEY=x\n")],
        );
        write(&outside, &[("secret.txt", "")]);
        let functions = project.join("supabase/functions");
        symlink(project.join("shared"), functions.join("_shared")).unwrap();
        symlink(&outside, functions.join("out")).unwrap();
        symlink(outside.join("secret.txt"), functions.join("a/secret.txt")).unwrap();
        symlink(&functions, functions.join("a/loop")).unwrap();
        symlink(project.join("nowhere"), functions.join("a/gone")).unwrap();
        symlink(project.join(".env"), functions.join("a/settings.txt")).unwrap();
        let found = scan(&project).unwrap();
        assert_eq!(paths(&found), ["functions/_shared/util.ts", "functions/a/index.ts"]);
        let problems: Vec<_> = found.problems.iter().map(|problem| problem.what.as_str()).collect();
        let expected = ["a/gone", "a/loop", "a/secret.txt", "out"];
        assert_eq!(problems, expected.map(|name| format!("supabase/functions/{name}")));
        assert_eq!(
            found.supply_again,
            ["supabase/functions/a/settings.txt (KEY)"],
            "whatever a link calls it"
        );
    }
}
