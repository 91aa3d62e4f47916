//! A mail server that keeps what it gets: with STARTTLS, TLS from the first byte, or neither; with a login; with refusals.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How connections are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// After STARTTLS; nothing is taken before.
    Start,
    /// From the first byte.
    Wrapped,
    /// Not at all.
    None,
}

/// A mail as it arrived.
#[derive(Debug, Clone)]
pub struct ReceivedMail {
    /// Who logged in, and with which password.
    pub login: Option<(String, String)>,
    /// Whether it came over TLS.
    pub encrypted: bool,
    /// The recipients.
    pub to: Vec<String>,
    /// Headers and body, as they were sent.
    pub text: String,
}

struct Shared {
    mails: Mutex<Vec<ReceivedMail>>,
    refusals: Mutex<VecDeque<&'static str>>,
    tls: MailTls,
    acceptor: TlsAcceptor,
    password: String,
}

/// Runs until it is dropped, in the runtime of whoever started it. Its name is `localhost`.
pub struct SmtpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    folder: TempDir,
    _tasks: JoinSet<()>,
}

impl SmtpServer {
    /// A server whose users have this password. A certificate is made for it.
    pub async fn start(tls: MailTls, password: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).expect("a file");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions of TLS")
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key)
                .expect("a key that fits");
        let shared = Arc::new(Shared {
            mails: Mutex::default(),
            refusals: Mutex::default(),
            tls,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            password: password.to_owned(),
        });
        let own = shared.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                connections.spawn(async move {
                    let _ = connection(stream, &own).await;
                });
            }
        });
        Self { address, shared, folder, _tasks: tasks }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// All mails so far.
    pub fn mails(&self) -> Vec<ReceivedMail> {
        lock(&self.shared.mails).clone()
    }

    /// The next mails are refused with these lines, such as `451 later`.
    pub fn refuse(&self, lines: impl IntoIterator<Item = &'static str>) {
        lock(&self.shared.refusals).extend(lines);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connection(stream: TcpStream, shared: &Shared) -> Option<()> {
    if shared.tls == MailTls::Wrapped {
        let stream = shared.acceptor.accept(stream).await.ok()?;
        session(&mut BufReader::new(stream), shared, true, true).await?;
        return Some(());
    }
    let mut plain = BufReader::new(stream);
    if session(&mut plain, shared, false, true).await? == Next::Tls {
        let stream = shared.acceptor.accept(plain.into_inner()).await.ok()?;
        session(&mut BufReader::new(stream), shared, true, false).await?;
    }
    Some(())
}

#[derive(PartialEq, Eq)]
enum Next {
    End,
    Tls,
}

async fn session<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    shared: &Shared,
    encrypted: bool,
    greet: bool,
) -> Option<Next> {
    if greet {
        say(stream, "220 localhost ready").await?;
    }
    let (mut login, mut to) = (None, Vec::new());
    loop {
        let line = hear(stream).await?;
        let upper = line.to_uppercase();
        let needs_tls = shared.tls == MailTls::Start && !encrypted;
        match upper.split_whitespace().next()? {
            "EHLO" if needs_tls => say(stream, "250-localhost\r\n250 STARTTLS").await?,
            "EHLO" => say(stream, "250-localhost\r\n250 AUTH PLAIN LOGIN").await?,
            "STARTTLS" if needs_tls => {
                say(stream, "220 go on").await?;
                return Some(Next::Tls);
            }
            _ if needs_tls => say(stream, "530 STARTTLS first").await?,
            "AUTH" => {
                let found = plain_login(line.split_whitespace().nth(2)?);
                let good = found.as_ref().is_some_and(|(_, password)| *password == shared.password);
                login = found;
                say(stream, if good { "235 welcome" } else { "535 authentication failed" }).await?;
            }
            "MAIL" => say(stream, "250 ok").await?,
            "RCPT" => {
                to.push(line.split(['<', '>']).nth(1)?.to_owned());
                say(stream, "250 ok").await?;
            }
            "DATA" => {
                say(stream, "354 go on").await?;
                let mut text = String::new();
                loop {
                    let line = hear(stream).await?;
                    if line == "." {
                        break;
                    }
                    text += &format!("{}\n", line.strip_prefix('.').unwrap_or(&line));
                }
                let refusal = lock(&shared.refusals).pop_front();
                match refusal {
                    Some(refusal) => say(stream, refusal).await?,
                    None => {
                        let mail = ReceivedMail {
                            login: login.clone(),
                            encrypted,
                            to: std::mem::take(&mut to),
                            text,
                        };
                        lock(&shared.mails).push(mail);
                        say(stream, "250 taken").await?;
                    }
                }
            }
            "QUIT" => {
                say(stream, "221 bye").await?;
                return Some(Next::End);
            }
            "NOOP" | "RSET" => say(stream, "250 ok").await?,
            _ => say(stream, "502 what").await?,
        }
    }
}

/// User and password of `AUTH PLAIN`.
fn plain_login(base64: &str) -> Option<(String, String)> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for digit in base64.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | u32::try_from(DIGITS.iter().position(|known| *known == digit)?).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    let mut parts = text.split('\0').skip(1).map(str::to_owned);
    Some((parts.next()?, parts.next()?))
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, line: &str) -> Option<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

async fn hear<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}
