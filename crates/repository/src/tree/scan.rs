//! Going through a tree without keeping it: a table of a tebibyte has millions of blobs, and a walk over all trees needs
//! each of their ids for a moment only.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::{BlobId, TreeId, go_text};

#[derive(Deserialize)]
struct TreeFile<'a> {
    #[serde(borrow)]
    nodes: Option<Vec<NodeFile<'a>>>,
}

#[derive(Deserialize)]
struct NodeFile<'a> {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    subtree: Option<TreeId>,
}

/// What a tree refers to.
pub(crate) enum Reference {
    /// A blob of a file's content.
    Content(BlobId),
    /// A folder's tree.
    Subtree(TreeId),
}

/// Tells everything that a tree refers to, with the name of the entry. Refuses what [`crate::Tree::decode`] refuses.
pub(crate) fn scan(json: &[u8], mut tell: impl FnMut(&str, Reference)) -> Result<(), String> {
    let not_a_tree = |e| format!("not a tree: {e}");
    let file: TreeFile<'_> = serde_json::from_slice(json).map_err(not_a_tree)?;
    for node in file.nodes.unwrap_or_default() {
        let name = go_text::unquote(&node.name)?;
        match (node.kind.as_str(), node.content, node.subtree) {
            _ if name.is_empty() => return Err("it has an entry without a name".to_owned()),
            ("dir", _, None) => return Err(format!("its folder '{name}' has no tree")),
            ("file", None, _) => return Err(format!("its file '{name}' has no list of blobs")),
            (_, content, subtree) => {
                if let Some(content) = content {
                    let mut list = serde_json::Deserializer::from_str(content.get());
                    let each = Each(|blob| tell(&name, Reference::Content(blob)));
                    each.deserialize(&mut list).map_err(not_a_tree)?;
                }
                if let Some(subtree) = subtree {
                    tell(&name, Reference::Subtree(subtree));
                }
            }
        }
    }
    Ok(())
}

/// Hands on the ids of a list one by one.
struct Each<F>(F);

impl<'de, F: FnMut(BlobId)> DeserializeSeed<'de> for Each<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, list: D) -> Result<(), D::Error> {
        list.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(BlobId)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(blob) = list.next_element()? {
            (self.0)(blob);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tree;
    use crate::tree::{Node, NodeKind, Owner};

    #[test]
    fn a_scan_meets_what_decoding_finds() {
        let node = |name: &str, kind, content, subtree| Node {
            name: name.into(),
            kind,
            mode: 0o600,
            modified: None,
            size: 1,
            content,
            subtree,
        };
        let blobs: Vec<BlobId> = (0..50_u8).map(|n| BlobId::of(&[n])).collect();
        let tree = Tree {
            nodes: vec![
                node("a\"b", NodeKind::File, blobs.clone(), None),
                node("d", NodeKind::Dir, vec![], Some(TreeId::of(b"d"))),
                node("empty", NodeKind::File, vec![], None),
            ],
        };
        let json = tree.encode(Owner { uid: 0, gid: 0, user: "x" });
        let (mut found, mut folders) = (Vec::new(), Vec::new());
        scan(&json, |name, reference| match reference {
            Reference::Content(blob) => {
                assert_eq!(name, "a\"b");
                found.push(blob);
            }
            Reference::Subtree(id) => folders.push((name.to_owned(), id)),
        })
        .unwrap();
        assert_eq!((found, folders), (blobs, vec![("d".to_owned(), TreeId::of(b"d"))]));
    }

    #[test]
    fn a_scan_refuses_what_decoding_refuses() {
        for json in [
            "",
            "[]",
            r#"{"nodes":[{"name":"","type":"file","content":[]}]}"#,
            r#"{"nodes":[{"name":"a","type":"file","content":null}]}"#,
            r#"{"nodes":[{"name":"a","type":"file"}]}"#,
            r#"{"nodes":[{"name":"a","type":"file","content":["00"]}]}"#,
            r#"{"nodes":[{"name":"a","type":"dir"}]}"#,
            r#"{"nodes":[{"name":"\\q","type":"file","content":[]}]}"#,
            r#"{"nodes":[{"name":"a","type":"symlink"}]}"#,
            r#"{"nodes":null}"#,
            r#"{}"#,
        ] {
            let scanned = scan(json.as_bytes(), |_, _| {});
            assert_eq!(scanned.is_ok(), Tree::decode(json.as_bytes()).is_ok(), "{json}");
        }
    }
}
