//! What a project consists of, counted inside the snapshot. What may not be counted is named, never guessed.

mod catalog;
mod encryption;
mod people;
mod services;

use std::collections::BTreeMap;

use basekeep_postgres::{Client, Error, quote_literal};

use crate::platform;
use crate::probe::{Denied, Probe};
use crate::recognize::Project;

/// The counts of everything that the database knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Components {
    /// By component; one that could not be counted, or that the project does not have, is absent.
    pub counts: BTreeMap<&'static str, u64>,
    /// Users by the algorithm of their password's hash.
    pub users_by_hash: BTreeMap<String, u64>,
    /// Identities by provider.
    pub identities_by_provider: BTreeMap<String, u64>,
    /// What calls pgcrypto, sorted, at most [`ENCRYPTION_LISTED`] of them; `counts` has the number of all.
    pub encryption: Vec<String>,
    /// What could not be counted, in words.
    pub denied: Vec<Denied>,
    /// The same by the component's name, with the reason.
    pub refused: BTreeMap<&'static str, String>,
}

/// How many users of pgcrypto are listed by name.
pub const ENCRYPTION_LISTED: usize = 100;

/// Counts. The client must be inside a transaction, which survives every refusal.
///
/// Errors: those of the connection.
pub async fn read(client: &mut Client, project: &Project) -> Result<Components, Error> {
    let mut reading = Reading { probe: Probe::new(client), project, found: Components::default() };
    reading.people().await?;
    reading.catalog().await?;
    reading.services().await?;
    reading.encryption().await?;
    let Reading { probe, mut found, .. } = reading;
    found.denied = probe.denied;
    Ok(found)
}

struct Reading<'c, 'p> {
    probe: Probe<'c>,
    project: &'p Project,
    found: Components,
}

impl Reading<'_, '_> {
    /// Counts the rows of a relation where there is one; `words` say what they are (`users`).
    async fn rows_of(&mut self, name: &'static str, relation: &str, words: &str) -> Result<(), Error> {
        if self.project.has(relation) {
            let sql = format!("SELECT count(*) FROM {relation}");
            self.number(name, words, &sql).await?;
        }
        Ok(())
    }

    async fn number(&mut self, name: &'static str, words: &str, sql: &str) -> Result<(), Error> {
        match self.probe.number(&format!("the number of {words}"), sql).await? {
            Some(number) => _ = self.found.counts.insert(name, number),
            None => self.refused(name),
        }
        Ok(())
    }

    /// The last question was refused; it was about this component.
    fn refused(&mut self, name: &'static str) {
        if let Some(denied) = self.probe.denied.last() {
            self.found.refused.insert(name, denied.reason.clone());
        }
    }
}

/// The platform's schemas as a list of literals.
fn platform_schemas() -> String {
    let schemas: Vec<String> = platform::schemas().map(quote_literal).collect();
    schemas.join(", ")
}
