//! Parts of the sample project, in each mode: the target is afterwards what the plan said, and nothing else has changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use basekeep_engine::restore::{
    self, ChangeKind, Mode, OnConflict, RestoreOptions, RestorePlan, RestoreReport,
};
use basekeep_engine::selection::{Part, Selection};
use basekeep_engine::{ErrorKind, Interrupt};
use basekeep_testkit::{TestCluster, TestDatabase, load_sql, small_sample_project};

use crate::support::{Backup, Events, assert_same_text, backed_up, into, programs, restore};

async fn sample(major: u32) -> (TestDatabase, Backup) {
    let source = TestCluster::shared(major).create_database();
    source.load(&small_sample_project()).await;
    let backup = backed_up(&source).await;
    (source, backup)
}

/// A database that is like another one.
pub(super) fn copy_of(source: &TestDatabase) -> TestDatabase {
    source.cluster().create_database_as(
        &format!("{}_live_{}", source.name(), rand_name()),
        &format!("TEMPLATE \"{}\"", source.name()),
    )
}

fn rand_name() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

pub(super) fn options(target: &TestDatabase, selection: Selection, mode: Mode) -> RestoreOptions {
    let environment = Some(programs(target.cluster().server().major));
    RestoreOptions { selection, mode, environment, ..into(&target.options()) }
}

pub(super) fn tables(names: &[&str]) -> Selection {
    Selection { tables: names.iter().map(|name| (*name).to_owned()).collect(), ..Selection::default() }
}

pub(super) fn parts(parts: &[Part], selection: Selection) -> Selection {
    Selection { parts: parts.iter().copied().collect(), ..selection }
}

fn objects(names: &[&str]) -> Selection {
    Selection { objects: names.iter().map(|name| (*name).to_owned()).collect(), ..Selection::default() }
}

pub(super) async fn planned(backup: &Backup, options: &RestoreOptions) -> RestorePlan {
    restore::plan(&backup.repository, &backup.snapshot, options).await.unwrap()
}

/// Restores, and gives what was planned as well.
pub(super) async fn restored(
    backup: &Backup,
    options: &RestoreOptions,
) -> (BTreeMap<String, (ChangeKind, Option<u64>)>, RestoreReport) {
    let plan = planned(backup, options).await;
    let changes = plan.changes.iter().map(|c| (c.object.clone(), (c.action, c.rows))).collect();
    let report =
        restore::execute(&backup.repository, plan, Arc::new(Events::default()), &Interrupt::never()).await;
    (changes, report.unwrap())
}

/// The statements of a dump: tables in circles come in the order in which they were made.
fn statements(dump: &str) -> std::collections::BTreeSet<&str> {
    dump.split("\n--\n").collect()
}

/// What differs between two states of databases, by name.
pub(super) fn differing(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Vec<String> {
    a.keys()
        .chain(b.keys())
        .filter(|key| a.get(*key) != b.get(*key))
        .cloned()
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_goes_into_an_empty_database_with_what_it_needs_and_not_without() {
    let (source, backup) = sample(15).await;
    let target = source.cluster().create_database();
    let alone = options(&target, tables(&["public.documents"]), Mode::Empty);
    let error = restore(&backup, &alone).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.message().contains("table public.projects (for "), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("--with-dependencies")));
    assert_eq!(target.contents().await, BTreeMap::new());

    let selection = Selection { with_dependencies: true, ..tables(&["public.documents"]) };
    let all = options(&target, selection, Mode::Empty);
    let (changes, report) = restored(&backup, &all).await;
    assert_eq!(report.failed, []);
    assert_eq!(changes["rows of public.documents"], (ChangeKind::Load, Some(750)));
    let (ours, theirs) = (source.contents().await, target.contents().await);
    assert!(
        theirs.iter().all(|(name, content)| ours.get(name) == Some(content)),
        "{:?}",
        differing(&ours, &theirs)
    );
    assert!(
        theirs.contains_key("table public.organizations")
            && !theirs.contains_key("table public.inventory_items")
    );
    // Every table that is there is whole: its policies, keys and triggers, too.
    let only: Vec<String> = theirs
        .keys()
        .filter_map(|name| name.strip_prefix("table "))
        .map(|name| format!("--table={name}"))
        .collect();
    let arguments: Vec<&str> =
        std::iter::once("--schema-only").chain(only.iter().map(String::as_str)).collect();
    assert_eq!(statements(&source.pg_dump(&arguments)), statements(&target.pg_dump(&arguments)));

    // The same once more is refused, since it is there.
    let error = restore(&backup, &all).await.unwrap_err();
    assert!(error.message().contains("has what was selected already: table public.documents"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_take_the_place_of_others_with_what_refers_to_them_and_nothing_else_changes() {
    let (source, backup) = sample(15).await;
    let target = copy_of(&source);
    load_sql(
        &target,
        "SET session_replication_role = replica; UPDATE public.messages SET body = 'spoilt' WHERE id < 10;
         INSERT INTO public.messages (id, project_id, body) SELECT 900000, id, 'new' FROM public.projects LIMIT 1;
         REFRESH MATERIALIZED VIEW public.project_summary; REFRESH MATERIALIZED VIEW public.stage_summary;
         DELETE FROM public.notifications WHERE id % 2 = 0; UPDATE public.inventory_items SET name = 'mine'",
    )
    .await;
    let (before, definitions) = (target.contents().await, target.schema_dump());
    let selection =
        parts(&[Part::Data], tables(&["public.messages", "public.notifications", "public.organizations"]));
    let (changes, report) = restored(&backup, &options(&target, selection, Mode::Clear)).await;
    assert_eq!(report.failed, []);
    assert_eq!(changes["rows of public.messages"], (ChangeKind::ReplaceRows, Some(4000)));
    assert_eq!(changes["rows of public.organizations"], (ChangeKind::Skip, Some(200)));
    let (after, wanted) = (target.contents().await, source.contents().await);
    let summaries =
        ["table public.inventory_items", "table public.project_summary", "table public.stage_summary"];
    assert_eq!(differing(&after, &wanted), summaries);
    assert_eq!(differing(&before, &after), ["table public.messages", "table public.notifications"]);
    assert_same_text(&definitions, &target.schema_dump());
    // What it was before can be had again.
    let id = report.safety_snapshot.unwrap();
    let snapshot = basekeep_engine::listing::find(&backup.repository, &id, None).await.unwrap();
    let safety =
        Backup { snapshot, repository: backup.repository.clone(), manifest: backup.manifest.clone() };
    let again = source.cluster().create_database();
    assert_eq!(restore(&safety, &into(&again.options())).await.unwrap().failed, []);
    assert_eq!(again.contents().await, before);
    // It is not what `latest` means.
    let latest = basekeep_engine::listing::find(&backup.repository, "latest", None).await.unwrap();
    assert_eq!(latest.id, backup.snapshot.id);
}

async fn single_objects_are_made_and_replaced_in_a_live_database(major: u32) {
    let (source, backup) = sample(major).await;
    let target = copy_of(&source);
    let definitions = target.schema_dump();
    load_sql(
        &target,
        "DROP POLICY \"Owners upload\" ON storage.objects; DROP POLICY \"Own messages\" ON public.messages;
         CREATE POLICY \"Own messages\" ON public.messages FOR INSERT WITH CHECK (false);
         CREATE OR REPLACE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         DROP INDEX public.messages_body; ALTER VIEW public.open_approvals RESET (security_barrier)",
    )
    .await;
    let rows = target.contents().await;
    let selection = objects(&["policy:storage.objects/Owners upload", "index:public.messages_body"]);
    let (changes, report) = restored(&backup, &options(&target, selection, Mode::Empty)).await;
    assert_eq!(report.failed, []);
    assert_eq!(changes.len(), 2, "{changes:?}");
    let selection =
        objects(&["policy:public.messages/*", "function:public.touch", "view:public.open_approvals"]);
    let error = restore(&backup, &options(&target, selection.clone(), Mode::Empty)).await.unwrap_err();
    assert!(
        error.message().contains("policy \"Messages of visible projects\" on public.messages"),
        "{error}"
    );
    let (changes, report) = restored(&backup, &options(&target, selection, Mode::Clear)).await;
    assert_eq!(report.failed, []);
    assert_eq!(changes["policy \"Own messages\" on public.messages"], (ChangeKind::Replace, None));
    assert_eq!(
        changes["policy \"Messages of visible projects\" on public.messages"],
        (ChangeKind::Skip, None)
    );
    assert_eq!(changes["function public.touch()"], (ChangeKind::Replace, None));
    assert_eq!(changes["view public.open_approvals"], (ChangeKind::Replace, None));
    assert_same_text(&definitions, &target.schema_dump());
    assert_eq!(target.contents().await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_other_columns_is_made_anew_in_one_transaction_or_refused() {
    let (source, backup) = sample(15).await;
    let target = copy_of(&source);
    let definitions = target.schema_dump();
    load_sql(
        &target,
        "ALTER TABLE public.inventory_items DROP COLUMN weight_kg, ADD COLUMN colour text; DELETE FROM public.purchase_orders WHERE id > 10",
    )
    .await;
    // Foreign keys of purchase_orders hang on it.
    let (before, changed) = (target.contents().await, target.schema_dump());
    let error = restore(&backup, &options(&target, tables(&["public.inventory_items"]), Mode::Clear))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.message().contains("purchase_orders_sku_fkey"), "{error}");
    assert_eq!(target.contents().await, before);
    assert_same_text(&changed, &target.schema_dump());

    let selection = tables(&["public.inventory_items", "public.purchase_orders"]);
    let (changes, report) = restored(&backup, &options(&target, selection, Mode::Clear)).await;
    assert_eq!(report.failed, []);
    assert_eq!(changes["table public.inventory_items"], (ChangeKind::Replace, None));
    assert_eq!(changes["table public.purchase_orders"], (ChangeKind::Skip, None));
    assert_same_text(&definitions, &target.schema_dump());
    assert_eq!(differing(&source.contents().await, &target.contents().await), Vec::<String>::new());
}

async fn tables_that_refer_to_each_other_and_to_themselves_are_merged_together(major: u32) {
    let (source, backup) = sample(major).await;
    let target = copy_of(&source);
    load_sql(
        &target,
        "SET session_replication_role = replica; DELETE FROM public.messages WHERE id > 3000; DELETE FROM public.approvals WHERE previous_id IS NOT NULL;
         UPDATE public.users SET display_name = 'other' WHERE manager_id IS NULL; DELETE FROM public.users WHERE last_message_id > 3000;
         DELETE FROM public.documents WHERE revision > 700; ALTER TABLE public.documents DROP CONSTRAINT documents_pkey",
    )
    .await;
    let before = target.contents().await;
    let selection = parts(
        &[Part::Data],
        tables(&["public.messages", "public.approvals", "public.users", "public.documents"]),
    );
    // A part of a circle alone would leave references that lead nowhere.
    let one = parts(&[Part::Data], tables(&["public.approvals"]));
    let report = restore(&backup, &options(&target, one, Mode::Merge(OnConflict::Keep))).await.unwrap();
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    assert!(report.failed[0].reason.contains("that are not there"), "{:?}", report.failed);
    assert_eq!(target.contents().await, before);

    let keep = options(&target, selection, Mode::Merge(OnConflict::Keep));
    let (changes, report) = restored(&backup, &keep).await;
    assert_eq!(report.failed, []);
    assert_eq!(changes["rows of public.messages"], (ChangeKind::Merge, Some(4000)));
    let of = |name: &str| {
        report.merged.iter().find(|table| table.object == format!("rows of public.{name}")).unwrap().clone()
    };
    assert_eq!((of("messages").inserted, of("messages").unchanged), (1000, 3000));
    // By a unique key that is not the primary one.
    assert_eq!((of("documents").inserted, of("documents").unchanged), (50, 700));
    assert_eq!((of("users").conflicting, of("users").updated), (10, 0));
    assert_eq!(of("approvals").inserted, 499);
    assert_eq!(differing(&source.contents().await, &target.contents().await), ["table public.users"]);

    let replace = RestoreOptions { mode: Mode::Merge(OnConflict::Replace), ..keep };
    let report = restore(&backup, &replace).await.unwrap();
    assert_eq!(report.failed, []);
    assert_eq!((report.rows, report.conflicting), (10, 10), "{report:?}");
    assert_eq!(differing(&source.contents().await, &target.contents().await), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_refer_to_each_other_and_to_themselves_are_merged_together_on_15() {
    tables_that_refer_to_each_other_and_to_themselves_are_merged_together(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_refer_to_each_other_and_to_themselves_are_merged_together_on_18() {
    tables_that_refer_to_each_other_and_to_themselves_are_merged_together(18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_objects_are_made_and_replaced_in_a_live_database_on_15() {
    single_objects_are_made_and_replaced_in_a_live_database(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_objects_are_made_and_replaced_in_a_live_database_on_18() {
    single_objects_are_made_and_replaced_in_a_live_database(18).await;
}
