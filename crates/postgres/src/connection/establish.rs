//! From options to a session that is ready: hosts and addresses in order, TLS as `sslmode` says, startup, authentication,
//! `target_session_attrs`.

use super::authentication::Exchange;
use super::cancel::CancelTarget;
use super::messages;
use super::socket::{self, Address};
use super::stream::{Stream, TLS_READ_BUFFER};
use super::wire::Wire;
use super::{Client, State};
use crate::conninfo::{ConnectOptions, Endpoint, Settings, SslMode, TargetSession};
use crate::error::{Error, ErrorClass};
use crate::tls;
use postgres_protocol::message::frontend;
use rand::seq::SliceRandom;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

pub(super) async fn connect(options: &ConnectOptions, application_name: &str) -> Result<Client, Error> {
    let settings = &options.settings;
    let mut order: Vec<usize> = (0..settings.endpoints.len()).collect();
    if settings.random_order {
        order.shuffle(&mut rand::rng());
    }
    // "prefer-standby" is one round for a standby, then one for any server.
    let rounds = match settings.target_session {
        TargetSession::PreferStandby => vec![TargetSession::Standby, TargetSession::Any],
        other => vec![other],
    };
    let mut last = None;
    for wanted in rounds {
        for &index in &order {
            let endpoint = &settings.endpoints[index];
            let addresses =
                match within(settings.connect_timeout, &looking_up(endpoint), socket::addresses(endpoint))
                    .await
                {
                    Ok(addresses) => addresses,
                    Err(e) => {
                        last = Some(e);
                        continue;
                    }
                };
            for address in addresses {
                let attempt = Attempt { options, index, endpoint, address: &address, application_name };
                match within(settings.connect_timeout, &attempt.what(), attempt.run(wanted)).await {
                    Ok(client) => return Ok(client),
                    // Another host would refuse the same password; only what another server may do better goes on.
                    Err(e)
                        if e.class() != ErrorClass::Unreachable
                            && e.class() != ErrorClass::LostConnection =>
                    {
                        return Err(e);
                    }
                    Err(e) => last = Some(e),
                }
            }
        }
    }
    Err(last.unwrap_or(Error::Closed))
}

fn looking_up(endpoint: &Endpoint) -> String {
    format!("looking up the address of {}", endpoint.host)
}

/// Bounds the time that something may take.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    what: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match limit {
        None => work.await,
        Some(after) => match tokio::time::timeout(after, work).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { what: what.to_owned(), after }),
        },
    }
}

struct Attempt<'a> {
    options: &'a ConnectOptions,
    index: usize,
    endpoint: &'a Endpoint,
    address: &'a Address,
    application_name: &'a str,
}

/// Whether a try uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encryption {
    No,
    /// Goes on without when the server has none.
    IfOffered,
    Yes,
}

impl Attempt<'_> {
    fn what(&self) -> String {
        format!("connecting to {}", self.endpoint.describe())
    }

    async fn run(&self, wanted: TargetSession) -> Result<Client, Error> {
        let (first, second) = match self.options.settings.tls.mode {
            _ if self.endpoint.is_socket() => (Encryption::No, None),
            SslMode::Disable => (Encryption::No, None),
            SslMode::Allow => (Encryption::No, Some(Encryption::Yes)),
            SslMode::Prefer => (Encryption::IfOffered, Some(Encryption::No)),
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => (Encryption::Yes, None),
        };
        let mut client = match (self.session(first).await, second) {
            // As libpq: the other way is tried when TLS fails, or when the server refuses this session as such.
            (Err(e), Some(second)) if other_way_may_help(&e) => {
                self.session(second).await.map_err(|other| of_both(first, e, other))?
            }
            (result, _) => result?,
        };
        check_target(&mut client, wanted, self.endpoint).await?;
        Ok(client)
    }

    async fn session(&self, encryption: Encryption) -> Result<Client, Error> {
        let settings = &self.options.settings;
        let stream = socket::open(self.endpoint, self.address, settings).await?;
        let stream = encrypt(stream, self.endpoint, settings, encryption).await?;
        let (encrypted, certificate) = match &stream {
            Stream::Tls(tls) => (true, tls.get_ref().1.peer_certificates().and_then(|c| c.first()).cloned()),
            _ => (false, None),
        };
        let server_end_point = certificate.and_then(|c| tls::server_end_point(&c));
        let mut wire = Wire::new(stream);
        self.send_startup(&mut wire).await?;
        let mut client = Client {
            wire,
            state: State::Busy,
            options: self.narrowed_options(),
            parameters: HashMap::new(),
            notices: VecDeque::new(),
            server_version: 0,
            transaction: b'I',
            encrypted,
            cancel: Arc::new(self.cancel_target(encrypted, 0, Vec::new())),
        };
        let ready = match self.authenticate(&mut client, server_end_point).await {
            Ok(()) => self.await_ready(&mut client).await,
            refused => refused,
        };
        match ready {
            Ok(()) => {
                // `options` or a pooler may have set another.
                if client.parameter("client_encoding").is_some_and(|encoding| encoding != "UTF8") {
                    client.execute("SET client_encoding = 'UTF8'").await?;
                }
                Ok(client)
            }
            // With TLS 1.3 the server judges our certificate after the handshake.
            Err(Error::Io(e)) if tls::reason(&e).is_some() => Err(Error::Tls {
                endpoint: self.endpoint.describe(),
                reason: tls::reason(&e).unwrap_or_default(),
            }),
            Err(e) => Err(e),
        }
    }

    fn narrowed_options(&self) -> ConnectOptions {
        let mut endpoint = self.endpoint.clone();
        if let Address::Tcp(address) = self.address {
            endpoint.address = Some(address.ip());
        }
        self.options.narrowed_to(self.index, endpoint)
    }

    fn cancel_target(&self, encrypted: bool, process_id: i32, key: Vec<u8>) -> CancelTarget {
        CancelTarget {
            settings: self.options.settings.clone(),
            endpoint: self.endpoint.clone(),
            address: self.address.clone(),
            encrypted,
            process_id,
            key,
        }
    }

    async fn send_startup(&self, wire: &mut Wire) -> Result<(), Error> {
        let settings = &self.options.settings;
        let mut parameters = vec![("user", settings.user.as_str()), ("database", settings.database.as_str())];
        let name = settings.application_name.as_deref().unwrap_or(self.application_name);
        parameters.push(("application_name", name));
        parameters.push(("client_encoding", "UTF8"));
        parameters.extend(settings.options.as_deref().map(|o| ("options", o)));
        wire.send(|buf| frontend::startup_message(parameters, buf)).await
    }

    async fn authenticate(
        &self,
        client: &mut Client,
        server_end_point: Option<Vec<u8>>,
    ) -> Result<(), Error> {
        let password = self.options.password_for(self.index);
        let mut exchange = Exchange::new(self.options, password, client.encrypted, server_end_point);
        loop {
            let message = client.wire.message().await?;
            match message.tag {
                b'R' => {
                    let body = client.wire.body(&message).to_vec();
                    if exchange.answer(&mut client.wire, &body).await? {
                        return Ok(());
                    }
                }
                b'E' => return Err(self.refused(messages::server_error(client.wire.body(&message)))),
                // NegotiateProtocolVersion: options that the server does not know; we ask for none.
                b'v' => {}
                _ if client.absorb(&message)? => {}
                _ => return Err(client.unexpected(&message)),
            }
        }
    }

    fn refused(&self, mut error: crate::error::ServerError) -> Error {
        if error.code == "28P01" {
            error.password_file = self.options.password_is_from_file().map(|p| p.display().to_string());
        }
        Error::Server(Box::new(error))
    }

    async fn await_ready(&self, client: &mut Client) -> Result<(), Error> {
        loop {
            let message = client.next_message().await?;
            match message.tag {
                b'K' => {
                    let (process_id, key) = messages::backend_key(client.wire.body(&message))?;
                    client.cancel = Arc::new(self.cancel_target(client.encrypted, process_id, key));
                }
                b'E' => return Err(self.refused(messages::server_error(client.wire.body(&message)))),
                b'v' => {}
                b'Z' => {
                    client.ready(&message)?;
                    client.server_version =
                        client.parameter("server_version").map_or(0, messages::version_number);
                    return Ok(());
                }
                _ => return Err(client.unexpected(&message)),
            }
        }
    }
}

/// Which of two errors to show: what the server said on the encrypted session, unless there was none.
fn of_both(first: Encryption, error: Error, other: Error) -> Error {
    let (encrypted, plain) = if first == Encryption::No { (other, error) } else { (error, other) };
    if matches!(encrypted, Error::Server(_)) { encrypted } else { plain }
}

/// Whether a failed try may succeed with TLS instead of without, or the other way round.
fn other_way_may_help(error: &Error) -> bool {
    match error {
        Error::Tls { .. } => true,
        // The server's rules for hosts (pg_hba.conf) tell encrypted and plain sessions apart.
        Error::Server(e) => e.code.starts_with("28") && e.code != "28P01",
        Error::Io(_) => true,
        _ => false,
    }
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

async fn encrypt(
    stream: Stream,
    endpoint: &Endpoint,
    settings: &Settings,
    encryption: Encryption,
) -> Result<Stream, Error> {
    let Stream::Tcp(mut tcp) = stream else { return Ok(stream) };
    if encryption == Encryption::No {
        return Ok(Stream::Tcp(tcp));
    }
    let failed = |reason: String| Error::Tls { endpoint: endpoint.describe(), reason };
    let connector = tls::Connector::new(settings, endpoint).map_err(failed)?;
    if !settings.tls.direct {
        tcp.write_all(&SSL_REQUEST).await?;
        // Exactly one byte: plain bytes behind the answer stay in the socket and fail the handshake, they can never be
        // taken for the start of the encrypted stream (CVE-2021-23222).
        match tcp.read_u8().await? {
            b'S' => {}
            b'N' if encryption == Encryption::IfOffered => return Ok(Stream::Tcp(tcp)),
            b'N' => return Err(failed("the server does not support it".into())),
            // What follows is not protected and could be anybody's: not shown.
            _ => return Err(failed("the server answered the request for TLS with something else".into())),
        }
    }
    let tls = connector.connect(BufReader::with_capacity(TLS_READ_BUFFER, tcp)).await.map_err(failed)?;
    Ok(Stream::Tls(Box::new(tls)))
}

pub(super) async fn open_for_cancel(
    endpoint: &Endpoint,
    address: &Address,
    settings: &Settings,
    encrypted: bool,
) -> Result<Stream, Error> {
    let stream = socket::open(endpoint, address, settings).await?;
    let encryption = if encrypted { Encryption::Yes } else { Encryption::No };
    encrypt(stream, endpoint, settings, encryption).await
}

async fn check_target(client: &mut Client, wanted: TargetSession, endpoint: &Endpoint) -> Result<(), Error> {
    if wanted == TargetSession::Any {
        return Ok(());
    }
    // Servers before 14 do not report these.
    let reported = |client: &Client, name: &str| client.parameter(name).map(|v| v == "on");
    let standby = match reported(client, "in_hot_standby") {
        Some(standby) => standby,
        None => client.query("SELECT pg_catalog.pg_is_in_recovery()").await?.one()?.parse(0)?,
    };
    let read_only = match reported(client, "default_transaction_read_only") {
        Some(read_only) => read_only,
        None => client.query("SHOW default_transaction_read_only").await?.one()?.parse(0)?,
    } || standby;
    let fits = match wanted {
        TargetSession::Any | TargetSession::PreferStandby => true,
        TargetSession::ReadWrite => !read_only,
        TargetSession::ReadOnly => read_only,
        TargetSession::Primary => !standby,
        TargetSession::Standby => standby,
    };
    if fits {
        return Ok(());
    }
    Err(Error::WrongServer { endpoint: endpoint.describe(), wanted: wanted.word() })
}
