//! A message: a title and a text in Markdown, and for programs what it says as data.

use basekeep_engine::config::Topic;
use basekeep_engine::monitor::{Finding, Severity};
use jiff::Timestamp;
use serde::Serialize;

/// Items that a text lists; the rest is counted.
const SHOWN: usize = 25;

/// How a message looks, and what it means to programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Something is well again.
    Good,
    /// Something to know.
    Note,
    /// Somebody should look at it.
    Warning,
    /// Somebody must look at it.
    Critical,
}

impl From<Severity> for Level {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }
}

/// What happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It began, or became worse.
    Firing,
    /// It still goes on.
    Continuing,
    /// It is over.
    Recovered,
}

/// One alert in a message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    /// What happened to it.
    pub state: Change,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
    /// Since when it goes on, or went on.
    pub began: Timestamp,
}

/// Something that channels carry.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What it is about; channels choose by it.
    pub topic: Topic,
    /// How urgent it is.
    pub level: Level,
    /// One line without markup.
    pub title: String,
    /// The text, in Markdown that reads well as it is.
    pub text: String,
    /// The sources that it is about; empty for all of them.
    pub sources: Vec<String>,
    /// The alerts, in messages about them.
    pub items: Vec<Item>,
    /// When it was written.
    pub time: Timestamp,
}

impl Message {
    /// A titled text, such as a digest or a summary of a run.
    pub fn new(topic: Topic, title: impl Into<String>, text: impl Into<String>, time: Timestamp) -> Self {
        Self {
            topic,
            level: Level::Note,
            title: title.into(),
            text: text.into(),
            sources: Vec::new(),
            items: Vec::new(),
            time,
        }
    }

    /// The same about one source.
    pub fn about(mut self, source: impl Into<String>) -> Self {
        self.sources.push(source.into());
        self
    }

    /// The same with another urgency.
    pub fn level(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// Several alerts in one message. `None` without any.
    pub fn of_items(items: Vec<Item>, time: Timestamp) -> Option<Self> {
        let worst = |item: &Item| match item.state {
            Change::Recovered => Level::Good,
            Change::Firing | Change::Continuing => item.finding.severity.into(),
        };
        let level = items.iter().map(worst).max()?;
        let mut sources: Vec<String> = items.iter().filter_map(|item| item.finding.source.clone()).collect();
        sources.sort();
        sources.dedup();
        Some(Self {
            topic: Topic::Alerts,
            level,
            title: title(&items, &sources),
            text: text(&items),
            sources,
            items,
            time,
        })
    }

    /// What of it concerns these sources; `None` if nothing does.
    pub fn only(&self, sources: &[String]) -> Option<Self> {
        if self.items.is_empty() {
            let meant = self.sources.is_empty() || self.sources.iter().any(|name| sources.contains(name));
            return meant.then(|| self.clone());
        }
        let meant = |item: &&Item| item.finding.source.as_ref().is_none_or(|name| sources.contains(name));
        Self::of_items(self.items.iter().filter(meant).cloned().collect(), self.time)
    }
}

fn place(finding: &Finding) -> &str {
    finding.source.as_deref().unwrap_or("repository")
}

fn title(items: &[Item], sources: &[String]) -> String {
    let title = match items {
        [one] => {
            let state = match one.state {
                Change::Firing => "",
                Change::Continuing => "still: ",
                Change::Recovered => "over: ",
            };
            format!("basekeep: {state}{}: {}", place(&one.finding), one.finding.message)
        }
        _ => {
            let over = items.iter().filter(|item| item.state == Change::Recovered).count();
            let going = items.len() - over;
            let count = match (going, over) {
                (0, over) => format!("{over} alerts are over"),
                (1, 0) => "1 alert".to_owned(),
                (going, 0) => format!("{going} alerts"),
                (going, over) => format!("{going} alert{}, {over} over", if going == 1 { "" } else { "s" }),
            };
            match sources.len() {
                0 => format!("basekeep: {count}"),
                1..=3 => format!("basekeep: {count} ({})", sources.join(", ")),
                number => format!("basekeep: {count} ({number} sources)"),
            }
        }
    };
    title.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

fn text(items: &[Item]) -> String {
    let mut text = String::new();
    for item in items.iter().take(SHOWN) {
        let finding = &item.finding;
        let head = match (item.state, finding.severity) {
            (Change::Recovered, _) => "over",
            (Change::Continuing, _) => "still",
            (Change::Firing, Severity::Warning) => "warning",
            (Change::Firing, Severity::Critical) => "CRITICAL",
        };
        text += &format!(
            "- **{head}** {}: {}\n  since {}\n",
            place(finding),
            finding.message.replace('\n', " "),
            item.began.strftime("%Y-%m-%d %H:%M UTC"),
        );
        if item.state != Change::Recovered {
            text += &format!("  run: `{}`\n", finding.command);
        }
    }
    if items.len() > SHOWN {
        text += &format!("- and {} more: `basekeep alert list`\n", items.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(source: &str, state: Change) -> Item {
        let finding = Finding::of_source(
            source,
            "backup-age",
            Severity::Critical,
            "the newest backup is 30 hours old",
            format!("basekeep backup {source}"),
        );
        Item { state, finding, began: "2026-11-22T03:04:05Z".parse().unwrap() }
    }

    #[test]
    fn a_message_says_what_since_when_and_what_to_run() {
        let now = Timestamp::UNIX_EPOCH;
        let one = Message::of_items(vec![item("shop", Change::Firing)], now).unwrap();
        assert_eq!(one.title, "basekeep: shop: the newest backup is 30 hours old");
        assert_eq!(
            one.text,
            "- **CRITICAL** shop: the newest backup is 30 hours old\n  since 2026-11-22 03:04 UTC\n  \
             run: `basekeep backup shop`\n"
        );
        assert_eq!(one.level, Level::Critical);
        let over = Message::of_items(vec![item("shop", Change::Recovered)], now).unwrap();
        assert_eq!((over.level, over.text.contains("run:")), (Level::Good, false));
    }

    #[test]
    fn several_are_one_message_that_can_be_narrowed() {
        let items = vec![item("a", Change::Firing), item("b", Change::Recovered)];
        let both = Message::of_items(items, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(both.title, "basekeep: 1 alert, 1 over (a, b)");
        let narrowed = both.only(&["b".to_owned()]).unwrap();
        assert_eq!(narrowed.title, "basekeep: over: b: the newest backup is 30 hours old");
        assert!(both.only(&["c".to_owned()]).is_none());
        let digest = Message::new(Topic::Digest, "t", "x", Timestamp::UNIX_EPOCH);
        assert!(digest.only(&["c".to_owned()]).is_some(), "a digest is for everybody");
    }
}
