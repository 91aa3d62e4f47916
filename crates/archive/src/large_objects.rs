//! Entries for large objects.
//!
//! Up to archive version 1.15 each object has a `BLOB` entry, and one `BLOBS` entry stands for the contents of all.
//! From 1.16 on objects of one owner and one set of privileges share a `BLOB METADATA` and a `BLOBS` entry
//! (`getLOs`, `dumpLO`).

use std::collections::HashMap;

use bstr::BString;

use crate::acl::{AclCommands, large_object_acl};
use crate::data::{DataRank, Draft, NewEntry};
use crate::error::ArchiveError;
use crate::model::{Archive, CatalogId, Section, Version};
use crate::quote::{quote_identifier, quote_literal};

/// The oid of `pg_largeobject`, which stands for large objects in dependencies.
const PG_LARGEOBJECT: u32 = 2613;

/// How many large objects share one entry at most.
const GROUP_LIMIT: usize = 1000;

/// A large object, without its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeObject {
    /// Its oid.
    pub oid: u32,
    /// Its owner.
    pub owner: String,
    /// Its access control items as the server prints them, e.g. `bob=rw/alice`; `None` for the default.
    pub acl: Option<Vec<String>>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its security labels: provider and label.
    pub security_labels: Vec<(String, String)>,
}

/// Where the contents of large objects go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LargeObjectEntries {
    /// The files that list large objects.
    pub blobs: Vec<BlobsFile>,
}

/// A file that lists large objects: one line `<oid> blob_<oid>.dat` each. Their contents are in those files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobsFile {
    /// The `BLOBS` entry.
    pub dump_id: i32,
    /// The list's file name.
    pub toc_name: String,
    /// The objects, in the order of the list.
    pub objects: Vec<u32>,
}

impl Archive {
    /// Adds entries for large objects: their creation, owner, comment, labels, privileges and contents.
    ///
    /// # Errors
    /// The archive is not a directory archive, an access control item is malformed, or a text does not fit the
    /// archive's encoding. The archive is unchanged then.
    pub fn add_large_objects(&mut self, objects: &[LargeObject]) -> Result<LargeObjectEntries, ArchiveError> {
        let mut objects: Vec<_> = objects
            .iter()
            .map(|object| {
                let acl = object.acl.as_deref();
                Ok((object, acl.map(|items| large_object_acl(object.oid, &object.owner, items)).transpose()?))
            })
            .collect::<Result<_, ArchiveError>>()?;
        objects.sort_by_key(|(object, _)| object.oid);
        if self.header.version >= Version::RELKIND {
            self.add_grouped(objects)
        } else {
            self.add_one_by_one(objects)
        }
    }

    fn add_one_by_one(&mut self, mut objects: Group<'_>) -> Result<LargeObjectEntries, ArchiveError> {
        objects.sort_by_cached_key(|(object, _)| object.oid.to_string());
        if objects.is_empty() {
            return Ok(LargeObjectEntries::default());
        }
        let mut draft = Draft::new(self)?;
        for (object, acl) in &objects {
            let tag = object.oid.to_string();
            let id = draft.push(NewEntry {
                catalog: CatalogId { table_oid: PG_LARGEOBJECT, oid: object.oid },
                desc: "BLOB",
                section: Section::PreData,
                tag: &tag,
                owner: Some(&object.owner),
                defn: Some(format!("SELECT pg_catalog.lo_create('{tag}');\n").into()),
                drop_stmt: Some(format!("SELECT pg_catalog.lo_unlink('{tag}');\n").into()),
                ..NewEntry::default()
            })?;
            draft.comment_and_labels(object, id)?;
            draft.acl(acl.as_ref(), &format!("LARGE OBJECT {tag}"), &object.owner, id)?;
        }
        let position = draft
            .archive
            .entries
            .iter()
            .position(|e| matches!(e.section, Section::Data | Section::PostData))
            .unwrap_or(draft.archive.entries.len());
        draft.insert_at(position);

        let mut draft = Draft::new(self)?;
        let dump_id = draft.push(NewEntry {
            had_dumper: true,
            desc: "BLOBS",
            section: Section::Data,
            tag: "BLOBS",
            ..NewEntry::default()
        })?;
        draft.insert(DataRank::LargeObjectData);
        let objects = objects.iter().map(|(object, _)| object.oid).collect();
        Ok(LargeObjectEntries {
            blobs: vec![BlobsFile { dump_id, toc_name: "blobs.toc".to_owned(), objects }],
        })
    }

    fn add_grouped(&mut self, objects: Group<'_>) -> Result<LargeObjectEntries, ArchiveError> {
        let groups = group(objects);
        let mut draft = Draft::new(self)?;
        let mut metadata = Vec::with_capacity(groups.len());
        for group in &groups {
            metadata.push(draft.metadata(group)?);
        }
        draft.insert(DataRank::LargeObject);

        let mut draft = Draft::new(self)?;
        let mut entries = LargeObjectEntries::default();
        for (group, id) in groups.iter().zip(metadata) {
            let dump_id = draft.push(NewEntry {
                had_dumper: true,
                desc: "BLOBS",
                section: Section::Data,
                tag: &group_name(group),
                owner: group.first().map(|(object, _)| object.owner.as_str()),
                depends_on: vec![id],
                ..NewEntry::default()
            })?;
            entries.blobs.push(BlobsFile {
                dump_id,
                toc_name: format!("blobs_{dump_id}.toc"),
                objects: group.iter().map(|(object, _)| object.oid).collect(),
            });
        }
        draft.insert(DataRank::LargeObjectData);
        Ok(entries)
    }
}

type Group<'a> = Vec<(&'a LargeObject, Option<AclCommands>)>;

/// Objects with the same owner and privileges together, sorted by name as pg_dump sorts all entries. Privileges that
/// another role than the owner granted stay alone: pg_restore cannot repeat the statements that switch the session's
/// user for each object of a group.
fn group(objects: Group<'_>) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut open: HashMap<(&str, Option<&[String]>), usize> = HashMap::new();
    for (object, acl) in objects {
        let alone = acl.as_ref().is_some_and(|acl| acl.foreign_grantor);
        let key = (object.owner.as_str(), object.acl.as_deref());
        let group = open.get(&key).and_then(|index| groups.get_mut(*index));
        match group.filter(|group| !alone && group.len() < GROUP_LIMIT) {
            Some(group) => group.push((object, acl)),
            None => {
                open.insert(key, groups.len());
                groups.push(vec![(object, acl)]);
            }
        }
    }
    groups.sort_by_cached_key(group_name);
    groups
}

fn group_name(group: &Group<'_>) -> String {
    match (group.first(), group.last()) {
        (Some((first, _)), Some((last, _))) if group.len() > 1 => format!("{}..{}", first.oid, last.oid),
        (Some((first, _)), _) => first.oid.to_string(),
        _ => String::new(),
    }
}

impl Draft<'_> {
    fn metadata(&mut self, group: &Group<'_>) -> Result<i32, ArchiveError> {
        let Some((first, acl)) = group.first() else { return Err(ArchiveError::NoFreeDumpId) };
        let name = group_name(group);
        let oids: String = group.iter().map(|(object, _)| format!("{}\n", object.oid)).collect();
        let id = self.push(NewEntry {
            catalog: CatalogId { table_oid: PG_LARGEOBJECT, oid: first.oid },
            desc: "BLOB METADATA",
            section: Section::Data,
            tag: &name,
            owner: Some(&first.owner),
            defn: Some(oids.into()),
            drop_stmt: Some("-- dummy".into()),
            ..NewEntry::default()
        })?;
        for (object, _) in group {
            self.comment_and_labels(object, id)?;
        }
        let tag = if group.len() > 1 {
            format!("LARGE OBJECTS {name}")
        } else {
            format!("LARGE OBJECT {}", first.oid)
        };
        self.acl(acl.as_ref(), &tag, &first.owner, id)?;
        Ok(id)
    }

    fn comment_and_labels(&mut self, object: &LargeObject, depends_on: i32) -> Result<(), ArchiveError> {
        let tag = format!("LARGE OBJECT {}", object.oid);
        let standard_strings = self.archive.standard_strings();
        let mut push = |desc: &str, defn: BString| {
            self.check_encoding([&defn])?;
            self.push(NewEntry {
                desc,
                tag: &tag,
                owner: Some(&object.owner),
                defn: Some(defn),
                depends_on: vec![depends_on],
                ..NewEntry::default()
            })
        };
        if let Some(comment) = &object.comment {
            let literal = quote_literal(comment, standard_strings);
            push(
                "COMMENT",
                bstr::concat([b"COMMENT ON ", tag.as_bytes(), b" IS ", &literal, b";\n"]).into(),
            )?;
        }
        let mut labels = BString::default();
        for (provider, label) in &object.security_labels {
            let provider = quote_identifier(provider);
            let literal = quote_literal(label, standard_strings);
            labels.extend_from_slice(&bstr::concat([
                b"SECURITY LABEL FOR ",
                provider.as_slice(),
                b" ON ",
                tag.as_bytes(),
                b" IS ",
                &literal,
                b";\n",
            ]));
        }
        if !labels.is_empty() {
            push("SECURITY LABEL", labels)?;
        }
        Ok(())
    }

    fn acl(
        &mut self,
        acl: Option<&AclCommands>,
        tag: &str,
        owner: &str,
        depends_on: i32,
    ) -> Result<(), ArchiveError> {
        let Some(acl) = acl.filter(|acl| !acl.sql.is_empty()) else { return Ok(()) };
        self.check_encoding([&acl.sql])?;
        self.push(NewEntry {
            desc: "ACL",
            tag,
            owner: Some(owner),
            defn: Some(acl.sql.clone()),
            depends_on: vec![depends_on],
            ..NewEntry::default()
        })?;
        Ok(())
    }
}
