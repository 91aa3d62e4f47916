//! Files back to a service.

use std::sync::Arc;

use basekeep_engine::Interrupt;
use basekeep_engine::files::{FilesOptions, restore};
use basekeep_testkit::{StorageApi, StorageFault, StoredContent};

use super::{ODD, World, access, rows};
use crate::support::Events;

#[tokio::test]
async fn files_come_back_with_their_properties_and_their_rows_as_they_were() {
    let world = World::new().await;
    for name in ODD {
        let content =
            if name.ends_with("Placeholder") { String::new() } else { format!("content of {name}") };
        world.api.put("photos", name, content.as_str(), "text/html").await;
    }
    world
        .project
        .execute_as(
            "supabase_admin",
            "SET session_replication_role = replica;
             UPDATE storage.objects SET owner = md5(name)::uuid, owner_id = md5(name)::uuid::text,
               created_at = '2026-01-01', updated_at = '2026-01-02', user_metadata = jsonb_build_object('of', name)",
        )
        .await;
    let (_, snapshot) = world.backup().await;
    let (target, api) = world.restored_rows("target").await;
    let report = world.send(&snapshot, &target, &api).await;
    assert!(report.failed.is_empty() && report.warnings.is_empty(), "{report:?}");
    assert_eq!((report.sent, report.present, report.buckets), (20, 0, 0));
    assert_eq!(rows(&target).await, rows(&world.project).await);
    for name in ODD {
        let (one, two) =
            (world.api.file("photos", name).await.unwrap(), api.file("photos", name).await.unwrap());
        assert_eq!(
            (one.content, one.mime, one.cache_control),
            (two.content, two.mime, two.cache_control),
            "{name}"
        );
    }

    let before = api.received();
    let again = world.send(&snapshot, &target, &api).await;
    assert_eq!((again.sent, again.present, api.received()), (0, 20, before), "what is there stays");
    assert_eq!(rows(&target).await, rows(&world.project).await);

    // Without rows the files bring them along, and their buckets.
    let bare = world.platform.create_project("bare").await;
    let api = StorageApi::start(&bare.database().options()).await;
    let report = world.send(&snapshot, &bare, &api).await;
    assert_eq!((report.sent, report.buckets), (20, 2), "{report:?}");
    assert_eq!(rows(&bare).await, rows(&world.project).await);
    let buckets = "SELECT jsonb_agg(to_jsonb(b) ORDER BY b.id) FROM storage.buckets b";
    let expected = world.project.value_as("supabase_admin", buckets).await;
    assert_eq!(bare.value_as("supabase_admin", buckets).await, expected);
}

#[tokio::test]
async fn large_files_resume_where_they_were_cut_and_an_interrupted_restore_goes_on() {
    let world = World::new().await;
    let large = StoredContent::Pattern { size: 50 << 20, seed: 2 };
    world.api.put("docs", "large", large.clone(), "video/mp4").await;
    world.api.put("docs", "small", "small", "text/plain").await;
    world.api.put("docs", "also", "also", "text/plain").await;
    let (_, snapshot) = world.backup().await;
    let (target, api) = world.restored_rows("target").await;
    api.fault(StorageFault::cut_upload("PATCH /upload/resumable", 1_000_000, 3));
    api.fault(StorageFault::status("POST /object/docs/small", 400, None, u32::MAX));
    let report = world.send(&snapshot, &target, &api).await;
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert_eq!(report.failed[0].object, "storage file docs/small");
    assert_eq!(report.sent, 2);
    let file = api.file("docs", "large").await.unwrap();
    assert!(file.content == StoredContent::Bytes(large.part(0, 50 << 20)));
    assert_eq!((file.mime.as_str(), file.cache_control.as_str()), ("video/mp4", "max-age=3600"));
    assert_eq!(api.received(), (50 << 20) + 4 - 3_000_000, "what came before the cuts is not sent again");

    api.no_faults();
    let report = world.send(&snapshot, &target, &api).await;
    assert_eq!((report.sent, report.present, report.failed.len()), (1, 2, 0));
    // A large file has another entity tag in the target; everything else of its row is as it was.
    let without_etag =
        "SELECT jsonb_agg((to_jsonb(o) - 'version') || jsonb_build_object('metadata', o.metadata - 'eTag')
        ORDER BY o.name) FROM storage.objects o";
    let expected = world.project.value_as("supabase_admin", without_etag).await;
    assert_eq!(target.value_as("supabase_admin", without_etag).await, expected);
}

#[tokio::test]
async fn a_wrong_key_is_not_tried_for_every_file() {
    let world = World::new().await;
    for number in 0..40 {
        world.api.put("docs", &format!("{number}"), "x", "text/plain").await;
    }
    let (_, snapshot) = world.backup().await;
    let (target, api) = world.restored_rows("target").await;
    let options = FilesOptions { target: target.options_as("postgres"), access: access(&api, "wrong") };
    let observer = Arc::new(Events::default());
    let report =
        restore(&world.repository, &snapshot, &options, observer, &Interrupt::never()).await.unwrap();
    assert_eq!((report.sent, report.failed.len()), (0, 40));
    assert!(report.failed.iter().all(|failed| failed.reason.contains("Invalid Compact JWS")), "{report:?}");
    assert!(api.take_requests().len() <= 10);
}

#[tokio::test]
async fn what_a_bucket_does_not_take_any_more_is_told() {
    let world = World::new().await;
    world.api.put("docs", "page", "a page", "text/html").await;
    world.api.put("docs", "long", "0123456789", "text/plain").await;
    world.api.put("docs", "fine", "fine", "text/plain").await;
    world
        .project
        .execute_as("postgres", "UPDATE storage.buckets SET file_size_limit = 8, allowed_mime_types = '{text/plain}' WHERE id = 'docs'")
        .await;
    let (_, snapshot) = world.backup().await;
    let (target, api) = world.restored_rows("target").await;
    let report = world.send(&snapshot, &target, &api).await;
    assert_eq!(report.sent, 1);
    let mut told: Vec<String> =
        report.failed.iter().map(|failed| format!("{}: {}", failed.object, failed.reason)).collect();
    told.sort();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("storage file docs/long: the service answered 413"), "{told:?}");
    assert!(told[1].starts_with("storage file docs/page: the service answered 415"), "{told:?}");
}
