//! Which objects, tables and other things of two sides are meant.

use std::collections::HashSet;

use basekeep_archive::{Archive, Entry};

use crate::selection::{Part, Selected, Selection};
use crate::{EngineError, ErrorKind};

/// A selection, applied to both sides; `None` where everything is meant.
pub(super) struct Chosen(Option<Both>);

struct Both {
    /// `None` where this side has nothing of what is named.
    a: Option<Selected>,
    b: Option<Selected>,
    /// Schema and name of tables whose rows are meant.
    tables: HashSet<(String, String)>,
}

impl Chosen {
    /// Errors: kind `Usage` when neither side has what is named.
    pub(super) fn of(selection: &Selection, a: &Archive, b: &Archive) -> Result<Self, EngineError> {
        if selection.is_everything() {
            return Ok(Self(None));
        }
        let (a_selected, b_selected) = match (selection.apply(a), selection.apply(b)) {
            (Ok(a), Ok(b)) => (Some(a), Some(b)),
            // What is named may be new or gone.
            (Ok(a), Err(error)) if error.kind() == ErrorKind::Usage => (Some(a), None),
            (Err(error), Ok(b)) if error.kind() == ErrorKind::Usage => (None, Some(b)),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let mut tables = HashSet::new();
        for (archive, selected) in [(a, &a_selected), (b, &b_selected)] {
            let Some(selected) = selected else { continue };
            let rows = archive.entries.iter().filter(|entry| {
                (entry.desc == "TABLE DATA" || (entry.desc == "TABLE" && selection.parts.is_empty()))
                    && selected.contains(entry)
            });
            tables.extend(rows.filter_map(|entry| {
                Some((entry.namespace.as_ref()?.to_string(), entry.tag.as_ref()?.to_string()))
            }));
        }
        Ok(Self(Some(Both { a: a_selected, b: b_selected, tables })))
    }

    /// Whether an object is meant, by its entries on both sides.
    pub(super) fn wants_object(&self, a: Option<&Entry>, b: Option<&Entry>) -> bool {
        let Some(both) = &self.0 else { return true };
        let wants = |selected: &Option<Selected>, entry: Option<&Entry>| {
            entry.is_some_and(|entry| selected.as_ref().is_some_and(|selected| selected.contains(entry)))
        };
        wants(&both.a, a) || wants(&both.b, b)
    }

    /// Whether a table's rows are meant.
    pub(super) fn wants_table(&self, schema: &str, name: &str) -> bool {
        let Some(both) = &self.0 else { return true };
        both.tables.contains(&(schema.to_owned(), name.to_owned()))
    }

    /// Whether things that are not in the archive are meant, by their kind.
    pub(super) fn wants_items(&self, kind: &str) -> bool {
        let Some(both) = &self.0 else { return true };
        let part = match kind {
            "role" | "membership" | "parameter privilege" | "tablespace" => Part::Roles,
            "setting" | "database property" | "project file" => Part::Config,
            "extension" => Part::Extensions,
            "sequence" | "large objects" | "queue" => Part::Data,
            "vault secret" => Part::Encryption,
            "cron job" => Part::Cron,
            "bucket" => Part::Storage,
            "storage file" => Part::Files,
            "edge function file" => Part::EdgeFunctions,
            "migration" => Part::Migrations,
            _ => return false,
        };
        both.a.iter().chain(&both.b).any(|selected| selected.has(part))
    }
}
