//! `--keep-…`: a policy on the command line, in restic's words.

use basekeep_engine::EngineError;
use basekeep_engine::retention::{Count, Policy, Span};
use clap::Args;

/// What to keep; everything else goes
#[derive(Debug, Clone, Default, Args)]
#[command(
    next_help_heading = "What to keep (N is a number or `unlimited`; D is like 30d, 2w, 12h or 1y5m7d2h)"
)]
pub(super) struct Rules {
    /// The newest N snapshots
    #[arg(long, short = 'l', value_name = "N")]
    keep_last: Option<Count>,
    /// The newest of each of the last N hours that have one
    #[arg(long, short = 'H', value_name = "N")]
    keep_hourly: Option<Count>,
    /// Of each of the last N days
    #[arg(long, short = 'd', value_name = "N")]
    keep_daily: Option<Count>,
    /// Of each of the last N weeks
    #[arg(long, short = 'w', value_name = "N")]
    keep_weekly: Option<Count>,
    /// Of each of the last N months
    #[arg(long, short = 'm', value_name = "N")]
    keep_monthly: Option<Count>,
    /// Of each of the last N years
    #[arg(long, short = 'y', value_name = "N")]
    keep_yearly: Option<Count>,
    /// Everything this close to the newest snapshot
    #[arg(long, value_name = "D")]
    keep_within: Option<Span>,
    /// The newest of each hour this close to the newest snapshot
    #[arg(long, value_name = "D")]
    keep_within_hourly: Option<Span>,
    /// Of each day
    #[arg(long, value_name = "D")]
    keep_within_daily: Option<Span>,
    /// Of each week
    #[arg(long, value_name = "D")]
    keep_within_weekly: Option<Span>,
    /// Of each month
    #[arg(long, value_name = "D")]
    keep_within_monthly: Option<Span>,
    /// Of each year
    #[arg(long, value_name = "D")]
    keep_within_yearly: Option<Span>,
    /// Everything with this tag, or with all of A,B; several: with one of them
    #[arg(long = "keep-tag", value_name = "TAGS")]
    keep_tags: Vec<String>,
    /// Of what the other rules keep, never more than the newest N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max: Option<u32>,
    /// Only the newest snapshot
    #[arg(long)]
    latest_only: bool,
}

impl Rules {
    /// The policy; `None` where no rule is given.
    pub(super) fn policy(&self) -> Result<Option<Policy>, EngineError> {
        let policy = Policy {
            last: self.keep_last.unwrap_or_default(),
            hourly: self.keep_hourly.unwrap_or_default(),
            daily: self.keep_daily.unwrap_or_default(),
            weekly: self.keep_weekly.unwrap_or_default(),
            monthly: self.keep_monthly.unwrap_or_default(),
            yearly: self.keep_yearly.unwrap_or_default(),
            within: self.keep_within.unwrap_or_default(),
            within_hourly: self.keep_within_hourly.unwrap_or_default(),
            within_daily: self.keep_within_daily.unwrap_or_default(),
            within_weekly: self.keep_within_weekly.unwrap_or_default(),
            within_monthly: self.keep_within_monthly.unwrap_or_default(),
            within_yearly: self.keep_within_yearly.unwrap_or_default(),
            tags: self.tag_lists()?,
            max: self.max,
            latest_only: self.latest_only,
        };
        if !self.any() {
            return Ok(None);
        }
        policy.check().map_err(|why| {
            EngineError::usage(format!("what the options say {why}"))
                .hint("give rules such as --keep-within 30d --keep-monthly 12, or name snapshots to remove")
        })?;
        Ok(Some(policy))
    }

    /// Whether a rule is given, be it one that keeps nothing.
    fn any(&self) -> bool {
        let counts = [
            self.keep_last,
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        ];
        let spans = [
            self.keep_within,
            self.keep_within_hourly,
            self.keep_within_daily,
            self.keep_within_weekly,
            self.keep_within_monthly,
            self.keep_within_yearly,
        ];
        counts.iter().any(Option::is_some)
            || spans.iter().any(Option::is_some)
            || !self.keep_tags.is_empty()
            || self.max.is_some()
            || self.latest_only
    }

    fn tag_lists(&self) -> Result<Vec<Vec<String>>, EngineError> {
        let split = |text: &String| {
            let tags = text.split(',').map(str::trim).filter(|tag| !tag.is_empty());
            let list: Vec<String> = tags.map(str::to_owned).collect();
            match list.is_empty() {
                true => Err(EngineError::usage("an empty --keep-tag would keep everything")),
                false => Ok(list),
            }
        };
        self.keep_tags.iter().map(split).collect()
    }
}
