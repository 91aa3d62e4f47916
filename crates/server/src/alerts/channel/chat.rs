//! Slack, Discord and Microsoft Teams: one POST each, in their own words.

use basekeep_engine::EngineError;
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::{SendError, http};
use crate::alerts::message::{Level, Message};

/// Whose words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Slack,
    Discord,
    Teams,
}

#[derive(Debug)]
pub(super) struct Chat {
    style: Style,
    client: Client,
    url: Url,
}

impl Chat {
    pub(super) fn new(style: Style, url: Url) -> Result<Self, EngineError> {
        Ok(Self { style, client: http::client()?, url })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), SendError> {
        let body = match self.style {
            Style::Slack => slack(message),
            Style::Discord => discord(message),
            Style::Teams => teams(message),
        };
        let headers = [("content-type", "application/json".to_owned())];
        http::post(&self.client, &self.url, &headers, body.to_string().into_bytes()).await
    }
}

/// The services cut or refuse longer texts.
fn cut(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let end = "\n… (cut)";
    text.chars().take(characters - end.chars().count()).chain(end.chars()).collect()
}

fn sign(level: Level) -> &'static str {
    match level {
        Level::Good => "🟢",
        Level::Note => "🔵",
        Level::Warning => "🟠",
        Level::Critical => "🔴",
    }
}

/// Slack's `mrkdwn`: `*bold*`; `&`, `<` and `>` escaped, so that no name can mention people or make links.
fn slack(message: &Message) -> Value {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text = escape(&message.text).replace("**", "*");
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.trim_start_matches('#') {
            // A heading.
            rest if rest.len() < line.len() && rest.starts_with(' ') => format!("*{}*", rest.trim()),
            _ => line.to_owned(),
        })
        .collect();
    let head = format!("{} *{}*", sign(message.level), escape(&message.title));
    json!({ "text": cut(&format!("{head}\n{}", lines.join("\n")), 12_000) })
}

/// Nobody is mentioned, whatever a name looks like.
fn discord(message: &Message) -> Value {
    let text = format!("{} **{}**\n{}", sign(message.level), message.title, message.text);
    json!({ "content": cut(&text, 2_000), "allowed_mentions": { "parse": [] } })
}

/// An adaptive card, as workflows ("Post to a channel when a webhook request is received") take it.
fn teams(message: &Message) -> Value {
    let colour = match message.level {
        Level::Good => "Good",
        Level::Note => "Accent",
        Level::Warning => "Warning",
        Level::Critical => "Attention",
    };
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": [
                    { "type": "TextBlock", "text": message.title, "weight": "Bolder", "size": "Medium",
                      "color": colour, "wrap": true },
                    { "type": "TextBlock", "text": cut(&message.text, 15_000), "wrap": true },
                ],
            },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use basekeep_engine::config::Topic;

    fn message(text: &str) -> Message {
        Message::new(Topic::Digest, "a <title> & more", text, jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn names_can_neither_mention_people_nor_make_links() {
        let text = slack(&message("## Week\n- **over** <!channel> @everyone"));
        assert_eq!(
            text["text"],
            "🔵 *a &lt;title&gt; &amp; more*\n*Week*\n- *over* &lt;!channel&gt; @everyone"
        );
        assert_eq!(discord(&message("@everyone"))["allowed_mentions"]["parse"], json!([]));
    }

    #[test]
    fn long_texts_are_cut_where_the_service_would_refuse_them() {
        let long = message(&"ä".repeat(20_000));
        let content = discord(&long)["content"].as_str().unwrap().to_owned();
        assert_eq!(content.chars().count(), 2_000);
        assert!(content.ends_with("… (cut)"));
        let card = teams(&long);
        let text = card["attachments"][0]["content"]["body"][1]["text"].as_str().unwrap();
        assert_eq!(text.chars().count(), 15_000);
    }
}
