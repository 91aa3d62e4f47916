//! A target that holds something already: whether it is a Supabase project, its definitions, and what the role may do there.

use std::collections::{BTreeMap, HashMap, HashSet};

use basekeep_archive::Archive;
use basekeep_postgres::catalog::read_catalog;
use basekeep_postgres::cluster::find_pg_dump;
use basekeep_postgres::{Client, Environment, quote_qualified};

use super::{Mode, RestoreOptions};
use crate::definitions::{self, DumpError};
use crate::stored::globals::Globals;
use crate::{EngineError, ResultExt};

/// The target as it is before the restore.
pub(super) struct Held {
    /// Whether it is a Supabase project.
    pub(super) is_project: bool,
    /// Its definitions.
    pub(super) archive: Archive,
    /// Relations that the role may not lock, and that `archive` therefore lacks.
    pub(super) hidden: HashSet<(String, String)>,
    /// Tables and sequences.
    pub(super) relations: HashMap<(String, String), Relation>,
    /// What the target gives by itself to what a role creates.
    pub(super) defaults: Vec<DefaultGrant>,
    /// Versions of the extensions that are there.
    pub(super) extensions: BTreeMap<String, String>,
    /// Roles, memberships and settings.
    pub(super) globals: Globals,
    /// Whether the role may keep triggers from firing.
    pub(super) may_replicate: bool,
}

/// A table or a sequence of the target.
#[derive(Debug, Clone, Default)]
pub(super) struct Relation {
    pub(super) may_insert: bool,
    /// Whether the role may read it.
    pub(super) may_select: bool,
    /// Whether a sequence may be set.
    pub(super) may_update: bool,
    pub(super) columns: HashMap<String, Column>,
}

/// A column of the target.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Column {
    /// Computed from others, so that nothing can be loaded into it.
    pub(super) generated: bool,
    /// Must be given a value.
    pub(super) needed: bool,
}

/// A default privilege.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DefaultGrant {
    /// The role whose new objects it concerns.
    pub(super) creator: String,
    /// `pg_default_acl.defaclobjtype`.
    pub(super) kind: char,
    /// Where it holds; everywhere if `None`.
    pub(super) schema: Option<String>,
    /// Roles that get something, quoted, `PUBLIC` among them.
    pub(super) grantees: Vec<String>,
}

/// Whether the connected database is a Supabase project.
pub(super) async fn is_project(client: &mut Client) -> Result<bool, EngineError> {
    let sql = "SELECT pg_catalog.to_regnamespace('auth') IS NOT NULL AND pg_catalog.to_regnamespace('storage') IS NOT NULL
            AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_roles
                  WHERE rolname IN ('anon', 'authenticated', 'service_role', 'supabase_admin')) = 4";
    let rows = client.query(sql).await.doing(|| "see whether the target is a Supabase project")?;
    Ok(rows.iter().next().and_then(|row| row.get(0)) == Some("t"))
}

/// Whether the platform's own event triggers are there.
async fn has_platforms_event_triggers(client: &mut Client) -> Result<bool, EngineError> {
    let sql =
        "SELECT FROM pg_catalog.pg_event_trigger WHERE evtname IN ('pgrst_ddl_watch', 'pgrst_drop_watch',
        'issue_pg_cron_access', 'issue_pg_net_access', 'issue_graphql_placeholder') LIMIT 1";
    let rows = client.query(sql).await.doing(|| "see whether the target is a Supabase project")?;
    Ok(rows.iter().next().is_some())
}

impl Held {
    /// Reads all of it, through `client` and a pg_dump.
    pub(super) async fn read(
        client: &mut Client,
        options: &RestoreOptions,
        encoding: Option<String>,
    ) -> Result<Self, EngineError> {
        // Counting and comparing rows may take longer than a role is allowed to.
        client
            .execute(
                "SET statement_timeout = 0; SET row_security = off; SET default_transaction_read_only = on",
            )
            .await
            .doing(|| "prepare to look at the target")?;
        // What a restore into a plain server has made so far looks like a project, which has its own event triggers from the start;
        // a restore makes them last.
        let is_project = is_project(client).await?
            && (options.mode != Mode::Resume || has_platforms_event_triggers(client).await?);
        let (archive, hidden) = dump(client, options, encoding).await?;
        let globals = basekeep_postgres::globals::read_globals(client)
            .await
            .doing(|| "read the target's roles and settings")?;
        Ok(Self {
            is_project,
            archive,
            hidden,
            relations: relations(client).await?,
            defaults: default_grants(client).await?,
            extensions: extensions(client).await?,
            globals: Globals::from(&globals),
            may_replicate: may_replicate(client).await?,
        })
    }
}

/// The target's definitions, and the relations that the role may not lock.
pub(super) async fn dump(
    client: &mut Client,
    options: &RestoreOptions,
    encoding: Option<String>,
) -> Result<(Archive, HashSet<(String, String)>), EngineError> {
    let doing = || "describe the target";
    client.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await.doing(doing)?;
    let catalog = read_catalog(client).await.doing(|| "read the target's catalog")?;
    client.execute("COMMIT").await.doing(doing)?;
    let hidden: Vec<(String, String)> = catalog
        .unreadable
        .iter()
        .filter(|relation| relation.fails_pg_dump)
        .map(|unreadable| (unreadable.relation.schema.clone(), unreadable.relation.name.clone()))
        .collect();
    let environment = options.environment.clone().unwrap_or_else(Environment::of_process);
    let program = find_pg_dump(&environment, client.server_version()).map_err(|error| {
        let hints = error.hints();
        EngineError::failed(error.to_string()).hints_from(hints)
    })?;
    let arguments: Vec<String> = definitions::without(&hidden).collect();
    let archive = definitions::dump(&program, &options.target, encoding.as_deref(), &arguments)
        .await
        .map_err(|error| match error {
            DumpError::Broken(error) => error.within("describe the target"),
            DumpError::Refused { message, more } => {
                EngineError::failed(format!("pg_dump of the target failed: {message}")).hints_from(more)
            }
        })?;
    Ok((archive, hidden.into_iter().collect()))
}

async fn relations(client: &mut Client) -> Result<HashMap<(String, String), Relation>, EngineError> {
    let sql = "SELECT n.nspname, c.relname,
            c.relkind = 'S' OR pg_catalog.has_table_privilege(c.oid, 'INSERT'),
            CASE c.relkind WHEN 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'UPDATE')
                ELSE pg_catalog.has_table_privilege(c.oid, 'UPDATE') END,
            a.attname, a.attgenerated <> '',
            a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
            c.relkind = 'S' OR pg_catalog.has_table_privilege(c.oid, 'SELECT')
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            LEFT JOIN pg_catalog.pg_attribute AS a
                ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind <> 'S'
        WHERE c.relkind IN ('r', 'p', 'S', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";
    let rows = client.query(sql).await.doing(|| "read the target's tables")?;
    let mut relations: HashMap<(String, String), Relation> = HashMap::new();
    for row in rows.iter() {
        let text = |i| row.get(i).unwrap_or_default().to_owned();
        let yes = |i| row.get(i) == Some("t");
        let relation = relations.entry((text(0), text(1))).or_default();
        (relation.may_insert, relation.may_update, relation.may_select) = (yes(2), yes(3), yes(7));
        if let Some(name) = row.get(4) {
            relation.columns.insert(name.to_owned(), Column { generated: yes(5), needed: yes(6) });
        }
    }
    Ok(relations)
}

async fn default_grants(client: &mut Client) -> Result<Vec<DefaultGrant>, EngineError> {
    let sql = "SELECT d.defaclobjtype, n.nspname,
            CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END, creator.rolname
        FROM pg_catalog.pg_default_acl AS d LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace
            CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS a
            LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
            JOIN pg_catalog.pg_roles AS creator ON creator.oid = d.defaclrole
        WHERE a.grantee <> d.defaclrole AND (a.grantee = 0 OR r.rolname IS NOT NULL)
        GROUP BY 1, 2, 3, 4 ORDER BY 4, 1, 2, 3";
    let rows = client.query(sql).await.doing(|| "read the target's default privileges")?;
    let mut grants: Vec<DefaultGrant> = Vec::new();
    for row in rows.iter() {
        let kind = row.get(0).and_then(|text| text.chars().next()).unwrap_or_default();
        let schema = row.get(1).map(str::to_owned);
        let grantee = row.get(2).unwrap_or_default().to_owned();
        let creator = row.get(3).unwrap_or_default().to_owned();
        let same =
            |last: &&mut DefaultGrant| last.creator == creator && last.kind == kind && last.schema == schema;
        match grants.last_mut().filter(same) {
            Some(last) => last.grantees.push(grantee),
            None => grants.push(DefaultGrant { creator, kind, schema, grantees: vec![grantee] }),
        }
    }
    Ok(grants)
}

async fn extensions(client: &mut Client) -> Result<BTreeMap<String, String>, EngineError> {
    let sql = "SELECT extname, extversion FROM pg_catalog.pg_extension";
    let rows = client.query(sql).await.doing(|| "list the target's extensions")?;
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| (text(row.get(0)), text(row.get(1)))).collect())
}

async fn may_replicate(client: &mut Client) -> Result<bool, EngineError> {
    let sql = "BEGIN READ WRITE; SET LOCAL session_replication_role = replica; ROLLBACK";
    match client.execute(sql).await {
        Ok(()) => Ok(true),
        Err(error @ basekeep_postgres::Error::Server(_)) => {
            tracing::debug!("session_replication_role may not be set: {error}");
            client.execute("ROLLBACK").await.doing(|| "look at the target")?;
            Ok(false)
        }
        Err(error) => Err(EngineError::from(error)),
    }
}

/// Whether a table holds rows. One that the role may not read counts as empty.
pub(super) async fn has_rows(client: &mut Client, schema: &str, table: &str) -> Result<bool, EngineError> {
    let name = quote_qualified(schema, table);
    let rows = client
        .query(&format!("SELECT FROM {name} LIMIT 1"))
        .await
        .doing(|| format!("see whether {name} has rows"))?;
    Ok(rows.iter().next().is_some())
}
