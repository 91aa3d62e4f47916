//! `basekeep serve`: everything on its schedule.

mod digest;
mod http;
mod jobs;
mod notices;
mod telling;
mod work;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use basekeep_engine::EngineError;
use basekeep_engine::config::span;
use basekeep_server::clock::SystemClock;
use basekeep_server::daemon::{Daemon, Handle};
use basekeep_server::history::{History, state_folder};
use clap::{Args, ValueEnum};
use jiff::SignedDuration;
use tokio::signal::unix::{SignalKind, signal};

use self::notices::ServiceManager;
use self::work::Work;
use crate::context::Context;
use crate::exit::Exit;
use crate::output;

/// Where the daemon answers unless somebody says otherwise.
const ADDRESS: &str = "127.0.0.1:8432";
/// How long others wait before they take over from a server that has died.
const LEASE: &str = "60s";

/// Run every source's backups, drills, retention, prune, check and replicas on their schedules
#[derive(Debug, Args)]
#[command(
    after_long_help = "The profile of each source says when (docs/SERVE.md). One process does all of it; several on one repository share \
the work, since a lease in the repository lets one of them run a job. It stays in the foreground and logs to standard error. SIGTERM and SIGINT stop \
what runs and release its locks; SIGHUP reads basekeep.toml again, and a broken one changes nothing.\n\n\
The history of runs is kept in $XDG_STATE_HOME/basekeep (or $STATE_DIRECTORY); it may be deleted: what is due is read from the repository."
)]
pub(crate) struct Serve {
    /// Run so many jobs at once [default: one for each processor]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Where the history of runs is kept
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Where the dashboard, metrics and the health check are served, or `off`
    #[arg(long, value_name = "ADDRESS", default_value = ADDRESS, value_parser = listen)]
    listen: Listen,
    /// How the log is written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// After how long another server takes over from one that has died
    #[arg(long, value_name = "DURATION", default_value = LEASE, value_parser = lease)]
    lease: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Listen {
    At(SocketAddr),
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// A line for people
    Text,
    /// A JSON document on each line
    Json,
}

fn listen(text: &str) -> Result<Listen, String> {
    match text {
        "off" => Ok(Listen::Off),
        text => text
            .parse()
            .map(Listen::At)
            .map_err(|_| "write an address and a port, such as 127.0.0.1:8432, or off".to_owned()),
    }
}

fn lease(text: &str) -> Result<Duration, String> {
    match span(text)? {
        short if short < Duration::from_secs(3) => Err("it is three seconds at least".to_owned()),
        lease => Ok(lease),
    }
}

pub(crate) async fn run(command: &Serve, context: &Context) -> Result<Exit, EngineError> {
    output::start_server_log(command.log_format == LogFormat::Json);
    let work = Arc::new(Work::new(context, command.lease)?);
    let Some(folder) = state_folder(command.state.as_deref(), &context.env) else {
        return Err(EngineError::usage("there is no place for the history of runs")
            .hint("name a folder with --state DIR, or set HOME or XDG_STATE_HOME"));
    };
    let (history, aside) = History::open(&folder)?;
    if let Some(aside) = aside {
        let text = format!("the history was damaged and begins anew; it is kept as {}", aside.display());
        context.output.warning(&text, None);
    }
    let mut daemon = Daemon::new(work.clone(), Arc::new(SystemClock), Arc::new(history));
    if let Some(jobs) = command.jobs {
        daemon.limit = usize::from(jobs);
    }
    daemon.after.push(Arc::new(telling::Telling(work.clone())));
    daemon.busy = SignedDuration::try_from(command.lease / 6).unwrap_or(daemon.busy);
    daemon.notices = Arc::new(ServiceManager::new(work.sources().len()));
    let listener = http::bind(command.listen).await?;
    let (handle, daemon) = daemon.start(context.interrupt.clone());
    let site = match &listener {
        Some(listener) => http::Site::new(context, &handle, listener, &folder)?.map(Arc::new),
        None => None,
    };
    let serve = |listener| http::serve(listener, &handle, &work, site.as_deref(), &context.interrupt);
    let served = listener.map(serve);
    let reloads = tokio::spawn(reload(handle, site.clone()));
    let mut daemon = std::pin::pin!(daemon);
    tokio::select! {
        _ = &mut daemon => {}
        // It ends when the stop is asked for; the daemon has its work to end then.
        () = digest::run(work.clone(), context.interrupt.clone()) => { daemon.await; }
    }
    reloads.abort();
    if let Some(site) = site {
        site.finish().await;
    }
    if let Some(served) = served {
        let _ = served.await;
    }
    Ok(Exit::Done)
}

/// Reads the configuration again at each SIGHUP. How that went is in the log.
async fn reload(handle: Handle, site: Option<Arc<http::Site>>) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    while hangups.recv().await.is_some() {
        match (handle.reload().await, &site) {
            (Ok(()), Some(site)) => site.reload(),
            (Ok(()), None) => {}
            (Err(error), _) => tracing::debug!(%error, "not reloaded"),
        }
    }
}
