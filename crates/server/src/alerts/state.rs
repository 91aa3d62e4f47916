//! What is news: a pure machine that remembers which alerts go on. Time is given to it.
//!
//! ```text
//!             found                    told                 gone                 told
//!   (none) ─────────▶ firing, untold ───────▶ firing, told ───────▶ over, untold ───────▶ (none)
//!                        ▲      │                 │   ▲                   │
//!                        └──────┘                 └───┘                   └─ found again ─▶ firing, told
//!                  every IN_FLIGHT until told   every `repeat`
//! ```
//!
//! Each change is handed out once. It is handed out again only if nobody confirms with [`States::told`] that somebody was
//! told, so that an alert survives a crash between deciding and sending.

use std::collections::BTreeMap;

use basekeep_engine::monitor::Finding;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::message::{Change, Item};

/// How long a message may be on its way before it counts as lost.
pub const IN_FLIGHT: SignedDuration = SignedDuration::from_mins(10);

/// Alerts that are remembered. More of them at once are one catastrophe, and the rest is not remembered.
pub const MOST: usize = 2_000;

/// How long the end of an alert is tried to be told.
const OVER: SignedDuration = SignedDuration::from_hours(48);

/// One alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What is observed together: an alert that is not found when its scope is observed is over.
    pub scope: String,
    /// What was found last.
    pub finding: Finding,
    /// Since when.
    pub began: Timestamp,
    /// When it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Timestamp>,
    /// When somebody was last told that it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Timestamp>,
    /// When a message about its present state was last handed out and not confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Timestamp>,
}

/// All alerts that go on, or whose end nobody was told yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct States {
    entries: BTreeMap<String, Entry>,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    /// For [`States::told`].
    pub key: String,
    /// What to tell.
    pub item: Item,
}

impl States {
    /// Takes note of everything that was found in a scope, and says what of it is news. What is not in `found` is over.
    ///
    /// `repeat`: how long an alert goes on before it is told again; `None` for never.
    pub fn observe(
        &mut self,
        scope: &str,
        found: Vec<Finding>,
        now: Timestamp,
        repeat: Option<SignedDuration>,
    ) -> Vec<News> {
        let mut news = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for finding in found {
            let key = key(scope, &finding);
            if !seen.insert(key.clone()) {
                continue;
            }
            if !self.entries.contains_key(&key) && self.entries.len() >= MOST {
                continue;
            }
            let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry {
                scope: scope.to_owned(),
                began: finding.since.unwrap_or(now).min(now),
                finding: finding.clone(),
                over: None,
                told: None,
                attempt: None,
            });
            if let Some(state) = entry.found(finding, now, repeat) {
                news.push(News { key, item: entry.item(state) });
            }
        }
        for (key, entry) in &mut self.entries {
            if entry.scope == scope && !seen.contains(key) && entry.gone(now) {
                news.push(News { key: key.clone(), item: entry.item(Change::Recovered) });
            }
        }
        // An end that nobody needs to hear: of what nobody heard of, or of long ago.
        self.entries.retain(|_, entry| match entry.over {
            None => true,
            Some(over) => {
                let heard = entry.told.is_some() || entry.attempt.is_some();
                heard && now.duration_since(over) < OVER
            }
        });
        news
    }

    /// Somebody was told these.
    pub fn told(&mut self, news: &[News], now: Timestamp) {
        for one in news {
            let Some(entry) = self.entries.get_mut(&one.key) else { continue };
            let recovered = one.item.state == Change::Recovered;
            if recovered != entry.over.is_some() {
                // It changed again while the message was on its way; that is news of its own.
                if !recovered {
                    entry.told = Some(now);
                }
            } else if recovered {
                self.entries.remove(&one.key);
            } else {
                entry.told = Some(now);
                entry.attempt = None;
            }
        }
    }

    /// Nobody could be told these; they are news again with the next observation.
    pub fn not_told(&mut self, news: &[News]) {
        for one in news {
            if let Some(entry) = self.entries.get_mut(&one.key) {
                entry.attempt = None;
                // The end of something that nobody heard of is not remembered, so its beginning counts as heard.
                if entry.over.is_some() && entry.told.is_none() {
                    entry.told = Some(entry.began);
                }
            }
        }
    }

    /// Alerts that go on, those of one scope together.
    pub fn firing(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.over.is_none())
    }

    /// How many alerts are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn key(scope: &str, finding: &Finding) -> String {
    let source = finding.source.as_deref().unwrap_or_default();
    format!("{scope}\n{source}\n{}\n{}", finding.code, finding.subject.as_deref().unwrap_or_default())
}

impl Entry {
    fn item(&self, state: Change) -> Item {
        Item { state, finding: self.finding.clone(), began: self.began }
    }

    /// It was found. Whether that is news.
    fn found(&mut self, finding: Finding, now: Timestamp, repeat: Option<SignedDuration>) -> Option<Change> {
        let worse = finding.severity > self.finding.severity;
        self.finding = finding;
        if self.over.take().is_some() {
            // Nobody was told for sure that it was over, or they are about to be.
            let on_its_way =
                self.attempt.take().is_some_and(|attempt| now.duration_since(attempt) < IN_FLIGHT);
            if !on_its_way {
                return None;
            }
            self.told = None;
        }
        if worse {
            self.told = None;
            self.attempt = None;
        }
        let waited = |since: Timestamp, time| now.duration_since(since) >= time;
        let lost = self.attempt.is_none_or(|attempt| waited(attempt, IN_FLIGHT));
        let change = match self.told {
            None => lost.then_some(Change::Firing),
            Some(told) => {
                (repeat.is_some_and(|repeat| waited(told, repeat)) && lost).then_some(Change::Continuing)
            }
        };
        if change.is_some() {
            self.attempt = Some(now);
        }
        change
    }

    /// It was not found. Whether that is news.
    fn gone(&mut self, now: Timestamp) -> bool {
        if self.over.is_none() {
            self.over = Some(now);
            // What was handed out and may still arrive was heard.
            if self.told.is_none() && self.attempt.is_none() {
                return false;
            }
            self.told = self.told.or(self.attempt);
            self.attempt = Some(now);
            return true;
        }
        let lost = self.attempt.is_none_or(|attempt| now.duration_since(attempt) >= IN_FLIGHT);
        if lost && self.told.is_some() {
            self.attempt = Some(now);
        }
        lost && self.told.is_some()
    }
}

#[cfg(test)]
mod tests;
