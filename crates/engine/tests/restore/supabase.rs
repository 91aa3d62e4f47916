//! Back into a Supabase project as `postgres`: everything of the user's, nothing of the platform's, no errors.

use basekeep_engine::restore::{self, RestoreOptions, RestoreReport};
use basekeep_engine::{Interrupt, Silent};
use basekeep_testkit::server;
use basekeep_testkit::supabase::{Platform, Project};

use crate::support::{Backup, backed_up_as, into, programs};

pub(super) async fn backed_up(project: &Project) -> Backup {
    backed_up_as(project.database(), "postgres").await
}

pub(super) fn into_project(project: &Project) -> RestoreOptions {
    let major = project.database().cluster().server().major;
    RestoreOptions { environment: Some(programs(major)), ..into(&project.options_as("postgres")) }
}

pub(super) async fn restored(backup: &Backup, options: &RestoreOptions) -> RestoreReport {
    let plan = restore::plan(&backup.repository, &backup.snapshot, options).await.unwrap();
    restore::execute(&backup.repository, plan, std::sync::Arc::new(Silent), &Interrupt::never())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_project_gets_everything_back_with_zero_failures() {
    let (old, new) = (Platform::start(server(15)).await, Platform::start(server(15)).await);
    let source = old.create_sample_project("app").await;
    let target = new.create_project("app").await;
    let backup = backed_up(&source).await;
    let report = restored(&backup, &into_project(&target)).await;
    assert_eq!(report.failed, []);

    // Rows, but for what the platform counts for itself. The superuser sees all.
    let (expected, found) = (source.database().contents().await, target.database().contents().await);
    let differing: Vec<_> = expected
        .iter()
        .filter(|(name, _)| !is_platforms(name))
        .filter(|(name, content)| found.get(*name) != Some(content))
        .map(|(name, content)| format!("{name}: {content}, not {:?}", found.get(name)))
        .collect();
    assert_eq!(differing, [""; 0]);
    assert_eq!(grants(&source).await, grants(&target).await);
    assert_eq!(definitions(&source), definitions(&target));
    // The trigger on auth.users would have made profiles and notifications.
    assert_eq!(
        target.value_as("postgres", "SELECT count(*) FROM public.notifications").await.as_deref(),
        Some("24")
    );
}

/// Rows that a restore does not bring, or brings with other ids.
fn is_platforms(name: &str) -> bool {
    ["realtime.", "cron.", "vault.", "net.", "supabase_functions.", "pgmq.meta"]
        .iter()
        .any(|part| name.contains(part))
        || ["auth.schema_migrations", "storage.migrations"].iter().any(|part| name.contains(part))
}

/// Who may do what, as the catalog has it: object, grantor, grantee, privilege.
async fn grants(project: &Project) -> Vec<String> {
    let sql = r#"
        WITH object AS (
            SELECT 'relation ' || oid::regclass AS name, relnamespace AS schema, coalesce(relacl,
                acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) AS acl FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
            UNION ALL SELECT 'column ' || attrelid::regclass || '.' || attname, relnamespace, attacl
                FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid WHERE attacl IS NOT NULL
            UNION ALL SELECT 'function ' || oid::regprocedure, pronamespace, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
            UNION ALL SELECT 'type ' || oid::regtype, typnamespace, coalesce(typacl, acldefault('T', typowner)) FROM pg_type WHERE typtype IN ('e', 'd')
            UNION ALL SELECT 'schema ' || nspname, oid, coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace
            UNION ALL SELECT 'default ' || defaclrole::regrole || ' ' || defaclnamespace || ' ' || defaclobjtype::text, NULL, defaclacl FROM pg_default_acl)
        SELECT concat_ws(' ', name, grantor::regrole, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type, is_grantable)
        FROM object LEFT JOIN pg_namespace AS n ON n.oid = schema CROSS JOIN LATERAL aclexplode(acl)
        WHERE nspname IS NULL OR nspname !~ '^pg_' AND nspname <> 'information_schema' AND name !~ 'realtime.messages_2026'
        ORDER BY 1"#;
    let sql = sql.replace(
        "defaclnamespace ||",
        "coalesce((SELECT nspname FROM pg_namespace WHERE oid = defaclnamespace), '') ||",
    );
    let mut client = project.client_as("supabase_admin").await;
    let rows = client.query(&sql).await.unwrap();
    rows.iter().map(|row| row.get(0).unwrap().to_owned()).collect()
}

/// What stock pg_dump says, without the day's partition of messages and the switched off webhook.
fn definitions(project: &Project) -> String {
    let text = project.database().pg_dump(&["--schema-only", "--exclude-table=realtime.messages_2026*"]);
    text.replace("ALTER TABLE public.approvals DISABLE TRIGGER notify_factory;\n\n", "")
}
