//! The fault matrix: each operation that changes a repository meets every fault at every single request to the storage,
//! and its process is killed at each. Afterwards, from a fresh process: no snapshot is lost, every listed one reads bit for
//! bit, the check is clean or names leftovers, and the same operation completes. Stock restic agrees.
//!
//! `BASEKEEP_MATRIX_RESTIC=all` asks stock restic about every case instead of some.

mod aftermath;
mod cases;
mod subjects;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::matrix::cases::{Case, Ended};
use crate::matrix::subjects::Subject;
use crate::matrix::world::World;

/// Cases that run at the same time.
const THREADS: usize = 2;
/// One case of so many is shown to stock restic.
const RESTIC_EVERY: usize = 60;

/// Runs all cases of an operation, prints how many there were, and wants at least `floor`.
async fn prove(subject: &'static dyn Subject, floor: usize) {
    let original = Arc::new(World::new());
    subject.prepare(&original).await;
    let operations = count_operations(subject, &original).await;
    let cases = Arc::new(Mutex::new(Case::all(operations)));
    let total = cases.lock().unwrap().len();
    let (met, shown) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut threads = tokio::task::JoinSet::new();
    for _ in 0..THREADS {
        let (original, cases, met, shown) = (original.clone(), cases.clone(), met.clone(), shown.clone());
        let runtime = tokio::runtime::Handle::current();
        threads.spawn_blocking(move || {
            loop {
                let Some((number, case)) = cases.lock().unwrap().pop() else { return };
                let world = original.copy();
                let ended = runtime.block_on(case.run(subject, &world));
                let what = format!("{} with {case}: {ended:?}", subject.name());
                met.fetch_add(usize::from(ended != Ended::NotMet), Relaxed);
                let ask_restic = ask_restic(number);
                shown.fetch_add(usize::from(ask_restic), Relaxed);
                runtime.block_on(aftermath::inspect(subject, &world, &case, ended, ask_restic, &what));
            }
        });
    }
    threads.join_all().await;
    let (met, shown) = (met.load(Relaxed), shown.load(Relaxed));
    eprintln!(
        "{}: {operations} requests, {total} cases, {met} met their fault, stock restic checked {shown}",
        subject.name()
    );
    assert!(met >= floor, "{met} cases met their fault, fewer than {floor}");
    // The number of requests differs a little from run to run; the last ones may not come.
    assert!(met + total / 10 >= total, "{met} of {total} cases met their fault");
}

/// Without any fault it completes, and nothing is left to complain about.
async fn count_operations(subject: &'static dyn Subject, original: &World) -> u64 {
    let world = original.copy();
    let faults = world.with_faults(&[]);
    subject.run(&faults).await.unwrap();
    subject.completed(&world).await;
    aftermath::check(&world, "without a fault").await;
    faults.requests()
}

fn ask_restic(number: usize) -> bool {
    std::env::var("BASEKEEP_MATRIX_RESTIC").is_ok_and(|which| which == "all")
        || number.is_multiple_of(RESTIC_EVERY)
}

/// What a killed process does: `cases` starts this very program again for it.
#[test]
#[ignore = "started by the other tests"]
fn child() {
    cases::run_as_child();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_withstands_every_fault() {
    prove(&subjects::Backup, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn making_a_repository_withstands_every_fault() {
    prove(&subjects::Init, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adding_a_key_withstands_every_fault() {
    prove(&subjects::AddKey, 80).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removing_a_key_withstands_every_fault() {
    prove(&subjects::RemoveKey, 80).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_password_withstands_every_fault() {
    prove(&subjects::ChangePassword, 80).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_withstands_every_fault() {
    prove(&subjects::Copy, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgetting_withstands_every_fault() {
    prove(&subjects::Forget, 80).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copying_what_is_good_out_of_damaged_packs_withstands_every_fault() {
    prove(&subjects::RepairPacks, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prune_withstands_every_fault() {
    prove(&subjects::Prune, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn making_the_index_again_withstands_every_fault() {
    prove(&subjects::RepairIndex, 150).await;
}
