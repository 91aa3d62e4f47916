//! Whether something between us and the server shares its sessions out.
//!
//! The proof leaves no trace: it compares process ids. A session of its own keeps its backend for life. Behind a pooler in
//! transaction mode a session has a backend only while a transaction runs: another session's open transaction then takes
//! the backend that ours had, or ours comes back on another one.

use super::findings::Findings;
use crate::quote::quote_literal;
use crate::{Client, Error, ErrorClass};
use std::time::Duration;

/// How often backends are compared: a pooler with many idle backends may hand out the same one by chance.
const ROUNDS: usize = 4;
/// A pooler without a free backend lets a session wait; a server answers at once.
const PATIENCE: Duration = Duration::from_secs(15);
/// The port of Supabase's pooler in transaction mode.
const SUPAVISOR_TRANSACTION_PORT: u16 = 6543;

/// What [`probe`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The server itself.
    Direct,
    /// A pooler that keeps one backend for each session.
    Session,
    /// A pooler in transaction or statement mode, with the proof.
    Transaction(String),
    /// Sessions that do not reach one and the same server, or cannot share a snapshot.
    Scattered(String),
    /// No second session was given.
    SecondRefused(String),
    /// The first session was lost over the question.
    Unusable,
}

impl Pooling {
    pub(super) fn is_pooled(&self) -> bool {
        matches!(self, Self::Session | Self::Transaction(_) | Self::Unusable)
    }

    pub(super) fn is_blocking(&self) -> bool {
        !matches!(self, Self::Direct | Self::Session)
    }

    pub(super) fn report(&self, port: u16, findings: &mut Findings) {
        const CODE: &str = "transaction-pooler";
        const HINT: &str = "connect to the server itself, or to the pooler's session mode (on Supabase: port 5432 instead of 6543)";
        match self {
            Self::Direct => findings.ok(CODE, "the connection is to the server itself"),
            Self::Session if port == SUPAVISOR_TRANSACTION_PORT => findings.warning(
                CODE,
                format!("the connection goes through a pooler on port {port}, where Supabase runs the transaction mode"),
                HINT,
            ),
            Self::Session => findings.ok(CODE, "the connection goes through a pooler in session mode"),
            Self::Transaction(proof) => findings.blocking(
                CODE,
                format!("the connection goes through a pooler in transaction mode, which cannot hold a snapshot: {proof}"),
                HINT,
            ),
            Self::Scattered(why) => findings.blocking(
                "snapshot-not-shared",
                format!("two connections do not share a snapshot: {why}"),
                "connect to one server, not to a load balancer in front of several",
            ),
            Self::SecondRefused(why) => findings.blocking(
                "few-connections",
                format!("a second connection was refused: {why}"),
                "free connections on the server, or raise max_connections or the role's connection limit",
            ),
            Self::Unusable => findings.blocking(
                CODE,
                "the connection did not answer while a second one was in a transaction, as behind a pooler in \
                 transaction mode with one backend"
                    .to_owned(),
                HINT,
            ),
        }
    }
}

/// Compares the backends of `first` and of a second session.
pub(super) async fn probe(first: &mut Client) -> Result<Pooling, Error> {
    let mine = backend(first).await?;
    // A pooler makes up the process id that it tells at the start.
    let pooled = mine != i64::from(first.backend_pid());
    let options = first.options().clone();
    let mut second = match Client::connect(&options, super::APPLICATION).await {
        Ok(second) => second,
        Err(error) if error.class() != ErrorClass::Usage => {
            return Ok(Pooling::SecondRefused(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let found = match tokio::time::timeout(PATIENCE, compare(first, &mut second, mine, pooled)).await {
        Ok(found) => found?,
        Err(_waited) => Pooling::Unusable,
    };
    if !first.is_usable() {
        return Ok(Pooling::Unusable);
    }
    second.close().await;
    Ok(found)
}

async fn compare(first: &mut Client, second: &mut Client, mine: i64, pooled: bool) -> Result<Pooling, Error> {
    let proof = |text: &str| Ok(Pooling::Transaction(text.to_owned()));
    for _ in 0..ROUNDS {
        if let Err(error) = second.execute("BEGIN").await {
            return proof(&format!("it takes no transactions ({error})"));
        }
        let other = backend(second).await?;
        if other == mine {
            return proof("two sessions were given the same backend");
        }
        if backend(first).await? != mine {
            return proof("one session was given two backends");
        }
        second.execute("ROLLBACK").await?;
    }
    if let Some(why) = share_snapshot(first, second).await? {
        return Ok(Pooling::Scattered(why));
    }
    Ok(if pooled { Pooling::Session } else { Pooling::Direct })
}

/// The reason why `second` cannot see what `first` sees, if it cannot.
async fn share_snapshot(first: &mut Client, second: &mut Client) -> Result<Option<String>, Error> {
    let refused = |error: Error| match error {
        Error::Server(error) => Ok(Some(error.message.clone())),
        error => Err(error),
    };
    first.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let id: String = match first.query("SELECT pg_catalog.pg_export_snapshot()").await {
        Ok(rows) => rows.one()?.parse(0)?,
        Err(error) => {
            first.execute("ROLLBACK").await?;
            return refused(error);
        }
    };
    let join = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
        quote_literal(&id)
    );
    let joined = second.execute(&join).await;
    second.execute("ROLLBACK").await?;
    first.execute("ROLLBACK").await?;
    joined.map_or_else(refused, |()| Ok(None))
}

async fn backend(client: &mut Client) -> Result<i64, Error> {
    client.query("SELECT pg_catalog.pg_backend_pid()").await?.one()?.parse(0)
}
