//! What the service manager (systemd) hears of the daemon, and what of that stands in the log.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use basekeep_server::daemon::Notices;
use sd_notify::NotifyState;

pub(super) struct ServiceManager {
    sources: usize,
    ready: AtomicBool,
    /// How often systemd wants to hear that we live.
    watchdog: Option<Duration>,
    told: Mutex<Option<Instant>>,
}

impl ServiceManager {
    pub(super) fn new(sources: usize) -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        Self { sources, ready: AtomicBool::new(false), watchdog, told: Mutex::default() }
    }
}

impl Notices for ServiceManager {
    fn ready(&self) {
        tell(&[NotifyState::Ready]);
        if !self.ready.swap(true, Ordering::SeqCst) {
            tracing::info!(sources = self.sources, "ready");
        }
    }

    fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
        tracing::info!("stopping");
    }

    fn alive(&self) {
        let Some(watchdog) = self.watchdog else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= watchdog / 4) {
            tell(&[NotifyState::Watchdog]);
            *told = Some(Instant::now());
        }
    }

    fn note(&self, text: &str) {
        tracing::info!("{text}");
    }

    fn warning(&self, text: &str) {
        tracing::warn!("{text}");
    }
}

/// Without systemd nobody listens, which is no error.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager did not hear it");
    }
}
