//! Counting what an archive holds.

use std::collections::BTreeMap;

use crate::model::Archive;

/// How many entries of each kind there are, e.g. `TABLE` → 12. The archive's own settings are not counted.
pub fn inventory(archive: &Archive) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in &archive.entries {
        if !matches!(entry.desc.as_slice(), b"ENCODING" | b"STDSTRINGS" | b"SEARCHPATH") {
            *counts.entry(entry.desc.to_string()).or_insert(0) += 1;
        }
    }
    counts
}
