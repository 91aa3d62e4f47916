//! Objects that go so that the snapshot's can take their place: which others hang on them, and in which order all of them are
//! dropped. What was not selected is never dropped: where it hangs on something that would go, the restore is refused.

use std::collections::{BTreeSet, HashMap, HashSet};

use basekeep_archive::{Archive, DifferenceKind, Entry, ObjectIdentity};

use super::Reconciled;
use crate::EngineError;
use crate::restore::project::Held;
use crate::selection::Tree;

/// One object to drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::restore) struct Drop {
    /// The dump id of the snapshot's entry that takes its place.
    pub(in crate::restore) by: i32,
    /// For people.
    pub(in crate::restore) name: String,
    pub(in crate::restore) sql: String,
}

/// Decides what is dropped, for the entries in `changed` (dump ids of the snapshot), and keeps all that must be made again.
///
/// Errors, as kind `Usage`: something that was not selected needs what would be dropped.
pub(super) fn decide(
    archive: &Archive,
    held: &Held,
    changed: &HashSet<i32>,
    result: &mut Reconciled,
) -> Result<(), EngineError> {
    let ours: HashMap<ObjectIdentity, i32> =
        archive.entries.iter().map(|entry| (entry.identity(), entry.dump_id)).collect();
    let theirs = &held.archive.entries;
    let tree = Tree::new(&held.archive);
    let mut dependents: HashMap<i32, Vec<usize>> = HashMap::new();
    for (n, entry) in theirs.iter().enumerate() {
        entry.dependencies.iter().for_each(|id| dependents.entry(*id).or_default().push(n));
    }
    let is_changed = |entry: &Entry| ours.get(&entry.identity()).is_some_and(|id| changed.contains(id));
    let mut going: BTreeSet<usize> = (0..theirs.len()).filter(|&n| is_changed(&theirs[n])).collect();
    let mut open: Vec<usize> = going.iter().copied().collect();
    let mut stays: BTreeSet<String> = BTreeSet::new();
    while let Some(n) = open.pop() {
        // What is a part of it goes with it, and what hangs on that, too.
        let parts = (0..theirs.len()).filter(|&part| tree.chain(part).any(|above| above == n));
        for part in parts {
            for &other in dependents.get(&theirs[part].dump_id).into_iter().flatten() {
                let entry = &theirs[other];
                let goes = tree.chain(other).any(|above| going.contains(&above));
                if goes || matches!(entry.desc.as_slice(), b"ACL" | b"COMMENT" | b"SECURITY LABEL") {
                    continue;
                }
                if ours.contains_key(&entry.identity()) {
                    going.insert(other);
                    open.push(other);
                } else {
                    stays.insert(format!("{} needs {}", entry.display(), theirs[n].display()));
                }
            }
        }
    }
    if !stays.is_empty() {
        let stays: Vec<String> = stays.into_iter().collect();
        return Err(EngineError::usage(format!(
            "what was not selected needs what would be replaced: {}",
            stays.iter().take(5).cloned().collect::<Vec<_>>().join("; ")
        ))
        .hint("select it too, or drop it first; --only data replaces rows alone"));
    }
    for (n, entry) in theirs.iter().enumerate() {
        let above = tree.chain(n).skip(1).find(|above| going.contains(above));
        let attribute = matches!(entry.desc.as_slice(), b"ACL" | b"COMMENT" | b"SECURITY LABEL");
        if let Some(above) = above.filter(|_| !attribute && !ours.contains_key(&entry.identity())) {
            result.warnings.push(format!(
                "{} goes with {}, and the snapshot has none",
                entry.display(),
                theirs[above].display()
            ));
        }
    }
    drops(theirs, &tree, &going, &ours, result);
    made_again(archive, theirs, &going, result);
    Ok(())
}

/// Foreign keys first, since they hold tables together; then the rest, last made first.
fn drops(
    theirs: &[Entry],
    tree: &Tree,
    going: &BTreeSet<usize>,
    ours: &HashMap<ObjectIdentity, i32>,
    result: &mut Reconciled,
) {
    let by = |n: usize| tree.chain(n).find_map(|above| ours.get(&theirs[above].identity()).copied());
    let mut drop = |n: usize| {
        let entry = &theirs[n];
        if let (Some(by), Some(sql)) = (by(n), &entry.drop_stmt) {
            result.drops.push(Drop { by, name: entry.display(), sql: sql.to_string() });
        }
    };
    let is_key = |n: usize| theirs[n].desc == "FK CONSTRAINT";
    let goes = |n: usize| tree.chain(n).any(|above| going.contains(&above));
    (0..theirs.len()).filter(|&n| is_key(n) && goes(n)).for_each(&mut drop);
    let by_itself = |n: usize| !tree.chain(n).skip(1).any(|above| going.contains(&above));
    going.iter().rev().copied().filter(|&n| !is_key(n) && by_itself(n)).for_each(&mut drop);
}

/// The snapshot's entries that are gone with what is dropped.
fn made_again(archive: &Archive, theirs: &[Entry], going: &BTreeSet<usize>, result: &mut Reconciled) {
    let identities: HashSet<ObjectIdentity> = going.iter().map(|&n| theirs[n].identity()).collect();
    let tree = Tree::new(archive);
    for (n, entry) in archive.entries.iter().enumerate() {
        let gone = tree.chain(n).any(|above| identities.contains(&archive.entries[above].identity()));
        if gone && !super::is_data(entry) && !matches!(entry.desc.as_slice(), b"ACL" | b"DEFAULT ACL") {
            let anew = result.keep.insert(entry.dump_id);
            if anew && result.present.contains(&entry.dump_id) {
                result.replaced.insert(entry.dump_id);
                if !result.changed.contains(&entry.dump_id) {
                    result.equal = result.equal.saturating_sub(1);
                }
            }
        }
    }
}

/// Whether an object of this kind can be dropped and made again, and is not rather a place for others.
pub(super) fn can_go(entry: &Entry) -> bool {
    let identity_sequence =
        entry.desc == "SEQUENCE" && entry.defn.as_ref().is_some_and(|text| text.starts_with(b"ALTER TABLE "));
    !identity_sequence
        && entry.drop_stmt.as_ref().is_some_and(|text| !text.is_empty())
        && !matches!(
            entry.desc.as_slice(),
            b"SCHEMA" | b"EXTENSION" | b"ROW SECURITY" | b"FUNCTION" | b"PROCEDURE" | b"DEFAULT ACL" | b"ACL"
        )
}

/// Whether a difference is one of the owner alone.
pub(super) fn is_owner_alone(kind: &DifferenceKind) -> bool {
    let DifferenceKind::Changed { a, b } = kind else { return false };
    let without = |text: &str| -> Vec<String> {
        let owner = |line: &&str| line.starts_with("ALTER ") && line.contains(" OWNER TO ");
        text.lines().filter(|line| !owner(line)).map(str::to_owned).collect()
    };
    without(a) == without(b)
}
