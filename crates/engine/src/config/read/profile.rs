//! `[profile.NAME]`: retention and maintenance.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::EngineError;
use crate::config::{MaxUnused, ProfileEntry};
use crate::retention::{Count, Policy, Span};

const PROFILE_KEYS: [&str; 3] = ["keep", "recompress_after", "max_unused"];
const KEEP_KEYS: [&str; 15] = [
    "last",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "yearly",
    "within",
    "within_hourly",
    "within_daily",
    "within_weekly",
    "within_monthly",
    "within_yearly",
    "tags",
    "max",
    "latest_only",
];

impl Reader<'_> {
    pub(super) fn profile(
        &self,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<ProfileEntry, EngineError> {
        let section = format!("profile.{}", name.get_ref());
        let DeValue::Table(table) = value.get_ref() else {
            let problem = format!("`{}` directly in [profile] has no meaning", name.get_ref());
            return Err(self
                .wrong(name.span().start, problem)
                .hint("every profile has a section with its own name, such as [profile.production]"));
        };
        for schedule in ["backup", "drill"] {
            if table.get(schedule).is_some() {
                let at = self.position(table, schedule);
                return Err(self
                    .wrong(
                        at,
                        format!("`{schedule}` in [{section}]: this version has no schedules of its own"),
                    )
                    .hint(format!(
                        "remove the line and let cron or a systemd timer run `basekeep {schedule}`"
                    )));
            }
        }
        self.check_keys(table, &format!("in [{section}]"), &PROFILE_KEYS)?;
        let keep = match table.get("keep") {
            Some(value) => Some(self.keep(value, &section)?),
            None => None,
        };
        Ok(ProfileEntry {
            name: name.get_ref().clone().into_owned(),
            keep,
            recompress_after: self.parsed(table, "recompress_after", str::parse::<Span>)?,
            max_unused: self.parsed(table, "max_unused", str::parse::<MaxUnused>)?,
        })
    }

    fn keep(&self, value: &Spanned<DeValue<'_>>, section: &str) -> Result<Policy, EngineError> {
        let at = value.span().start;
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self
                .wrong(at, "`keep` must say what is kept")
                .hint("write it as keep = { within = \"30d\", monthly = 12 }"));
        };
        self.check_keys(table, &format!("in keep of [{section}]"), &KEEP_KEYS)?;
        let within = |key| Ok::<_, EngineError>(self.parsed(table, key, str::parse)?.unwrap_or_default());
        let max = match self.count(table, "max")? {
            Count::Newest(number) => Some(number),
            Count::None | Count::All => None,
        };
        let policy = Policy {
            last: self.count(table, "last")?,
            hourly: self.count(table, "hourly")?,
            daily: self.count(table, "daily")?,
            weekly: self.count(table, "weekly")?,
            monthly: self.count(table, "monthly")?,
            yearly: self.count(table, "yearly")?,
            within: within("within")?,
            within_hourly: within("within_hourly")?,
            within_daily: within("within_daily")?,
            within_weekly: within("within_weekly")?,
            within_monthly: within("within_monthly")?,
            within_yearly: within("within_yearly")?,
            tags: self.tag_lists(table)?,
            max,
            latest_only: self.boolean(table, "latest_only")?.unwrap_or(false),
        };
        policy.check().map_err(|why| {
            self.wrong(at, format!("keep of [{section}] {why}"))
                .hint("write it as keep = { within = \"30d\", monthly = 12 }")
        })?;
        Ok(policy)
    }

    /// A number from 0, or "unlimited", or -1, which means the same.
    fn count(&self, table: &DeTable<'_>, key: &str) -> Result<Count, EngineError> {
        let Some(value) = table.get(key) else { return Ok(Count::None) };
        let text = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::String(text) => text,
            _ => "",
        };
        text.parse().map_err(|_| {
            self.wrong(value.span().start, format!("`{key}` must be a number from 0, or \"unlimited\""))
        })
    }

    /// As restic's --keep-tag: a snapshot with all tags of one list stays; a list is separated by commas.
    fn tag_lists(&self, table: &DeTable<'_>) -> Result<Vec<Vec<String>>, EngineError> {
        let mut lists = Vec::new();
        for (at, text) in self.strings(table, "tags")? {
            let list: Vec<String> =
                text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
            if list.is_empty() {
                return Err(self.wrong(at, "an empty tag would keep everything"));
            }
            lists.push(list);
        }
        Ok(lists)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{parse, refused};
    use super::*;

    #[test]
    fn profiles_say_what_is_kept() {
        let config = parse(
            "[source.a]\nurl = \"x\"\nprofile = \"production\"\n[source.b]\nurl = \"x\"\n\
             [profile.production]\nrecompress_after = \"7d\"\nmax_unused = \"10%\"\n\
             keep = { last = 3, hourly = \"unlimited\", daily = -1, yearly = 1_0, within = \"30d\", \
             within_monthly = \"1y\", tags = [\"a,b\", \"c\"], max = 50 }\n",
        )
        .unwrap();
        let profile = config.profile_of("a").unwrap();
        assert_eq!(profile.name, "production");
        assert_eq!(profile.max_unused, Some(MaxUnused::Percent(10.0)));
        assert_eq!(profile.recompress_after, Some("7d".parse().unwrap()));
        let keep = profile.keep.clone().unwrap();
        let expected = Policy {
            last: Count::Newest(3),
            hourly: Count::All,
            daily: Count::All,
            yearly: Count::Newest(10),
            within: "30d".parse().unwrap(),
            within_monthly: "1y".parse().unwrap(),
            tags: vec![vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]],
            max: Some(50),
            ..Policy::default()
        };
        assert_eq!(keep, expected);
        assert!(config.profile_of("b").is_none());
    }

    #[test]
    fn profiles_that_make_no_sense_are_refused() {
        let profile = |line: &str| format!("[profile.p]\n{line}\n");
        let at = |problem: &str| format!("/project/basekeep.toml:2: {problem}");
        refused(&profile("keep = {}"), &at("keep of [profile.p] keeps nothing"), "within");
        refused(&profile("keep = { daily = 0 }"), &at("keep of [profile.p] keeps nothing"), "within");
        refused(
            &profile("keep = { latest_only = true, daily = 2 }"),
            &at("keep of [profile.p] says `latest_only`, which no other rule goes with"),
            "within",
        );
        refused(
            &profile("keep = { dayly = 2 }"),
            &at("unknown key `dayly` in keep of [profile.p]"),
            "did you mean `daily`?",
        );
        refused(
            &profile("keep = { daily = 1.5 }"),
            &at("`daily` must be a number from 0, or \"unlimited\""),
            "",
        );
        refused(
            &profile("keep = { within = \"30\" }"),
            &at("`within`: '30' is no span of time: a unit is missing; they are y, m (months), w, d and h"),
            "",
        );
        refused(&profile("keep = { tags = [\" \"] }"), &at("an empty tag would keep everything"), "");
        refused(&profile("keep = 5"), &at("`keep` must say what is kept"), "within");
        refused(
            &profile("backup = \"0 */6 * * *\""),
            &at("`backup` in [profile.p]: this version has no schedules of its own"),
            "cron",
        );
        refused(
            "[profile]\nkeep = 5\n",
            &at("`keep` directly in [profile] has no meaning"),
            "[profile.production]",
        );
    }

    #[test]
    fn a_source_names_a_profile_that_exists() {
        let source = "[source.a]\nurl = \"x\"\nprofile = \"produktion\"\n";
        let message = "/project/basekeep.toml:3: there is no profile 'produktion' in this file";
        refused(source, message, "add a section [profile.produktion]");
        refused(&format!("{source}[profile.production]\n"), message, "did you mean 'production'?");
    }
}
