use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use basekeep_server::web::{self, Lifetimes, Role, Settings, Site, User, Web};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fake::Fake;

/// A dashboard that is served, over a panel that does nothing.
pub(crate) struct Site8432 {
    pub(crate) web: Web,
    pub(crate) fake: Arc<Fake>,
    pub(crate) address: SocketAddr,
    pub(crate) tokens: BTreeMap<&'static str, String>,
    pub(crate) told: Arc<Mutex<Vec<String>>>,
    now: Arc<Mutex<Timestamp>>,
    folder: TempDir,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(its, _)| its == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The value of the first field `csrf` of the page.
    pub(crate) fn csrf(&self) -> String {
        let at = self.body.find("name=\"csrf\" value=\"").expect("the page has a form");
        let rest = &self.body[at + 19..];
        rest[..rest.find('"').unwrap()].to_owned()
    }
}

/// Somebody with a browser.
#[derive(Debug, Clone, Default)]
pub(crate) struct Browser {
    pub(crate) cookies: BTreeMap<String, String>,
    pub(crate) csrf: String,
}

pub(crate) fn settings(users: Vec<User>) -> Settings {
    Settings { users, site: Site::default(), lifetimes: Lifetimes::default() }
}

impl Site8432 {
    /// With the users ada (operator) and vic (viewer), whose passwords are their names twice, and tokens for both.
    pub(crate) async fn new() -> Self {
        let mut tokens = BTreeMap::new();
        let mut user = |name: &'static str, role| {
            let (token, hash) = web::new_token();
            tokens.insert(name, token);
            let password_hash = Some(web::hash_password(&format!("{name}{name}")).unwrap());
            User { name: name.to_owned(), role, password_hash, token_hash: Some(hash) }
        };
        let users = vec![user("ada", Role::Operator), user("vic", Role::Viewer)];
        Self::with(settings(users), tokens).await
    }

    pub(crate) async fn with(settings: Settings, tokens: BTreeMap<&'static str, String>) -> Self {
        let fake = Arc::new(Fake::default());
        let folder = tempfile::tempdir().unwrap();
        let now = Arc::new(Mutex::new(Timestamp::from_second(1_790_000_000).unwrap()));
        let told = Arc::new(Mutex::new(Vec::new()));
        let (clock, to) = (now.clone(), told.clone());
        let web = Web::with_clock(
            fake.clone(),
            settings,
            folder.path().join("audit.jsonl"),
            Box::new(move |token: &str| to.lock().unwrap().push(token.to_owned())),
            Box::new(move || *clock.lock().unwrap()),
        )
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(web::serve(listener, web.router(), std::future::pending()));
        Self { web, fake, address, tokens, told, now, folder }
    }

    pub(crate) fn wait(&self, seconds: i64) {
        let mut now = self.now.lock().unwrap();
        *now += jiff::SignedDuration::from_secs(seconds);
    }

    pub(crate) fn audit(&self) -> Vec<serde_json::Value> {
        let path: PathBuf = self.folder.path().join("audit.jsonl");
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn own_origin(&self) -> (&'static str, String) {
        ("Origin", format!("http://{}", self.address))
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, String)], body: &str) -> Got {
        let mut text =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "Host") {
            text += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        text += body;
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers =
            lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_owned(), v.to_owned()));
        Got { status, headers: headers.collect(), body: body.to_owned() }
    }

    pub(crate) async fn get(&self, browser: &Browser, path: &str) -> Got {
        self.send("GET", path, &[browser.header()], "").await
    }

    /// Sends a form as a page of the dashboard does.
    pub(crate) async fn post(&self, browser: &Browser, path: &str, fields: &str) -> Got {
        let body = format!("csrf={}&{fields}", browser.csrf);
        self.send("POST", path, &[browser.header(), self.own_origin(), form()], &body).await
    }

    /// Opens the login page and sends the form.
    pub(crate) async fn try_login(&self, fields: &str) -> (Browser, Got) {
        let mut browser = Browser::default();
        let page = self.get(&browser, "/login").await;
        browser.take(&page);
        browser.csrf = page.csrf();
        let got = self.post(&browser, "/login", fields).await;
        browser.take(&got);
        (browser, got)
    }

    pub(crate) async fn log_in(&self, name: &str) -> Browser {
        let (mut browser, got) = self.try_login(&format!("name={name}&password={name}{name}")).await;
        assert_eq!((got.status, got.header("location")), (303, Some("/")), "{}", got.body);
        browser.csrf = self.get(&browser, "/").await.csrf();
        browser
    }

    pub(crate) fn bearer(&self, name: &str) -> (&'static str, String) {
        ("Authorization", format!("Bearer {}", self.tokens[name]))
    }
}

pub(crate) fn form() -> (&'static str, String) {
    ("Content-Type", "application/x-www-form-urlencoded".into())
}

impl Browser {
    pub(crate) fn header(&self) -> (&'static str, String) {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        ("Cookie", pairs.join("; "))
    }

    pub(crate) fn take(&mut self, got: &Got) {
        for (_, cookie) in got.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}
