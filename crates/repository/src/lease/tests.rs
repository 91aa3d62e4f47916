//! Leases on storage that answers at once, late, and wrongly.

use basekeep_store::{Fault, Faults, Memory, Operation, Rule, Store};

use super::*;
use crate::{InitOptions, Password};

async fn repository(store: Arc<dyn Store>) -> Repository {
    let options = InitOptions { scrypt_log_n: Some(1), ..InitOptions::default() };
    Repository::init(store, &Password::new("x"), options).await.unwrap()
}

fn leases(repository: &Repository, expires: u64) -> Leases {
    let options = LeaseOptions { expires: Duration::from_millis(expires), settle: Duration::from_millis(20) };
    Leases::new(repository.clone(), options)
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[track_caller]
fn held(attempt: LeaseAttempt) -> Lease {
    match attempt {
        LeaseAttempt::Held(lease) => lease,
        LeaseAttempt::Busy(owner) => panic!("{owner} has it"),
    }
}

#[tokio::test]
async fn one_server_has_it_and_the_next_one_learns_what_was_done() {
    let repository = repository(Arc::new(Memory::new())).await;
    let (one, two) = (leases(&repository, 60_000), leases(&repository, 60_000));
    let lease = held(one.acquire("source shop").await.unwrap());
    assert_eq!(lease.done("backup"), None);
    assert!(matches!(two.acquire("source shop").await.unwrap(), LeaseAttempt::Busy(_)));
    held(two.acquire("source other").await.unwrap());
    lease.release(Some(("backup", time(1000)))).await.unwrap();
    let lease = held(two.acquire("source shop").await.unwrap());
    assert_eq!(lease.done("backup"), Some(time(1000)));
    lease.release(Some(("drill", time(2000)))).await.unwrap();
    let done = one.done("source shop").await.unwrap();
    assert_eq!(done, [("backup".to_owned(), time(1000)), ("drill".to_owned(), time(2000))].into());
    let files = repository.shared.store.list(layout::LEASES).await.unwrap();
    assert_eq!(files.len(), 2, "one file for each lease: {files:?}");
    assert!(!files.iter().any(|file| file.key.contains("shop")), "{files:?}");
}

#[tokio::test]
async fn a_lease_is_renewed_and_taken_over_only_when_it_stands_still() {
    let repository = repository(Arc::new(Memory::new())).await;
    let (one, two) = (leases(&repository, 300), leases(&repository, 300));
    let lease = held(one.acquire("a").await.unwrap());
    let until = Instant::now() + Duration::from_millis(1200);
    while Instant::now() < until {
        assert!(matches!(two.acquire("a").await.unwrap(), LeaseAttempt::Busy(_)), "it is renewed");
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    // As after kill -9.
    drop(lease);
    let taken = async {
        loop {
            if let LeaseAttempt::Held(lease) = two.acquire("a").await.unwrap() {
                break lease;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), taken).await.unwrap();
}

#[tokio::test]
async fn whoever_slept_through_a_takeover_learns_of_it() {
    let repository = repository(Arc::new(Memory::new())).await;
    let (one, two) = (leases(&repository, 60_000), leases(&repository, 0));
    let lease = held(one.acquire("a").await.unwrap());
    // The second one thinks that leases expire at once, as if a long time had passed; the owner's word of 60 seconds
    // is taken away.
    let folder = one.folder("a");
    let file = LeaseFile { expires_seconds: 0, ..read(&repository, &folder, 1).await.unwrap().unwrap() };
    repository.shared.store.delete(&key(&folder, 1)).await.unwrap();
    repository.shared.store.put(&key(&folder, 1), seal(&repository, &file).unwrap()).await.unwrap();
    let other = held(two.acquire("a").await.unwrap());
    // The next number is taken; and later ones, when the older are deleted.
    assert!(lease.state.advance(false, &lease.state.done).await.unwrap().is_some());
    assert!(other.state.advance(false, &other.state.done).await.unwrap().is_none());
    assert!(lease.state.advance(false, &lease.state.done).await.unwrap().is_some());
    assert!(lease.release(Some(("backup", time(1)))).await.is_err());
    assert_eq!(two.done("a").await.unwrap(), BTreeMap::new(), "who has lost it writes nothing");
    other.release(None).await.unwrap();
}

#[tokio::test]
async fn of_many_who_want_it_at_once_one_gets_it() {
    let repository = repository(Arc::new(Memory::new())).await;
    let all: Vec<Leases> = (0..20).map(|_| leases(&repository, 60_000)).collect();
    for round in 0..5 {
        let scope = format!("scope {round}");
        let attempts = futures::future::join_all(all.iter().map(|leases| leases.acquire(&scope))).await;
        let held = attempts.into_iter().filter(|a| matches!(a, Ok(LeaseAttempt::Held(_)))).count();
        assert_eq!(held, 1);
    }
}

#[tokio::test]
async fn a_lost_answer_and_a_damaged_file_do_no_harm() {
    let faults = Arc::new(Faults::new(Arc::new(Memory::new())));
    let repository = repository(faults.clone()).await;
    let one = leases(&repository, 200);
    faults.inject(Rule::nth(0, Operation::Put, layout::LEASES, Fault::After(ErrorKind::Transient)));
    // The file is there, and nobody knows: the lease expires.
    assert!(one.acquire("a").await.is_err());
    let taken = async {
        loop {
            match one.acquire("a").await.unwrap() {
                LeaseAttempt::Held(lease) => break lease,
                LeaseAttempt::Busy(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let lease = tokio::time::timeout(Duration::from_secs(10), taken).await.unwrap();
    lease.release(Some(("backup", time(5)))).await.unwrap();
    // Somebody overwrites the file.
    let folder = one.folder("a");
    let number = newest(&repository, &folder).await.unwrap();
    faults.delete(&key(&folder, number)).await.unwrap();
    faults.put(&key(&folder, number), Bytes::from_static(b"nonsense")).await.unwrap();
    assert!(matches!(one.acquire("a").await.unwrap(), LeaseAttempt::Busy(_)), "honoured until it expires");
    tokio::time::sleep(Duration::from_millis(250)).await;
    held(one.acquire("a").await.unwrap());
}
