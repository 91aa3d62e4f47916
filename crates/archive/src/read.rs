//! Parsing: header and table of contents, from a custom archive's beginning or a directory archive's `toc.dat`.
//!
//! Only what pg_dump writes is accepted, so that writing what was read gives the same bytes. Nothing is allocated
//! before the bytes that fill it have been seen.

use std::collections::HashSet;

use bstr::BString;

use crate::error::ArchiveError;
use crate::model::{
    Archive, CatalogId, Created, Entry, Format, Header, OffsetState, Section, Storage, Version,
};

/// Fewest bytes that an entry takes: a dozen and a half of fields with at least five bytes each.
const SMALLEST_ENTRY: usize = 64;

impl Archive {
    /// Reads a custom archive (its data blocks are ignored) or a directory archive's `toc.dat`.
    ///
    /// # Errors
    /// [`ArchiveError`] when the bytes are not an archive, of an unknown version, truncated or damaged.
    pub fn parse(bytes: &[u8]) -> Result<Archive, ArchiveError> {
        let mut reader = Reader { bytes, at: 0, int_size: 4 };
        let header = reader.header()?;
        let entries = reader.entries(&header)?;
        if header.format == Format::Directory && reader.at != bytes.len() {
            return Err(reader.damaged(reader.at, "bytes after the last entry"));
        }
        Ok(Archive { header, entries })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    int_size: u8,
}

impl Reader<'_> {
    fn header(&mut self) -> Result<Header, ArchiveError> {
        if !self.bytes.starts_with(b"PGDMP") {
            return Err(ArchiveError::NotAnArchive);
        }
        self.at = 5;
        let version = Version {
            major: self.byte("version")?,
            minor: self.byte("version")?,
            revision: self.byte("version")?,
        };
        let newest = Version { revision: u8::MAX, ..Version::NEWEST };
        if version < Version::OLDEST || version > newest {
            return Err(ArchiveError::UnsupportedVersion {
                found: version,
                oldest: Version::OLDEST,
                newest: Version::NEWEST,
            });
        }
        let start = self.at;
        let int_size = self.byte("integer size")?;
        let off_size = self.byte("offset size")?;
        if !(4..=8).contains(&int_size) || !(4..=8).contains(&off_size) {
            return Err(self.damaged(start, "sizes of integers and offsets out of range"));
        }
        self.int_size = int_size;
        let format = match self.byte("format")? {
            1 => Format::Custom,
            3 => Format::Directory,
            other => return Err(ArchiveError::UnsupportedFormat(other)),
        };
        let compression = if version >= Version::COMPRESSION_ALGORITHM {
            i32::from(self.byte("compression")?)
        } else {
            self.int("compression")?
        };
        let created = Created {
            second: self.int("creation time")?,
            minute: self.int("creation time")?,
            hour: self.int("creation time")?,
            day: self.int("creation time")?,
            month: self.int("creation time")?,
            year: self.int("creation time")?,
            is_dst: self.int("creation time")?,
        };
        Ok(Header {
            version,
            int_size,
            off_size,
            format,
            compression,
            created,
            database: self.string("database name")?,
            server_version: self.string("server version")?,
            dump_version: self.string("pg_dump version")?,
        })
    }

    fn entries(&mut self, header: &Header) -> Result<Vec<Entry>, ArchiveError> {
        let start = self.at;
        let count = usize::try_from(self.int("number of entries")?)
            .map_err(|_| self.damaged(start, "negative number of entries"))?;
        let possible = (self.bytes.len() - self.at) / SMALLEST_ENTRY;
        let mut entries = Vec::with_capacity(count.min(possible));
        let mut seen = HashSet::with_capacity(count.min(possible));
        for _ in 0..count {
            let start = self.at;
            let entry = self.entry(header)?;
            if !seen.insert(entry.dump_id) {
                return Err(self.damaged(start, "two entries with the same dump id"));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn entry(&mut self, header: &Header) -> Result<Entry, ArchiveError> {
        let start = self.at;
        let dump_id = self.int("dump id")?;
        if dump_id <= 0 {
            return Err(self.damaged(start, "dump id is not positive"));
        }
        let start = self.at;
        let had_dumper = match self.int("data flag")? {
            0 => false,
            1 => true,
            _ => return Err(self.damaged(start, "data flag is neither 0 nor 1")),
        };
        let catalog = CatalogId { table_oid: self.oid()?, oid: self.oid()? };
        let tag = self.string("tag")?;
        let start = self.at;
        let desc = self.string("kind")?.ok_or_else(|| self.damaged(start, "entry without a kind"))?;
        let start = self.at;
        let section = match self.int("section")? {
            1 => Section::None,
            2 => Section::PreData,
            3 => Section::Data,
            4 => Section::PostData,
            _ => return Err(self.damaged(start, "unknown section")),
        };
        Ok(Entry {
            dump_id,
            had_dumper,
            catalog,
            tag,
            desc,
            section,
            defn: self.string("definition")?,
            drop_stmt: self.string("drop statement")?,
            copy_stmt: self.string("copy statement")?,
            namespace: self.string("schema")?,
            tablespace: self.string("tablespace")?,
            table_access_method: if header.version >= Version::TABLE_ACCESS_METHOD {
                self.string("table access method")?
            } else {
                None
            },
            relkind: if header.version >= Version::RELKIND { Some(self.int("relkind")?) } else { None },
            owner: self.string("owner")?,
            with_oids: self.with_oids()?,
            dependencies: self.dependencies()?,
            storage: self.storage(header)?,
        })
    }

    fn with_oids(&mut self) -> Result<bool, ArchiveError> {
        let start = self.at;
        match self.string("with oids")?.as_ref().map(|t| t.as_slice()) {
            Some(b"false") => Ok(false),
            Some(b"true") => Ok(true),
            _ => Err(self.damaged(start, "with oids is neither true nor false")),
        }
    }

    fn dependencies(&mut self) -> Result<Vec<i32>, ArchiveError> {
        let mut ids = Vec::new();
        loop {
            let start = self.at;
            let Some(text) = self.string("dependency")? else { return Ok(ids) };
            let id = std::str::from_utf8(&text).ok().and_then(|t| t.parse::<i32>().ok());
            match id {
                Some(id) if id.to_string().as_bytes() == text.as_slice() => ids.push(id),
                _ => return Err(self.damaged(start, "dependency is not a dump id")),
            }
        }
    }

    fn storage(&mut self, header: &Header) -> Result<Storage, ArchiveError> {
        let start = self.at;
        match header.format {
            Format::Directory => {
                let file_name =
                    self.string("file name")?.ok_or_else(|| self.damaged(start, "file name is missing"))?;
                Ok(Storage::Directory { file_name })
            }
            Format::Custom => {
                let state = match self.byte("offset state")? {
                    1 => OffsetState::NotSet,
                    2 => OffsetState::Set,
                    3 => OffsetState::NoData,
                    _ => return Err(self.damaged(start, "unknown offset state")),
                };
                let mut offset = 0u64;
                for i in 0..header.off_size {
                    offset |= u64::from(self.byte("offset")?) << (8 * u32::from(i));
                }
                Ok(Storage::Custom { state, offset })
            }
        }
    }

    fn oid(&mut self) -> Result<u32, ArchiveError> {
        let start = self.at;
        let text = self.string("oid")?.unwrap_or_default();
        let oid = std::str::from_utf8(&text).ok().and_then(|t| t.parse::<u32>().ok());
        match oid {
            Some(oid) if oid.to_string().as_bytes() == text.as_slice() => Ok(oid),
            _ => Err(self.damaged(start, "oid is not a number")),
        }
    }

    /// A sign byte, then the magnitude with the lowest byte first.
    fn int(&mut self, what: &'static str) -> Result<i32, ArchiveError> {
        let start = self.at;
        let sign = self.byte(what)?;
        let mut magnitude = 0i64;
        for i in 0..self.int_size {
            let byte = i64::from(self.byte(what)?);
            if i >= 4 && byte != 0 {
                return Err(self.damaged(start, "integer out of range"));
            }
            if i < 4 {
                magnitude |= byte << (8 * u32::from(i));
            }
        }
        let value = match sign {
            0 => magnitude,
            1 if magnitude != 0 => -magnitude,
            _ => return Err(self.damaged(start, "integer with an invalid sign")),
        };
        i32::try_from(value).map_err(|_| self.damaged(start, "integer out of range"))
    }

    /// A length, then as many bytes; the length -1 stands for no string at all.
    fn string(&mut self, what: &'static str) -> Result<Option<BString>, ArchiveError> {
        let start = self.at;
        let length = self.int(what)?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| self.damaged(start, "string of negative length"))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let Some(bytes) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(ArchiveError::Truncated { offset: start, what });
        };
        self.at += length;
        Ok(Some(BString::from(bytes)))
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, ArchiveError> {
        let byte = *self.bytes.get(self.at).ok_or(ArchiveError::Truncated { offset: self.at, what })?;
        self.at += 1;
        Ok(byte)
    }

    fn damaged(&self, offset: usize, what: &'static str) -> ArchiveError {
        ArchiveError::Damaged { offset, what }
    }
}
