//! Cancelling a command from outside its session.

use super::establish;
use super::socket::Address;
use crate::conninfo::{Endpoint, Settings};
use crate::error::Error;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a CancelRequest needs.
pub(crate) struct CancelTarget {
    pub(crate) settings: Settings,
    pub(crate) endpoint: Endpoint,
    pub(crate) address: Address,
    /// Whether the session itself is encrypted: the request then is, too.
    pub(crate) encrypted: bool,
    pub(crate) process_id: i32,
    pub(crate) key: Vec<u8>,
}

/// Cancels what its session is doing. The session then gets an error with SQLSTATE 57014.
#[derive(Clone)]
pub struct CancelToken(Arc<CancelTarget>);

const CANCEL_REQUEST: i32 = 80_877_102;

impl CancelToken {
    pub(super) fn new(target: Arc<CancelTarget>) -> Self {
        Self(target)
    }

    /// Sends the request on a connection of its own. Success means that the server has taken it, not that there was
    /// something to cancel.
    pub async fn cancel(&self) -> Result<(), Error> {
        let target = &*self.0;
        let send = async {
            let mut stream = establish::open_for_cancel(
                &target.endpoint,
                &target.address,
                &target.settings,
                target.encrypted,
            )
            .await?;
            let mut request = Vec::with_capacity(12 + target.key.len());
            request.extend((12 + target.key.len() as i32).to_be_bytes());
            request.extend(CANCEL_REQUEST.to_be_bytes());
            request.extend(target.process_id.to_be_bytes());
            request.extend(&target.key);
            stream.write_all(&request).await?;
            stream.flush().await?;
            // The server closes the connection when the signal is sent; how it closes does not matter.
            let _ = stream.read(&mut [0; 1]).await;
            Ok(())
        };
        establish::within(target.settings.connect_timeout, "cancelling", send).await
    }
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CancelToken({})", self.0.process_id)
    }
}
