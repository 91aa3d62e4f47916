//! Against real snapshots: every row comes back, whole and in ranges, and what is not as backed up is told.

use std::path::Path;
use std::sync::Arc;

use basekeep_postgres::Environment;
use basekeep_repository::{InitOptions, Password, Repository};
use basekeep_store::Memory;
use basekeep_testkit::{ODD_CATALOG, TestCluster, TestDatabase, load_sql, tool};

use super::fields::{fields, lines};
use super::*;
use crate::backup::{BackupOptions, Source, backup};
use crate::stored::columns::Columns;
use crate::stored::manifest::Manifest;
use crate::{Interrupt, Silent, listing};

/// A repository with one snapshot, and what it holds.
pub(crate) struct Backup {
    pub(crate) repository: Repository,
    pub(crate) contents: Contents,
    pub(crate) columns: Columns,
}

/// Backs a database up into a repository of its own.
pub(crate) async fn backed_up(database: &TestDatabase, range_bytes: u64) -> Backup {
    let password = Password::from("test");
    let repository =
        Repository::init(Arc::new(Memory::default()), &password, InitOptions::default()).await.unwrap();
    let program = tool("pg_dump", database.cluster().server().major);
    let folder = program.parent().map(Path::display).unwrap().to_string();
    let vars = [("BASEKEEP_POSTGRES_BIN".to_owned(), folder)].into();
    let environment = Some(Environment { vars, home: None, user: None });
    let options = BackupOptions { environment, range_bytes: Some(range_bytes), ..BackupOptions::default() };
    let source = Source::new("shop", database.options());
    backup(&repository, &source, &options, Arc::new(Silent), &Interrupt::never()).await.unwrap();
    let snapshot = listing::find(&repository, "latest", None).await.unwrap();
    repository.load_index().await.unwrap();
    let contents = Contents::read(&repository, &snapshot).await.unwrap();
    let columns = listing::columns(&repository, &snapshot).await.unwrap().unwrap();
    Backup { repository, contents, columns }
}

async fn read(rows: Result<SnapshotRows, EngineError>) -> Result<(Vec<Bytes>, Digest), EngineError> {
    let mut rows = rows?;
    let mut pieces = Vec::new();
    while let Some(piece) = rows.next().await {
        pieces.push(piece?);
    }
    Ok((pieces, rows.digest()))
}

fn table<'a>(manifest: &'a Manifest, name: &str) -> &'a Table {
    manifest.tables.iter().find(|table| table.name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_odd_catalog_has_the_fields_of_its_columns() {
    let database = TestCluster::shared(16).create_database();
    database.load(ODD_CATALOG).await;
    let backup = backed_up(&database, 1 << 20).await;
    assert!(backup.contents.manifest.tables.len() > 50);
    for table in &backup.contents.manifest.tables {
        let columns = columns(&backup.contents, table).unwrap().len();
        let (pieces, digest) =
            read(SnapshotRows::open(&backup.repository, &backup.contents, table)).await.unwrap();
        assert_eq!(digest, total(table));
        for line in pieces.iter().flat_map(|piece| lines(piece)) {
            assert_eq!(fields(line).count(), columns.max(1), "{}", name(table));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_give_together_what_the_table_gives_and_a_long_row_is_one_piece() {
    let database = TestCluster::shared(16).create_database();
    let sql = "CREATE TABLE many AS SELECT n, md5(n::text) AS t FROM generate_series(1, 30000) AS n;
               CREATE TABLE long AS SELECT 1 AS n, repeat('0123456789', 1500000) AS t;
               INSERT INTO long VALUES (2, 'short');";
    load_sql(&database, sql).await;
    let backup = backed_up(&database, 256 << 10).await;
    let Backup { repository, contents, .. } = &backup;

    let many = table(&contents.manifest, "many");
    let (whole, _) = read(SnapshotRows::open(repository, contents, many)).await.unwrap();
    let all = ranges(contents, many).unwrap();
    assert!(all.len() > 3, "{}", all.len());
    let mut parts = Vec::new();
    for range in all {
        parts.extend(read(SnapshotRows::open_ranges(repository, contents, many, &[*range])).await.unwrap().0);
    }
    assert_eq!(parts.concat(), whole.concat());
    let some = [all[2], all[1]];
    let (_, digest) = read(SnapshotRows::open_ranges(repository, contents, many, &some)).await.unwrap();
    assert_eq!(digest.rows, all[1].rows + all[2].rows);

    let long = table(&contents.manifest, "long");
    let (pieces, _) = read(SnapshotRows::open(repository, contents, long)).await.unwrap();
    assert!(pieces.iter().any(|piece| piece.len() > 15_000_000));
    assert_eq!(lines(&pieces.concat()).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_not_those_of_the_manifest_end_with_a_difference() {
    let database = TestCluster::shared(16).create_database();
    load_sql(
        &database,
        "CREATE TABLE few AS SELECT n FROM generate_series(1, 10) AS n; CREATE TABLE none ();",
    )
    .await;
    let backup = backed_up(&database, 1 << 20).await;
    let Backup { repository, contents, .. } = &backup;
    let few = table(&contents.manifest, "few");
    for wrong in [Table { digest: "0".repeat(32), ..few.clone() }, Table { rows: 11, ..few.clone() }] {
        let error = read(SnapshotRows::open(repository, contents, &wrong)).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Difference);
        assert_eq!(ranges(contents, &wrong), None);
    }
    let gone = Table { file: "database/99999.dat".into(), ..few.clone() };
    assert!(SnapshotRows::open(repository, contents, &gone).is_err());
    let none = table(&contents.manifest, "none");
    assert_eq!(read(SnapshotRows::open(repository, contents, none)).await.unwrap().0, [] as [Bytes; 0]);
}
