//! Scratch clusters for the drill, the demo and the tests, and the search for PostgreSQL's programs.

mod binaries;
mod scratch;
mod watcher;

pub use binaries::{Binaries, NoPgDump, PgDump, choose_pg_dump, find, find_pg_dump, find_pg_dumps};
pub use scratch::{ClusterError, ClusterOptions, KeptCluster, ScratchCluster};
