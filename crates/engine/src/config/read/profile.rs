//! `[profile.NAME]`: schedules, retention and maintenance.

use std::borrow::Cow;
use std::time::Duration;

use jiff::tz::TimeZone;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::EngineError;
use crate::config::{MaxUnused, ProfileEntry, Schedule, span};
use crate::retention::{Count, Policy, Span};

const PROFILE_KEYS: [&str; 10] = [
    "backup",
    "drill",
    "keep",
    "prune",
    "check",
    "replicas",
    "timezone",
    "jitter",
    "recompress_after",
    "max_unused",
];
/// The longest jitter. More would take a run past the next one of its schedule.
const LONGEST_JITTER: Duration = Duration::from_secs(24 * 3600);
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
        self.check_keys(table, &format!("in [{section}]"), &PROFILE_KEYS)?;
        let name = name.get_ref();
        // What a built-in profile says holds for keys that stand not here.
        let mut profile = ProfileEntry::built_in(name)
            .unwrap_or_else(|| ProfileEntry { name: name.clone().into_owned(), ..ProfileEntry::default() });
        if let Some(value) = table.get("keep") {
            profile.keep = Some(self.keep(value, &section)?);
        }
        if let Some(age) = self.parsed(table, "recompress_after", str::parse::<Span>)? {
            profile.recompress_after = Some(age);
        }
        if let Some(limit) = self.parsed(table, "max_unused", str::parse::<MaxUnused>)? {
            profile.max_unused = Some(limit);
        }
        let schedules = [
            ("backup", &mut profile.backup),
            ("drill", &mut profile.drill),
            ("prune", &mut profile.prune),
            ("check", &mut profile.check),
            ("replicas", &mut profile.replicas),
        ];
        for (key, schedule) in schedules {
            if let Some(given) = self.parsed(table, key, when)? {
                *schedule = given;
            }
        }
        if let Some(zone) = self.parsed(table, "timezone", time_zone)? {
            profile.timezone = Some(zone);
        }
        if let Some(jitter) = self.parsed(table, "jitter", jitter)? {
            profile.jitter = jitter;
        }
        Ok(profile)
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

/// A schedule, or `never`, which takes away what a built-in profile says.
fn when(text: &str) -> Result<Option<Schedule>, String> {
    if text.trim() == "never" { Ok(None) } else { text.parse().map(Some) }
}

fn time_zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text.trim())
        .map_err(|_| format!("'{}' is no time zone; write it as Europe/Zurich or UTC", text.escape_debug()))
}

fn jitter(text: &str) -> Result<Duration, String> {
    match span(text)? {
        jitter if jitter > LONGEST_JITTER => Err("it is a day at most".to_owned()),
        jitter => Ok(jitter),
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
            &profile("backup = \"0 */6 * *\""),
            &at("`backup`: '0 */6 * *' is no schedule: write cron's five fields, such as \"0 */6 * * *\": \
                 minute, hour, day, month, weekday"),
            "",
        );
        refused(
            &profile("timezone = \"Europe/Zurigo\""),
            &at("`timezone`: 'Europe/Zurigo' is no time zone; write it as Europe/Zurich or UTC"),
            "",
        );
        refused(&profile("jitter = \"25h\""), &at("`jitter`: it is a day at most"), "");
        refused(
            &profile("drils = \"@daily\""),
            &at("unknown key `drils` in [profile.p]"),
            "did you mean `drill`?",
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
        refused(source, message, "did you mean 'production'?");
        let other = source.replace("produktion", "mine");
        let message = "/project/basekeep.toml:3: there is no profile 'mine' in this file";
        refused(&other, message, "the profiles are development, staging, production, latest-only");
        refused(&other, message, "add a section [profile.mine]");
    }

    #[test]
    fn schedules_stand_in_profiles() {
        let config = parse(
            "[profile.p]\nbackup = \"*/15 * * * *\"\ndrill = \"@weekly\"\nprune = \"never\"\ncheck = \"0 1 * * *\"\n\
             replicas = \"5 * * * *\"\ntimezone = \"Europe/Zurich\"\njitter = \"10m\"\n",
        );
        let config = config.unwrap();
        let profile = config.profile("p").unwrap();
        let cron = |schedule: &Option<Schedule>| schedule.as_ref().map(|s| s.cron().to_owned());
        assert_eq!(cron(&profile.backup).as_deref(), Some("*/15 * * * *"));
        assert_eq!(cron(&profile.drill).as_deref(), Some("0 0 * * 0"));
        assert_eq!(profile.prune, None);
        assert_eq!(profile.timezone, Some(TimeZone::get("Europe/Zurich").unwrap()));
        assert_eq!(profile.jitter, Duration::from_secs(600));
    }

    #[test]
    fn built_in_profiles_need_no_section_and_a_section_changes_its_keys_alone() {
        let source = "[source.a]\nurl = \"x\"\nprofile = \"production\"\n";
        let built_in = ProfileEntry::built_in("production").unwrap();
        assert_eq!(parse(source).unwrap().profile_of("a"), Some(&built_in));
        assert_eq!(parse(source).unwrap().profiles.len(), 1, "others are not there unless they are named");
        let section = "[profile.production]\nbackup = \"0 * * * *\"\ndrill = \"never\"\n";
        let config = parse(&format!("{source}{section}")).unwrap();
        let profile = config.profile_of("a").unwrap();
        assert_eq!(profile.keep, built_in.keep);
        assert_eq!(profile.prune, built_in.prune);
        assert_eq!(profile.backup.as_ref().map(Schedule::cron), Some("0 * * * *"));
        assert_eq!(profile.drill, None);
    }
}
