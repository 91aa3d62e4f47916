//! Tests against real servers.

mod client;
mod source;
