//! Work for the worker threads. Its length is bounded by the bytes that the jobs hold permits for.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::sync;

#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    jobs: VecDeque<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { jobs: VecDeque::new(), closed: false }), changed: Condvar::new() }
    }

    /// Adds a job. A closed queue drops it.
    pub(super) fn push(&self, job: T) {
        let mut state = sync::lock(&self.state);
        if !state.closed {
            state.jobs.push_back(job);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Waits for a job; `None` when the queue is closed.
    pub(super) fn pop(&self) -> Option<T> {
        let mut state = sync::lock(&self.state);
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Drops what is waiting and lets the threads end.
    pub(super) fn close(&self) {
        let dropped = {
            let mut state = sync::lock(&self.state);
            state.closed = true;
            std::mem::take(&mut state.jobs)
        };
        self.changed.notify_all();
        drop(dropped);
    }
}
