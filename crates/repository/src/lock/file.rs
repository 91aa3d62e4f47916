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
    pub(super) hostname: String,
    #[serde(default)]
    pub(super) username: String,
    #[serde(default)]
    pub(super) pid: u32,
    #[serde(default)]
    pub(super) uid: u32,
    #[serde(default)]
    pub(super) gid: u32,
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

    /// How long ago it was made, by our clock and the holder's. One from the future is new.
    pub(super) fn age(&self) -> Duration {
        Duration::try_from(Timestamp::now().duration_since(self.time)).unwrap_or_default()
    }

    /// Whether it was made on this machine by a process that is gone.
    pub(super) fn process_is_gone(&self) -> bool {
        let here = !self.hostname.is_empty() && self.hostname == host::hostname();
        here && !host::process_lives(self.pid)
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
    fn a_process_is_gone_only_if_it_was_here() {
        assert!(!LockFile::ours(true).process_is_gone());
        let dead = LockFile { pid: i32::MAX as u32, ..LockFile::ours(true) };
        assert!(dead.process_is_gone());
        let elsewhere = LockFile { hostname: "elsewhere".into(), ..dead };
        assert!(!elsewhere.process_is_gone());
    }

    #[test]
    fn a_lock_from_the_future_is_new() {
        let hour = Duration::from_secs(3600);
        assert!(LockFile { time: Timestamp::now() - hour, ..LockFile::ours(true) }.age() >= hour);
        let future = LockFile { time: Timestamp::now() + hour, ..LockFile::ours(true) };
        assert_eq!(future.age(), Duration::ZERO);
    }
}
