//! A Supabase platform for tests: a cluster with its roles, and projects in it, empty or with a sample of what users make.
//!
//! What differs from the real one is said at the head of `fixtures/supabase-platform.sql`.

use crate::cluster::TestCluster;
use crate::database::{TestDatabase, percent_encode, resolve};
use crate::fixture::{Features, for_server};
use crate::programs::Server;
use basekeep_postgres::{Client, ConnectOptions, quote_identifier};

/// Roles, schemas and tables of the platform, for the superuser `supabase_admin` in an empty database.
pub const SUPABASE_PLATFORM: &str = include_str!("../fixtures/supabase-platform.sql");
/// What a user adds, for `postgres` in a fresh project.
pub const SUPABASE_PROJECT: &str = include_str!("../fixtures/supabase-project.sql");

const ADMIN: &str = "supabase_admin";
/// Roles that cannot log in: the API takes them on after it has logged in as `authenticator`.
const API_ROLES: [&str; 3] = ["anon", "authenticated", "service_role"];

/// A cluster whose databases are projects. Their roles are the cluster's, so a test about roles needs two platforms.
pub struct Platform {
    // Dropped before the cluster.
    template: TestDatabase,
    features: Features,
    cluster: TestCluster,
}

/// A project: one database of a platform. Dropped with this value.
pub struct Project {
    database: TestDatabase,
}

impl Platform {
    /// A new cluster of this server's version, with the platform's roles.
    ///
    /// # Panics
    /// When the server does not start or the fixture does not load.
    pub async fn start(server: Server) -> Self {
        Self::start_with(server, &[]).await
    }

    /// Like [`Platform::start`], with settings of the server, such as `("wal_level", "logical")`.
    ///
    /// # Panics
    /// As [`Platform::start`].
    pub async fn start_with(server: Server, settings: &[(&str, &str)]) -> Self {
        let cluster = TestCluster::with_superuser(server, ADMIN, settings);
        let template = cluster.create_database_as("platform", "");
        let mut client = template.client().await;
        let features = Features::of(&mut client).await;
        run(&mut client, &for_server(SUPABASE_PLATFORM, &features)).await;
        client.close().await;
        // As the service has it, for everybody.
        cluster.set(&[("statement_timeout", "120s")]);
        cluster.reload();
        Self { template, features, cluster }
    }

    /// The cluster.
    pub fn cluster(&self) -> &TestCluster {
        &self.cluster
    }

    /// What the server offers: `extensions` has `pgcrypto` and `uuid-ossp` where the fixture uses them.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// A fresh project, as somebody has it who has just made one.
    pub async fn create_project(&self, name: &str) -> Project {
        let template = format!("TEMPLATE {} OWNER postgres", quote_identifier(self.template.name()));
        let database = self.cluster.create_database_as(name, &template);
        let project = Project { database };
        let name = quote_identifier(name);
        let sql = format!(
            "GRANT ALL ON DATABASE {name} TO postgres, dashboard_user;
             ALTER DATABASE {name} SET \"app.settings.jwt_exp\" = '3600'"
        );
        project.execute_as(ADMIN, &sql).await;
        project
    }

    /// A project in use: with tables, accounts, buckets, secrets, jobs and queues. It has a partition of `realtime.messages`
    /// that a fresh one does not have, since the service makes one each day.
    pub async fn create_sample_project(&self, name: &str) -> Project {
        let project = self.create_project(name).await;
        project.execute_as("postgres", &for_server(SUPABASE_PROJECT, &self.features)).await;
        project.execute_as(ADMIN, A_DAY_OF_MESSAGES).await;
        project
    }

    /// Lets `postgres` read every table, as newer projects do.
    pub async fn grant_read_all_data(&self) {
        let mut client = self.template.client().await;
        run(&mut client, "GRANT pg_read_all_data TO postgres").await;
        client.close().await;
    }
}

const A_DAY_OF_MESSAGES: &str = "
CREATE TABLE realtime.messages_2026_02_01 PARTITION OF realtime.messages FOR VALUES FROM ('2026-02-01') TO ('2026-02-02');
INSERT INTO realtime.messages (topic, extension, payload, event, inserted_at, updated_at, id)
    VALUES ('org:2', 'broadcast', '{}', 'late', '2026-02-01 10:00', '2026-02-01 10:00', md5('late')::uuid);";

impl Project {
    /// The database's name.
    pub fn name(&self) -> &str {
        self.database.name()
    }

    /// The database. What connects through it is `supabase_admin`, the superuser.
    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// The URL of `postgres`, with which users back up and restore: no superuser.
    pub fn url(&self) -> String {
        self.url_as("postgres")
    }

    /// The URL of a role that can log in. No password is asked.
    pub fn url_as(&self, role: &str) -> String {
        self.database.cluster().url_as(role, &percent_encode(self.name()))
    }

    /// Options of a role that can log in.
    pub fn options_as(&self, role: &str) -> ConnectOptions {
        resolve(&self.url_as(role))
    }

    /// A session of a role; of `anon`, `authenticated` and `service_role` through `authenticator`, as the API does it.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn client_as(&self, role: &str) -> Client {
        let api = API_ROLES.contains(&role);
        let login = if api { "authenticator" } else { role };
        let mut client =
            Client::connect(&self.options_as(login), "testkit").await.expect("the role can log in");
        if api {
            run(&mut client, &format!("SET ROLE {role}")).await;
        }
        client
    }

    /// Runs SQL as a role, as one message: what it does not commit itself is one transaction.
    ///
    /// # Panics
    /// With the server's message when it fails.
    pub async fn execute_as(&self, role: &str, sql: &str) {
        let mut client = self.client_as(role).await;
        run(&mut client, sql).await;
        client.close().await;
    }

    /// The first column of a query's first row, as a role.
    ///
    /// # Panics
    /// When it fails.
    pub async fn value_as(&self, role: &str, sql: &str) -> Option<String> {
        let mut client = self.client_as(role).await;
        let rows = client.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let value = rows.iter().next().and_then(|row| row.get(0).map(str::to_owned));
        client.close().await;
        value
    }
}

async fn run(client: &mut Client, sql: &str) {
    if let Err(error) = client.execute(sql).await {
        panic!("{error:?}\nnear: {}", crate::database::near(sql, crate::database::position(&error)));
    }
}
