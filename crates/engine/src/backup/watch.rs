//! One connection that looks after the others: who keeps us from a lock, whom we keep from one, and whether what the snapshot
//! sees is still called and stored the same.
//!
//! The leading connection's locks keep ALTER, DROP and TRUNCATE away from the tables from the moment it has them. Before
//! that, and for views, types and functions, nothing does; there the catalog is compared ([`basekeep_postgres::ddl`]).

mod changes;
mod load;

use std::collections::HashSet;
use std::sync::{Arc, Mutex as Guarded, PoisonError};
use std::time::{Duration, Instant};

use basekeep_postgres::ddl::{self, Sums};
use basekeep_postgres::locks::{self, OtherSession};
use basekeep_postgres::{Client, ConnectOptions, Error, session};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use super::plan::Plan;
use super::rows::pace::{Load, Throttle};
use super::settings::Pace;
use crate::stored::manifest::Warning;
use crate::words::{bytes, counted};
use crate::{EngineError, Event, Observer, ResultExt};

pub(super) use changes::Moment;

/// How often is looked who waits.
const EVERY: Duration = Duration::from_secs(3);
/// The same when the backup is to be gentle.
const EVERY_GENTLE: Duration = Duration::from_secs(1);
/// How long a lock is waited for before somebody is told.
const PATIENCE: Duration = Duration::from_secs(1);

/// The connection as it is being opened, while the catalog is read.
pub(super) struct Opening(JoinHandle<Result<(Client, Sums), Error>>);

/// Begins to open the connection, and asks what the snapshot sees.
pub(super) fn begin(connect: &ConnectOptions, snapshot_id: &str) -> Opening {
    let (connect, snapshot_id) = (connect.clone(), snapshot_id.to_owned());
    Opening(tokio::spawn(async move {
        let mut client = Client::connect(&connect, "basekeep").await?;
        let then = ddl::sums_in(&mut client, &snapshot_id).await?;
        Ok((client, then))
    }))
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Looks after a backup. All its work goes over one connection.
pub(super) struct Watch {
    client: Mutex<Client>,
    /// The leading connection's process: it holds all the locks.
    leader: i32,
    connect: ConnectOptions,
    snapshot_id: String,
    /// What the snapshot sees.
    then: Sums,
    pace: Pace,
    /// About when the snapshot was taken.
    began: Instant,
    observer: Arc<dyn Observer>,
    /// What the manifest will say.
    warnings: Guarded<Vec<Warning>>,
}

impl Watch {
    /// Waits for the connection. `began` is about when the snapshot was taken.
    pub(super) async fn open(
        opening: Opening,
        plan: &Plan,
        leader: &mut Client,
        began: Instant,
        observer: &Arc<dyn Observer>,
    ) -> Result<Self, EngineError> {
        // Behind a pooler the process that the connection was told may be another one.
        let process = leader.query("SELECT pg_catalog.pg_backend_pid()").await;
        let process = process.and_then(|rows| rows.one()?.parse(0)).doing(|| "ask for the process")?;
        let mut opening = opening;
        let opened =
            (&mut opening.0).await.map_err(|error| EngineError::failed(format!("watch: {error}")))?;
        let (client, then) = opened.doing(|| "open a connection that watches")?;
        Ok(Self {
            client: Mutex::new(client),
            leader: process,
            connect: plan.connect.clone(),
            snapshot_id: plan.snapshot.id.clone(),
            then,
            pace: plan.pace,
            began,
            observer: observer.clone(),
            warnings: Guarded::default(),
        })
    }

    /// Does `work`, and looks meanwhile: warns once of each session that waits because of us, and once when the snapshot has
    /// been held for long. What it may not see it leaves alone: it never ends a backup.
    pub(super) async fn during<T>(&self, throttle: &Throttle, work: impl Future<Output = T>) -> T {
        let done = Notify::new();
        let work = async {
            let result = work.await;
            done.notify_one();
            result
        };
        tokio::join!(work, self.look(throttle, &done)).0
    }

    async fn look(&self, throttle: &Throttle, done: &Notify) {
        let mut told = HashSet::new();
        let mut warn_after = self.pace.warn_after();
        let mut told_of_load = false;
        let mut ticks = tokio::time::interval(if throttle.is_gentle() { EVERY_GENTLE } else { EVERY });
        loop {
            tokio::select! {
                biased;
                () = done.notified() => return,
                _ = ticks.tick() => {}
            }
            if let Some(after) = warn_after.filter(|after| self.began.elapsed() >= *after) {
                warn_after = None;
                self.warn_of_age(after);
            }
            // Not in a branch of the select: a query that is dropped half way would cost the connection.
            let mut client = self.client.lock().await;
            let waiting = locks::waiting_for(&mut client, self.leader).await.unwrap_or_default();
            if throttle.is_gentle() {
                let load = load::read(&mut client, waiting.len() as u64).await.unwrap_or_default();
                if throttle.look(load).is_some() && !std::mem::replace(&mut told_of_load, true) {
                    self.tell_of_load(&load);
                }
            }
            drop(client);
            for other in waiting {
                if told.insert(other.pid) {
                    self.warn_of_waiting(&other);
                }
            }
        }
    }

    /// A new connection, in place of one that was lost.
    async fn connect(&self) -> Result<Client, Error> {
        let mut client = Client::connect(&self.connect, "basekeep").await?;
        session::pin(&mut client).await?;
        Ok(client)
    }

    /// What there was to warn of, for the manifest.
    pub(super) fn take_warnings(&self) -> Vec<Warning> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn warn(&self, code: &str, message: String, hint: &str) {
        let hint = Some(hint.to_owned());
        self.observer.event(Event::Warning {
            code: code.into(),
            message: message.clone(),
            hint: hint.clone(),
        });
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.push(Warning { code: code.into(), message, hint });
    }

    fn warn_of_age(&self, after: Duration) {
        self.warn(
            "snapshot-held",
            format!("the snapshot has been held for more than {}", in_words(after)),
            "meanwhile vacuum removes no row that was deleted since, so tables that change much grow; more --jobs, a standby as \
             the source, or smaller --limit-… settings shorten it",
        );
    }

    fn tell_of_load(&self, load: &Load) {
        let mut why = Vec::new();
        if load.active > 0 {
            why.push(counted(load.active, "other active session", "other active sessions"));
        }
        if load.waiting > 0 {
            why.push(counted(load.waiting, "session waits for us", "sessions wait for us"));
        }
        if load.lag_bytes > 0 || !load.lag.is_zero() {
            why.push(format!("a standby is {} s ({}) behind", load.lag.as_secs(), bytes(load.lag_bytes)));
        }
        let why = if why.is_empty() { "it answers more slowly".to_owned() } else { why.join(", ") };
        self.observer.event(Event::Warning {
            code: "reading-slower".into(),
            message: format!("the server is busy, reading slower: {why}"),
            hint: None,
        });
    }

    fn warn_of_waiting(&self, other: &OtherSession) {
        let relation = other.relation.as_deref().unwrap_or("a table");
        self.warn(
            "session-waits",
            format!("{other} waits for a lock on {relation} until this backup ends"),
            "whoever uses that table next waits behind it; set lock_timeout in migrations, and run them again after the backup",
        );
    }

    /// Runs `work` on the leading connection, which waits for locks. Gives its result, and who it waited for last.
    async fn while_locking<T>(&self, work: impl Future<Output = T>) -> (T, Vec<OtherSession>) {
        let mut blockers = Vec::new();
        let mut told = false;
        let timeout = Some(self.pace.lock_timeout()).filter(|timeout| !timeout.is_zero());
        let first = timeout.map_or(PATIENCE, |timeout| PATIENCE.min(timeout / 2));
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + first, PATIENCE);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                result = &mut work => return (result, blockers),
                _ = ticks.tick() => {}
            }
            // Not in a branch of the select: a query that is dropped half way would cost the connection.
            let now = locks::blockers_of(&mut *self.client.lock().await, self.leader).await;
            let Ok(now) = now else { continue };
            if let (Some(first), false) = (now.first(), told) {
                told = true;
                let relation = first.relation.as_deref().unwrap_or("a table");
                self.observer.event(Event::Warning {
                    code: "waits-for-lock".into(),
                    message: format!("waiting for a lock on {relation} that {first} holds or waits for"),
                    hint: None,
                });
            }
            if !now.is_empty() {
                blockers = now;
            }
        }
    }
}

/// `10 s`, `90 min`, `2 h`.
fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds >= 3600 && seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds if seconds >= 600 => format!("{} min", seconds / 60),
        0 => format!("{} ms", duration.as_millis()),
        seconds => format!("{seconds} s"),
    }
}
