//! Which piece of work a free connection takes next: dependencies, lock conflicts, the largest first, and ranges of a table
//! stolen by connections that have nothing else to do. Knows no server and no archive.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

/// One thing to do, perhaps in several units that different connections may do at the same time.
#[derive(Debug, Clone, Default)]
pub(super) struct Task {
    /// Tasks that must be settled before, and whether this one makes no sense when they failed.
    pub(super) after: Vec<(usize, Need)>,
    /// Relations that it locks against everybody.
    pub(super) exclusive: Vec<i32>,
    /// Relations that it uses.
    pub(super) shared: Vec<i32>,
    /// How much work it is; larger is started sooner.
    pub(super) weight: u64,
    /// Units, at least one.
    pub(super) units: usize,
    /// Whether the connection that begins it keeps it to itself, until another one has nothing else to do.
    pub(super) alone: bool,
}

/// What a task wants of one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It must have succeeded, otherwise this one is skipped.
    Success,
    /// It must be over.
    End,
}

/// How a task stands. Only `settle` and `skip` move it to a final state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for others, or for a free connection.
    Waiting,
    /// At least one unit was handed out.
    Running,
    /// All units succeeded.
    Done,
    /// A unit failed.
    Failed,
    /// Not tried, because this other task did not succeed.
    Skipped(usize),
}

impl State {
    fn is_settled(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// The answer to a free connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Do this unit.
    Unit { task: usize, unit: usize },
    /// Nothing now; ask again when another unit has been reported.
    Wait,
    /// Nothing ever: what is left waits for itself, which is a defect of the plan.
    Stuck,
    /// Everything is settled.
    Over,
}

/// The order of work, as it stands.
#[derive(Debug)]
pub(super) struct Schedule {
    tasks: Vec<Task>,
    states: Vec<State>,
    dependents: Vec<Vec<usize>>,
    /// How many tasks each one still waits for.
    waits_for: Vec<usize>,
    ready: BTreeSet<(Reverse<u64>, usize)>,
    /// Units handed out, and units reported.
    handed: Vec<usize>,
    reported: Vec<usize>,
    broken: Vec<bool>,
    /// Tasks that one connection has for itself now, and whether another one waits for a share.
    alone: HashMap<usize, bool>,
    running: BTreeSet<usize>,
    held_exclusive: HashMap<i32, usize>,
    held_shared: HashMap<i32, usize>,
    open: usize,
}

impl Schedule {
    /// A schedule over `tasks`; dependencies are indices into them. `settled` gives tasks that are over before the start.
    /// Returns the tasks that are skipped from the start, too.
    pub(super) fn new(tasks: Vec<Task>, settled: &HashMap<usize, State>) -> (Self, Vec<usize>) {
        let count = tasks.len();
        let mut dependents = vec![Vec::new(); count];
        let mut waits_for = vec![0; count];
        for (task, spec) in tasks.iter().enumerate() {
            for &(before, _) in &spec.after {
                dependents[before].push(task);
                waits_for[task] += 1;
            }
        }
        let mut schedule = Self {
            tasks,
            states: vec![State::Waiting; count],
            dependents,
            waits_for,
            ready: BTreeSet::new(),
            handed: vec![0; count],
            reported: vec![0; count],
            broken: vec![false; count],
            alone: HashMap::new(),
            running: BTreeSet::new(),
            held_exclusive: HashMap::new(),
            held_shared: HashMap::new(),
            open: count,
        };
        let mut skipped = Vec::new();
        for (&task, &state) in settled {
            schedule.states[task] = state;
            schedule.open -= 1;
        }
        for task in 0..count {
            if !schedule.states[task].is_settled() && schedule.waits_for[task] == 0 {
                schedule.ready.insert((Reverse(schedule.tasks[task].weight), task));
            }
        }
        for &task in settled.keys() {
            skipped.extend(schedule.release(task));
        }
        (schedule, skipped)
    }

    /// What a connection does next; `last` is the task it worked on, which it goes on with if it can.
    pub(super) fn next(&mut self, last: Option<usize>) -> Next {
        if self.open == 0 {
            return Next::Over;
        }
        if let Some(task) = last.filter(|&task| self.has_units(task)) {
            return self.hand(task);
        }
        let startable = self.ready.iter().copied().find(|&(_, task)| !self.conflicts(task));
        if let Some(key) = startable {
            self.ready.remove(&key);
            self.start(key.1);
            return self.hand(key.1);
        }
        if self.running.is_empty() {
            return Next::Stuck;
        }
        let longest = |alone: bool| {
            let candidates = self.running.iter().copied();
            candidates
                .filter(|&task| self.has_units(task) && self.alone.contains_key(&task) == alone)
                .max_by_key(|&task| self.weight_left(task))
        };
        if let Some(task) = longest(false) {
            return self.hand(task);
        }
        if let Some(task) = longest(true) {
            self.alone.insert(task, true);
        }
        Next::Wait
    }

    /// The next unit of a task that the asking connection has for itself; `None` when there is no other, when a unit failed,
    /// or when another connection waits for a share. After `None` comes [`Self::share`].
    pub(super) fn next_alone(&mut self, task: usize) -> Option<usize> {
        if self.alone.get(&task) != Some(&false) || !self.has_units(task) {
            return None;
        }
        self.handed[task] += 1;
        Some(self.handed[task] - 1)
    }

    /// Lets others take what is left of a task that one connection had for itself.
    pub(super) fn share(&mut self, task: usize) {
        self.alone.remove(&task);
    }

    fn weight_left(&self, task: usize) -> u64 {
        let left = (self.tasks[task].units - self.handed[task]) as u64;
        self.tasks[task].weight / self.tasks[task].units.max(1) as u64 * left
    }

    /// Reports a unit. Returns the task's final state when this was its last unit, and the tasks skipped because of it.
    pub(super) fn report(&mut self, task: usize, success: bool) -> (Option<State>, Vec<usize>) {
        self.reported[task] += 1;
        self.broken[task] |= !success;
        let outstanding = self.handed[task] - self.reported[task];
        let over = outstanding == 0 && (self.broken[task] || self.reported[task] == self.tasks[task].units);
        if !over {
            return (None, Vec::new());
        }
        let state = if self.broken[task] { State::Failed } else { State::Done };
        self.settle(task, state);
        (Some(state), self.release(task))
    }

    /// Whether a unit of this task has failed, so that the others need not be tried.
    pub(super) fn is_broken(&self, task: usize) -> bool {
        self.broken[task]
    }

    /// Whether every task is settled.
    pub(super) fn is_over(&self) -> bool {
        self.open == 0
    }

    /// How a task stands.
    pub(super) fn state(&self, task: usize) -> State {
        self.states[task]
    }

    /// Settles everything that has not begun: nobody can do it any more. Returns these tasks.
    pub(super) fn give_up(&mut self) -> Vec<usize> {
        self.ready.clear();
        let mut given_up = Vec::new();
        for task in 0..self.tasks.len() {
            if self.states[task] == State::Waiting {
                self.states[task] = State::Failed;
                self.open -= 1;
                given_up.push(task);
            }
            // What runs ends with the units that were handed out.
            if self.states[task] == State::Running && self.handed[task] < self.tasks[task].units {
                self.broken[task] = true;
                if self.handed[task] == self.reported[task] {
                    self.settle(task, State::Failed);
                    given_up.push(task);
                }
            }
        }
        given_up
    }

    fn settle(&mut self, task: usize, state: State) {
        self.states[task] = state;
        self.open -= 1;
        self.running.remove(&task);
        self.alone.remove(&task);
        for lock in &self.tasks[task].exclusive {
            drop_hold(&mut self.held_exclusive, *lock);
        }
        for lock in &self.tasks[task].shared {
            drop_hold(&mut self.held_shared, *lock);
        }
    }

    fn has_units(&self, task: usize) -> bool {
        self.states[task] == State::Running
            && !self.broken[task]
            && self.handed[task] < self.tasks[task].units
    }

    fn hand(&mut self, task: usize) -> Next {
        let unit = self.handed[task];
        self.handed[task] += 1;
        Next::Unit { task, unit }
    }

    fn start(&mut self, task: usize) {
        self.states[task] = State::Running;
        self.running.insert(task);
        if self.tasks[task].alone {
            self.alone.insert(task, false);
        }
        for lock in &self.tasks[task].exclusive {
            *self.held_exclusive.entry(*lock).or_default() += 1;
        }
        for lock in &self.tasks[task].shared {
            *self.held_shared.entry(*lock).or_default() += 1;
        }
    }

    fn conflicts(&self, task: usize) -> bool {
        let spec = &self.tasks[task];
        spec.exclusive.iter().any(|l| self.held_exclusive.contains_key(l) || self.held_shared.contains_key(l))
            || spec.shared.iter().any(|lock| self.held_exclusive.contains_key(lock))
    }

    /// Lets the dependents of a settled task go on; those that needed its success are skipped, and so on from them.
    fn release(&mut self, task: usize) -> Vec<usize> {
        let mut skipped = Vec::new();
        let mut settled = vec![task];
        while let Some(before) = settled.pop() {
            for position in 0..self.dependents[before].len() {
                let dependent = self.dependents[before][position];
                self.waits_for[dependent] -= 1;
                if self.waits_for[dependent] > 0 || self.states[dependent].is_settled() {
                    continue;
                }
                let failed = self.tasks[dependent]
                    .after
                    .iter()
                    .find(|(other, need)| *need == Need::Success && self.states[*other] != State::Done)
                    .map(|(other, _)| *other);
                match failed {
                    Some(cause) => {
                        self.states[dependent] = State::Skipped(cause);
                        self.open -= 1;
                        skipped.push(dependent);
                        settled.push(dependent);
                    }
                    None => {
                        self.ready.insert((Reverse(self.tasks[dependent].weight), dependent));
                    }
                }
            }
        }
        skipped
    }
}

fn drop_hold(held: &mut HashMap<i32, usize>, lock: i32) {
    if let Some(count) = held.get_mut(&lock) {
        *count -= 1;
        if *count == 0 {
            held.remove(&lock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(weight: u64, units: usize, after: &[(usize, Need)]) -> Task {
        Task { after: after.to_vec(), weight, units, ..Task::default() }
    }

    fn schedule(tasks: Vec<Task>) -> Schedule {
        Schedule::new(tasks, &HashMap::new()).0
    }

    #[test]
    fn what_waits_for_itself_is_noticed() {
        let mut circle =
            schedule(vec![task(1, 1, &[]), task(1, 1, &[(2, Need::End)]), task(1, 1, &[(1, Need::End)])]);
        assert_eq!(circle.next(None), Next::Unit { task: 0, unit: 0 });
        assert_eq!(circle.next(None), Next::Wait);
        circle.report(0, true);
        assert_eq!(circle.next(None), Next::Stuck);
        assert_eq!(circle.give_up(), [1, 2]);
        assert_eq!(circle.next(None), Next::Over);
    }

    #[test]
    fn the_largest_is_started_first_and_a_connection_goes_on_with_its_table() {
        let mut s = schedule(vec![task(1, 1, &[]), task(100, 3, &[]), task(50, 1, &[])]);
        assert_eq!(s.next(None), Next::Unit { task: 1, unit: 0 });
        assert_eq!(s.next(None), Next::Unit { task: 2, unit: 0 });
        s.report(1, true);
        assert_eq!(s.next(Some(1)), Next::Unit { task: 1, unit: 1 });
        s.report(2, true);
        assert_eq!(s.next(Some(2)), Next::Unit { task: 0, unit: 0 });
        s.report(0, true);
        assert_eq!(s.next(Some(0)), Next::Unit { task: 1, unit: 2 }, "stolen");
        assert_eq!(s.next(Some(1)), Next::Wait);
        s.report(1, true);
        assert_eq!(s.report(1, true).0, Some(State::Done));
        assert_eq!(s.next(None), Next::Over);
    }

    #[test]
    fn a_table_that_a_connection_has_for_itself_is_shared_when_another_one_is_idle() {
        let mut s = schedule(vec![Task { alone: true, ..task(100, 4, &[]) }, task(50, 1, &[])]);
        assert_eq!(s.next(None), Next::Unit { task: 0, unit: 0 });
        assert_eq!(s.next(None), Next::Unit { task: 1, unit: 0 });
        assert_eq!(s.next_alone(0), Some(1), "the other one has work of its own");
        s.report(1, true);
        assert_eq!(s.next(Some(1)), Next::Wait);
        assert_eq!(s.next_alone(0), None);
        s.share(0);
        assert_eq!(s.next(Some(1)), Next::Unit { task: 0, unit: 2 });
        assert_eq!(s.next_alone(0), None, "it is shared for good");
        assert_eq!(s.next(Some(0)), Next::Unit { task: 0, unit: 3 });
        (0..3).for_each(|_| assert_eq!(s.report(0, true).0, None));
        assert_eq!(s.report(0, true).0, Some(State::Done));
        assert_eq!(s.next(None), Next::Over);
    }

    #[test]
    fn what_needs_a_failed_task_is_skipped_and_what_only_follows_it_is_not() {
        let mut s = schedule(vec![
            task(9, 2, &[]),
            task(1, 1, &[(0, Need::Success)]),
            task(1, 1, &[(1, Need::Success)]),
            task(1, 1, &[(0, Need::End)]),
        ]);
        assert_eq!(s.next(None), Next::Unit { task: 0, unit: 0 });
        assert_eq!(s.next(None), Next::Unit { task: 0, unit: 1 });
        assert_eq!(s.report(0, false), (None, vec![]), "the other unit still runs");
        assert!(s.is_broken(0));
        let (state, skipped) = s.report(0, true);
        assert_eq!((state, skipped), (Some(State::Failed), vec![1, 2]));
        assert_eq!(s.state(2), State::Skipped(1));
        assert_eq!(s.next(None), Next::Unit { task: 3, unit: 0 });
        s.report(3, true);
        assert_eq!(s.next(None), Next::Over);
    }

    #[test]
    fn two_tasks_that_lock_the_same_relation_do_not_run_together() {
        let key = |lock| Task { exclusive: vec![lock], units: 1, ..Task::default() };
        let index = |lock| Task { shared: vec![lock], units: 1, ..Task::default() };
        let mut s = schedule(vec![key(7), key(7), index(7), index(8)]);
        assert_eq!(s.next(None), Next::Unit { task: 0, unit: 0 });
        assert_eq!(s.next(None), Next::Unit { task: 3, unit: 0 });
        assert_eq!(s.next(None), Next::Wait);
        s.report(0, true);
        assert_eq!(s.next(None), Next::Unit { task: 1, unit: 0 });
        assert_eq!(s.next(None), Next::Wait);
        s.report(1, true);
        assert_eq!(s.next(None), Next::Unit { task: 2, unit: 0 });
    }

    #[test]
    fn failures_before_the_start_reach_everything_that_needs_them() {
        let settled = HashMap::from([(0, State::Failed), (1, State::Done)]);
        let (mut s, skipped) = Schedule::new(
            vec![
                task(1, 1, &[]),
                task(1, 1, &[]),
                task(1, 1, &[(0, Need::Success), (1, Need::Success)]),
                task(1, 1, &[(1, Need::Success)]),
            ],
            &settled,
        );
        assert_eq!(skipped, [2]);
        assert_eq!(s.next(None), Next::Unit { task: 3, unit: 0 });
    }

    #[test]
    fn giving_up_settles_everything_that_has_not_begun() {
        let mut s = schedule(vec![task(9, 2, &[]), task(1, 1, &[(0, Need::End)])]);
        assert_eq!(s.next(None), Next::Unit { task: 0, unit: 0 });
        assert_eq!(s.give_up(), [1]);
        assert_eq!(s.report(0, true).0, Some(State::Failed));
        assert_eq!(s.next(None), Next::Over);
    }
}
