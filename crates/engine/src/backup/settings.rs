//! How hard a backup reads, how long it waits, and what it does when tables change under it.

use std::time::Duration;

/// How long a lock on a table is waited for, unless something else is said.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a snapshot is held before somebody is told, unless something else is said.
const WARN_AFTER: Duration = Duration::from_secs(3600);

/// What happens when a table (or what it depends on) was changed between the snapshot and its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnTableChange {
    /// Start again with a new snapshot, up to three times in all.
    #[default]
    Restart,
    /// Fail.
    Fail,
    /// Leave the table out, and say so. What is not one table's own starts the backup again.
    Skip,
}

impl std::str::FromStr for OnTableChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "restart" => Ok(Self::Restart),
            "fail" => Ok(Self::Fail),
            "skip" => Ok(Self::Skip),
            _ => Err(format!("'{}' is none of restart, fail and skip", text.escape_debug())),
        }
    }
}

/// How many connections read rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jobs {
    /// By this machine's cores and the server's free connections.
    #[default]
    Auto,
    /// So many, as far as the server has them free.
    Number(usize),
}

/// How a source is read. What is `None` is not said here: [`Pace::or`] puts two of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// Connections that read rows; [`Jobs::Auto`] if `None`.
    pub jobs: Option<Jobs>,
    /// Read slower while the server is busy or its standbys lag behind.
    pub gentle: Option<bool>,
    /// Rows per second, over all connections.
    pub limit_rows: Option<u64>,
    /// Bytes of COPY text per second, over all connections.
    pub limit_read: Option<u64>,
    /// How long a lock on a table is waited for. 10 seconds if `None`; zero waits for ever.
    pub lock_timeout: Option<Duration>,
    /// What a table that changes does; [`OnTableChange::Restart`] if `None`.
    pub on_table_change: Option<OnTableChange>,
    /// How long the snapshot is held before a warning. An hour if `None`; zero never warns.
    pub warn_after: Option<Duration>,
}

impl Pace {
    /// What is said here, and for the rest what `other` says.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            jobs: self.jobs.or(other.jobs),
            gentle: self.gentle.or(other.gentle),
            limit_rows: self.limit_rows.or(other.limit_rows),
            limit_read: self.limit_read.or(other.limit_read),
            lock_timeout: self.lock_timeout.or(other.lock_timeout),
            on_table_change: self.on_table_change.or(other.on_table_change),
            warn_after: self.warn_after.or(other.warn_after),
        }
    }

    pub(super) fn lock_timeout(&self) -> Duration {
        self.lock_timeout.unwrap_or(LOCK_TIMEOUT)
    }

    pub(super) fn on_table_change(&self) -> OnTableChange {
        self.on_table_change.unwrap_or_default()
    }

    /// `None`: never.
    pub(super) fn warn_after(&self) -> Option<Duration> {
        Some(self.warn_after.unwrap_or(WARN_AFTER)).filter(|after| !after.is_zero())
    }
}
