//! Drawing the dashboard. It fits any terminal: what has no room is left out.

use std::time::Duration;

use basekeep_engine::monitor::{Outlook, Period, Severity, SourceReport, Trend};
use basekeep_server::history::Run;
use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Sparkline, Table, TableState, Tabs, Wrap};

use super::state::{State, TABS};
use crate::commands::monitor::text::{signed, trend};
use crate::output::table::clean;
use crate::output::units;

const HELP: &str = "\
tab, arrows left and right, 1 to 5   another page
arrows up and down, page up, down    another line
enter                                the source's growth
n, p                                 next, previous source
r                                    look again now
? or h                               this help
q or escape                          end";

pub(super) fn draw(frame: &mut Frame<'_>, state: &State, now: Timestamp) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    let tabs = TABS.iter().enumerate().map(|(number, name)| format!("{} {name}", number + 1));
    let chosen = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Tabs::new(tabs).select(state.tab).highlight_style(chosen).divider(" "), head);
    match (&state.report, state.tab) {
        (None, _) => frame.render_widget(Paragraph::new("looking at the repository…"), body),
        (Some(_), 0) => sources(frame, body, state, now),
        (Some(_), 1) => growth(frame, body, state),
        (Some(_), 2) => tables(frame, body, state),
        (Some(_), 3) => alerts(frame, body, state),
        (Some(_), _) => runs(frame, body, state, now),
    }
    frame.render_widget(Paragraph::new(foot_line(state, now)), foot);
    if state.help {
        help(frame, frame.area());
    }
}

fn foot_line(state: &State, now: Timestamp) -> Line<'static> {
    if let Some(problem) = &state.problem {
        return Line::styled(clean(problem), Style::new().fg(Color::Red));
    }
    let mut text = String::from("q ends  ? help  ");
    if let Some(report) = &state.report {
        text += &match report.findings().count() as u64 {
            0 => "nothing alerts".to_owned(),
            number => units::counted(number, "alert", "alerts"),
        };
        text += &format!(", {} ago", short_age(seconds_between(report.time, now)));
        if !report.health.held.is_empty() {
            text += &format!(", in use by {}", clean(&report.health.held.join(", ")));
        }
    }
    if state.looking {
        text += "  looking…";
    }
    Line::raw(text)
}

fn seconds_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_secs()).unwrap_or_default()
}

/// `5 s`, `12 min`, `3 h`, `9 d`.
fn short_age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn colour(severity: Severity) -> Color {
    match severity {
        Severity::Warning => Color::Yellow,
        Severity::Critical => Color::Red,
    }
}

/// The rows that fit around the chosen one; the heading takes a line.
fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    rows: Vec<Row<'_>>,
    widths: &[Constraint],
    head: &[&str],
    at: usize,
) {
    let heading = Row::new(head.iter().map(|name| Cell::from((*name).to_owned())).collect::<Vec<_>>());
    let table = Table::new(rows, widths.to_vec())
        .header(heading.style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut chosen = TableState::default().with_selected(Some(at));
    frame.render_stateful_widget(table, area, &mut chosen);
}

fn sources(frame: &mut Frame<'_>, area: Rect, state: &State, now: Timestamp) {
    let Some(report) = &state.report else { return };
    let list = u16::try_from(report.sources.len() + 1).unwrap_or(u16::MAX);
    let [upper, lower] =
        Layout::vertical([Constraint::Max(list.min(area.height / 2).max(2)), Constraint::Min(0)]).areas(area);
    let rows = report.sources.iter().map(|source| {
        let worst = source.findings.iter().map(|finding| finding.severity).max();
        let health = match worst {
            None => Span::raw("ok"),
            Some(worst) => Span::styled(
                units::counted(source.findings.len() as u64, "alert", "alerts"),
                Style::new().fg(colour(worst)),
            ),
        };
        let newest = source.newest.as_ref();
        let age =
            newest.map_or_else(|| "-".to_owned(), |newest| short_age(seconds_between(newest.time, now)));
        let proof = match &source.drilled {
            None => "never".to_owned(),
            Some(drill) if drill.equal => format!("{} ago", short_age(seconds_between(drill.time, now))),
            Some(_) => "DIFFERENT".to_owned(),
        };
        Row::new(vec![
            Cell::from(clean(&source.source)),
            Cell::from(health),
            Cell::from(age),
            Cell::from(proof),
            Cell::from(newest.map_or_else(|| "-".to_owned(), |newest| units::count(newest.rows))),
            Cell::from(newest.map_or_else(|| "-".to_owned(), |newest| units::bytes(newest.bytes))),
            Cell::from(trend(source.rows.trend)),
        ])
    });
    let widths = [
        Constraint::Min(10),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(14),
        Constraint::Length(11),
        Constraint::Length(9),
    ];
    let head = ["source", "health", "backup", "proof", "rows", "size", "trend"];
    table(frame, upper, rows.collect(), &widths, &head, state.source);
    if let Some(source) = state.current() {
        lines(frame, lower, source);
    }
}

/// Rows, bytes and durations by day.
fn lines(frame: &mut Frame<'_>, area: Rect, source: &SourceReport) {
    let areas: [Rect; 2] = Layout::vertical([Constraint::Fill(1); 2]).areas(area);
    type Series = (&'static str, fn(&Period) -> u64, fn(u64) -> String);
    let series: [Series; 2] =
        [("rows", |day| day.rows, units::count), ("size", |day| day.bytes, units::bytes)];
    for (area, (name, number, show)) in areas.into_iter().zip(series) {
        let values: Vec<u64> = source.days.iter().map(number).collect();
        let range = match (values.iter().min(), values.iter().max()) {
            (Some(low), Some(high)) => format!("{} to {}", show(*low), show(*high)),
            _ => "no snapshots".to_owned(),
        };
        let title = format!(
            "{} of {} by day, {} with snapshots: {range}",
            name,
            clean(&source.source),
            units::counted(source.days.len() as u64, "day", "days")
        );
        sparkline(frame, area, &title, &values);
    }
}

/// The newest values that fit. What changes is shown, not how far it is from nothing.
fn sparkline(frame: &mut Frame<'_>, area: Rect, title: &str, values: &[u64]) {
    let block = Block::bordered().title(title.to_owned());
    let width = usize::from(block.inner(area).width);
    let shown = &values[values.len().saturating_sub(width)..];
    let low = shown.iter().min().copied().unwrap_or(0);
    let high = shown.iter().max().copied().unwrap_or(0);
    let floor = low.saturating_sub((high - low) / 6 + 1);
    let bars: Vec<u64> = shown.iter().map(|value| value - floor).collect();
    frame.render_widget(Sparkline::default().block(block).data(bars), area);
}

fn growth(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let Some(source) = state.current() else {
        return frame.render_widget(Paragraph::new("no sources"), area);
    };
    let [top, chart, list] =
        Layout::vertical([Constraint::Length(4), Constraint::Max(8), Constraint::Min(0)]).areas(area);
    let text = vec![
        Line::raw(clean(&source.source)),
        outlook("rows", &source.rows, units::count),
        outlook("size", &source.bytes, units::bytes),
    ];
    frame.render_widget(Paragraph::new(text), top);
    let values: Vec<u64> = source.days.iter().map(|day| day.rows).collect();
    sparkline(frame, chart, "rows by day", &values);
    let rows = source.days.iter().rev().map(|day| {
        let change = |change: Option<i64>, show: fn(u64) -> String| {
            change.map_or_else(|| "-".to_owned(), |change| signed(change, None, show))
        };
        Row::new([
            day.start.to_string(),
            units::count(day.snapshots),
            units::count(day.rows),
            change(day.rows_change, units::count),
            units::bytes(day.bytes),
            change(day.bytes_change, units::bytes),
        ])
    });
    let widths = [
        Constraint::Length(11),
        Constraint::Length(9),
        Constraint::Length(15),
        Constraint::Length(13),
        Constraint::Length(11),
        Constraint::Length(11),
    ];
    let head = ["day", "snapshots", "rows", "change", "size", "change"];
    table(frame, list, rows.collect(), &widths, &head, state.scroll);
}

fn outlook(name: &str, outlook: &Outlook, show: fn(u64) -> String) -> Line<'static> {
    let mut text = format!("{name}: {}", trend(outlook.trend));
    if outlook.trend == Trend::Unknown {
        text += " (fewer than 5 days)";
    }
    for projection in &outlook.projections {
        text += &format!(
            "; {} d: {} ({}–{})",
            projection.days,
            show(projection.expected),
            show(projection.low),
            show(projection.high)
        );
    }
    Line::raw(text)
}

fn tables(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let Some(source) = state.current() else {
        return frame.render_widget(Paragraph::new("no sources"), area);
    };
    let [list, chart] = Layout::vertical([Constraint::Min(0), Constraint::Max(area.height / 3)]).areas(area);
    let rows = source.tables.iter().map(|one| {
        let rate = |rate: Option<basekeep_engine::monitor::Rate>| {
            rate.map_or_else(|| "-".to_owned(), |rate| signed(rate.rows, rate.rows_percent, units::count))
        };
        Row::new([
            clean(&one.table),
            units::count(one.rows),
            units::bytes(one.bytes),
            rate(one.daily),
            rate(one.weekly),
            trend(one.outlook.trend).to_owned(),
        ])
    });
    let widths = [
        Constraint::Min(16),
        Constraint::Length(13),
        Constraint::Length(10),
        Constraint::Length(18),
        Constraint::Length(18),
        Constraint::Length(9),
    ];
    let head = ["table", "rows", "size", "in a day", "in a week", "trend"];
    table(frame, list, rows.collect(), &widths, &head, state.scroll);
    if let Some(one) = source.tables.get(state.scroll) {
        let values: Vec<u64> = one.days.iter().map(|day| day.rows).collect();
        sparkline(frame, chart, &format!("rows of {} by day", clean(&one.table)), &values);
    }
}

fn alerts(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let Some(report) = &state.report else { return };
    let mut findings: Vec<_> = report.findings().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    if findings.is_empty() {
        return frame.render_widget(Paragraph::new("nothing alerts"), area);
    }
    let [list, detail] = Layout::vertical([Constraint::Min(0), Constraint::Length(5)]).areas(area);
    let rows = findings.iter().map(|finding| {
        let severity = super::super::severity(finding.severity).trim().to_owned();
        Row::new(vec![
            Cell::from(Span::styled(severity, Style::new().fg(colour(finding.severity)))),
            Cell::from(clean(finding.source.as_deref().unwrap_or("repository"))),
            Cell::from(clean(&finding.message)),
        ])
    });
    let widths = [Constraint::Length(9), Constraint::Length(16), Constraint::Min(10)];
    table(frame, list, rows.collect(), &widths, &["", "source", "what"], state.scroll);
    if let Some(finding) = findings.get(state.scroll) {
        let since = finding.since.map_or_else(|| "unknown".to_owned(), units::time);
        let text = format!("{}\nsince {since}\nrun: {}", clean(&finding.message), clean(&finding.command));
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), detail);
    }
}

fn runs(frame: &mut Frame<'_>, area: Rect, state: &State, now: Timestamp) {
    let Some(report) = &state.report else { return };
    let held = &report.health.held;
    let above = u16::try_from(held.len() + 1).unwrap_or(u16::MAX).min(area.height / 2);
    let [upper, list] = Layout::vertical([Constraint::Length(above), Constraint::Min(0)]).areas(area);
    let mut text = vec![Line::raw(match held.len() {
        0 => "nobody uses the repository now".to_owned(),
        number => format!("{} the repository now:", if number == 1 { "one uses" } else { "these use" }),
    })];
    text.extend(held.iter().map(|holder| Line::raw(format!("  {}", clean(holder)))));
    frame.render_widget(Paragraph::new(text), upper);
    if state.runs.is_empty() {
        return frame.render_widget(Paragraph::new("no history of runs: `basekeep serve` keeps one"), list);
    }
    let rows = state.runs.iter().map(|run| run_row(run, now));
    let widths = [
        Constraint::Length(19),
        Constraint::Length(9),
        Constraint::Min(10),
        Constraint::Length(12),
        Constraint::Length(16),
    ];
    table(frame, list, rows.collect(), &widths, &["began", "job", "source", "outcome", "took"], state.scroll);
}

fn run_row(run: &Run, now: Timestamp) -> Row<'static> {
    let took = run.ended.unwrap_or(now).duration_since(run.started);
    Row::new([
        units::time(run.started),
        run.job.name().to_owned(),
        clean(run.source.as_deref().unwrap_or("repository")),
        run.outcome.map_or_else(|| "running".to_owned(), |outcome| outcome.name().to_owned()),
        units::duration(Duration::try_from(took).unwrap_or_default()),
    ])
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = (56.min(area.width), 9.min(area.height));
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title("keys")), place);
}

#[cfg(test)]
mod tests;
