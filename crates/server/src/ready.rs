//! Whether what a backup needs is up: a database answers, a page is served, a port is open, a command succeeds.

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use basekeep_engine::EngineError;
use basekeep_engine::config::connect_options;
use basekeep_engine::postgres::{Client, ConnectOptions, Environment};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::alerts::channel::http::client;

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(10);
/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(500);

/// Something that is up or not. As text it shows no password.
#[derive(Debug, Clone)]
pub enum Condition {
    /// The database takes a connection and lets us in.
    Database(Box<ConnectOptions>),
    /// The page is there: a status below 400.
    Page(reqwest::Url),
    /// The port is open: `host:port`.
    Port(String),
    /// The shell command succeeds.
    Command(String),
}

impl Condition {
    /// `postgresql://…`, `http://…`, `https://…`, `tcp://host:port`; anything else is a shell command.
    ///
    /// Errors: of kind `Usage`, what begins like a URL and is none.
    pub fn read(text: &str, env: &Environment) -> Result<Self, EngineError> {
        let scheme = text.split_once("://").map(|(scheme, rest)| (scheme, rest.trim_end_matches('/')));
        Ok(match scheme {
            Some(("postgres" | "postgresql", _)) => Self::Database(Box::new(connect_options(text, env)?)),
            Some(("http" | "https", _)) => Self::Page(reqwest::Url::parse(text).map_err(|error| {
                EngineError::usage("a URL that should be waited for cannot be read").caused_by(error)
            })?),
            Some(("tcp", address)) => Self::Port(address.to_owned()),
            _ => Self::Command(text.to_owned()),
        })
    }

    /// Looks once. No answer within ten seconds means no.
    pub async fn holds(&self) -> bool {
        tokio::time::timeout(LOOK, self.look()).await.unwrap_or(false)
    }

    /// Looks twice a second until it holds; `false` when the time is over.
    pub async fn wait(&self, time: Duration) -> bool {
        let wait = async {
            while !self.holds().await {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(time, wait).await.is_ok()
    }

    async fn look(&self) -> bool {
        match self {
            Self::Database(options) => match Client::connect(options, "basekeep is waiting").await {
                Ok(client) => {
                    client.close().await;
                    true
                }
                Err(_) => false,
            },
            Self::Page(url) => {
                let Ok(client) = client() else { return false };
                client.get(url.clone()).send().await.is_ok_and(|answer| answer.status().as_u16() < 400)
            }
            Self::Port(address) => TcpStream::connect(address).await.is_ok(),
            Self::Command(line) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", line]).kill_on_drop(true);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                command.status().await.is_ok_and(|status| status.success())
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(options) => write!(f, "the database {}", options.redacted()),
            Self::Page(url) => {
                // A query or a user may hold what is secret.
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                write!(f, "{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
            }
            Self::Port(address) => write!(f, "{address}"),
            // People put secrets on command lines.
            Self::Command(line) => {
                write!(f, "the command {}", line.split_whitespace().next().unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn condition(text: &str) -> Condition {
        let env = Environment { user: Some("ada".to_owned()), ..Environment::default() };
        Condition::read(text, &env).unwrap()
    }

    #[tokio::test]
    async fn a_command_is_tried_until_it_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("up");
        let up = condition(&format!("test -e {}", file.display()));
        assert!(!up.holds().await);
        let both = tokio::join!(up.wait(Duration::from_secs(30)), async {
            assert!(!up.wait(Duration::from_millis(600)).await, "the time is over");
            std::fs::write(&file, "").unwrap();
        });
        assert!(both.0);
    }

    #[tokio::test]
    async fn a_page_is_there_when_its_status_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for status in ["503 Starting", "200 OK"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await.unwrap();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let page = condition(&format!("http://{address}/health"));
        assert!(!page.holds().await);
        assert!(page.holds().await);
        server.await.unwrap();
        assert!(!condition(&format!("tcp://{address}")).holds().await, "nobody listens any more");
    }

    #[test]
    fn nothing_secret_is_shown() {
        for text in
            ["postgresql://ada:geheim@h/d", "https://u:geheim@h:8443/x?key=geheim", "curl -H geheim http://h"]
        {
            let shown = condition(text).to_string();
            assert!(!shown.contains("geheim"), "{shown}");
        }
        assert_eq!(condition("https://u@h:8443/x?key=1").to_string(), "https://h:8443/x");
        assert!(Condition::read("http://", &Environment::default()).is_err());
    }
}
