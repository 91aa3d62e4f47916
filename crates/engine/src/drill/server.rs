//! Where a drill restores to: a scratch cluster, or a database of its own on a server that was named.

use std::path::Path;

use basekeep_postgres::cluster::{self, Binaries, ClusterOptions, ScratchCluster};
use basekeep_postgres::{Client, ConnectOptions, quote_identifier};

use super::DrillOptions;
use crate::{EngineError, ResultExt};

/// The database that is restored, on a scratch cluster.
const SCRATCH_DATABASE: &str = "basekeep_drill";
/// Databases to connect to for dropping the drill's own.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];
const APPLICATION_NAME: &str = "basekeep drill";

/// A place to restore to that is taken away afterwards.
pub(super) enum Server {
    /// A cluster of its own.
    Scratch(Box<ScratchCluster>),
    /// A database on somebody's server.
    Database(Box<ConnectOptions>),
}

impl Server {
    /// Starts a scratch cluster for a source of this version, or names a database on the server of `options.on`.
    pub(super) async fn prepare(options: &DrillOptions, source_version: u32) -> Result<Self, EngineError> {
        if let Some(on) = &options.on {
            let name = format!("{SCRATCH_DATABASE}_{:08x}", rand::random::<u32>());
            return Ok(Self::Database(Box::new(on.with_database(&name))));
        }
        let binaries = choose(cluster::find(&options.environment()), source_version / 10_000)?;
        let settings = [
            // Nobody needs this cluster after a crash, so nothing waits for the disk and rows are not logged twice.
            ("wal_level", "minimal"),
            ("max_wal_senders", "0"),
            ("max_wal_size", "2GB"),
            ("wal_init_zero", "off"),
            ("checkpoint_timeout", "30min"),
            ("full_page_writes", "off"),
            ("synchronous_commit", "off"),
            ("autovacuum", "off"),
            ("max_locks_per_transaction", "256"),
            ("max_connections", "40"),
            ("shared_buffers", "128MB"),
        ];
        let cluster = ClusterOptions {
            parent_dir: options.scratch.clone(),
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            durable: false,
            ..ClusterOptions::default()
        };
        let started = ScratchCluster::start(&binaries, cluster).await.map_err(|error| {
            let hints = error.hints().to_vec();
            EngineError::failed(format!("start a scratch PostgreSQL {}: {error}", binaries.version))
                .hints_from(hints)
                .caused_by(error)
        })?;
        Ok(Self::Scratch(Box::new(started)))
    }

    /// The database to create and restore.
    pub(super) fn target(&self) -> ConnectOptions {
        match self {
            Self::Scratch(cluster) => cluster.options().with_database(SCRATCH_DATABASE),
            Self::Database(options) => (**options).clone(),
        }
    }

    /// Leaves everything as it is and says how to connect and how to remove it.
    pub(super) fn keep(self, roles: &[String]) -> String {
        match self {
            Self::Scratch(cluster) => {
                let kept = cluster.keep();
                let mut lines = vec![format!("database {SCRATCH_DATABASE} on {}", kept.options.redacted())];
                lines.extend(kept.instructions);
                lines.join("\n")
            }
            Self::Database(options) => {
                let mut text = format!(
                    "{}\nremove it with: DROP DATABASE {}",
                    options.redacted(),
                    quote_identifier(options.database())
                );
                if !roles.is_empty() {
                    let roles: Vec<String> = roles.iter().map(|role| quote_identifier(role)).collect();
                    text.push_str(&format!("; DROP ROLE {}", roles.join(", ")));
                }
                text
            }
        }
    }

    /// Takes everything away again, the roles that the restore made among it.
    pub(super) async fn remove(self, roles: &[String]) -> Result<(), EngineError> {
        match self {
            Self::Scratch(cluster) => {
                let folder = cluster.data_dir().parent().map(Path::to_owned);
                let stopped = cluster.stop().await;
                // The server's user empties its folder, but may not take it out of a folder that is ours alone.
                let gone =
                    folder.is_some_and(|folder| !folder.exists() || std::fs::remove_dir_all(&folder).is_ok());
                if gone { Ok(()) } else { stopped.map_err(|error| EngineError::failed(error.to_string())) }
            }
            Self::Database(options) => remove_database(&options, roles).await,
        }
    }
}

async fn remove_database(options: &ConnectOptions, roles: &[String]) -> Result<(), EngineError> {
    let mut result = Client::connect(&options.with_database(MAINTENANCE[0]), APPLICATION_NAME).await;
    if result.is_err() {
        result = Client::connect(&options.with_database(MAINTENANCE[1]), APPLICATION_NAME).await;
    }
    let mut client = result.doing(|| "connect to remove the drill's database")?;
    let name = options.database();
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote_identifier(name));
    client.execute(&sql).await.doing(|| format!("remove the database '{name}'"))?;
    for role in roles {
        let sql = format!("DROP ROLE IF EXISTS {}", quote_identifier(role));
        client.execute(&sql).await.doing(|| format!("remove the role '{role}'"))?;
    }
    client.close().await;
    Ok(())
}

/// The source's major version, or else the nearest newer one.
fn choose(found: Vec<Binaries>, major: u32) -> Result<Binaries, EngineError> {
    let versions: Vec<String> = found.iter().filter(|b| b.has_server).map(|b| b.version.clone()).collect();
    // `min_by_key` keeps the first of equals, and `found` has the newest minor version first.
    found.into_iter().filter(|b| b.has_server && b.major >= major).min_by_key(|b| b.major).ok_or_else(|| {
        let error = EngineError::failed(format!("there is no PostgreSQL {major} (or newer) server program on this machine"))
            .hint(format!("install it (Debian: apt-get install postgresql-{major}), or name its folder in BASEKEEP_POSTGRES_BIN"))
            .hint("or drill on a server of yours: --on postgresql://…");
        if versions.is_empty() { error } else { error.hint(format!("found, but too old: {}", versions.join(", "))) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(major: u32, has_server: bool) -> Binaries {
        Binaries {
            dir: format!("/pg/{major}").into(),
            major,
            version: format!("{major}.1"),
            version_num: major * 10_000 + 1,
            has_server,
            has_pg_dump: true,
            has_pg_restore: true,
            has_psql: true,
        }
    }

    #[test]
    fn the_same_major_is_chosen_first_and_then_the_nearest_newer() {
        let found = || vec![binaries(18, true), binaries(17, true), binaries(16, false), binaries(15, true)];
        assert_eq!(choose(found(), 17).unwrap().major, 17);
        assert_eq!(choose(found(), 16).unwrap().major, 17);
        assert_eq!(choose(found(), 14).unwrap().major, 15);
        let error = choose(found(), 19).unwrap_err();
        assert!(error.hints().iter().any(|hint| hint.contains("postgresql-19")), "{:?}", error.hints());
    }
}
