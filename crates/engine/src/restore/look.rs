//! A first look at a target, for callers that ask a person what to do with it.

use basekeep_postgres::{Client, ConnectOptions, Error};

use super::target::NO_SUCH_DATABASE;
use crate::{EngineError, ResultExt};

/// `invalid_password` and `invalid_authorization_specification`.
const REFUSED: [&str; 2] = ["28P01", "28000"];

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The server is there, the database is not.
    NoDatabase,
    /// The server wants another password, or one at all.
    Refused,
    /// The database, with so many tables, views and sequences that belong to no extension.
    Database {
        /// How many.
        relations: u64,
    },
}

/// Connects and looks. Changes nothing. Errors: as for any connection, but those that [`Found`] names.
pub async fn look(target: &ConnectOptions) -> Result<Found, EngineError> {
    let mut client = match Client::connect(target, super::APPLICATION_NAME).await {
        Ok(client) => client,
        Err(error) => {
            let state = error.sqlstate();
            if state == Some(NO_SUCH_DATABASE) {
                return Ok(Found::NoDatabase);
            }
            let refused = state.is_some_and(|state| REFUSED.contains(&state));
            if refused || matches!(error, Error::PasswordMissing { .. }) {
                return Ok(Found::Refused);
            }
            return Err(EngineError::from(error).within(format!("connect to {}", target.redacted())));
        }
    };
    let rows = client.query(RELATIONS).await.doing(|| "look at the target")?;
    let relations = rows.iter().next().and_then(|row| row.get(0)?.parse().ok()).unwrap_or(0);
    client.close().await;
    Ok(Found::Database { relations })
}

const RELATIONS: &str = "SELECT pg_catalog.count(*)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
     WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')";
