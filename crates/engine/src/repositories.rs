//! Opening and creating repositories from a URL and a password.

use basekeep_repository::{InitOptions, Password, Repository};

use crate::{EngineError, ErrorKind, ResultExt};

/// Where a repository is and how to open it.
#[derive(Debug)]
pub struct RepositorySpec {
    /// A folder, or a URL that `basekeep_store::open` knows.
    pub url: String,
    /// Its password.
    pub password: Password,
}

/// Opens an existing repository.
///
/// Errors: `NoRepository`, `WrongPassword`, or `Failed` with the store's reason.
pub async fn open(spec: &RepositorySpec) -> Result<Repository, EngineError> {
    let store = basekeep_store::open(&spec.url).doing(|| format!("open {}", spec.url))?;
    Repository::open(store, &spec.password).await.doing(|| format!("open the repository at {}", spec.url))
}

/// Creates a repository; an existing one is left as it is and is an error of kind `Usage`.
pub async fn init(spec: &RepositorySpec) -> Result<Repository, EngineError> {
    let store = basekeep_store::open(&spec.url).doing(|| format!("open {}", spec.url))?;
    match Repository::open(store.clone(), &spec.password).await.map_err(EngineError::from) {
        Ok(_) => return Err(exists(spec)),
        Err(error) if error.kind() == ErrorKind::WrongPassword => return Err(exists(spec)),
        Err(error) if error.kind() == ErrorKind::NoRepository => {}
        Err(error) => return Err(error.within(format!("look at {}", spec.url))),
    }
    Repository::init(store, &spec.password, InitOptions::default())
        .await
        .doing(|| format!("create a repository at {}", spec.url))
}

fn exists(spec: &RepositorySpec) -> EngineError {
    EngineError::usage(format!("there is a repository at {} already", spec.url))
        .hint("it was left as it is; use another --repo, or go on with the one that is there")
}
