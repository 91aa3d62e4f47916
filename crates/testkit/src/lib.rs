//! For tests alone: real PostgreSQL servers of several versions, databases on them, S3 storage, fixtures, and the programs
//! that serve as oracles. Everything panics with a hint when the machine lacks something; nothing outlives the test process.
//!
//! `scripts/setup test` installs what is found here.

// A test helper that fails has nobody to report to but the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod database;
mod fixture;
mod garage;
mod http_receiver;
pub mod management_api;
mod programs;
mod smtp_server;
mod storage_api;
pub mod supabase;
mod unprivileged;

pub use cluster::{Shutdown, TestCluster};
pub use database::{TestDatabase, load_sql};
pub use fixture::{
    Features, ODD_CATALOG, ODD_CATALOG_LARGE_VALUES, SAMPLE_PROJECT, for_server, small_sample_project,
};
pub use garage::{Garage, GarageBucket};
pub use http_receiver::{HttpAnswer, HttpReceiver, Received};
pub use programs::{
    Server, basekeep, chromium, duckdb, node, pg_dump, restics, server, servers, tool, validator,
};
pub use smtp_server::{MailTls, ReceivedMail, SmtpServer};
pub use storage_api::{STORAGE_KEY, StorageApi, StorageFault, StorageRequest, StoredContent, StoredFile};
