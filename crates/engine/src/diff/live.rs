//! The second side is a live database: its definitions by pg_dump and its rows by COPY, all inside one exported snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use basekeep_archive::Archive;
use basekeep_postgres::catalog::{self, Catalog, read_catalog};
use basekeep_postgres::cluster::find_pg_dump;
use basekeep_postgres::globals::read_globals;
use basekeep_postgres::{Client, ConnectOptions, Environment, large_objects, locks, session};
use basekeep_repository::{Repository, Snapshot};
use jiff::Timestamp;

use super::rows::live::LiveTable;
use super::rows::shape::Columns;
use super::{
    Change, Chosen, Described, Diff, Options, Side, TableDifference, TableFigures, Tables, definitions, rows,
    tables,
};
use crate::definitions::{self as dump, DumpError};
use crate::event::begin;
use crate::restore::{self, Contents};
use crate::stored::globals::Globals;
use crate::stored::manifest::{self, Extension, LargeObjects, Missing, Sequence};
use crate::words::counted;
use crate::{EngineError, Interrupt, Observer, ResultExt, listing};

/// How long a lock of the live database is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Compares a snapshot with a live database as it is now.
///
/// # Errors
/// When the snapshot cannot be read, the database cannot be reached or described, or a table of it cannot be read.
pub async fn live(
    repository: &Repository,
    a: &Snapshot,
    target: &ConnectOptions,
    environment: &Environment,
    options: &Options,
    observer: &Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<Diff, EngineError> {
    let lock = restore::lock(repository).await?;
    let work = async {
        let began = begin(observer, "definitions");
        let contents = Contents::read(repository, a).await?;
        let (mut client, found) = Found::read(target, environment, options.definitions).await?;
        let chosen = Chosen::of(&options.selection, &contents.archive, &found.archive)?;
        let (left, right) = (Described::of(a, &contents), found.described());
        let mut diff = definitions::compare(&left, &right, &chosen, options);
        if options.definitions && options.selection.is_everything() {
            diff.notes.push(
                "storage files, edge functions and migrations are compared between snapshots only".into(),
            );
        }
        began.end(counted(diff.objects.len() as u64, "difference", "differences"));
        if options.tables != Tables::Nothing {
            let live = Live { repository, a: &contents, catalog: &found.catalog, chosen: &chosen, options };
            let began = begin(observer, "tables");
            let stored = listing::columns(repository, a).await?;
            live.tables(&mut diff, &tables::Described::new(&contents, stored.as_ref()), &mut client).await?;
            began.end(format!("different: {}", counted(diff.tables.len() as u64, "table", "tables")));
        }
        client.close().await;
        Ok(diff)
    };
    let result = interrupt.guard(work).await;
    restore::release(lock, observer).await;
    result
}

/// What the live database has, without its rows.
struct Found {
    side: Side,
    archive: Archive,
    catalog: Catalog,
    globals: Globals,
    sequences: Vec<Sequence>,
    extensions: Vec<Extension>,
    large_objects: LargeObjects,
    missing: Vec<Missing>,
}

impl Found {
    /// Also gives the connection, inside of the snapshot that all of it was read in.
    async fn read(
        target: &ConnectOptions,
        environment: &Environment,
        definitions: bool,
    ) -> Result<(Client, Self), EngineError> {
        let connecting = || format!("connect to {}", target.redacted());
        let mut client = Client::connect(target, "basekeep diff").await.doing(connecting)?;
        let snapshot = session::begin_export(&mut client).await.doing(|| "export a snapshot")?;
        locks::set_timeout(&mut client, LOCK_TIMEOUT).await.doing(|| "set a timeout")?;
        let catalog = read_catalog(&mut client).await.doing(|| "read the catalog")?;
        let globals = read_globals(&mut client).await.doing(|| "read roles and settings")?;
        let values =
            session::sequence_values(&mut client, &catalog.sequences).await.doing(|| "read sequences")?;
        let sequences = catalog.sequences.iter().filter_map(|sequence| {
            let value = values.iter().find(|value| value.oid == sequence.oid)?;
            let (schema, name) = (sequence.schema.clone(), sequence.name.clone());
            Some(Sequence { schema, name, last_value: value.last_value, is_called: value.is_called })
        });
        let extensions = catalog.extensions.iter().map(|extension| Extension {
            name: extension.name.clone(),
            version: extension.version.clone(),
            schema: extension.schema.clone(),
        });
        let missing = missing(&catalog, &globals.missing);
        let large_objects = match definitions {
            true => large_objects_of(&mut client).await?,
            false => LargeObjects::default(),
        };
        let archive = describe(&client, &catalog, environment, &snapshot.id).await?;
        let found = Self {
            side: Side { snapshot: None, source: target.redacted(), time: Timestamp::now() },
            archive,
            globals: Globals::from(&globals),
            sequences: sequences.collect(),
            extensions: extensions.collect(),
            large_objects,
            missing,
            catalog,
        };
        Ok((client, found))
    }

    fn described(&self) -> Described<'_> {
        Described {
            side: self.side.clone(),
            archive: &self.archive,
            globals: Ok(&self.globals),
            sequences: &self.sequences,
            extensions: &self.extensions,
            large_objects: &self.large_objects,
            missing: &self.missing,
        }
    }
}

async fn large_objects_of(client: &mut Client) -> Result<LargeObjects, EngineError> {
    let doing = || "read the large objects";
    let all = large_objects::list(client).await.doing(doing)?;
    let oids: Vec<u32> = all.iter().filter(|object| object.readable).map(|object| object.oid).collect();
    if oids.is_empty() {
        return Ok(LargeObjects::default());
    }
    let digest = large_objects::digest(client, &oids).await.doing(doing)?;
    Ok(LargeObjects { count: oids.len() as u64, bytes: digest.bytes, digest: format!("{:032x}", digest.sum) })
}

fn missing(catalog: &Catalog, unread: &[String]) -> Vec<Missing> {
    let one = |what: String, reason: &str| Missing { what, reason: reason.to_owned(), hint: None };
    let unreadable = catalog.unreadable.iter().map(|unreadable| {
        one(format!("{}.{}", unreadable.relation.schema, unreadable.relation.name), &unreadable.reason)
    });
    let listed = catalog.hidden.iter().chain(unread);
    unreadable.chain(listed.map(|what| one(what.clone(), "the role may not read it"))).collect()
}

async fn describe(
    client: &Client,
    catalog: &Catalog,
    environment: &Environment,
    snapshot: &str,
) -> Result<Archive, EngineError> {
    let program = find_pg_dump(environment, client.server_version())
        .map_err(|error| EngineError::failed(error.to_string()).hints_from(error.hints()))?;
    let encoding = match catalog.database.encoding.as_str() {
        own @ ("SQL_ASCII" | "MULE_INTERNAL") => own,
        _ => "UTF8",
    };
    let left_out: Vec<(String, String)> = catalog
        .unreadable
        .iter()
        .filter(|unreadable| unreadable.fails_pg_dump)
        .map(|unreadable| (unreadable.relation.schema.clone(), unreadable.relation.name.clone()))
        .collect();
    let mut arguments =
        vec![format!("--snapshot={snapshot}"), format!("--lock-wait-timeout={}", LOCK_TIMEOUT.as_millis())];
    arguments.extend(dump::without(&left_out));
    dump::dump(&program, client.options(), Some(encoding), &arguments).await.map_err(|error| match error {
        DumpError::Broken(error) => error.within("describe the live database"),
        DumpError::Refused { message, more } => {
            EngineError::failed(format!("pg_dump of the live database failed: {message}")).hints_from(more)
        }
    })
}

struct Live<'a> {
    repository: &'a Repository,
    a: &'a Contents,
    catalog: &'a Catalog,
    chosen: &'a Chosen,
    options: &'a Options,
}

impl Live<'_> {
    async fn tables(
        &self,
        diff: &mut Diff,
        known: &tables::Described<'_>,
        client: &mut Client,
    ) -> Result<(), EngineError> {
        type Sides<'a> = (Option<&'a manifest::Table>, Option<&'a catalog::Table>);
        let mut all: BTreeMap<(&str, &str), Sides<'_>> = BTreeMap::new();
        for table in &self.a.manifest.tables {
            all.entry((&table.schema, &table.name)).or_default().0 = Some(table);
        }
        for table in &self.catalog.tables {
            all.entry((&table.schema, &table.name)).or_default().1 = Some(table);
        }
        for ((schema, name), (a, b)) in all {
            if !self.chosen.wants_table(schema, name) {
                continue;
            }
            let mut difference = TableDifference {
                schema: schema.to_owned(),
                name: name.to_owned(),
                change: Change::Changed,
                a: a.map(TableFigures::of),
                b: None,
                rows: None,
            };
            match (a, b) {
                (Some(a), Some(b)) => {
                    let (of_a, of_b) = (known.of(a), columns(b));
                    let shape = self.options.shape((schema, name), &of_a, &of_b);
                    let table = rows::StoredTable { contents: self.a, table: a };
                    let bounds = (self.options.tables == Tables::Rows).then(|| self.options.bounds());
                    let live = LiveTable { client, table: b };
                    let (figures, found, equal) =
                        rows::live::compare(self.repository, table, live, &shape, bounds).await?;
                    let same = found.as_ref().is_some_and(|found| found.count() == 0 && shape.is_complete());
                    if equal || same {
                        diff.equal_tables += 1;
                        continue;
                    }
                    (difference.b, difference.rows) = (Some(figures), found);
                }
                (Some(_), None) => difference.change = Change::Removed,
                (None, Some(b)) => {
                    difference.change = Change::Added;
                    difference.b = Some(LiveTable { client, table: b }.figures().await?);
                }
                (None, None) => continue,
            }
            diff.tables.push(difference);
        }
        Ok(())
    }
}

/// The columns of a live table's rows, and the key that tells its rows apart.
fn columns(table: &catalog::Table) -> Columns {
    let names = table.columns.iter().filter(|column| column.generated.is_none());
    let not_null = |name: &String| table.columns.iter().any(|column| &column.name == name && column.not_null);
    let unique = || {
        let mut keys = table.unique_keys.iter();
        keys.find(|key| key.nulls_equal || key.columns.iter().all(not_null)).map(|key| key.columns.clone())
    };
    Columns {
        names: names.map(|column| column.name.clone()).collect(),
        key: table.primary_key.clone().or_else(unique),
    }
}
