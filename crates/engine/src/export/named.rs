//! The forms' names, as the command line and the configuration have them.

use super::Format;

impl Format {
    /// All names.
    pub const NAMES: [&'static str; 11] =
        ["sql", "schema", "json", "jsonl", "csv", "parquet", "components", "archive", "dump", "files", "all"];

    /// What a plain copy after a backup holds unless something else is said.
    pub const OF_COPIES: [Self; 5] = [Self::Sql, Self::Schema, Self::Components, Self::Archive, Self::Files];

    /// The forms that a name means.
    pub fn named(name: &str) -> Option<&'static [Self]> {
        Some(match name {
            "sql" => &[Self::Sql],
            "schema" => &[Self::Schema],
            "json" => &[Self::Json],
            "jsonl" => &[Self::JsonLines],
            "csv" => &[Self::Csv],
            "parquet" => &[Self::Parquet],
            "components" => &[Self::Components],
            "archive" => &[Self::Archive],
            "dump" => &[Self::Dump],
            "files" => &[Self::Files],
            "all" => &[
                Self::Sql,
                Self::Schema,
                Self::Json,
                Self::Csv,
                Self::Components,
                Self::Archive,
                Self::Files,
            ],
            _ => return None,
        })
    }
}
