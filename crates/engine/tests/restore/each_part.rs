//! Each part of the sample project, spoilt in a copy of it and put back alone: the copy is afterwards as it was.

use basekeep_engine::ErrorKind;
use basekeep_engine::restore::{Mode, OnConflict, RestoreOptions};
use basekeep_engine::selection::{Part, Selection};
use basekeep_testkit::{TestCluster, load_sql, small_sample_project};

use super::parts::{copy_of, differing, options, parts, restored};
use crate::support::{assert_same_text, backed_up, restore};

/// Spoils a copy of the sample project, puts one part of it back, and looks at everything.
async fn comes_back(major: u32, part: Part, mode: Mode, spoil: &str) {
    let source = TestCluster::shared(major).create_database();
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
        15, Part::Schema,
        Mode::Clear,
        "DROP VIEW public.open_approvals; DROP INDEX public.messages_body; DROP POLICY \"Own messages\" ON public.messages",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_alone_and_nothing_else_changes() {
    comes_back(
        15,
        Part::Data,
        Mode::Clear,
        "DELETE FROM public.notifications; UPDATE public.inventory_items SET name = 'mine'",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_back_alone_and_nothing_else_changes() {
    comes_back(
        15,
        Part::Users,
        Mode::Clear,
        "UPDATE auth.users SET encrypted_password = 'x'; DELETE FROM auth.identities",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_come_back_alone_and_nothing_else_changes() {
    comes_back(
        15, Part::Policies,
        Mode::Clear,
        "DROP POLICY \"Owners upload\" ON storage.objects; ALTER TABLE public.messages DISABLE ROW LEVEL SECURITY",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_come_back_alone_and_nothing_else_changes() {
    comes_back(
        15, Part::Functions,
        Mode::Clear,
        "CREATE OR REPLACE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_come_back_alone_and_nothing_else_changes() {
    comes_back(
        15,
        Part::Triggers,
        Mode::Clear,
        "DROP TRIGGER projects_touch ON public.projects; DROP EVENT TRIGGER api_reload",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_storage_come_back_alone_and_nothing_else_changes() {
    comes_back(15, Part::Storage, Mode::Merge(OnConflict::Fail), "DELETE FROM storage.objects").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_come_back_alone_and_nothing_else_changes() {
    comes_back(15, Part::Migrations, Mode::Clear, "DROP TABLE supabase_migrations.schema_migrations").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_come_back_alone_on_18() {
    let spoil = "DROP VIEW public.open_approvals; DROP INDEX public.messages_body; DROP POLICY \"Own messages\" ON public.messages;
        ALTER TABLE public.documents DROP CONSTRAINT documents_pkey";
    comes_back(18, Part::Schema, Mode::Clear, spoil).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_alone_on_17() {
    let spoil = "DELETE FROM public.notifications; UPDATE public.inventory_items SET name = 'mine'; DELETE FROM public.activity_log WHERE id % 2 = 0";
    comes_back(17, Part::Data, Mode::Clear, spoil).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_back_alone_on_16() {
    let spoil = "UPDATE auth.users SET encrypted_password = 'x'; DELETE FROM auth.identities";
    comes_back(16, Part::Users, Mode::Merge(OnConflict::Replace), spoil).await;
}

/// Tables that nothing connects, each to be made anew: their grants are ordered, and they must not wait for each other.
const OTHERWISE: &str = "ALTER TABLE public.inventory_items DROP CONSTRAINT inventory_items_quantity_check; ALTER TABLE public.messages ALTER COLUMN body DROP NOT NULL;
    ALTER TABLE public.documents ADD COLUMN own text";

#[tokio::test(flavor = "multi_thread")]
async fn several_tables_are_made_anew_with_their_rows_on_18() {
    let source = TestCluster::shared(18).create_database();
    source.load(&small_sample_project()).await;
    let backup = backed_up(&source).await;
    let target = copy_of(&source);
    load_sql(&target, OTHERWISE).await;
    let both = parts(&[Part::Schema, Part::Data], Selection::default());
    let (_, report) = restored(&backup, &options(&target, both, Mode::Clear)).await;
    assert_eq!(report.failed, []);
    assert_eq!(differing(&source.contents().await, &target.contents().await), Vec::<String>::new());
    let sorted = |database: &basekeep_testkit::TestDatabase| super::names::sorted(&database.schema_dump());
    assert_same_text(&sorted(&source), &sorted(&target));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_not_made_anew_without_its_rows() {
    let source = TestCluster::shared(15).create_database();
    source.load(&small_sample_project()).await;
    let backup = backed_up(&source).await;
    let target = copy_of(&source);
    load_sql(&target, OTHERWISE).await;
    let (rows, definitions) = (target.contents().await, target.schema_dump());
    let only = parts(&[Part::Schema], Selection::default());
    let some = RestoreOptions {
        conditions: vec!["public.documents: revision < 10".parse().unwrap()],
        ..options(&target, super::parts::tables(&["public.documents"]), Mode::Clear)
    };
    for refused in [options(&target, only, Mode::Clear), some] {
        let error = restore(&backup, &refused).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.message().contains("table public.documents"), "{error}");
        assert!(error.message().contains("rows that were not selected"), "{error}");
    }
    assert_eq!(target.contents().await, rows);
    assert_same_text(&definitions, &target.schema_dump());
}
