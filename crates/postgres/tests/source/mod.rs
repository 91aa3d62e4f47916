//! Sessions, catalog, globals, large objects and preflight.

mod catalog;
mod fingerprint;
mod globals;
mod large_objects;
mod preflight;
mod snapshot;

use basekeep_postgres::catalog::{Catalog, Table, read_catalog};
use basekeep_postgres::session::begin_export;
use basekeep_postgres::{Client, ConnectOptions, Environment};
use basekeep_testkit::TestDatabase;

/// Options of another role for the database.
pub(crate) fn options_as(database: &TestDatabase, role: &str) -> ConnectOptions {
    let url = database.url().replace("postgres@", &format!("{role}@"));
    resolve(&url)
}

pub(crate) fn resolve(url: &str) -> ConnectOptions {
    ConnectOptions::resolve(url, &Environment { vars: Default::default(), home: None, user: None }).unwrap()
}

pub(crate) async fn connect(options: &ConnectOptions) -> Client {
    Client::connect(options, "test").await.unwrap()
}

/// The catalog as a backup reads it.
pub(crate) async fn catalog(options: &ConnectOptions) -> Catalog {
    let mut client = connect(options).await;
    begin_export(&mut client).await.unwrap();
    read_catalog(&mut client).await.unwrap()
}

pub(crate) fn table<'c>(catalog: &'c Catalog, name: &str) -> &'c Table {
    catalog.tables.iter().find(|table| table.name == name).unwrap_or_else(|| panic!("no table {name}"))
}

/// The text of a COPY.
pub(crate) async fn copy(client: &mut Client, sql: &str) -> String {
    let mut copy = client.copy_out(sql).await.unwrap();
    let mut text = Vec::new();
    while copy.read(&mut text).await.unwrap() {}
    String::from_utf8(text).unwrap()
}
