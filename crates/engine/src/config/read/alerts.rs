//! `[alerts]` and `[source.NAME.alerts]`.

use std::time::Duration;

use basekeep_postgres::Secret;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{PASSWORD_KEYS, Reader};
use crate::EngineError;
use crate::config::alerts::{
    AlertsEntry, ChannelEntry, ChannelKind, LIMIT_KEYS, Limits, SecretFrom, SmtpEntry, SmtpSecurity, Topic,
};
use crate::config::{PasswordFrom, expand, span};

const KINDS: [&str; 7] = ["webhook", "slack", "discord", "teams", "email", "ping", "command"];
const HINT: &str =
    "write it as notify = [{ slack_env = \"SLACK_WEBHOOK\" }, { email = \"ops@example.com\" }]";

impl Reader<'_> {
    pub(super) fn alerts(&self, value: &Spanned<DeValue<'_>>) -> Result<AlertsEntry, EngineError> {
        let table = self.table(value, "alerts")?;
        let known: Vec<&str> = LIMIT_KEYS.into_iter().chain(["notify", "repeat", "smtp", "digest"]).collect();
        self.check_keys(table, "in [alerts]", &known)?;
        let mut entry = AlertsEntry { limits: self.read_limits(table)?, ..AlertsEntry::default() };
        if let Some(text) = self.string(table, "repeat")? {
            entry.repeat = match text {
                "never" => None,
                _ => self.parsed(table, "repeat", span_of_days)?.filter(|time| !time.is_zero()),
            };
        }
        entry.digest = self.parsed(table, "digest", str::parse)?;
        if let Some(smtp) = table.get("smtp") {
            entry.smtp = Some(self.smtp(self.table(smtp, "alerts.smtp")?, smtp.span().start)?);
        }
        let Some(notify) = table.get("notify") else { return Ok(entry) };
        let DeValue::Array(channels) = notify.get_ref() else {
            return Err(self.wrong(notify.span().start, "`notify` must be a list of channels").hint(HINT));
        };
        for value in channels.iter() {
            let at = value.span().start;
            let DeValue::Table(table) = value.get_ref() else {
                return Err(self.wrong(at, "each of `notify` must be a table").hint(HINT));
            };
            let channel = self.channel(table, at, &entry.notify)?;
            if matches!(channel.kind, ChannelKind::Email { .. }) && entry.smtp.is_none() {
                return Err(self
                    .wrong(at, "mail needs a server")
                    .hint("add [alerts.smtp] with host, username, password_env and from"));
            }
            entry.notify.push(channel);
        }
        Ok(entry)
    }

    /// `[source.NAME.alerts]`: thresholds alone.
    pub(super) fn source_limits(&self, table: &DeTable<'_>, section: &str) -> Result<Limits, EngineError> {
        let Some(value) = table.get("alerts") else { return Ok(Limits::default()) };
        let inner = self.table(value, &format!("{section}.alerts"))?;
        if inner.get("notify").is_some() {
            let at = self.position(inner, "notify");
            return Err(self
                .wrong(at, "channels stand in [alerts] for all sources")
                .hint("a channel for one source has `sources = [\"NAME\"]` there"));
        }
        self.check_keys(inner, &format!("in [{section}.alerts]"), &LIMIT_KEYS)?;
        self.read_limits(inner)
    }

    fn read_limits(&self, table: &DeTable<'_>) -> Result<Limits, EngineError> {
        let mut limits = Limits::default();
        for key in LIMIT_KEYS {
            let Some(value) = table.get(key) else { continue };
            let number = match value.get_ref() {
                DeValue::String(text) if text == "off" => None,
                DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str()),
                DeValue::Float(number) => Some(number.as_str()),
                _ => Some(""),
            };
            let number = number.map(|text| text.replace('_', "").parse::<f64>().unwrap_or(f64::NAN));
            if number.is_some_and(|number| !number.is_finite() || number <= 0.0) {
                return Err(
                    self.wrong(value.span().start, format!("`{key}` must be a number above 0, or \"off\""))
                );
            }
            limits.0.insert(key, number);
        }
        Ok(limits)
    }

    fn smtp(&self, table: &DeTable<'_>, at: usize) -> Result<SmtpEntry, EngineError> {
        let known: Vec<&str> = ["host", "port", "security", "username", "from", "ca_file"]
            .into_iter()
            .chain(PASSWORD_KEYS)
            .collect();
        self.check_keys(table, "in [alerts.smtp]", &known)?;
        let required = |key: &str| {
            self.string(table, key)?.map(str::to_owned).ok_or_else(|| {
                self.wrong(at, format!("[alerts.smtp] has no {key}"))
                    .hint("it needs host and from, and mostly username and password_env")
            })
        };
        let security = self.parsed(table, "security", |text| match text {
            "starttls" => Ok(SmtpSecurity::StartTls),
            "tls" => Ok(SmtpSecurity::Tls),
            "none" => Ok(SmtpSecurity::None),
            other => Err(format!("'{}' is none of starttls, tls, none", other.escape_debug())),
        })?;
        let port = match table.get("port").map(|value| (value.span().start, value.get_ref())) {
            None => None,
            Some((at, DeValue::Integer(number))) => Some(
                number
                    .as_str()
                    .parse::<u16>()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| self.wrong(at, "`port` must be a number from 1 to 65535"))?,
            ),
            Some((at, _)) => return Err(self.wrong(at, "`port` must be a number from 1 to 65535")),
        };
        let security =
            security.unwrap_or(if port == Some(465) { SmtpSecurity::Tls } else { SmtpSecurity::StartTls });
        Ok(SmtpEntry {
            host: required("host")?,
            port: port.unwrap_or(match security {
                SmtpSecurity::StartTls => 587,
                SmtpSecurity::Tls => 465,
                SmtpSecurity::None => 25,
            }),
            security,
            username: self.string(table, "username")?.map(str::to_owned),
            password: self.password(table)?,
            from: required("from")?,
            ca_file: self.string(table, "ca_file")?.map(|path| expand(path, self.folder, self.env)),
        })
    }

    fn channel(
        &self,
        table: &DeTable<'_>,
        at: usize,
        before: &[ChannelEntry],
    ) -> Result<ChannelEntry, EngineError> {
        let has = |kind: &&str| keys_of(kind).iter().any(|key| table.contains_key(key.as_str()));
        let kinds: Vec<&str> = KINDS.into_iter().filter(has).collect();
        let kind = match kinds[..] {
            [one] => one,
            [] => {
                let known: Vec<String> = KINDS.iter().flat_map(|kind| keys_of(kind)).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).chain(COMMON).collect();
                self.check_keys(table, "in `notify`", &known)?;
                return Err(self.wrong(at, "a channel must say where to").hint(HINT));
            }
            [first, second, ..] => {
                return Err(self
                    .wrong(at, format!("`{first}` and `{second}` are two channels"))
                    .hint("give each its own { … }"));
            }
        };
        let more: &[&str] = match kind {
            "webhook" => &["secret"],
            "ping" => &["start", "fail"],
            _ => &[],
        };
        let mut known: Vec<String> = [kind].iter().chain(more).flat_map(|name| keys_of(name)).collect();
        known.extend(COMMON.map(str::to_owned));
        if kind == "ping" {
            known.extend(["plain", "job"].map(str::to_owned));
        }
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        self.check_keys(table, &format!("in the {kind} channel of `notify`"), &known)?;
        let url = || {
            self.secret_from(table, kind)?
                .ok_or_else(|| self.wrong(at, format!("the {kind} channel has no address")))
        };
        let parsed = match kind {
            "webhook" => ChannelKind::Webhook { url: url()?, secret: self.secret_from(table, "secret")? },
            "slack" => ChannelKind::Slack { url: url()? },
            "discord" => ChannelKind::Discord { url: url()? },
            "teams" => ChannelKind::Teams { url: url()? },
            "ping" => ChannelKind::Ping {
                url: url()?,
                start: self.secret_from(table, "start")?,
                fail: self.secret_from(table, "fail")?,
                plain: self.boolean(table, "plain")?.unwrap_or(false),
                job: self.string(table, "job")?.unwrap_or("backup").to_owned(),
            },
            "email" => {
                let to = match table.get("email").map(Spanned::get_ref) {
                    Some(DeValue::Array(_)) => {
                        self.strings(table, "email")?.into_iter().map(|(_, to)| to.to_owned()).collect()
                    }
                    _ => self.string(table, "email")?.map(str::to_owned).into_iter().collect::<Vec<_>>(),
                };
                if to.is_empty() || to.iter().any(|to| !to.contains('@')) {
                    return Err(self.wrong(at, "`email` must be an address, or a list of addresses"));
                }
                ChannelKind::Email { to }
            }
            _ => {
                ChannelKind::Command { line: Secret::new(self.string(table, "command")?.unwrap_or_default()) }
            }
        };
        let name = self.channel_name(table, at, kind, before)?;
        let sources: Vec<String> =
            self.strings(table, "sources")?.into_iter().map(|(_, name)| name.to_owned()).collect();
        Ok(ChannelEntry {
            name,
            kind: parsed,
            topics: self.topics(table)?,
            sources: (!sources.is_empty()).then_some(sources),
        })
    }

    fn channel_name(
        &self,
        table: &DeTable<'_>,
        at: usize,
        kind: &str,
        before: &[ChannelEntry],
    ) -> Result<String, EngineError> {
        let taken = |name: &str| before.iter().any(|channel| channel.name == name);
        match self.string(table, "name")? {
            Some(name) if taken(name) => {
                Err(self.wrong(at, format!("two channels are named '{}'", name.escape_debug())))
            }
            Some(name) => Ok(name.to_owned()),
            None => Ok(std::iter::once(kind.to_owned())
                .chain((2..).map(|number: u32| format!("{kind}-{number}")))
                .find(|name| !taken(name))
                .unwrap_or_else(|| kind.to_owned())),
        }
    }

    fn topics(&self, table: &DeTable<'_>) -> Result<Vec<Topic>, EngineError> {
        if table.get("topics").is_none() {
            return Ok(vec![Topic::Alerts, Topic::Digest]);
        }
        self.strings(table, "topics")?
            .into_iter()
            .map(|(at, word)| {
                Topic::ALL.into_iter().find(|topic| topic.word() == word).ok_or_else(|| {
                    self.wrong(at, format!("'{}' is none of alerts, digest, runs", word.escape_debug()))
                })
            })
            .collect()
    }

    /// `name`, `name_env`, `name_file` or `name_command`.
    fn secret_from(&self, table: &DeTable<'_>, name: &str) -> Result<Option<SecretFrom>, EngineError> {
        let mut found = None;
        for key in keys_of(name) {
            let Some(text) = self.string(table, &key)? else { continue };
            if let Some((other, _)) = found {
                let at = self.position(table, &key);
                return Err(self
                    .wrong(at, format!("`{other}` and `{key}` contradict each other"))
                    .hint("keep one of them"));
            }
            let from = match key.strip_prefix(name).unwrap_or_default() {
                "_env" => SecretFrom::From(PasswordFrom::Env(text.to_owned())),
                "_file" => SecretFrom::From(PasswordFrom::File(expand(text, self.folder, self.env))),
                "_command" => SecretFrom::From(PasswordFrom::Command(text.to_owned())),
                _ => SecretFrom::Here(Secret::new(text)),
            };
            found = Some((key, from));
        }
        Ok(found.map(|(_, from)| from))
    }
}

const COMMON: [&str; 3] = ["name", "topics", "sources"];

/// The keys by which something is given that may be secret.
fn keys_of(name: &str) -> Vec<String> {
    match name {
        "email" | "command" => vec![name.to_owned()],
        _ => ["", "_env", "_file", "_command"].iter().map(|end| format!("{name}{end}")).collect(),
    }
}

/// As [`span`], and days.
fn span_of_days(text: &str) -> Result<Duration, String> {
    match text.trim().strip_suffix('d').map(|days| days.trim().parse::<u32>()) {
        Some(Ok(days)) => Ok(Duration::from_secs(u64::from(days) * 86_400)),
        _ => span(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{parse, refused};
    use super::*;
    use crate::config::{AgeLimit, Thresholds};

    #[test]
    fn thresholds_of_a_source_come_before_those_of_all() {
        let config = parse(
            "[alerts]\ngrowth_daily_percent = 10\nbackup_age_hours = 24\ntable_rows = 10_000\nbackup_size_mb = 100\n\
             [source.a]\nurl = \"x\"\n[source.a.alerts]\ntable_rows = \"off\"\ngrowth_daily_percent = 2.5\n\
             [source.b]\nurl = \"x\"\n",
        )
        .unwrap();
        let of = |i: usize| Thresholds::of(&config.alerts.limits, &config.sources[i].alerts);
        assert_eq!((of(0).table_rows, of(1).table_rows), (None, Some(10_000)));
        assert_eq!((of(0).growth_daily_percent, of(1).growth_daily_percent), (Some(2.5), Some(10.0)));
        assert_eq!(of(0).backup_age, AgeLimit::After(Duration::from_secs(86_400)));
        assert_eq!(of(1).backup_bytes, Some(100 << 20));
        assert_eq!(Thresholds::default().backup_age, AgeLimit::Schedule);
    }

    #[test]
    fn channels_are_read_and_named() {
        let config = parse(
            "[alerts]\nrepeat = \"2d\"\nnotify = [{ webhook = \"https://h/geheim\", secret_env = \"S\" }, \
             { slack_env = \"SLACK\" }, { slack_file = \"~/s\", name = \"ops\", topics = [\"digest\"] }, \
             { slack_command = \"pass x\", sources = [\"a\"] }, { email = [\"a@b\", \"c@d\"] }, \
             { ping = \"https://p\", fail_env = \"F\", plain = true }, { command = \"notify geheim\" }]\n\
             [alerts.smtp]\nhost = \"mail\"\nfrom = \"b@c\"\nport = 465\nusername = \"u\"\npassword_env = \"P\"\n",
        )
        .unwrap();
        let alerts = &config.alerts;
        let names: Vec<&str> = alerts.notify.iter().map(|channel| channel.name.as_str()).collect();
        assert_eq!(names, ["webhook", "slack", "ops", "slack-2", "email", "ping", "command"]);
        assert_eq!(alerts.repeat, Some(Duration::from_secs(2 * 86_400)));
        assert_eq!(alerts.notify[2].topics, [Topic::Digest]);
        assert_eq!(alerts.notify[3].sources, Some(vec!["a".to_owned()]));
        assert_eq!(alerts.smtp.as_ref().unwrap().security, SmtpSecurity::Tls);
        assert!(!format!("{alerts:?}").contains("geheim"), "{alerts:?}");
    }

    #[test]
    fn channels_that_make_no_sense_are_refused() {
        let at = |problem: &str| format!("/project/basekeep.toml:2: {problem}");
        let notify = |text: &str| format!("[alerts]\nnotify = [{text}]\n");
        refused(
            &notify("{ slak_env = \"S\" }"),
            &at("unknown key `slak_env` in `notify`"),
            "did you mean `slack_env`?",
        );
        refused(&notify("{ name = \"a\" }"), &at("a channel must say where to"), "slack_env");
        refused(
            &notify("{ slack = \"a\", teams = \"b\" }"),
            &at("`slack` and `teams` are two channels"),
            "its own",
        );
        refused(
            &notify("{ slack = \"a\", slack_env = \"b\" }"),
            &at("`slack` and `slack_env` contradict each other"),
            "keep one",
        );
        refused(&notify("{ email = \"a@b\" }"), &at("mail needs a server"), "[alerts.smtp]");
        refused("[alerts]\ntable_rows = -1\n", &at("`table_rows` must be a number above 0, or \"off\""), "");
        refused(
            "[source.a]\nurl = \"x\"\n[source.a.alerts]\nnotify = []\n",
            "/project/basekeep.toml:4: channels stand in [alerts] for all sources",
            "sources",
        );
    }
}
