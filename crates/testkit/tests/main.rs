//! The testkit proven with real servers: clusters come and go, fixtures load everywhere and survive stock tools.

// The lints spare test functions but not the functions beside them.
#![allow(clippy::unwrap_used)]

mod cluster;
mod fixtures;
mod garage;
mod supabase;
