//! Data entries for tables and sequences, as pg_dump writes them (`dumpTableData` and `dumpSequenceData`).

use std::collections::{HashMap, HashSet};

use bstr::BString;

use crate::error::ArchiveError;
use crate::model::{Archive, CatalogId, Entry, Format, Section, Storage, Version};
use crate::quote::{quote_identifier, quote_literal, quote_qualified};

/// How pg_dump ends a table's file: COPY's end marker and two empty lines.
pub const TABLE_DATA_END: &[u8] = b"\\.\n\n\n";

/// What to say about a table whose rows are in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableData {
    /// The table's oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Its columns in attribute order, without dropped and generated ones. May be empty.
    pub columns: Vec<String>,
    /// Schema and name of the partitioned table that the rows go back through; `None` to load the table itself.
    pub load_via_root: Option<(String, String)>,
    /// The extension whose configuration table this is. Such a table has no entry of its own.
    pub extension: Option<String>,
}

/// What to say about a sequence's position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSet {
    /// The sequence's oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// `last_value`.
    pub last_value: i64,
    /// `is_called`.
    pub is_called: bool,
    /// The extension whose configuration sequence this is. Such a sequence has no entry of its own.
    pub extension: Option<String>,
}

/// Where a data entry stands among the others: pg_dump sorts the data section by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DataRank {
    Table,
    Sequence,
    LargeObject,
    LargeObjectData,
    Statistics,
}

impl Archive {
    /// Adds the data entry of one table; see [`Archive::add_tables`].
    ///
    /// # Errors
    /// As [`Archive::add_tables`].
    pub fn add_table_data(&mut self, table: &TableData) -> Result<i32, ArchiveError> {
        self.add_tables(std::slice::from_ref(table)).map(|ids| ids.first().copied().unwrap_or_default())
    }

    /// Adds a data entry for each table, in the order given, and returns their dump ids. The rows of the table with
    /// dump id `n` belong into the file `n.dat`, ended by [`TABLE_DATA_END`].
    ///
    /// An extension's configuration table depends on the extension and on the configuration table of the same extension
    /// before it, so give them in the order of the foreign keys among them. (pg_dump lets each depend on a table that is
    /// not in the archive, which says nothing: in a parallel restore a foreign key may then come before its rows.)
    ///
    /// # Errors
    /// The archive is not a directory archive, a table has no entry, has data already, or has a name that the archive's
    /// encoding cannot hold. The archive is unchanged then.
    pub fn add_tables(&mut self, tables: &[TableData]) -> Result<Vec<i32>, ArchiveError> {
        let mut draft = Draft::new(self)?;
        for table in tables {
            let mut depends_on =
                draft.relation(table.oid, &table.schema, &table.name, table.extension.as_deref())?;
            if draft.relation_id(table.oid).is_none() {
                depends_on.extend(draft.last_data_of(&depends_on));
            }
            draft.claim(table.oid, &table.schema, &table.name)?;
            let target = match &table.load_via_root {
                Some((schema, name)) => quote_qualified(schema, name),
                None => quote_qualified(&table.schema, &table.name),
            };
            let columns: Vec<_> = table.columns.iter().map(quote_identifier).collect();
            let columns = if columns.is_empty() {
                BString::default()
            } else {
                bstr::concat([b"(", &*bstr::join(", ", columns), b")"]).into()
            };
            let copy_stmt =
                BString::from(bstr::concat([b"COPY ", target.as_slice(), b" ", &columns, b" FROM stdin;\n"]));
            draft.check_encoding([&target, &copy_stmt])?;
            let defn = table.load_via_root.as_ref().map(|_| {
                let one_line: Vec<u8> =
                    target.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }).collect();
                BString::from(bstr::concat([LOAD_VIA_ROOT, &one_line]))
            });
            draft.push(NewEntry {
                had_dumper: true,
                catalog: CatalogId { table_oid: 0, oid: table.oid },
                desc: "TABLE DATA",
                section: Section::Data,
                tag: &table.name,
                namespace: Some(&table.schema),
                owner: Some(&table.owner),
                defn,
                copy_stmt: Some(copy_stmt),
                depends_on,
                ..NewEntry::default()
            })?;
        }
        Ok(draft.insert(DataRank::Table))
    }

    /// Adds the position of one sequence; see [`Archive::add_sequences`].
    ///
    /// # Errors
    /// As [`Archive::add_sequences`].
    pub fn add_sequence_set(&mut self, sequence: &SequenceSet) -> Result<i32, ArchiveError> {
        self.add_sequences(std::slice::from_ref(sequence)).map(|ids| ids.first().copied().unwrap_or_default())
    }

    /// Adds a `SEQUENCE SET` for each sequence, in the order given, and returns their dump ids.
    ///
    /// # Errors
    /// As [`Archive::add_tables`].
    pub fn add_sequences(&mut self, sequences: &[SequenceSet]) -> Result<Vec<i32>, ArchiveError> {
        let mut draft = Draft::new(self)?;
        for sequence in sequences {
            let depends_on = draft.relation(
                sequence.oid,
                &sequence.schema,
                &sequence.name,
                sequence.extension.as_deref(),
            )?;
            let literal = quote_literal(
                quote_qualified(&sequence.schema, &sequence.name),
                draft.archive.standard_strings(),
            );
            draft.check_encoding([&literal])?;
            let defn = format!(", {}, {});\n", sequence.last_value, sequence.is_called);
            let defn = bstr::concat([b"SELECT pg_catalog.setval(", literal.as_slice(), defn.as_bytes()]);
            draft.push(NewEntry {
                desc: "SEQUENCE SET",
                section: Section::Data,
                tag: &sequence.name,
                namespace: Some(&sequence.schema),
                owner: Some(&sequence.owner),
                defn: Some(defn.into()),
                depends_on,
                ..NewEntry::default()
            })?;
        }
        Ok(draft.insert(DataRank::Sequence))
    }

    /// Before which entry a data entry of this rank goes: after its like, before what pg_dump sorts later.
    pub(crate) fn data_position(&self, rank: DataRank) -> usize {
        let later = |e: &Entry| match e.section {
            Section::PostData => true,
            Section::Data => data_rank(e).is_some_and(|r| r > rank),
            Section::None | Section::PreData => false,
        };
        self.entries.iter().position(later).unwrap_or(self.entries.len())
    }
}

/// How pg_dump begins the definition of data that is loaded through a partition's root.
pub(crate) const LOAD_VIA_ROOT: &[u8] = b"-- load via partition root ";

fn data_rank(entry: &Entry) -> Option<DataRank> {
    match entry.desc.as_slice() {
        b"TABLE DATA" => Some(DataRank::Table),
        b"SEQUENCE SET" => Some(DataRank::Sequence),
        b"BLOB" | b"BLOB METADATA" => Some(DataRank::LargeObject),
        b"BLOBS" => Some(DataRank::LargeObjectData),
        b"STATISTICS DATA" => Some(DataRank::Statistics),
        _ => None,
    }
}

/// Entries that are made but not yet in the archive, so that a failure leaves it as it was.
pub(crate) struct Draft<'a> {
    pub(crate) archive: &'a mut Archive,
    relations: HashMap<u32, i32>,
    extensions: HashMap<BString, i32>,
    with_data: HashSet<u32>,
    next_dump_id: i32,
    entries: Vec<Entry>,
}

/// What distinguishes one new entry from another.
#[derive(Default)]
pub(crate) struct NewEntry<'a> {
    pub(crate) had_dumper: bool,
    pub(crate) catalog: CatalogId,
    pub(crate) desc: &'a str,
    pub(crate) section: Section,
    pub(crate) tag: &'a str,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) owner: Option<&'a str>,
    pub(crate) defn: Option<BString>,
    pub(crate) drop_stmt: Option<BString>,
    pub(crate) copy_stmt: Option<BString>,
    pub(crate) depends_on: Vec<i32>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(archive: &'a mut Archive) -> Result<Self, ArchiveError> {
        if archive.header.format != Format::Directory {
            return Err(ArchiveError::NotADirectory);
        }
        let entries = || archive.entries.iter();
        let relations = entries().filter(|e| e.is_relation()).map(|e| (e.catalog.oid, e.dump_id)).collect();
        let extensions = entries()
            .filter(|e| e.desc == "EXTENSION")
            .map(|e| (BString::from(e.tag_bytes()), e.dump_id))
            .collect();
        let with_data = entries()
            .filter(|e| matches!(e.desc.as_slice(), b"TABLE DATA" | b"MATERIALIZED VIEW DATA"))
            .map(|e| e.catalog.oid)
            .collect();
        let next_dump_id = archive.next_dump_id();
        Ok(Self { archive, relations, extensions, with_data, next_dump_id, entries: Vec::new() })
    }

    /// The dependencies of a relation's data: its entry, or its extension's.
    pub(crate) fn relation(
        &self,
        oid: u32,
        schema: &str,
        name: &str,
        extension: Option<&str>,
    ) -> Result<Vec<i32>, ArchiveError> {
        match (self.relations.get(&oid), extension) {
            (Some(id), _) => Ok(vec![*id]),
            (None, Some(extension)) => {
                Ok(self.extensions.get(extension.as_bytes()).copied().into_iter().collect())
            }
            (None, None) => {
                Err(ArchiveError::UnknownRelation { oid, schema: schema.to_owned(), name: name.to_owned() })
            }
        }
    }

    /// The last table data entry with one of these dependencies.
    fn last_data_of(&self, depends_on: &[i32]) -> Option<i32> {
        let entries = self.entries.iter().rev().chain(self.archive.entries.iter().rev());
        let mut data = entries.filter(|e| e.desc == "TABLE DATA");
        data.find(|e| e.dependencies.first().is_some_and(|id| depends_on.contains(id))).map(|e| e.dump_id)
    }

    /// The dump id of the relation's entry.
    pub(crate) fn relation_id(&self, oid: u32) -> Option<i32> {
        self.relations.get(&oid).copied()
    }

    /// Notes that the relation has data now; once only.
    pub(crate) fn claim(&mut self, oid: u32, schema: &str, name: &str) -> Result<(), ArchiveError> {
        if self.with_data.insert(oid) {
            return Ok(());
        }
        Err(ArchiveError::DuplicateData { oid, schema: schema.to_owned(), name: name.to_owned() })
    }

    /// Texts come in UTF-8; another encoding can take them only when they are ASCII.
    pub(crate) fn check_encoding<'t>(
        &self,
        texts: impl IntoIterator<Item = &'t BString>,
    ) -> Result<(), ArchiveError> {
        let encoding = self.archive.encoding().map_or_else(|| "SQL_ASCII".to_owned(), ToString::to_string);
        if encoding == "UTF8" {
            return Ok(());
        }
        match texts.into_iter().find(|t| !t.is_ascii()) {
            Some(text) => Err(ArchiveError::Encoding { encoding, text: text.to_string() }),
            None => Ok(()),
        }
    }

    /// Makes an entry with the next dump id.
    pub(crate) fn push(&mut self, new: NewEntry<'_>) -> Result<i32, ArchiveError> {
        let dump_id = self.next_dump_id;
        self.next_dump_id = dump_id.checked_add(1).ok_or(ArchiveError::NoFreeDumpId)?;
        let version = self.archive.header.version;
        let file_name = match (new.had_dumper, new.desc) {
            (false, _) => String::new(),
            (true, "BLOBS") if version < Version::RELKIND => "blobs.toc".to_owned(),
            (true, "BLOBS") => format!("blobs_{dump_id}.toc"),
            (true, _) => format!("{dump_id}.dat"),
        };
        self.check_encoding([&BString::from(new.tag), &BString::from(new.owner.unwrap_or_default())])?;
        self.entries.push(Entry {
            dump_id,
            had_dumper: new.had_dumper,
            catalog: new.catalog,
            tag: Some(new.tag.into()),
            desc: new.desc.into(),
            section: new.section,
            defn: new.defn,
            drop_stmt: new.drop_stmt,
            copy_stmt: new.copy_stmt,
            namespace: new.namespace.map(BString::from),
            tablespace: None,
            table_access_method: None,
            relkind: (version >= Version::RELKIND).then_some(0),
            owner: new.owner.map(BString::from),
            with_oids: false,
            dependencies: new.depends_on,
            storage: Storage::Directory { file_name: file_name.into() },
        });
        Ok(dump_id)
    }

    /// Puts the entries where pg_dump has data of this rank.
    pub(crate) fn insert(self, rank: DataRank) -> Vec<i32> {
        let position = self.archive.data_position(rank);
        self.insert_at(position)
    }

    /// Puts the entries before the one at this position.
    pub(crate) fn insert_at(self, position: usize) -> Vec<i32> {
        let ids = self.entries.iter().map(|e| e.dump_id).collect();
        self.archive.entries.splice(position..position, self.entries);
        ids
    }
}
