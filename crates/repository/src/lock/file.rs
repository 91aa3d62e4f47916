//! Lock files.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{LockHolder, RepositoryError, Result, host};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LockFile {
    pub(super) time: Timestamp,
    pub(super) exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
}

impl LockFile {
    /// A lock of this process, made now.
    pub(super) fn ours(exclusive: bool) -> Self {
        Self {
            time: Timestamp::now(),
            exclusive,
            hostname: host::hostname(),
            username: host::username(),
            pid: std::process::id(),
            uid: host::uid(),
            gid: host::gid(),
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| RepositoryError::internal("write a lock", e))
    }

    pub(super) fn decode(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|e| format!("not a lock: {e}"))
    }

    /// Not refreshed for `limit`, or made on this machine by a process that is gone.
    pub(super) fn is_stale(&self, limit: Duration) -> bool {
        let age = Duration::try_from(Timestamp::now().duration_since(self.time)).unwrap_or_default();
        let here = !self.hostname.is_empty() && self.hostname == host::hostname();
        age > limit || (here && !host::process_lives(self.pid))
    }

    pub(super) fn holder(self, file: String) -> LockHolder {
        LockHolder {
            exclusive: self.exclusive,
            hostname: self.hostname,
            username: self.username,
            pid: self.pid,
            since: self.time,
            file,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_of_the_living_are_not_stale_and_those_of_the_dead_are() {
        let limit = Duration::from_secs(1800);
        let ours = LockFile::ours(true);
        assert!(!ours.is_stale(limit));
        let dead = LockFile { pid: i32::MAX as u32, ..LockFile::ours(true) };
        assert!(dead.is_stale(limit));
        let elsewhere =
            LockFile { hostname: "elsewhere".into(), pid: i32::MAX as u32, ..LockFile::ours(true) };
        assert!(!elsewhere.is_stale(limit));
        let old = LockFile { time: Timestamp::now() - Duration::from_secs(1801), ..LockFile::ours(true) };
        assert!(old.is_stale(limit));
        let future = LockFile { time: Timestamp::now() + Duration::from_secs(999), ..LockFile::ours(true) };
        assert!(!future.is_stale(limit));
    }
}
