//! A Management API for tests: real HTTP, answers as the API's published description has them, and failures on request.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The body ends here although its length says otherwise.
    cut: Option<usize>,
    /// Nothing is sent for so long.
    delay: Duration,
}

impl Answer {
    /// A body with a status.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None, delay: Duration::ZERO }
    }

    /// The API's way to refuse.
    pub fn refusal(status: u16, message: &str) -> Self {
        Self::new(status, format!(r#"{{"message":"{message}"}}"#))
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The connection breaks after so many bytes of the body.
    #[must_use]
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// Comes late.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path with query.
    pub target: String,
    /// The body.
    pub body: Vec<u8>,
    /// Whether it had the right token.
    pub authorized: bool,
}

/// The server. It ends with the test's runtime.
pub struct ManagementApi {
    url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    token: String,
    /// By `METHOD path`, without query. The last answer stays.
    answers: BTreeMap<String, VecDeque<Answer>>,
    requests: Vec<Request>,
}

/// The project that the server knows.
pub const REFERENCE: &str = "abcdefghijklmnopqrst";

impl ManagementApi {
    /// A server for [`REFERENCE`] with two functions, three secrets and all configuration.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start(token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let state = State { token: token.to_owned(), answers: BTreeMap::new(), requests: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        let api = Self { url, state };
        for (path, body) in DOCUMENTED {
            api.answer(&format!("GET {path}"), [Answer::new(200, *body)]);
        }
        api
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What is answered from now on to `METHOD path`, where the path is below the project: one after the other, the last for ever.
    pub fn answer(&self, request: &str, answers: impl IntoIterator<Item = Answer>) {
        let (method, path) = request.split_once(' ').expect("METHOD path");
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        let key = format!("{method} /v1/projects/{REFERENCE}{path}");
        self.state().answers.insert(key, answers.into_iter().collect());
    }

    /// What has arrived so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no test thread panicked with it")
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Some((head, body)) = read(&mut stream).await else { return };
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let answer = {
        let mut state = state.lock().expect("no test thread panicked with it");
        let authorized = head.contains(&format!("authorization: Bearer {}\r\n", state.token));
        state.requests.push(Request { method: method.into(), target: target.into(), body, authorized });
        let path = target.split('?').next().unwrap_or_default();
        let queue = state.answers.get_mut(&format!("{method} {path}"));
        match (authorized, queue) {
            (false, _) => Answer::refusal(401, "Unauthorized"),
            (true, None) => Answer::refusal(404, "Not Found"),
            (true, Some(queue)) if queue.len() > 1 => queue.pop_front().expect("it has several"),
            (true, Some(queue)) => {
                queue.front().cloned().unwrap_or_else(|| Answer::refusal(404, "Not Found"))
            }
        }
    };
    tokio::time::sleep(answer.delay).await;
    let mut head = format!(
        "HTTP/1.1 {} X\r\ncontent-length: {}\r\nconnection: close\r\n",
        answer.status,
        answer.body.len()
    );
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let end = answer.cut.unwrap_or(answer.body.len()).min(answer.body.len());
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).await;
    let _ = stream.write_all(&answer.body[..end]).await;
    let _ = stream.shutdown().await;
}

/// Head and body; `None` when the client went away.
async fn read(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end + 2]).into_owned();
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            let length: usize = length.unwrap_or(0);
            while bytes.len() < end + 4 + length {
                if stream.read_buf(&mut bytes).await.ok()? == 0 {
                    return None;
                }
            }
            return Some((head, bytes[end + 4..end + 4 + length].to_vec()));
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Path below the project and answer, with the fields of the published description.
const DOCUMENTED: &[(&str, &str)] = &[
    (
        "",
        r#"{"id":"abcdefghijklmnopqrst","ref":"abcdefghijklmnopqrst","organization_slug":"org","name":"factory","region":"eu-central-1","created_at":"2024-01-01T00:00:00Z","status":"ACTIVE_HEALTHY"}"#,
    ),
    (
        "functions",
        r#"[{"id":"6d1c","slug":"send-mail","name":"Send mail","status":"ACTIVE","version":3,"created_at":1700000000000,"updated_at":1700000000001,"verify_jwt":true,"import_map":true,"entrypoint_path":"file:///tmp/user_fn/index.ts","import_map_path":"file:///tmp/user_fn/deno.json","ezbr_sha256":"44c6"},
      {"id":"7e2d","slug":"hook","name":"hook","status":"ACTIVE","version":1,"created_at":1700000000000,"updated_at":1700000000001,"verify_jwt":false}]"#,
    ),
    ("functions/send-mail/body", "ESZIP-of-send-mail"),
    ("functions/hook/body", "ESZIP-of-hook"),
    (
        "secrets",
        r#"[{"name":"STRIPE_KEY","value":"9f86d081884c7d659a2feaa0c55ad015","updated_at":"2024-05-06T07:08:09Z"},{"name":"SUPABASE_URL","value":"aa"},{"name":"OPENAI_KEY","value":"bb"}]"#,
    ),
    ("pgsodium", r#"{"root_key":"0123456789abcdef0123456789abcdef"}"#),
    (
        "config/auth",
        r#"{"site_url":"https://factory.example","disable_signup":false,"jwt_exp":3600,"smtp_host":"mail.example","smtp_pass":"smtp-geheim","external_github_enabled":true,"external_github_client_id":"Iv1","external_github_secret":"gh-geheim","external_google_secret":"","password_min_length":8}"#,
    ),
    ("config/auth/third-party-auth", "[]"),
    (
        "postgrest",
        r#"{"db_schema":"public,graphql_public","max_rows":1000,"db_extra_search_path":"public, extensions","db_pool":null,"jwt_secret":"jwt-geheim"}"#,
    ),
    (
        "config/realtime",
        r#"{"private_only":false,"connection_pool":2,"max_concurrent_users":200,"max_events_per_second":100}"#,
    ),
    (
        "config/storage",
        r#"{"fileSizeLimit":52428800,"features":{"imageTransformation":{"enabled":true},"s3Protocol":{"enabled":true}},"migrationVersion":"custom-metadata","databasePoolMode":"transaction"}"#,
    ),
    (
        "config/database/pooler",
        r#"[{"identifier":"abcdefghijklmnopqrst","database_type":"PRIMARY","db_user":"postgres","db_host":"aws-0-eu.pooler.supabase.com","db_port":6543,"db_name":"postgres","connection_string":"postgres://postgres.abcdefghijklmnopqrst:[YOUR-PASSWORD]@aws-0-eu.pooler.supabase.com:6543/postgres","default_pool_size":15,"pool_mode":"transaction"}]"#,
    ),
    ("config/database/postgres", r#"{"max_connections":100,"statement_timeout":"120s"}"#),
    (
        "network-restrictions",
        r#"{"entitlement":"allowed","config":{"dbAllowedCidrs":["203.0.113.0/24"],"dbAllowedCidrsV6":[]},"status":"applied"}"#,
    ),
    ("ssl-enforcement", r#"{"currentConfig":{"database":true},"appliedSuccessfully":true}"#),
];
