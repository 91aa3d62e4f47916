//! What the commands say and how they end: exit code, standard output, standard error. No server is needed here; what
//! the commands do to databases is proven in `tests/system`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cat;
mod check;
mod configuration;
mod copy;
mod diff;
mod export;
mod forget;
mod generate;
mod init;
mod key;
mod monitor;
mod part;
mod prune;
mod reference;
mod report;
mod repository;
mod sandbox;
mod server;
mod start;
mod supabase;
mod terminal;
mod usage;
mod wizard;
