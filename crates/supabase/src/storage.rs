//! Storage files: where they are, the clients that fetch and send them, their rows in the database, and how a snapshot
//! names them.
//!
//! Two ways lead to the files, the Storage API with a service key and the S3 endpoint with an access key; both give and take
//! exactly the bytes and the names that the rows speak of. Contents are streamed, never held whole.

mod address;
mod api;
mod client;
mod download;
mod error;
mod http;
pub mod index;
pub mod paths;
pub mod rows;
mod s3;
mod sign;
mod tus;
mod upload;
mod xml;

pub use address::{Address, Credentials, service_url};
pub use client::{FileFacts, Files, Listed, NewBucket, Patience};
pub use download::Download;
pub use error::{ErrorKind, StorageError};
pub use upload::{Content, NewFile};
