//! One session with a server.

use crate::conninfo::ConnectOptions;
use crate::copy::{CopyIn, CopyOut};
use crate::error::{Error, ServerError};
use crate::rows::Rows;

/// The session settings under which equal values give equal COPY text on any server, and with which nothing is
/// filtered or cut off by settings of the role. One SQL text; leaves `client_encoding` alone.
pub const SESSION_PINNING: &str = "";

/// A NoticeResponse: a warning or a note of the server, with the fields of an error.
pub type Notice = ServerError;

/// One session. Commands run one at a time; a command whose future is dropped half way closes the session.
pub struct Client {}

impl Client {
    /// Connects, authenticates and waits until the server is ready.
    pub async fn connect(_options: &ConnectOptions, _application_name: &str) -> Result<Client, Error> {
        todo!()
    }
    /// For example 150018.
    pub fn server_version(&self) -> u32 {
        todo!()
    }
    /// A parameter that the server reported (`server_version`, `client_encoding`, `in_hot_standby`, …).
    pub fn parameter(&self, _name: &str) -> Option<&str> {
        todo!()
    }
    /// Process id of the backend.
    pub fn backend_pid(&self) -> i32 {
        todo!()
    }
    /// The options narrowed to the one host and address that this session is on. Further sessions that must reach the
    /// same server (same snapshot), and pg_dump, use these.
    pub fn options(&self) -> &ConnectOptions {
        todo!()
    }
    /// Runs one or more statements, results are discarded.
    pub async fn execute(&mut self, _sql: &str) -> Result<(), Error> {
        todo!()
    }
    /// Runs one or more statements, gives the last result that has columns (empty if none has).
    pub async fn query(&mut self, _sql: &str) -> Result<Rows, Error> {
        todo!()
    }
    /// Runs several statements in one round trip, one `Rows` for each statement that returns rows.
    pub async fn query_all(&mut self, _sql: &str) -> Result<Vec<Rows>, Error> {
        todo!()
    }
    /// Starts a `COPY … TO STDOUT` in text format.
    pub async fn copy_out(&mut self, _sql: &str) -> Result<CopyOut<'_>, Error> {
        todo!()
    }
    /// Starts a `COPY … FROM STDIN`.
    pub async fn copy_in(&mut self, _sql: &str) -> Result<CopyIn<'_>, Error> {
        todo!()
    }
    /// Cancels the command that runs on this session, from elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        todo!()
    }
    /// Notices since the last call, at most the newest few hundred.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        todo!()
    }
    /// Says good-bye and closes.
    pub async fn close(self) {
        todo!()
    }
}

/// Cancels what its session is doing.
#[derive(Clone)]
pub struct CancelToken {}

impl CancelToken {
    /// Sends the request on a connection of its own. Success means that it was sent.
    pub async fn cancel(&self) -> Result<(), Error> {
        todo!()
    }
}
