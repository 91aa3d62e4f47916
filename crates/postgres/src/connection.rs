//! One session with a server.

mod authentication;
mod cancel;
mod establish;
mod messages;
mod pinning;
mod socket;
mod stream;
mod wire;

pub use cancel::CancelToken;
pub(crate) use messages::version_number;
pub use pinning::SESSION_PINNING;
pub(crate) use wire::Message;

use crate::conninfo::ConnectOptions;
use crate::error::{Error, ServerError};
use crate::rows::Rows;
use cancel::CancelTarget;
use postgres_protocol::message::frontend;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use wire::Wire;

/// A NoticeResponse: a warning or a note of the server, with the fields of an error.
pub type Notice = ServerError;

/// Notices kept until they are taken; older ones are dropped.
const KEPT_NOTICES: usize = 200;

/// Whether the session can take a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The server waits for a command. Set by ReadyForQuery.
    Ready,
    /// A command was sent and its end has not been seen. A command found in this state was abandoned.
    Busy,
    /// The connection is lost or said something wrong.
    Broken,
}

/// One session. Commands run one at a time; a command whose future is dropped half way closes the session.
pub struct Client {
    pub(crate) wire: Wire,
    pub(crate) state: State,
    options: ConnectOptions,
    parameters: HashMap<String, String>,
    notices: VecDeque<Notice>,
    server_version: u32,
    transaction: u8,
    encrypted: bool,
    cancel: Arc<CancelTarget>,
}

impl Client {
    /// Connects, authenticates and waits until the server is ready.
    pub async fn connect(options: &ConnectOptions, application_name: &str) -> Result<Client, Error> {
        establish::connect(options, application_name).await
    }

    /// For example 150018.
    pub fn server_version(&self) -> u32 {
        self.server_version
    }

    /// A parameter that the server reported (`server_version`, `client_encoding`, `in_hot_standby`, …).
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Process id of the backend.
    pub fn backend_pid(&self) -> i32 {
        self.cancel.process_id
    }

    /// The options narrowed to the one host and address that this session is on. Further sessions that must reach the
    /// same server (to share a snapshot), and pg_dump, use these.
    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// Whether the session is inside a transaction block, failed or not.
    pub fn in_transaction(&self) -> bool {
        self.transaction != b'I'
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Whether the session can take another command.
    pub fn is_usable(&self) -> bool {
        self.state == State::Ready
    }

    /// Runs one or more statements; results are discarded.
    pub async fn execute(&mut self, sql: &str) -> Result<(), Error> {
        self.run(sql, &mut |_| {}).await
    }

    /// Runs one or more statements; gives the last result that has columns (an empty one if none has).
    pub async fn query(&mut self, sql: &str) -> Result<Rows, Error> {
        let mut last = Rows::default();
        self.run(sql, &mut |rows| last = rows).await?;
        Ok(last)
    }

    /// Runs several statements in one round trip; one `Rows` for each statement that returns columns. Without a
    /// transaction block around them they are one transaction.
    pub async fn query_all(&mut self, sql: &str) -> Result<Vec<Rows>, Error> {
        let mut all = Vec::new();
        self.run(sql, &mut |rows| all.push(rows)).await?;
        Ok(all)
    }

    async fn run(&mut self, sql: &str, complete: &mut (dyn FnMut(Rows) + Send)) -> Result<(), Error> {
        self.start(sql).await?;
        let mut current: Option<Rows> = None;
        let mut misuse = None;
        loop {
            let message = self.next_message().await?;
            match message.tag {
                b'T' => current = Some(Rows::with_columns(messages::column_names(self.wire.body(&message))?)),
                b'D' => match &mut current {
                    Some(rows) => rows.push(self.wire.body(&message))?,
                    None => return Err(self.unexpected(&message)),
                },
                b'C' => current.take().into_iter().for_each(&mut *complete),
                b'I' => {}
                b'H' | b'd' | b'c' => {
                    misuse = Some(Error::Usage("COPY TO STDOUT goes through copy_out".into()))
                }
                b'G' => {
                    misuse = Some(Error::Usage("COPY FROM STDIN goes through copy_in".into()));
                    self.wire.send(|buf| frontend::copy_fail("not expected", buf)).await?;
                }
                b'E' => {
                    let error = self.server_error(&message).await;
                    return Err(misuse.unwrap_or(error));
                }
                b'Z' => {
                    self.ready(&message)?;
                    return misuse.map_or(Ok(()), Err);
                }
                _ => return Err(self.unexpected(&message)),
            }
        }
    }

    /// Sends a command. From here to ReadyForQuery the session is busy.
    pub(crate) async fn start(&mut self, sql: &str) -> Result<(), Error> {
        if self.state != State::Ready {
            return Err(Error::Closed);
        }
        if sql.as_bytes().contains(&0) {
            return Err(Error::Usage("a statement contains a zero byte".into()));
        }
        self.state = State::Busy;
        self.wire.send(|buf| frontend::query(sql, buf)).await
    }

    /// The next message that belongs to the command; notices and reports of parameters are taken in on the way.
    pub(crate) async fn next_message(&mut self) -> Result<Message, Error> {
        loop {
            let message = self.wire.message().await?;
            if !self.absorb(&message)? {
                return Ok(message);
            }
        }
    }

    /// Takes in a message that may come at any time. False for any other.
    pub(crate) fn absorb(&mut self, message: &Message) -> Result<bool, Error> {
        let body = self.wire.body(message);
        match message.tag {
            b'N' => {
                if self.notices.len() >= KEPT_NOTICES {
                    self.notices.pop_front();
                }
                self.notices.push_back(messages::server_error(body));
            }
            b'S' => {
                let (name, value) = messages::parameter_status(body)?;
                self.parameters.insert(name, value);
            }
            b'A' => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Reads an ErrorResponse and goes on to ReadyForQuery, so that the session can be used again.
    pub(crate) async fn server_error(&mut self, message: &Message) -> Error {
        let error = messages::server_error(self.wire.body(message));
        if error.is_fatal() {
            // The server closes the connection after this one.
            self.state = State::Broken;
            return Error::Server(Box::new(error));
        }
        loop {
            match self.next_message().await {
                Ok(message) if message.tag == b'Z' => {
                    if let Err(protocol) = self.ready(&message) {
                        return protocol;
                    }
                    break;
                }
                // A FATAL one may follow (the session is terminated meanwhile): the first says why.
                Ok(_) => {}
                Err(_) => {
                    self.state = State::Broken;
                    break;
                }
            }
        }
        Error::Server(Box::new(error))
    }

    /// Takes ReadyForQuery in: the session takes commands again.
    pub(crate) fn ready(&mut self, message: &Message) -> Result<(), Error> {
        match self.wire.body(message) {
            [status @ (b'I' | b'T' | b'E')] => {
                self.transaction = *status;
                self.state = State::Ready;
                Ok(())
            }
            _ => Err(self.unexpected(message)),
        }
    }

    /// Number of rows in a CommandComplete of COPY.
    pub(crate) fn copied_rows(&self, message: &Message) -> Option<u64> {
        messages::copied_rows(self.wire.body(message))
    }

    /// Gives the session up: no command can follow.
    pub(crate) fn abandon(&mut self) {
        self.state = State::Broken;
    }

    pub(crate) fn unexpected(&mut self, message: &Message) -> Error {
        self.state = State::Broken;
        Error::Protocol(format!("a message of kind {:?} at this point", char::from(message.tag)))
    }

    /// Cancels the command that runs on this session, from elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        CancelToken::new(self.cancel.clone())
    }

    /// Notices since the last call, the newest 200.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.notices.drain(..).collect()
    }

    /// Says good-bye and closes.
    pub async fn close(mut self) {
        if self.state == State::Ready {
            // Whether it arrives does not matter any more.
            let _ = self
                .wire
                .send(|buf| {
                    frontend::terminate(buf);
                    Ok(())
                })
                .await;
        }
        self.wire.shutdown().await;
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.options)
            .field("state", &self.state)
            .field("backend_pid", &self.backend_pid())
            .finish_non_exhaustive()
    }
}
