//! What the tests share: a repository in memory, a backup into it, restores, and oracles to compare databases with.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use basekeep_engine::backup::{BackupOptions, Source, backup};
use basekeep_engine::files::FilesAccess;
use basekeep_engine::listing;
use basekeep_engine::restore::{self, RestoreOptions, RestoreReport};
use basekeep_engine::stored::manifest::Manifest;
use basekeep_engine::{EngineError, Event, Interrupt, Observer};
use basekeep_postgres::{ConnectOptions, Environment};
use basekeep_repository::{InitOptions, Password, Repository, Snapshot};
use basekeep_store::Memory;
use basekeep_testkit::{TestDatabase, tool};

/// Keeps all events, for a test to look at.
#[derive(Default)]
pub(crate) struct Events(pub(crate) Mutex<Vec<Event>>);

impl Observer for Events {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// A repository with one snapshot.
pub(crate) struct Backup {
    pub(crate) repository: Repository,
    pub(crate) snapshot: Snapshot,
    pub(crate) manifest: Manifest,
}

/// An empty repository.
pub(crate) async fn repository() -> Repository {
    Repository::init(Arc::new(Memory::default()), &Password::from("test"), InitOptions::default())
        .await
        .unwrap()
}

/// Backs a database up into a repository of its own.
pub(crate) async fn backed_up(database: &TestDatabase) -> Backup {
    back_up(database, Source::new("shop", database.options())).await
}

/// The same, as another role.
pub(crate) async fn backed_up_as(database: &TestDatabase, role: &str) -> Backup {
    let connect = database.options().with_user(role, None);
    let source = Source { files: FilesAccess::Skip, ..Source::new("shop", connect) };
    back_up(database, source).await
}

/// Where the programs of one version are.
pub(crate) fn programs(major: u32) -> Environment {
    let programs = tool("pg_dump", major);
    let folder = programs.parent().unwrap().display().to_string();
    Environment { vars: [("BASEKEEP_POSTGRES_BIN".to_owned(), folder)].into(), home: None, user: None }
}

/// Backs a source on this database's server up.
pub(crate) async fn back_up(database: &TestDatabase, source: Source) -> Backup {
    let repository = repository().await;
    let environment = programs(database.cluster().server().major);
    let options = BackupOptions { environment: Some(environment), ..BackupOptions::default() };
    let report = backup(&repository, &source, &options, Arc::new(Events::default()), &Interrupt::never())
        .await
        .unwrap();
    let snapshot = listing::find(&repository, "latest", None).await.unwrap();
    Backup { repository, snapshot, manifest: report.manifest }
}

/// Everything as it was, into a database that exists.
pub(crate) fn into(target: &ConnectOptions) -> RestoreOptions {
    RestoreOptions { jobs: Some(4), ..RestoreOptions::new(target.clone()) }
}

/// Plans and executes.
pub(crate) async fn restore(backup: &Backup, options: &RestoreOptions) -> Result<RestoreReport, EngineError> {
    let plan = restore::plan(&backup.repository, &backup.snapshot, options).await?;
    restore::execute(&backup.repository, plan, Arc::new(Events::default()), &Interrupt::never()).await
}

/// Options for a URL, without this process's environment.
pub(crate) fn options(url: &str) -> ConnectOptions {
    let environment = Environment { vars: BTreeMap::default(), home: None, user: None };
    ConnectOptions::resolve(url, &environment).unwrap()
}

/// What the server's own pg_dump says about definitions. Its `\restrict` lines have a random word in them.
pub(crate) fn definitions(database: &TestDatabase) -> String {
    let major = database.cluster().server().major;
    let output = Command::new(tool("pg_dump", major))
        .args(["--schema-only", "--dbname", &database.url()])
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Fails with the first lines that differ.
pub(crate) fn assert_same_text(left: &str, right: &str) {
    if left == right {
        return;
    }
    let differing: Vec<String> = left
        .lines()
        .zip(right.lines())
        .filter(|(a, b)| a != b)
        .take(10)
        .map(|(a, b)| format!("- {a}\n+ {b}"))
        .collect();
    panic!(
        "{} lines and {} lines differ:\n{}",
        left.lines().count(),
        right.lines().count(),
        differing.join("\n")
    );
}

/// Rows and digest of each table, of sequences and of large objects. Tables whose rows go through a partition root are
/// put together under its name: a row may be in another partition than before.
pub(crate) fn contents(manifest: &Manifest) -> BTreeMap<String, (u64, u128)> {
    let roots: Vec<(String, String)> =
        manifest.tables.iter().filter_map(|t| t.load_via_root.clone()).collect();
    let mut found: BTreeMap<String, (u64, u128)> = BTreeMap::new();
    for table in &manifest.tables {
        let name = match &table.load_via_root {
            Some((schema, name)) => format!("{schema}.{name}"),
            None => format!("{}.{}", table.schema, table.name),
        };
        let sum = u128::from_str_radix(&table.digest, 16).unwrap();
        let entry = found.entry(name).or_default();
        *entry = (entry.0 + table.rows, entry.1.wrapping_add(sum));
    }
    assert!(roots.iter().all(|(schema, name)| found.contains_key(&format!("{schema}.{name}"))));
    for sequence in &manifest.sequences {
        let name = format!("sequence {}.{}", sequence.schema, sequence.name);
        found.insert(name, (u64::from(sequence.is_called), u128::from(sequence.last_value.unsigned_abs())));
    }
    let objects = &manifest.large_objects;
    if objects.count > 0 {
        let sum = u128::from_str_radix(&objects.digest, 16).unwrap();
        found.insert("large objects".into(), (objects.count, sum));
    }
    found
}
