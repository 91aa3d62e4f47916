//! One file from the repository to the service.

use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use basekeep_repository::{BlobId, Node, Repository, RepositoryError};
use basekeep_supabase::storage::index::Object;
use basekeep_supabase::storage::{Content, ErrorKind, Files, NewFile, StorageError};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;

use crate::EngineError;

/// How much of a file is read ahead, in bytes.
const PREFETCH: usize = 8 << 20;
/// After so many failures of the network in a row nothing more is sent.
const LOST: u32 = 4;

/// How it ended with a file.
pub(super) enum Outcome {
    /// It was sent.
    Sent,
    /// It was there.
    Present,
    /// It could not be sent, and why.
    Failed(String),
}

/// Sends files. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sender<'a> {
    files: &'a Files,
    repository: &'a Repository,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Why nothing more is sent.
    stop: Mutex<Option<String>>,
    lost: AtomicU32,
}

impl<'a> Sender<'a> {
    pub(super) fn new(files: &'a Files, repository: &'a Repository) -> Self {
        Self { files, repository, state: Arc::default() }
    }

    fn stop(&self) -> MutexGuard<'_, Option<String>> {
        self.state.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an object's file unless it is there. `row` is the target's. An error means that the repository cannot be read.
    pub(super) async fn send(
        &self,
        object: &Object,
        node: Node,
        row: Option<&Object>,
    ) -> Result<Outcome, EngineError> {
        if let Some(reason) = self.stop().clone() {
            return Ok(Outcome::Failed(reason));
        }
        let found = match self.is_there(object, &node, row).await {
            Ok(true) => return Ok(Outcome::Present),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        let content =
            Stored { repository: self.repository.clone(), blobs: node.content, failure: Arc::default() };
        let file = NewFile {
            bucket: object.bucket(),
            name: object.name(),
            size: node.size,
            mime: object.mime(),
            cache_control: object.cache_control(),
        };
        let sent = match found {
            Ok(()) => self.files.upload(&file, &content).await,
            Err(error) => Err(error),
        };
        let unreadable = content.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (sent, unreadable) {
            (Ok(()), _) => {
                self.state.lost.store(0, Relaxed);
                Ok(Outcome::Sent)
            }
            (
                _,
                Some(error @ (RepositoryError::DamagedBlob { .. } | RepositoryError::MissingBlob { .. })),
            ) => Ok(Outcome::Failed(error.to_string())),
            (_, Some(error)) => Err(EngineError::from(error).within("read a file of the snapshot")),
            (Err(error), None) => Ok(Outcome::Failed(self.failed(&error))),
        }
    }

    /// Whether the storage has this file. Its size must be the same; and its entity tag, or else the row there must have been
    /// set by a restore from the same row: another version, and otherwise the same metadata.
    async fn is_there(
        &self,
        object: &Object,
        node: &Node,
        row: Option<&Object>,
    ) -> Result<bool, StorageError> {
        let Some(row) = row else { return Ok(false) };
        let facts = match self.files.facts(object.bucket(), object.name(), node.size).await {
            Ok(facts) => facts,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if facts.size != Some(node.size) {
            return Ok(false);
        }
        let same_etag = facts.etag.is_some() && (facts.etag == object.etag || facts.etag == object.md5);
        let by_restore = row.version() != object.version() && same_but_etag(&row.row, &object.row);
        Ok(same_etag || by_restore)
    }

    fn failed(&self, error: &StorageError) -> String {
        let network = error.kind == ErrorKind::Transient && !error.is_answer();
        let gone = network && self.state.lost.fetch_add(1, Relaxed) + 1 >= LOST;
        if error.kind == ErrorKind::Denied || gone {
            self.stop().get_or_insert_with(|| error.to_string());
        }
        match error.kind {
            ErrorKind::TooLarge => format!("{error}; raise the limit of the bucket or of the project"),
            _ => error.to_string(),
        }
    }
}

fn same_but_etag(one: &Value, other: &Value) -> bool {
    let without = |row: &Value| {
        let mut metadata = row.get("metadata")?.as_object()?.clone();
        metadata.remove("eTag");
        Some(metadata)
    };
    without(one).is_some_and(|one| without(other) == Some(one))
}

/// A file of the snapshot.
struct Stored {
    repository: Repository,
    blobs: Vec<BlobId>,
    /// Why it could not be read.
    failure: Arc<Mutex<Option<RepositoryError>>>,
}

impl Content for Stored {
    fn open(&self) -> BoxStream<'static, io::Result<Bytes>> {
        let blobs = self.repository.read_blobs(self.blobs.clone(), PREFETCH);
        let failure = self.failure.clone();
        futures::stream::unfold((blobs, failure), |(mut blobs, failure)| async move {
            let piece = blobs.next().await?.map_err(|error| {
                let text = error.to_string();
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                io::Error::other(text)
            });
            Some((piece, (blobs, failure)))
        })
        .boxed()
    }
}
