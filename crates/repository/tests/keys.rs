//! Keys: added, removed, changed, by us and by stock restic; and no fault leaves a repository that nobody can open.

use std::sync::Arc;

use basekeep_repository::{KeyId, LockMode, NewKey, Password, Repository, RepositoryError};
use basekeep_store::{ErrorKind, Fault, Faults, Local, Memory, Operation, Rule, Store};

use crate::support::*;

fn quick_key() -> NewKey {
    NewKey { scrypt_log_n: Some(10), ..NewKey::default() }
}

async fn opens(store: Arc<dyn Store>, password: &str) -> bool {
    match Repository::open(store, &password.into()).await {
        Ok(_) => true,
        Err(RepositoryError::WrongPassword) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn add(repository: &Repository, password: &Password) -> Result<KeyId, RepositoryError> {
    let lock = lock(repository).await;
    let result = repository.add_key(&lock, password, &quick_key()).await;
    let _ = lock.release().await;
    result
}

async fn change(repository: &Repository, password: &str) -> Result<KeyId, RepositoryError> {
    let lock = lock_as(repository, LockMode::Exclusive).await?;
    let result = repository.change_password(&lock, &password.into(), &quick_key()).await;
    let _ = lock.release().await;
    result
}

async fn remove(repository: &Repository, id: KeyId) -> Result<(), RepositoryError> {
    let lock = lock_as(repository, LockMode::Exclusive).await?;
    let result = repository.remove_key(&lock, id).await;
    let _ = lock.release().await;
    result
}

#[tokio::test]
async fn a_key_is_added_listed_and_removed_and_the_one_in_use_stays() {
    let (store, repository) = in_memory().await;
    let new = NewKey { username: Some("ada".into()), hostname: Some("desk".into()), ..quick_key() };
    let guard = lock(&repository).await;
    let added = repository.add_key(&guard, &"second".into(), &new).await.unwrap();
    guard.release().await.unwrap();
    assert!(opens(store.clone(), "second").await && opens(store.clone(), "correct horse").await);

    let keys = repository.keys().await.unwrap();
    assert!(keys.unreadable.is_empty());
    let current: Vec<bool> = keys.keys.iter().map(|key| key.current).collect();
    assert_eq!((keys.keys.len(), current), (2, vec![true, false]));
    assert_eq!((keys.keys[1].id, &*keys.keys[1].username, &*keys.keys[1].hostname), (added, "ada", "desk"));
    assert_eq!(repository.find_key(&added.short()).await.unwrap(), added);
    assert!(matches!(repository.find_key("zz").await, Err(RepositoryError::NoSuchFile { .. })));
    assert!(matches!(repository.find_key("").await, Err(RepositoryError::AmbiguousFile { count: 2, .. })));

    let refused = remove(&repository, repository.current_key()).await;
    assert!(matches!(refused, Err(RepositoryError::Refused(_))), "{refused:?}");
    remove(&repository, added).await.unwrap();
    assert!(!opens(store.clone(), "second").await && opens(store, "correct horse").await);
}

#[tokio::test]
async fn empty_passwords_are_refused() {
    let (store, repository) = in_memory().await;
    assert!(matches!(add(&repository, &"".into()).await, Err(RepositoryError::Refused(_))));
    assert!(matches!(change(&repository, "").await, Err(RepositoryError::Refused(_))));
    assert_eq!(keys(&*store, "keys/").await.len(), 1);
}

#[tokio::test]
async fn two_who_would_remove_each_others_key_leave_one() {
    let (store, one) = in_memory().await;
    let second = add(&one, &"second".into()).await.unwrap();
    let two = Repository::open(store.clone(), &"second".into()).await.unwrap();
    assert_eq!(two.current_key(), second);
    remove(&two, one.current_key()).await.unwrap();
    let third = add(&two, &"third".into()).await.unwrap();
    let refused = remove(&one, third).await;
    assert!(matches!(refused, Err(RepositoryError::Refused(_))), "{refused:?}");
    assert!(opens(store.clone(), "third").await && opens(store, "second").await);
}

#[tokio::test]
async fn a_changed_password_replaces_the_one_that_opened_the_repository_and_no_other() {
    let (store, repository) = in_memory().await;
    add(&repository, &"other".into()).await.unwrap();
    change(&repository, "new").await.unwrap();
    assert!(!opens(store.clone(), "correct horse").await);
    assert!(opens(store.clone(), "new").await && opens(store.clone(), "other").await);
    change(&repository, "newer").await.unwrap();
    assert!(!opens(store.clone(), "new").await && opens(store.clone(), "newer").await);
    assert_eq!(keys(&*store, "keys/").await.len(), 2);
}

#[tokio::test]
async fn a_damaged_key_file_is_named_and_can_be_removed() {
    let (store, repository) = in_memory().await;
    let added = add(&repository, &"second".into()).await.unwrap();
    let file = format!("keys/{added}");
    let mut contents = store.get(&file).await.unwrap().to_vec();
    contents[20] ^= 1;
    replace(&*store, &file, contents).await;
    let listed = repository.keys().await.unwrap();
    assert_eq!((listed.keys.len(), listed.unreadable.len()), (1, 1));
    assert_eq!(listed.unreadable[0].0, file);
    remove(&repository, repository.find_key(&added.short()).await.unwrap()).await.unwrap();
    assert!(repository.keys().await.unwrap().unreadable.is_empty());
}

/// Every operation of a change fails, before and after it took effect, or is torn: one of the passwords opens the
/// repository at any time, and the next change completes.
#[tokio::test]
async fn no_fault_in_a_change_of_password_locks_everybody_out() {
    let operations = [Operation::Put, Operation::Get, Operation::Delete, Operation::List, Operation::Size];
    let mut cases = 0;
    for operation in operations {
        for fault in [
            Fault::Before(ErrorKind::Permanent),
            Fault::After(ErrorKind::Permanent),
            Fault::Torn { keep: 10, kind: ErrorKind::Permanent },
        ] {
            for nth in 0.. {
                let (memory, _) = in_memory().await;
                let faults = Arc::new(Faults::new(memory.clone()));
                let repository = Repository::open(faults.clone(), &password()).await.unwrap();
                let asked = faults.count(operation);
                faults.inject(Rule::nth(nth, operation, "", fault));
                let result = change(&repository, "new").await;
                if faults.count(operation) - asked <= nth {
                    result.unwrap();
                    break;
                }
                cases += 1;
                let what = format!("{fault:?} at {operation} {nth}: {result:?}");
                assert_one_password_works(memory, result.is_ok(), &what).await;
            }
        }
    }
    assert!(cases > 20, "{cases}");
}

async fn assert_one_password_works(memory: Arc<Memory>, done: bool, what: &str) {
    let mut password = None;
    for candidate in ["new", "correct horse"] {
        match Repository::open(memory.clone(), &candidate.into()).await {
            Ok(repository) => password = password.or(Some(repository)),
            Err(RepositoryError::WrongPassword | RepositoryError::Damaged { .. }) => {}
            Err(error) => panic!("{what}: {error}"),
        }
    }
    let Some(repository) = password else { panic!("{what}: nobody can open the repository") };
    assert!(!done || opens(memory.clone(), "new").await, "{what}");
    for lock in keys(&*memory, "locks/").await {
        memory.delete(&lock).await.unwrap();
    }
    change(&repository, "last").await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(Repository::open(memory, &"last".into()).await.is_ok(), "{what}");
}

#[tokio::test]
async fn where_nothing_can_be_deleted_a_change_says_that_the_old_password_still_works() {
    let (memory, _) = in_memory().await;
    let faults = Arc::new(Faults::new(memory.clone()));
    let repository = Repository::open(faults.clone(), &password()).await.unwrap();
    faults.inject(Rule::every(Operation::Delete, "keys/", Fault::Before(ErrorKind::Denied)));
    let stays = change(&repository, "new").await;
    let Err(RepositoryError::OldKeyStays { new, .. }) = stays else { panic!("{stays:?}") };
    assert_eq!(repository.current_key(), new);
    assert!(opens(memory.clone(), "new").await && opens(memory, "correct horse").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_restic_opens_with_our_keys_and_we_with_its() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    let store = || Arc::new(Local::new(&path));
    let repository = Repository::init(store(), &password(), quick()).await.unwrap();
    backup(&repository, &files(1)).await.unwrap();
    add(&repository, &"second".into()).await.unwrap();
    let with = |password: &str| Stock::new(&path).with_password(password);
    with("second").check();
    let listed: serde_json::Value =
        serde_json::from_str(&with("second").run(&["key", "list", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);

    change(&repository, "changed").await.unwrap();
    assert!(!with("correct horse").command(&["snapshots"]).status.success());
    with("changed").check();

    let file = folder.path().join("password");
    std::fs::write(&file, "theirs").unwrap();
    with("changed").run(&["key", "passwd", "--new-password-file", file.to_str().unwrap()]);
    assert!(!opens(store(), "changed").await);
    let theirs = Repository::open(store(), &"theirs".into()).await.unwrap();
    let before = theirs.keys().await.unwrap();
    assert_eq!(before.keys.len(), 2);
    let second = before.keys.iter().find(|key| !key.current).unwrap().id;
    remove(&theirs, second).await.unwrap();
    assert!(!with("second").command(&["snapshots"]).status.success());
    with("theirs").check();
}
