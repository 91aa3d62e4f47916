//! Where PostgreSQL's programs are on this machine.

use crate::environment::Environment;
use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One directory with PostgreSQL's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory.
    pub dir: PathBuf,
    /// For example 17.
    pub major: u32,
    /// For example `17.10`.
    pub version: String,
    /// For example 170010.
    pub version_num: u32,
    /// `postgres` and `initdb` are there.
    pub has_server: bool,
    /// `pg_dump` is there.
    pub has_pg_dump: bool,
    /// `pg_restore` is there.
    pub has_pg_restore: bool,
    /// `psql` is there.
    pub has_psql: bool,
}

impl Binaries {
    /// The programs in a directory; `None` when neither a server nor pg_dump is there and runs.
    pub fn in_dir(dir: &Path) -> Option<Self> {
        Self::asking(dir, ["postgres", "pg_dump"])
    }

    /// The same; the first of the programs that is there tells the version.
    fn asking(dir: &Path, programs: [&str; 2]) -> Option<Self> {
        let has = |program: &str| is_program(&dir.join(program));
        let version = programs.into_iter().find_map(|program| version_of(&dir.join(program)))?;
        let version_num = crate::connection::version_number(&version);
        Some(Self {
            dir: dir.to_owned(),
            major: version_num / 10_000,
            version,
            version_num,
            has_server: has("postgres") && has("initdb"),
            has_pg_dump: has("pg_dump"),
            has_pg_restore: has("pg_restore"),
            has_psql: has("psql"),
        })
    }

    /// Path of a program in the directory.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// All that is found, newest version first; the same version in the order of the search: `BASEKEEP_POSTGRES_BIN`
/// (directories separated by colons), `PATH`, the places where packages put them.
pub fn find(env: &Environment) -> Vec<Binaries> {
    find_asking(env, ["postgres", "pg_dump"])
}

/// All directories are asked at once: a server takes longest to say its version, and each backup asks.
fn find_asking(env: &Environment, programs: [&str; 2]) -> Vec<Binaries> {
    let mut seen = Vec::new();
    let mut dirs = directories(env);
    dirs.retain(|dir| {
        let Ok(real) = dir.canonicalize() else { return false };
        let new = !seen.contains(&real);
        if new {
            seen.push(real);
        }
        new
    });
    let mut found: Vec<Binaries> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            dirs.iter().map(|dir| scope.spawn(move || Binaries::asking(dir, programs))).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    });
    found.sort_by_key(|b| Reverse(b.version_num));
    found
}

fn directories(env: &Environment) -> Vec<PathBuf> {
    let list =
        |name: &str| env.var(name).map(|v| std::env::split_paths(v).collect::<Vec<_>>()).unwrap_or_default();
    let mut dirs = list("BASEKEEP_POSTGRES_BIN");
    // A wrapper that chooses a version by itself is not a version: Debian's stands in for all programs in /usr/bin.
    dirs.extend(list("PATH").into_iter().filter(|dir| !is_wrapper(&dir.join("pg_dump"))));
    for (parent, prefix, below) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
        ("/opt", "postgresql", "bin"),
    ] {
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        let mut versions: Vec<PathBuf> = entries
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with(prefix))
            .map(|e| e.path().join(below))
            .collect();
        versions.sort();
        dirs.extend(versions);
    }
    dirs.extend(["/usr/libexec/postgresql", "/usr/local/pgsql/bin"].map(PathBuf::from));
    // A relative directory of PATH would change its meaning with the working directory.
    dirs.retain(|dir| {
        dir.is_absolute() && (is_program(&dir.join("postgres")) || is_program(&dir.join("pg_dump")))
    });
    dirs
}

fn is_wrapper(program: &Path) -> bool {
    program.canonicalize().is_ok_and(|real| real.file_name().is_some_and(|name| name == "pg_wrapper"))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// `17.10` of `pg_dump (PostgreSQL) 17.10 (Debian …)`.
fn version_of(program: &Path) -> Option<String> {
    if !is_program(program) {
        return None;
    }
    let output =
        Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_once("(PostgreSQL)")?.1.split_whitespace().next()?;
    (output.status.success() && version.starts_with(|c: char| c.is_ascii_digit())).then(|| version.to_owned())
}

/// A `pg_dump` program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgDump {
    /// The program.
    pub path: PathBuf,
    /// For example 17.
    pub major: u32,
    /// For example `17.10`.
    pub version: String,
}

/// There is no pg_dump that can read this server: it refuses servers newer than itself.
#[derive(Clone, Debug, thiserror::Error)]
#[error("there is no pg_dump for a PostgreSQL {server_major} server on this machine")]
pub struct NoPgDump {
    /// Major version of the server.
    pub server_major: u32,
    /// Those that are there and too old.
    pub found: Vec<PgDump>,
}

impl NoPgDump {
    /// What to install.
    pub fn hints(&self) -> Vec<String> {
        let mut hints: Vec<String> = (self.found.iter())
            .map(|p| format!("{} is version {}, older than the server", p.path.display(), p.version))
            .collect();
        hints.push(format!(
            "install the client programs of PostgreSQL {0} or newer (Debian and Ubuntu: postgresql-client-{0} from apt.postgresql.org; macOS: brew install postgresql@{0}), or name their directory in BASEKEEP_POSTGRES_BIN",
            self.server_major
        ));
        hints
    }
}

/// The pg_dump for a server of this version (150018): the same major version, else the nearest newer one.
pub fn find_pg_dump(env: &Environment, server_version_num: u32) -> Result<PgDump, NoPgDump> {
    choose_pg_dump(&find_pg_dumps(env), server_version_num / 10_000)
}

/// The part of [`find_pg_dump`] that takes time, for callers that do not know the server yet.
pub fn find_pg_dumps(env: &Environment) -> Vec<Binaries> {
    find_asking(env, ["pg_dump", "postgres"])
}

/// The other part, for a server of this major version.
pub fn choose_pg_dump(binaries: &[Binaries], server_major: u32) -> Result<PgDump, NoPgDump> {
    let with_pg_dump = || binaries.iter().filter(|b| b.has_pg_dump);
    let describe =
        |b: &Binaries| PgDump { path: b.program("pg_dump"), major: b.major, version: b.version.clone() };
    with_pg_dump()
        .filter(|b| b.major >= server_major)
        // The first of several: newest minor version, order of the search.
        .min_by_key(|b| b.major)
        .map(describe)
        .ok_or_else(|| NoPgDump { server_major, found: with_pg_dump().map(describe).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(dir: &str, major: u32, has_pg_dump: bool) -> Binaries {
        Binaries {
            dir: dir.into(),
            major,
            version: format!("{major}.1"),
            version_num: major * 10_000 + 1,
            has_server: true,
            has_pg_dump,
            has_pg_restore: has_pg_dump,
            has_psql: has_pg_dump,
        }
    }

    #[test]
    fn the_same_major_is_preferred_then_the_nearest_newer() {
        let all = [
            binaries("/a", 18, true),
            binaries("/b", 17, false),
            binaries("/c", 16, true),
            binaries("/d", 16, true),
        ];
        assert_eq!(choose_pg_dump(&all, 16).unwrap().path, Path::new("/c/pg_dump"));
        assert_eq!(choose_pg_dump(&all, 17).unwrap().major, 18);
        assert_eq!(choose_pg_dump(&all, 13).unwrap().major, 16);
        let error = choose_pg_dump(&all, 19).unwrap_err();
        assert_eq!(error.found.len(), 3);
        assert!(error.hints().last().unwrap().contains("postgresql-client-19"), "{:?}", error.hints());
    }

    #[test]
    fn programs_are_found_where_the_environment_says() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("pg_dump");
        std::fs::write(&program, "#!/bin/sh\necho 'pg_dump (PostgreSQL) 42.7 (Distro 42.7-1)'\n").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut env = Environment::default();
        env.vars.insert("BASEKEEP_POSTGRES_BIN".into(), format!("/nowhere:{}", dir.path().display()));
        env.vars.insert("PATH".into(), dir.path().display().to_string());
        let found = find(&env);
        assert_eq!(found.iter().filter(|b| b.major == 42).count(), 1);
        assert_eq!(
            (found[0].version.as_str(), found[0].version_num, found[0].has_server),
            ("42.7", 420_007, false)
        );
        assert_eq!(find_pg_dump(&env, 420_000).unwrap().path, program);
    }
}
