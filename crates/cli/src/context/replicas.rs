//! The repositories that a backup goes to: the one that is meant, and its replicas.

use basekeep_engine::config::{Dotenv, ReplicaEntry};
use basekeep_engine::replicas::BackupTarget;
use basekeep_engine::repositories::{self, RepositorySpec};
use basekeep_engine::{EngineError, ErrorKind, Password, Repository};

use super::Context;

/// What the first of them is called in reports.
const FIRST: &str = "repository";

impl Context {
    /// Opens all of them. With replicas, one that cannot be opened is no error as long as another one can: the backup goes
    /// there.
    pub(crate) async fn backup_targets(&self) -> Result<Vec<BackupTarget>, EngineError> {
        let replicas = self.replicas()?;
        if replicas.is_empty() {
            return Ok(vec![BackupTarget::new(FIRST, &self.open_repository().await?)]);
        }
        let (spec, origin) = self.repository_spec()?;
        let first = self.open_spec(&spec, &origin).await;
        let mut targets = vec![target(FIRST, &spec, first)?];
        for entry in replicas {
            targets.push(match self.replica_spec(entry, &spec.password, &origin) {
                Ok((spec, origin)) => target(&entry.name, &spec, self.open_spec(&spec, &origin).await)?,
                Err(error) => BackupTarget::failed(&entry.name, repositories::place(&entry.url), error),
            });
        }
        Ok(targets)
    }

    /// A replica's place and password, and where the password comes from. One without a password of its own has that of the
    /// repository.
    pub(crate) fn replica_spec(
        &self,
        entry: &ReplicaEntry,
        password: &Password,
        origin: &str,
    ) -> Result<(RepositorySpec, String), EngineError> {
        let (password, origin) = match &entry.password {
            Some(from) => {
                let secret = from.read(&self.env, &Dotenv::default());
                let secret = secret
                    .map_err(|error| error.within(format!("the password of replica {}", entry.name)))?;
                (Password::new(secret.expose()), from.to_string())
            }
            None => (password.clone(), origin.to_owned()),
        };
        let options = repositories::store_options(&entry.storage, &self.env)?;
        let spec = RepositorySpec::new(entry.url.clone(), password).with_options(options);
        Ok((spec.with_cache(self.cache_folder()), origin))
    }

    /// Opens a replica.
    pub(crate) async fn open_replica(
        &self,
        entry: &ReplicaEntry,
        password: &Password,
        origin: &str,
    ) -> Result<Repository, EngineError> {
        let (spec, origin) = self.replica_spec(entry, password, origin)?;
        self.open_spec(&spec, &origin).await
    }
}

fn target(
    name: &str,
    spec: &RepositorySpec,
    opened: Result<Repository, EngineError>,
) -> Result<BackupTarget, EngineError> {
    match opened {
        Ok(repository) => Ok(BackupTarget::new(name, &repository)),
        Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
        Err(error) => Ok(BackupTarget::failed(name, spec.place(), error)),
    }
}
