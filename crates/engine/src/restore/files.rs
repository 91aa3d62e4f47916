//! Storage files back to a service, after their rows are back.
//!
//! Each file goes up under its own name, with its MIME type and cache control; what the upload set anew in its row (owner,
//! times, metadata) is then set as it was. A file that is there already stays, so a restore that was interrupted goes on
//! where it stopped.

mod send;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use basekeep_postgres::{Client, ConnectOptions};
use basekeep_repository::{Node, NodeKind, Repository, Snapshot};
use basekeep_supabase::storage::index::{self, Line, Object, Reader};
use basekeep_supabase::storage::{Files, NewBucket, rows};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;

use self::send::{Outcome, Sender};
use super::{APPLICATION_NAME, FailedObject, lock};
use crate::event::begin;
use crate::files::{FilesAccess, Folders};
use crate::words::{bytes, counted};
use crate::{EngineError, Event, Interrupt, Observer, Progress, ResultExt, listing};

/// Files that are sent at once.
const AT_ONCE: usize = 8;
/// Rows that are looked up, and set, with one statement.
const ROWS: usize = 100;
/// Failures that are told one by one.
const TOLD: usize = 1000;

/// Where the files go.
#[derive(Debug, Clone)]
pub struct FilesOptions {
    /// The database that has their rows.
    pub target: ConnectOptions,
    /// The service.
    pub access: FilesAccess,
}

/// What became of the files.
#[derive(Debug, Clone, Default)]
pub struct FilesReport {
    /// Files that were sent.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were there already.
    pub present: u64,
    /// Buckets that were created.
    pub buckets: u64,
    /// What did not come back. Not empty means exit code 3.
    pub failed: Vec<FailedObject>,
    /// What a reader should know.
    pub warnings: Vec<String>,
    /// Wall time.
    pub elapsed: Duration,
}

/// Whether the snapshot has storage files.
pub async fn present(repository: &Repository, snapshot: &Snapshot) -> Result<bool, EngineError> {
    repository.load_index().await.doing(|| "read the repository's index")?;
    let path = format!("{}/{}", listing::folder(snapshot), index::PATH);
    let node = repository.node_at(snapshot, &path).await.doing(|| format!("read {path}"))?;
    Ok(node.is_some_and(|node| node.kind == NodeKind::File && node.size > 0))
}

/// Sends a snapshot's files. One that cannot be sent is in the report; an error means that the work ended early.
///
/// Errors: kind `Usage` without a service to send them to; the target or the repository fails.
pub async fn restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &FilesOptions,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<FilesReport, EngineError> {
    let files = service(&options.access)?;
    let started = Instant::now();
    let lock = lock(repository).await?;
    let result = interrupt.guard(run(repository, snapshot, options, &files, &observer)).await;
    // An unreleased lock becomes stale by itself.
    let _ = lock.release().await;
    let mut report = result?;
    report.elapsed = started.elapsed();
    Ok(report)
}

fn service(access: &FilesAccess) -> Result<Files, EngineError> {
    let missing = |reason: &str| {
        EngineError::usage(format!("the storage files cannot be sent: {reason}")).hint(
            "set SUPABASE_SERVICE_ROLE_KEY and give --storage-url, or name a source whose storage is configured; \
             --no-files leaves them out",
        )
    };
    match access {
        FilesAccess::Unknown => Err(missing("there is no key for the target's storage")),
        FilesAccess::Skip => Err(missing("the configuration leaves them out")),
        FilesAccess::Unavailable { reason } => Err(missing(reason)),
        FilesAccess::Service { address, patience } => {
            Files::new(address.clone(), *patience).map_err(|error| missing(&error.to_string()))
        }
    }
}

async fn run(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &FilesOptions,
    files: &Files,
    observer: &Arc<dyn Observer>,
) -> Result<FilesReport, EngineError> {
    let reader = Reader::open(repository, snapshot, listing::folder(snapshot)).await;
    let Some(reader) = reader.doing(|| "read the index of files")? else { return Ok(FilesReport::default()) };
    let step = begin(observer, "files");
    let connecting = || format!("connect to {}", options.target.redacted());
    let mut client = Client::connect(&options.target, APPLICATION_NAME).await.doing(connecting)?;
    client.execute("SET search_path = ''; SET TimeZone = 'UTC'").await.doing(|| "prepare a session")?;
    let mut report = FilesReport::default();
    if !rows::exist(&mut client).await.doing(|| "look for storage tables")? {
        fail(&mut report, observer, "storage files", "the target has no tables of storage".into());
        return Ok(report);
    }
    if !rows::rest_triggers(&mut client).await.doing(|| "let triggers rest")? {
        let message = "the role may not set session_replication_role: triggers on storage.objects fire, and updated_at is now";
        warn(&mut report, observer, "triggers-fire", message.into());
    }
    let mut work = Work {
        reader,
        folders: Folders::new(repository, snapshot),
        sender: Sender::new(files, repository),
        client,
        observer,
        report,
        without_file: 0,
        set: Vec::new(),
        first: None,
    };
    let buckets = work.read_buckets().await?;
    work.create_buckets(files, &buckets).await?;
    work.send_all().await?;
    work.set_rows().await?;
    let Work { mut report, client, without_file, .. } = work;
    client.close().await;
    if without_file > 0 {
        let objects = counted(without_file, "object", "objects");
        let message = format!("{objects} without a file in the snapshot; the manifest says why");
        warn(&mut report, observer, "no-file-in-snapshot", message);
    }
    let mut detail = format!("{}, {}", counted(report.sent, "file", "files"), bytes(report.bytes));
    if report.present > 0 {
        detail += &format!(", {} there already", counted(report.present, "file", "files"));
    }
    step.end(detail);
    Ok(report)
}

struct Work<'a> {
    reader: Reader,
    folders: Folders,
    sender: Sender<'a>,
    client: Client,
    observer: &'a Arc<dyn Observer>,
    report: FilesReport,
    /// Objects whose file is not in the snapshot.
    without_file: u64,
    /// Rows whose files are there.
    set: Vec<Value>,
    /// The first object, which was read to find the end of the buckets.
    first: Option<Object>,
}

impl Work<'_> {
    async fn read_buckets(&mut self) -> Result<Vec<Value>, EngineError> {
        let mut buckets = Vec::new();
        loop {
            match self.reader.next().await.doing(|| "read the index of files")? {
                Some(Line::Bucket(bucket)) => buckets.push(bucket),
                Some(Line::Object(object)) => {
                    self.first = Some(*object);
                    return Ok(buckets);
                }
                Some(Line::Header { .. }) => {}
                None => return Ok(buckets),
            }
        }
    }

    async fn create_buckets(&mut self, files: &Files, buckets: &[Value]) -> Result<(), EngineError> {
        let here = rows::bucket_ids(&mut self.client).await.doing(|| "read storage.buckets")?;
        let mut created = Vec::new();
        for bucket in buckets {
            let text = |key: &str| bucket.get(key).and_then(Value::as_str).map(str::to_owned);
            let Some(id) = text("id").filter(|id| !here.contains(id)) else { continue };
            let strings = |value: &Value| {
                value.as_array().map(|all| all.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
            };
            let new = NewBucket {
                name: text("name").unwrap_or_else(|| id.clone()),
                public: bucket.get("public").and_then(Value::as_bool).unwrap_or_default(),
                file_size_limit: bucket.get("file_size_limit").and_then(Value::as_u64),
                allowed_mime_types: bucket.get("allowed_mime_types").and_then(strings),
                id,
            };
            match files.create_bucket(&new).await {
                Ok(()) => created.push(bucket.clone()),
                Err(error) => {
                    let object = format!("bucket {}", new.id);
                    fail(&mut self.report, self.observer, &object, error.to_string());
                }
            }
        }
        self.report.buckets = created.len() as u64;
        rows::set_buckets(&mut self.client, &created).await.doing(|| "set the rows of buckets")
    }

    async fn send_all(&mut self) -> Result<(), EngineError> {
        let sender = self.sender.clone();
        let mut waiting: VecDeque<(Object, Node, Option<Object>)> = VecDeque::new();
        let mut running = FuturesUnordered::new();
        let mut more = true;
        loop {
            while running.len() < AT_ONCE {
                if waiting.is_empty() && more {
                    (waiting, more) = self.next_objects().await?;
                }
                let Some((object, node, there)) = waiting.pop_front() else { break };
                let sender = sender.clone();
                running.push(async move {
                    let outcome = sender.send(&object, node, there.as_ref()).await;
                    (object, outcome)
                });
            }
            let Some((object, outcome)) = running.next().await else {
                if more {
                    continue;
                }
                return Ok(());
            };
            self.ended(object, outcome?);
            if self.set.len() >= ROWS {
                self.set_rows().await?;
            }
        }
    }

    /// The next objects that have a file, with its node and the target's row; and whether there are more.
    #[allow(clippy::type_complexity)] // an object with what is known of it here and there
    async fn next_objects(
        &mut self,
    ) -> Result<(VecDeque<(Object, Node, Option<Object>)>, bool), EngineError> {
        let mut found: Vec<(Object, Node)> = Vec::new();
        let mut more = true;
        while found.len() < ROWS && more {
            let object = match self.first.take() {
                Some(object) => Some(object),
                None => match self.reader.next().await.doing(|| "read the index of files")? {
                    Some(Line::Object(object)) => Some(*object),
                    Some(_) => None,
                    None => {
                        more = false;
                        None
                    }
                },
            };
            let Some(object) = object else { continue };
            let Some(path) = &object.path else {
                self.without_file += u64::from(!object.is_history());
                continue;
            };
            match self.folders.file(path).await.doing(|| format!("read {path}"))? {
                Some(node) => found.push((object, node)),
                None => {
                    let name = name_of(&object);
                    let reason = "it is not in the snapshot any more".to_owned();
                    fail(&mut self.report, self.observer, &name, reason);
                }
            }
        }
        let objects: Vec<&Object> = found.iter().map(|(object, _)| object).collect();
        let here = rows::existing(&mut self.client, &objects).await.doing(|| "read storage.objects")?;
        let mut here: HashMap<(String, String), Object> = here
            .into_iter()
            .map(|object| ((object.bucket().to_owned(), object.name().to_owned()), object))
            .collect();
        let with_rows = found.into_iter().map(|(object, node)| {
            let row = here.remove(&(object.bucket().to_owned(), object.name().to_owned()));
            (object, node, row)
        });
        Ok((with_rows.collect(), more))
    }

    fn ended(&mut self, object: Object, outcome: Outcome) {
        match outcome {
            Outcome::Sent => {
                self.report.sent += 1;
                self.report.bytes += object.size;
            }
            Outcome::Present => self.report.present += 1,
            Outcome::Failed(reason) => {
                return fail(&mut self.report, self.observer, &name_of(&object), reason);
            }
        }
        self.set.push(object.row);
        self.observer.event(Event::Progressed(Progress {
            bytes: self.report.bytes,
            items: self.report.sent + self.report.present,
            ..Progress::default()
        }));
    }

    /// Sets the rows whose files are there.
    async fn set_rows(&mut self) -> Result<(), EngineError> {
        let rows = std::mem::take(&mut self.set);
        rows::set_objects(&mut self.client, &rows).await.doing(|| "set the rows of files")
    }
}

fn name_of(object: &Object) -> String {
    format!("storage file {}/{}", object.bucket(), object.name().escape_debug())
}

fn warn(report: &mut FilesReport, observer: &Arc<dyn Observer>, code: &str, message: String) {
    observer.event(Event::Warning { code: code.into(), message: message.clone(), hint: None });
    report.warnings.push(message);
}

fn fail(report: &mut FilesReport, observer: &Arc<dyn Observer>, object: &str, reason: String) {
    observer.event(Event::ObjectFailed { object: object.to_owned(), message: reason.clone() });
    if report.failed.len() < TOLD {
        report.failed.push(FailedObject { object: object.to_owned(), reason, skipped: false });
    }
}
