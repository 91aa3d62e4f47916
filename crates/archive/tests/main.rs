//! The archive model against real servers, real pg_dump and real pg_restore.

// Helpers outside of test functions have nobody to report to but the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod comparing;
mod damage;
mod entries;
mod extensions;
mod facts;
mod restoring;
mod round_trip;
mod sources;
mod stock;
