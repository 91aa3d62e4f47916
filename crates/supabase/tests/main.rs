//! What Supabase adds, against real servers with the platform's fixture, and over real HTTP.

// The lints spare test functions but not the functions beside them.
#![allow(clippy::unwrap_used)]

mod live;
mod management;
