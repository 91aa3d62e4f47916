//! Opening and creating repositories from a URL, a password and the options of the storage.

use std::path::PathBuf;
use std::sync::Arc;

use basekeep_postgres::Environment;
use basekeep_repository::{InitOptions, Password, Repository};
use basekeep_store::{Secret, Store, StoreOptions};

use crate::config::StorageEntry;
use crate::{EngineError, ErrorKind, ResultExt, cache};

/// Where a repository is and how to open it.
#[derive(Debug)]
pub struct RepositorySpec {
    /// A folder, or a URL that `basekeep_store::open` knows.
    pub url: String,
    /// Its password.
    pub password: Password,
    /// How its storage is reached, besides what the URL and the environment say.
    pub options: StoreOptions,
    /// The folder of local caches; no cache if `None`.
    pub cache: Option<PathBuf>,
}

impl RepositorySpec {
    /// Without options: the URL and the environment say all.
    pub fn new(url: impl Into<String>, password: Password) -> Self {
        Self { url: url.into(), password, options: StoreOptions::default(), cache: None }
    }

    /// With these options.
    pub fn with_options(self, options: StoreOptions) -> Self {
        Self { options, ..self }
    }

    /// With a cache below this folder.
    pub fn with_cache(self, cache: Option<PathBuf>) -> Self {
        Self { cache, ..self }
    }

    /// The place, for messages: without a password that somebody wrote into the URL.
    pub fn place(&self) -> String {
        place(&self.url)
    }

    /// The storage itself. Nothing is asked of a server yet.
    ///
    /// Errors: the URL cannot be meant, or no credentials are known.
    pub fn store(&self) -> Result<Arc<dyn Store>, EngineError> {
        basekeep_store::open_with(&self.url, &self.options).doing(|| format!("open {}", self.place()))
    }
}

/// Whether `url` can be meant at all, before a password is asked for and before it is repeated anywhere.
///
/// Errors: `Usage`, with what can be meant.
pub fn check_url(url: &str) -> Result<(), EngineError> {
    basekeep_store::check_url(url).map_err(|error| {
        let place = basekeep_store::redacted(url);
        let hint = error.hint.as_deref().map(str::to_owned);
        EngineError::usage(format!("the repository {place}: {error}")).hints_from(hint)
    })
}

/// What the configuration says about a storage, with the secrets that it names.
///
/// Errors: `Usage` for a variable that it names and that is not set.
pub fn store_options(entry: &StorageEntry, env: &Environment) -> Result<StoreOptions, EngineError> {
    let variable = |key: &str, name: Option<&String>| match name {
        None => Ok(None),
        Some(name) => env.var(name).map(|value| Some(value.to_owned())).ok_or_else(|| {
            EngineError::usage(format!("the variable {name}, which {key} names, is not set"))
                .hint(format!("set {name}, or take {key} out of the configuration"))
        }),
    };
    Ok(StoreOptions {
        endpoint: entry.endpoint.clone(),
        region: entry.region.clone(),
        profile: entry.profile.clone(),
        access_key_id: variable("access_key_env", entry.access_key_env.as_ref())?,
        secret_access_key: variable("secret_key_env", entry.secret_key_env.as_ref())?.map(Secret::new),
        session_token: variable("session_token_env", entry.session_token_env.as_ref())?.map(Secret::new),
        path_style: entry.path_style,
        limit_upload: entry.limit_upload,
        limit_download: entry.limit_download,
        ..StoreOptions::default()
    })
}

/// A place as the configuration has it, for messages: without a password that somebody wrote into the URL.
pub fn place(url: &str) -> String {
    basekeep_store::redacted(url)
}

/// Opens an existing repository.
///
/// Errors: `NoRepository`, `WrongPassword`, or `Failed` with the store's reason.
pub async fn open(spec: &RepositorySpec) -> Result<Repository, EngineError> {
    let store = spec.store()?;
    let opened = Repository::open(store, &spec.password).await;
    let repository = opened.doing(|| format!("open the repository at {}", spec.place()))?;
    Ok(match &spec.cache {
        Some(folder) => cache::attach(repository, folder, &spec.url),
        None => repository,
    })
}

/// Creates a repository; an existing one is left as it is and is an error of kind `Usage`.
pub async fn init(spec: &RepositorySpec) -> Result<Repository, EngineError> {
    init_with(spec, InitOptions::default()).await
}

/// Like [`init`]; the new repository cuts chunks as `model` does, so that the two share data when snapshots are copied
/// between them.
pub async fn init_like(spec: &RepositorySpec, model: &Repository) -> Result<Repository, EngineError> {
    init_with(spec, InitOptions { chunker_of: Some(model.clone()), ..InitOptions::default() }).await
}

async fn init_with(spec: &RepositorySpec, options: InitOptions) -> Result<Repository, EngineError> {
    let store = spec.store()?;
    match Repository::open(store.clone(), &spec.password).await.map_err(EngineError::from) {
        Ok(_) => return Err(exists(spec)),
        Err(error) if error.kind() == ErrorKind::WrongPassword => return Err(exists(spec)),
        Err(error) if error.kind() == ErrorKind::NoRepository => {}
        Err(error) => return Err(error.within(format!("look at {}", spec.place()))),
    }
    Repository::init(store, &spec.password, options)
        .await
        .doing(|| format!("create a repository at {}", spec.place()))
}

fn exists(spec: &RepositorySpec) -> EngineError {
    EngineError::usage(format!("there is a repository at {} already", spec.place()))
        .hint("it was left as it is; use another --repo, or go on with the one that is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_variables_that_hold_the_keys() {
        let mut env = Environment::default();
        env.vars.insert("KEY".to_owned(), "K".to_owned());
        let entry = StorageEntry {
            region: Some("eu-west-1".to_owned()),
            access_key_env: Some("KEY".to_owned()),
            limit_upload: Some(7),
            ..StorageEntry::default()
        };
        let options = store_options(&entry, &env).unwrap();
        assert_eq!(options.access_key_id.as_deref(), Some("K"));
        assert_eq!(options.region.as_deref(), Some("eu-west-1"));
        assert_eq!(options.limit_upload, Some(7));

        let entry = StorageEntry { secret_key_env: Some("GONE".to_owned()), ..entry };
        let error = store_options(&entry, &env).unwrap_err();
        assert_eq!(error.message(), "the variable GONE, which secret_key_env names, is not set");
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        let error = RepositorySpec::new("s3://key:hunter2@bucket", Password::new("x")).store().unwrap_err();
        let told = format!("{error} {:?}", error.hints());
        assert!(told.contains("no user name and password") && !told.contains("hunter2"), "{told}");
    }
}
