//! Telling people what a command came to, where `[alerts]` says whom.

use std::time::Duration;

use basekeep_engine::config::{Config, PasswordFrom};
use basekeep_engine::postgres::Secret;
use basekeep_engine::{EngineError, ErrorKind};
use basekeep_server::alerts::{Alerts, Observation, Patience, Run, RunEnd, RunStart, Setup};
use jiff::Timestamp;

use crate::context::Context;
use crate::output::with_causes;

/// How long a command waits for its messages to arrive.
const LIMIT: Duration = Duration::from_secs(120);

/// Variables whose values no message may hold, whoever set them.
const SECRETS: [&str; 5] = [
    "BASEKEEP_PASSWORD",
    "RESTIC_PASSWORD",
    "PGPASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "SUPABASE_SERVICE_ROLE_KEY",
];

/// The channels of `[alerts]`; does nothing where there are none.
pub(crate) struct Alerting(Option<Alerts>);

impl Context {
    /// The channels, made ready.
    pub(crate) fn alerting(&self) -> Result<Alerting, EngineError> {
        let config = self.config()?.filter(|config| !config.alerts.notify.is_empty());
        Ok(Alerting(config.map(|config| self.alerts(config, Patience::default()))))
    }

    /// The same for the commands that are about channels.
    pub(crate) fn alerts(&self, config: &Config, patience: Patience) -> Alerts {
        let folder = config.file.parent().map(std::path::Path::to_owned).unwrap_or_default();
        let setup = Setup::new(folder, self.env.clone(), Setup::state_file(&self.env));
        let secrets = self.known_secrets(config);
        Alerts::new(&config.alerts, Setup { patience, secrets, ..setup })
    }

    fn known_secrets(&self, config: &Config) -> Vec<Secret> {
        let named = config.sources.iter().filter_map(|source| source.password.as_ref());
        let named = named.chain(&config.repository.password).filter_map(|from| match from {
            PasswordFrom::Env(name) => Some(name.as_str()),
            _ => None,
        });
        let values = named.chain(SECRETS).filter_map(|name| self.env.var(name)).map(Secret::new);
        values.chain(config.sources.iter().map(|source| source.url.clone())).collect()
    }
}

impl Alerting {
    /// Work begins.
    pub(crate) fn started(&self, job: &str, source: &str) {
        if let Some(alerts) = &self.0 {
            alerts.started(&RunStart { job: job.to_owned(), source: Some(source.to_owned()) });
        }
    }

    /// Work ended. For an error: see [`failed`].
    pub(crate) fn ended(&self, job: &str, source: &str, end: RunEnd, detail: Option<String>) {
        if let Some(alerts) = &self.0 {
            let now = Timestamp::now();
            let run = Run { job: job.to_owned(), source: Some(source.to_owned()), end, ended: now, detail };
            alerts.observe(Observation::Run(run), now);
        }
    }

    /// What was found.
    pub(crate) fn observe(&self, observations: Vec<Observation>) {
        if let Some(alerts) = &self.0 {
            alerts.observe_all(observations, Timestamp::now());
        }
    }

    /// Waits until the messages have arrived, and tells which did not.
    pub(crate) async fn finish(self, context: &Context) {
        let Some(alerts) = self.0 else { return };
        for failure in alerts.flush(LIMIT).await {
            context.output.warning(
                &format!("channel '{}' was not told: {}", failure.channel, failure.reason),
                Some("`basekeep alert test` tries the channels"),
            );
        }
    }
}

/// How work ended that failed.
pub(crate) fn failed(error: &EngineError) -> RunEnd {
    match error.kind() {
        ErrorKind::Interrupted => RunEnd::Interrupted,
        _ => RunEnd::Failed(with_causes(error)),
    }
}
