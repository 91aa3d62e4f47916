//! Objects by key: put-if-absent, ranged get, list, delete, on a local folder, on S3 or in memory, and wrappers around any
//! store. It knows nothing of what the objects mean and sees ciphertext only.
//!
//! Keys are relative paths of plain components, such as `data/3f/3fa9…` or `config`.

mod error;
mod faults;
mod key;
mod limits;
mod local;
mod memory;
mod options;
mod place;
mod retry;
mod s3;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use place::Place;
use s3::Settings;

pub use error::{ErrorKind, Operation, StoreError};
pub use faults::{Fault, Faults, Rule};
pub use limits::Limits;
pub use local::Local;
pub use memory::Memory;
pub use options::{Secret, StoreOptions, Surroundings};
pub use place::{is_folder, redacted};
pub use retry::{Retry, RetryPolicy};
pub use s3::S3;

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

    /// Whether a list shows whatever anybody had put before it began. Storage of which that is not known may show it late.
    fn lists_at_once(&self) -> bool {
        false
    }

    /// All objects below a folder such as `data/` (or `""` for all), recursively, in the order of their keys. A folder
    /// that does not exist is empty.
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError>;

    /// Deletes the object. One that is not there is no error.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Where this is, for people: without credentials.
    fn location(&self) -> String;
}

/// Opens a store from what a user writes: a folder (`/dir`, `./dir`, `file:///dir`) or a bucket (`s3://bucket/prefix`,
/// `s3:https://host/bucket/prefix`, each with `?region=…&endpoint=…`). Nothing is created yet, and nothing is asked of a
/// server.
///
/// Errors: kind [`ErrorKind::Permanent`] for what cannot be meant, the message says what can; [`ErrorKind::Denied`] where
/// no credentials are found.
pub fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    open_with(url, &StoreOptions::default())
}

/// Whether `url` can be meant at all, without opening anything.
///
/// Errors: as [`open`] tells them, for what is wrong with the URL itself.
pub fn check_url(url: &str) -> Result<(), StoreError> {
    url.parse::<Place>().map(drop)
}

/// Like [`open`], with options besides the URL; they win over it.
pub fn open_with(url: &str, options: &StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    open_in(url, options, &Surroundings::of_process())
}

/// Like [`open_with`], with variables and a home directory other than those of this process.
pub fn open_in(
    url: &str,
    options: &StoreOptions,
    surroundings: &Surroundings,
) -> Result<Arc<dyn Store>, StoreError> {
    match url.parse()? {
        Place::Folder(folder) => {
            let mut store: Arc<dyn Store> = Arc::new(Local::new(folder));
            if options.limit_upload.is_some() || options.limit_download.is_some() {
                store = Arc::new(Limits::new(store, options.limit_upload, options.limit_download));
            }
            let within = options.retry_for.unwrap_or(RetryPolicy::default().within);
            Ok(Arc::new(Retry::new(store, RetryPolicy { within, ..RetryPolicy::default() })))
        }
        Place::Bucket(bucket) => {
            let settings = Settings::resolve(*bucket, options, surroundings)?;
            let policy = RetryPolicy::network(settings.retry_for);
            Ok(Arc::new(Retry::new(Arc::new(S3::new(settings)?), policy)))
        }
    }
}

/// An HTTP client as the stores use it: the system's certificates and those of `AWS_CA_BUNDLE`, proxies of the environment,
/// no redirects, and `connections` idle connections kept. For services beside the backup storage, such as a project's API.
///
/// Errors: `url` is `https` and there is no certificate to trust; the file of certificates cannot be read.
pub fn http_client(url: &str, connections: usize) -> Result<reqwest::Client, StoreError> {
    let surroundings = Surroundings::of_process();
    let ca_file = surroundings.var("AWS_CA_BUNDLE").map(std::path::PathBuf::from);
    s3::http_client(url, ca_file.as_deref(), connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_file_urls_open_and_other_schemes_say_what_is_supported() {
        assert_eq!(open("/srv/backup").unwrap().location(), "/srv/backup");
        assert_eq!(open("file:///srv/backup").unwrap().location(), "/srv/backup");
        assert_eq!(open("./backup").unwrap().location(), "./backup");
        for bad in ["gs://bucket/path", "file://host/path", ""] {
            let error = open(bad).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Permanent);
            assert!(error.to_string().contains("file:///path"), "{error}");
        }
    }
}
