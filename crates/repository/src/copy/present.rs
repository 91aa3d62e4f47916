//! Which snapshots the target has already.

use crate::{Snapshot, SnapshotId};

/// The copy of a snapshot among those of the target.
pub(super) fn find(snapshot: &Snapshot, there: &[Snapshot]) -> Option<SnapshotId> {
    there.iter().find(|other| is_copy(snapshot, other)).map(|other| other.id)
}

/// The same tree, and either the same time, host and paths or the same original. Tags may have been changed since; a
/// snapshot whose tree was rewritten is another one.
fn is_copy(one: &Snapshot, other: &Snapshot) -> bool {
    let taken_alike = || one.time == other.time && one.hostname == other.hostname && one.paths == other.paths;
    one.tree == other.tree && (taken_alike() || original(one) == original(other))
}

fn original(snapshot: &Snapshot) -> SnapshotId {
    snapshot.original.unwrap_or(snapshot.id)
}
