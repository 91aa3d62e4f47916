//! Back into a Supabase project as `postgres`: everything of the user's, nothing of the platform's, no errors.

use basekeep_engine::restore::{self, Mode, RestoreOptions, RestoreReport};
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

/// A fresh project, and what the same query says in two.
async fn same(source: &Project, target: &Project, role: &str, sql: &str) -> Option<String> {
    let (was, is) = (source.value_as(role, sql).await, target.value_as(role, sql).await);
    assert_eq!(was, is, "as {role}: {sql}");
    is
}

pub(super) async fn rows_that_differ(source: &Project, target: &Project) -> Vec<String> {
    // The superuser sees all of them.
    let (expected, found) = (source.database().contents().await, target.database().contents().await);
    expected
        .iter()
        .filter(|(name, _)| !is_platforms(name))
        .filter(|(name, content)| found.get(*name) != Some(content))
        .map(|(name, content)| format!("{name}: {content}, not {:?}", found.get(name)))
        .collect()
}

const SECRETS: &str =
    "SELECT string_agg(concat_ws('|', name, description, decrypted_secret), E'\n' ORDER BY decrypted_secret)
    FROM vault.decrypted_secrets";
const JOBS: &str = "SELECT string_agg(concat_ws('|', jobname, schedule, command, username), E'\n' ORDER BY command) FROM cron.job";
const ACTIVE: &str = "SELECT string_agg(command, E'\n' ORDER BY command) FROM cron.job WHERE active";
const QUEUES: &str =
    "SELECT string_agg(concat_ws('|', queue_name, is_unlogged), E'\n' ORDER BY queue_name) FROM pgmq.meta";

async fn everything_comes_back(from: u32, to: u32) {
    let (old, new) = (Platform::start(server(from)).await, Platform::start(server(to)).await);
    let source = old.create_sample_project("app").await;
    let target = new.create_project("app").await;
    let backup = backed_up(&source).await;
    let report = restored(&backup, &into_project(&target)).await;
    assert_eq!(report.failed, []);
    assert!(
        !report.warnings.iter().any(|warning| warning.contains("could not be")),
        "{:#?}",
        report.warnings
    );

    let differing = rows_that_differ(&source, &target).await;
    assert!(differing.iter().all(|row| row.starts_with("table public.integrations")), "{differing:#?}");
    if from == to {
        assert_eq!(grants(&source).await, grants(&target).await);
        assert_eq!(
            definitions(&source).replace(&secret_of(&source).await, &secret_of(&target).await),
            definitions(&target)
        );
    }
    // The trigger on auth.users would have made these twice.
    assert_eq!(
        same(&source, &target, "postgres", "SELECT count(*) FROM public.notifications").await.as_deref(),
        Some("24")
    );

    // Vault: other ids, the same secrets, by name, by id and by reference.
    for sql in [
        SECRETS,
        QUEUES,
        "SELECT private.key_by_id()",
        "SELECT private.key_by_name()",
        "SELECT string_agg(decrypted_secret, ',' ORDER BY i.id) FROM public.integrations AS i JOIN vault.decrypted_secrets AS s ON s.id = secret_id",
    ] {
        assert!(same(&source, &target, "postgres", sql).await.is_some(), "{sql}");
    }
    // Cron jobs are there, and none of them runs.
    assert!(same(&source, &target, "postgres", JOBS).await.is_some());
    assert_eq!(target.value_as("postgres", ACTIVE).await, None);
    assert!(report.warnings.iter().any(|w| w.contains("3 cron jobs are inactive")), "{:?}", report.warnings);

    what_the_api_sees_is_the_same(&source, &target).await;

    let roles = "SELECT string_agg(concat_ws(' ', r.rolname, r.rolcanlogin, r.rolconnlimit, r.rolvaliduntil AT TIME ZONE 'UTC', s.setconfig,
            (SELECT string_agg(m.roleid::regrole::text, ',' ORDER BY m.roleid::regrole::text) FROM pg_auth_members AS m WHERE m.member = r.oid)), E'\n' ORDER BY r.rolname)
        FROM pg_roles AS r LEFT JOIN pg_db_role_setting AS s ON s.setrole = r.oid WHERE r.rolname IN ('reporting', 'Plant Manager', 'metrics_reader')";
    assert!(same(&source, &target, "postgres", roles).await.unwrap().contains("metrics_reader t 5"));
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| warning.contains("set a password for the role 'metrics_reader'")),
        "{:?}",
        report.warnings
    );
    assert!(report.warnings.iter().any(|warning| warning.contains("JWT secret")), "{:?}", report.warnings);

    // Nothing is left to do.
    let again = RestoreOptions { mode: Mode::Resume, ..into_project(&target) };
    let report = restored(&backup, &again).await;
    assert_eq!((report.failed, report.rows), (vec![], 0));
}

async fn secret_of(project: &Project) -> String {
    let sql = "SELECT id FROM vault.secrets WHERE name = 'supplier_api_key'";
    project.value_as("supabase_admin", sql).await.unwrap()
}

async fn what_the_api_sees_is_the_same(source: &Project, target: &Project) {
    let tables = [
        "public.organizations",
        "public.profiles",
        "public.projects",
        "public.messages",
        "storage.objects",
        "public.invoices",
    ];
    for role in ["anon", "authenticated", "service_role"] {
        for user in 1..4 {
            for table in tables {
                let count = |project: &Project| {
                    let (project, sql) =
                        (project.options_as("authenticator"), format!("SELECT count(*) FROM {table}"));
                    async move {
                        let mut client = basekeep_postgres::Client::connect(&project, "test").await.unwrap();
                        let claims = format!(
                            "SET ROLE {role}; SELECT set_config('request.jwt.claims',
                                json_build_object('sub', md5('user {user}')::uuid, 'role', '{role}')::text, false)"
                        );
                        client.execute(&claims).await.unwrap();
                        match client.query(&sql).await {
                            Ok(rows) => rows.iter().next().unwrap().get(0).unwrap().to_owned(),
                            Err(error) => error.sqlstate().unwrap().to_owned(),
                        }
                    }
                };
                assert_eq!(count(source).await, count(target).await, "{table} as {role} {user}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_project_gets_everything_back_with_zero_failures() {
    everything_comes_back(15, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_of_a_newer_server_gets_everything_back_too() {
    everything_comes_back(16, 18).await;
}

/// Rows that a restore does not bring, or brings with other ids.
fn is_platforms(name: &str) -> bool {
    ["realtime.", "cron.", "vault.", "net.", "supabase_functions.", "pgmq.meta"]
        .iter()
        .any(|part| name.contains(part))
        || ["auth.schema_migrations", "storage.migrations"].iter().any(|part| name.contains(part))
}

/// Who may do what, as the catalog has it: object, grantor, grantee, privilege.
pub(super) async fn grants(project: &Project) -> Vec<String> {
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
