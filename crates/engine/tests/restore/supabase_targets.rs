//! Targets that are no fresh project: in use, half restored, older, or no project at all.

use basekeep_engine::ErrorKind;
use basekeep_engine::restore::{self, Mode, OnConflict, RestoreOptions};
use basekeep_testkit::supabase::{Platform, Project};
use basekeep_testkit::{TestCluster, server};

use super::supabase::{backed_up, into_project, restored};
use crate::support::{into, programs};

const NOTES: &str = "
    CREATE TABLE public.notes (id integer PRIMARY KEY, text text NOT NULL, changed integer GENERATED ALWAYS AS (length(text)) STORED);
    CREATE TABLE public.keyless (n integer, doc json);
    CREATE TABLE public.numbered (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, text text UNIQUE);";

fn user(n: u32, email: &str) -> String {
    format!(
        "INSERT INTO auth.users (id, instance_id, aud, role, email, created_at, updated_at)
         VALUES (md5('{n}')::uuid, '00000000-0000-0000-0000-000000000000', 'authenticated', 'authenticated', '{email}', '2026-01-01', '2026-01-01');"
    )
}

/// Two projects of one platform with the same tables and, in part, the same rows.
async fn two_in_use() -> (Platform, Project, Project) {
    let platform = Platform::start(server(15)).await;
    let (source, target) = (platform.create_project("source").await, platform.create_project("target").await);
    let ours = "INSERT INTO public.notes VALUES (1, 'same'), (2, 'ours'), (3, 'new');
        INSERT INTO public.keyless VALUES (1, '{}'), (1, '{}'), (2, NULL);
        INSERT INTO public.numbered (text) SELECT 'row ' || n FROM generate_series(1, 5) AS n;
        CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS 'SELECT ''ours''::text';";
    let theirs = "INSERT INTO public.notes VALUES (1, 'same'), (2, 'theirs'), (9, 'own');
        INSERT INTO public.keyless VALUES (1, '{}'), (7, '[]');
        INSERT INTO public.numbered (text) VALUES ('row 1');
        CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS 'SELECT ''theirs''::text';";
    let (one, two) = (user(1, "one@example.com"), user(2, "two@example.com"));
    source.execute_as("postgres", &format!("{NOTES}{ours}{one}{two}")).await;
    target.execute_as("postgres", &format!("{NOTES}{theirs}{}", user(1, "changed@example.com"))).await;
    (platform, source, target)
}

async fn all(project: &Project, sql: &str) -> String {
    project.value_as("postgres", sql).await.unwrap_or_default()
}

const NOTE_TEXTS: &str = "SELECT string_agg(id || ' ' || text, ', ' ORDER BY id) FROM public.notes";
const EMAILS: &str = "SELECT string_agg(email, ', ' ORDER BY email) FROM auth.users";

#[tokio::test(flavor = "multi_thread")]
async fn a_project_in_use_is_refused_and_a_merge_keeps_replaces_or_fails() {
    let (_platform, source, target) = two_in_use().await;
    let backup = backed_up(&source).await;
    let options = into_project(&target);
    let error = restore::plan(&backup.repository, &backup.snapshot, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.message().contains("is in use"), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("--mode merge")), "{:?}", error.hints());

    let merge = |on_conflict| RestoreOptions { mode: Mode::Merge(on_conflict), ..options.clone() };
    let report = restored(&backup, &merge(OnConflict::Fail)).await;
    let mut failed: Vec<&str> = report.failed.iter().map(|failed| failed.object.as_str()).collect();
    // Tables that nothing connects are merged side by side.
    failed.sort_unstable();
    assert_eq!(failed, ["rows of auth.users", "rows of public.notes"], "{:#?}", report.failed);
    assert_eq!(all(&target, NOTE_TEXTS).await, "1 same, 2 theirs, 9 own");

    let report = restored(&backup, &merge(OnConflict::Keep)).await;
    assert_eq!(report.failed, []);
    assert_eq!(all(&target, NOTE_TEXTS).await, "1 same, 2 theirs, 3 new, 9 own");
    assert_eq!(all(&target, EMAILS).await, "changed@example.com, two@example.com");
    assert_eq!((report.rows, report.conflicting), (2, 2), "{report:#?}");
    let keyless =
        "SELECT string_agg(n || ' ' || coalesce(doc::text, '-'), ', ' ORDER BY n) FROM public.keyless";
    assert_eq!(all(&target, keyless).await, "1 {}, 1 {}, 2 -, 7 []");
    // The target's sequence never goes back, and goes on behind the rows that came.
    assert_eq!(all(&target, "INSERT INTO public.numbered (text) VALUES ('next') RETURNING id").await, "6");
    assert_eq!(all(&target, "SELECT public.f()").await, "theirs");

    let replace = RestoreOptions { replace: true, ..merge(OnConflict::Replace) };
    let report = restored(&backup, &replace).await;
    assert_eq!(report.failed, []);
    assert_eq!(all(&target, NOTE_TEXTS).await, "1 same, 2 ours, 3 new, 9 own");
    assert_eq!(all(&target, EMAILS).await, "one@example.com, two@example.com");
    assert_eq!(all(&target, "SELECT public.f()").await, "ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_ended_early_is_continued() {
    let platform = Platform::start(server(15)).await;
    let (source, target) =
        (platform.create_sample_project("app").await, platform.create_project("again").await);
    let backup = backed_up(&source).await;
    let options = into_project(&target);
    assert_eq!(restored(&backup, &options).await.failed, []);
    // As if a good part had not come.
    target
        .execute_as(
            "postgres",
            "DROP POLICY \"Members see projects\" ON public.projects;
             DROP TRIGGER on_auth_user_created ON auth.users;
             SET session_replication_role = replica;
             DROP TABLE public.approvals CASCADE;
             ALTER TABLE public.projects DROP CONSTRAINT projects_owner_id_fkey;
             DELETE FROM public.messages WHERE id > 40;
             DELETE FROM auth.sessions;
             DELETE FROM public.notifications;
             REVOKE SELECT ON public.invoices FROM reporting",
        )
        .await;
    let report = restored(&backup, &RestoreOptions { mode: Mode::Resume, ..options }).await;
    assert_eq!(report.failed, []);
    assert_eq!(report.rows, 30 + 60 + 10 + 24, "{report:#?}");
    let differing = super::supabase::rows_that_differ(&source, &target).await;
    assert!(differing.iter().all(|row| row.starts_with("table public.integrations")), "{differing:#?}");
    assert_eq!(super::supabase::grants(&source).await, super::supabase::grants(&target).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_older_than_the_backup_is_refused_with_the_reason() {
    let platform = Platform::start(server(15)).await;
    let (source, target) = (platform.create_project("app").await, platform.create_project("old").await);
    source.execute_as("postgres", &user(1, "one@example.com")).await;
    target.execute_as("supabase_admin", "ALTER TABLE auth.users DROP COLUMN is_anonymous").await;
    let backup = backed_up(&source).await;
    let error =
        restore::plan(&backup.repository, &backup.snapshot, &into_project(&target)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.message().contains("auth.users has no column is_anonymous"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_newer_keeps_its_own_definitions() {
    let platform = Platform::start(server(15)).await;
    let (source, target) = (platform.create_project("app").await, platform.create_project("new").await);
    source.execute_as("postgres", &user(1, "one@example.com")).await;
    target
        .execute_as(
            "supabase_admin",
            "ALTER TABLE auth.users ADD COLUMN is_robot boolean NOT NULL DEFAULT false",
        )
        .await;
    let backup = backed_up(&source).await;
    let plan = restore::plan(&backup.repository, &backup.snapshot, &into_project(&target)).await.unwrap();
    assert_eq!(plan.differs.len(), 1, "{:#?}", plan.differs);
    assert_eq!(plan.differs[0].0, "table auth.users");
    assert_eq!(restored(&backup, &into_project(&target)).await.failed, []);
    assert_eq!(all(&target, "SELECT email FROM auth.users WHERE NOT is_robot").await, "one@example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_server_gets_all_that_is_the_users() {
    let platform = Platform::start(server(15)).await;
    let source = platform.create_sample_project("app").await;
    let backup = backed_up(&source).await;
    let target = TestCluster::private(15, &[]).create_database();
    let options = RestoreOptions { environment: Some(programs(15)), ..into(&target.options()) };
    let report = restored(&backup, &options).await;
    assert_eq!(report.failed, [], "{:#?}", report.left_out);
    let mut client = target.client().await;
    let sql = "SELECT (SELECT count(*) FROM auth.users), (SELECT count(*) FROM pg_policies WHERE schemaname = 'public'),
        (SELECT bool_or(rolcanlogin) FROM pg_roles WHERE rolname IN ('anon', 'authenticator', 'supabase_admin', 'supabase_auth_admin'))";
    let rows = client.query(sql).await.unwrap();
    let row = rows.iter().next().unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), (Some("24"), Some("10"), Some("f")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_by_the_superuser_goes_back_as_postgres_and_as_the_superuser() {
    let platform = Platform::start(server(15)).await;
    let source = platform.create_project("app").await;
    source
        .execute_as(
            "postgres",
            &format!("{NOTES}INSERT INTO public.notes VALUES (1, 'one'); {}", user(1, "one@example.com")),
        )
        .await;
    // As the dashboard once made tables, and with a role of the user's as owner of another.
    source
        .execute_as(
            "supabase_admin",
            "CREATE TABLE public.old (id integer PRIMARY KEY); INSERT INTO public.old VALUES (1), (2);
             REVOKE ALL ON public.old FROM anon;
             CREATE ROLE app_owner; CREATE TABLE public.owned (id integer); ALTER TABLE public.owned OWNER TO app_owner;
             REVOKE ALL ON public.owned FROM anon; INSERT INTO public.owned VALUES (7)",
        )
        .await;
    let backup = crate::support::backed_up_as(source.database(), "supabase_admin").await;
    let owners = "SELECT string_agg(relname || ' ' || relowner::regrole || ' ' || has_table_privilege('anon', c.oid, 'SELECT'), ', ' ORDER BY relname)
        FROM pg_class AS c WHERE relname IN ('old', 'owned', 'notes') AND relkind = 'r'";
    let target = platform.create_project("as-postgres").await;
    let report = restored(&backup, &into_project(&target)).await;
    assert_eq!(report.failed, []);
    assert_eq!(all(&target, owners).await, "notes postgres true, old postgres false, owned app_owner false");
    assert_eq!(all(&target, "SELECT count(*) FROM public.old").await, "2");
    assert!(
        report.warnings.iter().any(|warning| warning.contains("supabase_admin")),
        "{:?}",
        report.warnings
    );

    let target = platform.create_project("as-admin").await;
    let options = RestoreOptions { target: target.options_as("supabase_admin"), ..into_project(&target) };
    let report = restored(&backup, &options).await;
    assert_eq!(report.failed, []);
    assert_eq!(
        all(&target, owners).await,
        "notes postgres true, old supabase_admin false, owned app_owner false"
    );
    assert_eq!(all(&target, EMAILS).await, "one@example.com");
    assert_eq!(super::supabase::grants(&source).await, super::supabase::grants(&target).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_database_is_continued_and_merged_into_too() {
    let cluster = TestCluster::shared(15);
    let source = cluster.create_database();
    basekeep_testkit::load_sql(
        &source,
        "CREATE TABLE a (id int PRIMARY KEY, t text); INSERT INTO a SELECT n, 'row ' || n FROM generate_series(1, 100) AS n;
         CREATE TABLE b (a int REFERENCES a); INSERT INTO b VALUES (1), (1), (100);",
    )
    .await;
    let backup = crate::support::backed_up(&source).await;
    let target = cluster.create_database();
    basekeep_testkit::load_sql(&target, "CREATE TABLE a (id int PRIMARY KEY, t text); INSERT INTO a SELECT n, 'row ' || n FROM generate_series(1, 30) AS n").await;
    let options = RestoreOptions { environment: Some(programs(15)), ..into(&target.options()) };
    let resume = RestoreOptions { mode: Mode::Resume, ..options.clone() };
    let report = restored(&backup, &resume).await;
    assert_eq!((report.failed, report.rows), (vec![], 73));
    assert_eq!(source.contents().await, target.contents().await);
    let merge = RestoreOptions { mode: Mode::Merge(OnConflict::Fail), ..options };
    let report = restored(&backup, &merge).await;
    assert_eq!((report.failed, report.rows), (vec![], 0));
    assert_eq!(source.contents().await, target.contents().await);
}
