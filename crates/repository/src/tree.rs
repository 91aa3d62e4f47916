//! Trees: folders as JSON (restic's design document, "Trees and Data").

mod scan;

use jiff::Timestamp;
use serde::Deserialize;

pub(crate) use scan::{Reference, scan};

use crate::{BlobId, TreeId, go_text};

/// Go's bit for a folder in a file mode.
const GO_FOLDER: u32 = 1 << 31;
/// Permissions, and set-uid, set-gid and sticky are dropped.
const PERMISSIONS: u32 = 0o777;

/// A folder's entries, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// The entries.
    pub nodes: Vec<Node>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link, or anything else that has no content.
    Other,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, not quoted.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Permissions, nine bits.
    pub mode: u32,
    /// When it was changed last.
    pub modified: Option<Timestamp>,
    /// A file's bytes.
    pub size: u64,
    /// A file's blobs, in order.
    pub content: Vec<BlobId>,
    /// A folder's tree.
    pub subtree: Option<TreeId>,
}

#[derive(Deserialize)]
struct TreeFile {
    nodes: Option<Vec<NodeFile>>,
}

#[derive(Deserialize)]
struct NodeFile {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    mode: u32,
    mtime: Option<String>,
    #[serde(default)]
    size: u64,
    content: Option<Vec<BlobId>>,
    subtree: Option<TreeId>,
}

impl Tree {
    /// The entry of this name.
    pub fn find(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Reads a tree blob.
    pub(crate) fn decode(json: &[u8]) -> Result<Self, String> {
        let file: TreeFile = serde_json::from_slice(json).map_err(|e| format!("not a tree: {e}"))?;
        let nodes = file.nodes.unwrap_or_default().into_iter().map(node).collect::<Result<_, _>>()?;
        Ok(Self { nodes })
    }

    /// Writes a tree blob. The caller has sorted the nodes.
    pub(crate) fn encode(&self, owner: Owner<'_>) -> Vec<u8> {
        let blobs: usize = self.nodes.iter().map(|node| node.content.len()).sum();
        let mut json = Vec::with_capacity(blobs * 67 + self.nodes.len() * 320 + 16);
        json.extend_from_slice(b"{\"nodes\":[");
        for (n, node) in self.nodes.iter().enumerate() {
            if n > 0 {
                json.push(b',');
            }
            push_node(&mut json, node, owner);
        }
        json.extend_from_slice(b"]}\n");
        json
    }
}

/// Writes one entry.
pub(crate) fn encode_node(node: &Node, owner: Owner<'_>) -> Vec<u8> {
    let mut json = Vec::with_capacity(node.content.len() * 67 + 320);
    push_node(&mut json, node, owner);
    json
}

/// Whose the files are said to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) user: &'a str,
}

fn node(file: NodeFile) -> Result<Node, String> {
    let name = go_text::unquote(&file.name)?;
    if name.is_empty() {
        return Err("it has an entry without a name".to_owned());
    }
    let kind = match file.kind.as_str() {
        "file" => NodeKind::File,
        "dir" => NodeKind::Dir,
        _ => NodeKind::Other,
    };
    if kind == NodeKind::Dir && file.subtree.is_none() {
        return Err(format!("its folder '{name}' has no tree"));
    }
    if kind == NodeKind::File && file.content.is_none() {
        return Err(format!("its file '{name}' has no list of blobs"));
    }
    Ok(Node {
        name,
        kind,
        mode: file.mode & PERMISSIONS,
        modified: file.mtime.and_then(|time| time.parse().ok()),
        size: file.size,
        content: file.content.unwrap_or_default(),
        subtree: file.subtree,
    })
}

/// Fields in the order in which stock restic writes them; what is empty is left out where it leaves it out.
fn push_node(json: &mut Vec<u8>, node: &Node, owner: Owner<'_>) {
    let (kind, mode) = match node.kind {
        NodeKind::Dir => ("dir", node.mode | GO_FOLDER),
        NodeKind::File | NodeKind::Other => ("file", node.mode),
    };
    json.extend_from_slice(b"{\"name\":");
    go_text::push_json(json, &go_text::quote(&node.name));
    json.extend_from_slice(format!(",\"type\":\"{kind}\"").as_bytes());
    if mode != 0 {
        json.extend_from_slice(format!(",\"mode\":{mode}").as_bytes());
    }
    let time = node.modified.unwrap_or(Timestamp::UNIX_EPOCH);
    let (uid, gid) = (owner.uid, owner.gid);
    json.extend_from_slice(
        format!(
            ",\"mtime\":\"{time}\",\"atime\":\"{time}\",\"ctime\":\"{time}\",\"uid\":{uid},\"gid\":{gid}"
        )
        .as_bytes(),
    );
    if !owner.user.is_empty() {
        json.extend_from_slice(b",\"user\":");
        go_text::push_json(json, owner.user);
    }
    if node.size != 0 {
        json.extend_from_slice(format!(",\"size\":{}", node.size).as_bytes());
    }
    match node.subtree {
        Some(subtree) => {
            json.extend_from_slice(format!(",\"content\":null,\"subtree\":\"{subtree}\"").as_bytes());
        }
        None => push_content(json, &node.content),
    }
    json.push(b'}');
}

fn push_content(json: &mut Vec<u8>, content: &[BlobId]) {
    json.extend_from_slice(b",\"content\":[");
    for (n, blob) in content.iter().enumerate() {
        json.extend_from_slice(if n == 0 { b"\"" } else { b",\"" });
        let start = json.len();
        json.resize(start + 64, 0);
        // The slice is exactly twice as long as the id.
        let _ = hex::encode_to_slice(blob.as_bytes(), &mut json[start..]);
        json.push(b'"');
    }
    json.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWNER: Owner<'static> = Owner { uid: 0, gid: 7, user: "root" };

    #[test]
    fn a_tree_is_written_as_stock_restic_writes_it() {
        let time = "2024-01-02T03:04:05.06Z".parse().ok();
        let file = Node {
            name: "a<\"\n".into(),
            kind: NodeKind::File,
            mode: 0o600,
            modified: time,
            size: 3,
            content: vec![BlobId::of(b"abc")],
            subtree: None,
        };
        let folder = Node {
            name: "d".into(),
            kind: NodeKind::Dir,
            mode: 0o700,
            size: 0,
            content: vec![],
            subtree: Some(TreeId::of(b"x")),
            ..file.clone()
        };
        let tree = Tree { nodes: vec![file, folder] };
        let json = tree.encode(OWNER);
        let times = r#""mtime":"2024-01-02T03:04:05.06Z","atime":"2024-01-02T03:04:05.06Z","ctime":"2024-01-02T03:04:05.06Z""#;
        let expected = format!(
            "{{\"nodes\":[{{\"name\":\"a\\u003c\\\\\\\"\\\\n\",\"type\":\"file\",\"mode\":384,{times},\"uid\":0,\"gid\":7,\
             \"user\":\"root\",\"size\":3,\"content\":[\"{}\"]}},{{\"name\":\"d\",\"type\":\"dir\",\"mode\":2147484096,\
             {times},\"uid\":0,\"gid\":7,\"user\":\"root\",\"content\":null,\"subtree\":\"{}\"}}]}}\n",
            BlobId::of(b"abc"),
            TreeId::of(b"x")
        );
        assert_eq!(String::from_utf8(json.clone()).unwrap(), expected);
        assert_eq!(Tree::decode(&json).unwrap(), tree);
    }

    #[test]
    fn what_cannot_be_a_tree_is_refused() {
        for bad in [
            "",
            "[]",
            r#"{"nodes":[{"name":"","type":"file","content":[]}]}"#,
            r#"{"nodes":[{"name":"a","type":"file","content":null}]}"#,
            r#"{"nodes":[{"name":"a","type":"dir"}]}"#,
            r#"{"nodes":[{"name":"\\q","type":"file","content":[]}]}"#,
        ] {
            assert!(Tree::decode(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(Tree::decode(br#"{"nodes":null}"#).unwrap(), Tree::default());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Tree::decode(&bytes);
        }
    }
}
