//! What the daemon answers over HTTP.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use basekeep_engine::{EngineError, Interrupt, listing};
use basekeep_server::daemon::Handle;
use basekeep_server::metrics::{self, AskRepository, RepositoryFacts};
use basekeep_server::web::{self, Web};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Listen;
use super::work::Work;
use crate::commands::dashboard::{self, EnginePanel, Work as Doing};
use crate::context::Context;

/// Takes the address before anything runs, so that a wrong one is found at once.
pub(super) async fn bind(listen: Listen) -> Result<Option<TcpListener>, EngineError> {
    let Listen::At(address) = listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|error| {
        EngineError::failed(format!("cannot listen on {address}: {error}"))
            .hint("choose another one with --listen ADDRESS:PORT, or --listen off")
    })?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!("metrics are at http://{address}/metrics");
    }
    Ok(Some(listener))
}

/// The dashboard of a daemon.
pub(super) struct Site {
    web: Web,
    panel: EnginePanel,
}

impl Site {
    /// `None` where others could reach it and nobody is configured who may log in; metrics are served alone then.
    pub(super) fn new(
        context: &Context,
        handle: &Handle,
        listener: &TcpListener,
        state: &Path,
    ) -> Result<Option<Self>, EngineError> {
        let failed =
            |error| EngineError::failed("cannot tell the address that is listened on").caused_by(error);
        let address = listener.local_addr().map_err(failed)?;
        let users = dashboard::settings(context)?.users;
        if let Err(error) = web::check_address(address.ip(), &users) {
            tracing::warn!("{error}; metrics are served alone");
            return Ok(None);
        }
        let doing = Doing::Daemon(handle.clone());
        let panel = EnginePanel::new(&context.global, handle.history().clone(), handle.live().clone(), doing);
        let web =
            dashboard::dashboard(context, panel.clone(), address, state, |line| tracing::info!("{line}"))?;
        tracing::info!("the dashboard is at http://{address}");
        Ok(Some(Self { web, panel }))
    }

    /// Takes the users and names of the configuration as it is now.
    pub(super) fn reload(&self) {
        match dashboard::settings(&self.panel.reading()) {
            Ok(settings) => self.web.reload(settings),
            Err(error) => tracing::warn!("the dashboard's users stay as they were: {error}"),
        }
    }

    /// Waits until what it started beside the daemon has stopped.
    pub(super) async fn finish(&self) {
        self.panel.finish().await;
    }
}

/// Serves until the interrupt.
pub(super) fn serve(
    listener: TcpListener,
    handle: &Handle,
    work: &Arc<Work>,
    site: Option<&Site>,
    interrupt: &Interrupt,
) -> JoinHandle<()> {
    let rest = site.map_or_else(metrics::health, |site| site.web.router());
    let routes = metrics::routes(handle.clone(), work.clone()).merge(rest);
    let interrupt = interrupt.clone();
    tokio::spawn(async move {
        let stop = async move { interrupt.requested().await };
        if let Err(error) = web::serve(listener, routes, stop).await {
            tracing::error!(%error, "neither metrics nor the dashboard are served any more");
        }
    })
}

#[async_trait]
impl AskRepository for Work {
    async fn facts(&self) -> Result<RepositoryFacts, EngineError> {
        let repository = self.context(None, &Interrupt::never()).open_repository().await?;
        let sources = listing::facts(&repository).await?;
        Ok(RepositoryFacts { sources, bytes: repository.pack_bytes().await? })
    }
}
