//! Stock pg_restore, with parallel jobs and without tolerance, takes an archive that we completed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use basekeep_archive::{Archive, Entry, Storage};

use crate::cluster::{Cluster, run};
use crate::facts::Facts;
use crate::round_trip::{dump, schema_of};
use crate::sources;

/// A directory archive of the database `source`: pg_dump's definitions, our entries, pg_dump's data files.
pub(crate) fn build(cluster: &Cluster, dump_major: u32, folder: &Path) -> Archive {
    let directory = tempfile::tempdir().unwrap();
    let full = directory.path().join("full");
    dump(cluster, dump_major, "d", &["-Z0"], &full);
    let theirs = Archive::parse(&fs::read(full.join("toc.dat")).unwrap()).unwrap();
    let files: BTreeMap<_, _> = theirs
        .entries
        .iter()
        .filter(|e| e.desc == "TABLE DATA")
        .map(|e| (e.identity(), file_name(e)))
        .collect();

    let mut ours = schema_of(cluster, dump_major, "source").into_directory();
    let blobs = Facts::of(cluster).add_to(&mut ours);
    fs::create_dir(folder).unwrap();
    for entry in ours.entries.iter().filter(|e| e.desc == "TABLE DATA") {
        fs::copy(full.join(&files[&entry.identity()]), folder.join(file_name(entry))).unwrap();
    }
    for list in blobs {
        let mut text = String::new();
        for oid in list.objects {
            let file = format!("blob_{oid}.dat");
            fs::copy(full.join(&file), folder.join(&file)).unwrap();
            text.push_str(&format!("{oid} {file}\n"));
        }
        fs::write(folder.join(list.toc_name), text).unwrap();
    }
    fs::write(folder.join("toc.dat"), ours.to_bytes()).unwrap();
    ours
}

pub(crate) fn file_name(entry: &Entry) -> String {
    match &entry.storage {
        Storage::Directory { file_name } => file_name.to_string(),
        Storage::Custom { .. } => panic!("not a directory archive"),
    }
}

/// All rows, positions and large objects of a database, as sorted lines: the order of rows and tables is free, and rows
/// that go through a partition root may end up in another partition.
pub(crate) fn data_of(cluster: &Cluster, dump_major: u32, database: &str) -> String {
    let output = run(cluster.client("pg_dump", dump_major, database).args(["--data-only", "--no-sync"]));
    // From release 17 on the largest interval is infinity.
    let text = String::from_utf8(output.stdout)
        .unwrap()
        .replace("\t178956970 years 7 mons 2147483647 days 2562047788:00:54.775807\t", "\tinfinity\t")
        .replace("\t-178956970 years -8 mons -2147483648 days -2562047788:00:54.775808\t", "\t-infinity\t");
    let differs = |line: &&str| {
        line.starts_with("\\restrict") || line.starts_with("\\unrestrict") || line.starts_with("-- Dumped")
    };
    let mut lines: Vec<_> = text.lines().filter(|line| !differs(line)).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Gives the target the roles of the source.
pub(crate) fn copy_roles(source: &Cluster, target: &Cluster, dump_major: u32) {
    let output = run(source.client("pg_dumpall", dump_major, "postgres").args(["--roles-only"]));
    let roles = String::from_utf8(output.stdout).unwrap();
    let roles: Vec<_> = roles.lines().filter(|l| !l.contains("ROLE postgres")).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), roles.join("\n")).unwrap();
    target.psql("postgres", &["-f", &file.path().display().to_string()]);
}

pub(crate) fn assert_same(a: &str, b: &str) {
    if a != b {
        let mut lines = a.lines().zip(b.lines()).enumerate();
        let (number, (a, b)) = lines.find(|(_, (a, b))| a != b).expect("one is longer");
        panic!("line {number} differs:\n{a:.2000}\n{b:.2000}");
    }
}

/// Restores with pg_restore on all cores, into the source's server and into a newer one.
fn check(load: fn(&Cluster) -> bool, source_major: u32, dump_major: u32, newer: u32) {
    let source = Cluster::start(source_major);
    if !load(&source) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("archive");
    build(&source, dump_major, &folder);
    let expected = data_of(&source, dump_major, "source");

    restore(&source, dump_major, &folder);
    assert_same(&expected, &data_of(&source, dump_major, "target"));

    let target = Cluster::start(newer);
    copy_roles(&source, &target, dump_major);
    restore(&target, newer, &folder);
    assert_same(&data_of(&source, newer, "source"), &data_of(&target, newer, "target"));
}

/// Restores into the new database `target`.
///
/// pg_restore runs ADD FOREIGN KEY on a partitioned table beside ATTACH PARTITION on an index of its partitions, which
/// deadlocks now and then, with pg_dump's own archives as well. Then another run is due.
fn restore(cluster: &Cluster, major: u32, folder: &Path) {
    for attempt in 1.. {
        set_target_aside(cluster);
        cluster.create_database("target");
        let mut restore = cluster.client("pg_restore", major, "target");
        let output = restore.args(["-j4", "--exit-on-error"]).arg(folder).output().unwrap();
        let messages = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return;
        }
        assert!(messages.contains("deadlock detected") && attempt < 10, "pg_restore {major}: {messages}");
    }
}

/// A database that holds a subscription cannot be dropped, so one that is there already gets another name.
fn set_target_aside(cluster: &Cluster) {
    let set_aside = "DO $$
        DECLARE target oid;
        BEGIN
            FOR target IN SELECT oid FROM pg_database WHERE datname = 'target' LOOP
                PERFORM pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = 'target';
                EXECUTE format('ALTER DATABASE target RENAME TO aside_%s', target);
            END LOOP;
        END $$";
    cluster.psql("postgres", &["-c", set_aside]);
}

fn small(cluster: &Cluster) -> bool {
    sources::small(cluster);
    true
}

#[test]
fn pg_restore_15_and_18_restore_an_archive_of_15() {
    check(small, 15, 15, 18);
}

#[test]
fn pg_restore_16_and_18_restore_an_archive_of_16() {
    check(small, 16, 16, 18);
}

#[test]
fn pg_restore_18_restores_archives_of_17_and_18() {
    check(small, 18, 18, 18);
    check(small, 17, 18, 18);
}

#[test]
fn pg_restore_15_and_16_restore_the_odd_catalog_of_15() {
    check(sources::portable_odd, 15, 15, 16);
}

#[test]
fn pg_restore_16_and_18_restore_the_odd_catalog_of_16() {
    check(sources::portable_odd, 16, 16, 18);
}

#[test]
fn pg_restore_18_restores_the_odd_catalog_of_18() {
    check(sources::odd, 18, 18, 18);
}
