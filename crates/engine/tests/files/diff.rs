//! What `diff` tells of files: storage, edge functions, migrations; and of the vault, cron jobs and buckets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use basekeep_engine::backup::Source;
use basekeep_engine::diff::{self, Change, Items, Options, Tables, Value};
use basekeep_engine::{Interrupt, Observer, Silent};

use super::World;

fn write(root: &Path, path: &str, text: &str) {
    let file = root.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

fn names(items: &Items) -> Vec<(&str, Change)> {
    items.shown.iter().map(|item| (item.name.as_str(), item.change)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_buckets_and_the_projects_folder_are_told_by_name_and_content() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    for name in ["kept", "replaced", "deleted"] {
        world.api.put("docs", name, name, "text/plain").await;
    }
    write(folder.path(), "supabase/functions/hello/index.ts", "first");
    write(folder.path(), "supabase/functions/hello/same.ts", "same");
    write(folder.path(), "supabase/functions/gone/index.ts", "gone");
    write(folder.path(), "supabase/migrations/1_first.sql", "SELECT 1;");
    let source = Source { project: Some(folder.path().to_owned()), ..world.source() };
    let (_, first) = world.backup_of(&source).await;

    world.api.put("docs", "replaced", "REPLACED", "text/plain").await;
    world.api.put("photos", "new", "new", "image/png").await;
    world
        .project
        .execute_as(
            "supabase_admin",
            "SET session_replication_role = replica; DELETE FROM storage.objects WHERE name = 'deleted';
             UPDATE storage.buckets SET public = true WHERE id = 'docs'",
        )
        .await;
    write(folder.path(), "supabase/functions/hello/index.ts", "second");
    std::fs::remove_dir_all(folder.path().join("supabase/functions/gone")).unwrap();
    write(folder.path(), "supabase/migrations/2_second.sql", "SELECT 2;");
    let (_, second) = world.backup_of(&source).await;

    let options = Options { tables: Tables::Nothing, ..Options::default() };
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    let never = Interrupt::never();
    let diff =
        diff::snapshots(&world.repository, &first, &second, &options, &observer, &never).await.unwrap();
    let items: BTreeMap<&str, &Items> = diff.items.iter().map(|items| (items.kind, items)).collect();
    use Change::{Added, Changed, Removed};
    assert_eq!(
        names(items["storage file"]),
        [("docs/deleted", Removed), ("docs/replaced", Changed), ("photos/new", Added)]
    );
    assert_eq!(names(items["bucket"]), [("docs", Changed)]);
    assert_eq!(names(items["edge function file"]), [("gone/index.ts", Removed), ("hello/index.ts", Changed)]);
    assert_eq!(names(items["migration"]), [("2_second.sql", Added)]);
    let public = &items["bucket"].shown[0].fields[0];
    assert_eq!((public.name.as_str(), &public.new), ("public", &Some(Value::Shown("true".into()))));
    assert_eq!(diff.objects, []);
    let known = ["storage file", "bucket", "edge function file", "migration"];
    assert!(items.keys().all(|kind| known.contains(kind)), "{:?}", items.keys());
    let few = Options { limit: 1, ..options };
    let diff = diff::snapshots(&world.repository, &first, &second, &few, &observer, &never).await.unwrap();
    let files = diff.items.iter().find(|items| items.kind == "storage file").unwrap();
    assert_eq!((files.count(), files.shown.len()), (3, 1));
}
