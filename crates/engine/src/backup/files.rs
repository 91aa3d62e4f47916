//! Storage files: every object's file into the snapshot, several at a time, and an index of the objects.
//!
//! The rows of the snapshot say which files there are. A file that the parent snapshot has from the same upload is taken over
//! without asking the service. One that cannot be had is told and does not stop the backup.

mod fetch;
mod parent;
mod problems;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use basekeep_postgres::{Client, Error};
use basekeep_repository::{FileWriter, Repository, Writer};
use basekeep_supabase::storage::index::{self, Line, Object};
use basekeep_supabase::storage::paths::Namer;
use basekeep_supabase::storage::rows;
use basekeep_supabase::storage::{ErrorKind, Files};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use self::fetch::{Done, Fetcher};
use self::parent::Parent;
use self::problems::Problems;
use super::parts::{PartFile, Parts};
use super::plan::Plan;
use super::progress::{self, Counters};
use super::{Source, Stopped};
use crate::event::begin;
use crate::files::FilesAccess;
use crate::stored::manifest::{Supabase, Warning};
use crate::words::{bytes, counted};
use crate::{EngineError, Observer, ResultExt};

/// Files that are fetched at once.
const AT_ONCE: usize = 8;
/// Files that may be done before an earlier one is: the index is written in order.
const AHEAD: usize = 2000;
/// Buckets that are looked for before the service is taken for another project's.
const BUCKETS_ASKED_FOR: usize = 10;
/// Average chunk size of the index.
const INDEX_CHUNK: usize = 256 << 10;
const HINT: &str = "set SUPABASE_SERVICE_ROLE_KEY, or add a line such as storage = { url = \"https://…/storage/v1\", \
                    service_key_env = \"SUPABASE_SERVICE_ROLE_KEY\" } to the source; storage = \"skip\" leaves files out";

/// Captures the files, if this is a database that has some.
pub(super) async fn capture(
    plan: &Plan,
    leader: &mut Client,
    repository: &Repository,
    writer: &Writer,
    source: &Source,
    observer: &Arc<dyn Observer>,
) -> Result<Parts, Stopped> {
    let mut parts = Parts::default();
    if !rows::exist(leader).await.doing(|| "look for storage files")? {
        return Ok(parts);
    }
    let totals = match attempt(leader, async |leader| rows::totals(leader).await).await? {
        Ok(totals) => totals,
        Err(reason) => {
            parts.miss(
                "storage files",
                format!("the rows of storage.objects cannot be read: {reason}"),
                None,
            );
            return Ok(parts);
        }
    };
    let what = || {
        let buckets = counted(totals.buckets, "bucket", "buckets");
        format!("files of {} in {buckets}", counted(totals.objects, "object", "objects"))
    };
    let (address, patience) = match &source.files {
        FilesAccess::Service { address, patience } => (address, patience),
        _ if totals.objects == 0 => return Ok(parts),
        FilesAccess::Skip => {
            parts.warnings.push(Warning {
                code: "files-skipped".into(),
                message: format!("the {} are left out, as the configuration says", what()),
                hint: None,
            });
            return Ok(parts);
        }
        FilesAccess::Unknown => {
            parts.miss(what(), "there is no key for the project's storage", Some(HINT));
            return Ok(parts);
        }
        FilesAccess::Unavailable { reason } => {
            parts.miss(what(), reason.clone(), Some(HINT));
            return Ok(parts);
        }
    };
    let files = match Files::new(address.clone(), *patience) {
        Ok(files) => files,
        Err(error) => {
            parts.miss(what(), error.to_string(), Some(HINT));
            return Ok(parts);
        }
    };
    if let Some(reason) = another_service(leader, &files).await? {
        parts.miss(
            what(),
            reason,
            Some("check the address: a hosted project's is https://<ref>.supabase.co/storage/v1"),
        );
        return Ok(parts);
    }
    let step = begin(observer, "files");
    let counters = Counters::default();
    let parent = Parent::open(repository, plan.parent.as_ref().map(|parent| parent.id()).as_ref()).await;
    let fetcher = Fetcher::new(&files, writer, &counters);
    let mut work = Work {
        fetcher: &fetcher,
        writer,
        parent,
        namer: Namer::default(),
        seen: HashSet::new(),
        last: None,
        problems: Problems::default(),
        taken_over: 0,
        stored: 0,
        parts,
    };
    tokio::select! {
        result = work.everything(leader) => result?,
        never = progress::tell(&counters, totals.bytes, totals.objects, writer, observer) => match never {},
    }
    let mut detail =
        format!("{}, {}", counted(work.stored, "file", "files"), bytes(counters.bytes.load(Relaxed)));
    if work.taken_over > 0 {
        detail += &format!(", {} as before", counted(work.taken_over, "file", "files"));
    }
    work.look_for_strays(&files).await;
    let mut parts = work.parts;
    work.problems.tell(totals, &mut parts);
    let mut supabase = Supabase::default();
    supabase.count("files", work.stored);
    supabase.count("file_bytes", counters.bytes.load(Relaxed));
    supabase.count("files_taken_over", work.taken_over);
    parts.supabase = Some(supabase);
    step.end(detail);
    Ok(parts)
}

/// Why this cannot be the service that the rows are of: it knows none of their buckets.
async fn another_service(leader: &mut Client, files: &Files) -> Result<Option<String>, Stopped> {
    let Ok(buckets) = attempt(leader, async |leader| rows::bucket_ids(leader).await).await? else {
        return Ok(None);
    };
    let mut last = None;
    for bucket in buckets.iter().take(BUCKETS_ASKED_FOR) {
        match files.list(bucket, None).await {
            Err(error) if error.kind == ErrorKind::NotFound => last = Some(error),
            _ => return Ok(None),
        }
    }
    Ok(last.map(|error| format!("{} knows none of the project's buckets: {error}", files.location())))
}

/// Everything that the loop needs.
struct Work<'a> {
    fetcher: &'a Fetcher<'a>,
    writer: &'a Writer,
    parent: Parent,
    namer: Namer,
    /// Hashes of the names, to find files that no row names.
    seen: HashSet<u64>,
    /// The present object, to know another row of the same name.
    last: Option<(String, String)>,
    problems: Problems,
    taken_over: u64,
    stored: u64,
    parts: Parts,
}

impl Work<'_> {
    /// Reads the rows, fetches the files, writes the index.
    async fn everything(&mut self, leader: &mut Client) -> Result<(), Stopped> {
        let mut index = self.writer.file(INDEX_CHUNK);
        let mut lines = vec![Line::Header { version: index::VERSION }];
        match attempt(leader, async |leader| rows::buckets(leader).await).await? {
            Ok(buckets) => lines.extend(buckets.into_iter().map(Line::Bucket)),
            Err(reason) => self.parts.miss("storage buckets", reason, None),
        }
        for line in &lines {
            write(&mut index, line).await?;
        }
        rows::open_objects(leader).await.doing(|| "read storage.objects")?;
        let fetcher = self.fetcher;
        let mut running = FuturesUnordered::new();
        let mut done: BTreeMap<u64, Done> = BTreeMap::new();
        let mut rows: VecDeque<Object> = VecDeque::new();
        let (mut started, mut written, mut more) = (0, 0, true);
        loop {
            while running.len() < AT_ONCE && done.len() < AHEAD {
                if rows.is_empty() && more {
                    rows = rows::next_objects(leader).await.doing(|| "read storage.objects")?.into();
                    more = !rows.is_empty();
                }
                let Some(object) = rows.pop_front() else { break };
                let number = started;
                started += 1;
                match self.without_fetching(object).await? {
                    Ok(ready) => {
                        done.insert(number, ready);
                    }
                    Err(object) => running.push(async move { (number, fetcher.fetch(object).await) }),
                }
                while let Some(ready) = done.remove(&written) {
                    self.finish(ready, &mut index).await?;
                    written += 1;
                }
            }
            let Some((number, result)) = running.next().await else { break };
            done.insert(number, result?);
            while let Some(ready) = done.remove(&written) {
                self.finish(ready, &mut index).await?;
                written += 1;
            }
        }
        rows::close_objects(leader).await.doing(|| "read storage.objects")?;
        let content = index.finish().await.doing(|| format!("store {}", index::PATH))?;
        self.parts.files.push(PartFile { path: index::PATH.to_owned(), content });
        Ok(())
    }

    /// What needs no request: files that the parent has, rows that have none. Otherwise gives the object back.
    async fn without_fetching(&mut self, mut object: Object) -> Result<Result<Done, Object>, Stopped> {
        let name = (object.bucket().to_owned(), object.name().to_owned());
        let again = self.last.as_ref() == Some(&name);
        if object.is_history() || again {
            object.missing = Some("an older version, which the service does not give".into());
            return Ok(Ok(Done { object, content: None, failure: None }));
        }
        self.seen.insert(hash(&name.0, &name.1));
        self.last = Some(name);
        let Some(before) = self.parent.find(&object).await else { return Ok(Err(object)) };
        let mut file = self.writer.file(fetch::CHUNK_AVERAGE);
        let known = file.append_known(&before.blobs).await;
        let content = file.finish().await.doing(|| "take a file over")?;
        match known {
            Ok(()) if content.size == before.object.size => {
                object.size = content.size;
                object.etag = before.object.etag;
                object.md5 = before.object.md5;
                object.mime = before.object.mime;
                self.taken_over += 1;
                self.fetcher.counters.bytes.fetch_add(content.size, Relaxed);
                Ok(Ok(Done { object, content: Some(content), failure: None }))
            }
            _ => Ok(Err(object)),
        }
    }

    /// Takes a file into the snapshot and its line into the index.
    async fn finish(&mut self, done: Done, index: &mut FileWriter) -> Result<(), Stopped> {
        let Done { mut object, content, failure } = done;
        self.fetcher.counters.items.fetch_add(1, Relaxed);
        if let Some(content) = content {
            let path = self.namer.path(object.bucket(), object.name());
            object.path = Some(path.clone());
            self.stored += 1;
            self.parts.files.push(PartFile { path, content });
        }
        self.problems.note(&object, failure);
        write(index, &Line::Object(Box::new(object))).await
    }

    /// Asks the service what it has, and tells of files that no row of the snapshot names.
    async fn look_for_strays(&mut self, files: &Files) {
        if self.fetcher.stopped().is_some() {
            return;
        }
        let buckets: Vec<String> = std::mem::take(&mut self.problems.buckets).into_iter().collect();
        for bucket in buckets {
            let mut after: Option<String> = None;
            loop {
                let listed = match files.list(&bucket, after.as_deref()).await {
                    Ok(listed) => listed,
                    // Old services have no such listing.
                    Err(error) if error.kind == ErrorKind::NotFound => break,
                    Err(error) => {
                        self.problems.not_listed(&bucket, &error.to_string());
                        break;
                    }
                };
                for name in listed.names {
                    if !self.seen.contains(&hash(&bucket, &name)) {
                        self.problems.stray(&bucket, &name);
                    }
                }
                match listed.next {
                    Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                    _ => break,
                }
            }
        }
    }
}

async fn write(index: &mut FileWriter, line: &Line) -> Result<(), Stopped> {
    let text = index::encode(line).map_err(|error| EngineError::failed(format!("write JSON: {error}")))?;
    Ok(index.write(&text).await.doing(|| format!("store {}", index::PATH))?)
}

fn hash(bucket: &str, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (bucket, name).hash(&mut hasher);
    hasher.finish()
}

/// A query that may be refused without an end to the transaction; then gives the reason.
async fn attempt<T>(
    leader: &mut Client,
    query: impl AsyncFnOnce(&mut Client) -> Result<T, Error>,
) -> Result<Result<T, String>, Stopped> {
    leader.execute("SAVEPOINT files").await.doing(|| "read storage rows")?;
    let result = match query(leader).await {
        Ok(value) => Ok(value),
        Err(Error::Server(error)) => {
            leader.execute("ROLLBACK TO SAVEPOINT files").await.doing(|| "read storage rows")?;
            Err(error.message.clone())
        }
        Err(error) => return Err(EngineError::from(error).within("read storage rows").into()),
    };
    leader.execute("RELEASE SAVEPOINT files").await.doing(|| "read storage rows")?;
    Ok(result)
}
