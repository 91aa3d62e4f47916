//! Copies to a repository what it has missed of one source: it was out of reach for a while, or too slow just now.
//!
//! Nothing is deleted anywhere, and what was forgotten on purpose in the first repository is not brought back: only
//! snapshots newer than all that it has are copied to it. The others get what the first one has, from their own oldest
//! snapshot of the source on.

use std::collections::HashSet;
use std::sync::Arc;

use basekeep_repository::{Ended, Repository, Snapshot};
use jiff::Timestamp;

use crate::copy::copy_locked;
use crate::replicas::{Ready, ReplicaReport, ReplicaState};
use crate::words::counted;
use crate::{EngineError, ErrorKind, Event, Interrupt, Observer, ResultExt, listing};

/// More snapshots than this are not copied to a repository after one backup; the next backup goes on.
const AT_MOST: usize = 100;

/// Which way snapshots go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToReplica,
    ToFirst,
}

/// After a backup: every repository gets what it lacks of the source, as far as the others have it. `ends` says how the
/// backup ended in each of `ready`; `reports` are those of all targets.
pub(crate) async fn catch_up(
    ready: &[Ready],
    ends: &[Ended],
    reports: &mut [ReplicaReport],
    observer: &Arc<dyn Observer>,
    interrupt: &Interrupt,
) {
    let written = |end: &Ended| match end {
        Ended::Written(snapshot) => Some(snapshot.clone()),
        Ended::Behind { .. } | Ended::Failed(_) => None,
    };
    let whole = ready.iter().zip(ends).find_map(|(one, end)| Some((one, written(end)?)));
    let Some((from, new)) = whole else { return };
    for (to, end) in ready.iter().zip(ends) {
        if to.number == from.number || matches!(end, Ended::Failed(_)) {
            continue;
        }
        let pair = Pair { from, to, new: &new, observer, interrupt };
        let mut outcome = Outcome::default();
        if let Err(error) = pair.work(&mut outcome).await {
            outcome.problem = Some(reason(&error));
        }
        reports[from.number].healed += outcome.to_first;
        let report = &mut reports[to.number];
        report.healed = outcome.to_replica;
        if let Some(copy) = outcome.new {
            (report.state, report.snapshot, report.reason) = (ReplicaState::CaughtUp, Some(copy), None);
        }
        if let Some(problem) = outcome.problem {
            if report.has_it() {
                observer.event(earlier_missing(&report.name, &problem));
            }
            report.reason = Some(problem);
        }
    }
}

fn earlier_missing(name: &str, reason: &str) -> Event {
    Event::Warning {
        code: "replica-behind".into(),
        message: format!("{name} has this backup, but lacks earlier ones: {reason}"),
        hint: Some(format!("the next backup goes on; `basekeep copy --to {name}` does it now")),
    }
}

/// What was in the way, in one line.
fn reason(error: &EngineError) -> String {
    match error.kind() {
        ErrorKind::Interrupted => "interrupted".to_owned(),
        _ => error.message().to_owned(),
    }
}

/// What was copied.
#[derive(Debug, Default)]
struct Outcome {
    /// Earlier snapshots that the first repository had missed.
    to_first: u64,
    /// Earlier snapshots that the other one had missed.
    to_replica: u64,
    /// The new snapshot's id there, if it was missing.
    new: Option<String>,
    /// What is still missing, and why.
    problem: Option<String>,
}

/// One that has the new backup, and another one.
struct Pair<'a> {
    from: &'a Ready,
    to: &'a Ready,
    new: &'a Snapshot,
    observer: &'a Arc<dyn Observer>,
    interrupt: &'a Interrupt,
}

impl Pair<'_> {
    async fn work(&self, outcome: &mut Outcome) -> Result<(), EngineError> {
        let mut there = of_source(&self.from.repository, self.new).await?;
        let here = of_source(&self.to.repository, self.new).await?;
        if self.from.number == 0 {
            let missed = missing(&here, &there, self.new, Direction::ToFirst);
            if !missed.is_empty() {
                (_, outcome.to_first) = self.copy(self.to, self.from, missed, outcome).await?;
                there = of_source(&self.from.repository, self.new).await?;
            }
        }
        let missed = missing(&there, &here, self.new, Direction::ToReplica);
        if !missed.is_empty() {
            (outcome.new, outcome.to_replica) = self.copy(self.from, self.to, missed, outcome).await?;
        }
        Ok(())
    }

    /// Gives the id of the new snapshot's copy, and how many others were copied.
    async fn copy(
        &self,
        from: &Ready,
        to: &Ready,
        mut missed: Vec<Snapshot>,
        outcome: &mut Outcome,
    ) -> Result<(Option<String>, u64), EngineError> {
        if missed.len() > AT_MOST {
            outcome.problem = Some(format!("{AT_MOST} of {} are copied at a time", missed.len()));
            missed.truncate(AT_MOST);
        }
        let locks = (&from.lock, &to.lock);
        let copying =
            copy_locked(&from.repository, &to.repository, locks, &missed, self.observer, self.interrupt);
        let done = copying.await?;
        if let Some(damaged) = done.not_copied.first() {
            let count = counted(done.not_copied.len() as u64, "snapshot", "snapshots");
            let (first, reason) = (short(&damaged.snapshot), &damaged.reason);
            outcome.problem = Some(format!("{count} cannot be read, {first} among them: {reason}"));
        }
        let new = self.new.id.to_string();
        let copy = done.copied.iter().chain(&done.present).find(|copied| copied.snapshot == new);
        let others = done.copied.iter().filter(|copied| copied.snapshot != new).count();
        Ok((copy.map(|copied| copied.copy.clone()), others as u64))
    }
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// Everything under the source's name, the drills' proofs included.
async fn of_source(repository: &Repository, new: &Snapshot) -> Result<Vec<Snapshot>, EngineError> {
    let (mut all, _) = repository.snapshots().await.doing(|| "list the snapshots")?;
    all.retain(|snapshot| snapshot.hostname == new.hostname);
    Ok(all)
}

/// What is there and not here, the newest first. What was taken at the same moment is the same backup, even if one of the
/// two was changed since.
fn missing(there: &[Snapshot], here: &[Snapshot], new: &Snapshot, direction: Direction) -> Vec<Snapshot> {
    let known: HashSet<(Timestamp, &[String])> =
        here.iter().map(|snapshot| (snapshot.time, &*snapshot.paths)).collect();
    let backups = here.iter().filter(|snapshot| !listing::is_proof(snapshot) && snapshot.time < new.time);
    let times = backups.map(|snapshot| snapshot.time);
    let wanted = |snapshot: &&Snapshot| match (direction, times.clone().min(), times.clone().max()) {
        (Direction::ToReplica, oldest, _) => oldest.is_none_or(|oldest| snapshot.time >= oldest),
        (Direction::ToFirst, _, newest) => newest.is_some_and(|newest| snapshot.time > newest),
    };
    let unknown = |snapshot: &&Snapshot| !known.contains(&(snapshot.time, &*snapshot.paths));
    let mut missing: Vec<Snapshot> = there.iter().filter(unknown).filter(wanted).cloned().collect();
    missing.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.time));
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use basekeep_repository::{SnapshotId, TreeId};

    /// A backup at a second of 1970.
    fn at(second: i64) -> Snapshot {
        Snapshot {
            id: SnapshotId::of(&second.to_le_bytes()),
            time: Timestamp::from_second(second).unwrap(),
            tree: TreeId::of(&second.to_le_bytes()),
            parent: None,
            paths: vec!["/shop".to_owned()],
            hostname: "shop".to_owned(),
            username: String::new(),
            tags: Vec::new(),
            original: None,
            program_version: String::new(),
            summary: None,
        }
    }

    #[track_caller]
    fn check(direction: Direction, there: &[i64], here: &[i64], expected: &[i64]) {
        let list = |seconds: &[i64]| seconds.iter().map(|second| at(*second)).collect::<Vec<_>>();
        let found = missing(&list(there), &list(here), &at(9), direction);
        let seconds: Vec<i64> = found.iter().map(|snapshot| snapshot.time.as_second()).collect();
        assert_eq!(seconds, expected);
    }

    #[test]
    fn an_outage_of_a_replica_is_made_good_and_what_it_forgot_stays_forgotten() {
        use Direction::ToReplica;
        check(ToReplica, &[1, 2, 3, 4, 9], &[2, 9], &[4, 3]);
        check(ToReplica, &[1, 2, 3, 9], &[1, 2, 3], &[9]);
        check(ToReplica, &[1, 2, 9], &[1, 2, 9], &[]);
        // What the first one forgot stays where it is, and goes nowhere.
        check(ToReplica, &[3, 9], &[1, 2, 3, 9], &[]);
        // A new replica gets everything.
        check(ToReplica, &[1, 2, 9], &[9], &[2, 1]);
        check(ToReplica, &[1, 2, 9], &[], &[9, 2, 1]);
    }

    #[test]
    fn what_the_first_one_forgot_is_not_brought_back_and_what_it_missed_is() {
        use Direction::ToFirst;
        check(ToFirst, &[1, 2, 3, 4, 9], &[1, 3, 9], &[4]);
        check(ToFirst, &[1, 2, 3, 9], &[3, 9], &[]);
        check(ToFirst, &[1, 2, 9], &[9], &[]);
    }

    #[test]
    fn a_changed_copy_of_the_same_backup_is_not_missing() {
        let tagged = Snapshot { id: SnapshotId::of(b"tagged"), tags: vec!["kept".to_owned()], ..at(2) };
        assert!(missing(&[tagged], &[at(1), at(2)], &at(9), Direction::ToReplica).is_empty());
    }
}
