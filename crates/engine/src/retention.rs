//! Which snapshots a retention policy keeps, and why. Pure: no repository, no clock of its own.
//!
//! The rules are restic's, with its exact meaning, plus two of ours: `max` and `latest_only`.

mod apply;
mod span;
mod words;

pub use apply::{Candidate, Decision, Reason, apply, is_future};
pub use span::Span;

/// How many snapshots of a kind are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Count {
    /// The rule is not set.
    #[default]
    None,
    /// The newest this many.
    Newest(u32),
    /// All of them (restic's `unlimited`, or -1).
    All,
}

/// What to keep. Everything that no rule keeps goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest snapshots.
    pub last: Count,
    /// The newest snapshot of each of the newest hours that have one.
    pub hourly: Count,
    /// Of each day.
    pub daily: Count,
    /// Of each ISO week.
    pub weekly: Count,
    /// Of each month.
    pub monthly: Count,
    /// Of each year.
    pub yearly: Count,
    /// Everything this close to the newest snapshot of the group.
    pub within: Span,
    /// The newest of each hour this close to the newest snapshot.
    pub within_hourly: Span,
    /// Of each day.
    pub within_daily: Span,
    /// Of each ISO week.
    pub within_weekly: Span,
    /// Of each month.
    pub within_monthly: Span,
    /// Of each year.
    pub within_yearly: Span,
    /// Everything that has all tags of one of these lists.
    pub tags: Vec<Vec<String>>,
    /// Of what the other rules keep, never more than the newest this many. Alone, it is the same as `last`.
    pub max: Option<u32>,
    /// Only the newest snapshot. No other rule goes with it.
    pub latest_only: bool,
}

impl Policy {
    /// Whether no rule is set; such a policy would remove everything and is never applied.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Why the rules cannot be meant, as a phrase whose subject is the policy.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.is_empty() {
            return Err("keeps nothing");
        }
        if self.latest_only && *self != (Self { latest_only: true, ..Self::default() }) {
            return Err("says `latest_only`, which no other rule goes with");
        }
        Ok(())
    }
}

impl std::str::FromStr for Count {
    type Err = String;

    /// A number, `unlimited`, or `-1`, which means the same.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "unlimited" | "-1" => Ok(Self::All),
            number => match number.parse() {
                Ok(0) => Ok(Self::None),
                Ok(number) => Ok(Self::Newest(number)),
                Err(_) => Err(format!("'{}' is neither a number nor `unlimited`", number.escape_debug())),
            },
        }
    }
}
