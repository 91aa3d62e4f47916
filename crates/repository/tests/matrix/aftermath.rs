//! What is looked at after each case.

use std::process::Command;

use basekeep_repository::{CheckOptions, LockSelection};

use crate::matrix::cases::{Case, Ended, TORN};
use crate::matrix::subjects::{Subject, content};
use crate::matrix::world::{NEW_PASSWORD, World};
use crate::support::*;

/// Everything that the head of this file's folder promises.
pub(super) async fn inspect(
    subject: &'static dyn Subject,
    world: &World,
    case: &Case,
    ended: Ended,
    ask_restic: bool,
    what: &str,
) {
    // As if the process were gone: locks that it left are stale then, which a killed one proves by itself.
    if ended != Ended::Killed {
        remove_locks(world).await;
    }
    let complete = ended == Ended::Succeeded || ended == Ended::NotMet;
    if complete {
        subject.completed(world).await;
    }
    if complete || !subject.begins_damaged() {
        assert_unharmed(subject, world, what).await;
        if !case.kind.tears() {
            check(world, what).await;
            if ask_restic {
                assert_restic_agrees(world, what);
            }
        }
    }
    let mut again = subject.run(&world.with_faults(&[])).await;
    if again.is_err() && case.kind.tears() {
        // Some work refuses to go on beside a file that it cannot read.
        remove_torn_files(world, what).await;
        again = subject.run(&world.with_faults(&[])).await;
    }
    if let Err(error) = again {
        panic!("{what}: it does not complete afterwards: {error}");
    }
    assert_unharmed(subject, world, what).await;
    subject.completed(world).await;
    if case.kind.tears() {
        remove_torn_files(world, what).await;
    }
    check(world, what).await;
    if ask_restic {
        remove_locks(world).await;
        assert_restic_agrees(world, what);
    }
}

/// What is damaged then is what was torn, and nothing else. No store of ours leaves such files; repair removes them.
async fn remove_torn_files(world: &World, what: &str) {
    for name in world.names() {
        let Ok(repository) = world.open(&name).await else {
            // The one file without which there is no repository yet.
            let config = world.folder_of(&name).join("config");
            assert_eq!(
                std::fs::metadata(&config).unwrap().len(),
                TORN as u64,
                "{what}: {name} does not open"
            );
            std::fs::remove_file(config).unwrap();
            continue;
        };
        let report = repository.check(&everything(), &|_| {}).await.unwrap();
        for damage in report.damage {
            let file = world.folder_of(&name).join(&damage.file);
            let length = std::fs::metadata(&file).unwrap().len();
            assert_eq!(length, TORN as u64, "{what}: {name}: {damage:?}");
            std::fs::remove_file(file).unwrap();
        }
    }
}

async fn remove_locks(world: &World) {
    for name in world.names() {
        if let Ok(repository) = world.open_closed(&name).await {
            repository.remove_locks(LockSelection::All).await.unwrap();
        }
    }
}

/// No snapshot is lost, and all that are listed read bit for bit.
async fn assert_unharmed(subject: &'static dyn Subject, world: &World, what: &str) {
    let stays = subject.stays();
    for name in world.names() {
        let repository = match world.open(&name).await {
            Ok(repository) => repository,
            Err(error) => {
                assert!(!stays.iter().any(|(kept, _)| *kept == name), "{what}: {name}: {error}");
                continue;
            }
        };
        let (snapshots, unreadable) = repository.snapshots().await.unwrap();
        for (_, tag) in stays.iter().filter(|(kept, _)| *kept == name) {
            assert!(snapshots.iter().any(|snapshot| snapshot.tags == [*tag]), "{what}: {tag} is lost");
        }
        // A torn snapshot file can be there, but none that was whole.
        assert!(unreadable.is_empty() || what.contains("Torn"), "{what}: {unreadable:?}");
        for snapshot in &snapshots {
            for (path, data) in content(&snapshot.tags[0]) {
                let read = read_file(&repository, snapshot, path).await;
                let read = read.unwrap_or_else(|error| panic!("{what}: {path}: {error}"));
                assert!(read == data, "{what}: {path} of {} differs", snapshot.tags[0]);
            }
        }
    }
}

pub(super) fn everything() -> CheckOptions {
    CheckOptions { read_data: true, snapshots: None }
}

/// The check finds no damage in any repository.
pub(super) async fn check(world: &World, what: &str) {
    for name in world.names() {
        let Ok(repository) = world.open(&name).await else { continue };
        let report = repository.check(&everything(), &|_| {}).await.unwrap();
        assert!(report.damage.is_empty(), "{what}: {name}: {:?}", report.damage);
    }
}

fn assert_restic_agrees(world: &World, what: &str) {
    for name in world.names() {
        let folder = world.folder_of(&name);
        if !folder.join("config").exists() {
            continue;
        }
        let restic = |password: &str, arguments: &[&str]| {
            Command::new("restic")
                .args(["--no-cache", "--no-lock", "--repo"])
                .arg(&folder)
                .args(arguments)
                .env("RESTIC_PASSWORD", password)
                .output()
                .expect("restic is installed; scripts/setup test does it")
        };
        let old = restic("correct horse", &["cat", "config"]).status.success();
        let password = if old { "correct horse" } else { NEW_PASSWORD };
        let output = restic(password, &["check", "--read-data"]);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success() && out.contains("no errors were found"),
            "{what}: stock restic on {name}\n{out}\n{err}"
        );
    }
}
