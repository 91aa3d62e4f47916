//! Objects by key: put-if-absent, ranged get, list, delete, on a local folder or in memory, and wrappers around any
//! store. It knows nothing of what the objects mean and sees ciphertext only.
//!
//! Keys are relative paths of plain components, such as `data/3f/3fa9…` or `config`.

mod error;
mod faults;
mod key;
mod local;
mod memory;
mod retry;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

pub use error::{ErrorKind, Operation, StoreError};
pub use faults::{Fault, Faults, Rule};
pub use local::Local;
pub use memory::Memory;
pub use retry::{Retry, RetryPolicy};

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object is there now and was not before.
    Written,
    /// There was an object under this key; it was left as it is.
    AlreadyExists,
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// The whole key, prefix included.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
}

/// Where objects are. Every method may be called from many tasks at once.
#[async_trait]
pub trait Store: Send + Sync + Debug {
    /// Writes the object unless the key exists. Durable when it returns, also with [`Put::AlreadyExists`], which is an
    /// outcome and not an error. After an error the object may be there (the answer was lost) or not, but never in part.
    async fn put(&self, key: &str, data: Bytes) -> Result<Put, StoreError>;

    /// The whole object.
    async fn get(&self, key: &str) -> Result<Bytes, StoreError>;

    /// The bytes of `range`. An object that ends before the range does is an error of kind [`ErrorKind::Corrupt`].
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// The object's size in bytes.
    async fn size(&self, key: &str) -> Result<u64, StoreError>;

    /// When the object was written, by the storage's own clock; `None` where the storage does not tell. Only differences
    /// between two such times mean something: the clock may be any machine's.
    async fn modified(&self, _key: &str) -> Result<Option<SystemTime>, StoreError> {
        Ok(None)
    }

    /// All objects below a folder such as `data/` (or `""` for all), recursively, in the order of their keys. A folder
    /// that does not exist is empty.
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError>;

    /// Deletes the object. One that is not there is no error.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Where this is, for people: without credentials.
    fn location(&self) -> String;
}

/// Opens a store from what a user writes: `/dir`, `./dir` or `file:///dir`. Nothing is created yet.
///
/// Errors: kind [`ErrorKind::Permanent`] for a scheme that is not supported; the message names those that are.
pub fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    let folder = match url.split_once("://") {
        None => url,
        Some(("file", path)) if path.starts_with('/') => path,
        Some((scheme, _)) => {
            let scheme = if scheme == "file" { "file:// without an absolute path" } else { scheme };
            return Err(error::unsupported(&format!(
                "{scheme} is not supported; a repository is a folder: /path, ./path or file:///path"
            )));
        }
    };
    if folder.is_empty() {
        return Err(error::unsupported(
            "the repository's folder is empty; write /path, ./path or file:///path",
        ));
    }
    Ok(Arc::new(Retry::new(Arc::new(Local::new(folder)), RetryPolicy::default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_file_urls_open_and_other_schemes_say_what_is_supported() {
        assert_eq!(open("/srv/backup").unwrap().location(), "/srv/backup");
        assert_eq!(open("file:///srv/backup").unwrap().location(), "/srv/backup");
        assert_eq!(open("./backup").unwrap().location(), "./backup");
        for bad in ["s3://bucket/path", "file://host/path", ""] {
            let error = open(bad).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Permanent);
            assert!(error.to_string().contains("file:///path"), "{error}");
        }
    }
}
