//! What Supabase adds, against real servers with the platform's fixture.

// The lints spare test functions but not the functions beside them.
#![allow(clippy::unwrap_used)]

mod live;
