//! One suite of what a store promises, run against every store and wrapper; then what is particular to each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod bucket;
mod contract;
mod credentials;
mod garage;
mod local;
mod network;
mod server;
mod wrappers;
