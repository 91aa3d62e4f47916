//! Repositories as a whole: written, read, locked, damaged, interrupted, and shared with stock restic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod cache;
mod check;
mod copy;
mod faults;
mod keys;
mod locks;
mod matrix;
mod prune;
mod reading;
mod repair;
mod repair_index;
mod replicas;
mod stock;
mod support;
mod writing;
