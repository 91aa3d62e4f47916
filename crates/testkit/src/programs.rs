//! Where the servers and the programs of the tests are. Knows the layout that `scripts/setup test` leaves.

use std::env;
use std::path::{Path, PathBuf};

/// The major versions that tests run against.
const MAJORS: [u32; 4] = [15, 16, 17, 18];
const HINT: &str = "run scripts/setup test";

/// An installed PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Major version, such as 16.
    pub major: u32,
    /// The directory of its programs. A server may come without client programs: see [`tool`].
    pub bin: PathBuf,
}

/// All servers that tests run against, oldest first: 15, 16, 17 and 18.
///
/// # Panics
/// When one is missing.
pub fn servers() -> Vec<Server> {
    MAJORS.into_iter().map(server).collect()
}

/// The server of this major version.
///
/// # Panics
/// When it is missing.
pub fn server(major: u32) -> Server {
    let bin = bin_directories(major).into_iter().find(|bin| bin.join("postgres").exists());
    Server { major, bin: bin.unwrap_or_else(|| panic!("PostgreSQL {major} is missing: {HINT}")) }
}

/// The oldest `pg_dump` that can dump servers of major version `at_least`.
///
/// # Panics
/// When there is none.
pub fn pg_dump(at_least: u32) -> PathBuf {
    tool("pg_dump", at_least)
}

/// A program by name: `pg_dump`, `pg_restore`, `psql`, `pgbench` and the like from the oldest installation of at least
/// this major version that has it; anything else (`restic`) from the cache or `PATH`, whatever the version.
///
/// # Panics
/// When there is none.
pub fn tool(name: &str, at_least: u32) -> PathBuf {
    MAJORS
        .into_iter()
        .filter(|major| *major >= at_least)
        .flat_map(bin_directories)
        .map(|bin| bin.join(name))
        .find(|program| program.exists())
        .or_else(|| on_path(name))
        .unwrap_or_else(|| panic!("{name} for PostgreSQL {at_least} is missing: {HINT}"))
}

/// The versions of stock restic that there are: the system's, and 0.18 unless it was not to be had, which is said loudly.
///
/// # Panics
/// When there is none at all.
#[allow(clippy::print_stderr)]
pub fn restics() -> Vec<PathBuf> {
    let newer = cache().join("restic-0.18/restic");
    let mut programs = vec![tool("restic", 0)];
    match newer.canonicalize() {
        Ok(newer) => programs.push(newer),
        Err(_) => eprintln!("SKIPPED: restic 0.18 is not there; {HINT}"),
    }
    programs
}

/// The `basekeep` program of the same build profile as the running test; [`env!("CARGO_BIN_EXE_basekeep")`](env!) is
/// there for the tests of the crate that builds it.
///
/// # Panics
/// When it was not built yet.
pub fn basekeep() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    // target/PROFILE/deps/TEST
    let program = test.parent().and_then(Path::parent).map(|profile| profile.join("basekeep"));
    program
        .filter(|program| program.exists())
        .unwrap_or_else(|| panic!("basekeep is not built: run cargo build -p basekeep"))
}

/// DuckDB's command line, which reads Parquet: from the cache or `PATH`.
///
/// # Panics
/// When it is missing.
pub fn duckdb() -> PathBuf {
    let cached = cache().join("duckdb/duckdb");
    let found = if cached.exists() { Some(cached) } else { on_path("duckdb") };
    found.unwrap_or_else(|| panic!("duckdb is missing: {HINT}"))
}

/// A validator of generated files, as a Python module: `check_jsonschema` or `kubernetes_validate`.
///
/// # Panics
/// When it is missing.
pub fn validator(module: &str) -> std::process::Command {
    let packages = cache().join("validators");
    assert!(packages.join(module).is_dir(), "{module} is missing: {HINT}");
    let mut command = std::process::Command::new(tool("python3", 0));
    command.env("PYTHONPATH", packages).args(["-m", module]);
    command
}

/// Chromium, from the cache or `PATH`.
///
/// # Panics
/// When it is missing.
pub fn chromium() -> PathBuf {
    on_path("chromium").unwrap_or_else(|| panic!("chromium is missing: {HINT}"))
}

/// Node, and the folder of the packages that drive a browser with it.
///
/// # Panics
/// When one of them is missing.
pub fn node() -> (PathBuf, PathBuf) {
    let (cached, modules) = (cache().join("node/bin/node"), cache().join("browser/node_modules"));
    let node = on_path("node").or_else(|| cached.exists().then_some(cached));
    let modules = modules.canonicalize().unwrap_or_else(|_| panic!("playwright-core is missing: {HINT}"));
    (node.unwrap_or_else(|| panic!("node is missing: {HINT}")), modules)
}

/// The Garage server, from the cache or `PATH`.
///
/// # Panics
/// When it is missing.
pub(crate) fn garage() -> PathBuf {
    let cached = cache().join("garage/bin/garage");
    let found = if cached.exists() { Some(cached) } else { on_path("garage") };
    found.unwrap_or_else(|| panic!("garage is missing: {HINT}"))
}

fn bin_directories(major: u32) -> Vec<PathBuf> {
    let mut directories = vec![PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"))];
    // Resolved, because the cache may be a link out of a directory that the servers' user cannot enter.
    if let Ok(cached) = cache().join(format!("postgres/{major}/bin")).canonicalize() {
        directories.insert(0, cached);
    }
    directories
}

fn cache() -> PathBuf {
    match env::var_os("BASEKEEP_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache"),
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(cache().join("bin"))
        .chain(env::split_paths(&path))
        // Debian keeps servers there, which an ordinary user's PATH leaves out.
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}
