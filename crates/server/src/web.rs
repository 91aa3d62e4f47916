//! The web dashboard and the JSON API under it: pages rendered here, a little JavaScript for live progress, no file from
//! elsewhere. What is shown and done comes through [`panel::Panel`]; this module knows requests, sessions, roles and HTML.
//!
//! Every request passes [`guard`] first. A page is a function of what the panel answers; a route for operators stands in
//! [`pages::operator_routes`] and nowhere else.

mod access;
mod api;
mod assets;
mod audit;
mod chart;
mod guard;
mod layout;
mod pages;
pub mod panel;
mod sessions;
mod site;
mod throttle;
mod words;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use basekeep_engine::EngineError;
use jiff::Timestamp;
use tokio::net::TcpListener;

use self::access::{Access, Tell};
pub use self::access::{Role, User, check_password_hash, check_token_hash, hash_password, new_token};
use self::audit::{Audit, Entry};
use self::panel::Panel;
pub use self::sessions::Lifetimes;
use self::sessions::Sessions;
pub use self::site::Site;
use self::throttle::Throttle;

/// The largest body of a request, in bytes.
const LARGEST_BODY: usize = 64 << 10;
/// How long connections may finish what they do after the stop.
const GRACE: Duration = Duration::from_secs(3);

/// How the dashboard is reached and by whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who may log in. Without anybody a token for one login is made.
    pub users: Vec<User>,
    /// Under which names it is reached.
    pub site: Site,
    /// When sessions end.
    pub lifetimes: Lifetimes,
}

type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// The dashboard. Cloning is cheap.
#[derive(Clone)]
pub struct Web(Arc<Inner>);

struct Inner {
    panel: Arc<dyn Panel>,
    access: Access,
    sessions: Sessions,
    throttle: Throttle,
    audit: Audit,
    settings: RwLock<(Site, Lifetimes)>,
    /// Signs the cookie of the login form.
    key: [u8; 32],
    clock: Clock,
}

impl Web {
    /// A dashboard over `panel`, whose actions go into the file `audit`. Where no user is configured, `tell` gets the token for
    /// one login, and another one when that was used.
    ///
    /// # Errors
    /// The audit log cannot be opened.
    pub fn new(
        panel: Arc<dyn Panel>,
        settings: Settings,
        audit: PathBuf,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, EngineError> {
        Self::with_clock(panel, settings, audit, Box::new(tell), Box::new(Timestamp::now))
    }

    /// The same, with another clock.
    ///
    /// # Errors
    /// The audit log cannot be opened.
    pub fn with_clock(
        panel: Arc<dyn Panel>,
        settings: Settings,
        audit: PathBuf,
        tell: Tell,
        clock: Clock,
    ) -> Result<Self, EngineError> {
        Ok(Self(Arc::new(Inner {
            panel,
            access: Access::new(settings.users, tell)?,
            sessions: Sessions::default(),
            throttle: Throttle::default(),
            audit: Audit::open(&audit)?,
            settings: RwLock::new((settings.site, settings.lifetimes)),
            key: rand::random(),
            clock,
        })))
    }

    /// Takes other settings from now on. Sessions of users who are gone end.
    pub fn reload(&self, settings: Settings) {
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) =
            (settings.site, settings.lifetimes);
        self.0.access.replace(settings.users);
    }

    /// All routes. To be served with [`serve`], which tells the clients' addresses.
    pub fn router(&self) -> Router {
        let guarded = Router::new()
            .merge(pages::open_routes())
            .merge(pages::viewer_routes(self))
            .merge(pages::operator_routes(self))
            .nest("/api/v1", api::routes(self))
            .fallback(pages::not_found)
            .layer(axum::middleware::from_fn_with_state(self.clone(), guard::guard));
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .merge(guarded)
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .layer(axum::middleware::from_fn_with_state(self.clone(), guard::headers))
            .with_state(self.clone())
    }

    fn panel(&self) -> &dyn Panel {
        &*self.0.panel
    }

    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    fn site(&self) -> Site {
        self.0.settings.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn lifetimes(&self) -> Lifetimes {
        self.0.settings.read().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Writes a line into the audit log.
    fn audit(
        &self,
        caller: &guard::Caller,
        action: &str,
        what: &str,
        outcome: &str,
        detail: &str,
    ) -> Result<(), EngineError> {
        let who = caller.visitor.as_ref().map_or("", |visitor| &visitor.name);
        let from = caller.address.to_string();
        let entry = Entry { time: self.now(), who, from: &from, action, what, outcome, detail };
        self.0.audit.write(&entry)
    }
}

async fn ready(State(web): State<Web>) -> Response {
    match web.panel().ready().await {
        Ok(()) => "ready\n".into_response(),
        // Why it is not is for those who may log in.
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

/// Refuses an address that others can reach while nobody is configured who may log in.
///
/// # Errors
/// Kind `Usage`, with what to do.
pub fn check_address(address: IpAddr, users: &[User]) -> Result<(), EngineError> {
    if address.is_loopback() || !users.is_empty() {
        return Ok(());
    }
    Err(EngineError::usage(format!("the dashboard on {address} could be reached by others, and has no user"))
        .hint("add a [dashboard.user.NAME] section with a role and a password_hash")
        .hint("`basekeep dashboard password` makes the hash"))
}

/// Serves `router` until `stop` is done; then requests that are under way have a few seconds left.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), EngineError> {
    let (stopped, mut is_stopped) = tokio::sync::watch::channel(false);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        stop.await;
        stopped.send_replace(true);
    });
    let late = async move {
        // The server holds the other end until it stops.
        let _ = is_stopped.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server => result.map_err(|error| EngineError::failed("the web server failed").caused_by(error)),
        () = late => Ok(()),
    }
}
