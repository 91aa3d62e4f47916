//! Passwords besides the repository's own: a new one, or that of a repository to copy to.

use std::path::Path;

use basekeep_engine::config::{Dotenv, PasswordFrom};
use basekeep_engine::postgres::Secret;
use basekeep_engine::{EngineError, Password};

use super::Context;
use super::repository::variables;
use crate::confirm;

impl Context {
    /// A password that a flag's file gives, else `NAME`, `NAME_FILE` or `NAME_COMMAND`, with the place that it came
    /// from. `None` when nothing gives one.
    pub(crate) fn further_password(
        &self,
        file: Option<&Path>,
        variable: &str,
    ) -> Result<Option<(Password, String)>, EngineError> {
        let from = match file {
            Some(file) => Some(PasswordFrom::File(file.to_owned())),
            None => variables(&self.env, variable)?,
        };
        let Some(from) = from else { return Ok(None) };
        let secret = from.read(&self.env, &Dotenv::default())?;
        Ok(Some((Password::new(secret.expose()), from.to_string())))
    }

    /// A new password: from a flag's file, from `BASEKEEP_NEW_PASSWORD…`, or asked twice on a terminal.
    pub(crate) fn new_password(&self, file: Option<&Path>) -> Result<Password, EngineError> {
        let given = self.further_password(file, "BASEKEEP_NEW_PASSWORD");
        if let Some((password, _)) = given.map_err(|error| error.within("the new password"))? {
            return Ok(password);
        }
        if !confirm::possible() || self.output.json {
            return Err(EngineError::usage("no new password is given")
                .hint("use --new-password-file FILE")
                .hint("or set BASEKEEP_NEW_PASSWORD, BASEKEEP_NEW_PASSWORD_FILE or BASEKEEP_NEW_PASSWORD_COMMAND"));
        }
        let first = Secret::new(confirm::password("new password")?);
        let second = Secret::new(confirm::password("the same again")?);
        if first != second {
            return Err(EngineError::usage("the two passwords differ").hint("nothing was changed; try again"));
        }
        Ok(Password::new(first.expose()))
    }
}
