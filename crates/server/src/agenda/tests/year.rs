//! A year of each profile, in a second: failures, a machine that sleeps, a process that is killed. What ran and what was
//! kept is compared with what the profile promises, computed another way.

use std::collections::BTreeSet;

use basekeep_engine::config::ProfileEntry;
use basekeep_engine::retention::{self, Candidate};
use jiff::tz::TimeZone;

use super::*;

const SOURCE: &str = "shop";

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

struct Going {
    start: Start,
    ends: Timestamp,
    began: Timestamp,
    outcome: Outcome,
}

struct Year {
    profile: ProfileEntry,
    zone: TimeZone,
    dice: Dice,
    agenda: Agenda,
    now: Timestamp,
    going: Vec<Going>,
    /// What the repository has.
    kept: BTreeSet<Timestamp>,
    /// Every snapshot that ever was.
    all: BTreeSet<Timestamp>,
    proof: Option<Timestamp>,
    /// What leases say: the last time that was done, by job.
    done: BTreeMap<Job, Timestamp>,
    /// How often each time of each job was done, and was tried.
    runs: BTreeMap<Job, BTreeMap<Timestamp, (u32, u32)>>,
    /// When nothing could run.
    outages: Vec<(Timestamp, Timestamp)>,
    compared: usize,
    /// Whether leases survive a restart; otherwise what is due is read from snapshots alone.
    leases: bool,
}

impl Year {
    fn new(profile: &str, zone: &str, leases: bool, seed: u64) -> Self {
        let zone = TimeZone::get(zone).unwrap();
        let mut profile = ProfileEntry::built_in(profile).unwrap();
        profile.timezone = Some(zone.clone());
        profile.jitter = std::time::Duration::from_secs(300);
        let now = "2026-01-10T10:10:10Z".parse().unwrap();
        let mut year = Self {
            profile,
            zone,
            dice: Dice(seed),
            agenda: Agenda::new(2),
            now,
            going: Vec::new(),
            kept: BTreeSet::new(),
            all: BTreeSet::new(),
            proof: None,
            done: BTreeMap::new(),
            runs: BTreeMap::new(),
            outages: Vec::new(),
            compared: 0,
            leases,
        };
        year.begin();
        year
    }

    fn planned(&self) -> Vec<Planned> {
        JobKind::ALL
            .into_iter()
            .map(|kind| {
                let job = if kind.of_source() { Job::of(kind, SOURCE) } else { Job::repository(kind) };
                let timetables = Timetable::of(&job, &self.profile).into_iter().collect();
                Planned { job, timetables }
            })
            .collect()
    }

    /// A process starts and knows what the repository says.
    fn begin(&mut self) {
        let mut known = if self.leases { self.done.clone() } else { BTreeMap::new() };
        let first = self.all.first().copied();
        for Planned { job, .. } in self.planned() {
            // What no lease and no proof tells of has never been done since the first snapshot.
            let fact = match job.kind {
                JobKind::Backup => self.all.last().copied(),
                JobKind::Drill => self.proof.or(first),
                _ => first.filter(|_| self.leases && !known.contains_key(&job)),
            };
            if let Some(time) = fact {
                let entry = known.entry(job).or_insert(time);
                *entry = time.max(*entry);
            }
        }
        self.agenda = Agenda::new(2);
        self.agenda.plan(self.planned(), &known, self.now);
    }

    fn run(&mut self, until: Timestamp) {
        while self.now < until {
            for start in self.agenda.tick(self.now) {
                self.start(start);
            }
            let next = self.going.iter().map(|going| going.ends).chain(self.agenda.wake(self.now)).min();
            let calm = self.now + SignedDuration::from_hours(6);
            let next = next.unwrap_or(calm).min(calm);
            self.now = next.max(self.now);
            match self.dice.below(500) {
                0 => self.sleep(),
                1 | 2 => self.kill(),
                3..60 if self.profile.backup.is_none() => {
                    self.agenda.demand(&Job::of(JobKind::Backup, SOURCE), self.now);
                }
                _ => {}
            }
            let (over, going) =
                std::mem::take(&mut self.going).into_iter().partition(|going: &Going| going.ends <= self.now);
            self.going = going;
            let over: Vec<Going> = over;
            for going in over {
                self.end(going);
            }
        }
    }

    fn start(&mut self, start: Start) {
        let job = &start.job;
        for other in self.going.iter().map(|going| &going.start.job) {
            assert!(!(other.source.is_some() && other.source == job.source), "{other} and {job} at once");
            assert!(!(other.kind.deletes() && job.kind.deletes()), "{other} and {job} delete at once");
            assert!(!other.kind.exclusive() && !job.kind.exclusive(), "{other} beside {job}");
        }
        assert!(self.going.len() < 2, "more than the limit");
        if let Some(due) = start.due {
            assert!(due <= self.now, "{job} began before its time");
            self.runs.entry(job.clone()).or_default().entry(due).or_default().1 += 1;
        }
        let minutes = match job.kind {
            JobKind::Backup => 1 + self.dice.below(20),
            JobKind::Drill => 5 + self.dice.below(55),
            JobKind::Prune => 5 + self.dice.below(60),
            JobKind::Check => 5 + self.dice.below(30),
            JobKind::Forget | JobKind::Replicas | JobKind::Restore => 1,
        };
        let outcome = match self.dice.below(12) {
            0 => Outcome::Failed,
            1 => Outcome::Incomplete,
            _ => Outcome::Done,
        };
        let ends = self.now + SignedDuration::from_mins(i64::try_from(minutes).unwrap());
        self.going.push(Going { start, ends, began: self.now, outcome });
    }

    fn end(&mut self, going: Going) {
        let Going { start, outcome, began, .. } = going;
        if outcome.is_final() {
            match start.job.kind {
                JobKind::Backup => {
                    self.kept.insert(began);
                    self.all.insert(began);
                }
                JobKind::Drill => self.proof = Some(began),
                JobKind::Forget => self.forget(),
                _ => {}
            }
        }
        if let Some(due) = start.due.filter(|_| outcome.is_final() || start.is_last_attempt()) {
            self.done.insert(start.job.clone(), due);
            if outcome.is_final() {
                self.runs.get_mut(&start.job).unwrap().get_mut(&due).unwrap().0 += 1;
            }
        }
        self.agenda.ended(&start, Ended::Ran(outcome), self.now);
    }

    /// The machine sleeps: what runs ends when it wakes up.
    fn sleep(&mut self) {
        let hours = 1 + self.dice.below(100);
        let wakes = self.now + SignedDuration::from_hours(i64::try_from(hours).unwrap());
        self.outages.push((self.now, wakes));
        self.now = wakes;
    }

    /// The process is killed and starts again a while later.
    fn kill(&mut self) {
        self.going.clear();
        let minutes = self.dice.below(600);
        let starts = self.now + SignedDuration::from_mins(i64::try_from(minutes).unwrap());
        self.outages.push((self.now, starts));
        self.now = starts;
        self.begin();
    }

    fn forget(&mut self) {
        let policy = self.profile.keep.clone().unwrap();
        let candidate = |time: &Timestamp| Candidate { id: time.to_string(), time: *time, tags: Vec::new() };
        let group: Vec<Candidate> = self.kept.iter().map(candidate).collect();
        let decisions = retention::apply(&policy, &group, self.now, &self.zone);
        let stays: BTreeSet<String> = decisions.iter().filter(|d| d.stays()).map(|d| d.id.clone()).collect();
        self.kept.retain(|time| stays.contains(&time.to_string()));
        assert_eq!(self.kept, self.promised(), "{} at {}", self.profile.name, self.now);
        self.compared += 1;
    }

    /// What the profile promises to keep of everything that ever was.
    fn promised(&self) -> BTreeSet<Timestamp> {
        let newest = *self.all.last().unwrap();
        let local = |time: &Timestamp| time.to_zoned(self.zone.clone());
        let days = |days: i64| {
            let start = local(&newest).checked_sub(jiff::Span::new().days(days)).unwrap().timestamp();
            self.all.iter().copied().filter(move |time| *time > start)
        };
        match self.profile.name.as_str() {
            "development" => days(7).collect(),
            "staging" => days(14).collect(),
            "latest-only" => [newest].into(),
            _ => {
                let mut promised: BTreeSet<Timestamp> = self.all.iter().rev().take(8).copied().collect();
                let by_day: BTreeMap<_, _> = days(30).map(|time| (local(&time).date(), time)).collect();
                promised.extend(by_day.into_values());
                let month = |time: &Timestamp| (local(time).year(), local(time).month());
                let by_month: BTreeMap<_, _> = self.all.iter().map(|time| (month(time), *time)).collect();
                // While there are fewer months than wanted, the first snapshot of all stays too.
                promised.extend(self.all.first().filter(|_| by_month.len() < 12));
                promised.extend(by_month.into_values().rev().take(12));
                assert!(promised.len() <= 50, "{} sets", promised.len());
                promised
            }
        }
    }

    /// No time of the schedule was done twice, and none was left out without a reason.
    fn check(&self, from: Timestamp, until: Timestamp) {
        for Planned { job, timetables } in self.planned() {
            let none = BTreeMap::new();
            let runs = self.runs.get(&job).unwrap_or(&none);
            if let Some((due, (done, _))) = runs.iter().find(|(_, (done, _))| *done > 1) {
                panic!("{job} of {due} was done {done} times");
            }
            let Some(table) = timetables.first() else { continue };
            let mut due = table.next(from).unwrap();
            while let Some(next) = table.next(due).filter(|next| *next < until) {
                let (done, tried) = runs.get(&due).copied().unwrap_or_default();
                // Nothing is known of these after a restart but from leases.
                let blind = !self.leases && !matches!(job.kind, JobKind::Backup | JobKind::Drill);
                if done == 0 && tried == 0 && !blind {
                    let awake = self.awake(due, next);
                    // So long it may wait for others.
                    let wait = SignedDuration::from_hours(3);
                    assert!(awake < wait, "{job} of {due} was missed: there were {awake:#} to run it");
                }
                due = next;
            }
        }
    }

    fn awake(&self, from: Timestamp, to: Timestamp) -> SignedDuration {
        let mut awake = to.duration_since(from);
        for (begins, ends) in &self.outages {
            let (begins, ends) = ((*begins).clamp(from, to), (*ends).clamp(from, to));
            awake = awake.checked_sub(ends.duration_since(begins)).unwrap();
        }
        awake
    }
}

#[track_caller]
fn simulate(profile: &str) {
    for (zone, seed) in [("Europe/Zurich", 7), ("America/New_York", 4711)] {
        for leases in [true, false] {
            let mut year = Year::new(profile, zone, leases, seed);
            let from = year.now;
            let until = "2027-12-31T00:00:00Z".parse().unwrap();
            year.run(until);
            // What began in the last days may not be over.
            let settled = until - SignedDuration::from_hours(14 * 24);
            year.check(year.all.first().copied().unwrap_or(from), settled);
            assert!(year.compared > 30, "{} comparisons", year.compared);
            assert!(year.outages.len() > 10, "{} outages", year.outages.len());
        }
    }
}

#[test]
fn production_keeps_its_sets_and_runs_each_time_once_for_two_years() {
    simulate("production");
}

#[test]
fn staging_keeps_its_sets_and_runs_each_time_once_for_two_years() {
    simulate("staging");
}

#[test]
fn latest_only_keeps_its_set_and_runs_each_time_once_for_two_years() {
    simulate("latest-only");
}

#[test]
fn development_keeps_its_sets_of_backups_that_people_make() {
    simulate("development");
}
