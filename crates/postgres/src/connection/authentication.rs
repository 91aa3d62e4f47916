//! The server's authentication requests: password in clear, MD5, SCRAM with and without channel binding.

use super::wire::Wire;
use crate::conninfo::{ChannelBinding, ConnectOptions, Method};
use crate::error::Error;
use crate::secret::Secret;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::frontend;

/// One exchange, from the startup message to AuthenticationOk.
pub(super) struct Exchange<'a> {
    pub(super) options: &'a ConnectOptions,
    pub(super) password: Option<&'a Secret>,
    pub(super) encrypted: bool,
    /// The hash of the server's certificate, when there is TLS and the hash is defined.
    pub(super) server_end_point: Option<Vec<u8>>,
    sasl: Option<sasl::ScramSha256>,
    /// SCRAM ended with the server's proof, which was right.
    server_proven: bool,
    bound: bool,
    method: Option<Method>,
}

const OK: i32 = 0;
const CLEARTEXT: i32 = 3;
const MD5: i32 = 5;
const SASL: i32 = 10;
const SASL_CONTINUE: i32 = 11;
const SASL_FINAL: i32 = 12;

impl<'a> Exchange<'a> {
    pub(super) fn new(
        options: &'a ConnectOptions,
        password: Option<&'a Secret>,
        encrypted: bool,
        server_end_point: Option<Vec<u8>>,
    ) -> Self {
        Self {
            options,
            password,
            encrypted,
            server_end_point,
            sasl: None,
            server_proven: false,
            bound: false,
            method: None,
        }
    }

    /// Answers one Authentication message. True when the server is satisfied.
    pub(super) async fn answer(&mut self, wire: &mut Wire, body: &[u8]) -> Result<bool, Error> {
        let malformed = || Error::Protocol("malformed authentication request".into());
        let (kind, data) = body.split_first_chunk::<4>().ok_or_else(malformed)?;
        match i32::from_be_bytes(*kind) {
            OK => {
                self.accept_end()?;
                return Ok(true);
            }
            CLEARTEXT => {
                self.begin(Method::Password)?;
                let password = self.password()?.expose().as_bytes();
                wire.send(|buf| frontend::password_message(password, buf)).await?;
            }
            MD5 => {
                self.begin(Method::Md5)?;
                let salt = data.first_chunk::<4>().ok_or_else(malformed)?;
                let password = self.password()?.expose();
                let hash = md5_hash(self.options.user().as_bytes(), password.as_bytes(), *salt);
                wire.send(|buf| frontend::password_message(hash.as_bytes(), buf)).await?;
            }
            SASL => self.start_sasl(wire, data).await?,
            SASL_CONTINUE => {
                let scram = self.sasl.as_mut().ok_or_else(malformed)?;
                scram.update(data).map_err(|e| Error::Authentication(format!("SCRAM: {e}")))?;
                let answer = scram.message().to_vec();
                wire.send(|buf| frontend::sasl_response(&answer, buf)).await?;
            }
            SASL_FINAL => {
                let mut scram = self.sasl.take().ok_or_else(malformed)?;
                scram.finish(data).map_err(|e| {
                    Error::Authentication(format!(
                        "the server could not prove that it knows the password: {e}"
                    ))
                })?;
                self.server_proven = true;
            }
            2 | 7 | 8 | 9 => return Err(unsupported("GSSAPI, Kerberos or SSPI")),
            other => return Err(unsupported(&format!("method {other}"))),
        }
        Ok(false)
    }

    fn password(&self) -> Result<&'a Secret, Error> {
        self.password.ok_or_else(|| Error::PasswordMissing {
            user: self.options.user().to_owned(),
            file_problem: self.options.password_file_problem().map(str::to_owned),
        })
    }

    /// Notes the method that the server wants, and refuses one that `require_auth` or `channel_binding` rules out.
    fn begin(&mut self, method: Method) -> Result<(), Error> {
        if let Some(required) = &self.options.settings.require_auth
            && !required.allows(method)
        {
            return Err(Error::Authentication("require_auth rules out what the server asks for".into()));
        }
        if self.options.settings.channel_binding == ChannelBinding::Require && method != Method::ScramSha256 {
            return Err(binding_missing("the server asks for another authentication than SCRAM"));
        }
        if self.method.replace(method).is_some() {
            return Err(Error::Protocol("the server asks for authentication twice".into()));
        }
        Ok(())
    }

    async fn start_sasl(&mut self, wire: &mut Wire, mechanisms: &[u8]) -> Result<(), Error> {
        self.begin(Method::ScramSha256)?;
        let offered = |name: &str| mechanisms.split(|b| *b == 0).any(|m| m == name.as_bytes());
        let mode = self.options.settings.channel_binding;
        let (plus, plain) = (offered(sasl::SCRAM_SHA_256_PLUS), offered(sasl::SCRAM_SHA_256));
        let (mechanism, binding) = match self.server_end_point.take() {
            Some(hash) if plus && mode != ChannelBinding::Disable => {
                self.bound = true;
                (sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(hash))
            }
            _ if mode == ChannelBinding::Require => {
                return Err(binding_missing(if self.encrypted {
                    "the server does not offer it"
                } else {
                    "the connection is not encrypted"
                }));
            }
            // We could, the server says it cannot: the server compares, so that nobody between can have it left out.
            Some(_) if plain && mode != ChannelBinding::Disable => {
                (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested())
            }
            _ if plain => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
            _ => return Err(unsupported("a SASL mechanism other than SCRAM-SHA-256")),
        };
        let scram = sasl::ScramSha256::new(self.password()?.expose().as_bytes(), binding);
        let first = scram.message().to_vec();
        self.sasl = Some(scram);
        wire.send(|buf| frontend::sasl_initial_response(mechanism, &first, buf)).await
    }

    /// AuthenticationOk: only when everything that was asked for has happened.
    fn accept_end(&mut self) -> Result<(), Error> {
        match self.method {
            Some(Method::ScramSha256) if !self.server_proven => {
                Err(Error::Authentication("the server ended SCRAM without its proof".into()))
            }
            None => self.begin(Method::None),
            _ if self.options.settings.channel_binding == ChannelBinding::Require && !self.bound => {
                Err(binding_missing("the server did without"))
            }
            _ => Ok(()),
        }
    }
}

fn unsupported(what: &str) -> Error {
    Error::Authentication(format!("the server asks for {what}, which is not supported"))
}

fn binding_missing(why: &str) -> Error {
    Error::Authentication(format!("channel_binding=require cannot be met: {why}"))
}
