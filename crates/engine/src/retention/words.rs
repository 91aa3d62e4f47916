//! Policies and reasons in words.

use std::fmt;

use super::{Count, Policy, Reason};
use crate::words::count;

impl fmt::Display for Policy {
    /// `the newest 3, 7 daily, all monthly, everything within 30d, tags a,b, at most 50`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match self.last {
            Count::None => {}
            Count::Newest(number) => parts.push(format!("the newest {}", count(u64::from(number)))),
            Count::All => parts.push("all".to_owned()),
        }
        let counted = [
            (self.hourly, "hourly"),
            (self.daily, "daily"),
            (self.weekly, "weekly"),
            (self.monthly, "monthly"),
            (self.yearly, "yearly"),
        ];
        for (number, name) in counted {
            match number {
                Count::None => {}
                Count::Newest(number) => parts.push(format!("{} {name}", count(u64::from(number)))),
                Count::All => parts.push(format!("all {name}")),
            }
        }
        let within = [
            (self.within, "everything"),
            (self.within_hourly, "hourly"),
            (self.within_daily, "daily"),
            (self.within_weekly, "weekly"),
            (self.within_monthly, "monthly"),
            (self.within_yearly, "yearly"),
        ];
        for (span, name) in within.into_iter().filter(|(span, _)| !span.is_zero()) {
            parts.push(format!("{name} within {span}"));
        }
        parts.extend(self.tags.iter().map(|list| format!("tags {}", list.join(","))));
        if self.latest_only {
            parts.push("only the newest".to_owned());
        }
        parts.extend(self.max.map(|max| format!("at most {}", count(u64::from(max)))));
        f.write_str(&parts.join(", "))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tags(list) => write!(f, "tags {}", list.join(",")),
            Self::Within(span) => write!(f, "within {span}"),
            Self::Newest(kind) => f.write_str(kind),
            Self::Oldest(kind) => write!(f, "oldest {kind}"),
            Self::NewestWithin(kind, span) => write!(f, "{kind} within {span}"),
            Self::OldestWithin(kind, span) => write!(f, "oldest {kind} within {span}"),
            Self::Max => f.write_str("among the newest"),
            Self::LatestOnly => f.write_str("newest"),
            Self::LastGood => f.write_str("last good one of its source"),
            Self::LastProven => f.write_str("last proven one of its source"),
            Self::NoneGood => f.write_str("no snapshot of its source is whole"),
            Self::Future => f.write_str("from the future"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_read_like_sentences() {
        let policy = Policy {
            last: Count::Newest(3),
            monthly: Count::All,
            within: "30d".parse().unwrap(),
            within_yearly: "1y6m".parse().unwrap(),
            tags: vec![vec!["a".to_owned(), "b".to_owned()]],
            max: Some(1000),
            ..Policy::default()
        };
        assert_eq!(
            policy.to_string(),
            "the newest 3, all monthly, everything within 30d, yearly within 1y6m, tags a,b, at most 1,000"
        );
        assert_eq!(Policy { latest_only: true, ..Policy::default() }.to_string(), "only the newest");
        assert_eq!(
            Reason::OldestWithin("daily", "7d".parse().unwrap()).to_string(),
            "oldest daily within 7d"
        );
    }
}
