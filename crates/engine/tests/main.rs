//! Backup, restore and drill against real servers, with repositories in memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails says so by a panic"
)]

mod changed;
mod ddl;
mod diff;
mod drill;
mod export;
mod files;
mod forget;
mod incremental;
mod listing;
mod masks;
mod repair;
mod replicas;
mod restore;
mod supabase;
mod support;
mod tampered;
