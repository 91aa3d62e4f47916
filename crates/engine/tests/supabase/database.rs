//! Components, permissions, vault, cron and queues, as a role that may read everything and as one that may not.

use basekeep_engine::backup::Source;
use basekeep_engine::stored::manifest::Supabase;
use basekeep_engine::stored::supabase as stored;
use basekeep_engine::{listing, stored::markdown};
use basekeep_testkit::supabase::Platform;
use basekeep_testkit::{TestCluster, TestDatabase, server};

use crate::support::{Backup, back_up, backed_up, backed_up_as};

const PLATFORM: &str = include_str!("platform.sql");

async fn project(major: u32) -> TestDatabase {
    let database = TestCluster::private(major, &[]).create_database();
    database.load(PLATFORM).await;
    database
}

fn found(backup: &Backup) -> &Supabase {
    backup.manifest.supabase.as_ref().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_component_of_a_project_is_counted() {
    let database = project(15).await;
    let backup = backed_up_as(&database, "operator").await;
    assert_eq!(backup.manifest.not_captured, []);
    let supabase = found(&backup);
    assert_eq!((supabase.flavour.as_str(), supabase.role.as_str()), ("unknown", "operator"));
    let expected = [
        ("users", 4),
        ("users_anonymous", 1),
        ("identities", 3),
        ("roles", 3),
        ("memberships", 2),
        ("tables", 2),
        ("tables_rls_enabled", 1),
        ("tables_rls_disabled", 1),
        ("tables_rls_forced", 1),
        ("policies", 2),
        ("policies_on_platform_tables", 1),
        ("functions", 3),
        ("triggers", 1),
        ("triggers_on_platform_tables", 1),
        ("event_triggers", 1),
        ("extensions", 2),
        ("webhooks", 1),
        ("publications", 1),
        ("realtime_tables", 1),
        ("buckets", 1),
        ("objects", 3),
        ("object_bytes", 150),
        ("migrations", 1),
        ("vault_secrets", 2),
        ("cron_jobs", 2),
        ("queues", 1),
        ("queue_messages", 4),
        ("encryption_uses", 2),
    ];
    for (name, count) in expected {
        assert_eq!(supabase.counts.get(name), Some(&count), "{name}");
    }
    let hashes: Vec<_> = supabase.users_by_hash.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(hashes, [("argon2id", 1), ("bcrypt", 1), ("fbscrypt", 1), ("none", 1)]);
    let providers: Vec<_> =
        supabase.identities_by_provider.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(providers, [("email", 2), ("github", 1)]);
    assert_eq!(supabase.encryption, ["column public.notes.sealed", "function public.seal(text)"]);
    let auth = supabase.auth_schema.as_ref().unwrap();
    assert_eq!((auth.last.as_deref(), auth.migrations), (Some("20240427152123"), Some(2)));
    let storage = supabase.storage_schema.as_ref().unwrap();
    assert_eq!((storage.last.as_deref(), storage.migrations), (Some("add-version"), Some(2)));
    // What is stored says the same, also to people.
    let again = listing::manifest(&backup.repository, &backup.snapshot).await.unwrap();
    assert_eq!(again.supabase, backup.manifest.supabase);
    let text = markdown::render(&again);
    assert!(text.contains("| users | 4 (argon2id 1, bcrypt 1, fbscrypt 1, none 1) |"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_jobs_and_messages_are_stored_as_they_are() {
    let database = project(15).await;
    let backup = backed_up_as(&database, "operator").await;
    let (repository, snapshot) = (&backup.repository, &backup.snapshot);
    let vault = stored::read_vault(repository, snapshot).await.unwrap().unwrap();
    let secrets: Vec<_> = vault
        .secrets
        .iter()
        .map(|s| (s.name.as_deref(), s.description.as_str(), s.secret.as_ref().unwrap().expose()))
        .collect();
    assert_eq!(secrets, [(Some("stripe"), "für \"Zahlungen\"", "sk_live"), (None, "", "abc")]);
    assert_eq!(vault.secrets[0].created_at.as_deref(), Some("2024-05-06T07:08:09.000000Z"));

    let cron = stored::read_cron(repository, snapshot).await.unwrap().unwrap();
    let jobs: Vec<_> =
        cron.jobs.iter().map(|job| (job.id, job.name.as_deref(), job.command.as_str())).collect();
    assert_eq!(jobs, [(1, Some("nightly"), "DELETE FROM public.notes"), (3, None, "SELECT 1")]);

    let queues = stored::read_queues(repository, snapshot).await.unwrap().unwrap();
    let queue = &queues.queues[0];
    assert_eq!((queue.name.as_str(), queue.messages, queue.archived), ("Mails", Some(4), Some(1)));
    let [archive, messages] = queue.tables.as_slice() else { panic!("{queue:?}") };
    assert_eq!(
        (archive.name.as_str(), archive.file.as_deref()),
        ("a_mails", None),
        "the archive has its rows"
    );
    assert_eq!((messages.name.as_str(), messages.last_id), ("q_mails", Some(5)));
    let path = messages.file.as_deref().unwrap();
    let rows = listing::read_file(repository, snapshot, path, 1 << 20).await.unwrap().unwrap();
    assert_eq!(messages.columns, ["msg_id", "message"]);
    let text = String::from_utf8(rows).unwrap();
    assert_eq!(text, "1\t{\"to\": 1}\n2\t{\"to\": 2}\n3\t{\"to\": 3}\n4\t{\"to\": 4}\n");
    assert!(backup.manifest.tables.iter().all(|table| table.name != "q_mails"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_permission_matrix_says_who_may_do_what() {
    let database = project(15).await;
    let backup = backed_up_as(&database, "operator").await;
    let matrix = stored::read_permissions(&backup.repository, &backup.snapshot).await.unwrap().unwrap();
    let of = |kind: &str, object: &str, role: &str| {
        let found = matrix.grants.iter().find(|grant| {
            grant.kind == kind && grant.object.as_deref() == Some(object) && grant.role == role
        });
        found.map(|grant| grant.privileges.as_str())
    };
    assert_eq!(of("table", "notes", "anon"), Some("r"));
    assert_eq!(of("table", "notes", "authenticated"), Some("a*r*"));
    assert_eq!(of("column", "notes.body", "authenticated"), Some("w"));
    assert_eq!(of("table", "plain", "anon"), None);
    assert_eq!(of("function", "seal(text)", "PUBLIC"), Some("X"), "built-in privileges are spelled out");
    assert_eq!(found(&backup).counts["grants"], matrix.grants.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_role_may_not_read_is_named_and_the_rest_is_there() {
    let database = project(15).await;
    let backup = backed_up_as(&database, "limited").await;
    let supabase = found(&backup);
    let missing: Vec<_> = backup.manifest.not_captured.iter().map(|m| m.what.as_str()).collect();
    for what in [
        "the number of users",
        "the number of identities",
        "the number of objects in storage",
        "the number of migrations",
        "secrets of the vault",
        "cron jobs",
        "queues",
    ] {
        assert!(missing.contains(&what), "{what} in {missing:#?}");
    }
    let why = backup.manifest.not_captured.iter().find(|m| m.what == "secrets of the vault").unwrap();
    assert_eq!(why.reason, "permission denied for table secrets");
    assert!(!supabase.counts.contains_key("users") && supabase.users_by_hash.is_empty());
    assert_eq!((supabase.counts.get("buckets"), supabase.counts.get("policies")), (Some(&1), Some(&2)));
    let auth = supabase.auth_schema.as_ref().unwrap();
    assert_eq!((&auth.last, auth.at_least.as_deref()), (&None, Some("20240427152123")));
    assert_eq!(supabase.storage_schema.as_ref().unwrap().at_least.as_deref(), Some("add-version"));
    let full = backed_up_as(&database, "operator").await;
    assert_eq!(auth.fingerprint, found(&full).auth_schema.as_ref().unwrap().fingerprint);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_no_project_gets_nothing_of_it() {
    let database = TestCluster::shared(15).create_database();
    database.load("CREATE SCHEMA auth; CREATE TABLE auth.accounts (id int); CREATE SCHEMA cron;").await;
    let backup = backed_up(&database).await;
    assert_eq!(backup.manifest.supabase, None);
    assert_eq!(stored::read_vault(&backup.repository, &backup.snapshot).await.unwrap(), None);
    assert_eq!(stored::read_permissions(&backup.repository, &backup.snapshot).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_project_is_captured_by_postgres_who_is_no_superuser() {
    let platform = Platform::start(server(16)).await;
    let project = platform.create_sample_project("factory").await;
    let backup = back_up(project.database(), Source::new("factory", project.options_as("postgres"))).await;
    let supabase = found(&backup);
    // Neither the address nor the schemas tell where it runs.
    assert_eq!((supabase.flavour.as_str(), supabase.role.as_str()), ("unknown", "postgres"));
    for name in [
        "users",
        "identities",
        "roles",
        "policies_on_platform_tables",
        "triggers_on_platform_tables",
        "buckets",
        "objects",
        "vault_secrets",
        "cron_jobs",
        "queues",
        "queue_messages",
        "webhooks",
        "realtime_tables",
        "migrations",
    ] {
        assert!(
            supabase.counts.get(name).is_some_and(|count| *count > 0),
            "{name} in {:#?}",
            supabase.counts
        );
    }
    let missing: Vec<_> = backup.manifest.not_captured.iter().map(|m| m.what.replace('"', "")).collect();
    let closed = ["auth.schema_migrations", "realtime.schema_migrations", "storage.migrations"];
    assert!(missing[3].starts_with("the passwords of 11 login roles"), "{}", missing[3]);
    assert_eq!(
        missing[..3],
        closed.map(|table| format!("definition and rows of {table}")),
        "what the platform closes"
    );
    let vault = stored::read_vault(&backup.repository, &backup.snapshot).await.unwrap().unwrap();
    assert_eq!(vault.secrets.len() as u64, supabase.counts["vault_secrets"]);
    let queues = stored::read_queues(&backup.repository, &backup.snapshot).await.unwrap().unwrap();
    let messages: Option<u64> = queues.queues.iter().map(|queue| queue.messages).sum();
    assert_eq!(messages, Some(supabase.counts["queue_messages"]));
}
