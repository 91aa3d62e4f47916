//! Restores of a part that are killed, in each mode: nothing of the target's own is lost, and the same command goes on.

use std::sync::atomic::{AtomicBool, Ordering};

use basekeep_engine::Event;
use basekeep_engine::listing::{self, Filter};
use basekeep_engine::restore::{Mode, OnConflict, Rename, RestoreOptions, SAFETY_TAG};
use basekeep_engine::selection::Selection;
use basekeep_testkit::{TestCluster, TestDatabase, load_sql, small_sample_project};

use super::fast::{killed, until_alone};
use super::names::{shop, sorted};
use super::parts::{copy_of, differing, options, tables};
use crate::support::{Backup, assert_same_text, backed_up, into, programs, restore};

/// Rows of its own, rows that are gone and rows that are otherwise.
const IN_USE: &str = "INSERT INTO shop.customers (id, name, parent) VALUES (9001, 'own', 1); INSERT INTO shop.orders (id, customer) VALUES (9001, 9001);
    UPDATE shop.orders SET note = 'own' WHERE id % 7 = 0; UPDATE shop.customers SET favourite = NULL; DELETE FROM shop.orders WHERE id > 2000 AND id < 9000;
    DELETE FROM public.notes WHERE n > 20; INSERT INTO public.notes VALUES (99, 'own')";

/// Moments of a restore: the beginning (`false`) or the end of a step.
const MOMENTS: [(&str, bool); 4] =
    [("definitions", true), ("rows", false), ("rows", true), ("comparison", true)];

fn at(step: &'static str, end: bool) -> impl Fn(&Event) -> bool + Send + Sync + 'static {
    move |event| match event {
        Event::Began { step: began } => !end && began.0 == step,
        Event::Ended { step: ended, .. } => end && ended.0 == step,
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_merge_leaves_all_or_nothing_of_each_group_and_the_same_command_goes_on() {
    let (source, backup) = shop(15).await;
    let merge = |target: &TestDatabase| RestoreOptions {
        jobs: Some(2),
        ..options(target, tables(&["shop.*", "public.notes"]), Mode::Merge(OnConflict::Replace))
    };
    let whole = copy_of(&source);
    load_sql(&whole, IN_USE).await;
    let before = whole.contents().await;
    assert_eq!(restore(&backup, &merge(&whole)).await.unwrap().failed, []);
    let wanted = whole.contents().await;
    assert_eq!(differing(&before, &wanted).len(), 3, "the merge brings something");
    for (step, end) in MOMENTS {
        let target = copy_of(&source);
        load_sql(&target, IN_USE).await;
        killed(&backup, &merge(&target), at(step, end)).await;
        until_alone(&target).await;
        let after = target.contents().await;
        for group in [&["table shop.customers", "table shop.orders"][..], &["table public.notes"]] {
            let is = |state: &std::collections::BTreeMap<String, String>| {
                group.iter().all(|name| after[*name] == state[*name])
            };
            assert!(is(&before) || is(&wanted), "{group:?} is neither old nor new, killed at {step}, {end}");
        }
        let report = restore(&backup, &merge(&target)).await.unwrap();
        assert_eq!(report.failed, [], "killed at {step}, {end}");
        assert_eq!(target.contents().await, wanted, "killed at {step}, {end}");
        assert_same_text(&sorted(&source.schema_dump()), &sorted(&target.schema_dump()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_restore_beside_the_live_tables_touches_none_of_them_and_is_resumed() {
    let (source, backup) = shop(15).await;
    let beside = |target: &TestDatabase| {
        let mut rename = Rename::default();
        rename.schema("shop=before").unwrap();
        let selection = Selection { schemas: vec!["shop".into()], ..Selection::default() };
        RestoreOptions { rename, jobs: Some(2), ..options(target, selection, Mode::Empty) }
    };
    let whole = copy_of(&source);
    load_sql(&whole, IN_USE).await;
    assert_eq!(restore(&backup, &beside(&whole)).await.unwrap().failed, []);
    let (wanted, definitions) = (whole.contents().await, sorted(&whole.schema_dump()));
    for (step, end) in MOMENTS {
        let target = copy_of(&source);
        load_sql(&target, IN_USE).await;
        let own = target.contents().await;
        killed(&backup, &beside(&target), at(step, end)).await;
        until_alone(&target).await;
        let after = target.contents().await;
        assert!(
            own.iter().all(|(name, content)| after.get(name) == Some(content)),
            "killed at {step}, {end}"
        );
        let resume = RestoreOptions { mode: Mode::Resume, ..beside(&target) };
        assert_eq!(restore(&backup, &resume).await.unwrap().failed, [], "killed at {step}, {end}");
        assert_eq!(target.contents().await, wanted, "killed at {step}, {end}");
        assert_same_text(&definitions, &sorted(&target.schema_dump()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_restore_of_a_table_that_was_gone_is_resumed() {
    let (source, backup) = shop(15).await;
    let gone = "ALTER TABLE shop.customers DROP COLUMN favourite CASCADE; DROP TABLE shop.orders CASCADE; DROP TABLE public.notes";
    let selection = tables(&["shop.orders", "public.notes"]);
    for (step, end) in MOMENTS {
        let target = copy_of(&source);
        load_sql(&target, &format!("DROP POLICY own ON shop.customers; {gone}")).await;
        let before = target.contents().await;
        let empty = RestoreOptions { jobs: Some(2), ..options(&target, selection.clone(), Mode::Empty) };
        killed(&backup, &empty, at(step, end)).await;
        until_alone(&target).await;
        let after = target.contents().await;
        assert!(before.iter().all(|(name, content)| after.get(name) == Some(content)), "killed at {step}");
        let resume = RestoreOptions { mode: Mode::Resume, ..empty };
        assert_eq!(restore(&backup, &resume).await.unwrap().failed, [], "killed at {step}, {end}");
        let (is, was) = (target.contents().await, source.contents().await);
        for name in ["table shop.orders", "table public.notes", "sequence shop.orders_id_seq"] {
            assert_eq!(is[name], was[name], "{name}, killed at {step}, {end}");
        }
        let of = |database: &TestDatabase| {
            sorted(&database.pg_dump(&["--schema-only", "--table=shop.orders", "--table=public.notes"]))
        };
        assert_same_text(&of(&source), &of(&target));
    }
}

/// The newest safety snapshot, restored elsewhere.
async fn what_was_kept(backup: &Backup, cluster: &TestCluster) -> std::collections::BTreeMap<String, String> {
    let filter = Filter { tags: vec![SAFETY_TAG.into()], ..Filter::default() };
    let listed = listing::list(&backup.repository, &filter).await.unwrap();
    let newest = listed.snapshots.iter().max_by_key(|snapshot| snapshot.time).unwrap();
    let snapshot = listing::find(&backup.repository, &newest.id.to_string(), None).await.unwrap();
    let kept = Backup { snapshot, repository: backup.repository.clone(), manifest: backup.manifest.clone() };
    let again = cluster.create_database();
    assert_eq!(restore(&kept, &into(&again.options())).await.unwrap().failed, []);
    again.contents().await
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_that_is_killed_in_or_after_its_safety_backup_has_changed_nothing_and_starts_anew() {
    for (moment, is_safe) in
        [("rows", false), ("snapshot", false), ("safety-snapshot", true), ("after", true)]
    {
        let (source, backup) = shop(15).await;
        let target = copy_of(&source);
        load_sql(&target, IN_USE).await;
        let before = target.contents().await;
        let clear = options(&target, tables(&["shop.*", "public.notes"]), Mode::Clear);
        let safe = AtomicBool::new(false);
        killed(&backup, &clear, move |event| match event {
            Event::Warning { code, .. } if code == "safety-snapshot" => {
                safe.store(true, Ordering::Relaxed);
                moment == "safety-snapshot"
            }
            Event::Began { step } => match moment {
                "after" => safe.load(Ordering::Relaxed) && step.0 == "definitions",
                _ => step.0 == moment,
            },
            _ => false,
        })
        .await;
        until_alone(&target).await;
        assert_eq!(target.contents().await, before, "killed at {moment}");
        if is_safe {
            assert_eq!(what_was_kept(&backup, source.cluster()).await, before, "killed at {moment}");
        }
        let report = restore(&backup, &clear).await.unwrap();
        assert_eq!(report.failed, [], "killed at {moment}");
        assert_eq!(target.contents().await, source.contents().await, "killed at {moment}");
        assert_eq!(what_was_kept(&backup, source.cluster()).await, before, "killed at {moment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_killed_on_its_way_into_a_plain_server_is_not_taken_for_one_when_it_is_resumed() {
    let source = TestCluster::shared(15).create_database();
    source.load(&small_sample_project()).await;
    let backup = backed_up(&source).await;
    for step in ["rows", "grants"] {
        let target = source.cluster().create_database();
        let all = RestoreOptions { environment: Some(programs(15)), ..into(&target.options()) };
        killed(&backup, &all, at(step, step == "rows")).await;
        until_alone(&target).await;
        let resume = RestoreOptions { mode: Mode::Resume, ..all };
        assert_eq!(restore(&backup, &resume).await.unwrap().failed, [], "killed at {step}");
        assert_eq!(differing(&source.contents().await, &target.contents().await), Vec::<String>::new());
        assert_same_text(&sorted(&source.schema_dump()), &sorted(&target.schema_dump()));
    }
}
