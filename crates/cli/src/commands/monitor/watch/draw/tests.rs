use basekeep_engine::monitor::{Finding, Health, Newest, Point, Proof, Report, TableReport};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::state::{Key, Then};
use super::*;

fn time(day: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + day * 86_400).unwrap()
}

fn report() -> Report {
    let unknown = || Outlook { trend: Trend::Unknown, slope: None, projections: Vec::new() };
    let days = (0..400).map(|day| Period {
        start: time(day).to_zoned(jiff::tz::TimeZone::UTC).date(),
        snapshots: 4,
        rows: 1_000_000 + 7 * day as u64,
        bytes: u64::MAX - 400 + day as u64,
        rows_change: Some(7),
        bytes_change: None,
    });
    let days: Vec<Period> = days.collect();
    let table = |name: &str, rows: u64| TableReport {
        table: name.to_owned(),
        rows,
        bytes: rows * 10,
        daily: None,
        weekly: None,
        outlook: unknown(),
        days: vec![Point { time: time(0), rows, bytes: 0 }],
    };
    let newest = Newest {
        id: "3f".repeat(32),
        time: time(399),
        rows: 1_002_793,
        bytes: 5 << 20,
        tables: 2,
        added_bytes: 1,
        seconds: 1.0,
        not_captured: 0,
        warnings: 0,
    };
    let finding =
        Finding::of_source("shop\u{1b}[31m", "x", Severity::Critical, "all is lost", "basekeep restore");
    let shop = SourceReport {
        source: "shop\u{1b}[31m".to_owned(),
        snapshots: 1600,
        since: Some(time(0)),
        newest: Some(newest),
        age_seconds: Some(5),
        age_limit_seconds: None,
        drilled: Some(Proof { time: time(1), equal: false, snapshot: "3f".to_owned() }),
        proven: None,
        daily: None,
        weekly: None,
        rows: unknown(),
        bytes: unknown(),
        days: days.clone(),
        weeks: days,
        tables: vec![table("public.orders", 12), table("public.empty", 0)],
        findings: vec![finding],
    };
    let empty = SourceReport {
        source: "empty".to_owned(),
        newest: None,
        since: None,
        days: Vec::new(),
        weeks: Vec::new(),
        tables: Vec::new(),
        findings: Vec::new(),
        drilled: None,
        ..shop.clone()
    };
    let held = vec!["ada on db1 (process 42)".to_owned(); 3];
    let health = Health { snapshots: 2, unreadable: Vec::new(), held, stale: Vec::new(), last_check: None };
    Report { time: time(400), sources: vec![shop, empty], health, findings: Vec::new() }
}

fn screen(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state, time(400))).unwrap();
    terminal.backend().to_string()
}

#[test]
fn every_page_fits_every_terminal() {
    let mut states = vec![State::new()];
    let mut full = State::new();
    full.found(report(), Vec::new());
    for source in 0..2 {
        for tab in 0..TABS.len() {
            for help in [false, true] {
                full.press(Key::Tab(tab));
                states.push(State {
                    source,
                    help,
                    scroll: 3,
                    report: full.report.clone(),
                    tab,
                    ..State::new()
                });
            }
        }
    }
    for state in &states {
        for (width, height) in [(1, 1), (2, 3), (10, 4), (30, 8), (80, 24), (250, 3), (3, 90), (250, 90)] {
            screen(state, width, height);
        }
    }
}

#[test]
fn pages_show_what_they_are_for_and_no_sequence_gets_through() {
    let mut state = State::new();
    assert!(screen(&state, 80, 24).contains("looking at the repository"));
    state.found(report(), Vec::new());
    let shown = screen(&state, 120, 40);
    assert!(shown.contains("1,002,793") && shown.contains("1 alert"), "{shown}");
    assert!(shown.contains("DIFFERENT") && shown.contains("rows of shop\\u{1b}[31m by day"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    assert_eq!(state.press(Key::Down), Then::Nothing);
    assert!(screen(&state, 120, 40).contains("rows of empty by day"));
    state.press(Key::PreviousSource);
    state.press(Key::Tab(3));
    let shown = screen(&state, 120, 40);
    assert!(shown.contains("all is lost") && shown.contains("run: basekeep restore"), "{shown}");
    state.press(Key::Help);
    assert!(screen(&state, 120, 40).contains("another page"));
    assert_eq!(state.press(Key::Back), Then::Nothing, "it closes the help first");
    assert_eq!((state.press(Key::Refresh), state.press(Key::Back)), (Then::Refresh, Then::End));
}

#[test]
fn the_chosen_source_stays_when_others_come() {
    let mut state = State::new();
    state.found(report(), Vec::new());
    state.press(Key::NextSource);
    let mut more = report();
    let first = more.sources[0].clone();
    more.sources.insert(0, SourceReport { source: "a".to_owned(), ..first });
    state.found(more, Vec::new());
    assert_eq!(state.current().unwrap().source, "empty");
    let mut fewer = report();
    fewer.sources.clear();
    state.found(fewer, Vec::new());
    assert!(state.current().is_none());
    for key in [Key::Up, Key::Down, Key::PageDown, Key::NextSource, Key::Enter, Key::Home, Key::NextTab] {
        state.press(key);
    }
    screen(&state, 40, 10);
}
