//! What the target server is and holds: read once, before anything is changed.

use std::collections::{BTreeMap, BTreeSet};

use basekeep_postgres::{Client, ConnectOptions, Error, quote_literal};

use crate::{EngineError, ResultExt};

/// `invalid_catalog_name`: the database does not exist.
pub(super) const NO_SUCH_DATABASE: &str = "3D000";
/// Databases that exist nearly everywhere, to connect to before the target's database exists.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];

/// Facts about the target.
#[derive(Debug, Clone, Default)]
pub(super) struct Target {
    /// `server_version_num`.
    pub(super) version: u32,
    /// The full version text.
    pub(super) version_text: String,
    /// The role that restores.
    pub(super) user: String,
    pub(super) superuser: bool,
    pub(super) may_create_roles: bool,
    pub(super) may_create_databases: bool,
    /// Whether the role has the rights of the connected database's owner.
    pub(super) owns_database: bool,
    /// All roles there are.
    pub(super) roles: BTreeSet<String>,
    /// Roles that the restoring one may act as.
    pub(super) member_of: BTreeSet<String>,
    pub(super) databases: BTreeSet<String>,
    pub(super) tablespaces: BTreeSet<String>,
    /// Extensions that can be created, and whether the restoring role may.
    pub(super) extensions: BTreeMap<String, bool>,
    /// libc locales that the server's operating system knows.
    pub(super) locales: BTreeSet<String>,
    /// Connections that may still be opened.
    pub(super) free_connections: u32,
}

/// Connects to the target's database, or where that does not exist yet, to one beside it.
pub(super) async fn connect(options: &ConnectOptions, create_database: bool) -> Result<Client, EngineError> {
    if !create_database {
        return Client::connect(options, super::APPLICATION_NAME).await.map_err(|error| {
            let missing = error.sqlstate() == Some(NO_SUCH_DATABASE);
            let error = EngineError::from(error).within(format!("connect to {}", options.redacted()));
            if missing {
                return EngineError::usage(error.message()).hint("`--create-database` creates it");
            }
            error
        });
    }
    let mut last: Option<Error> = None;
    for name in MAINTENANCE {
        match Client::connect(&options.with_database(name), super::APPLICATION_NAME).await {
            Ok(client) => return Ok(client),
            Err(error) => last = last.or(Some(error)),
        }
    }
    Err(match last {
        Some(error) => EngineError::from(error).within(format!("connect to {}", options.redacted())),
        None => EngineError::failed("no database to connect to"),
    })
}

impl Target {
    /// Whether the restoring role can give objects to this one, or act as it.
    pub(super) fn may_give_to(&self, role: &str) -> bool {
        self.superuser || self.member_of.contains(role)
    }

    /// Reads the facts. Works as an unprivileged role.
    pub(super) async fn read(client: &mut Client) -> Result<Self, EngineError> {
        let mut target = Self::facts(client).await?;
        target.roles = names(client, "SELECT rolname FROM pg_catalog.pg_roles").await?;
        target.member_of = names(
            client,
            "SELECT rolname FROM pg_catalog.pg_roles WHERE pg_catalog.pg_has_role(oid, 'MEMBER')",
        )
        .await?;
        target.databases = names(client, "SELECT datname FROM pg_catalog.pg_database").await?;
        target.tablespaces = names(client, "SELECT spcname FROM pg_catalog.pg_tablespace").await?;
        target.locales = names(
            client,
            "SELECT DISTINCT collcollate FROM pg_catalog.pg_collation
              WHERE collprovider = 'c' AND collcollate <> ''
             UNION SELECT datcollate FROM pg_catalog.pg_database
             UNION SELECT datctype FROM pg_catalog.pg_database",
        )
        .await?;
        target.locales.extend(["C".to_owned(), "POSIX".to_owned()]);
        target.read_extensions(client).await?;
        let database = client.options().database().to_owned();
        target.owns_database = owns_database(client, &database).await?;
        Ok(target)
    }

    async fn facts(client: &mut Client) -> Result<Self, EngineError> {
        let rows = client
            .query(
                "SELECT pg_catalog.current_setting('server_version'), r.rolname, r.rolsuper, r.rolcreaterole, r.rolcreatedb,
                    pg_catalog.current_setting('max_connections')::int
                    - pg_catalog.current_setting('superuser_reserved_connections')::int
                    - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend')
                   FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER",
            )
            .await
            .doing(|| "look at the target server")?;
        let row =
            rows.iter().next().ok_or_else(|| EngineError::failed("the target does not know its own role"))?;
        let text = |i| row.get(i).unwrap_or_default().to_owned();
        let yes = |i| row.get(i) == Some("t");
        Ok(Self {
            version: client.server_version(),
            version_text: text(0),
            user: text(1),
            superuser: yes(2),
            may_create_roles: yes(2) || yes(3),
            may_create_databases: yes(2) || yes(4),
            free_connections: text(5).parse::<i64>().unwrap_or(0).clamp(0, 1 << 20) as u32,
            ..Self::default()
        })
    }

    async fn read_extensions(&mut self, client: &mut Client) -> Result<(), EngineError> {
        let sql = "SELECT name, pg_catalog.bool_or(NOT superuser OR trusted)
                     FROM pg_catalog.pg_available_extension_versions GROUP BY name";
        let rows = client.query(sql).await.doing(|| "list the target's extensions")?;
        for row in rows.iter() {
            let allowed = self.superuser || row.get(1) == Some("t");
            self.extensions.insert(row.get(0).unwrap_or_default().to_owned(), allowed);
        }
        Ok(())
    }
}

/// What the target's database holds already, a few examples in words. Empty means that it can be restored into.
pub(super) async fn contents(client: &mut Client) -> Result<Vec<String>, EngineError> {
    // Members of extensions do not count: a template may bring extensions along, and the archive creates them
    // `IF NOT EXISTS`. Objects below 16384 are the server's own.
    let sql = "WITH member AS (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'),
            mine AS (
                SELECT oid, nspname FROM pg_catalog.pg_namespace AS n
                 WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
                   AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_catalog.pg_namespace'::regclass AND objid = n.oid))
        SELECT * FROM (
            SELECT 'schema ' || nspname AS what FROM mine WHERE nspname <> 'public'
            UNION ALL
            SELECT 'relation ' || nspname || '.' || relname FROM pg_catalog.pg_class AS c JOIN mine ON mine.oid = relnamespace
             WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
               AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_catalog.pg_class'::regclass AND objid = c.oid)
            UNION ALL
            SELECT 'function ' || nspname || '.' || proname FROM pg_catalog.pg_proc AS p JOIN mine ON mine.oid = pronamespace
             WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_catalog.pg_proc'::regclass AND objid = p.oid)
            UNION ALL
            SELECT 'type ' || nspname || '.' || typname FROM pg_catalog.pg_type AS t JOIN mine ON mine.oid = typnamespace
             WHERE typrelid = 0 AND typelem = 0
               AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_catalog.pg_type'::regclass AND objid = t.oid)
            UNION ALL
            SELECT 'large object ' || oid FROM pg_catalog.pg_largeobject_metadata
            UNION ALL
            SELECT 'publication ' || pubname FROM pg_catalog.pg_publication
            UNION ALL
            SELECT 'event trigger ' || evtname FROM pg_catalog.pg_event_trigger AS e
             WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_catalog.pg_event_trigger'::regclass AND objid = e.oid)
        ) AS found LIMIT 4";
    let rows = client.query(sql).await.doing(|| "see whether the target database is empty")?;
    Ok(rows.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect())
}

/// Whether the connected role owns the database `name`.
async fn owns_database(client: &mut Client, name: &str) -> Result<bool, EngineError> {
    let sql = format!(
        "SELECT pg_catalog.pg_has_role(datdba, 'USAGE') FROM pg_catalog.pg_database WHERE datname = {}",
        quote_literal(name)
    );
    let rows = client.query(&sql).await.doing(|| "see who owns the target database")?;
    Ok(rows.iter().next().and_then(|row| row.get(0)) == Some("t"))
}

async fn names(client: &mut Client, sql: &str) -> Result<BTreeSet<String>, EngineError> {
    let rows = client.query(sql).await.doing(|| "look at the target server")?;
    Ok(rows.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect())
}
