//! Several `COPY … TO STDOUT` in one command, for tables so small that the round trips would take longer than the rows.

use super::CopyOut;
use crate::connection::Client;
use crate::digest::RowDigester;
use crate::error::Error;

impl Client {
    /// Sends `before` (statements without rows, perhaps none) and the COPYs in text format as one command; the server answers
    /// one after the other. Gives the first one; [`CopyOut::next_copy`] goes on to the next when it has ended.
    ///
    /// Errors: any of the statements', those of `before` at once. The rest of the command is not executed then.
    pub async fn copy_out_many(&mut self, before: &str, copies: &[String]) -> Result<CopyOut<'_>, Error> {
        if copies.is_empty() {
            return Err(Error::Usage("no COPY is given".into()));
        }
        let mut sql = before.to_owned();
        for copy in copies {
            if !sql.is_empty() {
                sql.push_str("; ");
            }
            sql.push_str(copy);
        }
        let mut first = self.start_copy_out(&sql, true).await?;
        first.following = copies.len() - 1;
        Ok(first)
    }
}

impl CopyOut<'_> {
    /// Goes on to the next COPY of the command; its digest begins anew. False when there is none. The one before must have
    /// been read to its end.
    pub async fn next_copy(&mut self) -> Result<bool, Error> {
        if self.following == 0 {
            return Ok(false);
        }
        if !self.ended {
            return Err(Error::Usage("a COPY was not read to its end".into()));
        }
        let message = self.client.next_message().await?;
        match message.tag {
            b'H' => {}
            b'E' => return Err(self.client.server_error(&message).await),
            _ => return Err(self.client.unexpected(&message)),
        }
        self.following -= 1;
        self.digester = RowDigester::new();
        self.ended = false;
        self.arrived = 0;
        Ok(true)
    }
}
