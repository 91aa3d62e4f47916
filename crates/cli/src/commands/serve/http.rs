//! What the daemon answers over HTTP.

use std::sync::Arc;

use async_trait::async_trait;
use basekeep_engine::{EngineError, Interrupt, listing};
use basekeep_server::daemon::Handle;
use basekeep_server::metrics::{self, AskRepository, RepositoryFacts};
use basekeep_server::web;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Listen;
use super::work::Work;

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

/// Serves until the interrupt.
pub(super) fn serve(
    listener: TcpListener,
    handle: &Handle,
    work: &Arc<Work>,
    interrupt: &Interrupt,
) -> JoinHandle<()> {
    let routes = metrics::routes(handle.clone(), work.clone()).merge(metrics::health());
    let interrupt = interrupt.clone();
    tokio::spawn(async move {
        let stop = async move { interrupt.requested().await };
        if let Err(error) = web::serve(listener, routes, stop).await {
            tracing::error!(%error, "metrics are served no more");
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
