//! One file from the service into the repository.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use basekeep_repository::{FileContent, FileWriter, Writer};
use basekeep_supabase::storage::index::Object;
use basekeep_supabase::storage::{Download, ErrorKind, Files, StorageError};

use md5::{Digest, Md5};

use crate::backup::progress::Counters;
use crate::{EngineError, ResultExt};

/// Average chunk size of a file.
pub(super) const CHUNK_AVERAGE: usize = 1 << 20;
/// How often a file is begun again because it changes.
const ATTEMPTS: u32 = 3;
/// After so many failures of the network in a row no more files are asked for.
const LOST: u32 = 4;

/// An object that is done.
pub(super) struct Done {
    pub(super) object: Object,
    /// Its file.
    pub(super) content: Option<FileContent>,
    /// Why there is none.
    pub(super) failure: Option<Failure>,
}

/// Why a file is not in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    /// The row is there and the file is not.
    NoFile,
    /// It was deleted after the snapshot was taken.
    Deleted,
    /// It changed again and again.
    Changing,
    /// Anything else, in words.
    Other(String),
}

/// Fetches files.
pub(super) struct Fetcher<'a> {
    files: &'a Files,
    writer: &'a Writer,
    pub(super) counters: &'a Counters,
    /// Why nothing more is asked for.
    stop: Mutex<Option<String>>,
    lost: AtomicU32,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(files: &'a Files, writer: &'a Writer, counters: &'a Counters) -> Self {
        Self { files, writer, counters, stop: Mutex::default(), lost: AtomicU32::new(0) }
    }

    /// Why nothing more is asked for, if so.
    pub(super) fn stopped(&self) -> Option<String> {
        self.stop().clone()
    }

    fn stop(&self) -> MutexGuard<'_, Option<String>> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches an object's file. An error means that the repository cannot be written.
    pub(super) async fn fetch(&self, mut object: Object) -> Result<Done, EngineError> {
        if let Some(reason) = self.stopped() {
            return Ok(failed(object, Failure::Other(reason)));
        }
        let mut attempt = 1;
        loop {
            let error = match self.attempt(&mut object).await? {
                Ok(content) => {
                    self.lost.store(0, Relaxed);
                    return Ok(Done { object, content: Some(content), failure: None });
                }
                Err(error) => error,
            };
            if error.kind == ErrorKind::Changed && attempt < ATTEMPTS {
                attempt += 1;
                continue;
            }
            let failure = self.failure(&object, &error).await;
            return Ok(failed(object, failure));
        }
    }

    async fn attempt(&self, object: &mut Object) -> Result<Result<FileContent, StorageError>, EngineError> {
        let (bucket, name) = (object.bucket().to_owned(), object.name().to_owned());
        let mut download = match self.files.download(&bucket, &name).await {
            Ok(download) => download,
            Err(error) => return Ok(Err(error)),
        };
        let mut file = self.writer.file(CHUNK_AVERAGE);
        let (mut received, mut md5) = (0, Md5::new());
        let result = self.receive(&mut download, &mut file, &mut received, &mut md5).await?;
        // Also a file that will not be used must be ended, or there is no snapshot.
        let content = file.finish().await.doing(|| format!("store {bucket}/{name}"))?;
        if let Err(error) = result {
            self.counters.bytes.fetch_sub(received, Relaxed);
            return Ok(Err(error));
        }
        let facts = download.facts();
        object.size = content.size;
        object.etag.clone_from(&facts.etag);
        object.md5 = Some(hex::encode(md5.finalize()));
        if object.mime().is_none() {
            object.mime.clone_from(&facts.mime);
        }
        object.changed = self.differs(object).await;
        Ok(Ok(content))
    }

    async fn receive(
        &self,
        download: &mut Download,
        file: &mut FileWriter,
        received: &mut u64,
        md5: &mut Md5,
    ) -> Result<Result<(), StorageError>, EngineError> {
        loop {
            match download.next().await {
                Ok(Some(piece)) => {
                    file.write(&piece).await.doing(|| "store a file")?;
                    md5.update(&piece);
                    *received += piece.len() as u64;
                    self.counters.bytes.fetch_add(piece.len() as u64, Relaxed);
                }
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Whether the file is not the one that the row tells of. Its version decides where the service tells it.
    async fn differs(&self, object: &Object) -> bool {
        let size = object.row_size().is_none_or(|size| size == object.size);
        let etag = match (object.row_etag(), object.etag.as_deref()) {
            (Some(row), Some(file)) => row == file,
            _ => true,
        };
        if size && etag {
            return false;
        }
        match self.files.version(object.bucket(), object.name()).await {
            Ok(Some(version)) => object.version() != Some(version.as_str()) || !size,
            _ => true,
        }
    }

    async fn failure(&self, object: &Object, error: &StorageError) -> Failure {
        match error.kind {
            ErrorKind::NotFound => match self.files.version(object.bucket(), object.name()).await {
                Err(error) if error.kind == ErrorKind::NotFound => Failure::Deleted,
                _ => Failure::NoFile,
            },
            ErrorKind::Changed => Failure::Changing,
            ErrorKind::Denied => {
                self.stop().get_or_insert_with(|| error.to_string());
                Failure::Other(error.to_string())
            }
            ErrorKind::Transient => {
                if self.lost.fetch_add(1, Relaxed) + 1 >= LOST && !error.is_answer() {
                    self.stop().get_or_insert_with(|| error.to_string());
                }
                Failure::Other(error.to_string())
            }
            _ => Failure::Other(error.to_string()),
        }
    }
}

fn failed(mut object: Object, failure: Failure) -> Done {
    object.missing = Some(failure.reason());
    Done { object, content: None, failure: Some(failure) }
}

impl Failure {
    /// For people.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::NoFile => "the rows are there, and the storage has no such files".into(),
            Self::Deleted => "they were deleted after the snapshot was taken".into(),
            Self::Changing => "they changed again and again while they were read".into(),
            Self::Other(reason) => reason.clone(),
        }
    }
}
