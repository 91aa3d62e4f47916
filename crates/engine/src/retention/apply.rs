//! Applying a policy to the snapshots of one group.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::{Count, Policy, Span};

/// What a policy looks at in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its full id.
    pub id: String,
    /// When it was taken.
    pub time: Timestamp,
    /// Its tags.
    pub tags: Vec<String>,
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It has all tags of one of the lists.
    Tags(Vec<String>),
    /// It is this close to the newest.
    Within(Span),
    /// One of the newest of its kind: `last`, `hourly`, `daily`, `weekly`, `monthly`, `yearly`.
    Newest(&'static str),
    /// The oldest snapshot of all, kept because fewer than wanted exist of this kind.
    Oldest(&'static str),
    /// The newest of its hour, day, week, month or year, this close to the newest of all.
    NewestWithin(&'static str, Span),
    /// The oldest snapshot of all that is this close.
    OldestWithin(&'static str, Span),
    /// Nothing but `max` is set, and it is among the newest so many.
    Max,
    /// Only the newest is kept.
    LatestOnly,
    /// No rule keeps it, but it is the newest of its source that can be read.
    LastGood,
    /// No rule keeps it, but it is the newest of its source that a drill has proven.
    LastProven,
    /// No snapshot of its source is whole, so that nothing can be said about which one matters.
    NoneGood,
    /// It claims to be from the future, so that no rule can judge it.
    Future,
}

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Its full id.
    pub id: String,
    /// Why it stays. Empty: it goes.
    pub reasons: Vec<Reason>,
}

impl Decision {
    /// Whether it stays.
    pub fn stays(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// Snapshots whose time is further ahead than this are from the future; clocks differ by less.
const CLOCKS_DIFFER: i64 = 5 * 60;

/// Decides about every snapshot of a group, newest first, by the calendar of `zone`.
///
/// Snapshots from the future stay and are not counted, so that a wrong clock (or somebody who sets one) does not push others
/// out. An empty policy keeps nothing; do not apply one.
pub fn apply(policy: &Policy, group: &[Candidate], now: Timestamp, zone: &TimeZone) -> Vec<Decision> {
    let mut newest_first: Vec<&Candidate> = group.iter().collect();
    newest_first.sort_by(|a, b| (b.time, &b.id).cmp(&(a.time, &a.id)));
    let future = newest_first.iter().take_while(|s| is_future(s.time, now)).count();
    let (ahead, past) = newest_first.split_at(future);
    let mut decisions: Vec<Decision> =
        ahead.iter().map(|s| Decision { id: s.id.clone(), reasons: vec![Reason::Future] }).collect();
    decisions.extend(rules(policy, past, zone));
    decisions
}

/// Whether a snapshot claims to have been taken later than now.
pub fn is_future(time: Timestamp, now: Timestamp) -> bool {
    time.as_second().saturating_sub(now.as_second()) > CLOCKS_DIFFER
}

/// restic's rules. `past` is newest first.
fn rules(policy: &Policy, past: &[&Candidate], zone: &TimeZone) -> Vec<Decision> {
    let Some(latest) = past.first().map(|newest| newest.time) else { return Vec::new() };
    let mut kinds = Kinds::of(policy, latest, zone);
    let within = (!policy.within.is_zero()).then(|| policy.within.before(latest, zone));
    let mut decisions = Vec::with_capacity(past.len());
    for (number, snapshot) in past.iter().enumerate() {
        let mut reasons = Vec::new();
        for list in &policy.tags {
            if list.iter().all(|tag| snapshot.tags.contains(tag)) {
                reasons.push(Reason::Tags(list.clone()));
            }
        }
        if within.is_some_and(|start| snapshot.time > start) {
            reasons.push(Reason::Within(policy.within));
        }
        kinds.judge(snapshot.time.to_zoned(zone.clone()), number, number + 1 == past.len(), &mut reasons);
        if policy.latest_only && number == 0 {
            reasons.push(Reason::LatestOnly);
        }
        decisions.push(Decision { id: snapshot.id.clone(), reasons });
    }
    if let Some(max) = policy.max {
        limit(policy, max as usize, &mut decisions);
    }
    decisions
}

/// Of those that stay, only the newest `max` do; where there is no other rule, all would stay.
fn limit(policy: &Policy, max: usize, decisions: &mut [Decision]) {
    if (Policy { max: None, ..policy.clone() }).is_empty() {
        for decision in decisions.iter_mut() {
            decision.reasons.push(Reason::Max);
        }
    }
    for decision in decisions.iter_mut().filter(|decision| decision.stays()).skip(max) {
        decision.reasons.clear();
    }
}

/// The calendar's periods, each with its counter.
struct Kinds {
    counted: Vec<Counted>,
    within: Vec<WithinKind>,
}

struct Counted {
    name: &'static str,
    period: Period,
    left: Count,
    last: Option<Place>,
}

struct WithinKind {
    name: &'static str,
    period: Period,
    span: Span,
    start: Timestamp,
    last: Option<Place>,
}

#[derive(Clone, Copy)]
enum Period {
    Each,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// Which hour, day, … it is: the same value for all times within it.
type Place = (i64, i64);

impl Period {
    /// In which period of this kind a time lies. `number` tells all snapshots apart.
    fn of(self, time: &Zoned, number: usize) -> Place {
        let date: Date = time.date();
        let day = i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day());
        match self {
            Self::Each => (number as i64, 0),
            // By the clock on the wall, as restic: the hour that is repeated in autumn is one hour.
            Self::Hour => (day, i64::from(time.hour())),
            Self::Day => (day, 0),
            Self::Week => {
                let week = date.iso_week_date();
                (i64::from(week.year()), i64::from(week.week()))
            }
            Self::Month => (i64::from(date.year()), i64::from(date.month())),
            Self::Year => (i64::from(date.year()), 0),
        }
    }
}

impl Kinds {
    fn of(policy: &Policy, latest: Timestamp, zone: &TimeZone) -> Self {
        let counted = [
            ("last", Period::Each, policy.last),
            ("hourly", Period::Hour, policy.hourly),
            ("daily", Period::Day, policy.daily),
            ("weekly", Period::Week, policy.weekly),
            ("monthly", Period::Month, policy.monthly),
            ("yearly", Period::Year, policy.yearly),
        ];
        let within = [
            ("hourly", Period::Hour, policy.within_hourly),
            ("daily", Period::Day, policy.within_daily),
            ("weekly", Period::Week, policy.within_weekly),
            ("monthly", Period::Month, policy.within_monthly),
            ("yearly", Period::Year, policy.within_yearly),
        ];
        Self {
            counted: counted
                .into_iter()
                .map(|(name, period, left)| Counted { name, period, left, last: None })
                .collect(),
            within: within
                .into_iter()
                .filter(|(_, _, span)| !span.is_zero())
                .map(|(name, period, span)| WithinKind {
                    name,
                    period,
                    span,
                    start: span.before(latest, zone),
                    last: None,
                })
                .collect(),
        }
    }

    fn judge(&mut self, time: Zoned, number: usize, oldest: bool, reasons: &mut Vec<Reason>) {
        for kind in &mut self.counted {
            if kind.left == Count::None {
                continue;
            }
            let period = kind.period.of(&time, number);
            let new = kind.last != Some(period);
            // The oldest one extends the history while some of the count is left.
            if new || oldest {
                kind.last = Some(period);
                kind.left = kind.left.one_less();
                reasons.push(if new { Reason::Newest(kind.name) } else { Reason::Oldest(kind.name) });
            }
        }
        for kind in self.within.iter_mut().filter(|kind| time.timestamp() > kind.start) {
            let period = kind.period.of(&time, number);
            let new = kind.last != Some(period);
            if new || oldest {
                kind.last = Some(period);
                reasons.push(match new {
                    true => Reason::NewestWithin(kind.name, kind.span),
                    false => Reason::OldestWithin(kind.name, kind.span),
                });
            }
        }
    }
}

impl Count {
    fn one_less(self) -> Self {
        match self {
            Self::Newest(number) if number > 1 => Self::Newest(number - 1),
            Self::Newest(_) | Self::None => Self::None,
            Self::All => Self::All,
        }
    }
}
