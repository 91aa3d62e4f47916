//! One source or target database: connection and TLS, COPY in and out, row digests, catalog, snapshot, preflight.
//!
//! The wire client is our own, thin one: COPY frames are parsed in place in the read buffer and digested in the
//! same pass. It speaks the simple query protocol with text results. This crate knows nothing of archives,
//! repositories or what a backup is.

pub mod catalog;
pub mod changes;
pub mod cluster;
pub mod connection;
pub mod conninfo;
pub mod copy;
pub mod ddl;
pub mod digest;
pub mod environment;
pub mod error;
pub mod globals;
pub mod large_objects;
pub mod locks;
pub mod preflight;
pub mod quote;
pub mod rows;
pub mod secret;
pub mod session;
pub mod tls;

pub use connection::{CancelToken, Client, Notice, SESSION_PINNING};
pub use conninfo::{ConnectOptions, ConninfoError};
pub use copy::{BinaryColumn, BinaryRows, CopyIn, CopyOut, NotBinary};
pub use digest::{Digest, RowDigester};
pub use environment::Environment;
pub use error::{Error, ErrorClass, ServerError};
pub use quote::{quote_identifier, quote_literal, quote_qualified};
pub use rows::{FromText, Row, Rows};
pub use secret::Secret;
