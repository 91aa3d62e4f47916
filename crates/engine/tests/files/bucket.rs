//! The same through S3: a real server, with its own ideas of what there is.

use std::sync::Arc;

use basekeep_engine::Interrupt;
use basekeep_engine::backup::Source;
use basekeep_engine::files::{Address, FilesAccess, FilesOptions, restore};
use basekeep_testkit::{Garage, GarageBucket};

use super::{ODD, World, count, impatient, missing};
use crate::support::Events;

fn access(bucket: &GarageBucket) -> FilesAccess {
    let address =
        Address::s3(&bucket.endpoint, &bucket.region, &bucket.key_id, bucket.secret.as_str().into());
    FilesAccess::Service { address, patience: impatient() }
}

#[tokio::test]
async fn files_go_through_s3_and_back_with_exact_names() {
    let garage = Garage::start(1, 1);
    let (first, second) = (garage.bucket(), garage.bucket());
    let world = World::new().await;
    let bucket = &first.name;
    world
        .project
        .execute_as(
            "postgres",
            &format!("INSERT INTO storage.buckets (id, name) VALUES ('{bucket}', '{bucket}')"),
        )
        .await;
    // The rows and contents come from a service, and are sent to S3 by a restore.
    // Garage takes a slash at the beginning of a key away.
    for name in ODD.iter().filter(|name| !name.starts_with('/')) {
        let content =
            if name.ends_with("Placeholder") { String::new() } else { format!("content of {name}") };
        world.api.put(bucket, name, content.as_str(), "text/html").await;
    }
    let large = basekeep_testkit::StoredContent::Pattern { size: 70 << 20, seed: 3 };
    world.api.put(bucket, "large", large, "video/mp4").await;
    let (_, snapshot) = world.backup().await;
    let expected = world.stored(&snapshot).await;
    let options = FilesOptions { target: world.project.options_as("postgres"), access: access(&first) };
    let observer = Arc::new(Events::default());
    let sent =
        restore(&world.repository, &snapshot, &options, observer.clone(), &Interrupt::never()).await.unwrap();
    assert!(sent.failed.iter().all(|failed| failed.object.starts_with("bucket ")), "{sent:?}");
    assert_eq!(sent.sent, 20);
    let again = restore(&world.repository, &snapshot, &options, observer, &Interrupt::never()).await.unwrap();
    // The large one went up in parts, so its entity tag says nothing; and S3 sets no rows that would.
    assert_eq!((again.sent, again.present), (1, 19), "{again:?}");

    let source = Source { files: access(&first), ..Source::new("app", world.project.options_as("postgres")) };
    world.project.execute_as("supabase_admin", "UPDATE storage.objects SET version = 'again'").await;
    let (report, snapshot) = world.backup_of(&source).await;
    assert_eq!(missing(&report), []);
    assert_eq!((count(&report, "files"), count(&report, "files_taken_over")), (20, 0));
    assert!(world.stored(&snapshot).await == expected);

    // A stray, and a row whose file is gone.
    world
        .project
        .execute_as(
            "supabase_admin",
            "SET storage.allow_delete_query = 'true'; DELETE FROM storage.objects WHERE name = 'a//b';
             UPDATE storage.objects SET name = 'renamed', version = 'other' WHERE name = 'a%2Fb'",
        )
        .await;
    let (report, _) = world.backup_of(&source).await;
    assert_eq!(missing(&report)[0].0, format!("storage files of 1 object ({bucket}/renamed)"));
    let strays =
        report.manifest.warnings.iter().find(|warning| warning.code == "files-without-rows").unwrap();
    assert!(
        strays.message.starts_with(&format!("2 files ({bucket}/a%2Fb, {bucket}/a//b)")),
        "{}",
        strays.message
    );

    // Refused: another bucket's key.
    let source = Source { files: access(&second), ..source };
    world.project.execute_as("supabase_admin", "UPDATE storage.objects SET version = 'third'").await;
    let (report, _) = world.backup_of(&source).await;
    assert!(missing(&report)[0].1.contains("403"), "{:?}", missing(&report));
}
