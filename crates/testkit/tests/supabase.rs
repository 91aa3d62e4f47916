//! The Supabase fixture has the traps of the real platform.

use basekeep_testkit::supabase::{Platform, Project};
use basekeep_testkit::{pg_dump, server, servers, tool};
use std::process::Command;

const ACCOUNTS: &str = "SELECT count(*) FROM auth.users JOIN public.profiles USING (id)";

/// The message of the server, when it refuses; the statement is rolled back in any case.
async fn refusal(project: &Project, role: &str, sql: &str) -> Option<String> {
    let mut client = project.client_as(role).await;
    client.execute("BEGIN").await.unwrap();
    let refusal = client.execute(sql).await.err().map(|error| error.to_string());
    client.close().await;
    refusal
}

async fn allowed(project: &Project, sql: &str) {
    assert_eq!(refusal(project, "postgres", sql).await, None, "{sql}");
}

async fn denied(project: &Project, sql: &str, why: &str) {
    let refusal = refusal(project, "postgres", sql).await.unwrap_or_default();
    assert!(refusal.contains(why), "{sql}: {refusal:?}");
}

#[tokio::test]
async fn the_sample_project_loads_on_every_server() {
    for server in servers() {
        let platform = Platform::start(server).await;
        let first = platform.create_sample_project("first").await;
        assert_eq!(first.value_as("postgres", ACCOUNTS).await.as_deref(), Some("24"));
        let pgcrypto = platform.features().extensions.contains("pgcrypto");
        let credentials = "SELECT to_regclass('private.credentials') IS NOT NULL";
        let expected = if pgcrypto { "t" } else { "f" };
        assert_eq!(first.value_as("postgres", credentials).await.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn two_projects_live_on_one_platform() {
    let platform = Platform::start(server(15)).await;
    let (first, second) =
        (platform.create_sample_project("first").await, platform.create_sample_project("sec ond").await);
    for project in [&first, &second] {
        assert_eq!(project.value_as("postgres", ACCOUNTS).await.as_deref(), Some("24"));
    }
}

#[tokio::test]
async fn postgres_is_denied_what_the_platform_keeps_for_itself() {
    let platform = Platform::start(server(17)).await;
    let project = platform.create_sample_project("app").await;
    for table in ["auth.schema_migrations", "storage.migrations", "realtime.schema_migrations"] {
        denied(&project, &format!("SELECT FROM {table}"), "permission denied").await;
    }
    denied(&project, "CREATE TABLE auth.mine ()", "permission denied for schema auth").await;
    denied(&project, "CREATE TABLE storage.mine ()", "permission denied for schema storage").await;
    denied(&project, "CREATE TABLE realtime.mine ()", "permission denied for schema realtime").await;
    denied(&project, "ALTER TABLE auth.users DISABLE TRIGGER ALL", "must be owner").await;
    denied(&project, "ALTER TABLE storage.objects ADD COLUMN mine text", "must be owner").await;
    denied(&project, "COMMENT ON POLICY \"Own documents\" ON storage.objects IS 'x'", "must be owner").await;
    denied(&project, "UPDATE cron.job SET active = false", "permission denied").await;
    denied(&project, "INSERT INTO vault.secrets (secret) VALUES ('x')", "permission denied").await;
    denied(&project, "SET ROLE supabase_storage_admin", "permission denied").await;
    denied(&project, "DELETE FROM storage.objects", "Direct deletion").await;
    denied(
        &project,
        "CREATE EVENT TRIGGER mine ON sql_drop EXECUTE FUNCTION extensions.pgrst_drop_watch()",
        "permission denied",
    )
    .await;
    denied(
        &project,
        "INSERT INTO auth.users (id, confirmed_at) VALUES (gen_random_uuid(), now())",
        "confirmed_at",
    )
    .await;
}

#[tokio::test]
async fn postgres_may_do_what_the_platform_lets_it_do() {
    let platform = Platform::start(server(16)).await;
    let project = platform.create_sample_project("app").await;
    allowed(&project, "SET session_replication_role = replica; TRUNCATE auth.users CASCADE").await;
    allowed(
        &project,
        "SET LOCAL storage.allow_delete_query = 'true'; UPDATE public.attachments SET object_id = NULL; DELETE FROM storage.objects",
    )
    .await;
    allowed(&project, "CREATE POLICY mine ON storage.objects FOR SELECT USING (true)").await;
    allowed(&project, "DROP POLICY \"Own documents\" ON storage.objects").await;
    allowed(&project, "CREATE POLICY mine ON auth.users FOR SELECT USING (true)").await;
    allowed(&project, "DROP TRIGGER on_auth_user_created ON auth.users").await;
    allowed(&project, "CREATE PUBLICATION everything FOR ALL TABLES").await;
    allowed(&project, "CREATE ROLE mine; GRANT anon TO mine").await;
    let owners = "SELECT string_agg(DISTINCT relowner::regrole::text, ' ') FROM pg_class
                  WHERE oid IN ('storage.objects'::regclass, 'storage.buckets'::regclass)";
    assert_eq!(project.value_as("postgres", owners).await.as_deref(), Some("supabase_storage_admin"));
    let superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = 'postgres'";
    assert_eq!(project.value_as("postgres", superuser).await.as_deref(), Some("f"));
}

#[tokio::test]
async fn stock_tools_as_postgres_fail_where_users_say_they_fail() {
    let platform = Platform::start(server(17)).await;
    let project = platform.create_sample_project("app").await;
    let fresh = platform.create_project("fresh").await;
    let dump = |arguments: &[&str]| {
        let mut command = Command::new(pg_dump(17));
        command.args(arguments).args(["--dbname", &project.url()]).output().unwrap()
    };
    let output = dump(&["--format=custom"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("permission denied for table"), "{message}");

    platform.grant_read_all_data().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let output = dump(&["--format=custom", "--file", path]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let restore = Command::new(tool("pg_restore", 17))
        .args(["--disable-triggers", "--dbname", &fresh.url(), path])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&restore.stderr);
    let errors = message.lines().filter(|line| line.contains("error: could not execute")).count();
    assert!(errors > 200, "{errors} errors: {message}");
    assert!(message.contains("already exists") && message.contains("must be owner"), "{message}");
}

#[tokio::test]
async fn secrets_open_in_their_own_project_alone() {
    let platform = Platform::start(server(18)).await;
    let project = platform.create_sample_project("app").await;
    let other = platform.create_project("other").await;
    let by_name = "SELECT private.key_by_name() || private.key_by_id()";
    let expected = "sk-live-0123456789sk-live-0123456789";
    assert_eq!(project.value_as("postgres", by_name).await.as_deref(), Some(expected));
    let multi_line = "SELECT decrypted_secret FROM vault.decrypted_secrets WHERE name = 'multi line'";
    assert_eq!(project.value_as("service_role", multi_line).await.as_deref(), Some("line one\nline two 👍"));

    let copy = "SELECT format('INSERT INTO vault.secrets (id, secret, nonce) VALUES (%L, %L, %L)', id, secret, nonce)
                FROM vault.secrets WHERE name = 'multi line'";
    let copy = project.value_as("supabase_admin", copy).await.unwrap();
    other.execute_as("supabase_admin", &copy).await;
    let read = "SELECT decrypted_secret FROM vault.decrypted_secrets";
    assert!(refusal(&other, "postgres", read).await.unwrap().contains("invalid ciphertext"));
}

#[tokio::test]
async fn the_api_roles_see_what_policies_let_them_see() {
    let platform = Platform::start(server(15)).await;
    let project = platform.create_sample_project("app").await;
    let objects = "SELECT count(*) FROM storage.objects";
    assert_eq!(project.value_as("anon", objects).await.as_deref(), Some("2"));
    assert_eq!(project.value_as("service_role", objects).await.as_deref(), Some("8"));
    let mut client = project.client_as("authenticated").await;
    let claims =
        "SELECT set_config('request.jwt.claims', json_build_object('sub', md5('user 1')::uuid)::text, false)";
    client.query(claims).await.unwrap();
    let rows = client.query(objects).await.unwrap();
    assert_eq!(rows.iter().next().unwrap().get(0), Some("4"));
    client.close().await;
    assert!(refusal(&project, "anon", "SELECT FROM public.invoices").await.is_some());

    let jobs = "SELECT count(*) FROM cron.job";
    assert_eq!(project.value_as("postgres", jobs).await.as_deref(), Some("4"));
    let queue = "SELECT (SELECT count(*) FROM pgmq.q_emails) || ' ' || (SELECT count(*) FROM pgmq.a_emails)";
    assert_eq!(project.value_as("postgres", queue).await.as_deref(), Some("6 1"));
    let hooks = "SELECT count(*) FROM supabase_functions.hooks";
    assert_eq!(project.value_as("postgres", hooks).await.as_deref(), Some("30"));
}
