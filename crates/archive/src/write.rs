//! Writing: the header and the table of contents in the archive's own format.

use bstr::BString;

use crate::model::{Archive, Entry, Format, Header, OffsetState, Section, Storage, Version};

impl Archive {
    /// The header and the table of contents; byte for byte what was parsed when nothing was changed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer { out: Vec::new(), int_size: self.header.int_size };
        writer.header(&self.header);
        writer.int(i32::try_from(self.entries.len()).unwrap_or(i32::MAX));
        for entry in &self.entries {
            writer.entry(&self.header, entry);
        }
        writer.out
    }
}

struct Writer {
    out: Vec<u8>,
    int_size: u8,
}

impl Writer {
    fn header(&mut self, header: &Header) {
        self.out.extend_from_slice(b"PGDMP");
        let Version { major, minor, revision } = header.version;
        let format = match header.format {
            Format::Custom => 1,
            Format::Directory => 3,
        };
        self.out.extend_from_slice(&[major, minor, revision, header.int_size, header.off_size, format]);
        if header.version >= Version::COMPRESSION_ALGORITHM {
            self.out.push(u8::try_from(header.compression).unwrap_or(0));
        } else {
            self.int(header.compression);
        }
        let c = &header.created;
        for field in [c.second, c.minute, c.hour, c.day, c.month, c.year, c.is_dst] {
            self.int(field);
        }
        for text in [&header.database, &header.server_version, &header.dump_version] {
            self.optional(text.as_ref());
        }
    }

    fn entry(&mut self, header: &Header, entry: &Entry) {
        self.int(entry.dump_id);
        self.int(i32::from(entry.had_dumper));
        self.string(entry.catalog.table_oid.to_string().as_bytes());
        self.string(entry.catalog.oid.to_string().as_bytes());
        self.optional(entry.tag.as_ref());
        self.string(&entry.desc);
        self.int(match entry.section {
            Section::None => 1,
            Section::PreData => 2,
            Section::Data => 3,
            Section::PostData => 4,
        });
        for text in [&entry.defn, &entry.drop_stmt, &entry.copy_stmt, &entry.namespace, &entry.tablespace] {
            self.optional(text.as_ref());
        }
        if header.version >= Version::TABLE_ACCESS_METHOD {
            self.optional(entry.table_access_method.as_ref());
        }
        if header.version >= Version::RELKIND {
            self.int(entry.relkind.unwrap_or(0));
        }
        self.optional(entry.owner.as_ref());
        self.string(if entry.with_oids { b"true" } else { b"false" });
        for id in &entry.dependencies {
            self.string(id.to_string().as_bytes());
        }
        self.int(-1);
        self.storage(header, &entry.storage);
    }

    fn storage(&mut self, header: &Header, storage: &Storage) {
        match header.format {
            Format::Directory => match storage {
                Storage::Directory { file_name } => self.string(file_name),
                Storage::Custom { .. } => self.string(b""),
            },
            Format::Custom => {
                let (state, offset) = match storage {
                    Storage::Custom { state, offset } => (*state, *offset),
                    Storage::Directory { .. } => (OffsetState::NoData, 0),
                };
                self.out.push(match state {
                    OffsetState::NotSet => 1,
                    OffsetState::Set => 2,
                    OffsetState::NoData => 3,
                });
                self.little_endian(offset, header.off_size);
            }
        }
    }

    fn int(&mut self, value: i32) {
        self.out.push(u8::from(value < 0));
        self.little_endian(u64::from(value.unsigned_abs()), self.int_size);
    }

    fn little_endian(&mut self, value: u64, size: u8) {
        let bytes = value.to_le_bytes();
        self.out.extend(bytes.iter().take(usize::from(size)));
    }

    fn string(&mut self, bytes: &[u8]) {
        self.int(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.out.extend_from_slice(bytes);
    }

    fn optional(&mut self, text: Option<&BString>) {
        match text {
            Some(text) => self.string(text),
            None => self.int(-1),
        }
    }
}
