//! A repository beside the one that is worked in: the target of a copy, or the model of a new one.

use std::path::Path;

use basekeep_engine::config::{Dotenv, PasswordFrom, StorageEntry};
use basekeep_engine::postgres::Secret;
use basekeep_engine::repositories::{self, RepositorySpec};
use basekeep_engine::{EngineError, Password, Repository};

use super::Context;
use super::repository::absolute;
use crate::confirm;

/// What a repository is needed for; its variables and flags are named so.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// `--to`, `BASEKEEP_TO_PASSWORD`.
    To,
    /// `--from-repo`, `BASEKEEP_FROM_PASSWORD`.
    From,
}

impl Role {
    fn variable(self) -> &'static str {
        match self {
            Self::To => "BASEKEEP_TO_PASSWORD",
            Self::From => "BASEKEEP_FROM_PASSWORD",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::To => "--to-password-file",
            Self::From => "--from-password-file",
        }
    }
}

/// What the configuration says of a repository.
#[derive(Default)]
struct Configured {
    password: Option<PasswordFrom>,
    storage: StorageEntry,
}

impl Context {
    /// Opens the repository at `place`: the name of a replica in the configuration, a folder or a URL. Its password comes
    /// from a flag's file, from its variables, from the configuration, or is asked for on a terminal.
    pub(crate) async fn open_other(
        &self,
        place: &str,
        password_file: Option<&Path>,
        role: Role,
    ) -> Result<Repository, EngineError> {
        let (url, configured) = self.configured(place)?;
        let given = self.further_password(password_file, role.variable());
        let given =
            given.map_err(|error| error.within(format!("the password of the repository at {url}")))?;
        let (password, origin) = match (given, &configured.password) {
            (Some(given), _) => given,
            (None, Some(from)) => {
                let secret = from.read(&self.env, &Dotenv::default())?;
                (Password::new(secret.expose()), from.to_string())
            }
            (None, None) => self.ask_for(&url, role)?,
        };
        let options = repositories::store_options(&configured.storage, &self.env)?;
        let spec = RepositorySpec::new(url, password).with_options(options).with_cache(self.cache_folder());
        self.open_spec(&spec, &origin).await
    }

    /// The place as a URL or an absolute path, and what the configuration says of it.
    fn configured(&self, place: &str) -> Result<(String, Configured), EngineError> {
        let config = self.config()?;
        let replica = config.and_then(|config| {
            let named = config.replicas.iter().find(|replica| replica.name == place)?;
            // A replica without a password of its own has the repository's.
            let password = named.password.clone().or_else(|| config.repository.password.clone());
            Some((named.url.clone(), Configured { password, storage: named.storage.clone() }))
        });
        if let Some(found) = replica {
            return Ok(found);
        }
        let url = absolute(place, &self.env)?;
        let own = config.map(|config| &config.repository).filter(|own| own.url.as_ref() == Some(&url));
        let replica = config.and_then(|config| config.replicas.iter().find(|replica| replica.url == url));
        let configured = match (replica, own) {
            (Some(replica), _) => return self.configured(&replica.name),
            (None, Some(own)) => Configured { password: own.password.clone(), storage: own.storage.clone() },
            (None, None) => Configured::default(),
        };
        Ok((url, configured))
    }

    fn ask_for(&self, url: &str, role: Role) -> Result<(Password, String), EngineError> {
        if confirm::possible() && !self.output.json {
            let typed = Secret::new(confirm::password(&format!("password of the repository at {url}"))?);
            return Ok((Password::new(typed.expose()), "the terminal".to_owned()));
        }
        let variable = role.variable();
        Err(EngineError::usage(format!("no password is known for the repository at {url}"))
            .hint(format!("use {} FILE", role.flag()))
            .hint(format!("or set {variable}, {variable}_FILE or {variable}_COMMAND")))
    }
}
