//! Storage files, by the snapshots' indexes, and edge functions, migrations and the project's files, by their trees.
//!
//! Both indexes are sorted, so they are read side by side; folders that are one tree in both snapshots are not opened.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use basekeep_repository::{Node, NodeKind, Repository, Snapshot, TreeId};
use basekeep_supabase::storage::index::{Line, Object, Reader};

use super::Options;
use super::items::{Field, Items};
use crate::{EngineError, ResultExt, listing};

/// Folders below the source's, and what a file in them is.
const FOLDERS: [(&str, &str, &str); 3] = [
    ("functions", "edge function file", "edge function files"),
    ("migrations", "migration", "migrations"),
    ("project", "project file", "project files"),
];
/// Folders are followed this deep.
const DEEPEST: usize = 64;

pub(super) async fn compare(
    repository: &Repository,
    a: &Snapshot,
    b: &Snapshot,
    options: &Options,
) -> Result<Vec<Items>, EngineError> {
    let mut all = storage(repository, a, b, options.limit).await?;
    for (folder, kind, kinds) in FOLDERS {
        let mut items = Items::new(kind, kinds);
        let (left, right) = (top(repository, a, folder).await?, top(repository, b, folder).await?);
        let mut walk = vec![(String::new(), left, right)];
        while let Some((path, left, right)) = walk.pop() {
            let deep = path.matches('/').count() >= DEEPEST;
            if left == right || deep {
                continue;
            }
            let doing = || format!("read the folder {folder}/{path}");
            let (left, right) =
                (nodes(repository, left).await.doing(doing)?, nodes(repository, right).await.doing(doing)?);
            let names: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for name in names.into_iter().rev() {
                let (left, right) = (left.get(name), right.get(name));
                let full = format!("{path}{name}");
                let subtree = |node: Option<&Node>| node.and_then(|node| node.subtree);
                if subtree(left).is_some() || subtree(right).is_some() {
                    walk.push((format!("{full}/"), subtree(left), subtree(right)));
                }
                let (left, right) = (left.and_then(file), right.and_then(file));
                items.add(&full, left.as_deref(), right.as_deref(), options.limit);
            }
        }
        items.shown.sort_by(|x, y| x.name.cmp(&y.name));
        all.extend(items.if_any());
    }
    Ok(all)
}

async fn top(
    repository: &Repository,
    snapshot: &Snapshot,
    folder: &str,
) -> Result<Option<TreeId>, EngineError> {
    let path = format!("{}/{folder}", listing::folder(snapshot));
    let node = repository.node_at(snapshot, &path).await.doing(|| format!("read the folder {folder}"))?;
    Ok(node.and_then(|node| node.subtree))
}

async fn nodes(repository: &Repository, tree: Option<TreeId>) -> Result<BTreeMap<String, Node>, EngineError> {
    let Some(tree) = tree else { return Ok(BTreeMap::new()) };
    let tree = repository.tree(&tree).await?;
    Ok(tree.nodes.into_iter().map(|node| (node.name.clone(), node)).collect())
}

/// What tells a file from another: its size, and its blobs (which name its content).
fn file(node: &Node) -> Option<Vec<Field>> {
    if node.kind != NodeKind::File {
        return None;
    }
    let mut fields = vec![Field::new("size", node.size)];
    let blobs: Vec<String> = node.content.iter().map(ToString::to_string).collect();
    match &blobs[..] {
        [] => {}
        // One blob's id is the SHA-256 of the file.
        [one] => fields.push(Field::new("sha256", one)),
        many => fields.push(Field::new("content", many.join(" "))),
    }
    Some(fields)
}

/// The index line by line: buckets, then objects.
struct Lines(Option<Reader>);

enum Entry {
    Bucket(String, Vec<Field>),
    Object(Box<Object>),
}

impl Lines {
    async fn open(repository: &Repository, snapshot: &Snapshot) -> Result<Self, EngineError> {
        let reader = Reader::open(repository, snapshot, listing::folder(snapshot)).await;
        Ok(Self(reader.doing(|| "read the index of storage files")?))
    }

    async fn next(&mut self) -> Result<Option<Entry>, EngineError> {
        let Some(reader) = &mut self.0 else { return Ok(None) };
        Ok(match reader.next().await.doing(|| "read the index of storage files")? {
            Some(Line::Bucket(row)) => {
                let name = row.get("id").and_then(|id| id.as_str()).unwrap_or_default().to_owned();
                let times = |name: &str| matches!(name, "updated_at" | "created_at");
                let columns = row.as_object().into_iter().flatten().filter(|(name, _)| !times(name));
                Some(Entry::Bucket(name, columns.map(|(name, value)| Field::new(name, value)).collect()))
            }
            Some(Line::Object(object)) => Some(Entry::Object(object)),
            Some(Line::Header { .. }) => {
                return Err(EngineError::failed("the index of storage files has two headers"));
            }
            None => None,
        })
    }
}

async fn storage(
    repository: &Repository,
    a: &Snapshot,
    b: &Snapshot,
    limit: usize,
) -> Result<Vec<Items>, EngineError> {
    let (mut lines_a, mut lines_b) = (Lines::open(repository, a).await?, Lines::open(repository, b).await?);
    let mut buckets = (BTreeMap::new(), BTreeMap::new());
    let mut files = Items::new("storage file", "storage files");
    let (mut left, mut right) = (lines_a.next().await?, lines_b.next().await?);
    loop {
        match (left, right) {
            (Some(Entry::Bucket(name, fields)), other) => {
                buckets.0.insert(name, fields);
                (left, right) = (lines_a.next().await?, other);
            }
            (other, Some(Entry::Bucket(name, fields))) => {
                buckets.1.insert(name, fields);
                (left, right) = (other, lines_b.next().await?);
            }
            (None, None) => break,
            (Some(Entry::Object(x)), None) => {
                files.add(&name(&x), Some(&object(&x)), None, limit);
                (left, right) = (lines_a.next().await?, None);
            }
            (None, Some(Entry::Object(y))) => {
                files.add(&name(&y), None, Some(&object(&y)), limit);
                (left, right) = (None, lines_b.next().await?);
            }
            (Some(Entry::Object(x)), Some(Entry::Object(y))) => {
                match (x.bucket(), x.name()).cmp(&(y.bucket(), y.name())) {
                    Ordering::Less => {
                        files.add(&name(&x), Some(&object(&x)), None, limit);
                        (left, right) = (lines_a.next().await?, Some(Entry::Object(y)));
                    }
                    Ordering::Greater => {
                        files.add(&name(&y), None, Some(&object(&y)), limit);
                        (left, right) = (Some(Entry::Object(x)), lines_b.next().await?);
                    }
                    Ordering::Equal => {
                        let (fields_x, fields_y) = match same_file(&x, &y) {
                            true => (Vec::new(), Vec::new()),
                            false => (object(&x), object(&y)),
                        };
                        files.add(&name(&x), Some(&fields_x), Some(&fields_y), limit);
                        (left, right) = (lines_a.next().await?, lines_b.next().await?);
                    }
                }
            }
        }
    }
    let buckets = Items::of("bucket", "buckets", &buckets.0, &buckets.1, limit);
    Ok([buckets, files.if_any()].into_iter().flatten().collect())
}

fn name(object: &Object) -> String {
    format!("{}/{}", object.bucket(), object.name())
}

/// Whether two files have the same content. Their MD5 says so where both were fetched.
fn same_file(x: &Object, y: &Object) -> bool {
    match (&x.md5, &y.md5) {
        (Some(a), Some(b)) => a == b && x.size == y.size,
        _ => x.size == y.size && x.etag == y.etag && x.md5 == y.md5 && x.missing == y.missing,
    }
}

fn object(object: &Object) -> Vec<Field> {
    let mut fields = vec![Field::new("size", object.size)];
    fields.extend(Field::some("md5", object.md5.as_ref()));
    fields.extend(Field::some("etag", object.etag.as_ref()));
    fields.extend(Field::some("missing", object.missing.as_ref()));
    fields
}
