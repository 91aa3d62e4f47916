//! Snapshot files.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{SnapshotId, TreeId, host};

/// A snapshot, as its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The file's name.
    pub id: SnapshotId,
    /// When it was taken.
    pub time: Timestamp,
    /// The root of what it holds.
    pub tree: TreeId,
    /// The snapshot that it was compared with.
    pub parent: Option<SnapshotId>,
    /// What was backed up.
    pub paths: Vec<String>,
    /// From where.
    pub hostname: String,
    /// By which user.
    pub username: String,
    /// The user's tags.
    pub tags: Vec<String>,
    /// The snapshot of which this is a changed copy (by `restic tag`, for example).
    pub original: Option<SnapshotId>,
    /// What wrote it, empty if unknown.
    pub program_version: String,
    /// Figures, where the writer left them.
    pub summary: Option<Summary>,
}

/// What a new snapshot says of itself.
#[derive(Debug, Clone)]
pub struct NewSnapshot {
    /// When it was taken.
    pub time: Timestamp,
    /// From where.
    pub hostname: String,
    /// By which user; this process's if empty.
    pub username: String,
    /// What was backed up.
    pub paths: Vec<String>,
    /// The user's tags.
    pub tags: Vec<String>,
    /// The snapshot that it was compared with.
    pub parent: Option<SnapshotId>,
    /// What writes it: `basekeep 0.1.0`.
    pub program_version: String,
}

/// Figures of a backup, as stock restic 0.17 and newer write and show them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// When the backup began.
    pub backup_start: Timestamp,
    /// When it ended.
    pub backup_end: Timestamp,
    /// Files that the parent did not have.
    pub files_new: u64,
    /// Files that differ from the parent's.
    pub files_changed: u64,
    /// Files that do not.
    pub files_unmodified: u64,
    /// Folders that the parent did not have.
    pub dirs_new: u64,
    /// Folders that differ from the parent's.
    pub dirs_changed: u64,
    /// Folders that do not.
    pub dirs_unmodified: u64,
    /// New blobs of file content.
    pub data_blobs: i64,
    /// New blobs of trees.
    pub tree_blobs: i64,
    /// Plain bytes of new blobs.
    pub data_added: u64,
    /// Their bytes in the packs.
    pub data_added_packed: u64,
    /// All files.
    pub total_files_processed: u64,
    /// All bytes.
    pub total_bytes_processed: u64,
}

/// The file's JSON, fields in stock restic's order.
#[derive(Debug, Serialize, Deserialize)]
struct SnapshotFile {
    time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<SnapshotId>,
    tree: TreeId,
    paths: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    hostname: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    uid: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    gid: u32,
    #[serde(default, skip_serializing_if = "no_tags")]
    tags: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original: Option<SnapshotId>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    program_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's calling convention
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[allow(clippy::ref_option)] // serde's calling convention
fn no_tags(tags: &Option<Vec<String>>) -> bool {
    tags.as_ref().is_none_or(Vec::is_empty)
}

/// The JSON of a new snapshot file.
pub(crate) fn encode(
    new: &NewSnapshot,
    tree: TreeId,
    summary: Summary,
) -> Result<Vec<u8>, serde_json::Error> {
    let username = if new.username.is_empty() { host::username() } else { new.username.clone() };
    serde_json::to_vec(&SnapshotFile {
        time: new.time,
        parent: new.parent,
        tree,
        paths: Some(new.paths.clone()),
        hostname: new.hostname.clone(),
        username,
        uid: host::uid(),
        gid: host::gid(),
        tags: Some(new.tags.clone()),
        original: None,
        program_version: new.program_version.clone(),
        summary: Some(summary),
    })
}

/// Reads a snapshot file's JSON.
pub(crate) fn decode(id: SnapshotId, json: &[u8]) -> Result<Snapshot, String> {
    let file: SnapshotFile = serde_json::from_slice(json).map_err(|e| format!("not a snapshot: {e}"))?;
    Ok(Snapshot {
        id,
        time: file.time,
        tree: file.tree,
        parent: file.parent,
        paths: file.paths.unwrap_or_default(),
        hostname: file.hostname,
        username: file.username,
        tags: file.tags.unwrap_or_default(),
        original: file.original,
        program_version: file.program_version,
        summary: file.summary,
    })
}

/// The JSON of a copy in another repository: every field as it is, known or not, but for the parent, which may not be
/// there, and the original, which tells where it came from.
pub(crate) fn for_copy(id: SnapshotId, json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(json)?;
    fields.remove("parent");
    if fields.get("original").is_none_or(|original| original.get() == "null") {
        fields.insert("original".to_owned(), serde_json::value::to_raw_value(&id)?);
    }
    serde_json::to_vec(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_of_the_design_document_is_read() {
        let json = br#"{"time":"2015-01-02T18:10:50.895208559+01:00",
            "tree":"2da81727b6585232894cfbb8f8bdab8d1eccd3d8f7c92bc934d62e62e618ffdf","paths":["/tmp/testdata"],
            "hostname":"kasimir","username":"fd0","uid":1000,"gid":100,"tags":["NL"],"excludes":["x"]}"#;
        let id = SnapshotId::of(b"");
        let snapshot = decode(id, json).unwrap();
        assert_eq!(snapshot.time.to_string(), "2015-01-02T17:10:50.895208559Z");
        assert_eq!(
            (snapshot.paths, snapshot.tags),
            (vec!["/tmp/testdata".to_owned()], vec!["NL".to_owned()])
        );
        assert_eq!(snapshot.parent, None);
        assert!(decode(id, b"{}").is_err());
    }

    #[test]
    fn a_new_snapshot_comes_back_as_it_was() {
        let new = NewSnapshot {
            time: "2024-05-06T07:08:09.5Z".parse().unwrap(),
            hostname: "shop".into(),
            username: "me".into(),
            paths: vec!["/shop".into()],
            tags: vec![],
            parent: Some(SnapshotId::of(b"p")),
            program_version: "basekeep 0.1.0".into(),
        };
        let json = encode(&new, TreeId::of(b"t"), Summary { data_added: 7, ..Summary::default() }).unwrap();
        assert!(!String::from_utf8_lossy(&json).contains("tags"));
        let read = decode(SnapshotId::of(&json), &json).unwrap();
        assert_eq!((read.time, read.tree, read.parent), (new.time, TreeId::of(b"t"), new.parent));
        assert_eq!(read.summary.unwrap().data_added, 7);
    }

    #[test]
    fn a_copy_keeps_every_field_but_its_parent_and_names_its_original() {
        let id = SnapshotId::of(b"s");
        let json = br#"{"time":"2024-01-02T03:04:05.000000001+01:00","parent":"00","x":{"b":1.50,"a":[2]},"tree":"t"}"#;
        let copy = for_copy(id, json).unwrap();
        let expected = format!(
            r#"{{"original":"{id}","time":"2024-01-02T03:04:05.000000001+01:00","tree":"t","x":{{"b":1.50,"a":[2]}}}}"#
        );
        assert_eq!(String::from_utf8(copy.clone()).unwrap(), expected);
        assert_eq!(for_copy(SnapshotId::of(b"other"), &copy).unwrap(), copy, "the first original stays");
    }
}
