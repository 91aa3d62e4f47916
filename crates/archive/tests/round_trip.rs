//! What is read from real archives is written back byte for byte.

use std::fs;
use std::path::Path;

use basekeep_archive::{Archive, Format, Version};

use crate::cluster::{Cluster, run};
use crate::sources;

/// Dumps the database `source` in a format, with more options.
pub(crate) fn dump(cluster: &Cluster, major: u32, format: &str, options: &[&str], to: &Path) {
    dump_database(cluster, major, "source", format, options, to);
}

pub(crate) fn dump_database(
    cluster: &Cluster,
    major: u32,
    database: &str,
    format: &str,
    options: &[&str],
    to: &Path,
) {
    let mut command = cluster.client("pg_dump", major, database);
    run(command.args(["-F", format, "-f"]).arg(to).args(options));
}

/// A schema-only archive of a database.
pub(crate) fn schema_of(cluster: &Cluster, major: u32, database: &str) -> Archive {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("schema");
    dump_database(cluster, major, database, "c", &["--schema-only"], &file);
    Archive::parse(&fs::read(file).unwrap()).unwrap()
}

fn check(server: u32, dump_major: u32, minor: u8) {
    let cluster = Cluster::start(server);
    if !sources::odd(&cluster) {
        sources::small(&cluster);
    }
    let directory = tempfile::tempdir().unwrap();

    let custom = directory.path().join("schema");
    dump(&cluster, dump_major, "c", &["--schema-only"], &custom);
    let bytes = fs::read(&custom).unwrap();
    let archive = Archive::parse(&bytes).unwrap();
    assert_eq!(archive.header.version, Version { major: 1, minor, revision: 0 });
    assert_eq!(archive.header.format, Format::Custom);
    assert!(archive.to_bytes() == bytes, "custom archive without data");

    let custom = directory.path().join("full");
    dump(&cluster, dump_major, "c", &["-C"], &custom);
    let bytes = fs::read(&custom).unwrap();
    let full = Archive::parse(&bytes).unwrap();
    assert!(bytes.starts_with(&full.to_bytes()), "custom archive with data");

    let folder = directory.path().join("folder");
    dump(&cluster, dump_major, "d", &["-Z0"], &folder);
    let bytes = fs::read(folder.join("toc.dat")).unwrap();
    let from_folder = Archive::parse(&bytes).unwrap();
    assert_eq!(from_folder.header.format, Format::Directory);
    assert!(from_folder.to_bytes() == bytes, "directory archive");

    // Only what differs between two runs of pg_dump differs between its directory archive and ours.
    dump(&cluster, dump_major, "c", &[], &custom);
    let mut converted = Archive::parse(&fs::read(&custom).unwrap()).unwrap().into_directory();
    converted.header.created = from_folder.header.created;
    assert!(converted.to_bytes() == bytes, "custom archive turned into a directory archive");
}

#[test]
fn archives_of_pg_dump_15_are_written_back_byte_for_byte() {
    check(15, 15, 14);
}

#[test]
fn archives_of_pg_dump_16_are_written_back_byte_for_byte() {
    check(16, 16, 15);
}

#[test]
fn archives_of_pg_dump_18_are_written_back_byte_for_byte() {
    check(18, 18, 16);
    check(17, 18, 16);
}
