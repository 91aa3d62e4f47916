//! A changed copy of a snapshot: some paths taken away, some written anew, everything else as it is.
//!
//! Trees may come from any program. What is not changed keeps its text byte for byte, so that fields that we do not know
//! (owners, extended attributes, links) stay.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::pack::BlobKind;
use crate::repository::blocking;
use crate::tree::{self, Owner};
use crate::writer::pipeline::Pipeline;
use crate::{
    FileContent, Node, NodeKind, Repository, RepositoryError, Result, Snapshot, SnapshotId, TreeId, Writer,
    go_text, host, layout,
};

/// What is to be different in a copy of a snapshot, by path.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    root: Folder,
}

type Folder = BTreeMap<String, Change>;

#[derive(Debug, Clone)]
enum Change {
    Remove,
    File { content: FileContent, mode: u32 },
    Below(Folder),
}

impl Changes {
    /// Nothing changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes away a file or a whole folder, such as `/source/database/12.dat`. A path that is not there is no error.
    pub fn remove(&mut self, path: &str) {
        self.set(path, Change::Remove);
    }

    /// Puts a file there in place of what is there, if anything. Its folder must exist. `mode` has nine bits.
    pub fn put(&mut self, path: &str, content: FileContent, mode: u32) {
        self.set(path, Change::File { content, mode: mode & 0o777 });
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    fn set(&mut self, path: &str, change: Change) {
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        let mut folder = &mut self.root;
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            match folder.entry(name.to_owned()) {
                Entry::Vacant(vacant) if !last => {
                    let Change::Below(below) = vacant.insert(Change::Below(Folder::new())) else { return };
                    folder = below;
                }
                Entry::Occupied(occupied) if !last => match occupied.into_mut() {
                    Change::Below(below) => folder = below,
                    // The whole folder goes away already.
                    Change::Remove | Change::File { .. } => return,
                },
                Entry::Vacant(vacant) => {
                    vacant.insert(change);
                    return;
                }
                Entry::Occupied(mut occupied) => {
                    occupied.insert(change);
                    return;
                }
            }
        }
    }
}

impl Writer {
    /// Writes a changed copy of a snapshot, with one more tag. It keeps time, host, paths, tags and whatever else its file
    /// says; `original` names the snapshot that it was made from. That one stays; see [`Repository::remove_snapshot`].
    ///
    /// Errors: as [`Writer::finish`]; a tree on the way to a change that cannot be read.
    pub async fn rewrite(self, snapshot: &Snapshot, changes: &Changes, tag: &str) -> Result<Snapshot> {
        let pipeline = self.pipeline();
        let result = pipeline.rewrite(snapshot, changes, tag).await;
        self.end(result).await
    }

    /// Ends without a snapshot: what was written is durable and in the index, for snapshots that are there already and miss
    /// just that.
    ///
    /// Errors: as [`Writer::finish`].
    pub async fn finish_without_snapshot(self) -> Result<()> {
        let pipeline = self.pipeline();
        let result = pipeline.finish_blobs().await;
        self.end(result).await
    }

    async fn end<T>(&self, result: Result<T>) -> Result<T> {
        let pipeline = self.pipeline();
        if let Err(error) = &result {
            pipeline.fail(error.clone());
            pipeline.wind_up().await;
        }
        pipeline.queue.close();
        result
    }
}

/// How the files of a copy differ in sum.
#[derive(Debug, Default)]
struct Balance {
    files: i64,
    bytes: i64,
}

impl Pipeline {
    async fn finish_blobs(self: &Arc<Self>) -> Result<()> {
        self.ready_to_finish().await?;
        self.wait_until(|| self.is_idle()).await?;
        let leader = self.leader().clone();
        self.flush(&leader).await
    }

    async fn rewrite(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        changes: &Changes,
        tag: &str,
    ) -> Result<Snapshot> {
        self.ready_to_finish().await?;
        let mut balance = Balance::default();
        let root = self.rewrite_folder(snapshot.tree, &changes.root, snapshot.time, &mut balance).await?;

        let id = snapshot.id;
        let tag = tag.to_owned();
        let edit = move |json: &[u8]| changed_snapshot(json, id, root, &tag, &balance);
        let json = self.leader().repository.read_json(&layout::snapshot(id), edit).await?;
        self.finish_leader(json).await
    }

    async fn rewrite_folder(
        self: &Arc<Self>,
        id: TreeId,
        changes: &Folder,
        time: Timestamp,
        balance: &mut Balance,
    ) -> Result<TreeId> {
        let mut nodes = read_nodes(&self.leader().repository, id).await?;
        let user = host::username();
        let owner = Owner { uid: host::uid(), gid: host::gid(), user: &user };
        for (name, change) in changes {
            let place = nodes.binary_search_by(|node| node.name.as_str().cmp(name));
            let old = place.ok().map(|at| nodes[at].clone());
            let new = match change {
                Change::Remove => None,
                Change::File { content, mode } => {
                    self.check_content(content, name)?;
                    let node = Node {
                        name: name.clone(),
                        kind: NodeKind::File,
                        mode: *mode,
                        modified: Some(time),
                        size: content.size,
                        content: content.blobs.clone(),
                        subtree: None,
                    };
                    balance.files += 1;
                    balance.bytes += count(content.size);
                    Some(tree::encode_node(&node, owner))
                }
                Change::Below(below) => match old.as_ref().and_then(|old| Some((old, old.subtree?))) {
                    Some((old, subtree)) => {
                        let new = Box::pin(self.rewrite_folder(subtree, below, time, balance)).await?;
                        Some(with_subtree(&old.text, subtree, new)?)
                    }
                    None => continue,
                },
            };
            if let (Some(old), false) = (&old, matches!(change, Change::Below(_))) {
                balance.files -= i64::from(old.is_file);
                balance.bytes -= count(old.size);
            }
            match (place, new) {
                (Ok(at), Some(text)) => nodes[at].text = text,
                (Ok(at), None) => drop(nodes.remove(at)),
                (Err(at), Some(text)) => nodes.insert(at, RawNode::new(name, text)),
                (Err(_), None) => {}
            }
        }
        let json = join(&nodes);
        let id = TreeId::of(&json);
        let permit = self.room(json.len()).await?;
        self.submit(json, BlobKind::Tree, None, permit);
        Ok(id)
    }
}

fn count(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// An entry of a tree with its text.
#[derive(Debug, Clone)]
struct RawNode {
    name: String,
    subtree: Option<TreeId>,
    is_file: bool,
    size: u64,
    text: Vec<u8>,
}

impl RawNode {
    fn new(name: &str, text: Vec<u8>) -> Self {
        Self { name: name.to_owned(), subtree: None, is_file: true, size: 0, text }
    }
}

async fn read_nodes(repository: &Repository, id: TreeId) -> Result<Vec<RawNode>> {
    let json = repository.read_places(repository.places(BlobKind::Tree, id.into())?).await?;
    blocking(move || split(&json)).await?.map_err(|reason| RepositoryError::DamagedTree { tree: id, reason })
}

/// The entries of a tree, sorted by name as the format has them.
fn split(json: &[u8]) -> Result<Vec<RawNode>, String> {
    #[derive(Deserialize)]
    struct Tree<'a> {
        #[serde(borrow)]
        nodes: Option<Vec<&'a RawValue>>,
    }
    #[derive(Deserialize)]
    struct Head {
        name: String,
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        size: u64,
        subtree: Option<TreeId>,
    }
    let tree: Tree<'_> = serde_json::from_slice(json).map_err(|e| format!("not a tree: {e}"))?;
    let mut nodes = Vec::new();
    for raw in tree.nodes.unwrap_or_default() {
        let head: Head = serde_json::from_str(raw.get()).map_err(|e| format!("not an entry: {e}"))?;
        nodes.push(RawNode {
            name: go_text::unquote(&head.name)?,
            subtree: head.subtree,
            is_file: head.kind == "file",
            size: head.size,
            text: raw.get().as_bytes().to_vec(),
        });
    }
    if nodes.is_sorted_by(|a, b| a.name < b.name) {
        Ok(nodes)
    } else {
        Err("its entries are not sorted".to_owned())
    }
}

fn join(nodes: &[RawNode]) -> Vec<u8> {
    let mut json = b"{\"nodes\":[".to_vec();
    for (n, node) in nodes.iter().enumerate() {
        if n > 0 {
            json.push(b',');
        }
        json.extend_from_slice(&node.text);
    }
    json.extend_from_slice(b"]}\n");
    json
}

/// A folder's entry with another tree. A quote inside of a string is escaped, so what is looked for is the field.
fn with_subtree(text: &[u8], old: TreeId, new: TreeId) -> Result<Vec<u8>> {
    let field = |id: TreeId| format!("\"subtree\":\"{id}\"");
    let text = String::from_utf8_lossy(text);
    if text.matches(&field(old)).count() != 1 {
        return Err(RepositoryError::DamagedTree {
            tree: old,
            reason: "its folder's entry is written in a way that cannot be changed".to_owned(),
        });
    }
    Ok(text.replace(&field(old), &field(new)).into_bytes())
}

/// The JSON of a snapshot's changed copy; fields that we do not know stay.
fn changed_snapshot(
    json: &[u8],
    id: SnapshotId,
    tree: TreeId,
    tag: &str,
    balance: &Balance,
) -> Result<Vec<u8>, String> {
    use serde_json::Value;
    let unreadable = |e: serde_json::Error| format!("not a snapshot: {e}");
    let mut file: serde_json::Map<String, Value> = serde_json::from_slice(json).map_err(unreadable)?;
    file.insert("tree".to_owned(), Value::from(tree.to_string()));
    file.insert("original".to_owned(), Value::from(id.to_string()));
    let tags = file.entry("tags").or_insert(Value::Null);
    if tags.is_null() {
        *tags = Value::Array(Vec::new());
    }
    if let Value::Array(tags) = tags
        && !tags.iter().any(|known| known == tag)
    {
        tags.push(Value::from(tag));
    }
    if let Some(Value::Object(summary)) = file.get_mut("summary") {
        let changes = [("total_files_processed", balance.files), ("total_bytes_processed", balance.bytes)];
        for (field, change) in changes {
            if let Some(total) = summary.get(field).and_then(Value::as_u64) {
                summary.insert(field.to_owned(), Value::from(total.saturating_add_signed(change)));
            }
        }
    }
    serde_json::to_vec(&file).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_do_not_change_keep_their_text() {
        let (old, new) = (TreeId::of(b"old"), TreeId::of(b"new"));
        let odd = r#"{"name":"a\\\"subtree","type":"file","extended_attributes":[{"name":"x","value":"eA=="}],"content":[]}"#;
        let folder = format!(r#"{{"name":"d","type":"dir","mode":2147484141,"subtree":"{old}","zzz":1}}"#);
        let json = format!("{{\"nodes\":[{odd},{folder}]}}\n");
        let nodes = split(json.as_bytes()).unwrap();
        assert_eq!(join(&nodes), json.as_bytes());
        assert_eq!(nodes[0].name, "a\"subtree");
        let changed = with_subtree(&nodes[1].text, old, new).unwrap();
        assert_eq!(String::from_utf8(changed).unwrap(), folder.replace(&old.to_string(), &new.to_string()));
        assert!(with_subtree(odd.as_bytes(), old, new).is_err());
        assert!(split(br#"{"nodes":[{"name":"b","type":"file"},{"name":"a","type":"file"}]}"#).is_err());
    }

    #[test]
    fn a_change_of_a_folder_covers_what_is_below() {
        let mut changes = Changes::new();
        changes.remove("/a/b/c");
        changes.remove("/a/b");
        changes.remove("/a/b/d");
        let Some(Change::Below(a)) = changes.root.get("a") else { panic!("{changes:?}") };
        assert!(matches!(a.get("b"), Some(Change::Remove)), "{changes:?}");
        assert!(!changes.is_empty() && Changes::new().is_empty());
    }

    #[test]
    fn a_changed_snapshot_keeps_the_fields_that_nobody_knows() {
        let id = SnapshotId::of(b"old");
        let json = br#"{"time":"2020-01-01T00:00:00Z","tree":"00","excludes":["x"],"tags":null,
            "summary":{"total_files_processed":3,"total_bytes_processed":100,"new":1}}"#;
        let balance = Balance { files: -1, bytes: -40 };
        let changed = changed_snapshot(json, id, TreeId::of(b"t"), "repaired", &balance).unwrap();
        let changed: serde_json::Value = serde_json::from_slice(&changed).unwrap();
        assert_eq!(changed["excludes"][0], "x");
        assert_eq!(changed["tags"], serde_json::json!(["repaired"]));
        assert_eq!(changed["original"], id.to_string());
        assert_eq!(changed["summary"]["total_bytes_processed"], 60);
        assert_eq!(changed["summary"]["new"], 1);
    }
}
