//! Tests against real servers.

// Tests end by panicking; so do the helpers they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod changes;
mod client;
mod source;
