use std::path::Path;

use super::*;
use crate::stored::manifest::{LargeObjects, Server, Supabase, Table, Totals};

pub(crate) fn manifest(tables: &[(&str, u64)]) -> Manifest {
    let table = |(name, rows): &(&str, u64)| Table {
        schema: "public".to_owned(),
        name: (*name).to_owned(),
        dump_id: 1,
        file: "f".to_owned(),
        rows: *rows,
        bytes: rows * 10,
        digest: String::new(),
        taken_over_bytes: 0,
        read_whole: None,
        load_via_root: None,
        extension: None,
        condition: None,
        server_bytes: 0,
    };
    let rows = tables.iter().map(|(_, rows)| rows).sum();
    Manifest {
        version: 1,
        basekeep: "0".to_owned(),
        source: "shop".to_owned(),
        time: "2026-11-22T04:00:00Z".parse().unwrap(),
        duration_seconds: 75.0,
        server: Server {
            version: "15.18 (Debian | x)".to_owned(),
            version_num: 150_018,
            database: "d".to_owned(),
            encoding: "UTF8".to_owned(),
            collate: "C".to_owned(),
            ctype: "C".to_owned(),
            system_identifier: None,
            in_recovery: false,
            snapshot: String::new(),
            lsn: None,
        },
        pg_dump: "15.18".to_owned(),
        totals: Totals {
            tables: tables.len() as u64,
            rows,
            bytes: rows * 10,
            taken_over_bytes: 0,
            added_bytes: 5,
        },
        components: BTreeMap::from([("policy".to_owned(), 88), ("function".to_owned(), 20)]),
        tables: tables.iter().map(table).collect(),
        sequences: Vec::new(),
        large_objects: LargeObjects::default(),
        extensions: Vec::new(),
        roles: vec!["r".to_owned()],
        circular_foreign_keys: vec![vec!["public.messages".to_owned(), "public.users".to_owned()]],
        not_captured: Vec::new(),
        warnings: Vec::new(),
        reading: None,
        supabase: None,
    }
}

const ID: &str = "0123456789abcdef";

fn compared() -> Report {
    let mut now = manifest(&[("orders", 120), ("new", 3), ("same", 5)]);
    now.components.insert("view".to_owned(), 1);
    let counts = BTreeMap::from([
        ("users".to_owned(), 6),
        ("object_bytes".to_owned(), 2048),
        ("policies".to_owned(), 88),
    ]);
    now.supabase = Some(Supabase {
        flavour: "local".to_owned(),
        role: "postgres".to_owned(),
        counts,
        ..Supabase::default()
    });
    now.not_captured.push(Missing {
        what: "rows of\nauth.x".to_owned(),
        reason: "denied".to_owned(),
        hint: None,
    });
    let before = Manifest {
        time: "2026-11-21T04:00:00Z".parse().unwrap(),
        ..manifest(&[("orders", 100), ("old", 7), ("same", 5)])
    };
    of(ID, &now, Some(("fedcba9876".to_owned(), &before)), Proof::default(), " --config 'a b'")
}

#[test]
fn a_report_compares_with_the_snapshot_before() {
    let report = compared();
    let tables: Vec<_> = report.tables.iter().map(|t| (t.table.as_str(), t.rows, t.rows_before)).collect();
    assert_eq!(
        tables,
        [
            ("public.orders", Some(120), Some(100)),
            ("public.old", None, Some(7)),
            ("public.new", Some(3), None)
        ],
        "the largest changes first, the others left out"
    );
    let rows = report.totals.iter().find(|line| line.name == "rows").unwrap();
    assert_eq!((rows.now, rows.before), (Some(128), Some(112)));
    assert_eq!(
        report.components.iter().map(|line| line.name.as_str()).collect::<Vec<_>>(),
        ["view", "function", "policy"]
    );
    assert_eq!(
        report.project.iter().map(|line| line.name.as_str()).collect::<Vec<_>>(),
        ["users", "policies", "object bytes"]
    );
    assert!(!report.complete);
}

#[test]
fn markdown_says_everything_and_stays_in_its_lines() {
    let text = markdown(&compared());
    for expected in [
        "# Backup of shop\n",
        "| state | incomplete: 1 thing is missing |\n",
        "| database | d, PostgreSQL 15.18 (Debian \\| x) |\n",
        "| duration | 1 min 15 s |\n",
        "| compared with | fedcba98, of 2026-11-21 04:00:00 UTC |\n",
        "| rows | 128 | 112 | +16 |\n",
        "| users | 6 |  | new |\n",
        "| object bytes | 2.0 KiB |  | new |\n",
        "| policy | 88 | 88 |  |\n",
        "| public.old |  | 7 | gone |\n",
        "- rows of auth.x: denied\n",
        "- public.messages, public.users\n",
        "This snapshot was not drilled yet",
        "basekeep restore --config 'a b' 01234567 --to 'shop' --mode clear\n",
    ] {
        assert!(text.contains(expected), "{expected}\nin\n{text}");
    }
    let mut first = of(ID, &manifest(&[]), None, Proof { equal: Some(true), newest: None }, "");
    first.cleanup = Some(Cleanup { freed_bytes: 1024, done: vec!["forgot 3 snapshots".to_owned()] });
    let text = markdown(&first);
    assert!(text.contains("| compared with | nothing: it is the first one |\n"), "{text}");
    assert!(text.contains("1.0 KiB freed.\n\n- forgot 3 snapshots\n"), "{text}");
    assert!(text.contains("found everything equal"), "{text}");
}

#[test]
fn a_folder_keeps_as_many_reports_as_there_are_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("reports");
    let mut report = compared();
    let names = |place: &Path| {
        let mut names: Vec<String> = std::fs::read_dir(place)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    folder::keep(&place, &report, &[ID.to_owned()]).unwrap();
    for other in ["notes.md", "20261122T040000Z-shop-more-01234567.md", "20261122T040000Z-shop.md"] {
        std::fs::write(place.join(other), "mine").unwrap();
    }
    report.snapshot = "aaaaaaaabbbb".to_owned();
    report.time = "2026-11-23T04:00:00Z".parse().unwrap();
    let written = folder::keep(&place, &report, &[report.snapshot.clone()]).unwrap();
    assert_eq!((written.files.len(), written.removed), (2, 1));
    assert_eq!(
        names(&place),
        [
            "20261122T040000Z-shop-more-01234567.md",
            "20261122T040000Z-shop.md",
            "20261123T040000Z-shop-aaaaaaaa.json",
            "20261123T040000Z-shop-aaaaaaaa.md",
            "notes.md"
        ],
        "what is not ours stays"
    );
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.join("20261123T040000Z-shop-aaaaaaaa.json")).unwrap())
            .unwrap();
    assert_eq!((&json["version"], &json["source"]), (&1.into(), &"shop".into()));
    assert_eq!(names(&place).len(), 5, "nothing unfinished is left");
}
