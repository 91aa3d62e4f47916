//! What stays whatever the rules say, and what happens when the storage refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use basekeep_engine::forget::{ForgetOptions, ForgetReport, Policies, forget};
use basekeep_engine::retention::{Count, Policy, Reason};
use basekeep_engine::{ErrorKind, Interrupt};
use basekeep_repository::{Repository, SnapshotId};
use basekeep_store::{ErrorKind as StoreKind, Fault, Faults, Memory, Operation, Rule, Store};
use jiff::tz::TimeZone;

use super::snapshots::{at, make, prove, repository};

const NOW: &str = "2024-06-16T12:00:00Z";

fn options(policy: Policy) -> ForgetOptions {
    ForgetOptions {
        snapshots: Vec::new(),
        policies: Policies::Same(policy),
        source: None,
        tags: Vec::new(),
        group_by_tags: false,
        dry_run: false,
        space: true,
        now: NOW.parse().unwrap(),
        zone: TimeZone::UTC,
    }
}

fn last(number: u32) -> Policy {
    Policy { last: Count::Newest(number), ..Policy::default() }
}

async fn run(repository: &Repository, options: &ForgetOptions) -> ForgetReport {
    forget(repository, options, &Interrupt::never()).await.unwrap()
}

/// Ids of all snapshot files that can be read, proofs too.
async fn left(repository: &Repository) -> BTreeSet<SnapshotId> {
    repository.snapshots().await.unwrap().0.into_iter().map(|snapshot| snapshot.id).collect()
}

fn reasons(report: &ForgetReport, id: SnapshotId) -> Vec<Reason> {
    let mut entries = report.groups.iter().flat_map(|group| &group.keep);
    entries.find(|entry| entry.id == id).map(|entry| entry.reasons.clone()).unwrap_or_default()
}

#[tokio::test]
async fn the_last_good_and_the_last_proven_snapshot_stay() {
    let store = Arc::new(Memory::new());
    let repository = repository(store.clone()).await;
    let made = make(
        &repository,
        &[
            at("shop", "2024-06-01T00:00:00Z", "one"),
            at("shop", "2024-06-02T00:00:00Z", "two"),
            at("shop", "2024-06-03T00:00:00Z", "three"),
            at("shop", "2024-06-04T00:00:00Z", "four"),
            at("other", "2024-05-04T00:00:00Z", "five"),
        ],
    )
    .await;
    prove(&repository, &made[1], true).await;
    prove(&repository, &made[2], false).await;
    lose_packs_of_the_newest(&*store, &repository, "shop").await;

    let report = run(&repository, &options(last(1))).await;
    assert_eq!(report.removed, [made[0].id.to_string()]);
    assert_eq!(reasons(&report, made[3].id), [Reason::Newest("last")], "damaged, but the rule keeps it");
    assert_eq!(reasons(&report, made[2].id), [Reason::LastGood]);
    assert_eq!(reasons(&report, made[1].id), [Reason::LastProven]);
    assert_eq!(reasons(&report, made[4].id), [Reason::Newest("last")]);
    assert_eq!(report.proofs_removed, 0);
}

/// Makes a further snapshot of the source's newest content unreadable: all packs that came last are gone.
async fn lose_packs_of_the_newest(store: &dyn Store, repository: &Repository, source: &str) {
    let (snapshots, _) = repository.snapshots().await.unwrap();
    let newest =
        snapshots.iter().rfind(|s| s.hostname == source && s.paths == [format!("/{source}")]).unwrap();
    let packs: Vec<String> =
        store.list("data/").await.unwrap().into_iter().map(|object| object.key).collect();
    for pack in packs {
        let content = store.get(&pack).await.unwrap();
        store.delete(&pack).await.unwrap();
        let lacking = repository.stored_packs().await.unwrap();
        let others_are_whole = {
            let mut whole = true;
            for snapshot in snapshots.iter().filter(|s| s.id != newest.id) {
                whole &= repository.lacks(snapshot, &lacking).await.unwrap().is_none();
            }
            whole
        };
        if others_are_whole && repository.lacks(newest, &lacking).await.unwrap().is_some() {
            return;
        }
        store.put(&pack, content).await.unwrap();
    }
    panic!("no pack belongs to the newest snapshot alone");
}

#[tokio::test]
async fn nothing_goes_where_no_snapshot_is_whole() {
    let store = Arc::new(Memory::new());
    let repository = repository(store.clone()).await;
    let made = make(
        &repository,
        &[at("shop", "2024-06-01T00:00:00Z", "one"), at("shop", "2024-06-02T00:00:00Z", "two")],
    )
    .await;
    for pack in store.list("data/").await.unwrap() {
        store.delete(&pack.key).await.unwrap();
    }
    let report = run(&repository, &options(last(1))).await;
    assert!(report.removed.is_empty());
    assert_eq!(reasons(&report, made[0].id), [Reason::NoneGood]);
    assert!(report.warnings[0].message.contains("no snapshot of shop is whole"), "{:?}", report.warnings);
}

#[tokio::test]
async fn snapshots_from_the_future_stay_and_push_nothing_out() {
    let repository = repository(Arc::new(Memory::new())).await;
    let made = make(
        &repository,
        &[
            at("shop", "2024-06-01T00:00:00Z", "one"),
            at("shop", "2024-06-02T00:00:00Z", "two"),
            at("shop", "2034-06-02T00:00:00Z", "fake"),
        ],
    )
    .await;
    let report = run(&repository, &options(last(1))).await;
    assert_eq!(report.removed, [made[0].id.to_string()]);
    assert_eq!(reasons(&report, made[1].id), [Reason::Newest("last")]);
    assert_eq!(reasons(&report, made[2].id), [Reason::Future]);
    assert!(report.warnings[0].message.contains("claims to be from the future"), "{:?}", report.warnings);
}

#[tokio::test]
async fn proofs_go_with_what_they_prove_and_are_never_counted() {
    let repository = repository(Arc::new(Memory::new())).await;
    let made = make(
        &repository,
        &[
            at("shop", "2024-06-01T00:00:00Z", "one"),
            at("shop", "2024-06-02T00:00:00Z", "two"),
            at("shop", "2024-06-03T00:00:00Z", "three"),
            at("shop", "2024-06-04T00:00:00Z", "two"),
        ],
    )
    .await;
    let of_one = prove(&repository, &made[0], true).await;
    let of_two = prove(&repository, &made[1], true).await;
    let of_three = prove(&repository, &made[2], true).await;
    let packs = || async { repository.stored_packs().await.unwrap() };
    assert!(repository.lacks(&made[0], &packs().await).await.unwrap().is_none());
    let report = run(&repository, &options(last(2))).await;
    assert_eq!(report.removed, [made[1].id, made[0].id].map(|id| id.to_string()));
    // The first one's file and its proof's, and their folders; the second one's are still needed.
    assert!(report.frees_bytes.is_some_and(|bytes| bytes > 100), "{:?}", report.frees_bytes);
    assert_eq!(report.proofs_removed, 1);
    let expected = [made[2].id, made[3].id, of_two.id, of_three.id];
    assert_eq!(left(&repository).await, expected.into(), "the newest has the tree of the second one");
    assert!(!left(&repository).await.contains(&of_one.id));

    // Stock restic knows nothing of proofs: what it leaves behind goes the next time.
    let lock = repository.lock(basekeep_repository::LockMode::Shared).await.unwrap();
    repository.remove_snapshots(&lock, &[made[2].id]).await[0].1.clone().unwrap();
    lock.release().await.unwrap();
    let report = run(&repository, &options(last(2))).await;
    assert_eq!((report.removed.len(), report.proofs_removed), (0, 1));
    assert_eq!(left(&repository).await, [made[3].id, of_two.id].into());
}

#[tokio::test]
async fn what_is_named_goes_and_is_called_the_last_one_when_it_is() {
    let repository = repository(Arc::new(Memory::new())).await;
    let made = make(
        &repository,
        &[at("shop", "2024-06-01T00:00:00Z", "one"), at("shop", "2024-06-02T00:00:00Z", "two")],
    )
    .await;
    let proof = prove(&repository, &made[1], true).await;
    let named = |ids: &[SnapshotId]| ForgetOptions {
        snapshots: ids.iter().map(|id| id.short()).collect(),
        policies: Policies::BySource(BTreeMap::new()),
        ..options(Policy::default())
    };
    let report = run(&repository, &ForgetOptions { dry_run: true, ..named(&[made[1].id]) }).await;
    assert_eq!((report.removed.len(), report.groups[0].remove[0].id), (0, made[1].id));
    assert_eq!(left(&repository).await.len(), 3);

    let report = run(&repository, &named(&[made[1].id])).await;
    assert_eq!((report.removed.len(), report.proofs_removed), (1, 1));
    let warnings: Vec<&str> = report.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert!(warnings.iter().any(|w| w.contains("was the last good snapshot of shop")), "{warnings:?}");
    assert!(warnings.iter().any(|w| w.contains("was the last proven snapshot of shop")), "{warnings:?}");
    assert_eq!(left(&repository).await, [made[0].id].into());

    let unknown = forget(&repository, &named(&[proof.id]), &Interrupt::never()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Usage);
}

#[tokio::test]
async fn storage_that_refuses_to_delete_loses_nothing_and_hides_nothing() {
    let faults = Arc::new(Faults::new(Arc::new(Memory::new())));
    let repository = repository(faults.clone()).await;
    let made = make(
        &repository,
        &[
            at("shop", "2024-06-01T00:00:00Z", "one"),
            at("shop", "2024-06-02T00:00:00Z", "two"),
            at("shop", "2024-06-03T00:00:00Z", "three"),
        ],
    )
    .await;
    prove(&repository, &made[0], true).await;
    prove(&repository, &made[2], true).await;
    faults.inject(Rule::every(Operation::Delete, "snapshots/", Fault::Before(StoreKind::Denied)));
    let report = run(&repository, &options(last(1))).await;
    assert_eq!((report.removed.len(), report.proofs_removed), (0, 0));
    let failed: BTreeSet<&str> = report.failed.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(failed, [made[0].id.to_string(), made[1].id.to_string()].iter().map(String::as_str).collect());
    assert_eq!(left(&repository).await.len(), 5, "a proof does not go before what it proves");
}

#[tokio::test]
async fn sources_without_a_policy_are_left_alone() {
    let repository = repository(Arc::new(Memory::new())).await;
    let day = |day: u32| format!("2024-06-0{day}T00:00:00Z");
    let (first, second) = (day(1), day(2));
    make(
        &repository,
        &[
            at("shop", &first, "one"),
            at("shop", &second, "two"),
            at("other", &first, "one"),
            at("other", &second, "two"),
        ],
    )
    .await;
    let policies = Policies::BySource([("shop".to_owned(), last(1))].into());
    let report = run(&repository, &ForgetOptions { policies, ..options(last(1)) }).await;
    assert_eq!(report.removed.len(), 1);
    let freed = report.frees_bytes.unwrap();
    assert!(freed < 400, "{freed}: the other source has the same content, only its folder has another name");
    assert_eq!(report.without_policy, [("other".to_owned(), 2)].into());
    assert_eq!(report.groups.len(), 1);
}

#[tokio::test]
async fn max_and_latest_only_limit_what_stays() {
    let repository = repository(Arc::new(Memory::new())).await;
    let times: Vec<String> = (1..=9).map(|day| format!("2024-06-0{day}T00:00:00Z")).collect();
    let new: Vec<_> = times.iter().map(|time| at("shop", time, "one")).collect();
    let made = make(&repository, &new).await;
    let kept = async |policy: Policy| -> BTreeSet<SnapshotId> {
        let dry = ForgetOptions { dry_run: true, ..options(policy) };
        let report = run(&repository, &dry).await;
        report.groups.iter().flat_map(|group| &group.keep).map(|entry| entry.id).collect()
    };
    let newest = |number: usize| made.iter().rev().take(number).map(|s| s.id).collect::<BTreeSet<_>>();
    assert_eq!(kept(Policy { max: Some(4), ..Policy::default() }).await, newest(4));
    assert_eq!(kept(Policy { max: Some(4), ..last(6) }).await, newest(4));
    assert_eq!(kept(Policy { max: Some(6), ..last(4) }).await, newest(4));
    assert_eq!(kept(Policy { latest_only: true, ..Policy::default() }).await, newest(1));
    let monthly = Policy { monthly: Count::Newest(12), max: Some(1), ..Policy::default() };
    assert_eq!(kept(monthly).await, newest(1));
}

#[tokio::test]
async fn an_empty_policy_is_refused() {
    let repository = repository(Arc::new(Memory::new())).await;
    make(&repository, &[at("shop", "2024-06-01T00:00:00Z", "one")]).await;
    let error = forget(&repository, &options(Policy::default()), &Interrupt::never()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Usage, "the policy keeps nothing"));
}
