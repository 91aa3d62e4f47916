//! What every request passes: the Host header, the session, and for whatever is not just read the Origin and the form's token.
//! Then headers that keep browsers from doing more than the pages need.

use std::net::{IpAddr, SocketAddr};

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::access::{Role, equal, random_text};
use super::{LARGEST_BODY, Web, layout};

/// The cookie of a session.
const SESSION: &str = "basekeep_session";
/// The cookie that belongs to the login form.
const FORM: &str = "basekeep_form";
/// The cookie with the theme.
const THEME: &str = "basekeep_theme";
/// The field of every form.
pub(crate) const CSRF: &str = "csrf";

/// No inline script or style, nothing from elsewhere, no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Somebody who has logged in.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    pub(crate) name: String,
    pub(crate) role: Role,
    csrf: String,
    /// The cookie.
    pub(crate) session: String,
}

impl Visitor {
    /// Somebody who came with a token and has no session.
    pub(crate) fn of_token(name: String, role: Role) -> Self {
        Self { name, role, csrf: String::new(), session: String::new() }
    }
}

/// Who asks, and how.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) address: IpAddr,
    pub(crate) visitor: Option<Visitor>,
    pub(crate) theme: Theme,
    /// The cookie of the login form, and its signature.
    form: (String, String),
    secure: bool,
}

/// Colours of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Theme {
    /// As the system has it.
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub(crate) const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(crate) fn of(word: &str) -> Self {
        Self::ALL.into_iter().find(|theme| theme.word() == word).unwrap_or_default()
    }
}

impl Caller {
    /// What a form has to send back.
    pub(crate) fn csrf(&self) -> &str {
        self.visitor.as_ref().map_or(&self.form.1, |visitor| &visitor.csrf)
    }

    /// The same request of somebody else.
    pub(crate) fn as_visitor(&self, visitor: Option<Visitor>) -> Self {
        Self { visitor, ..self.clone() }
    }

    pub(crate) fn is_operator(&self) -> bool {
        self.visitor.as_ref().is_some_and(|visitor| visitor.role == Role::Operator)
    }

    /// Who it is, for work that they start.
    pub(crate) fn name(&self) -> &str {
        self.visitor.as_ref().map_or("", |visitor| &visitor.name)
    }

    /// The cookie of a session that begins; an empty one ends it.
    pub(crate) fn session_cookie(&self, id: &str) -> HeaderValue {
        self.cookie(SESSION, id, id.is_empty().then_some(0))
    }

    pub(crate) fn form_cookie(&self) -> HeaderValue {
        self.cookie(FORM, &self.form.0, None)
    }

    pub(crate) fn theme_cookie(&self, theme: Theme) -> HeaderValue {
        self.cookie(THEME, theme.word(), Some(365 * 86_400))
    }

    fn cookie(&self, name: &str, value: &str, max_age: Option<u32>) -> HeaderValue {
        let secure = if self.secure { "; Secure" } else { "" };
        let age = max_age.map(|age| format!("; Max-Age={age}")).unwrap_or_default();
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}");
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Finds out who asks, and turns away what comes from elsewhere.
pub(crate) async fn guard(
    State(web): State<Web>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let site = web.site();
    let host = text(request.headers(), header::HOST).unwrap_or_default().to_owned();
    if !site.knows_host(&host) {
        let say = "this name is not the dashboard's; add it to hosts in [dashboard]\n";
        return (StatusCode::MISDIRECTED_REQUEST, say).into_response();
    }
    let address = client(peer, request.headers(), site.has_proxy());
    let caller = caller(&web, request.headers(), address, site.is_secure());
    let is_api = request.uri().path().starts_with("/api/");
    if !is_api && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let path = request.uri().path().to_owned();
        let own = match text(request.headers(), header::ORIGIN) {
            Some(origin) => site.is_own_origin(origin, &host),
            None => text(request.headers(), HeaderName::from_static("sec-fetch-site")) == Some("same-origin"),
        };
        request = match posted(request, &caller, own).await {
            Ok(request) => request,
            Err(why) => {
                // Whether it can be written down or not, it is refused.
                let _ = web.audit(&caller, "request", &path, "refused", why);
                return layout::refusal(&caller, StatusCode::FORBIDDEN, "This form cannot be used", why);
            }
        };
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn caller(web: &Web, headers: &HeaderMap, address: IpAddr, secure: bool) -> Caller {
    let session = cookie(headers, SESSION).filter(|id| !id.is_empty());
    let visitor = session.and_then(|id| {
        let found = web.0.sessions.find(id, web.now(), web.lifetimes())?;
        let role = web.0.access.role(&found.user)?;
        Some(Visitor { role, name: found.user, csrf: found.csrf, session: id.to_owned() })
    });
    let form = cookie(headers, FORM).filter(|text| text.len() == 43).map_or_else(random_text, str::to_owned);
    let signature = sign(&web.0.key, &form);
    let theme = cookie(headers, THEME).map(Theme::of).unwrap_or_default();
    Caller { address, visitor, theme, form: (form, signature), secure }
}

fn sign(key: &[u8; 32], text: &str) -> String {
    // A key of any length is fine.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return random_text() };
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Reads the form, checks its token, and gives the request back as it was.
async fn posted(request: Request, caller: &Caller, own: bool) -> Result<Request, &'static str> {
    if !own {
        return Err("the request came from another site");
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, LARGEST_BODY).await.map_err(|_| "the form is too large")?;
    let again = Request::from_parts(parts.clone(), Body::from(body.clone()));
    let fields =
        <axum::Form<Vec<(String, String)>> as axum::extract::FromRequest<()>>::from_request(again, &())
            .await
            .map_err(|_| "the form cannot be read")?;
    let token = fields.0.iter().find(|(name, _)| name == CSRF).map_or("", |(_, value)| value);
    match equal(token.as_bytes(), caller.csrf().as_bytes()) {
        true => Ok(Request::from_parts(parts, Body::from(body))),
        false => Err("the form is too old, or not from this session; open the page again"),
    }
}

/// Lets in who has logged in; the others are sent to the login.
pub(crate) async fn for_viewers(State(_): State<Web>, request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>() else { return nobody() };
    if caller.visitor.is_some() {
        return next.run(request).await;
    }
    if request.method() != Method::GET {
        let why = "log in first; a session ends when it was not used for a while";
        return layout::refusal(caller, StatusCode::UNAUTHORIZED, "You are not logged in", why);
    }
    let next = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let query: String = next.bytes().map(encoded).collect();
    Redirect::to(&format!("/login?next={query}")).into_response()
}

/// Lets operators in.
pub(crate) async fn for_operators(State(web): State<Web>, request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else { return nobody() };
    if caller.visitor.is_some() && !caller.is_operator() {
        let why = "your role is viewer: it may look at everything and start nothing";
        let _ = web.audit(&caller, "request", request.uri().path(), "refused", "viewer");
        return layout::refusal(&caller, StatusCode::FORBIDDEN, "This is for operators", why);
    }
    for_viewers(State(web), request, next).await
}

fn nobody() -> Response {
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

/// One byte of a query's value.
fn encoded(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

/// Where a request came from: behind a proxy on this machine, what the proxy says.
fn client(peer: SocketAddr, headers: &HeaderMap, has_proxy: bool) -> IpAddr {
    let forwarded = || {
        let text = text(headers, HeaderName::from_static("x-forwarded-for"))?;
        text.rsplit(',').next()?.trim().parse().ok()
    };
    let is_near = has_proxy && peer.ip().is_loopback();
    is_near.then(forwarded).flatten().unwrap_or(peer.ip())
}

pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(its, _)| *its == name).map(|(_, value)| value)
}

/// Adds the headers of every answer.
pub(crate) async fn headers(State(web): State<Web>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if web.site().is_secure() {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    response
}
