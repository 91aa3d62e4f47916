//! The archive's parts: header, entries, and where an entry's data lies.

use std::fmt;

use bstr::{BStr, BString, ByteSlice};

/// A pg_dump archive without its data: the header and the table of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// What stands before the table of contents.
    pub header: Header,
    /// The entries in the order in which a serial restore runs them.
    pub entries: Vec<Entry>,
}

/// The archive format's version. pg_dump 13 to 15 write 1.14, 16 writes 1.15, 17 and 18 write 1.16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Always 1 so far.
    pub major: u8,
    /// Grows with each change of the format.
    pub minor: u8,
    /// Always 0 so far.
    pub revision: u8,
}

impl Version {
    /// The oldest version that can be read (pg_dump 9.3 to 10.2).
    pub const OLDEST: Self = Self::new(12);
    /// The newest version that can be read (pg_dump 17 and 18).
    pub const NEWEST: Self = Self::new(16);
    /// Entries carry a table access method.
    pub(crate) const TABLE_ACCESS_METHOD: Self = Self::new(14);
    /// The header has a compression algorithm instead of a level.
    pub(crate) const COMPRESSION_ALGORITHM: Self = Self::new(15);
    /// Entries carry a relkind, and large objects come in groups.
    pub(crate) const RELKIND: Self = Self::new(16);

    const fn new(minor: u8) -> Self {
        Self { major: 1, minor, revision: 0 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.revision != 0 { write!(f, ".{}", self.revision) } else { Ok(()) }
    }
}

/// How the archive is laid out on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One file: header, table of contents, data blocks.
    Custom,
    /// A directory with `toc.dat` and one file for each data entry. Its format code is that of tar.
    Directory,
}

/// The archive's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The format's version.
    pub version: Version,
    /// Bytes of an integer, without its sign byte.
    pub int_size: u8,
    /// Bytes of a file offset.
    pub off_size: u8,
    /// The layout.
    pub format: Format,
    /// From 1.15 on the algorithm (0 none, 1 gzip, 2 lz4, 3 zstd), before that zlib's level (-1 is its default).
    pub compression: i32,
    /// When the dump began.
    pub created: Created,
    /// The database that was dumped.
    pub database: Option<BString>,
    /// The server's version as the server says it, e.g. `15.18 (Debian 15.18-0+deb12u1)`.
    pub server_version: Option<BString>,
    /// pg_dump's version.
    pub dump_version: Option<BString>,
}

/// A broken-down local time as C's `struct tm` has it: `month` counts from 0, `year` from 1900.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Created {
    pub second: i32,
    pub minute: i32,
    pub hour: i32,
    pub day: i32,
    pub month: i32,
    pub year: i32,
    pub is_dst: i32,
}

/// The object an entry is about, as the source's catalog knew it. Zero where pg_dump does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct CatalogId {
    /// The catalog the object's row is in, e.g. 1259 for `pg_class`.
    pub table_oid: u32,
    /// The row's oid.
    pub oid: u32,
}

/// Which part of a restore an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Section {
    /// Comments, privileges, labels: part of whatever section their object is in.
    #[default]
    None,
    /// Definitions that must exist before data is loaded.
    PreData,
    /// Data.
    Data,
    /// Definitions that come after data: indexes, constraints, triggers, policies.
    PostData,
}

/// One entry of the table of contents. Texts are bytes in the dump's encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The entry's number, unique in the archive and greater than zero.
    pub dump_id: i32,
    /// Whether the entry has data of its own.
    pub had_dumper: bool,
    /// The object's place in the source's catalog.
    pub catalog: CatalogId,
    /// The object's name; for some kinds with more, e.g. `orders orders_pkey` or `add(integer, integer)`.
    pub tag: Option<BString>,
    /// The kind, e.g. `TABLE` or `FK CONSTRAINT`.
    pub desc: BString,
    /// The section.
    pub section: Section,
    /// The statements that create the object.
    pub defn: Option<BString>,
    /// The statement that drops it.
    pub drop_stmt: Option<BString>,
    /// The `COPY … FROM stdin` that loads the data.
    pub copy_stmt: Option<BString>,
    /// The schema.
    pub namespace: Option<BString>,
    /// The tablespace: empty for the database's default, `None` for objects that have none.
    pub tablespace: Option<BString>,
    /// The table access method (from 1.14 on).
    pub table_access_method: Option<BString>,
    /// `pg_class.relkind` as a number, 0 where it does not apply (from 1.16 on).
    pub relkind: Option<i32>,
    /// The owner.
    pub owner: Option<BString>,
    /// Whether the table had oids (servers before 12).
    pub with_oids: bool,
    /// The dump ids of what must be restored first. May name entries that the archive does not have.
    pub dependencies: Vec<i32>,
    /// Where the data lies.
    pub storage: Storage,
}

/// Where an entry's data lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In the custom format: an offset into the file.
    Custom {
        /// Whether the offset is known.
        state: OffsetState,
        /// The offset.
        offset: u64,
    },
    /// In the directory format: the file's name, empty without data.
    Directory {
        /// The name.
        file_name: BString,
    },
}

/// What the custom format knows about an entry's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetState {
    /// There is data, its place was not recorded.
    NotSet,
    /// The offset is valid.
    Set,
    /// There is no data.
    NoData,
}

impl Archive {
    /// A dump id that no entry has and no entry depends on.
    ///
    /// Entries can name ids that the archive does not hold (an ACL on a built-in function, say). A new entry must not
    /// take such an id, or it would become their dependency.
    pub fn next_dump_id(&self) -> i32 {
        let highest =
            self.entries.iter().flat_map(|e| e.dependencies.iter().copied().chain([e.dump_id])).max();
        highest.unwrap_or(0).max(0).saturating_add(1)
    }

    /// The entry that defines the relation with this oid: a table, view, materialized view, foreign table or sequence.
    /// Indexes are not found.
    pub fn find_relation(&self, oid: u32) -> Option<&Entry> {
        self.entries.iter().find(|e| e.catalog.oid == oid && e.is_relation())
    }

    /// The same entries as an uncompressed directory archive.
    #[must_use]
    pub fn into_directory(mut self) -> Archive {
        self.header.format = Format::Directory;
        self.header.compression = 0;
        for entry in &mut self.entries {
            if let Storage::Custom { .. } = entry.storage {
                let file_name = match (entry.had_dumper, entry.desc.as_slice()) {
                    (false, _) => String::new(),
                    (true, b"BLOBS") if self.header.version < Version::RELKIND => "blobs.toc".to_owned(),
                    (true, b"BLOBS") => format!("blobs_{}.toc", entry.dump_id),
                    (true, _) => format!("{}.dat", entry.dump_id),
                };
                entry.storage = Storage::Directory { file_name: file_name.into() };
            }
        }
        self
    }

    /// The encoding of all texts in the archive, as PostgreSQL names it.
    pub fn encoding(&self) -> Option<&BStr> {
        let defn = self.special("ENCODING")?;
        let start = defn.iter().position(|b| *b == b'\'')? + 1;
        let rest = defn.get(start..)?;
        let end = rest.iter().position(|b| *b == b'\'')?;
        rest.get(..end).map(BStr::new)
    }

    /// Whether a backslash in a string literal stands for itself (`standard_conforming_strings`).
    pub fn standard_strings(&self) -> bool {
        self.special("STDSTRINGS").is_none_or(|defn| !defn.contains_str("'off'"))
    }

    /// The definition of one of the entries that hold settings: `ENCODING`, `STDSTRINGS`, `SEARCHPATH`.
    pub(crate) fn special(&self, desc: &str) -> Option<&BStr> {
        let entry = self.entries.iter().find(|e| e.desc == desc)?;
        entry.defn.as_ref().map(|d| BStr::new(d.as_slice()))
    }
}

impl Entry {
    /// Whether the entry defines a relation that is not an index.
    pub(crate) fn is_relation(&self) -> bool {
        self.catalog.table_oid == PG_CLASS
            && matches!(
                self.desc.as_slice(),
                b"TABLE" | b"SEQUENCE" | b"VIEW" | b"MATERIALIZED VIEW" | b"FOREIGN TABLE"
            )
    }

    /// The tag, empty when there is none.
    pub(crate) fn tag_bytes(&self) -> &[u8] {
        self.tag.as_ref().map_or(&[][..], |t| t.as_slice())
    }

    /// The definition, empty when there is none.
    pub(crate) fn defn_bytes(&self) -> &[u8] {
        self.defn.as_ref().map_or(&[][..], |d| d.as_slice())
    }

    /// Whether the entry is about a large object's privileges, comment or label.
    pub fn is_large_object_attribute(&self) -> bool {
        matches!(self.desc.as_slice(), b"ACL" | b"COMMENT" | b"SECURITY LABEL")
            && self.tag_bytes().starts_with(b"LARGE OBJECT")
    }

    /// The file with the entry's data in a directory archive; `None` where there is none.
    pub fn data_file(&self) -> Option<&BStr> {
        match &self.storage {
            Storage::Directory { file_name } if !file_name.is_empty() => Some(file_name.as_ref()),
            Storage::Directory { .. } | Storage::Custom { .. } => None,
        }
    }

    /// Whether the entry carries data rather than a definition.
    pub fn is_data(&self) -> bool {
        matches!(
            self.desc.as_slice(),
            b"TABLE DATA"
                | b"SEQUENCE SET"
                | b"BLOB"
                | b"BLOB METADATA"
                | b"BLOBS"
                | b"MATERIALIZED VIEW DATA"
                | b"STATISTICS DATA"
        ) || self.is_large_object_attribute()
    }
}

/// The oid of `pg_class` in every PostgreSQL database.
const PG_CLASS: u32 = 1259;
