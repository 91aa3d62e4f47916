//! `monitor --watch`: a dashboard on the terminal.

mod draw;
mod state;

use std::io::IsTerminal;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use basekeep_engine::monitor::Report;
use basekeep_engine::{EngineError, Repository};
use basekeep_server::history::{self, History, Query, Run};
use jiff::Timestamp;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use super::{Monitor, look};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::with_causes;
use state::{Key, State, Then};

/// Runs of the history that are shown.
const RUNS: usize = 100;

/// How often ages and counters are drawn again.
const TICK: Duration = Duration::from_secs(1);

/// What one look finds.
struct Found {
    report: Report,
    runs: Vec<Run>,
}

/// A look that is under way.
type Work<'a> = Pin<Box<dyn Future<Output = Result<Found, EngineError>> + 'a>>;

pub(super) async fn run(
    command: &Monitor,
    repository: &Repository,
    context: &Context,
) -> Result<Exit, EngineError> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(EngineError::usage("--watch needs a terminal")
            .hint("`basekeep monitor` prints the same once, `--json` for programs"));
    }
    let failed = |error: std::io::Error| EngineError::failed("cannot draw on the terminal").caused_by(error);
    // It puts the terminal back when the program panics, too.
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let _restore = Restore;
    let mut keys = Keys::listen();
    let mut state = State::new();
    let mut tick = tokio::time::interval(TICK);
    let mut due = tokio::time::Instant::now();
    let mut work: Option<Work<'_>> = None;
    loop {
        terminal.draw(|frame| draw::draw(frame, &state, Timestamp::now())).map_err(failed)?;
        tokio::select! {
            biased;
            () = context.interrupt.requested() => return Ok(Exit::Done),
            key = keys.receiver.recv() => match key {
                None => return Ok(Exit::Done),
                Some(Pressed::Resized) => {}
                Some(Pressed::Key(key)) => match state.press(key) {
                    Then::Nothing => {}
                    Then::Refresh => due = tokio::time::Instant::now(),
                    Then::End => return Ok(Exit::Done),
                },
            },
            found = async { match work.as_mut() {
                Some(work) => work.await,
                None => std::future::pending().await,
            }} => {
                work = None;
                state.looking = false;
                due = tokio::time::Instant::now() + command.every;
                match found {
                    Ok(found) => state.found(found.report, found.runs),
                    Err(error) => state.problem = Some(with_causes(&error)),
                }
            }
            () = tokio::time::sleep_until(due), if work.is_none() => {
                state.looking = true;
                work = Some(Box::pin(find(command, repository, context)));
            }
            _ = tick.tick() => {}
        }
    }
}

async fn find(command: &Monitor, repository: &Repository, context: &Context) -> Result<Found, EngineError> {
    let report = look(command, repository, context).await?;
    let runs = match history::state_folder(None, &context.env) {
        None => Vec::new(),
        // Without a history that can be read there is nothing to show of it.
        Some(folder) => tokio::task::spawn_blocking(move || {
            let history = History::read(&folder)?;
            history.map_or(Ok(Vec::new()), |history| history.runs(&Query { limit: RUNS, ..Query::default() }))
        })
        .await
        .ok()
        .and_then(Result::ok)
        .unwrap_or_default(),
    };
    Ok(Found { report, runs })
}

/// Puts the terminal back when it goes.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = ratatui::try_restore();
    }
}

enum Pressed {
    Key(Key),
    Resized,
}

/// Reads the keyboard on a thread of its own, until it is dropped.
struct Keys {
    receiver: mpsc::Receiver<Pressed>,
    stop: Arc<AtomicBool>,
}

impl Keys {
    fn listen() -> Self {
        let (sender, receiver) = mpsc::channel(64);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let pressed = match event::poll(Duration::from_millis(100)) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                let pressed = match pressed {
                    Ok(Event::Key(key)) => key_of(&key).map(Pressed::Key),
                    Ok(Event::Resize(..)) => Some(Pressed::Resized),
                    Ok(_) => None,
                    Err(_) => return,
                };
                if let Some(pressed) = pressed
                    && sender.blocking_send(pressed).is_err()
                {
                    return;
                }
            }
        });
        Self { receiver, stop }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn key_of(key: &KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Key::End);
    }
    Some(match key.code {
        KeyCode::Char('q') => Key::End,
        KeyCode::Esc => Key::Back,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Key::Help,
        KeyCode::Char('r') | KeyCode::F(5) => Key::Refresh,
        KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => Key::NextTab,
        KeyCode::BackTab | KeyCode::Left => Key::PreviousTab,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::PageDown | KeyCode::Char(' ') => Key::PageDown,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::Home => Key::Home,
        KeyCode::Char('n' | ']') => Key::NextSource,
        KeyCode::Char('p' | '[') => Key::PreviousSource,
        KeyCode::Enter => Key::Enter,
        KeyCode::Char(digit @ '1'..='5') => Key::Tab(digit as usize - '1' as usize),
        _ => return None,
    })
}
