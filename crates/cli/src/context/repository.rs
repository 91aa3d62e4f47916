//! Which repository is meant, and where its password comes from.
//!
//! The place: --repo, `BASEKEEP_REPOSITORY`, the configuration, `RESTIC_REPOSITORY`. The password: `BASEKEEP_PASSWORD…`,
//! the configuration, `RESTIC_PASSWORD…`; where --repo names another repository than the configuration does, the
//! configuration's password comes last. The name of a replica means that replica, with its own password and storage.

use std::path::PathBuf;

use basekeep_engine::config::{Config, Dotenv, PasswordFrom, ReplicaEntry, StorageEntry, expand, is_url};
use basekeep_engine::postgres::{Environment, Secret};
use basekeep_engine::repositories::{self, RepositorySpec};
use basekeep_engine::{EngineError, ErrorKind};
use basekeep_engine::{Password, Repository};

use super::{Context, current_folder};
use crate::confirm;

/// Where a repository is, and what named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// A folder (absolute) or a URL.
    pub(crate) url: String,
    /// The configuration names it, so its password belongs to it.
    configured: bool,
    /// The `[[replica]]` that it is.
    replica: Option<ReplicaEntry>,
}

impl Context {
    /// The repository that the user means.
    pub(crate) fn repository_place(&self) -> Result<Place, EngineError> {
        let configured = self.config()?.and_then(|config| config.repository.url.clone());
        let given =
            self.global.repo.clone().or_else(|| self.env.var("BASEKEEP_REPOSITORY").map(str::to_owned));
        let found = given
            .or_else(|| configured.clone())
            .or_else(|| self.env.var("RESTIC_REPOSITORY").map(str::to_owned));
        let Some(url) = found else { return Err(self.no_repository()?) };
        if url.trim().is_empty() {
            return Err(EngineError::usage("the repository's place is empty")
                .hint("give a folder, for example --repo ./backups"));
        }
        let replicas = self.config()?.map_or(&[][..], |config| &config.replicas);
        let named = replicas.iter().find(|replica| replica.name == url);
        let url = named.map_or_else(|| absolute(&url, &self.env), |replica| Ok(replica.url.clone()))?;
        let replica = replicas.iter().find(|replica| replica.url == url).cloned();
        let configured = replica.is_none() && configured.as_deref().is_none_or(|own| own == url);
        Ok(Place { url, configured, replica })
    }

    /// The replicas that a backup goes to as well: those of the configuration, if it goes to the configuration's repository.
    pub(crate) fn replicas(&self) -> Result<&[ReplicaEntry], EngineError> {
        let Some(config) = self.config()? else { return Ok(&[]) };
        let place = self.repository_place()?;
        Ok(if config.repository.url.as_ref() == Some(&place.url) { &config.replicas } else { &[] })
    }

    /// Whether the configuration says that nothing is to be deleted in the repository that the user means.
    pub(crate) fn append_only(&self) -> Result<bool, EngineError> {
        let Some(config) = self.config()? else { return Ok(false) };
        let place = self.repository_place()?;
        Ok(place.storage(Some(config)).is_some_and(|storage| storage.append_only))
    }

    fn no_repository(&self) -> Result<EngineError, EngineError> {
        let error = EngineError::new(ErrorKind::NoRepository, "no repository is named");
        Ok(match self.config()? {
            Some(config) => error.hint(format!("add `[repository]` with a url to {}", config.file.display())),
            None => error.hint("`basekeep init` writes basekeep.toml and makes a repository"),
        }
        .hint("or name one with --repo FOLDER or BASEKEEP_REPOSITORY"))
    }

    /// Where the password would come from, without reading it. `None` when nothing names one.
    pub(crate) fn password_from(&self, place: &Place) -> Result<Option<PasswordFrom>, EngineError> {
        if let Some(own) = place.replica.as_ref().and_then(|replica| replica.password.clone()) {
            return Ok(Some(own));
        }
        let own = variables(&self.env, "BASEKEEP_PASSWORD")?;
        let restic = || variables(&self.env, "RESTIC_PASSWORD");
        let configured =
            || Ok::<_, EngineError>(self.config()?.and_then(|config| config.repository.password.clone()));
        if own.is_some() {
            return Ok(own);
        }
        if place.configured || place.replica.is_some() {
            return Ok(configured()?.or(restic()?));
        }
        Ok(restic()?.or(configured()?))
    }

    fn password(&self, place: &Place) -> Result<(Secret, String), EngineError> {
        if let Some(from) = self.password_from(place)? {
            let secret = from
                .read(&self.env, &Dotenv::default())
                .map_err(|error| error.within("the repository's password"))?;
            return Ok((secret, from.to_string()));
        }
        if confirm::possible() && !self.output.json {
            let typed = confirm::password(&format!("password of the repository at {}", place.url))?;
            return Ok((Secret::new(typed), "the terminal".to_owned()));
        }
        let error = EngineError::usage(format!("no password is known for the repository at {}", place.url))
            .hint("set BASEKEEP_PASSWORD, BASEKEEP_PASSWORD_FILE or BASEKEEP_PASSWORD_COMMAND");
        Err(match self.config()? {
            Some(config) => {
                error.hint(format!("or add password_file to [repository] in {}", config.file.display()))
            }
            None => error.hint("`basekeep init` makes a key file and a configuration that names it"),
        })
    }

    /// Place and password.
    pub(crate) fn repository_spec(&self) -> Result<(RepositorySpec, String), EngineError> {
        let place = self.repository_place()?;
        let (secret, origin) = self.password(&place)?;
        let spec = RepositorySpec::new(place.url.clone(), Password::new(secret.expose()));
        let entry = place.storage(self.config()?);
        let options = entry.map(|entry| repositories::store_options(entry, &self.env)).transpose()?;
        Ok((spec.with_options(options.unwrap_or_default()).with_cache(self.cache_folder()), origin))
    }

    /// Opens it. Errors say what to do about a missing repository or a wrong password.
    pub(crate) async fn open_repository(&self) -> Result<Repository, EngineError> {
        let (spec, origin) = self.repository_spec()?;
        self.open_spec(&spec, &origin).await
    }

    pub(super) async fn open_spec(
        &self,
        spec: &RepositorySpec,
        origin: &str,
    ) -> Result<Repository, EngineError> {
        let opened = self.interrupt.guard(repositories::open(spec)).await;
        let repository = opened.map_err(|error| explain(error, &spec.url, origin))?;
        repository.wait_for_locks(self.global.retry_lock.unwrap_or_default());
        Ok(repository)
    }
}

impl Place {
    /// What the configuration says of its storage: what it says of its own repository is not meant for another one.
    fn storage<'a>(&'a self, config: Option<&'a Config>) -> Option<&'a StorageEntry> {
        let own = config.map(|config| &config.repository.storage).filter(|_| self.configured);
        self.replica.as_ref().map(|replica| &replica.storage).or(own)
    }
}

/// Replaces the engine's general hints by what this program knows: where the password came from, and how to make this
/// very repository.
pub(crate) fn explain(error: EngineError, url: &str, origin: &str) -> EngineError {
    let again =
        |error: EngineError| EngineError::new(error.kind(), error.message().to_owned()).caused_by(error);
    match error.kind() {
        ErrorKind::WrongPassword => {
            again(error).hint(format!("the password that was tried came from {origin}"))
        }
        ErrorKind::NoRepository => again(error).hint(format!(
            "create one there with `basekeep init --repo {url}`, or name another one with --repo"
        )),
        _ => error,
    }
}

/// One of `NAME`, `NAME_FILE`, `NAME_COMMAND`; two of them contradict each other.
pub(crate) fn variables(env: &Environment, name: &str) -> Result<Option<PasswordFrom>, EngineError> {
    let base = current_folder()?;
    let (file, command) = (format!("{name}_FILE"), format!("{name}_COMMAND"));
    let given = [
        env.var(name).map(|_| (name, PasswordFrom::Env(name.to_owned()))),
        env.var(&file).map(|path| (&*file, PasswordFrom::File(expand(path, &base, env)))),
        env.var(&command).map(|line| (&*command, PasswordFrom::Command(line.to_owned()))),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some((first, _)), Some((second, _))) => {
            Err(EngineError::usage(format!("{first} and {second} contradict each other"))
                .hint("unset one of them"))
        }
        (first, _) => Ok(first.map(|(_, from)| from)),
    }
}

/// A folder as an absolute path; URLs stay as they are. One that cannot be meant is an error of kind `Usage`.
pub(crate) fn absolute(url: &str, env: &Environment) -> Result<String, EngineError> {
    if is_url(url) {
        repositories::check_url(url)?;
        return Ok(url.to_owned());
    }
    // restic spells a folder `local:/path` too.
    let path: PathBuf = expand(url.strip_prefix("local:").unwrap_or(url), &current_folder()?, env);
    Ok(path.display().to_string())
}
