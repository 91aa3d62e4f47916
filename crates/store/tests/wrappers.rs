//! Retries and injected faults.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use basekeep_store::{
    ErrorKind, Fault, Faults, Local, Memory, Operation, Put, Retry, RetryPolicy, Rule, Store,
};
use bytes::Bytes;

fn retrying(faults: &Arc<Faults>) -> Retry {
    let policy = RetryPolicy { attempts: 4, first_pause: Duration::from_millis(1), ..RetryPolicy::default() };
    Retry::new(faults.clone(), policy)
}

fn faulty() -> Arc<Faults> {
    Arc::new(Faults::new(Arc::new(Memory::new())))
}

#[tokio::test]
async fn transient_failures_are_tried_again_and_others_are_not() {
    let faults = faulty();
    faults.inject(Rule { times: 3, ..Rule::every(Operation::Put, "", Fault::Before(ErrorKind::Transient)) });
    let store = retrying(&faults);
    assert_eq!(store.put("a", Bytes::new()).await.unwrap(), Put::Written);
    assert_eq!(faults.count(Operation::Put), 4);
    for kind in
        [ErrorKind::NoSpace, ErrorKind::Denied, ErrorKind::Permanent, ErrorKind::NotFound, ErrorKind::Corrupt]
    {
        faults.heal();
        faults.inject(Rule::every(Operation::Get, "", Fault::Before(kind)));
        let before = faults.count(Operation::Get);
        assert_eq!(store.get("a").await.unwrap_err().kind, kind);
        assert_eq!(faults.count(Operation::Get), before + 1);
    }
}

#[tokio::test]
async fn retries_end() {
    let faults = faulty();
    faults.inject(Rule::every(Operation::List, "", Fault::Before(ErrorKind::Transient)));
    assert_eq!(retrying(&faults).list("").await.unwrap_err().kind, ErrorKind::Transient);
    assert_eq!(faults.count(Operation::List), 4);
}

#[tokio::test]
async fn a_lost_answer_is_found_by_the_retry() {
    let faults = faulty();
    faults.inject(Rule::nth(0, Operation::Put, "", Fault::After(ErrorKind::Transient)));
    let store = retrying(&faults);
    assert_eq!(store.put("a", Bytes::from_static(b"x")).await.unwrap(), Put::AlreadyExists);
    assert_eq!(store.get("a").await.unwrap(), "x");
}

#[tokio::test]
async fn faults_hit_what_they_are_told_to() {
    let faults = faulty();
    faults.inject(Rule::nth(1, Operation::Put, "data/", Fault::Torn { keep: 2, kind: ErrorKind::Permanent }));
    faults.inject(Rule::nth(0, Operation::Delete, "", Fault::After(ErrorKind::Denied)));
    let data = Bytes::from_static(b"whole");
    faults.put("index/a", data.clone()).await.unwrap();
    faults.put("data/a", data.clone()).await.unwrap();
    assert_eq!(faults.put("data/b", data.clone()).await.unwrap_err().kind, ErrorKind::Permanent);
    assert_eq!(faults.get("data/b").await.unwrap(), "wh");
    faults.put("data/c", data).await.unwrap();
    assert_eq!(faults.delete("data/a").await.unwrap_err().kind, ErrorKind::Denied);
    assert!(faults.get("data/a").await.is_err(), "it took effect");
    assert_eq!(faults.log()[1], (Operation::Put, "data/a".to_owned()));
}

#[tokio::test]
async fn the_nth_of_all_operations_counts_every_kind_on_every_key_and_both_stores() {
    let faults = faulty();
    let second = faults.beside(Arc::new(Memory::new()));
    faults.inject(Rule::nth_of_all(3, Fault::Before(ErrorKind::Permanent)));
    faults.put("config", Bytes::new()).await.unwrap();
    second.put("config", Bytes::new()).await.unwrap();
    faults.list("data/").await.unwrap();
    assert_eq!(faults.total(), 3);
    assert_eq!(second.get("config").await.unwrap_err().kind, ErrorKind::Permanent);
    second.get("config").await.unwrap();
    assert_eq!(faults.total(), 5);
}

const KILLED_IN: &str = "BASEKEEP_TEST_KILLED_IN";

/// Runs in a process of its own, which the fault ends at the second operation.
#[tokio::test]
async fn killed_at_the_second_operation() {
    let Ok(folder) = std::env::var(KILLED_IN) else { return };
    let faults = Faults::new(Arc::new(Local::new(&folder)));
    let fault = match Path::new(&folder).file_name().unwrap().to_str().unwrap() {
        "before" => Fault::KillBefore,
        "after" => Fault::KillAfter,
        _ => Fault::KillTorn { keep: 2 },
    };
    faults.inject(Rule::nth_of_all(1, fault));
    faults.put("data/a", Bytes::from_static(b"whole")).await.unwrap();
    faults.put("data/b", Bytes::from_static(b"whole")).await.unwrap();
}

#[tokio::test]
async fn a_kill_ends_the_process_before_or_after_the_effect() {
    let folder = tempfile::tempdir().unwrap();
    for (what, expected) in [("before", None), ("after", Some("whole")), ("torn", Some("wh"))] {
        let place = folder.path().join(what);
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "wrappers::killed_at_the_second_operation"])
            .env(KILLED_IN, &place)
            .output()
            .unwrap();
        assert!(ended.status.signal().is_some(), "{what}: {ended:?}");
        let store = Local::new(&place);
        assert_eq!(store.get("data/a").await.unwrap(), "whole");
        let found = store.get("data/b").await.ok();
        assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{what}");
    }
}
