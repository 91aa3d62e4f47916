//! What is to run now. Pure: it is told the time and what happened, and says what to start.
//!
//! The rules. Of one source at most one job runs. In all at most so many as the limit says. What deletes is alone among
//! what deletes; a prune is alone altogether, and nothing that came later overtakes it. Of runs that were missed the
//! latest is caught up. What failed is tried again after 1, 5 and 15 minutes, and then at its next time.

use std::cell::Cell;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::jobs::{Job, JobKind, Outcome, Trigger};
use crate::timetable::Timetable;

/// Pauses between attempts.
pub const RETRIES: [SignedDuration; 3] =
    [SignedDuration::from_mins(1), SignedDuration::from_mins(5), SignedDuration::from_mins(15)];

/// How often another server's run is looked at, unless somebody says otherwise.
pub const BUSY: SignedDuration = SignedDuration::from_secs(10);

/// What begins this much after its time was missed.
const MISSED: SignedDuration = SignedDuration::from_secs(90);

/// A clock that is wrong by less is not worth noticing.
pub const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// How far back a source without any snapshot looks for the time that its first backup is for.
const FIRST: SignedDuration = SignedDuration::from_hours(367 * 24);

/// A job and its timetables. Without any it runs after another job, or when somebody asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The job.
    pub job: Job,
    /// When it is due: whenever one of them says so.
    pub timetables: Vec<Timetable>,
}

/// Something to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// What.
    pub job: Job,
    /// The time that it is for; `None` where it is for none.
    pub due: Option<Timestamp>,
    /// Why.
    pub trigger: Trigger,
    /// Which attempt, from 1.
    pub attempt: u32,
}

impl Start {
    /// Whether no other attempt follows when this one fails.
    pub fn is_last_attempt(&self) -> bool {
        self.trigger == Trigger::Demand || self.attempt as usize > RETRIES.len()
    }
}

/// How something that was started ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It ran.
    Ran(Outcome),
    /// It did not run: another server has done it, up to and including this time.
    DoneElsewhere(Timestamp),
    /// It did not run: another server is at it.
    Busy,
}

/// What is next for one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upcoming {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// When it is due next; `None` where nothing is planned.
    pub next: Option<Timestamp>,
    /// Whether it runs now.
    pub running: bool,
    /// The attempt that comes next, if one has failed.
    pub retry: Option<u32>,
}

/// See the module.
#[derive(Debug)]
pub struct Agenda {
    entries: BTreeMap<Job, Entry>,
    running: BTreeMap<Job, Start>,
    limit: usize,
    /// How often another server's run is looked at.
    busy: SignedDuration,
}

#[derive(Debug)]
struct Entry {
    timetables: Vec<Timetable>,
    /// Whatever was due until then is done or given up.
    last: Timestamp,
    /// Whatever was due until then is done, given up, or pending.
    looked: Timestamp,
    pending: Option<Pending>,
    /// From when on the next time was looked for, and which it is.
    next: Cell<Option<(Timestamp, Option<Timestamp>)>>,
}

#[derive(Debug, Clone)]
struct Pending {
    start: Start,
    not_before: Timestamp,
}

impl Agenda {
    /// An empty one; `limit` jobs run at once, at least one.
    pub fn new(limit: usize) -> Self {
        Self { entries: BTreeMap::new(), running: BTreeMap::new(), limit: limit.max(1), busy: BUSY }
    }

    /// The same, and another server's run is looked at this often.
    pub fn with_busy(self, busy: SignedDuration) -> Self {
        Self { busy, ..self }
    }

    /// What there is to do from now on. Jobs that were known keep what is known of them; for new ones, `known` has the last
    /// time until which the repository says that they were done.
    pub fn plan(&mut self, planned: Vec<Planned>, known: &BTreeMap<Job, Timestamp>, now: Timestamp) {
        let mut old = std::mem::take(&mut self.entries);
        for Planned { job, timetables } in planned {
            let entry = match old.remove(&job) {
                Some(entry) => Entry { timetables, looked: entry.last, next: Cell::new(None), ..entry },
                None => {
                    // A snapshot from the future must not stop backups.
                    let last = known.get(&job).map_or_else(|| unknown(&job, now), |last| now.min(*last));
                    Entry { timetables, last, looked: last, pending: None, next: Cell::new(None) }
                }
            };
            self.entries.insert(job, entry);
        }
        // What runs goes on, also when nobody wants it any more.
    }

    /// What is to start now. It counts as running until [`Agenda::ended`].
    pub fn tick(&mut self, now: Timestamp) -> Vec<Start> {
        for (job, entry) in &mut self.entries {
            if !self.running.contains_key(job) {
                entry.look(job, now);
            }
        }
        let mut ready: Vec<Pending> = self
            .entries
            .values()
            .filter_map(|entry| entry.pending.clone())
            .filter(|p| p.not_before <= now)
            .collect();
        let first = |p: &Pending| (p.start.trigger != Trigger::Demand, p.not_before, p.start.job.clone());
        ready.sort_by_key(first);
        let mut starts = Vec::new();
        for Pending { start, .. } in ready {
            if !self.may_start(&start.job) {
                if start.job.kind.exclusive() {
                    // Nothing overtakes it, or it would wait for ever where there is always something to do.
                    break;
                }
                continue;
            }
            if let Some(entry) = self.entries.get_mut(&start.job) {
                entry.pending = None;
            }
            self.running.insert(start.job.clone(), start.clone());
            starts.push(start);
        }
        starts
    }

    fn may_start(&self, job: &Job) -> bool {
        let mut others = self.running.keys();
        self.running.len() < self.limit
            && !self.running.contains_key(job)
            && (self.running.is_empty() || !job.kind.exclusive())
            && others.all(|other| {
                !(other.kind.exclusive()
                    || other.kind.deletes() && job.kind.deletes()
                    || other.source.is_some() && other.source == job.source)
            })
    }

    /// Takes note of how something ended that was started.
    pub fn ended(&mut self, start: &Start, ended: Ended, now: Timestamp) {
        self.running.remove(&start.job);
        let again = |attempt, trigger, after| {
            let start = Start { attempt, trigger, ..start.clone() };
            Some(Pending { start, not_before: now.checked_add(after).unwrap_or(now) })
        };
        let Some(entry) = self.entries.get_mut(&start.job) else { return };
        let done = match ended {
            Ended::Ran(outcome) if outcome.is_final() => start.due,
            Ended::Ran(_) if start.is_last_attempt() => start.due,
            // Whoever stopped it does not want it again in a minute.
            Ended::Ran(Outcome::Interrupted) => start.due,
            Ended::Ran(_) => {
                let pause = RETRIES.get(start.attempt as usize - 1).copied().unwrap_or(RETRIES[0]);
                entry.pending = again(start.attempt + 1, Trigger::Retry, pause);
                None
            }
            Ended::DoneElsewhere(until) => Some(until),
            Ended::Busy => {
                entry.pending = again(start.attempt, start.trigger, self.busy);
                None
            }
        };
        entry.last = entry.last.max(done.unwrap_or(entry.last));
        let made = matches!(ended, Ended::Ran(Outcome::Done | Outcome::Incomplete));
        if made && start.job.kind == JobKind::Backup {
            self.follow(Job { kind: JobKind::Forget, source: start.job.source.clone() }, now);
        }
    }

    /// A job that another one asks for, where it is planned.
    fn follow(&mut self, job: Job, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&job) {
            let start = Start { job, due: None, trigger: Trigger::After, attempt: 1 };
            entry.pending = Some(Pending { start, not_before: now });
        }
    }

    /// Asks for a job now. Gives whether it is planned at all and neither runs nor is asked for already.
    pub fn demand(&mut self, job: &Job, now: Timestamp) -> bool {
        let running = self.running.contains_key(job);
        let Some(entry) = self.entries.get_mut(job) else { return false };
        if running || entry.pending.as_ref().is_some_and(|p| p.start.trigger == Trigger::Demand) {
            return false;
        }
        let start = Start { job: job.clone(), due: None, trigger: Trigger::Demand, attempt: 1 };
        entry.pending = Some(Pending { start, not_before: now });
        true
    }

    /// When to look again at the latest; what may start at once but has to wait for others is looked at when they end.
    pub fn wake(&self, now: Timestamp) -> Option<Timestamp> {
        let idle = self.entries.iter().filter(|(job, _)| !self.running.contains_key(*job));
        let times = idle.flat_map(|(_, entry)| {
            let pending = entry.pending.as_ref().map(|pending| pending.not_before);
            [pending, entry.next(now)].into_iter().flatten()
        });
        times.filter(|time| *time > now).min()
    }

    /// What is next, job by job.
    pub fn upcoming(&self, now: Timestamp) -> Vec<Upcoming> {
        let upcoming = self.entries.iter().map(|(job, entry)| {
            let pending = entry.pending.as_ref();
            let retry = pending.filter(|p| p.start.trigger == Trigger::Retry).map(|p| p.start.attempt);
            let times = [pending.map(|pending| pending.not_before), entry.next(now)];
            let next = times.into_iter().flatten().min();
            Upcoming { job: job.clone(), next, running: self.running.contains_key(job), retry }
        });
        upcoming.collect()
    }

    /// Whether nothing runs.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether this job is planned, or runs.
    pub fn knows(&self, job: &Job) -> bool {
        self.entries.contains_key(job) || self.running.contains_key(job)
    }
}

/// Until when a job counts as done of which the repository says nothing: a source that was never backed up is backed up
/// at once; everything else waits for its next time.
fn unknown(job: &Job, now: Timestamp) -> Timestamp {
    match job.kind {
        JobKind::Backup => now.checked_sub(FIRST).unwrap_or(now),
        _ => now,
    }
}

impl Entry {
    /// Looks for the latest time that has come.
    fn look(&mut self, job: &Job, now: Timestamp) {
        if self.last > now + AHEAD || self.looked > now + AHEAD {
            // The clock was wrong and is set back: what it said then must not stop anything.
            (self.last, self.looked) = (now, now);
            self.next.set(None);
        }
        let from = self.last.max(self.looked);
        if self.next(from).is_none_or(|next| next > now) {
            return;
        }
        let latest = self.timetables.iter().filter_map(|table| table.latest(from, now)).max();
        self.looked = now;
        let Some(due) = latest else { return };
        if let Some(pending) = &self.pending
            && (pending.start.due.is_some_and(|known| known >= due)
                || pending.start.trigger == Trigger::Demand)
        {
            return;
        }
        let trigger = if now.duration_since(due) >= MISSED { Trigger::Missed } else { Trigger::Schedule };
        let start = Start { job: job.clone(), due: Some(due), trigger, attempt: 1 };
        self.pending = Some(Pending { start, not_before: due });
    }

    /// The first time after `from`, and after what is done.
    fn next(&self, from: Timestamp) -> Option<Timestamp> {
        let from = from.max(self.last);
        if let Some((since, next)) = self.next.get()
            && since <= from
            && next.is_none_or(|next| next > from)
        {
            return next;
        }
        let next = self.timetables.iter().filter_map(|table| table.next(from)).min();
        self.next.set(Some((from, next)));
        next
    }
}

#[cfg(test)]
mod tests;
