//! The dashboard over real connections: who may do what, what pages hold, and what the API answers. The panel is a fake; that
//! of the program is tested with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod client;
mod fake;
mod pages;
mod security;
