//! `[export]`: a plain copy after each backup.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::EngineError;
use crate::config::{ExportEntry, expand, nearest};
use crate::export::{Compression, ExportOptions, Format, SetOptions};
use crate::retention::Span;
use crate::selection::{Part, Selection};

const KEYS: [&str; 12] = [
    "folder",
    "formats",
    "keep",
    "max",
    "compress_after",
    "compress",
    "only",
    "schemas",
    "tables",
    "inserts",
    "split",
    "sources",
];
const KEEP: &str = "30d";
const MAX: u64 = 50;
const COMPRESS_AFTER: &str = "7d";

impl Reader<'_> {
    pub(super) fn export(&self, table: &DeTable<'_>, at: usize) -> Result<ExportEntry, EngineError> {
        self.check_keys(table, "in [export]", &KEYS)?;
        let folder = self.string(table, "folder")?.ok_or_else(|| {
            self.wrong(at, "[export] has no folder").hint("add a line such as folder = \"./backups/plain\"")
        })?;
        let mut formats = BTreeSet::new();
        for (at, name) in self.strings(table, "formats")? {
            formats.extend(Format::named(name).ok_or_else(|| {
                let error = self.wrong(at, format!("there is no form '{}'", name.escape_debug()));
                match nearest(name, &Format::NAMES) {
                    Some(near) => error.hint(format!("did you mean '{near}'?")),
                    None => error.hint(format!("the forms are {}", Format::NAMES.join(", "))),
                }
            })?);
        }
        if formats.is_empty() {
            formats.extend(Format::OF_COPIES);
        }
        let mut parts = BTreeSet::new();
        for (at, name) in self.strings(table, "only")? {
            parts.insert(name.parse::<Part>().map_err(|error| self.wrong(at, error))?);
        }
        let texts = |key| -> Result<Vec<String>, EngineError> {
            Ok(self.strings(table, key)?.into_iter().map(|(_, text)| text.to_owned()).collect())
        };
        let selection =
            Selection { parts, schemas: texts("schemas")?, tables: texts("tables")?, ..Selection::default() };
        let span = |key, or: &str| -> Result<Span, EngineError> {
            Ok(self.parsed(table, key, str::parse)?.unwrap_or(or.parse().unwrap_or_default()))
        };
        let compress_after = span("compress_after", COMPRESS_AFTER)?;
        let max = match table.get("max").map(|value| (value.span().start, value.get_ref())) {
            None => MAX,
            Some((at, DeValue::Integer(number))) => number
                .to_string()
                .parse()
                .ok()
                .filter(|max| *max > 0)
                .ok_or_else(|| self.wrong(at, "`max` must be a number of copies from 1"))?,
            Some((at, _)) => return Err(self.wrong(at, "`max` must be a number of copies from 1")),
        };
        let compression = self.parsed(table, "compress", |text| match text {
            "gzip" => Ok(Compression::Gzip),
            "zstd" => Ok(Compression::Zstd),
            _ => Err("it is \"gzip\" or \"zstd\"".to_owned()),
        })?;
        let sources = texts("sources")?;
        Ok(ExportEntry {
            options: SetOptions {
                folder: expand(folder, self.folder, self.env),
                export: ExportOptions {
                    selection,
                    inserts: self.boolean(table, "inserts")?.unwrap_or(false),
                    split: self.boolean(table, "split")?.unwrap_or(false),
                    compression: compression.unwrap_or_default(),
                    ..ExportOptions::new(formats)
                },
                keep: span("keep", KEEP)?,
                max,
                compress_after: (!compress_after.is_zero()).then_some(compress_after),
            },
            sources: (!sources.is_empty()).then_some(sources),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{parse, refused};
    use super::*;

    #[test]
    fn copies_have_a_folder_forms_and_a_retention() {
        let config = parse("[export]\nfolder = \"plain\"\n").unwrap();
        let entry = config.export.unwrap();
        assert_eq!(entry.options.folder, std::path::Path::new("/project/plain"));
        assert_eq!((entry.options.max, entry.options.keep), (50, "30d".parse().unwrap()));
        assert_eq!(entry.options.compress_after, Some("7d".parse().unwrap()));
        assert!(entry.options.export.formats.contains(&Format::Sql) && entry.is_for("a"));
        let text = "[export]\nfolder = \"/plain\"\nformats = [\"sql\", \"schema\"]\nkeep = \"1y\"\nmax = 3\n\
                    compress_after = \"0d\"\nonly = [\"data\"]\nschemas = [\"pub*\"]\nsplit = true\nsources = [\"a\"]\n";
        let entry = parse(text).unwrap().export.unwrap();
        assert_eq!(entry.options.export.formats, [Format::Sql, Format::Schema].into());
        assert_eq!(entry.options.export.selection.schemas, ["pub*"]);
        assert_eq!((entry.options.max, entry.options.compress_after), (3, None));
        assert!(entry.is_for("a") && !entry.is_for("b"));
        assert!(parse("").unwrap().export.is_none());
    }

    #[test]
    fn copies_that_make_no_sense_are_refused() {
        let at = |line: u32, problem: &str| format!("/project/basekeep.toml:{line}: {problem}");
        let with = |line: &str| format!("[export]\nfolder = \"x\"\n{line}\n");
        refused("[export]\nmax = 3\n", &at(1, "[export] has no folder"), "folder");
        refused(&with("formats = [\"sqll\"]"), &at(3, "there is no form 'sqll'"), "did you mean 'sql'?");
        refused(&with("max = 0"), &at(3, "`max` must be a number of copies from 1"), "");
        refused(
            &with("keep = \"30\""),
            &at(3, "`keep`: '30' is no span of time: a unit is missing; they are y, m (months), w, d and h"),
            "",
        );
        let error = parse(&with("only = [\"dat\"]")).unwrap_err();
        assert!(error.message().starts_with(&at(3, "'dat' is no part of a snapshot")), "{error}");
        refused(
            &with("formatz = []"),
            &at(3, "unknown key `formatz` in [export]"),
            "did you mean `formats`?",
        );
    }
}
