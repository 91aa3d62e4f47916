//! Making a repository, and its passwords.

use async_trait::async_trait;
use basekeep_repository::{LockMode, NewKey, Password, Repository, RepositoryError, Result};

use crate::matrix::subjects::{MAIN, Subject, locked, repository_with};
use crate::matrix::world::{NEW_PASSWORD, World};
use crate::support::*;

fn cheap() -> NewKey {
    NewKey { scrypt_log_n: Some(10), ..NewKey::default() }
}

async fn opens(world: &World, password: &Password) -> bool {
    match Repository::open(world.store(MAIN), password).await {
        Ok(_) => true,
        // A torn key file could be the one that belongs to it.
        Err(RepositoryError::WrongPassword | RepositoryError::Damaged { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// A new repository.
pub(in crate::matrix) struct Init;

#[async_trait]
impl Subject for Init {
    fn name(&self) -> &'static str {
        "init"
    }

    async fn prepare(&self, _world: &World) {}

    async fn run(&self, world: &World) -> Result<()> {
        match Repository::init(world.store(MAIN), &password(), quick()).await {
            Err(RepositoryError::AlreadyExists { .. }) => {
                Repository::open(world.store(MAIN), &password()).await.map(drop)
            }
            result => result.map(drop),
        }
    }

    fn stays(&self) -> Vec<(&'static str, &'static str)> {
        vec![]
    }

    async fn completed(&self, world: &World) {
        assert!(opens(world, &password()).await);
    }
}

/// A second password.
pub(in crate::matrix) struct AddKey;

#[async_trait]
impl Subject for AddKey {
    fn name(&self) -> &'static str {
        "key-add"
    }

    async fn prepare(&self, world: &World) {
        repository_with(world, MAIN, &["old"]).await;
    }

    async fn run(&self, world: &World) -> Result<()> {
        locked(world, MAIN, LockMode::Shared, async |repository, lock| {
            repository.add_key(lock, &NEW_PASSWORD.into(), &cheap()).await.map(drop)
        })
        .await
    }

    fn stays(&self) -> Vec<(&'static str, &'static str)> {
        vec![(MAIN, "old")]
    }

    async fn completed(&self, world: &World) {
        assert!(opens(world, &password()).await && opens(world, &NEW_PASSWORD.into()).await);
    }
}

/// The second password goes.
pub(in crate::matrix) struct RemoveKey;

#[async_trait]
impl Subject for RemoveKey {
    fn name(&self) -> &'static str {
        "key-remove"
    }

    async fn prepare(&self, world: &World) {
        AddKey.prepare(world).await;
        AddKey.run(world).await.unwrap();
    }

    async fn run(&self, world: &World) -> Result<()> {
        locked(world, MAIN, LockMode::Exclusive, async |repository, lock| {
            for key in repository.keys().await?.keys {
                if !key.current {
                    repository.remove_key(lock, key.id).await?;
                }
            }
            Ok(())
        })
        .await
    }

    fn stays(&self) -> Vec<(&'static str, &'static str)> {
        vec![(MAIN, "old")]
    }

    async fn completed(&self, world: &World) {
        assert!(opens(world, &password()).await && !opens(world, &NEW_PASSWORD.into()).await);
    }
}

/// Another password in place of the first.
pub(in crate::matrix) struct ChangePassword;

#[async_trait]
impl Subject for ChangePassword {
    fn name(&self) -> &'static str {
        "key-passwd"
    }

    async fn prepare(&self, world: &World) {
        repository_with(world, MAIN, &["old"]).await;
    }

    async fn run(&self, world: &World) -> Result<()> {
        let repository = match Repository::open(world.store(MAIN), &password()).await {
            // It was changed already.
            Err(RepositoryError::WrongPassword | RepositoryError::Damaged { .. }) => {
                return Repository::open(world.store(MAIN), &NEW_PASSWORD.into()).await.map(drop);
            }
            result => result?,
        };
        let lock = lock_as(&repository, LockMode::Exclusive).await?;
        let result = repository.change_password(&lock, &NEW_PASSWORD.into(), &cheap()).await;
        let _ = lock.release().await;
        result.map(drop)
    }

    fn stays(&self) -> Vec<(&'static str, &'static str)> {
        vec![(MAIN, "old")]
    }

    async fn completed(&self, world: &World) {
        assert!(!opens(world, &password()).await && opens(world, &NEW_PASSWORD.into()).await);
    }
}
