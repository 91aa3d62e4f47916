//! Databases to dump: a small one that shows each rule once, and the test kit's odd catalog when it is there.

use std::path::Path;

use crate::cluster::Cluster;

/// A database with what matters for data entries.
pub(crate) const SMALL: &str = include_str!("fixtures/small.sql");

/// A source database called `source`.
pub(crate) fn small(cluster: &Cluster) {
    load(cluster, SMALL, &[]);
}

/// The odd catalog in a database called `source`; false when the fixture is missing.
pub(crate) fn odd(cluster: &Cluster) -> bool {
    load_odd(cluster, &available(cluster))
}

/// The odd catalog without what some builds of the server lack.
pub(crate) fn portable_odd(cluster: &Cluster) -> bool {
    load_odd(cluster, &[])
}

fn load_odd(cluster: &Cluster, available: &[String]) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/odd-catalog.sql");
    match std::fs::read_to_string(path) {
        Ok(fixture) => load(cluster, &fixture, available),
        Err(_) => return false,
    }
    true
}

fn load(cluster: &Cluster, fixture: &str, available: &[String]) {
    cluster.create_database("source");
    let sql = for_server(cluster, fixture, available);
    // As one message: constraints that are checked late see all of its rows.
    cluster.psql("source", &["-c", &sql]);
}

/// Leaves out the sections that the server cannot run; see the test kit's fixtures.
fn for_server(cluster: &Cluster, fixture: &str, available: &[String]) -> String {
    let mut open: Vec<bool> = Vec::new();
    let mut text = String::new();
    for line in fixture.lines() {
        let condition =
            line.strip_prefix("-- ").and_then(|l| l.split_once(": ")).and_then(|(key, value)| match key {
                "min" => Some(cluster.major >= value.parse().unwrap()),
                "below" => Some(cluster.major < value.parse().unwrap()),
                "needs-extension" | "needs" => Some(available.iter().any(|a| a == value)),
                _ => None,
            });
        match condition {
            Some(holds) => open.push(holds),
            None if line == "-- end" => assert!(open.pop().is_some(), "`-- end` without a section"),
            None if open.iter().all(|holds| *holds) => text.push_str(line),
            None => {}
        }
        text.push('\n');
    }
    text
}

/// The extensions and compile-time features of a server.
fn available(cluster: &Cluster) -> Vec<String> {
    let extensions = cluster.psql("postgres", &["-c", "SELECT name FROM pg_available_extensions"]);
    let mut available: Vec<String> = extensions.lines().map(str::to_owned).collect();
    for (feature, proof) in [
        ("icu", "BEGIN; CREATE COLLATION c (provider = icu, locale = 'und'); ROLLBACK"),
        ("lz4", "BEGIN; CREATE TABLE t (c text COMPRESSION lz4); ROLLBACK"),
        ("xml", "SELECT '<a/>'::xml"),
    ] {
        let mut psql = cluster.client("psql", cluster.major, "postgres");
        if psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-c", proof]).output().unwrap().status.success() {
            available.push(feature.to_owned());
        }
    }
    available
}
