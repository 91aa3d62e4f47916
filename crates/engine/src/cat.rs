//! The repository's parts as they are, and files of snapshots.

pub use basekeep_repository::FileKind;
use basekeep_repository::{BlobStream, NodeKind, Repository, Snapshot};
use bytes::Bytes;

use crate::{EngineError, ResultExt, listing};

/// How much of a file is read ahead, in bytes.
const PREFETCH: usize = 32 << 20;

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The repository's `config`.
    Config,
    /// The master key, in the clear.
    MasterKey,
    /// An index file.
    Index(String),
    /// A snapshot file; `latest` is understood.
    Snapshot(String),
    /// A key file, sealed as it is.
    Key(String),
    /// A lock.
    Lock(String),
    /// A folder's tree.
    Tree(String),
    /// The plain content of a blob.
    Blob(String),
    /// A pack, sealed as it is.
    Pack(String),
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A JSON document, as it is stored.
    Json(Vec<u8>),
    /// Bytes.
    Raw(Vec<u8>),
}

/// A file of a snapshot, piece by piece.
#[derive(Debug)]
pub struct FileReader {
    blobs: BlobStream,
    what: String,
}

/// The ids of all files of a kind, sorted.
pub async fn ids(repository: &Repository, kind: FileKind) -> Result<Vec<String>, EngineError> {
    repository.ids(kind).await.doing(|| "list the repository's files")
}

/// Reads a part, verified.
///
/// Errors: kind `Usage` for an id that fits none or several.
pub async fn part(repository: &Repository, part: &Part) -> Result<Content, EngineError> {
    let file = async |kind, id: &str| repository.cat(kind, id).await;
    let json = match part {
        Part::Config => repository.cat_config().await,
        Part::MasterKey => repository.cat_master_key(),
        Part::Index(id) => file(FileKind::Index, id).await,
        Part::Snapshot(id) if id == "latest" => {
            let snapshot = listing::find(repository, id, None).await?;
            file(FileKind::Snapshot, &snapshot.id.to_string()).await
        }
        Part::Snapshot(id) => file(FileKind::Snapshot, id).await,
        Part::Key(id) => file(FileKind::Key, id).await,
        Part::Lock(id) => file(FileKind::Lock, id).await,
        Part::Pack(id) => return Ok(Content::Raw(file(FileKind::Pack, id).await.doing(|| "read a pack")?)),
        Part::Tree(id) => {
            repository.load_index().await.doing(|| "read the repository's index")?;
            repository.cat_blob(id, true).await
        }
        Part::Blob(id) => {
            repository.load_index().await.doing(|| "read the repository's index")?;
            return Ok(Content::Raw(repository.cat_blob(id, false).await?));
        }
    };
    Ok(Content::Json(json?))
}

/// A file of a snapshot. A path that does not begin with `/` is one below the source's folder.
///
/// Errors: kind `Usage` for a path that is not there, or is no file.
pub async fn file(
    repository: &Repository,
    snapshot: &Snapshot,
    path: &str,
) -> Result<FileReader, EngineError> {
    repository.load_index().await.doing(|| "read the repository's index")?;
    let full = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{}/{path}", listing::folder(snapshot)),
    };
    let what = format!("{full} of snapshot {}", snapshot.id.short());
    let node = repository.node_at(snapshot, &full).await.doing(|| format!("read {what}"))?;
    match node {
        Some(node) if node.kind == NodeKind::File => {
            Ok(FileReader { blobs: repository.read_blobs(node.content, PREFETCH), what })
        }
        Some(_) => Err(EngineError::usage(format!("{what} is not a file"))
            .hint("name a file in it, such as manifest.json")),
        None => Err(EngineError::usage(format!("there is no {what}")).hint(
            "`basekeep show` names the files of tables; a path begins with / or is below the source's folder",
        )),
    }
}

impl FileReader {
    /// The next piece, verified; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        let piece = self.blobs.next().await?;
        Some(piece.doing(|| format!("read {}", self.what)))
    }
}
