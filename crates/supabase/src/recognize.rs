//! Whether a database is that of a Supabase project, told from its roles and schemas alone, and which kind of project.
//!
//! What cannot be told is said to be unknown: a wrong word here would lead a restore astray.

mod version;

use std::collections::BTreeSet;
use std::fmt;

use basekeep_postgres::{Client, Error, Rows, quote_literal};

use crate::platform;
use crate::probe::Probe;
pub use version::SchemaVersion;

/// Where a project runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// On supabase.com.
    Hosted,
    /// On servers of one's own.
    SelfHosted,
    /// The stack that the Supabase CLI starts.
    Local,
    /// Nothing tells.
    Unknown,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hosted => "hosted",
            Self::SelfHosted => "self-hosted",
            Self::Local => "local",
            Self::Unknown => "unknown",
        })
    }
}

/// The role of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is the role attribute of its name")]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Whether nothing is denied to it.
    pub superuser: bool,
    /// Whether row level security does not apply to it.
    pub bypass_rls: bool,
    /// Whether it may make roles.
    pub create_role: bool,
    /// Whether it may start replication.
    pub replication: bool,
}

/// A database that was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Where it runs.
    pub flavour: Flavour,
    /// The hosted project's reference, where the address tells it.
    pub reference: Option<String>,
    /// Who we are.
    pub role: Role,
    /// How far `auth` has been migrated.
    pub auth: Option<SchemaVersion>,
    /// How far `storage` has been migrated.
    pub storage: Option<SchemaVersion>,
    /// Tables and views of the platform's schemas, `schema.name`.
    relations: BTreeSet<String>,
    /// Columns of `auth` and `storage`, `schema.table.column`.
    columns: BTreeSet<String>,
}

/// The port on which the CLI's local stack has its database.
const LOCAL_PORT: u16 = 54322;

impl Project {
    /// Whether there is such a table or view in a platform schema; `name` is `schema.name`.
    pub fn has(&self, name: &str) -> bool {
        self.relations.contains(name)
    }

    /// Whether there is such a column in `auth` or `storage`; `name` is `schema.table.column`.
    pub fn has_column(&self, name: &str) -> bool {
        self.columns.contains(name)
    }

    /// What the role may not do that matters for a complete backup or restore, a sentence each, and what to do about it.
    pub fn limits(&self) -> Vec<(String, &'static str)> {
        let role = &self.role;
        if role.superuser {
            return Vec::new();
        }
        let mut limits = Vec::new();
        if !role.bypass_rls {
            limits.push((
                format!(
                    "role {} has no BYPASSRLS: tables with row level security that it does not own cannot be read",
                    role.name
                ),
                "back up as postgres, or as another role with BYPASSRLS",
            ));
        }
        if !role.create_role {
            limits.push((
                format!("role {} cannot create roles in a restore: it has no CREATEROLE", role.name),
                "restore as postgres, or as another role with CREATEROLE",
            ));
        }
        limits
    }
}

/// Looks at the database. `None` when it is not that of a Supabase project: some of the three API roles or the table
/// `auth.users` are missing. The client must be inside a transaction; nothing is changed.
///
/// Errors: those of the connection; nothing that is asked for needs a privilege.
pub async fn recognize(client: &mut Client) -> Result<Option<Project>, Error> {
    let rows = client.query(WHO).await?;
    let who = rows.one()?;
    if who.parse::<u32>(0)? < 3 || !who.parse::<bool>(1)? {
        return Ok(None);
    }
    let role = Role {
        name: who.parse(2)?,
        superuser: who.parse(3)?,
        bypass_rls: who.parse(4)?,
        create_role: who.parse(5)?,
        replication: who.parse(6)?,
    };
    let schemas: Vec<String> = platform::schemas().map(quote_literal).collect();
    let relations = names(&client.query(&RELATIONS.replace("{schemas}", &schemas.join(", "))).await?)?;
    let columns = names(&client.query(COLUMNS).await?)?;
    let host = client.options().host().to_ascii_lowercase();
    let reference = reference(&host, client.options().user());
    let (flavour, port) = (hosted(&host), client.options().port());
    let local = flavour.is_none() && is_local_stack(client, &host, port).await?;
    let realtime_inside = relations.iter().any(|name| name.starts_with("_realtime."));
    let flavour = match flavour {
        Some(flavour) => flavour,
        None if local => Flavour::Local,
        // On supabase.com the tenants of realtime live elsewhere.
        None if realtime_inside => Flavour::SelfHosted,
        None => Flavour::Unknown,
    };
    let mut probe = Probe::new(client);
    let auth = version::read(&mut probe, "auth", &columns).await?;
    let storage = version::read(&mut probe, "storage", &columns).await?;
    Ok(Some(Project { flavour, reference, role, auth, storage, relations, columns }))
}

fn names(rows: &Rows) -> Result<BTreeSet<String>, Error> {
    rows.iter().map(|row| row.parse(0)).collect()
}

/// The host names that only supabase.com gives.
fn hosted(host: &str) -> Option<Flavour> {
    let known = [".supabase.co", ".supabase.com", ".supabase.red", ".supabase.green"];
    known.iter().any(|end| host.ends_with(end)).then_some(Flavour::Hosted)
}

/// `db.<reference>.supabase.co`, or the pooler's `postgres.<reference>` as user.
fn reference(host: &str, user: &str) -> Option<String> {
    hosted(host)?;
    let from_host = host.strip_prefix("db.").and_then(|rest| rest.split('.').next());
    let from_user = user.split_once('.').map(|(_, reference)| reference);
    from_host.or(from_user).filter(|found| !found.is_empty()).map(str::to_owned)
}

/// The local stack listens on its own port, or still has the secret that the CLI gives to everybody.
async fn is_local_stack(client: &mut Client, host: &str, port: u16) -> Result<bool, Error> {
    let loopback = matches!(host, "localhost" | "127.0.0.1" | "::1" | "host.docker.internal");
    if loopback && port == LOCAL_PORT {
        return Ok(true);
    }
    let rows = client.query(DEFAULT_SECRET).await?;
    rows.one()?.parse(0)
}

const WHO: &str = "SELECT
  (SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role')),
  -- to_regclass would be refused where the role may not use the schema.
  EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'auth' AND c.relname = 'users' AND c.relkind IN ('r', 'p')),
  r.rolname, r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolreplication
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";
const RELATIONS: &str = "SELECT n.nspname || '.' || c.relname
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname IN ({schemas})";
const COLUMNS: &str = "SELECT n.nspname || '.' || c.relname || '.' || a.attname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND n.nspname IN ('auth', 'storage')";
/// Compared on the server, so that the secret of somebody else never travels.
const DEFAULT_SECRET: &str = "SELECT coalesce(
  pg_catalog.current_setting('app.settings.jwt_secret', true) = 'super-secret-jwt-token-with-at-least-32-characters-long',
  false)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosted_project_is_told_by_names_that_only_the_platform_gives() {
        assert_eq!(hosted("db.abcdefghijklmnopqrst.supabase.co"), Some(Flavour::Hosted));
        assert_eq!(hosted("aws-0-eu-central-1.pooler.supabase.com"), Some(Flavour::Hosted));
        assert_eq!(hosted("supabase.example.com"), None);
        assert_eq!(hosted("notsupabase.co"), None);
        let reference = |host, user| reference(host, user);
        assert_eq!(reference("db.abcd.supabase.co", "postgres").as_deref(), Some("abcd"));
        assert_eq!(reference("aws-0-x.pooler.supabase.com", "postgres.abcd").as_deref(), Some("abcd"));
        assert_eq!(reference("aws-0-x.pooler.supabase.com", "postgres"), None);
        assert_eq!(reference("db.example.com", "postgres.abcd"), None);
    }
}
