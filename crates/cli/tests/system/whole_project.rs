//! A whole project, storage files included, goes into a repository with one command and comes back with one.

use basekeep_testkit::supabase::{Platform, Project};
use basekeep_testkit::{STORAGE_KEY, StorageApi, StoredContent, server};

use crate::program::Bench;

/// What a storage service knows of each object; its rows say the rest.
const OBJECTS: &str = "SELECT string_agg(concat_ws('|', bucket_id, name, owner, owner_id, metadata ->> 'size',
    metadata ->> 'mimetype', metadata ->> 'cacheControl', user_metadata, created_at, updated_at), ';' ORDER BY bucket_id, name)
    FROM storage.objects";

async fn objects(project: &Project) -> String {
    project.value_as("supabase_admin", OBJECTS).await.unwrap()
}

async fn names(project: &Project) -> Vec<(String, String)> {
    let mut client = project.client_as("supabase_admin").await;
    let rows = client.query("SELECT bucket_id, name FROM storage.objects").await.unwrap();
    rows.iter().map(|row| (row.get(0).unwrap().to_owned(), row.get(1).unwrap().to_owned())).collect()
}

fn bytes(content: &StoredContent) -> Vec<u8> {
    content.part(0, usize::try_from(content.len()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_and_its_files_come_back_with_one_command() {
    let (from, to) = (Platform::start(server(15)).await, Platform::start(server(17)).await);
    let (project, fresh) = (from.create_sample_project("app").await, to.create_project("app").await);
    let service = StorageApi::start(&project.options_as("supabase_admin")).await;
    service
        .fill(|bucket, name, size| {
            let text = format!("{bucket} {name} ");
            text.bytes().cycle().take(usize::try_from(size).unwrap()).collect()
        })
        .await;
    let target = StorageApi::start(&fresh.options_as("supabase_admin")).await;
    let bench = Bench::new();
    let run = |api: &StorageApi, args: &[&str]| {
        let mut command = bench.command(args);
        command
            .env("SUPABASE_URL", api.url().trim_end_matches("/storage/v1"))
            .env("SUPABASE_SERVICE_ROLE_KEY", STORAGE_KEY);
        crate::program::Ran::of(command.output().unwrap())
    };

    let ran = run(&service, &["backup", &project.url_as("supabase_admin"), "--name", "source"]);
    assert!(matches!(ran.code, Some(0 | 3)), "{}", ran.stderr);
    assert!(!ran.stderr.contains("storage files of"), "{}", ran.stderr);
    let ran =
        run(&target, &["restore", "--to", &fresh.url(), "--yes", "--storage-url", &target.url()]).expect(0);
    assert!(ran.stdout.contains("sent 8 files of storage"), "{}", ran.stdout);

    assert_eq!(objects(&project).await, objects(&fresh).await);
    let files = names(&project).await;
    assert!(files.len() >= 8, "{files:?}");
    let stock = bench.restic_restore().join("storage");
    for (bucket, name) in files {
        let (Some(there), Some(back)) =
            (service.file(&bucket, &name).await, target.file(&bucket, &name).await)
        else {
            assert!(service.file(&bucket, &name).await.is_none(), "{bucket}/{name} is gone");
            continue;
        };
        assert_eq!(bytes(&there.content), bytes(&back.content), "{bucket}/{name}");
        assert_eq!((there.mime, there.cache_control), (back.mime, back.cache_control), "{bucket}/{name}");
        if !name.contains('%') {
            let stored = std::fs::read(stock.join(&bucket).join(&name)).unwrap();
            assert_eq!(stored, bytes(&there.content), "stock restic: {bucket}/{name}");
        }
    }
}
