//! How a source's changes are found: `continuity` and `full_every`.

use basekeep_postgres::changes::Continuity;
use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::EngineError;
use crate::backup::ChangePolicy;

impl Reader<'_> {
    pub(super) fn changes(&self, table: &DeTable<'_>) -> Result<ChangePolicy, EngineError> {
        let mut policy = ChangePolicy::default();
        if let Some(continuity) = self.parsed(table, "continuity", continuity)? {
            policy.continuity = continuity;
        }
        if let Some(value) = table.get("full_every") {
            policy.full_every = match value.get_ref() {
                DeValue::Integer(number) => number.to_string().parse().ok(),
                _ => None,
            }
            .ok_or_else(|| {
                self.wrong(value.span().start, "`full_every` must be a number of backups, or 0 for never")
            })?;
        }
        Ok(policy)
    }
}

fn continuity(text: &str) -> Result<Continuity, String> {
    match text {
        "process" => Ok(Continuity::Process),
        "token" => Ok(Continuity::Token),
        _ => Err("it is \"process\" (nothing is written to the source) or \"token\" (a row of it is replaced, and restarts are survived)".into()),
    }
}
