//! Masked copies of the sample project: every key, reference and index stays valid, and no address of the original is left.

use std::path::Path;
use std::sync::Arc;

use basekeep_engine::export::{ExportOptions, Format};
use basekeep_engine::mask::Rules;
use basekeep_engine::restore::{self, RestoreOptions};
use basekeep_engine::{Interrupt, Silent};
use basekeep_postgres::Environment;
use basekeep_testkit::{SAMPLE_PROJECT, TestCluster, TestDatabase};

use crate::export::{export_to, fixture, psql};
use crate::support::{definitions, into};

const RULES: &str = r#"
    secret_file = "mask.key"
    [[rule]]
    columns = ["auth.users.id", "auth.identities.provider_id", "auth.refresh_tokens.user_id", "auth.refresh_tokens.token"]
    method = "hash"
    [[rule]]
    columns = ["*.email"]
    method = "email"
    [[rule]]
    columns = ["auth.users.phone"]
    method = "phone"
    [[rule]]
    columns = ["display_name", "public.organizations.name"]
    method = "name"
    [[rule]]
    columns = ["auth.users.encrypted_password"]
    method = "constant"
    value = "$2a$10$nobody.knows.the.password.of.this.copy"
    [[rule]]
    columns = ["auth.identities.identity_data", "auth.users.raw_user_meta_data"]
    method = "json"
    paths = { "$.email" = "email", "$.sub" = "hash", "$.full_name" = "name" }
"#;

/// Rules in a file, with a secret beside it.
pub(crate) fn rules(folder: &Path) -> Rules {
    let file = folder.join("rules.toml");
    std::fs::write(&file, RULES).unwrap();
    std::fs::write(folder.join("mask.key"), "the secret of these tests\n").unwrap();
    Rules::read(&file, &Environment { vars: Default::default(), home: None, user: None }).unwrap()
}

async fn one(database: &TestDatabase, sql: &str) -> String {
    let mut client = database.client().await;
    let rows = client.query(sql).await.unwrap();
    rows.iter().next().and_then(|row| row.get(0)).unwrap_or_default().to_owned()
}

/// What holds for every masked copy.
async fn assert_masked(source: &TestDatabase, copy: &TestDatabase) {
    assert_eq!(definitions(source), definitions(copy), "all constraints and indexes are there");
    for counted in ["auth.users", "auth.identities", "public.users", "public.projects"] {
        let sql = format!("SELECT count(*) FROM {counted}");
        assert_eq!(one(source, &sql).await, one(copy, &sql).await, "{counted}");
    }
    for (sql, expected) in [
        ("SELECT count(*) FROM auth.users WHERE email NOT LIKE '%@example.com' OR encrypted_password NOT LIKE '%nobody.knows%'", "0"),
        ("SELECT count(*) FROM auth.users AS u JOIN auth.identities AS i ON i.user_id = u.id
           WHERE i.identity_data ->> 'email' <> u.email OR i.email <> u.email OR i.provider_id <> u.id::text OR i.identity_data ->> 'sub' <> u.id::text", "0"),
        ("SELECT count(*) FROM auth.refresh_tokens AS t WHERE NOT EXISTS (SELECT FROM auth.users AS u WHERE u.id::text = t.user_id)", "0"),
        ("SELECT count(*) FROM public.users AS p WHERE NOT EXISTS (SELECT FROM auth.users AS u WHERE u.id = p.id)", "0"),
        ("SELECT count(*) FROM pg_constraint WHERE NOT convalidated AND contype = 'f'", &one(source, "SELECT count(*) FROM pg_constraint WHERE NOT convalidated AND contype = 'f'").await),
    ] {
        assert_eq!(one(copy, sql).await, expected, "{sql}");
    }
    let address = one(source, "SELECT email FROM auth.users WHERE email IS NOT NULL LIMIT 1").await;
    let found = format!(
        "SELECT count(*) FROM auth.users AS u, auth.identities AS i WHERE '{address}' IN (u.email, i.email)"
    );
    assert_eq!(one(copy, &found).await, "0");
    assert_ne!(
        one(source, "SELECT min(id::text) FROM auth.users").await,
        one(copy, "SELECT min(id::text) FROM auth.users").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_script_of_the_sample_project_loads_with_all_constraints() {
    let cluster = TestCluster::shared(15);
    let (source, backup) = fixture(&cluster, SAMPLE_PROJECT).await;
    let folder = tempfile::tempdir().unwrap();
    let options = ExportOptions { mask: Some(rules(folder.path())), ..ExportOptions::new([Format::Sql]) };
    let report = export_to(&backup, &options, &folder.path().join("out")).await.unwrap();
    assert_eq!(report.failed, []);
    let plan = report.masks.unwrap();
    assert!(plan.columns.iter().any(|c| c.table == "users"
        && c.schema == "public"
        && c.follows.as_deref() == Some("auth.users.id")));
    let copy = cluster.create_database();
    psql(&copy, &folder.path().join("out/database.sql"));
    assert_masked(&source, &copy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_restore_of_the_sample_project_keeps_all_constraints() {
    let cluster = TestCluster::shared(15);
    let (source, backup) = fixture(&cluster, SAMPLE_PROJECT).await;
    let folder = tempfile::tempdir().unwrap();
    let copy = cluster.create_database();
    let options = RestoreOptions { mask: Some(rules(folder.path())), ..into(&copy.options()) };
    let plan = restore::plan(&backup.repository, &backup.snapshot, &options).await.unwrap();
    let masks = plan.masks.as_ref().unwrap();
    assert!(plan.summary.iter().any(|line| line.starts_with("mask ")), "{:?}", plan.summary);
    let uncovered: Vec<&str> = masks.uncovered.iter().map(|c| c.column.as_str()).collect();
    assert!(uncovered.contains(&"ip") && uncovered.contains(&"user_agent"), "{uncovered:?}");
    assert!(!uncovered.contains(&"email"), "{uncovered:?}");
    let report =
        restore::execute(&backup.repository, plan, Arc::new(Silent), &Interrupt::never()).await.unwrap();
    assert_eq!(report.failed, []);
    assert_eq!(report.rows, backup.manifest.totals.rows);
    assert_masked(&source, &copy).await;

    // The same secret: the script has the same masks.
    let script = ExportOptions { mask: Some(rules(folder.path())), ..ExportOptions::new([Format::Csv]) };
    export_to(&backup, &script, folder.path()).await.unwrap();
    let csv = std::fs::read_to_string(folder.path().join("csv/auth/users.csv")).unwrap();
    let id = one(&copy, "SELECT min(id::text) FROM auth.users").await;
    assert!(csv.contains(&id));
}
