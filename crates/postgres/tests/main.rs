//! Tests against real servers.

mod client;
