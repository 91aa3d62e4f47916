//! How each step ended, and the list of what did not come back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::group::Group;
use super::merge::Merged;
use super::schedule::{Need, State};
use super::work::{Action, Step};
use super::{FailedObject, MergedTable, RestoreReport};
use crate::{Event, Observer};

/// Collects outcomes from all connections.
pub(super) struct Outcomes {
    observer: Arc<dyn Observer>,
    inner: Mutex<Inner>,
}

struct Inner {
    states: Vec<State>,
    report: RestoreReport,
}

impl Outcomes {
    pub(super) fn new(steps: usize, observer: Arc<dyn Observer>) -> Self {
        let inner = Inner { states: vec![State::Waiting; steps], report: RestoreReport::default() };
        Self { observer, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a step ended, if it has.
    pub(super) fn state(&self, step: usize) -> State {
        self.inner().states[step]
    }

    /// An earlier step whose failure makes this one pointless.
    pub(super) fn blocked_by(&self, step: &Step) -> Option<usize> {
        let inner = self.inner();
        let is_lost = |n: usize| matches!(inner.states[n], State::Failed | State::Skipped(_));
        step.after.iter().find(|(n, need)| *need == Need::Success && is_lost(*n)).map(|(n, _)| *n)
    }

    /// Takes note of a step that succeeded; `count` adds what it did to the report.
    pub(super) fn done(&self, step: usize, count: impl FnOnce(&mut RestoreReport)) {
        let mut inner = self.inner();
        inner.states[step] = State::Done;
        count(&mut inner.report);
    }

    /// Takes note of a step that failed.
    pub(super) fn failed(&self, index: usize, step: &Step, reason: String) {
        self.inner().states[index] = State::Failed;
        if step.dispensable {
            return self.left_out(step, reason, false);
        }
        self.lost(step.name.clone(), reason, false);
    }

    /// Takes note of a group of which nothing was done: who is at fault, and who was put back because of that.
    pub(super) fn group_failed(&self, index: usize, group: &Group, at_fault: Option<usize>, reason: &str) {
        self.inner().states[index] = State::Failed;
        let told = |n: &usize| at_fault == Some(*n) || matches!(group.members[*n].action, Action::Table(_));
        let mut members: Vec<usize> = (0..group.members.len()).filter(told).collect();
        if members.is_empty() {
            members = (0..group.members.len()).collect();
        }
        let cause = at_fault.map(|n| group.members[n].name.clone());
        for n in members {
            let name = group.members[n].name.clone();
            match &cause {
                Some(cause) if at_fault != Some(n) => {
                    self.lost(name, format!("left as it was, since {cause} failed"), true);
                }
                _ => self.lost(name, reason.to_owned(), false),
            }
        }
    }

    /// Takes note of a step that was not tried because `cause` did not succeed.
    pub(super) fn skipped(&self, index: usize, step: &Step, cause: usize, steps: &[Step]) {
        self.inner().states[index] = State::Skipped(cause);
        let reason = format!("needs {}, which was not restored", steps[cause].name);
        if step.dispensable {
            return self.left_out(step, reason, true);
        }
        self.lost(step.name.clone(), reason, true);
    }

    /// Takes note of a part of a step that failed.
    pub(super) fn part_lost(&self, step: &Step, part: &str, reason: String) {
        let object = format!("{part} of {}", step.name);
        if step.dispensable {
            self.inner().report.left_out.push(FailedObject { object, reason, skipped: false });
        } else {
            self.lost(object, reason, false);
        }
    }

    fn left_out(&self, step: &Step, reason: String, skipped: bool) {
        let object = step.name.clone();
        self.inner().report.left_out.push(FailedObject { object, reason, skipped });
    }

    /// Takes note of anything that did not come back.
    pub(super) fn lost(&self, object: String, reason: String, skipped: bool) {
        self.observer.event(Event::ObjectFailed { object: object.clone(), message: reason.clone() });
        self.inner().report.failed.push(FailedObject { object, reason, skipped });
    }

    /// Puts something into the report that was told before.
    pub(super) fn note(&self, message: String) {
        self.inner().report.warnings.push(message);
    }

    /// Takes note of something to know.
    pub(super) fn warn(&self, code: &str, message: String) {
        self.observer.event(Event::Warning { code: code.into(), message: message.clone(), hint: None });
        self.inner().report.warnings.push(message);
    }

    /// Takes note of rows that were put in beside others.
    pub(super) fn merged(&self, object: &str, merged: Merged) {
        let report = &mut self.inner().report;
        let Merged { inserted, updated, unchanged, conflicting, rejected } = merged;
        report.unchanged += unchanged;
        report.conflicting += conflicting + updated;
        report.rejected += rejected;
        let object = object.to_owned();
        report.merged.push(MergedTable { object, inserted, updated, unchanged, conflicting, rejected });
    }

    /// How many objects did not come back so far.
    pub(super) fn failures(&self) -> usize {
        self.inner().report.failed.len()
    }

    /// The report so far.
    pub(super) fn report(&self) -> RestoreReport {
        self.inner().report.clone()
    }
}
