//! What a snapshot loses by damage, in the words of databases: from paths that cannot be read to tables, large objects
//! and files, and which of them can be written anew. Pure: it reads nothing.

use std::collections::BTreeMap;

use crate::stored::manifest::Manifest;
use crate::stored::path;

/// Paths below the source's folder that cannot be read, each with the damaged files to blame.
pub(super) type LostPaths = BTreeMap<String, Vec<String>>;

/// Something that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// As a person would name it: `rows of public.orders`.
    pub what: String,
    /// Why: `lost to damage in pack 3fa91b2c`.
    pub reason: String,
}

/// The damage of one snapshot that basekeep made, sorted out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// What a restore will lack.
    pub(super) lost: Vec<Loss>,
    /// Files of tables whose rows are gone.
    pub(super) tables: Vec<String>,
    /// Large objects whose contents are gone.
    pub(super) large_objects: Vec<u32>,
    /// Files that list large objects, below [`path::DATABASE`]. They are written anew.
    pub(super) lists: Vec<String>,
    /// Files that are written anew from others.
    pub(super) rebuilt: Vec<String>,
    /// Files and folders that go away.
    pub(super) removed: Vec<String>,
}

/// Sorts the lost paths out. An error says why nothing is left that could be restored.
pub(super) fn sort_out(paths: &LostPaths, manifest: &Manifest) -> Result<Losses, String> {
    let mut losses = Losses::default();
    let globals_are_left = !paths.contains_key(path::GLOBALS_JSON);
    for (name, files) in paths {
        let reason = reason(files);
        let mut lose = |what: String| losses.lost.push(Loss { what, reason: reason.clone() });
        if let Some(table) = manifest.tables.iter().find(|table| table.file == *name) {
            lose(format!("rows of {}.{}", table.schema, table.name));
            losses.tables.push(name.clone());
            losses.removed.push(name.clone());
            continue;
        }
        if let Some(oid) = large_object(name) {
            lose(format!("content of large object {oid}"));
            losses.large_objects.push(oid);
            continue;
        }
        match name.as_str() {
            "" => return Err(format!("the whole folder is {reason}")),
            path::DATABASE | path::TOC => return Err(format!("the table of contents is {reason}")),
            path::MANIFEST_JSON => return Err(format!("the manifest is {reason}")),
            path::MANIFEST_MD | path::RESTORE_SH => losses.rebuilt.push(name.clone()),
            path::GLOBALS_SQL if globals_are_left => losses.rebuilt.push(name.clone()),
            path::GLOBALS_SQL => losses.removed.push(name.clone()),
            path::GLOBALS_JSON => {
                lose("roles and settings".to_owned());
                losses.removed.push(name.clone());
            }
            // Losing it costs one full read.
            path::RANGES => losses.removed.push(name.clone()),
            path::COLUMNS => {
                lose("the types of columns".to_owned());
                losses.removed.push(name.clone());
            }
            _ => match list_of_large_objects(name) {
                Some(list) => {
                    losses.lists.push(list.to_owned());
                    losses.rebuilt.push(name.clone());
                }
                None => {
                    lose(name.clone());
                    losses.removed.push(name.clone());
                }
            },
        }
    }
    Ok(losses)
}

/// `lost to damage in pack 3fa91b2c`.
pub(super) fn reason(files: &[String]) -> String {
    let named: Vec<String> = files.iter().filter_map(|file| short(file)).collect();
    match named.as_slice() {
        [] => "lost to damage".to_owned(),
        named => format!("lost to damage in {}", named.join(" and ")),
    }
}

/// `pack 3fa91b2c` for `data/3f/3fa91b2c…`; nothing for what has no name.
fn short(file: &str) -> Option<String> {
    let (folder, rest) = file.split_once('/')?;
    let name = rest.rsplit('/').next().filter(|name| !name.is_empty())?;
    let kind = match folder {
        "data" => "pack",
        "index" => "index file",
        "snapshots" => "snapshot file",
        _ => folder,
    };
    Some(format!("{kind} {}", name.get(..8).unwrap_or(name)))
}

/// The oid in `database/blob_<oid>.dat`.
pub(super) fn large_object(name: &str) -> Option<u32> {
    let file = name.strip_prefix(path::DATABASE)?.strip_prefix('/')?;
    file.strip_prefix("blob_")?.strip_suffix(".dat")?.parse().ok()
}

/// The file's name below [`path::DATABASE`], if it lists large objects.
fn list_of_large_objects(name: &str) -> Option<&str> {
    let file = name.strip_prefix(path::DATABASE)?.strip_prefix('/')?;
    (file.starts_with("blobs") && file.ends_with(".toc")).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> LostPaths {
        names.iter().map(|name| ((*name).to_owned(), vec!["data/3f/3fa91b2c00".to_owned()])).collect()
    }

    fn manifest() -> Manifest {
        serde_json::from_str(
            r#"{"version":1,"basekeep":"0.1.0","source":"shop","time":"2024-05-06T07:08:09Z","duration_seconds":1,
                "server":{"version":"15.1","version_num":150001,"database":"shop","encoding":"UTF8","collate":"C",
                "ctype":"C","system_identifier":null,"in_recovery":false,"snapshot":"1:1:","lsn":null},
                "pg_dump":"15.1","totals":{"tables":1,"rows":2,"bytes":3,"taken_over_bytes":0,"added_bytes":4},
                "components":{},"tables":[{"schema":"public","name":"orders","dump_id":7,"file":"database/7.dat","rows":2,
                "bytes":3,"digest":"00"}],"sequences":[],"large_objects":{"count":0,"bytes":0,"digest":""},
                "extensions":[],"roles":[],"circular_foreign_keys":[],"not_captured":[],"warnings":[]}"#,
        )
        .unwrap()
    }

    #[test]
    fn tables_and_large_objects_are_named_and_what_can_be_derived_is_not_lost() {
        let paths = paths(&[
            "database/7.dat",
            "database/blob_16402.dat",
            "database/blobs.toc",
            "MANIFEST.md",
            "ranges",
            "globals.sql",
        ]);
        let losses = sort_out(&paths, &manifest()).unwrap();
        let lost: Vec<&str> = losses.lost.iter().map(|loss| loss.what.as_str()).collect();
        assert_eq!(lost, ["rows of public.orders", "content of large object 16402"]);
        assert_eq!(losses.lost[0].reason, "lost to damage in pack 3fa91b2c");
        assert_eq!(losses.rebuilt, ["MANIFEST.md", "database/blobs.toc", "globals.sql"]);
        assert_eq!(losses.removed, ["database/7.dat", "ranges"]);
        assert_eq!((losses.large_objects, losses.lists), (vec![16402], vec!["blobs.toc".to_owned()]));
    }

    #[test]
    fn roles_are_lost_with_the_file_that_they_are_derived_from() {
        let losses = sort_out(&paths(&["globals.json"]), &manifest()).unwrap();
        assert_eq!((losses.lost.len(), losses.removed.len()), (1, 1));
        let losses = sort_out(&paths(&["globals.json", "globals.sql"]), &manifest()).unwrap();
        assert_eq!((losses.lost.len(), losses.removed.len(), losses.rebuilt.len()), (1, 2, 0));
    }

    #[test]
    fn without_a_table_of_contents_nothing_can_be_restored() {
        for fatal in ["", "database", "database/toc.dat", "manifest.json"] {
            assert!(sort_out(&paths(&[fatal]), &manifest()).is_err(), "{fatal}");
        }
    }

    #[test]
    fn damage_without_a_name_is_still_a_reason() {
        assert_eq!(reason(&["index/".to_owned()]), "lost to damage");
        assert_eq!(
            reason(&["index/".to_owned(), "index/0123456789".to_owned()]),
            "lost to damage in index file 01234567"
        );
    }
}
