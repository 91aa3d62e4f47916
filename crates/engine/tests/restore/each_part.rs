//! Each part of the sample project, spoilt in a copy of it and put back alone: the copy is afterwards as it was.

use basekeep_engine::restore::{Mode, OnConflict};
use basekeep_engine::selection::{Part, Selection};
use basekeep_testkit::{SAMPLE_PROJECT, TestCluster, load_sql};

use super::parts::{copy_of, differing, options, parts, restored};
use crate::support::{assert_same_text, backed_up};

const SPOILT: [(Part, &str); 8] = [
    (
        Part::Schema,
        "DROP VIEW public.open_approvals; DROP INDEX public.messages_body; DROP POLICY \"Own messages\" ON public.messages",
    ),
    (Part::Data, "DELETE FROM public.notifications; UPDATE public.inventory_items SET name = 'mine'"),
    (Part::Users, "UPDATE auth.users SET encrypted_password = 'x'; DELETE FROM auth.identities"),
    (
        Part::Policies,
        "DROP POLICY \"Owners upload\" ON storage.objects; ALTER TABLE public.messages DISABLE ROW LEVEL SECURITY",
    ),
    (
        Part::Functions,
        "CREATE OR REPLACE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    ),
    (Part::Triggers, "DROP TRIGGER projects_touch ON public.projects; DROP EVENT TRIGGER api_reload"),
    (Part::Storage, "DELETE FROM storage.objects"),
    (Part::Migrations, "DROP TABLE supabase_migrations.schema_migrations"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_part_comes_back_alone_and_nothing_else_changes() {
    let source = TestCluster::shared(15).create_database();
    source.load(SAMPLE_PROJECT).await;
    let backup = backed_up(&source).await;
    let (rows, definitions) = (source.contents().await, source.schema_dump());
    for (part, spoil) in SPOILT {
        let target = copy_of(&source);
        load_sql(&target, &format!("SET session_replication_role = replica; {spoil}")).await;
        let hurt = differing(&rows, &target.contents().await);
        assert!(!hurt.is_empty() || definitions != target.schema_dump(), "{part}");
        // Rows that are gone and others that stayed: both ways end the same.
        let merges = part == Part::Storage;
        let mode = if merges { Mode::Merge(OnConflict::Fail) } else { Mode::Clear };
        let (changes, report) =
            restored(&backup, &options(&target, parts(&[part], Selection::default()), mode)).await;
        assert_eq!(report.failed, [], "{part}");
        assert!(!changes.is_empty(), "{part}");
        assert_eq!(differing(&rows, &target.contents().await), Vec::<String>::new(), "{part}");
        assert_same_text(&definitions, &target.schema_dump());
    }
}
