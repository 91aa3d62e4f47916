//! What users of other tools complain about, each as a small project that comes back right.

use basekeep_engine::restore::{RestoreOptions, RestoreReport};
use basekeep_testkit::server;
use basekeep_testkit::supabase::{Platform, Project};

use super::supabase::{backed_up, into_project, restored};

struct Pair {
    source: Project,
    target: Project,
    report: RestoreReport,
    _platform: Platform,
}

/// A project with this SQL of the user's, restored into a fresh one to which something was done before.
async fn pair(sql: &str, before: &str, change: impl Fn(&mut RestoreOptions)) -> Pair {
    let platform = Platform::start(server(15)).await;
    let (source, target) = (platform.create_project("app").await, platform.create_project("fresh").await);
    source.execute_as("postgres", sql).await;
    if !before.is_empty() {
        target.execute_as("supabase_admin", before).await;
    }
    let mut options = into_project(&target);
    change(&mut options);
    let report = restored(&backed_up(&source).await, &options).await;
    Pair { source, target, report, _platform: platform }
}

impl Pair {
    async fn same(&self, role: &str, sql: &str, expected: &str) {
        assert_eq!(self.source.value_as(role, sql).await.as_deref(), Some(expected), "source: {sql}");
        assert_eq!(self.target.value_as(role, sql).await.as_deref(), Some(expected), "target: {sql}");
    }
}

const TRIGGERED: &str = "
    CREATE TABLE public.made (id uuid);
    CREATE FUNCTION public.made() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        'BEGIN INSERT INTO public.made VALUES (NEW.id); RETURN NEW; END';
    CREATE TRIGGER on_user AFTER INSERT ON auth.users FOR EACH ROW EXECUTE FUNCTION public.made();
    CREATE POLICY mine ON storage.objects FOR SELECT TO authenticated USING (owner_id = 'x');
    COMMENT ON FUNCTION public.made() IS 'it''s ours';
    INSERT INTO auth.users (id, email) VALUES (md5('1')::uuid, 'one@example.com');";

#[tokio::test(flavor = "multi_thread")]
async fn triggers_and_policies_on_the_platforms_tables_come_back_and_do_not_fire_on_rows_that_do() {
    let pair = pair(TRIGGERED, "", |_| {}).await;
    assert_eq!(pair.report.failed, []);
    let triggers = "SELECT string_agg(tgname, ', ') FROM pg_trigger WHERE tgrelid = 'auth.users'::regclass AND tgname = 'on_user' AND tgenabled = 'O'";
    pair.same("postgres", triggers, "on_user").await;
    pair.same("postgres", "SELECT count(*) FROM pg_policies WHERE policyname = 'mine'", "1").await;
    pair.same("postgres", "SELECT count(*) FROM public.made", "1").await;
    // From now on it does fire.
    pair.target
        .execute_as(
            "postgres",
            "INSERT INTO auth.users (id, email) VALUES (md5('2')::uuid, 'two@example.com')",
        )
        .await;
    assert_eq!(
        pair.target.value_as("postgres", "SELECT count(*) FROM public.made").await.as_deref(),
        Some("2")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_do_not_widen_through_default_privileges() {
    let sql = "
        CREATE TABLE public.secret (id integer); REVOKE ALL ON public.secret FROM anon, authenticated, service_role;
        CREATE FUNCTION public.hidden() RETURNS integer LANGUAGE sql AS 'SELECT 1';
        REVOKE ALL ON FUNCTION public.hidden() FROM PUBLIC, anon, authenticated, service_role;
        CREATE TABLE public.open (id integer);
        ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM anon;
        CREATE TABLE public.later (id integer);
        CREATE SEQUENCE public.counter; REVOKE ALL ON SEQUENCE public.counter FROM anon";
    let pair = pair(sql, "", |_| {}).await;
    assert_eq!(pair.report.failed, []);
    let may = "SELECT concat_ws(' ', has_table_privilege('anon', 'public.secret', 'SELECT'), has_function_privilege('anon', 'public.hidden()', 'EXECUTE'),
        has_table_privilege('anon', 'public.open', 'SELECT'), has_table_privilege('anon', 'public.later', 'SELECT'),
        has_sequence_privilege('anon', 'public.counter', 'USAGE'))";
    pair.same("postgres", may, "f f t f f").await;
    // What is made after the restore gets what the source's defaults say.
    for project in [&pair.source, &pair.target] {
        project.execute_as("postgres", "CREATE TABLE public.after (id integer)").await;
    }
    pair.same("postgres", "SELECT has_table_privilege('anon', 'public.after', 'SELECT')", "f").await;
    assert_eq!(super::supabase::grants(&pair.source).await, super::supabase::grants(&pair.target).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_wait_for_their_schema_and_come_back_switched_off() {
    let sql = "CREATE TABLE public.orders (id integer);
        CREATE TRIGGER hook AFTER INSERT ON public.orders FOR EACH ROW EXECUTE FUNCTION
            supabase_functions.http_request('https://hooks.example/', 'POST', '{}', '{}', '1000')";
    let enabled = "SELECT tgenabled FROM pg_trigger WHERE tgname = 'hook'";
    let first = pair(sql, "", |_| {}).await;
    assert_eq!(first.report.failed, []);
    assert_eq!(first.target.value_as("postgres", enabled).await.as_deref(), Some("D"));
    assert!(first.report.warnings.iter().any(|warning| warning.contains("--enable-webhooks")));
    let second = pair(sql, "", |options| options.enable_webhooks = true).await;
    assert_eq!(second.report.failed, []);
    second.same("postgres", enabled, "O").await;
    let third = pair(sql, "DROP SCHEMA supabase_functions CASCADE", |_| {}).await;
    assert_eq!(third.report.failed.len(), 1, "{:#?}", third.report.failed);
    assert!(third.report.failed[0].reason.contains("webhooks are not enabled"), "{:#?}", third.report.failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_queues_and_jobs_come_back_through_their_own_functions() {
    let sql = "SELECT vault.create_secret('s3cr3t', 'api', 'a key'); SELECT cron.schedule('nightly', '0 3 * * *', 'SELECT 1');
        SELECT pgmq.create('mail'); SELECT pgmq.send('mail', '{\"to\": 1}')";
    let pair = pair(sql, "", |options| options.enable_cron = true).await;
    assert_eq!(pair.report.failed, []);
    pair.same(
        "postgres",
        "SELECT decrypted_secret FROM vault.decrypted_secrets WHERE name = 'api'",
        "s3cr3t",
    )
    .await;
    pair.same(
        "postgres",
        "SELECT concat_ws(' ', jobname, schedule, command, username, active) FROM cron.job",
        "nightly 0 3 * * * SELECT 1 postgres t",
    )
    .await;
    pair.same("postgres", "SELECT message FROM pgmq.q_mail", "{\"to\": 1}").await;
    assert_eq!(
        pair.target.value_as("postgres", "SELECT pgmq.send('mail', '{}')").await.as_deref(),
        Some("2")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn references_that_lead_nowhere_are_reported() {
    let sql = "INSERT INTO auth.users (id, email) VALUES (md5('1')::uuid, 'one@example.com');
        INSERT INTO auth.sessions (id, user_id) VALUES (md5('s')::uuid, md5('1')::uuid);
        SET session_replication_role = replica; DELETE FROM auth.users";
    let pair = pair(sql, "", |_| {}).await;
    assert_eq!(pair.report.failed.len(), 1, "{:#?}", pair.report);
    assert!(pair.report.failed[0].object.contains("of auth.sessions"), "{:#?}", pair.report.failed);
    assert!(pair.report.failed[0].reason.contains("1 rows refer"), "{:#?}", pair.report.failed);
}

/// supabase/cli#2632 and #1183: dumps that were edited line by line lost repeated and odd lines.
#[tokio::test(flavor = "multi_thread")]
async fn texts_with_repeated_blank_and_odd_lines_come_back_byte_for_byte() {
    let sql = r#"
        CREATE FUNCTION public.odd() RETURNS text LANGUAGE sql AS $body$
-- CREATE SCHEMA auth;
-- CREATE SCHEMA auth;


SELECT 'x'   -- trailing  
SELECT_IS_A_WORD
\restrict nothing
\.
ALTER TABLE x OWNER TO y;
ALTER TABLE x OWNER TO y;
$body$;
        CREATE TABLE public.texts (id int PRIMARY KEY, body text DEFAULT E'a\n\n\nb\n\\.\n-- c\n-- c');
        INSERT INTO public.texts SELECT n FROM generate_series(1, 3) n;
        INSERT INTO public.texts VALUES (4, E'\\.\n\\N\t\r\n--\n--\n\n\n'), (5, 'COPY public.texts FROM stdin;'), (6, '')"#;
    let pair = pair(&format!("SET check_function_bodies = off; {sql}"), "", |_| {}).await;
    assert_eq!(pair.report.failed, []);
    for question in [
        "SELECT md5(prosrc) FROM pg_proc WHERE proname = 'odd'",
        "SELECT md5(string_agg(id || body, '|' ORDER BY id)) FROM public.texts",
        "SELECT md5(pg_get_expr(adbin, adrelid)) FROM pg_attrdef WHERE adrelid = 'public.texts'::regclass",
    ] {
        let there = pair.source.value_as("supabase_admin", question).await;
        assert!(there.is_some(), "{question}");
        assert_eq!(there, pair.target.value_as("supabase_admin", question).await, "{question}");
    }
}
