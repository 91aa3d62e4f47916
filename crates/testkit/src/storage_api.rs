//! Supabase's Storage API as far as backups and restores use it, over HTTP, with the rows in a real project: what it knows
//! of a file is in `storage.objects`, and the file itself lies under the row's version, as with `supabase/storage`.
//!
//! Compared with the real server (version of August 2026): the same statuses, also 400 with another one in the body; the same
//! treatment of ranges, of versions, of limits of buckets and of empty folder placeholders. It takes any name, where the real
//! one refuses what is not in its list of characters.

mod content;
mod faults;
mod handlers;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use basekeep_postgres::{Client, ConnectOptions, quote_literal};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use self::content::StoredContent;
pub use self::faults::StorageFault;

/// The key of the service role.
pub const STORAGE_KEY: &str = "service-role-key-of-tests";

/// A running service. Ends with this value.
pub struct StorageApi {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

/// A request, for tests to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageRequest {
    /// Such as `GET`.
    pub method: String,
    /// Decoded, without the query.
    pub path: String,
    /// The header `Range`.
    pub range: Option<String>,
}

struct Shared {
    database: tokio::sync::Mutex<Client>,
    /// By bucket, name and version.
    files: Mutex<HashMap<(String, String, String), StoredFile>>,
    uploads: Mutex<HashMap<String, Upload>>,
    faults: Mutex<Vec<StorageFault>>,
    requests: Mutex<Vec<StorageRequest>>,
    received: AtomicU64,
}

/// A file in the service's storage.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// Its bytes.
    pub content: StoredContent,
    /// Its entity tag, with quotes.
    pub etag: String,
    /// Its MIME type.
    pub mime: String,
    /// Its `Cache-Control`.
    pub cache_control: String,
}

/// A resumable upload that is not complete.
struct Upload {
    bucket: String,
    name: String,
    length: u64,
    data: Vec<u8>,
    mime: String,
    cache_control: String,
}

impl StorageApi {
    /// Serves the project whose superuser these options are.
    ///
    /// # Panics
    /// When the database cannot be reached.
    pub async fn start(database: &ConnectOptions) -> Self {
        let client = Client::connect(database, "storage").await.expect("the project can be reached");
        let shared = Arc::new(Shared {
            database: tokio::sync::Mutex::new(client),
            files: Mutex::default(),
            uploads: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            received: AtomicU64::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(serve(listener, shared.clone()));
        Self { shared, address, server }
    }

    /// Where it is, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}/storage/v1", self.address)
    }

    /// Puts a file there, with its row, as an upload of long ago.
    pub async fn put(&self, bucket: &str, name: &str, content: impl Into<StoredContent>, mime: &str) {
        let content = content.into();
        let file = StoredFile {
            etag: content.etag(),
            content,
            mime: mime.to_owned(),
            cache_control: "max-age=3600".into(),
        };
        self.shared.store(bucket, name, file).await;
    }

    /// Puts the files there whose rows the project has already. `content` says what each one holds.
    pub async fn fill(&self, content: impl Fn(&str, &str, u64) -> Vec<u8>) {
        let sql =
            "SELECT o.bucket_id, o.name, o.version, o.metadata->>'mimetype', o.metadata->>'cacheControl',
            o.metadata->>'eTag', o.metadata->>'size' FROM storage.objects o";
        let rows = self.shared.database.lock().await.query(sql).await.expect("rows");
        for row in rows.iter() {
            let text = |column| row.get(column).unwrap_or_default().to_owned();
            let size = text(6).parse().unwrap_or(0);
            let file = StoredFile {
                content: content(&text(0), &text(1), size).into(),
                etag: text(5),
                mime: text(3),
                cache_control: text(4),
            };
            lock(&self.shared.files).insert((text(0), text(1), text(2)), file);
        }
    }

    /// The present file of a name, if there is one.
    pub async fn file(&self, bucket: &str, name: &str) -> Option<StoredFile> {
        let row = self.shared.row(bucket, name).await?;
        lock(&self.shared.files).get(&(bucket.to_owned(), name.to_owned(), row.version)).cloned()
    }

    /// Loses the file and keeps the row.
    pub async fn lose(&self, bucket: &str, name: &str) {
        if let Some(row) = self.shared.row(bucket, name).await {
            lock(&self.shared.files).remove(&(bucket.to_owned(), name.to_owned(), row.version));
        }
    }

    /// From now on something goes wrong.
    pub fn fault(&self, fault: StorageFault) {
        lock(&self.shared.faults).push(fault);
    }

    /// Nothing goes wrong any more.
    pub fn no_faults(&self) {
        lock(&self.shared.faults).clear();
    }

    /// What was asked since the last call.
    pub fn take_requests(&self) -> Vec<StorageRequest> {
        std::mem::take(&mut lock(&self.shared.requests))
    }

    /// Bytes of files that were received in all.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }
}

impl Drop for StorageApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move { wire::connection(stream, &shared).await });
        while connections.try_join_next().is_some() {}
    }
}

/// What a row says of a file.
struct Row {
    id: String,
    version: String,
    metadata: String,
}

impl Shared {
    async fn row(&self, bucket: &str, name: &str) -> Option<Row> {
        let sql = format!(
            "SELECT o.id, o.version, o.metadata FROM storage.objects o WHERE o.bucket_id = {} AND o.name = {}",
            quote_literal(bucket),
            quote_literal(name)
        );
        let rows = self.database.lock().await.query(&sql).await.expect("a row");
        let row = rows.first()?;
        let text = |column| row.get(column).unwrap_or_default().to_owned();
        Some(Row { id: text(0), version: text(1), metadata: text(2) })
    }

    /// Stores a file under a new version and sets its row.
    async fn store(&self, bucket: &str, name: &str, file: StoredFile) -> Row {
        let size = file.content.len();
        let metadata = serde_json::json!({
            "eTag": file.etag, "size": size, "mimetype": file.mime, "cacheControl": file.cache_control,
            "lastModified": "2026-03-01T00:00:00.000Z", "contentLength": size, "httpStatusCode": 200,
        });
        let sql = format!(
            "INSERT INTO storage.objects AS o (bucket_id, name, version, metadata, user_metadata)
             VALUES ({}, {}, gen_random_uuid()::text, {}, '{{}}')
             ON CONFLICT (bucket_id, name) DO UPDATE SET version = excluded.version, metadata = excluded.metadata,
               user_metadata = excluded.user_metadata, owner = NULL, owner_id = NULL
             RETURNING o.id, o.version, o.metadata",
            quote_literal(bucket),
            quote_literal(name),
            quote_literal(&metadata.to_string())
        );
        let rows = self.database.lock().await.query(&sql).await.expect("the row is stored");
        let row = rows.first().expect("a row");
        let text = |column| row.get(column).unwrap_or_default().to_owned();
        let row = Row { id: text(0), version: text(1), metadata: text(2) };
        let mut files = lock(&self.files);
        files.retain(|(b, n, _), _| b != bucket || n != name);
        files.insert((bucket.to_owned(), name.to_owned(), row.version.clone()), file);
        row
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
