//! The frame of every page: head, navigation, theme, and how errors look.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use basekeep_engine::ErrorKind;
use maud::{DOCTYPE, Markup, html};

use super::assets::address;
use super::guard::{CSRF, Caller, Theme};
use super::panel::{Answer, Outcome, PanelError, State};

/// A place in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Sources,
    Snapshots,
    Compare,
    Runs,
    Restore,
    None,
}

/// A page: title, place, content.
pub(crate) struct Page {
    pub(crate) title: String,
    pub(crate) place: Place,
    pub(crate) body: Markup,
    /// A script besides the common one.
    pub(crate) script: Option<&'static str>,
    /// Load it again after so many seconds where there are no scripts.
    pub(crate) again: Option<u32>,
}

impl Page {
    pub(crate) fn new(title: impl Into<String>, place: Place, body: Markup) -> Self {
        Self { title: title.into(), place, body, script: None, again: None }
    }
}

/// Renders what a page's function answered.
pub(crate) fn show(caller: &Caller, answer: Answer<Page>) -> Response {
    match answer {
        Ok(page) => render(caller, StatusCode::OK, &page),
        Err(error) => problem(caller, &error),
    }
}

/// The status that stands for an error.
pub(crate) fn status(error: &PanelError) -> StatusCode {
    match error {
        PanelError::NotFound(_) => StatusCode::NOT_FOUND,
        PanelError::Refused(_) => StatusCode::CONFLICT,
        PanelError::Failed(error) => match error.kind() {
            ErrorKind::Usage => StatusCode::BAD_REQUEST,
            ErrorKind::Unreachable | ErrorKind::Locked | ErrorKind::Interrupted => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

/// What to do about an error.
pub(crate) fn hints(error: &PanelError) -> &[String] {
    match error {
        PanelError::Failed(error) => error.hints(),
        _ => &[],
    }
}

fn problem(caller: &Caller, error: &PanelError) -> Response {
    let title = match error {
        PanelError::NotFound(_) => "Not found",
        PanelError::Refused(_) => "This cannot be done now",
        PanelError::Failed(_) => "This did not work",
    };
    let body = html! {
        div.card.narrow {
            h1 { (title) }
            p { (sentence(&error.to_string())) }
            @for hint in hints(error) { p.hint { (sentence(hint)) } }
            p { a href="/" { "Back to the sources" } }
        }
    };
    render(caller, status(error), &Page::new(title, Place::None, body))
}

/// A page that says why a request is turned away.
pub(crate) fn refusal(caller: &Caller, status: StatusCode, title: &str, why: &str) -> Response {
    let body = html! {
        div.card.narrow {
            h1 { (title) }
            p { (sentence(why)) }
            p {
                @if caller.visitor.is_some() { a href="/" { "Back to the sources" } }
                @else { a href="/login" { "Log in" } }
            }
        }
    };
    render(caller, status, &Page::new(title, Place::None, body))
}

/// The engine's messages have neither a capital letter nor a full stop.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().collect::<String>()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?', ':', ';', ')']) || text.is_empty() { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

pub(crate) fn render(caller: &Caller, status: StatusCode, page: &Page) -> Response {
    let theme = (caller.theme != Theme::System).then(|| caller.theme.word());
    let page = html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) " · basekeep" }
                link rel="icon" href=(address("icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(address("style.css"));
                script src=(address("page.js")) defer {}
                @if let Some(script) = page.script { script src=(address(script)) defer {} }
                @if let Some(seconds) = page.again {
                    noscript { meta http-equiv="refresh" content=(seconds); }
                }
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                @if caller.visitor.is_some() { (navigation(caller, page.place)) }
                main #content tabindex="-1" { (page.body) }
            }
        }
    };
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    (status, headers, page.into_string()).into_response()
}

fn navigation(caller: &Caller, place: Place) -> Markup {
    let link = |its: Place, href: &str, text: &str| {
        html! { a href=(href) aria-current=[(its == place).then_some("page")] { (text) } }
    };
    html! {
        header.top {
            a.brand href="/" aria-label="basekeep, sources" { (mark()) span { "basekeep" } }
            nav aria-label="Main" {
                (link(Place::Sources, "/", "Sources"))
                (link(Place::Snapshots, "/snapshots", "Snapshots"))
                (link(Place::Compare, "/diff", "Compare"))
                (link(Place::Runs, "/runs", "Runs"))
                @if caller.is_operator() { (link(Place::Restore, "/restore", "Restore")) }
            }
            details.account {
                summary { (caller.name()) }
                div.menu {
                    @if let Some(visitor) = &caller.visitor {
                        p { "Logged in as " b { (visitor.name) } ", " (visitor.role.word()) }
                    }
                    form.themes method="post" action="/theme" {
                        (token(caller))
                        span #theme-label { "Theme" }
                        div role="group" aria-labelledby="theme-label" {
                            @for theme in Theme::ALL {
                                button type="submit" name="theme" value=(theme.word())
                                    aria-pressed=(caller.theme == theme) { (theme.word()) }
                            }
                        }
                    }
                    form method="post" action="/logout" { (token(caller)) button type="submit" { "Log out" } }
                }
            }
        }
    }
}

/// The sign of the program.
pub(crate) fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" {
            path d="M4 6.5C4 4.6 7.6 3 12 3s8 1.6 8 3.5v11c0 1.9-3.6 3.5-8 3.5s-8-1.6-8-3.5z" fill="currentColor" opacity=".22" {}
            path d="M4 6.5C4 8.4 7.6 10 12 10s8-1.6 8-3.5M4 12c0 1.9 3.6 3.5 8 3.5M20 6.5C20 4.6 16.4 3 12 3S4 4.6 4 6.5v11C4 19.4 7.6 21 12 21"
                fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" {}
            path d="m14.5 17.5 2.3 2.3 4.4-4.8" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" {}
        }
    }
}

/// The field that every form has.
pub(crate) fn token(caller: &Caller) -> Markup {
    html! { input type="hidden" name=(CSRF) value=(caller.csrf()); }
}

/// A state in words and colour.
pub(crate) fn pill(state: State, text: &str) -> Markup {
    let (class, sign) = match state {
        State::Good => ("good", "✓"),
        State::Warning => ("warning", "!"),
        State::Bad => ("bad", "✕"),
        State::Unknown => ("unknown", "?"),
    };
    html! { span class={ "pill " (class) } { span aria-hidden="true" { (sign) } (text) } }
}

/// How a run ended, in words and colour.
pub(crate) fn outcome(outcome: Outcome) -> Markup {
    match outcome {
        Outcome::Running => html! { span.pill.running { span aria-hidden="true" { "▸" } "running" } },
        Outcome::Done => pill(State::Good, "done"),
        Outcome::Incomplete => pill(State::Warning, "incomplete"),
        Outcome::Different => pill(State::Bad, "different"),
        Outcome::Failed => pill(State::Bad, "failed"),
        Outcome::Stopped => pill(State::Unknown, "stopped"),
    }
}

/// Whether a snapshot is proven, in words and colour.
pub(crate) fn proven(proven: Option<bool>) -> Markup {
    match proven {
        None => html! { span.quiet { "not drilled" } },
        Some(true) => pill(State::Good, "proven"),
        Some(false) => pill(State::Bad, "different"),
    }
}

/// A wide table, which scrolls by itself.
pub(crate) fn scroll(label: &str, table: Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(label) tabindex="0" { (table) } }
}
