//! `[dashboard]`: who may log in, and under which names the dashboard is reached.

use std::time::Duration;

/// `[dashboard]`. Hashes are checked by whoever uses them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DashboardEntry {
    /// The address in the browser, where a proxy stands in front.
    pub public_url: Option<String>,
    /// Further names under which it is reached.
    pub hosts: Vec<String>,
    /// How long a session lasts without use.
    pub session_idle: Option<Duration>,
    /// How long a session lasts.
    pub session_lifetime: Option<Duration>,
    /// `[dashboard.user.*]`, in the order of the file.
    pub users: Vec<DashboardUser>,
}

/// `[dashboard.user.<name>]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DashboardUser {
    /// The name.
    pub name: String,
    /// Whether they may start work, too.
    pub operator: bool,
    /// The hash of the password.
    pub password_hash: Option<String>,
    /// The hash of a token.
    pub token_hash: Option<String>,
}
