//! The files that basekeep writes into a snapshot beside the archive, as versioned types of their own.
//!
//! `docs/FORMAT.md` describes them. A reader refuses a `version` above its own and ignores fields that it does not know.

pub mod columns;
pub mod globals;
pub mod manifest;
pub mod markdown;
pub mod project;
pub mod proof;
pub mod ranges;
pub mod supabase;

/// Paths of the files inside a snapshot, below `/<source>/`.
pub mod path {
    /// The manifest for programs.
    pub const MANIFEST_JSON: &str = "manifest.json";
    /// The manifest for people.
    pub const MANIFEST_MD: &str = "MANIFEST.md";
    /// The script that restores with stock tools.
    pub const RESTORE_SH: &str = "restore.sh";
    /// Roles and settings as SQL.
    pub const GLOBALS_SQL: &str = "globals.sql";
    /// Roles and settings for programs.
    pub const GLOBALS_JSON: &str = "globals.json";
    /// The range index.
    pub const RANGES: &str = "ranges";
    /// Columns, their types and keys.
    pub const COLUMNS: &str = "columns";
    /// The directory archive.
    pub const DATABASE: &str = "database";
    /// The archive's table of contents, below [`DATABASE`].
    pub const TOC: &str = "database/toc.dat";
}
