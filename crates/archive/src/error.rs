//! What can be wrong with an archive.

use thiserror::Error;

use crate::model::Version;

/// An archive could not be read, or an entry could not be added to it.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ArchiveError {
    /// The bytes do not begin with pg_dump's signature.
    #[error("not a pg_dump archive: the signature PGDMP is missing")]
    NotAnArchive,
    /// The archive's format version is one this crate does not know.
    #[error("archive format version {found} is not supported (supported: {oldest} to {newest})")]
    UnsupportedVersion {
        /// The version in the file.
        found: Version,
        /// The oldest version this crate reads.
        oldest: Version,
        /// The newest version this crate reads.
        newest: Version,
    },
    /// The header names a format that is neither custom nor directory.
    #[error("archive format code {0} is not supported (custom is 1, directory is 3)")]
    UnsupportedFormat(u8),
    /// The file ends inside a field.
    #[error("archive is truncated at byte {offset} (reading {what})")]
    Truncated {
        /// Where the field begins.
        offset: usize,
        /// Which field.
        what: &'static str,
    },
    /// A field has a value that pg_dump never writes.
    #[error("archive is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the field begins.
        offset: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A text has to go into an archive whose encoding cannot hold it as it is.
    #[error("archive encoding is {encoding}, but \"{text}\" is not plain ASCII (dump with --encoding=UTF8)")]
    Encoding {
        /// The archive's encoding.
        encoding: String,
        /// The text.
        text: String,
    },
    /// A data entry names a relation that the archive does not define.
    #[error("relation {schema}.{name} (oid {oid}) has no entry in the archive")]
    UnknownRelation {
        /// The relation's oid in the source.
        oid: u32,
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// The relation has its data entry already.
    #[error("relation {schema}.{name} (oid {oid}) has a data entry already")]
    DuplicateData {
        /// The relation's oid in the source.
        oid: u32,
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// A materialized view reads another one that is not refreshed before it.
    #[error("materialized view {schema}.{name} reads oid {missing}, which has no refresh in the archive")]
    MissingRefresh {
        /// The view's schema.
        schema: String,
        /// The view's name.
        name: String,
        /// The oid of the view it reads.
        missing: u32,
    },
    /// An access control item is not as the server prints it.
    #[error("access control item \"{0}\" is not of the form grantee=privileges/grantor")]
    InvalidAcl(String),
    /// Data files can be added to a directory archive only.
    #[error("data entries need a directory archive (call into_directory first)")]
    NotADirectory,
    /// All dump ids are used up.
    #[error("archive has no free dump id")]
    NoFreeDumpId,
}
