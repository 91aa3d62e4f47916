//! Values of single keys, each of the right type or an error that names its line.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::EngineError;

impl Reader<'_> {
    pub(super) fn table<'t>(
        &self,
        value: &'t Spanned<DeValue<'_>>,
        name: &str,
    ) -> Result<&'t DeTable<'t>, EngineError> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.wrong(value.span().start, format!("`{name}` must be a section"))),
        }
    }

    /// A string that is there and not empty.
    pub(super) fn string<'t>(
        &self,
        table: &'t DeTable<'_>,
        key: &str,
    ) -> Result<Option<&'t str>, EngineError> {
        let Some(value) = table.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::String(text) if text.trim().is_empty() => Err(self
                .wrong(value.span().start, format!("`{key}` is empty"))
                .hint("remove the line, or fill it in")),
            DeValue::String(text) => Ok(Some(text)),
            _ => Err(self.wrong(value.span().start, format!("`{key}` must be a text in quotes"))),
        }
    }

    pub(super) fn boolean(&self, table: &DeTable<'_>, key: &str) -> Result<Option<bool>, EngineError> {
        let Some(value) = table.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Boolean(value) => Ok(Some(*value)),
            _ => Err(self.wrong(value.span().start, format!("`{key}` must be true or false"))),
        }
    }

    /// A text in quotes that says something more precise.
    pub(super) fn parsed<T>(
        &self,
        table: &DeTable<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, EngineError> {
        let Some(text) = self.string(table, key)? else { return Ok(None) };
        let parsed = parse(text);
        parsed.map(Some).map_err(|why| self.wrong(self.position(table, key), format!("`{key}`: {why}")))
    }

    /// A list of texts in quotes, each with the place where it stands.
    pub(super) fn strings<'t>(
        &self,
        table: &'t DeTable<'_>,
        key: &str,
    ) -> Result<Vec<(usize, &'t str)>, EngineError> {
        let Some(value) = table.get(key) else { return Ok(Vec::new()) };
        let wrong = |at| self.wrong(at, format!("`{key}` must be a list of texts, such as [\"a\", \"b\"]"));
        let DeValue::Array(values) = value.get_ref() else { return Err(wrong(value.span().start)) };
        let mut strings = Vec::with_capacity(values.len());
        for value in values.iter() {
            match value.get_ref() {
                DeValue::String(text) => strings.push((value.span().start, text.as_ref())),
                _ => return Err(wrong(value.span().start)),
            }
        }
        Ok(strings)
    }
}
