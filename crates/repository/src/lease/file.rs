//! The content of a lease's file.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{RepositoryError, Result, host};

const VERSION: u32 = 1;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct LeaseFile {
    pub(super) version: u32,
    /// When it was written, by the owner's clock. For people.
    pub(super) time: Timestamp,
    pub(super) hostname: String,
    pub(super) pid: u32,
    /// Tells this owner from every other one.
    pub(super) nonce: String,
    pub(super) expires_seconds: u64,
    pub(super) released: bool,
    /// Until when each job was done or given up: times of its schedule.
    pub(super) done: BTreeMap<String, Timestamp>,
}

impl LeaseFile {
    pub(super) fn ours(
        nonce: &str,
        released: bool,
        expires: Duration,
        done: BTreeMap<String, Timestamp>,
    ) -> Self {
        Self {
            version: VERSION,
            time: Timestamp::now(),
            hostname: host::hostname(),
            pid: std::process::id(),
            nonce: nonce.to_owned(),
            expires_seconds: expires.as_secs(),
            released,
            done,
        }
    }

    pub(super) fn owner(&self) -> String {
        match self.hostname.as_str() {
            "" => "another server".to_owned(),
            host => format!("{host} (process {})", self.pid),
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| RepositoryError::internal("write a lease", error))
    }

    pub(super) fn decode(json: &[u8]) -> Result<Self, String> {
        let file: Self = serde_json::from_slice(json).map_err(|error| format!("not a lease: {error}"))?;
        match file.version {
            VERSION => Ok(file),
            other => Err(format!("version {other} of leases is not known")),
        }
    }
}
