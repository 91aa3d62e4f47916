//! Restoring as a role that is no superuser: as far as the server allows, and each refusal is named.

use basekeep_testkit::{TestCluster, TestDatabase, load_sql};

use crate::support::{Backup, backed_up, into, options, restore};

const PROJECT: &str = "
    CREATE ROLE app_owner; CREATE ROLE app_reader LOGIN PASSWORD 'secret'; ALTER ROLE app_reader SET work_mem = '5MB';
    GRANT app_owner TO app_reader;
    CREATE SCHEMA app AUTHORIZATION app_owner;
    CREATE TABLE app.items (id int PRIMARY KEY, name text);
    ALTER TABLE app.items OWNER TO app_owner;
    GRANT SELECT ON app.items TO app_reader;
    ALTER TABLE app.items ENABLE ROW LEVEL SECURITY;
    CREATE POLICY readers ON app.items FOR SELECT TO app_reader USING (true);
    INSERT INTO app.items VALUES (1, 'one'), (2, 'two')";

async fn project() -> (TestDatabase, Backup) {
    let source = TestCluster::private(15, &[]).create_database();
    load_sql(&source, PROJECT).await;
    let backup = backed_up(&source).await;
    (source, backup)
}

/// An empty database that belongs to the role `tenant`, on a server that knows no other role; and how to connect as it.
async fn tenancy(attributes: &str, major: u32) -> (TestDatabase, basekeep_postgres::ConnectOptions) {
    let target = TestCluster::private(major, &[]).create_database();
    load_sql(&target, &format!("CREATE ROLE tenant LOGIN {attributes}; ALTER SCHEMA public OWNER TO tenant"))
        .await;
    let name = target.name().to_owned();
    load_sql(&target, &format!("ALTER DATABASE \"{name}\" OWNER TO tenant")).await;
    let url = target.url().replacen("postgres@", "tenant@", 1).replacen("postgres:", "tenant:", 1);
    (target, options(&url.replacen("//postgres", "//tenant", 1)))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_owners_and_grants_an_ordinary_role_restores_everything_it_may() {
    let (_source, backup) = project().await;
    let (target, tenant) = tenancy("", 15).await;
    let mut wanted = into(&tenant);
    (wanted.owner, wanted.privileges, wanted.roles) = (false, false, false);
    let report = restore(&backup, &wanted).await.unwrap();
    assert_eq!(report.failed.len(), 1, "{:#?}", report.failed);
    assert!(report.failed[0].object.contains("policy readers"), "{:?}", report.failed);
    assert!(report.warnings.iter().any(|w| w.contains("app_reader")), "{:?}", report.warnings);
    let mut client = target.client().await;
    let rows = client
        .query("SELECT count(*), min(tableowner) FROM app.items, pg_tables WHERE tablename = 'items'")
        .await;
    let rows = rows.unwrap();
    let row = rows.iter().next().unwrap();
    assert_eq!((row.get(0), row.get(1)), (Some("2"), Some("tenant")));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_may_not_be_created_are_named_with_every_object_that_wants_them() {
    let (_source, backup) = project().await;
    let (target, tenant) = tenancy("", 15).await;
    let report = restore(&backup, &into(&tenant)).await.unwrap();
    let lost: Vec<&str> = report.failed.iter().map(|f| f.object.as_str()).collect();
    assert!(lost.contains(&"owner of table app.items"), "{lost:?}");
    assert!(lost.contains(&"owner of schema app"), "{lost:?}");
    assert!(lost.iter().any(|object| object.starts_with("privileges on table app.items")), "{lost:?}");
    assert!(report.failed.iter().all(|f| !f.skipped), "{:?}", report.failed);
    let mut client = target.client().await;
    let rows = client.query("SELECT count(*) FROM app.items").await.unwrap();
    assert_eq!(rows.iter().next().unwrap().get(0), Some("2"));
}

async fn a_role_that_may_create_roles_restores_all(major: u32) {
    let (_source, backup) = project().await;
    let (target, tenant) = tenancy("CREATEROLE", major).await;
    let report = restore(&backup, &into(&tenant)).await.unwrap();
    assert_eq!(report.failed, []);
    let mut client = target.client().await;
    let rows = client
        .query(
            "SELECT tableowner, has_table_privilege('app_reader', 'app.items', 'SELECT'),
                    (SELECT rolpassword LIKE 'SCRAM%' FROM pg_authid WHERE rolname = 'app_reader'),
                    pg_has_role('app_reader', 'app_owner', 'USAGE'),
                    (SELECT setconfig::text FROM pg_db_role_setting WHERE setrole = 'app_reader'::regrole),
                    (SELECT count(*) FROM pg_auth_members
                      WHERE member = 'tenant'::regrole AND grantor = 'tenant'::regrole)
                  FROM pg_tables WHERE tablename = 'items'",
        )
        .await
        .unwrap();
    let row = rows.iter().next().unwrap();
    let found: Vec<&str> = (0..6).map(|n| row.get(n).unwrap()).collect();
    assert_eq!(found, ["app_owner", "t", "t", "t", "{work_mem=5MB}", "0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_create_roles_restores_owners_and_grants_on_15() {
    a_role_that_may_create_roles_restores_all(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_create_roles_restores_owners_and_grants_on_17() {
    a_role_that_may_create_roles_restores_all(17).await;
}
