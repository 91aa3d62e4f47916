//! Databases on test clusters, and SQL loaded into them through our own client.

use crate::cluster::TestCluster;
use crate::fixture::{Features, column, for_server};
use basekeep_postgres::{Client, ConnectOptions, Environment, quote_identifier};
use std::collections::BTreeMap;
use std::future::Future;
use std::process::Command;

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

    /// What stock `pg_dump --schema-only` prints about it, without the token that changes from run to run.
    ///
    /// # Panics
    /// When pg_dump fails.
    pub fn schema_dump(&self) -> String {
        self.pg_dump(&["--schema-only"])
    }

    /// What stock `pg_dump` prints with these arguments, without the token that changes from run to run.
    ///
    /// # Panics
    /// When pg_dump fails.
    pub fn pg_dump(&self, arguments: &[&str]) -> String {
        let program = crate::programs::pg_dump(self.cluster.server().major);
        let output = Command::new(&program).args(arguments).args(["--dbname", &self.url()]).output();
        let output = output.expect("pg_dump starts");
        assert!(output.status.success(), "pg_dump failed: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("pg_dump prints UTF-8");
        let is_token = |line: &&str| line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
        text.lines().filter(|line| !is_token(line)).flat_map(|line| [line, "\n"]).collect()
    }

    /// What is in it, by the server's own hashes: for each table, sequence and large object a line to compare.
    /// Independent of our row digests. Hash partitions are summed up in their root, because rows may rightly move
    /// between them.
    pub async fn contents(&self) -> BTreeMap<String, String> {
        let mut client = self.client().await;
        client
            .execute("SET search_path = ''; SET extra_float_digits = 3")
            .await
            .expect("settings can be set");
        let queries = column(&mut client, CONTENT_QUERIES).await;
        let mut contents = BTreeMap::new();
        for query in queries {
            let rows = client.query(&query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
            for row in rows.iter() {
                contents.insert(
                    row.get(0).unwrap_or_default().to_owned(),
                    row.get(1).unwrap_or_default().to_owned(),
                );
            }
        }
        client.close().await;
        contents
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
        // A test may have stopped the server on purpose; a private cluster takes its databases with it.
        let _ = on_own_runtime(async {
            if administer(self.cluster.options("postgres"), sql.clone()).await.is_err() {
                administer(self.options(), DROP_SUBSCRIPTIONS.to_owned()).await?;
                administer(self.cluster.options("postgres"), sql).await?;
            }
            Ok::<(), basekeep_postgres::Error>(())
        });
    }
}

/// Queries that give a name and a fingerprint each: tables that hold rows (a hash partitioned root for its leaves),
/// sequences, large objects.
const CONTENT_QUERIES: &str = "
WITH relation AS (
    SELECT c.oid::regclass::text AS name, c.relkind, c.relkind = 'p' AS with_leaves
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_partitioned_table AS p ON p.partrelid = c.oid
        LEFT JOIN pg_inherits AS i ON c.relispartition AND i.inhrelid = c.oid
        LEFT JOIN pg_partitioned_table AS parent ON parent.partrelid = i.inhparent
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relpersistence <> 't'
        AND (c.relkind = 'S' OR c.relkind = 'm' AND c.relispopulated
            OR c.relkind = 'r' AND parent.partstrat IS DISTINCT FROM 'h' OR c.relkind = 'p' AND p.partstrat = 'h')
)
SELECT CASE relkind
    WHEN 'S' THEN format('SELECT %L, last_value || '' '' || is_called FROM %s', 'sequence ' || name, name)
    ELSE format('SELECT %L, count(*) || '' rows, '' || coalesce(sum(hashtextextended(t::text, 0)), 0) FROM %s %s AS t',
        'table ' || name, CASE WHEN with_leaves THEN '' ELSE 'ONLY' END, name) END
FROM relation
UNION ALL SELECT 'SELECT ''large object '' || oid, md5(lo_get(oid)) FROM pg_largeobject_metadata'";

/// A database with subscriptions cannot be dropped. These never had a slot on the other side.
const DROP_SUBSCRIPTIONS: &str = "DO $$
DECLARE
    subscription name;
BEGIN
    FOR subscription IN SELECT subname FROM pg_subscription
        WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    LOOP
        EXECUTE format('ALTER SUBSCRIPTION %I DISABLE', subscription);
        EXECUTE format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subscription);
        EXECUTE format('DROP SUBSCRIPTION %I', subscription);
    END LOOP;
END $$";

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
pub(crate) fn position(error: &basekeep_postgres::Error) -> usize {
    match error {
        basekeep_postgres::Error::Server(error) => error.position.unwrap_or(0) as usize,
        _ => 0,
    }
}

pub(crate) fn near(sql: &str, position: usize) -> String {
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
        let work =
            || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
        scope.spawn(work).join().unwrap()
    })
}

pub(crate) fn percent_encode(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
