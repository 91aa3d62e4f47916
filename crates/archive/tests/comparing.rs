//! A comparison finds what changed, and only that.

use std::fs;

use basekeep_archive::{Archive, CompareOptions, DifferenceKind, RestoreOptions, compare};

use crate::cluster::Cluster;
use crate::round_trip::schema_of;
use crate::sources;

/// Changes the source and gives what a comparison with the state before says.
fn after(cluster: &Cluster, before: &Archive, change: &str) -> Vec<String> {
    cluster.psql("source", &["-c", change]);
    let after = schema_of(cluster, cluster.major, "source");
    let lines = compare(before, &after, &CompareOptions::default()).into_iter().map(|difference| {
        let kind = match difference.kind {
            DifferenceKind::OnlyInA => "gone",
            DifferenceKind::OnlyInB => "new",
            DifferenceKind::Changed { .. } => "changed",
        };
        format!("{kind}: {}", difference.identity)
    });
    lines.collect()
}

#[test]
fn each_change_of_a_definition_is_found_and_named() {
    let cluster = Cluster::start(15);
    sources::small(&cluster);
    let before = schema_of(&cluster, 15, "source");
    assert_eq!(after(&cluster, &before, "SELECT 1"), [""; 0]);

    let changes = [
        ("ALTER POLICY own ON shop.users USING (true)", "changed: POLICY shop.users own"),
        ("ALTER TABLE shop.messages OWNER TO archive_owner", "changed: TABLE shop.messages"),
        ("DROP INDEX shop.messages_body", "gone: INDEX shop.messages_body"),
        ("CREATE VIEW public.fresh AS SELECT 1 AS one", "new: VIEW public.fresh"),
        ("COMMENT ON EVENT TRIGGER watch IS NULL", "gone: COMMENT EVENT TRIGGER watch"),
        ("GRANT INSERT ON shop.aa_totals TO \"Archive \"\"Reader\"\"\"", "changed: ACL shop.TABLE aa_totals"),
        ("ALTER TABLE shop.users DISABLE ROW LEVEL SECURITY", "gone: ROW SECURITY shop.users"),
    ];
    let mut expected = Vec::new();
    for (change, line) in changes {
        expected.push(line.to_owned());
        let mut found = after(&cluster, &before, change);
        // Owners stand in the privileges of other objects, too: sequences owned by a table's column, say.
        found.retain(|line| !line.contains("messages_id_seq"));
        let mut wanted = expected.clone();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{change}");
    }

    let now = schema_of(&cluster, 15, "source");
    let without =
        RestoreOptions { owner: false, privileges: false, comments: false, ..RestoreOptions::default() };
    let differences = compare(&before, &now, &CompareOptions { restore: without, large_objects: false });
    let names: Vec<_> = differences.iter().map(|d| d.identity.desc.to_string()).collect();
    assert_eq!(names, ["INDEX", "POLICY", "ROW SECURITY", "VIEW"]);
}

#[test]
fn large_objects_are_compared_one_by_one_whatever_their_grouping() {
    let cluster = Cluster::start(18);
    sources::small(&cluster);
    let directory = tempfile::tempdir().unwrap();
    let read = |name: &str| {
        let folder = directory.path().join(name);
        crate::round_trip::dump(&cluster, 18, "d", &[], &folder);
        Archive::parse(&fs::read(folder.join("toc.dat")).unwrap()).unwrap()
    };
    let opts = CompareOptions { large_objects: true, ..CompareOptions::default() };
    let before = read("before");
    cluster.psql("source", &["-c", "ALTER LARGE OBJECT 70003 OWNER TO archive_owner"]);
    let differences = compare(&before, &read("after"), &opts);
    let names: Vec<_> = differences.iter().map(|d| d.identity.to_string()).collect();
    assert_eq!(names, ["BLOB 70003"]);
}
