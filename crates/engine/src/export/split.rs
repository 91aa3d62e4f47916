//! Definitions as one file for each object, `schema/<schema>/<kind>/<name>.sql`. What belongs to an object is in its file: a table's
//! columns, constraints, indexes, comments, grants. Triggers and policies have files of their own.

pub(super) mod names;

use std::collections::{BTreeMap, HashMap};

use basekeep_archive::{Archive, Entry};
use bstr::{BString, ByteSlice};

use self::names::Names;
use super::job::Job;
use super::place::Folder;
use super::schema;
use super::script::{ScriptOptions, statements};
use super::sink::FILE_MODE;
use crate::EngineError;

/// The folder of all files.
pub(super) const AREA: &str = "schema/";
/// The folder of what is in no schema.
const NOWHERE: &str = "_database";
/// A file begins with the values that these settings have by default.
const DEFAULTS: [(&str, &str); 2] = [
    ("default_tablespace", "SET default_tablespace = '';\n"),
    ("default_table_access_method", "SET default_table_access_method = heap;\n"),
];

/// Writes the files, and removes those of objects that are gone if `complete`. Gives how many were removed.
pub(super) fn write(
    job: &Job<'_>,
    options: &ScriptOptions,
    folder: &mut Folder,
    complete: bool,
) -> Result<u64, EngineError> {
    let archive = &job.contents.archive;
    let order = schema::definitions(job, options);
    let homes = Homes::new(archive);
    let mut files: BTreeMap<(String, String, String), Vec<usize>> = BTreeMap::new();
    for index in order {
        files.entry(place_of(&archive.entries[homes.of(index)])).or_default().push(index);
    }
    let names = Names::of(files.keys());
    for (place, entries) in &files {
        let settings = DEFAULTS.map(|(name, set)| (BString::from(name), BString::from(set)));
        let mut settings: HashMap<BString, BString> = settings.into();
        let mut text = Vec::new();
        for &index in entries {
            let entry = &archive.entries[index];
            let sql = statements(archive, entry, &options.restore(), &mut settings);
            if !sql.is_empty() {
                let title: String =
                    entry.display().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                let between: &[u8] = if text.is_empty() { b"" } else { b"\n" };
                text.extend_from_slice(between);
                text.extend_from_slice(format!("-- {title}\n").as_bytes());
                text.extend_from_slice(&sql);
            }
        }
        if !text.is_empty() {
            folder.keep(&format!("{AREA}{}.sql", names.path(place)), &text, FILE_MODE)?;
        }
    }
    if complete { folder.remove_stale(AREA) } else { Ok(0) }
}

/// Schema, kind and name of the file of an object.
fn place_of(entry: &Entry) -> (String, String, String) {
    let text = |bytes: &Option<BString>| bytes.as_ref().map(ToString::to_string).unwrap_or_default();
    let (namespace, tag) = (text(&entry.namespace), text(&entry.tag));
    let schema = if namespace.is_empty() { NOWHERE.to_owned() } else { names::part(&namespace) };
    match entry.desc.as_slice() {
        b"SCHEMA" => (names::part(&tag), String::new(), "schema".into()),
        b"DEFAULT ACL" => (schema, String::new(), "default-privileges".into()),
        b"ACL" | b"COMMENT" | b"SECURITY LABEL" => (schema, "privileges".into(), entry.display()),
        b"TRIGGER" | b"POLICY" => {
            // The tag is the table's name and its own.
            (schema, format!("{}s", kind(entry)).replace("policys", "policies"), tag.replacen(' ', ".", 1))
        }
        b"OPERATOR" | b"OPERATOR CLASS" | b"OPERATOR FAMILY" => {
            let identity = entry.identity();
            (schema, plural(&kind(entry)), format!("{tag} {}", identity.detail))
        }
        _ => (schema, plural(&kind(entry)), tag.replace(", ", ",")),
    }
}

fn kind(entry: &Entry) -> String {
    entry.desc.to_string().to_lowercase().replace(' ', "-")
}

fn plural(kind: &str) -> String {
    match kind.strip_suffix('y') {
        Some(begin) => format!("{begin}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    }
}

/// Which object's file an entry goes to.
struct Homes<'a> {
    archive: &'a Archive,
    by_id: HashMap<i32, usize>,
}

impl<'a> Homes<'a> {
    fn new(archive: &'a Archive) -> Self {
        let by_id = archive.entries.iter().enumerate().map(|(n, entry)| (entry.dump_id, n)).collect();
        Self { archive, by_id }
    }

    fn of(&self, index: usize) -> usize {
        let mut home = index;
        // An attribute of an index of a table is three steps away.
        for _ in 0..4 {
            match self.above(home) {
                Some(above) => home = above,
                None => break,
            }
        }
        home
    }

    /// The object that this one is a part of.
    fn above(&self, index: usize) -> Option<usize> {
        let entries = &self.archive.entries;
        let entry = &entries[index];
        let below = || entry.dependencies.iter().filter_map(|id| self.by_id.get(id).copied());
        let is_part = |n: &usize| {
            let other = &entries[*n];
            *n != index && other.namespace == entry.namespace && starts_with(entry, other)
        };
        match entry.desc.as_slice() {
            b"ACL" | b"COMMENT" | b"SECURITY LABEL" => {
                below().find(|n| !matches!(entries[*n].desc.as_slice(), b"ACL")).or_else(|| below().next())
            }
            b"PUBLICATION TABLE" | b"PUBLICATION TABLES IN SCHEMA" => {
                below().find(|n| entries[*n].desc == "PUBLICATION")
            }
            b"CONSTRAINT" | b"FK CONSTRAINT" | b"CHECK CONSTRAINT" | b"DEFAULT" | b"ROW SECURITY"
            | b"RULE" | b"TABLE ATTACH" | b"SEQUENCE OWNED BY" => {
                below().filter(is_part).max_by_key(|n| entries[*n].tag.as_ref().map_or(0, |tag| tag.len()))
            }
            b"INDEX" | b"STATISTICS" => {
                below().find(|n| matches!(entries[*n].desc.as_slice(), b"TABLE" | b"MATERIALIZED VIEW"))
            }
            b"INDEX ATTACH" => below()
                .filter(is_part)
                .find(|n| matches!(entries[*n].desc.as_slice(), b"INDEX" | b"CONSTRAINT")),
            _ => None,
        }
    }
}

/// Whether the entry's tag is the other's, alone or followed by more.
fn starts_with(entry: &Entry, other: &Entry) -> bool {
    let (Some(tag), Some(begin)) = (&entry.tag, &other.tag) else { return false };
    tag.strip_prefix(begin.as_slice()).is_some_and(|rest| rest.is_empty() || rest.starts_with_str(" "))
}
