//! The continuity token: one row in a schema of ours in the source, replaced by a random value after each snapshot was
//! taken, with the values before it kept beside it.
//!
//! Whatever the snapshot saw was committed before the token was written, and the token's commit is flushed to disk; so a
//! server that still knows the token still has what the snapshot saw, whatever happened to it in between.

use crate::{Client, ConnectOptions, Error, quote_literal, session};
use rand::RngExt as _;

/// Earlier values that are kept. Each backup of the database adds one.
const KEPT: u32 = 1000;

/// The tokens that a snapshot sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<String>);

impl Tokens {
    /// Reads them in the transaction of `client`; none where the row does not exist or may not be read.
    pub async fn read(client: &mut Client) -> Result<Self, Error> {
        let readable = client
            .query(
                "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = 'basekeep' AND c.relname = 'continuity' AND c.relkind = 'r'
                   AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
                   AND NOT pg_catalog.row_security_active(c.oid)",
            )
            .await?;
        if readable.first().is_none() {
            return Ok(Self::default());
        }
        let sql = "SAVEPOINT token; SELECT pg_catalog.array_prepend(token, earlier) FROM ONLY basekeep.continuity; \
                   RELEASE SAVEPOINT token";
        match client.query_all(sql).await {
            Ok(results) => {
                let rows = results.iter().filter_map(|rows| rows.first());
                let lists = rows.map(|row| row.parse::<Vec<String>>(0)).collect::<Result<Vec<_>, _>>()?;
                Ok(Self(lists.into_iter().flatten().collect()))
            }
            // The table is there now and was not, or was another one, when the snapshot was taken.
            Err(Error::Server(_)) => {
                client.execute("ROLLBACK TO SAVEPOINT token; RELEASE SAVEPOINT token").await?;
                Ok(Self::default())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether this one is among them.
    pub fn knows(&self, token: &str) -> bool {
        self.0.iter().any(|known| known == token)
    }
}

/// Writes a new token on a connection of its own and gives it, once it is on the source's disk. Makes the schema
/// `basekeep` with the table `continuity` where they are missing.
///
/// Errors: the role may not do this, or the server is a standby.
pub async fn renew(connect: &ConnectOptions) -> Result<String, Error> {
    let mut client = Client::connect(connect, "basekeep").await?;
    session::pin(&mut client).await?;
    let token = hex::encode(rand::rng().random::<[u8; 16]>());
    let new = quote_literal(&token);
    client.execute("SET synchronous_commit = on; SET lock_timeout = '10s'").await?;
    let exists = client
        .query(
            "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'basekeep' AND c.relname = 'continuity'",
        )
        .await?;
    if exists.first().is_none() {
        client.execute(MAKE).await?;
    }
    client
        .execute(&format!(
            "BEGIN; LOCK TABLE basekeep.continuity IN SHARE ROW EXCLUSIVE MODE;
             UPDATE basekeep.continuity SET token = {new},
               earlier = (pg_catalog.array_prepend(token, earlier))[1:{KEPT}], written = pg_catalog.now();
             INSERT INTO basekeep.continuity (token)
               SELECT {new} WHERE NOT EXISTS (SELECT FROM basekeep.continuity);
             COMMIT"
        ))
        .await?;
    client.close().await;
    Ok(token)
}

const MAKE: &str = "BEGIN;
CREATE SCHEMA IF NOT EXISTS basekeep;
CREATE TABLE IF NOT EXISTS basekeep.continuity (
  token text NOT NULL,
  earlier text[] NOT NULL DEFAULT '{}',
  written timestamptz NOT NULL DEFAULT pg_catalog.now());
COMMENT ON TABLE basekeep.continuity IS
  'basekeep: each backup replaces the token, which shows the next one that the history was not rewound';
COMMIT";
