//! One suite of what a store promises, run against every store and wrapper; then what is particular to each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod contract;
mod garage;
mod local;
mod wrappers;
