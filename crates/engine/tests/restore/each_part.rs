//! Each part of the sample project, spoilt in a copy of it and put back alone: the copy is afterwards as it was.

use basekeep_engine::restore::{Mode, OnConflict};
use basekeep_engine::selection::{Part, Selection};
use basekeep_testkit::{TestCluster, load_sql, small_sample_project};

use super::parts::{copy_of, differing, options, parts, restored};
use crate::support::{assert_same_text, backed_up};

/// Spoils a copy of the sample project, puts one part of it back, and looks at everything.
async fn comes_back(part: Part, mode: Mode, spoil: &str) {
    let source = TestCluster::shared(15).create_database();
    source.load(&small_sample_project()).await;
    let backup = backed_up(&source).await;
    let (rows, definitions) = (source.contents().await, source.schema_dump());
    let target = copy_of(&source);
    load_sql(&target, &format!("SET session_replication_role = replica; {spoil}")).await;
    let hurt = differing(&rows, &target.contents().await);
    assert!(!hurt.is_empty() || definitions != target.schema_dump());
    let (changes, report) =
        restored(&backup, &options(&target, parts(&[part], Selection::default()), mode)).await;
    assert_eq!(report.failed, []);
    assert!(!changes.is_empty());
    assert_eq!(differing(&rows, &target.contents().await), Vec::<String>::new());
    assert_same_text(&definitions, &target.schema_dump());
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_come_back_alone_and_nothing_else_changes() {
    comes_back(
        Part::Schema,
        Mode::Clear,
        "DROP VIEW public.open_approvals; DROP INDEX public.messages_body; DROP POLICY \"Own messages\" ON public.messages",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_alone_and_nothing_else_changes() {
    comes_back(
        Part::Data,
        Mode::Clear,
        "DELETE FROM public.notifications; UPDATE public.inventory_items SET name = 'mine'",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_back_alone_and_nothing_else_changes() {
    comes_back(
        Part::Users,
        Mode::Clear,
        "UPDATE auth.users SET encrypted_password = 'x'; DELETE FROM auth.identities",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_come_back_alone_and_nothing_else_changes() {
    comes_back(
        Part::Policies,
        Mode::Clear,
        "DROP POLICY \"Owners upload\" ON storage.objects; ALTER TABLE public.messages DISABLE ROW LEVEL SECURITY",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_come_back_alone_and_nothing_else_changes() {
    comes_back(
        Part::Functions,
        Mode::Clear,
        "CREATE OR REPLACE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_come_back_alone_and_nothing_else_changes() {
    comes_back(
        Part::Triggers,
        Mode::Clear,
        "DROP TRIGGER projects_touch ON public.projects; DROP EVENT TRIGGER api_reload",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_storage_come_back_alone_and_nothing_else_changes() {
    comes_back(Part::Storage, Mode::Merge(OnConflict::Fail), "DELETE FROM storage.objects").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_come_back_alone_and_nothing_else_changes() {
    comes_back(Part::Migrations, Mode::Clear, "DROP TABLE supabase_migrations.schema_migrations").await;
}
