//! Opening and creating repositories from a URL and a password.

use basekeep_repository::{Password, Repository};

use crate::EngineError;

/// Where a repository is and how to open it.
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
    let _ = spec;
    todo!()
}

/// Creates a repository; an existing one is left as it is and is an error of kind `Usage`.
pub async fn init(spec: &RepositorySpec) -> Result<Repository, EngineError> {
    let _ = spec;
    todo!()
}
