//! What the dashboard shows, and what keys change about it.

use basekeep_engine::monitor::{Report, SourceReport};
use basekeep_server::history::Run;

/// The tabs.
pub(super) const TABS: [&str; 5] = ["sources", "growth", "tables", "alerts", "runs"];

/// A key's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    End,
    Back,
    Help,
    Refresh,
    NextTab,
    PreviousTab,
    Tab(usize),
    Down,
    Up,
    PageDown,
    PageUp,
    Home,
    NextSource,
    PreviousSource,
    Enter,
}

/// What follows from a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    Refresh,
    End,
}

/// Everything that is drawn.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) report: Option<Report>,
    pub(super) runs: Vec<Run>,
    /// Why the last look failed, if it did.
    pub(super) problem: Option<String>,
    /// A look is under way.
    pub(super) looking: bool,
    pub(super) tab: usize,
    pub(super) source: usize,
    pub(super) scroll: usize,
    pub(super) help: bool,
}

const PAGE: usize = 10;

impl State {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The source that is looked at.
    pub(super) fn current(&self) -> Option<&SourceReport> {
        self.report.as_ref()?.sources.get(self.source)
    }

    pub(super) fn found(&mut self, report: Report, runs: Vec<Run>) {
        // The same source stays chosen where there are others now.
        let name = self.current().map(|source| source.source.clone());
        let place = name.and_then(|name| report.sources.iter().position(|source| source.source == name));
        self.source = place.unwrap_or(self.source).min(report.sources.len().saturating_sub(1));
        self.report = Some(report);
        self.runs = runs;
        self.problem = None;
        self.scroll = self.scroll.min(self.length().saturating_sub(1));
    }

    pub(super) fn press(&mut self, key: Key) -> Then {
        match key {
            Key::End => return Then::End,
            Key::Back if self.help => self.help = false,
            Key::Back => return Then::End,
            Key::Help => self.help = !self.help,
            Key::Refresh => return Then::Refresh,
            Key::NextTab => self.show((self.tab + 1) % TABS.len()),
            Key::PreviousTab => self.show((self.tab + TABS.len() - 1) % TABS.len()),
            Key::Tab(tab) => self.show(tab.min(TABS.len() - 1)),
            Key::Down => self.scroll_to(1, true),
            Key::Up => self.scroll_to(1, false),
            Key::PageDown => self.scroll_to(PAGE, true),
            Key::PageUp => self.scroll_to(PAGE, false),
            Key::Home => self.scroll_to(usize::MAX, false),
            Key::NextSource => self.choose(true),
            Key::PreviousSource => self.choose(false),
            Key::Enter if self.tab == 0 => self.show(1),
            Key::Enter => {}
        }
        Then::Nothing
    }

    fn show(&mut self, tab: usize) {
        self.help = false;
        self.tab = tab;
        self.scroll = 0;
    }

    fn scroll_to(&mut self, by: usize, down: bool) {
        // The first tab's arrows choose a source.
        let last = self.length().saturating_sub(1);
        let place = if self.tab == 0 { &mut self.source } else { &mut self.scroll };
        *place = if down { place.saturating_add(by).min(last) } else { place.saturating_sub(by) };
    }

    fn choose(&mut self, next: bool) {
        let count = self.report.as_ref().map_or(0, |report| report.sources.len());
        if count > 0 {
            self.source = (self.source + if next { 1 } else { count - 1 }) % count;
            self.scroll = 0;
        }
    }

    /// Lines of the tab that can be scrolled.
    fn length(&self) -> usize {
        match self.tab {
            0 => self.report.as_ref().map_or(0, |report| report.sources.len()),
            1 => self.current().map_or(0, |source| source.days.len()),
            2 => self.current().map_or(0, |source| source.tables.len()),
            3 => self.report.as_ref().map_or(0, |report| report.findings().count()),
            _ => self.runs.len(),
        }
    }
}
