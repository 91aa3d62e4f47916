//! What goes wrong on the way from the service.

use std::sync::Arc;

use basekeep_engine::files::FilesAccess;
use basekeep_repository::{InitOptions, Password, Repository};
use basekeep_store::Local;
use basekeep_testkit::{StorageFault, StoredContent};

use super::{World, count, missing};

#[tokio::test]
async fn cut_connections_busy_services_and_short_outages_cost_nothing() {
    let world = World::new().await;
    let large = StoredContent::Pattern { size: 5 << 20, seed: 1 };
    world.api.put("docs", "large", large.clone(), "video/mp4").await;
    for number in 0..20 {
        world
            .api
            .put("docs", &format!("n{number}"), format!("content {number}").as_str(), "text/plain")
            .await;
    }
    world.api.fault(StorageFault::cut("GET /object/authenticated/docs/large", 1_500_000, 3));
    world.api.fault(StorageFault::status("GET /object/authenticated/docs/n1", 429, Some(0), 4));
    world.api.fault(StorageFault::status("GET /object/authenticated/docs/n2", 503, None, 3));
    world.api.fault(StorageFault::status("GET /object/authenticated/docs/n3", 500, None, 2));
    world.api.fault(StorageFault::status("POST /object/list-v2", 502, None, 1));
    let (report, snapshot) = world.backup().await;
    assert_eq!(missing(&report), []);
    assert_eq!(count(&report, "files"), 21);
    assert_eq!(world.stored(&snapshot).await["docs/large"], large.part(0, 5 << 20));
    let ranges: Vec<String> = world
        .api
        .take_requests()
        .into_iter()
        .filter(|request| request.path.ends_with("/large"))
        .filter_map(|request| request.range)
        .collect();
    assert_eq!(ranges, ["bytes=1500000-", "bytes=3000000-", "bytes=4500000-"], "it goes on where it was cut");
}

#[tokio::test]
async fn one_file_that_cannot_be_had_does_not_cost_the_others() {
    let world = World::new().await;
    for name in ["a", "b", "c"] {
        world.api.put("docs", name, name, "text/plain").await;
    }
    world.api.fault(StorageFault::status("GET /object/authenticated/docs/b", 500, None, u32::MAX));
    let (report, snapshot) = world.backup().await;
    let told = missing(&report);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "storage files of 1 object (docs/b)");
    assert!(told[0].1.contains("500"), "{told:?}");
    assert_eq!(world.stored(&snapshot).await.len(), 2);

    // The next backup has it, and takes the others over.
    world.api.no_faults();
    let (report, snapshot) = world.backup().await;
    assert_eq!((missing(&report), count(&report, "files_taken_over")), (vec![], 2));
    assert_eq!(world.stored(&snapshot).await["docs/b"], b"b");
}

#[tokio::test]
async fn a_service_that_is_gone_is_not_asked_for_every_file() {
    let world = World::new().await;
    for number in 0..100 {
        world.api.put("docs", &format!("{number}"), "x", "text/plain").await;
    }
    world.api.fault(StorageFault::cut_upload("GET /object/authenticated/", 0, u32::MAX));
    let mut source = world.source();
    if let FilesAccess::Service { patience, .. } = &mut source.files {
        patience.within = std::time::Duration::from_millis(50);
    }
    let (report, _) = world.backup_of(&source).await;
    let left_out: u64 = missing(&report).len() as u64;
    assert!((1..=20).contains(&left_out));
    assert_eq!(count(&report, "files"), 0);
    assert!(world.api.take_requests().len() < 200);
}

/// The largest resident size of this process so far, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// The writer holds at most 64 MiB; the service's side of the connection is in this process too.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_larger_than_the_memory_bound_is_streamed() {
    const SIZE: u64 = 240 << 20;
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new().await;
    let store = Arc::new(Local::new(folder.path().join("repository")));
    world.repository =
        Repository::init(store, &Password::from("test"), InitOptions::default()).await.unwrap();
    (world.writer.in_flight, world.writer.pack_size) = (64 << 20, 16 << 20);
    world.api.put("docs", "large", StoredContent::Pattern { size: SIZE, seed: 4 }, "video/mp4").await;
    world.api.fault(StorageFault::cut("GET /object/authenticated/docs/large", 60 << 20, 2));
    let before = peak();
    let (report, _) = world.backup().await;
    assert_eq!(missing(&report), []);
    assert_eq!(count(&report, "file_bytes"), SIZE);
    let grown = peak() - before;
    assert!(grown < 180 << 20, "{} MiB of memory for a file of {} MiB", grown >> 20, SIZE >> 20);
}
