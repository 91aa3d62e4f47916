use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn snapshot(source: &str, day: u32, rows: u64) -> SnapshotSummary {
    SnapshotSummary {
        id: format!("{day:064}"),
        time: time(&format!("2026-11-{day:02}T04:00:00Z")),
        source: source.to_owned(),
        tags: Vec::new(),
        rows: Some(rows),
        tables: Some(1),
        bytes: Some(rows * 1024),
        added_bytes: Some(1024),
        proven: None,
        not_captured: 0,
        damaged: None,
    }
}

fn example(known: Option<&Known>) -> Digest {
    let all = [
        snapshot("shop", 10, 100),
        snapshot("shop", 14, 110),
        snapshot("blog", 18, 7),
        snapshot("shop", 22, 90),
    ];
    let now = Now {
        sources: vec![
            ("shop".to_owned(), Some(time("2026-11-20T12:00:00Z"))),
            ("blog".to_owned(), None),
            ("empty|odd".to_owned(), None),
        ],
        findings: vec![("blog".to_owned(), "the newest backup is\n4 days old".to_owned())],
    };
    digest(&all, &now, known, time("2026-11-15T12:00:00Z"), time("2026-11-22T12:00:00Z"))
}

#[test]
fn growth_is_against_the_last_snapshot_before_these_days() {
    let digest = example(None);
    let [shop, blog, empty] = &digest.sources[..] else { panic!("{digest:?}") };
    assert_eq!(
        (shop.snapshots, shop.rows, shop.rows_change, shop.added_bytes),
        (1, Some(90), Some(-20), 1024)
    );
    assert_eq!((blog.snapshots, blog.rows_change, blog.bytes_change), (1, Some(0), Some(0)));
    assert_eq!((empty.snapshots, empty.rows, empty.rows_change, empty.newest), (0, None, None, None));
    assert_eq!(digest.title(), "basekeep: 7 days, 2 snapshots, 1 to look at");
}

#[test]
fn what_failed_and_what_was_freed_is_told() {
    let failed = Runs {
        done: 20,
        failed: 2,
        last_error: Some((time("2026-11-21T04:00:00Z"), "no\nroute".to_owned())),
        ..Runs::default()
    };
    let runs = BTreeMap::from([
        (("backup".to_owned(), Some("shop".to_owned())), failed),
        (("prune".to_owned(), None), Runs { done: 1, ..Runs::default() }),
    ]);
    let known = Known { runs, freed_bytes: 5 << 20 };
    let digest = example(Some(&known));
    assert_eq!(digest.maintenance["prune"].done, 1);
    let text = digest.markdown();
    for expected in [
        "# Backups from 2026-11-15 to 2026-11-22\n",
        "| shop | 1 | 2 | 90 | -20 | 90.0 KiB | -20.0 KiB | 1.0 KiB | 8 h ago | 2 days ago |\n",
        "| blog | 1 | 0 | 7 | same | 7.0 KiB | same | 1.0 KiB | 4 days ago | never |\n",
        "| empty\\|odd | 0 | 0 | ? | ? | ? | ? | 0 B | never | never |\n",
        "- backup of shop: 2 failed, last on 2026-11-21 04:00 UTC: no route\n",
        "5.0 MiB freed\n",
        "- **blog**: the newest backup is 4 days old\n",
    ] {
        assert!(text.contains(expected), "{expected}\nin\n{text}");
    }
    let plain = digest.text();
    assert!(plain.contains("\nshop\n  snapshots   1, newest 8 h ago\n  failed runs 2\n"), "{plain}");
    assert!(!plain.contains('|') || plain.contains("empty|odd"), "{plain}");
    assert!(!plain.contains("##") && !plain.contains("**"), "{plain}");
}

#[test]
fn without_a_history_runs_are_not_claimed_to_be_well() {
    let text = example(None).markdown();
    assert!(text.contains("| shop | 1 | ? | 90 |"), "{text}");
    assert!(text.contains("There is no history of runs on this machine"), "{text}");
}
