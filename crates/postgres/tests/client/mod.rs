//! The client half: connections, COPY, scratch clusters.

mod authentication;
mod cluster;
mod commands;
mod copy;
mod fake_server;
mod lost_connection;
mod tls;

use basekeep_postgres::cluster::{Binaries, ClusterOptions, ScratchCluster, find};
use basekeep_postgres::{Client, Environment};

/// All servers of this machine, one for each major version.
pub(crate) fn servers() -> Vec<Binaries> {
    let mut env = Environment::of_process();
    let cache = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/postgres");
    let dirs: Vec<String> =
        ["16", "17", "18"].iter().map(|v| cache.join(v).join("bin").display().to_string()).collect();
    env.vars.entry("BASEKEEP_POSTGRES_BIN".into()).or_insert(dirs.join(":"));
    let mut servers: Vec<Binaries> = find(&env).into_iter().filter(|b| b.has_server).collect();
    servers.dedup_by_key(|b| b.major);
    assert!(!servers.is_empty(), "no PostgreSQL server found: run scripts/setup test");
    servers
}

/// A cluster of the oldest version, which starts fastest.
pub(crate) async fn cluster(options: ClusterOptions) -> ScratchCluster {
    ScratchCluster::start(servers().last().unwrap(), options).await.unwrap()
}

pub(crate) async fn connect(cluster: &ScratchCluster) -> Client {
    Client::connect(&cluster.options(), "test").await.unwrap()
}
