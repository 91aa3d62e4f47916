//! `[alerts]`: from when on something alerts, and who is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use basekeep_postgres::{Environment, Secret};

use super::{Dotenv, PasswordFrom, Schedule};
use crate::EngineError;

/// How long an alert goes on before it is told again.
const REPEAT: Duration = Duration::from_secs(24 * 3600);

/// `[alerts]`.
#[derive(Debug, Clone)]
pub struct AlertsEntry {
    /// Thresholds for all sources.
    pub limits: Limits,
    /// Who is told, in the order of the file. Their names are unique.
    pub notify: Vec<ChannelEntry>,
    /// How long an alert goes on before it is told again; `None` for never.
    pub repeat: Option<Duration>,
    /// The mail server.
    pub smtp: Option<SmtpEntry>,
    /// When `serve` sends the digest, by this machine's clock.
    pub digest: Option<Schedule>,
}

impl Default for AlertsEntry {
    fn default() -> Self {
        Self { limits: Limits::default(), notify: Vec::new(), repeat: Some(REPEAT), smtp: None, digest: None }
    }
}

/// The thresholds that a section gives, by key: a number, or `None` for `"off"`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits(pub(crate) BTreeMap<&'static str, Option<f64>>);

/// Every key of [`Limits`].
pub const LIMIT_KEYS: [&str; 10] = [
    "growth_daily_percent",
    "growth_weekly_percent",
    "backup_age_hours",
    "table_rows",
    "total_rows",
    "backup_size_mb",
    "table_loss_percent",
    "backup_smaller_percent",
    "backup_slower_times",
    "proof_age_days",
];

/// From when on a backup is too old.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AgeLimit {
    /// When its schedule's next run is overdue; without a schedule after 24 hours.
    Schedule,
    /// After this time.
    After(Duration),
    /// Never.
    Off,
}

/// The thresholds of one source; `None` is off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Rows or bytes grew by more than this within a day, in percent.
    pub growth_daily_percent: Option<f64>,
    /// Within a week, in percent.
    pub growth_weekly_percent: Option<f64>,
    /// The newest backup is older.
    pub backup_age: AgeLimit,
    /// A table has more rows.
    pub table_rows: Option<u64>,
    /// All tables have more rows.
    pub total_rows: Option<u64>,
    /// A backup has more bytes, before compression.
    pub backup_bytes: Option<u64>,
    /// A table lost this much of its rows, in percent.
    pub table_loss_percent: Option<f64>,
    /// A backup is smaller by this much than those before, in percent.
    pub backup_smaller_percent: Option<f64>,
    /// A backup took this many times as long as usual.
    pub backup_slower_times: Option<f64>,
    /// The newest proof is older.
    pub proof_age: Option<Duration>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self::of(&Limits::default(), &Limits::default())
    }
}

impl Thresholds {
    /// What a source's own section says, else what `[alerts]` says, else the defaults: growth of 10 % in a day and 50 % in a
    /// week, losses of 50 %, three times the usual duration. Sizes and proofs have no limit by themselves.
    pub fn of(all: &Limits, own: &Limits) -> Self {
        let get = |key: &str, default: Option<f64>| {
            own.0.get(key).or_else(|| all.0.get(key)).copied().unwrap_or(default)
        };
        let whole = |key| get(key, None).map(|number| number as u64);
        let time =
            |number: f64, unit: f64| Duration::try_from_secs_f64(number * unit).unwrap_or(Duration::MAX);
        Self {
            growth_daily_percent: get("growth_daily_percent", Some(10.0)),
            growth_weekly_percent: get("growth_weekly_percent", Some(50.0)),
            backup_age: match own.0.get("backup_age_hours").or_else(|| all.0.get("backup_age_hours")) {
                None => AgeLimit::Schedule,
                Some(None) => AgeLimit::Off,
                Some(Some(hours)) => AgeLimit::After(time(*hours, 3600.0)),
            },
            table_rows: whole("table_rows"),
            total_rows: whole("total_rows"),
            backup_bytes: get("backup_size_mb", None).map(|mb| (mb * 1_048_576.0) as u64),
            table_loss_percent: get("table_loss_percent", Some(50.0)),
            backup_smaller_percent: get("backup_smaller_percent", Some(50.0)),
            backup_slower_times: get("backup_slower_times", Some(3.0)),
            proof_age: get("proof_age_days", None).map(|days| time(days, 86_400.0)),
        }
    }
}

/// Something secret: in the file itself, or where a `…_env`, `…_file` or `…_command` key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFrom {
    /// It stands in the file.
    Here(Secret),
    /// It is read when it is needed.
    From(PasswordFrom),
}

impl SecretFrom {
    /// Reads it; variables are looked for in the environment, then in `dotenv`.
    pub fn read(&self, env: &Environment, dotenv: &Dotenv) -> Result<Secret, EngineError> {
        match self {
            Self::Here(secret) => Ok(secret.clone()),
            Self::From(from) => from.read(env, dotenv),
        }
    }
}

impl std::fmt::Display for SecretFrom {
    /// Names the place, never the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here(_) => f.write_str("basekeep.toml"),
            Self::From(PasswordFrom::Command(_)) => f.write_str("a command"),
            Self::From(from) => from.fmt(f),
        }
    }
}

/// What a channel is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// That something alerts, goes on, or is over.
    Alerts,
    /// The digest.
    Digest,
    /// A summary after each run.
    Runs,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Alerts, Self::Digest, Self::Runs];

    /// Its word in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Digest => "digest",
            Self::Runs => "runs",
        }
    }
}

/// One of `notify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelEntry {
    /// Its name; by default its kind, with a number where there are several.
    pub name: String,
    /// Where messages go.
    pub kind: ChannelKind,
    /// What it is told. By default alerts and the digest.
    pub topics: Vec<Topic>,
    /// Only what concerns these sources; `None` for all.
    pub sources: Option<Vec<String>>,
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelKind {
    /// JSON to an address, signed if there is a secret.
    Webhook {
        /// The address.
        url: SecretFrom,
        /// The key of the signature.
        secret: Option<SecretFrom>,
    },
    /// An incoming webhook of Slack (or Mattermost).
    Slack {
        /// The address.
        url: SecretFrom,
    },
    /// A webhook of Discord.
    Discord {
        /// The address.
        url: SecretFrom,
    },
    /// A workflow's webhook of Microsoft Teams.
    Teams {
        /// The address.
        url: SecretFrom,
    },
    /// Mail by the server of `[alerts.smtp]`.
    Email {
        /// Addresses.
        to: Vec<String>,
    },
    /// A dead man's switch.
    Ping {
        /// The address for a success.
        url: SecretFrom,
        /// The address for a start; by default the first one with `/start`.
        start: Option<SecretFrom>,
        /// The address for a failure; by default the first one with `/fail`.
        fail: Option<SecretFrom>,
        /// The service knows no start and no failure: only successes are told, unless `start` or `fail` are given.
        plain: bool,
        /// The job whose runs are told: `backup`, unless told otherwise.
        job: String,
    },
    /// A shell command that gets JSON on its standard input.
    Command {
        /// The command line.
        line: Secret,
    },
}

impl ChannelKind {
    /// Its word in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::Discord { .. } => "discord",
            Self::Teams { .. } => "teams",
            Self::Email { .. } => "email",
            Self::Ping { .. } => "ping",
            Self::Command { .. } => "command",
        }
    }
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// It begins in the clear and must change to TLS (port 587).
    StartTls,
    /// TLS from the first byte (port 465).
    Tls,
    /// None at all: for a server on this machine (port 25).
    None,
}

/// `[alerts.smtp]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpEntry {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// Who logs in, if anybody.
    pub username: Option<String>,
    /// With which password.
    pub password: Option<PasswordFrom>,
    /// The sender.
    pub from: String,
    /// A file of certificates to trust beside those of the machine.
    pub ca_file: Option<PathBuf>,
}
