//! Whether a database works as a project should: the checklist that people go through after a restore, each line checked by
//! the server itself.
//!
//! Nothing stays changed: sessions are read-only, and what must be written to be tried is written in a transaction that is
//! rolled back. It works on any database; what belongs to Supabase alone is not applicable elsewhere.

mod accounts;
mod expected;
mod insertion;
mod relationships;
mod security;
mod storage;
mod tables;

pub use expected::{Expected, ExpectedForeignKey, ExpectedPublication, ExpectedTable};

use basekeep_postgres::{Client, Error, ErrorClass, session};

/// One line of the checklist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// A stable word: `tables`, `authentication`…
    pub name: &'static str,
    /// For people: `all tables accessible`.
    pub title: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was looked at, or why there was nothing to look at.
    pub detail: String,
    /// What is wrong, one sentence each; empty unless it failed.
    pub problems: Vec<String>,
}

/// How a line of the checklist ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Not as it should be: see the problems.
    Failed,
    /// There is nothing of this kind in the database and in the backup, or the role may not look.
    NotApplicable,
}

/// How far the checks may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Write (and roll back) also where triggers fire. They may take numbers from sequences, which no rollback gives back; so
    /// not right after a restore, whose sequences are as they were.
    pub triggers: bool,
}

/// What a check found.
enum Verdict {
    /// Looked at; wrong when there are problems.
    Looked { at: String, problems: Vec<String> },
    /// Why there was nothing to look at.
    NotApplicable(String),
}

impl Verdict {
    fn looked(at: impl Into<String>, problems: Vec<String>) -> Self {
        Self::Looked { at: at.into(), problems }
    }

    fn not_applicable(why: impl Into<String>) -> Self {
        Self::NotApplicable(why.into())
    }
}

type Found = Result<Verdict, Error>;

/// Goes through the checklist on a connection of its own, which is left with settings of its own.
///
/// # Errors
/// When the connection breaks. What the server refuses is a failed line.
pub async fn check(client: &mut Client, expected: &Expected, options: Options) -> Result<Vec<Check>, Error> {
    session::pin(client).await?;
    client.execute("SET default_transaction_read_only = on; SET client_min_messages = error").await?;
    let mut list = Checklist { client, checks: Vec::new() };
    let found = tables::connection(list.client).await;
    list.add("connection", "database connection", found).await?;
    let found = tables::accessible(list.client, expected).await;
    list.add("tables", "all tables accessible", found).await?;
    let found = accounts::check(list.client).await;
    list.add("authentication", "user authentication", found).await?;
    let found = insertion::check(list.client, options).await;
    list.add("projects", "project creation", found).await?;
    let found = storage::buckets(list.client, expected).await;
    list.add("storage", "storage buckets accessible", found).await?;
    let found = storage::policies(list.client, expected).await;
    list.add("storage-policies", "storage policies enforced", found).await?;
    let found = relationships::named(list.client, "workflow|stage", options).await;
    list.add("workflow", "workflow stages", found).await?;
    let found = relationships::named(list.client, "approval", options).await;
    list.add("approvals", "approvals", found).await?;
    let found = relationships::intact(list.client).await;
    list.add("relationships", "all relationships intact", found).await?;
    let found = relationships::foreign_keys(list.client, expected).await;
    list.add("foreign-keys", "foreign keys enforced", found).await?;
    let found = security::check(list.client, expected).await;
    list.add("row-security", "row level security active", found).await?;
    let found = security::publications(list.client, expected).await;
    list.add("publications", "real-time publications", found).await?;
    Ok(list.checks)
}

struct Checklist<'a> {
    client: &'a mut Client,
    checks: Vec<Check>,
}

impl Checklist<'_> {
    async fn add(&mut self, name: &'static str, title: &'static str, found: Found) -> Result<(), Error> {
        if self.client.in_transaction() {
            self.client.execute("ROLLBACK").await?;
        }
        let (outcome, detail, problems) = match found {
            Ok(Verdict::NotApplicable(why)) => (Outcome::NotApplicable, why, Vec::new()),
            Ok(Verdict::Looked { at, problems }) if problems.is_empty() => (Outcome::Ok, at, problems),
            Ok(Verdict::Looked { at, problems }) => (Outcome::Failed, at, problems),
            Err(error) => (Outcome::Failed, String::new(), vec![refusal(error)?]),
        };
        self.checks.push(Check { name, title, outcome, detail, problems });
        Ok(())
    }
}

/// What the server says, or the error when there is no server any more.
fn refusal(error: Error) -> Result<String, Error> {
    match error.class() {
        ErrorClass::LostConnection | ErrorClass::Unreachable => Err(error),
        _ => Ok(error.to_string()),
    }
}

/// Whether the table's own rules refused: a trigger's exception, a check, a unique index. Then they work.
fn is_own_rule(error: &Error) -> bool {
    error.sqlstate().is_some_and(|code| code == "P0001" || (code.starts_with("23") && code != "23503"))
}

/// Whether the relation exists; the name is qualified and quoted.
async fn exists(client: &mut Client, relation: &str) -> Result<bool, Error> {
    let sql = format!("SELECT pg_catalog.to_regclass({})", basekeep_postgres::quote_literal(relation));
    Ok(client.query(&sql).await?.one()?.get(0).is_some())
}

/// `1 table`, `2 tables`.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// How many problems of one kind are named before the rest is counted.
const NAMED: usize = 20;

/// The first problems, and how many more there are.
fn some(mut problems: Vec<String>) -> Vec<String> {
    let more = problems.len().saturating_sub(NAMED);
    if more > 0 {
        problems.truncate(NAMED);
        problems.push(format!("and {more} more"));
    }
    problems
}
