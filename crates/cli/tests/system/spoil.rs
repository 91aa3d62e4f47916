//! Damages exactly what a test names: stock restic says in which pack a file's blob lies, and one bit of it is flipped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::program::Bench;

/// Flips a bit in the first blob of a file of this snapshot, such as `/source/database/12.dat`; the pack's name.
pub(crate) fn spoil(bench: &Bench, snapshot: &str, path: &str) -> String {
    let node = node(bench, snapshot, path);
    let blob = match node["content"].as_array().filter(|blobs| !blobs.is_empty()) {
        Some(blobs) => blobs[0].as_str().unwrap().to_owned(),
        None => node["subtree"].as_str().unwrap_or_else(|| panic!("{path} has no blob")).to_owned(),
    };
    spoil_blob(bench, &blob)
}

/// Flips a bit in the root tree of a snapshot.
pub(crate) fn spoil_root(bench: &Bench, snapshot: &str) -> String {
    spoil_blob(bench, cat(bench, "snapshot", snapshot)["tree"].as_str().unwrap())
}

fn spoil_blob(bench: &Bench, blob: &str) -> String {
    let (pack, offset) = place(bench, blob);
    let file = pack_file(bench, &pack);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[offset + 20] ^= 4;
    fs::write(&file, bytes).unwrap();
    pack
}

fn pack_file(bench: &Bench, pack: &str) -> PathBuf {
    bench.repo().join("data").join(&pack[..2]).join(pack)
}

/// The pack that holds a blob, and where.
fn place(bench: &Bench, blob: &str) -> (String, usize) {
    for index in ids(bench, "index") {
        for pack in cat(bench, "index", &index)["packs"].as_array().unwrap() {
            let found = pack["blobs"].as_array().unwrap().iter().find(|found| found["id"] == blob);
            if let Some(found) = found {
                let offset = usize::try_from(found["offset"].as_u64().unwrap()).unwrap();
                return (pack["id"].as_str().unwrap().to_owned(), offset);
            }
        }
    }
    panic!("no index names blob {blob}");
}

/// The entry at a path.
pub(crate) fn node(bench: &Bench, snapshot: &str, path: &str) -> Value {
    let mut tree = cat(bench, "snapshot", snapshot)["tree"].as_str().unwrap().to_owned();
    let mut found = Value::Null;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let nodes = cat(bench, "blob", &tree)["nodes"].take();
        found = nodes
            .as_array()
            .unwrap()
            .iter()
            .find(|node| node["name"] == name)
            .unwrap_or_else(|| panic!("{path} is not there"))
            .clone();
        found["subtree"].as_str().unwrap_or_default().clone_into(&mut tree);
    }
    found
}

fn cat(bench: &Bench, kind: &str, id: &str) -> Value {
    bench.restic(["cat", kind, id]).expect(0).json()
}

/// Ids of the repository's files of a kind, such as `index`.
pub(crate) fn ids(bench: &Bench, folder: &str) -> Vec<String> {
    let files = fs::read_dir(bench.repo().join(folder)).unwrap();
    files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
