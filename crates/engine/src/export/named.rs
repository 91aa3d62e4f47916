//! The forms' names, as the command line and the configuration have them.

use super::Format;

impl Format {
    /// All names.
    pub const NAMES: [&'static str; 7] = ["sql", "schema", "components", "archive", "dump", "files", "all"];

    /// The forms that a name means.
    pub fn named(name: &str) -> Option<&'static [Self]> {
        Some(match name {
            "sql" => &[Self::Sql],
            "schema" => &[Self::Schema],
            "components" => &[Self::Components],
            "archive" => &[Self::Archive],
            "dump" => &[Self::Dump],
            "files" => &[Self::Files],
            "all" => &[Self::Sql, Self::Schema, Self::Components, Self::Archive, Self::Files],
            _ => return None,
        })
    }
}
