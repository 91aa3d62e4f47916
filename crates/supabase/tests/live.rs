//! The live checklist is fulfilled by a project in use, and each way to break a project fails its line.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use basekeep_archive::Archive;
use basekeep_supabase::live::{self, Check, Expected, ExpectedTable, Options, Outcome};
use basekeep_testkit::supabase::{Platform, Project};
use basekeep_testkit::{pg_dump, server};

/// What the project has, as a backup of it would say.
async fn expected(project: &Project) -> Expected {
    let major = project.database().cluster().server().major;
    let output = Command::new(pg_dump(major))
        .args(["--format=custom", "--schema-only", "--dbname", &project.database().url()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut expected = Expected::from_archive(&Archive::parse(&output.stdout).unwrap());
    for (name, contents) in project.database().contents().await {
        let table = name.strip_prefix("table ").and_then(|name| name.split_once('.'));
        let rows = contents.split(' ').next().unwrap().parse();
        let (Some((schema, name)), Ok(rows)) = (table, rows) else { continue };
        if !name.ends_with("migrations") && name != "projects_by_status" {
            expected.tables.push(ExpectedTable { schema: schema.to_owned(), name: name.to_owned(), rows });
        }
    }
    expected
}

async fn check(project: &Project, role: &str, expected: &Expected) -> Vec<Check> {
    let mut client = project.client_as(role).await;
    let checks = live::check(&mut client, expected, Options { triggers: true }).await.unwrap();
    client.close().await;
    checks
}

/// Without sequences: a number that a trigger took in a transaction is not given back.
async fn rows(project: &Project) -> BTreeMap<String, String> {
    let mut contents = project.database().contents().await;
    contents.retain(|name, _| !name.starts_with("sequence "));
    contents
}

#[track_caller]
fn named<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|check| check.name == name).unwrap()
}

fn failed(checks: &[Check]) -> Vec<&Check> {
    checks.iter().filter(|check| check.outcome == Outcome::Failed).collect()
}

#[tokio::test]
async fn a_project_in_use_fulfils_every_line() {
    for (major, role) in [(15, "postgres"), (18, "supabase_admin")] {
        let platform = Platform::start(server(major)).await;
        let project = platform.create_sample_project("app").await;
        let expected = expected(&project).await;
        let before = rows(&project).await;
        let checks = check(&project, role, &expected).await;
        assert_eq!(failed(&checks), Vec::<&Check>::new());
        assert!(checks.iter().all(|check| check.outcome == Outcome::Ok), "{checks:#?}");
        assert_eq!(named(&checks, "projects").detail, "a new row in public.projects, rolled back");
        let policies = &named(&checks, "storage-policies").detail;
        let seen =
            "anon sees 2 of 8 files, a user without files sees 2 of 8 files, an owner sees 4 of 8 files";
        assert!(policies.ends_with(seen), "{policies}");
        assert_eq!(rows(&project).await, before, "nothing stays");
    }
}

#[tokio::test]
async fn what_a_plain_database_does_not_have_is_not_applicable() {
    let platform = Platform::start(server(17)).await;
    let plain = platform.cluster().create_database();
    let mut client = plain.client().await;
    let checks = live::check(&mut client, &Expected::default(), Options { triggers: true }).await.unwrap();
    client.close().await;
    let applicable: Vec<&str> = checks
        .iter()
        .filter(|check| check.outcome != Outcome::NotApplicable)
        .map(|check| check.name)
        .collect();
    assert_eq!(applicable, ["connection", "tables"]);
}

/// Breaks the project as the superuser, and expects of lines that they fail and say something.
async fn breaks(breakages: &[&str], expectations: &[(&str, &str)]) {
    let platform = Platform::start(server(16)).await;
    let project = platform.create_sample_project("app").await;
    let expected = expected(&project).await;
    for breakage in breakages {
        project.execute_as("supabase_admin", breakage).await;
    }
    let checks = check(&project, "postgres", &expected).await;
    for (name, says) in expectations {
        let check = named(&checks, name);
        assert_eq!(check.outcome, Outcome::Failed, "{check:#?}");
        assert!(check.problems.iter().any(|problem| problem.contains(says)), "{says}: {check:#?}");
    }
    let expected: BTreeSet<&str> = expectations.iter().map(|(name, _)| *name).collect();
    let failed: BTreeSet<&str> = failed(&checks).iter().map(|check| check.name).collect();
    assert_eq!(failed, expected, "no other line fails");
}

#[tokio::test]
async fn what_is_forbidden_malformed_or_dropped_fails_its_line() {
    breaks(
        &[
            "REVOKE ALL ON public.invoices FROM postgres, service_role, reporting",
            "UPDATE auth.users SET encrypted_password = 'in the clear' WHERE email LIKE 'person1%'",
            "CREATE FUNCTION public.lost() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.gone(); RETURN NEW; END';
             CREATE TRIGGER lost BEFORE INSERT ON public.projects FOR EACH ROW EXECUTE FUNCTION public.lost()",
            "DROP FUNCTION storage.foldername CASCADE",
            "ALTER TABLE public.messages DROP CONSTRAINT messages_thread_id_fkey",
            "ALTER TABLE public.attachments DISABLE TRIGGER ALL",
            "DROP POLICY \"Own profile\" ON public.profiles",
            "ALTER PUBLICATION supabase_realtime DROP TABLE public.messages",
        ],
        &[
            ("tables", "public.invoices may not be read"),
            ("authentication", "11 users have a password hash of no known form"),
            ("projects", "no row can be made in public.projects: function public.gone() does not exist"),
            ("storage-policies", "the policy \"Own documents\" on storage.objects is missing"),
            ("foreign-keys", "public.messages (messages_thread_id_fkey) is missing"),
            ("foreign-keys", "public.attachments (attachments_object_id_fkey) is not enforced"),
            ("relationships", "public.invoices (invoices_organization_id_fkey): permission denied"),
            ("row-security", "the policy \"Own profile\" on public.profiles is missing"),
            ("publications", "public.messages is not in the publication supabase_realtime"),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_empty_or_dangling_fails_its_line() {
    breaks(
        &[
            "DROP TABLE public.invoices",
            "SET session_replication_role = replica; DELETE FROM auth.users",
            "SET session_replication_role = replica; DELETE FROM storage.objects; DELETE FROM storage.buckets",
            "ALTER TABLE storage.objects DISABLE ROW LEVEL SECURITY",
            "SET session_replication_role = replica; DELETE FROM public.projects WHERE title = 'Bracket 1'",
            "SET session_replication_role = replica; DELETE FROM public.approvals WHERE id = 1",
        ],
        &[
            ("tables", "public.invoices does not exist"),
            ("tables", "auth.users is empty, the backup has 24 rows"),
            ("storage", "storage.objects is empty, the backup has 8 rows"),
            ("storage-policies", "row level security is off on storage.objects"),
            ("row-security", "row level security is off on storage.objects"),
            (
                "workflow",
                "public.workflow_stages (workflow_stages_project_id_fkey): 4 rows refer to a row that does not exist",
            ),
            ("approvals", "public.approvals (approvals_replaces_fkey): 1 row refers to a row that does not exist"),
            ("relationships", "auth.identities (identities_user_id_fkey): 23 rows refer to a row that does not exist"),
            ("foreign-keys", "public.invoices (invoices_organization_id_fkey) is missing"),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_does_not_work_any_more_fails_its_line() {
    breaks(
        &[
            "CREATE OR REPLACE FUNCTION auth.uid() RETURNS uuid LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no claims''; END'",
            "CREATE FUNCTION public.lost() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM * FROM public.gone; RETURN NEW; END';
             CREATE TRIGGER lost BEFORE UPDATE ON public.workflow_stages FOR EACH ROW EXECUTE FUNCTION public.lost()",
            "ALTER TABLE public.invoices DROP CONSTRAINT invoices_organization_id_fkey, ADD CONSTRAINT invoices_organization_id_fkey
                 FOREIGN KEY (organization_id) REFERENCES public.organizations NOT VALID",
        ],
        &[
            ("storage-policies", "as a user without files: no claims"),
            ("workflow", "a row of public.workflow_stages cannot be updated: relation \"public.gone\" does not exist"),
            ("foreign-keys", "public.invoices (invoices_organization_id_fkey) is not validated"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_missing_publication_and_a_missing_membership_are_told_apart() {
    let platform = Platform::start(server(17)).await;
    let project = platform.create_sample_project("app").await;
    let expected = expected(&project).await;
    let wanted =
        expected.publications.iter().find(|publication| publication.name == "supabase_realtime").unwrap();
    assert_eq!(wanted.tables.len(), 3);
    project.execute_as("postgres", "DROP PUBLICATION warehouse").await;
    let checks = check(&project, "postgres", &expected).await;
    assert_eq!(named(&checks, "publications").problems, ["the publication warehouse is missing"]);
    assert_eq!(failed(&checks).len(), 1, "{checks:#?}");
}

#[tokio::test]
async fn orphans_of_a_not_valid_key_are_told_and_accepted() {
    let platform = Platform::start(server(17)).await;
    let project = platform.create_sample_project("app").await;
    let not_valid = "ALTER TABLE public.invoices DROP CONSTRAINT invoices_organization_id_fkey;
        INSERT INTO public.invoices VALUES (77, gen_random_uuid(), 1);
        ALTER TABLE public.invoices
            ADD CONSTRAINT \"odd name\" FOREIGN KEY (organization_id) REFERENCES public.organizations NOT VALID";
    project.execute_as("postgres", not_valid).await;
    let expected = expected(&project).await;
    let key = expected.foreign_keys.iter().find(|key| key.name == "odd name").unwrap();
    assert!(!key.valid && key.table == "invoices");
    let checks = check(&project, "postgres", &expected).await;
    assert_eq!(failed(&checks), Vec::<&Check>::new());
    let detail = &named(&checks, "relationships").detail;
    assert!(
        detail.ends_with(
            "public.invoices (odd name): 1 row refers to a row that does not exist, as the key allows"
        ),
        "{detail}"
    );
}

#[tokio::test]
async fn a_project_whose_own_rules_refuse_is_not_broken() {
    let platform = Platform::start(server(17)).await;
    let project = platform.create_sample_project("app").await;
    let rules = "CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not today''; END';
        CREATE TRIGGER no BEFORE INSERT OR UPDATE ON public.projects FOR EACH ROW EXECUTE FUNCTION public.no();
        CREATE TRIGGER no BEFORE UPDATE ON public.workflow_stages FOR EACH ROW EXECUTE FUNCTION public.no()";
    project.execute_as("postgres", rules).await;
    let expected = expected(&project).await;
    let checks = check(&project, "postgres", &expected).await;
    assert_eq!(failed(&checks), Vec::<&Check>::new());
    let workflow = &named(&checks, "workflow").detail;
    assert!(workflow.contains("public.workflow_stages refuses an update: not today"), "{workflow}");
    assert_ne!(named(&checks, "projects").detail, "a new row in public.projects, rolled back");

    let sequences = "SELECT string_agg(last_value::text, ' ' ORDER BY sequencename) FROM pg_sequences";
    let before = project.value_as("supabase_admin", sequences).await;
    let mut client = project.client_as("postgres").await;
    let checks = live::check(&mut client, &expected, Options { triggers: false }).await.unwrap();
    client.close().await;
    assert_eq!(failed(&checks), Vec::<&Check>::new());
    assert_eq!(project.value_as("supabase_admin", sequences).await, before, "no trigger has fired");
}
