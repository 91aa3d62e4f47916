//! How a running piece of work learns that the user wants it to stop.

use tokio::sync::watch;

use crate::{EngineError, ErrorKind};

/// The side that asks for the stop.
#[derive(Debug)]
pub struct InterruptHandle(watch::Sender<bool>);

/// The side that work carries along. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Interrupt(Option<watch::Receiver<bool>>);

impl InterruptHandle {
    /// A connected pair.
    pub fn new() -> (Self, Interrupt) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Interrupt(Some(receiver)))
    }

    /// Asks all holders to stop. Can be called again without effect.
    pub fn interrupt(&self) {
        self.0.send_replace(true);
    }
}

impl Interrupt {
    /// One that never fires.
    pub fn never() -> Self {
        Self(None)
    }

    /// Waits until the stop is asked for.
    pub async fn requested(&self) {
        match &self.0 {
            Some(receiver) => {
                let mut receiver = receiver.clone();
                if receiver.wait_for(|stop| *stop).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            None => std::future::pending().await,
        }
    }

    /// Runs `work` until it ends or the stop is asked for; then `work` is dropped where it stands.
    pub async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        tokio::select! {
            biased;
            () = self.requested() => Err(EngineError::new(ErrorKind::Interrupted, "interrupted")),
            result = work => result,
        }
    }
}
