//! Sessions: a random cookie of 256 bits, of which only the hash is kept, in memory. They end when nobody used them for a while,
//! when they are old, when the user logs out, and with the process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::access::{random_text, sha256};

/// The most sessions; the one that was not used for the longest time goes then.
const MOST: usize = 1000;

/// When sessions end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// After so long without a request.
    pub idle: Duration,
    /// After so long in any case.
    pub absolute: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { idle: Duration::from_secs(2 * 3600), absolute: Duration::from_secs(12 * 3600) }
    }
}

#[derive(Debug)]
struct Session {
    user: String,
    csrf: String,
    created: Timestamp,
    used: Timestamp,
}

/// A session that is valid.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) user: String,
    /// What every form has to send back.
    pub(crate) csrf: String,
}

#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

impl Sessions {
    /// Begins one; the text goes into the cookie.
    pub(crate) fn begin(&self, user: &str, now: Timestamp) -> String {
        let id = random_text();
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= MOST
            && let Some(oldest) = sessions.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| *key)
        {
            sessions.remove(&oldest);
        }
        let session = Session { user: user.to_owned(), csrf: random_text(), created: now, used: now };
        sessions.insert(sha256(id.as_bytes()), session);
        id
    }

    /// The session of a cookie, which counts as used.
    pub(crate) fn find(&self, id: &str, now: Timestamp, lifetimes: Lifetimes) -> Option<Found> {
        let key = sha256(id.as_bytes());
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get_mut(&key)?;
        if over(session.used, now, lifetimes.idle) || over(session.created, now, lifetimes.absolute) {
            sessions.remove(&key);
            return None;
        }
        session.used = now;
        Some(Found { user: session.user.clone(), csrf: session.csrf.clone() })
    }

    pub(crate) fn end(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&sha256(id.as_bytes()));
    }
}

/// Whether more than `limit` has gone by since then. A clock that was set back counts as no time.
fn over(since: Timestamp, now: Timestamp, limit: Duration) -> bool {
    let limit = SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX);
    now.duration_since(since) > limit
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIMES: Lifetimes =
        Lifetimes { idle: Duration::from_secs(10), absolute: Duration::from_secs(25) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_session_ends_when_idle_and_when_old() {
        let sessions = Sessions::default();
        let id = sessions.begin("ada", at(0));
        assert_eq!(sessions.find(&id, at(10), LIFETIMES).unwrap().user, "ada");
        assert!(sessions.find(&id, at(20), LIFETIMES).is_some(), "use keeps it alive");
        assert!(sessions.find(&id, at(26), LIFETIMES).is_none(), "but not for ever");
        let id = sessions.begin("ada", at(0));
        assert!(sessions.find(&id, at(11), LIFETIMES).is_none());
        assert!(sessions.find(&id, at(1), LIFETIMES).is_none(), "it is gone for good");
    }

    #[test]
    fn each_session_has_its_own_form_token_and_ends_alone() {
        let sessions = Sessions::default();
        let (a, b) = (sessions.begin("ada", at(0)), sessions.begin("ada", at(0)));
        let (first, second) =
            (sessions.find(&a, at(1), LIFETIMES).unwrap(), sessions.find(&b, at(1), LIFETIMES).unwrap());
        assert_ne!(first.csrf, second.csrf);
        sessions.end(&a);
        assert!(sessions.find(&a, at(1), LIFETIMES).is_none());
        assert!(sessions.find(&b, at(1), LIFETIMES).is_some());
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let sessions = Sessions::default();
        let first = sessions.begin("ada", at(0));
        for _ in 0..MOST {
            sessions.begin("ada", at(1));
        }
        assert!(sessions.find(&first, at(2), LIFETIMES).is_none());
        assert_eq!(sessions.0.lock().unwrap().len(), MOST);
    }
}
