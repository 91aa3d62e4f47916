//! `supabase/storage.jsonl`: the buckets, every object's row, and where its file is in the snapshot.
//!
//! JSON lines: a header, the buckets, the objects sorted by bucket and name (by bytes), so that two indexes can be compared
//! line by line without holding either.

use basekeep_repository::{BlobStream, NodeKind, Repository, RepositoryError, Snapshot};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where the index is, below the source's folder.
pub const PATH: &str = "supabase/storage.jsonl";
/// The version this program writes.
pub const VERSION: u32 = 1;
/// How much of the index is read ahead, in bytes.
const PREFETCH: usize = 4 << 20;
/// No line is longer: a row's metadata are limited to 1 MiB by the service.
const LONGEST_LINE: usize = 32 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first one.
    Header {
        /// Version of this format.
        version: u32,
    },
    /// A row of `storage.buckets`.
    Bucket(Value),
    /// A row of `storage.objects`, and its file.
    Object(Box<Object>),
}

/// An object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Its row, as `to_jsonb` gives it.
    pub row: Value,
    /// Its file, below the source's folder; `None` if it is not in the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The file's bytes.
    #[serde(default)]
    pub size: u64,
    /// The entity tag that came with the file, without quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The file's MD5, 32 hexadecimal digits: the entity tag that services give to what came in one piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// The MIME type that came with the file, where the row has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Whether the file is another one than its row says: it was replaced after the snapshot was taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// Why the file is not in the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl Object {
    /// A row whose file is not known yet.
    pub fn new(row: Value) -> Self {
        Self { row, path: None, size: 0, etag: None, md5: None, mime: None, changed: false, missing: None }
    }

    /// The bucket's id.
    pub fn bucket(&self) -> &str {
        self.text("bucket_id").unwrap_or_default()
    }

    /// The whole name.
    pub fn name(&self) -> &str {
        self.text("name").unwrap_or_default()
    }

    /// The version, which changes with each upload; old rows have none.
    pub fn version(&self) -> Option<&str> {
        self.text("version")
    }

    /// The size that the row tells, in bytes.
    pub fn row_size(&self) -> Option<u64> {
        let size = self.metadata("size").or_else(|| self.metadata("contentLength"))?;
        size.as_u64().or_else(|| size.as_str()?.parse().ok())
    }

    /// The entity tag that the row tells, without quotes.
    pub fn row_etag(&self) -> Option<&str> {
        self.metadata("eTag")?.as_str().map(super::client::bare_etag)
    }

    /// The MIME type.
    pub fn mime(&self) -> Option<&str> {
        self.metadata("mimetype").and_then(Value::as_str).or(self.mime.as_deref())
    }

    /// `Cache-Control`.
    pub fn cache_control(&self) -> Option<&str> {
        self.metadata("cacheControl")?.as_str()
    }

    /// Whether this row is no present file: an older version, or the mark of a deletion.
    pub fn is_history(&self) -> bool {
        self.row.get("archived_at").is_some_and(|value| !value.is_null())
            || self.row.get("is_delete_marker").is_some_and(|value| value == true)
    }

    /// Whether both rows are of the same upload, as far as rows can tell.
    pub fn same_upload(&self, other: &Self) -> bool {
        let same_facts = self.row_etag() == other.row_etag() && self.row_size() == other.row_size();
        match (self.version(), other.version()) {
            (Some(one), Some(two)) => one == two && same_facts,
            (None, None) => {
                same_facts && self.row_etag().is_some() && self.text("updated_at") == other.text("updated_at")
            }
            _ => false,
        }
    }

    fn text(&self, column: &str) -> Option<&str> {
        self.row.get(column)?.as_str()
    }

    fn metadata(&self, key: &str) -> Option<&Value> {
        self.row.get("metadata")?.get(key)
    }
}

/// A line as it is stored, newline included.
///
/// Errors: as serde_json tells them.
pub fn encode(line: &Line) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}

/// The index of a snapshot, line by line.
#[derive(Debug)]
pub struct Reader {
    blobs: BlobStream,
    buffer: Vec<u8>,
    /// Where the next line begins.
    start: usize,
}

impl Reader {
    /// The index below the source's folder, such as `/shop`; `None` if the snapshot has none.
    ///
    /// Errors: damage; [`RepositoryError::Refused`] for an index of a later version.
    pub async fn open(
        repository: &Repository,
        snapshot: &Snapshot,
        folder: &str,
    ) -> Result<Option<Self>, RepositoryError> {
        let node = repository.node_at(snapshot, &format!("{folder}/{PATH}")).await?;
        let Some(node) = node.filter(|node| node.kind == NodeKind::File) else { return Ok(None) };
        let blobs = repository.read_blobs(node.content, PREFETCH);
        let mut reader = Self { blobs, buffer: Vec::new(), start: 0 };
        match reader.next().await? {
            Some(Line::Header { version }) if version <= VERSION => Ok(Some(reader)),
            Some(Line::Header { version }) => {
                Err(refused(&format!("has version {version}, which is too new")))
            }
            _ => Err(refused("has no header")),
        }
    }

    /// The next line; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Line>, RepositoryError> {
        let mut searched = self.start;
        loop {
            if let Some(length) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let end = searched + length;
                let line = serde_json::from_slice(&self.buffer[self.start..end]);
                self.start = end + 1;
                return line.map(Some).map_err(|error| refused(&format!("cannot be understood: {error}")));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            searched = self.buffer.len();
            if self.buffer.len() > LONGEST_LINE {
                return Err(refused("has a line without end"));
            }
            match self.blobs.next().await {
                Some(piece) => self.buffer.extend_from_slice(&piece?),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(refused("ends within a line")),
            }
        }
    }
}

fn refused(what: &str) -> RepositoryError {
    RepositoryError::Refused(format!("{PATH} {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(version: Option<&str>, etag: &str, size: u64) -> Object {
        let metadata = json!({"eTag": format!("\"{etag}\""), "size": size, "mimetype": "image/png"});
        Object::new(json!({"bucket_id": "b", "name": "n", "version": version, "metadata": metadata}))
    }

    #[test]
    fn an_upload_is_known_by_its_version_or_else_by_etag_size_and_time() {
        let one = object(Some("v1"), "e", 5);
        assert!(one.same_upload(&object(Some("v1"), "e", 5)));
        assert!(!one.same_upload(&object(Some("v2"), "e", 5)));
        assert!(!one.same_upload(&object(None, "e", 5)));
        assert!(!one.same_upload(&object(Some("v1"), "e", 6)));
        assert!(object(None, "e", 5).same_upload(&object(None, "e", 5)));
        assert!(!object(None, "e", 5).same_upload(&object(None, "f", 5)));
        let bare = Object::new(json!({"bucket_id": "b", "name": "n", "metadata": null}));
        assert!(!bare.same_upload(&bare.clone()));
        assert_eq!((one.row_size(), one.row_etag(), one.mime()), (Some(5), Some("e"), Some("image/png")));
    }
}
