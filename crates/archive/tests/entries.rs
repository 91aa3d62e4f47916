//! A schema-only archive with our data entries is the archive that pg_dump writes with data, entry by entry.

use std::collections::BTreeMap;
use std::fs;

use basekeep_archive::{Archive, Entry, Storage};

use crate::cluster::Cluster;
use crate::facts::Facts;
use crate::round_trip::{dump, schema_of};
use crate::sources;

/// Everything an entry says, with names in place of dump ids.
fn describe(archive: &Archive) -> Vec<String> {
    let names: BTreeMap<i32, String> = archive.entries.iter().map(|e| (e.dump_id, name(e))).collect();
    let mut lines: Vec<_> = archive
        .entries
        .iter()
        .map(|entry| {
            let mut depends_on: Vec<_> = entry.dependencies.iter().filter_map(|id| names.get(id)).collect();
            // pg_dump takes them as pg_depend gives them, which vacuum may change between two runs.
            depends_on.sort();
            let mut plain = entry.clone();
            plain.dump_id = 0;
            plain.dependencies.clear();
            if let Storage::Directory { file_name } = &mut plain.storage {
                *file_name = file_name.to_string().replace(&entry.dump_id.to_string(), "ID").into();
            }
            format!("{plain:?} depends on {depends_on:?}")
        })
        .collect();
    lines.sort();
    lines
}

fn name(entry: &Entry) -> String {
    format!("{} {:?} {:?}", entry.desc, entry.namespace, entry.tag)
}

/// The order of the kinds of entries, one line for each run of a kind.
fn order(archive: &Archive) -> Vec<String> {
    let mut kinds: Vec<_> = archive.entries.iter().map(|e| e.desc.to_string()).collect();
    kinds.dedup();
    kinds
}

fn check(cluster: &Cluster, dump_major: u32) {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("full");
    dump(cluster, dump_major, "d", &["-Z0"], &folder);
    let theirs = Archive::parse(&fs::read(folder.join("toc.dat")).unwrap()).unwrap();

    let mut ours = schema_of(cluster, dump_major, "source").into_directory();
    Facts::of(cluster).add_to(&mut ours);

    let (ours_lines, their_lines) = (describe(&ours), describe(&theirs));
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        a.iter().filter(|line| b.binary_search(line).is_err()).cloned().collect()
    };
    let (surplus, missing) = (only(&ours_lines, &their_lines), only(&their_lines, &ours_lines));
    assert!(
        surplus.is_empty() && missing.is_empty(),
        "only ours:\n{}\nonly pg_dump's:\n{}",
        surplus.join("\n"),
        missing.join("\n")
    );
    assert_eq!(ours_lines.len(), their_lines.len());
    assert_eq!(order(&ours), order(&theirs));
    assert!(Archive::parse(&ours.to_bytes()).unwrap() == ours);
}

fn check_both(server: u32, dump_major: u32) {
    let cluster = Cluster::start(server);
    sources::small(&cluster);
    check(&cluster, dump_major);
    cluster.psql("postgres", &["-c", "DROP DATABASE source"]);
    if sources::odd(&cluster) {
        check(&cluster, dump_major);
    }
}

#[test]
fn added_entries_are_those_of_pg_dump_15() {
    check_both(15, 15);
}

#[test]
fn added_entries_are_those_of_pg_dump_16() {
    check_both(16, 16);
}

#[test]
fn added_entries_are_those_of_pg_dump_18() {
    check_both(18, 18);
    check_both(17, 18);
}
