//! Databases on test clusters, and SQL loaded into them through our own client.

use crate::cluster::TestCluster;
use crate::fixture::{Features, for_server};
use basekeep_postgres::{Client, ConnectOptions, Environment, quote_identifier};
use std::future::Future;

/// A database, dropped with this value (sessions in it are ended).
pub struct TestDatabase {
    cluster: TestCluster,
    name: String,
}

impl TestDatabase {
    pub(crate) fn create(cluster: TestCluster, name: String, options: &str) -> Self {
        let sql = format!("CREATE DATABASE {} {options}", quote_identifier(&name));
        on_own_runtime(administer(cluster.options("postgres"), sql)).expect("a database can be created");
        Self { cluster, name }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it is on.
    pub fn cluster(&self) -> &TestCluster {
        &self.cluster
    }

    /// The superuser's URL, over TCP.
    pub fn url(&self) -> String {
        self.cluster.url(&percent_encode(&self.name))
    }

    /// The superuser's URL, over the Unix socket.
    pub fn socket_url(&self) -> String {
        self.cluster.socket_url(&percent_encode(&self.name))
    }

    /// The superuser's options, over TCP.
    pub fn options(&self) -> ConnectOptions {
        resolve(&self.url())
    }

    /// A new session of the superuser.
    pub async fn client(&self) -> Client {
        Client::connect(&self.options(), "testkit").await.expect("the test server accepts connections")
    }

    /// Loads a fixture: the sections of it that this server can run.
    ///
    /// # Panics
    /// With the server's message and the statement when one fails.
    pub async fn load(&self, fixture: &str) {
        let mut client = self.client().await;
        let features = Features::of(&mut client).await;
        client.close().await;
        load_sql(self, &for_server(fixture, &features)).await;
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote_identifier(&self.name));
        // A test may have stopped the server on purpose.
        let _ = on_own_runtime(administer(self.cluster.options("postgres"), sql));
    }
}

/// Runs one SQL text in the database, in one session and as one message: what it does not commit itself is one
/// transaction.
///
/// # Panics
/// With the server's message and the place in the text when it fails.
pub async fn load_sql(database: &TestDatabase, sql: &str) {
    let mut client = database.client().await;
    if let Err(error) = client.execute(sql).await {
        let major = database.cluster.server().major;
        panic!("PostgreSQL {major}: {error:?}\nnear: {}", near(sql, position(&error)));
    }
    client.close().await;
}

/// Where in the text the server saw the error, in characters from 1; 0 when it does not say.
fn position(error: &basekeep_postgres::Error) -> usize {
    match error {
        basekeep_postgres::Error::Server(error) => error.position.unwrap_or(0) as usize,
        _ => 0,
    }
}

fn near(sql: &str, position: usize) -> String {
    sql.chars().skip(position.saturating_sub(200)).take(400).collect()
}

/// Options from a URL alone, without this process's environment.
pub(crate) fn resolve(url: &str) -> ConnectOptions {
    let environment = Environment { vars: Default::default(), home: None, user: None };
    ConnectOptions::resolve(url, &environment).expect("a valid URL")
}

async fn administer(options: ConnectOptions, sql: String) -> Result<(), basekeep_postgres::Error> {
    let mut client = Client::connect(&options, "testkit").await?;
    let result = client.execute(&sql).await;
    client.close().await;
    result
}

/// Waits for `future` from synchronous code, which may itself run on some runtime's thread.
fn on_own_runtime<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let work = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
        scope.spawn(work).join().unwrap()
    })
}

fn percent_encode(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
