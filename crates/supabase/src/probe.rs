//! Queries that the role may not be allowed to run, inside a transaction that must survive them.

use std::collections::BTreeMap;

use basekeep_postgres::{Client, Error, Rows};

/// Something that the server refused to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What, as a person would name it: `the number of users`.
    pub what: String,
    /// The server's reason, without values.
    pub reason: String,
}

/// Runs each query in a savepoint: one that fails costs its answer, not the transaction with its snapshot.
///
/// The client must be inside a transaction. Errors of its methods are those of the connection alone.
pub struct Probe<'c> {
    client: &'c mut Client,
    /// What was refused so far.
    pub denied: Vec<Denied>,
}

impl<'c> Probe<'c> {
    /// Nothing has been refused yet.
    pub fn new(client: &'c mut Client) -> Self {
        Self { client, denied: Vec::new() }
    }

    /// The rows of one query; `None` when the server refuses it, which is noted as `what`.
    pub async fn rows(&mut self, what: &str, sql: &str) -> Result<Option<Rows>, Error> {
        let reason =
            match self.client.query_all(&format!("SAVEPOINT probe; {sql}; RELEASE SAVEPOINT probe")).await {
                Ok(mut results) => match results.pop() {
                    Some(rows) => return Ok(Some(rows)),
                    None => "the server gave no rows".to_owned(),
                },
                Err(Error::Server(error)) => {
                    self.client.execute("ROLLBACK TO SAVEPOINT probe; RELEASE SAVEPOINT probe").await?;
                    reason(&error.code, &error.message)
                }
                Err(error) => return Err(error),
            };
        self.denied.push(Denied { what: what.to_owned(), reason });
        Ok(None)
    }

    /// The number in the first row.
    pub async fn number(&mut self, what: &str, sql: &str) -> Result<Option<u64>, Error> {
        let Some(rows) = self.rows(what, sql).await? else { return Ok(None) };
        rows.first().map(|row| row.parse(0)).transpose()
    }

    /// Pairs of a word and a number.
    pub async fn counts(&mut self, what: &str, sql: &str) -> Result<Option<BTreeMap<String, u64>>, Error> {
        let Some(rows) = self.rows(what, sql).await? else { return Ok(None) };
        rows.iter().map(|row| Ok((row.parse(0)?, row.parse(1)?))).collect::<Result<_, Error>>().map(Some)
    }
}

/// The message where it names objects alone; other errors may quote values, of which nothing is repeated.
fn reason(code: &str, message: &str) -> String {
    match code {
        // insufficient_privilege, and names that are not there
        "42501" | "42P01" | "42703" | "42883" | "3F000" | "0A000" | "55000" => message.to_owned(),
        code => format!("the server answers with error {code}"),
    }
}
