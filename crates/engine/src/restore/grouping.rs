//! Which steps belong into one transaction: rows of tables that foreign keys connect, and with them what is dropped and made
//! again. Everything else stays a step of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use basekeep_archive::{Archive, Entry, ObjectIdentity};

use super::Mode;
use super::group::Group;
use super::reconcile::{Drop, Reconciled};
use super::schedule::Need;
use super::work::{Action, Stage, Step};
use crate::selection::Tree;

/// Puts steps together. `archive` is the snapshot's, `held` the target's.
pub(super) fn group(
    steps: Vec<Step>,
    archive: &Archive,
    held: &Archive,
    found: &Reconciled,
    mode: Mode,
    rejects: Option<&Path>,
) -> Vec<Step> {
    let theirs = Roots::new(held, None);
    let ours = Roots::new(archive, Some((held, &theirs)));
    let into_held = |step: &Step| matches!(&step.action, Action::Table(table) if table.load.is_some());
    let mut members: BTreeSet<usize> = (0..steps.len()).filter(|&n| into_held(&steps[n])).collect();
    let dropped: HashSet<ObjectIdentity> =
        found.drops.iter().filter_map(|drop| ours.of_id(drop.by).cloned()).collect();
    let root_of: Vec<Option<ObjectIdentity>> =
        steps.iter().map(|step| ours.of_id(step.dump_id).cloned()).collect();
    if mode == Mode::Clear {
        take_in_dependents(&steps, &root_of, &dropped, &mut members);
    }
    if members.is_empty() {
        return steps;
    }
    let component = components(&root_of, &members, archive, held, &ours, &theirs);
    arrange(steps, &members, &root_of, &component, &found.drops, &ours, rejects)
}

/// The root of each entry, as an object of the target, where it is there.
struct Roots {
    tree: Tree,
    roots: Vec<ObjectIdentity>,
}

impl Roots {
    fn new(archive: &Archive, held: Option<(&Archive, &Self)>) -> Self {
        let tree = Tree::new(archive);
        let known: HashMap<ObjectIdentity, &ObjectIdentity> = match held {
            Some((held, theirs)) => held.entries.iter().map(Entry::identity).zip(&theirs.roots).collect(),
            None => HashMap::new(),
        };
        let root = |n: usize| {
            let root = archive.entries[tree.root(n)].identity();
            // Rows without the definition of their table are of that table all the same.
            let desc = match root.desc.as_slice() {
                b"TABLE DATA" => "TABLE".into(),
                b"SEQUENCE SET" => "SEQUENCE".into(),
                _ => root.desc.clone(),
            };
            let root = ObjectIdentity { desc, ..root };
            known.get(&root).map_or(root, |known| (*known).clone())
        };
        let roots = (0..archive.entries.len()).map(root).collect();
        Self { tree, roots }
    }

    fn of(&self, entry: usize) -> Option<&ObjectIdentity> {
        self.roots.get(entry)
    }

    fn of_id(&self, dump_id: i32) -> Option<&ObjectIdentity> {
        self.tree.index(dump_id).and_then(|entry| self.of(entry))
    }
}

/// When an object is made again, all of it is, and so is what needs it.
fn take_in_dependents(
    steps: &[Step],
    root_of: &[Option<ObjectIdentity>],
    dropped: &HashSet<ObjectIdentity>,
    members: &mut BTreeSet<usize>,
) {
    let mut roots: HashSet<&ObjectIdentity> =
        root_of.iter().flatten().filter(|root| dropped.contains(*root)).collect();
    roots.extend(members.iter().filter_map(|&n| root_of[n].as_ref()));
    loop {
        let before = (members.len(), roots.len());
        let of_members = members.iter().flat_map(|&m| &steps[m].after);
        let needed: HashSet<usize> =
            of_members.filter(|(_, need)| *need == Need::Success).map(|(n, _)| *n).collect();
        for n in 0..steps.len() {
            // A step that only comes later may stay outside; one that needs a member may not.
            let needs = steps[n].after.iter().any(|(m, need)| *need == Need::Success && members.contains(m));
            let belongs = root_of[n].as_ref().is_some_and(|root| roots.contains(root));
            // Between two members there is no place for a step of its own.
            let is_needed = needed.contains(&n)
                && steps[n].stage == Stage::Parallel
                && steps[n].after.iter().any(|(m, _)| members.contains(m));
            if (needs || belongs || is_needed) && !matches!(steps[n].action, Action::LargeObjects(_)) {
                members.insert(n);
                roots.extend(&root_of[n]);
            }
        }
        if (members.len(), roots.len()) == before {
            return;
        }
    }
}

/// The number of the component that each member belongs to.
fn components(
    root_of: &[Option<ObjectIdentity>],
    members: &BTreeSet<usize>,
    archive: &Archive,
    held: &Archive,
    ours: &Roots,
    theirs: &Roots,
) -> HashMap<usize, usize> {
    let mut number: HashMap<&ObjectIdentity, usize> = HashMap::new();
    let mut union: Vec<usize> = Vec::new();
    for root in members.iter().filter_map(|&n| root_of[n].as_ref()) {
        number.entry(root).or_insert_with(|| {
            union.push(union.len());
            union.len() - 1
        });
    }
    let find = |union: &[usize], mut n: usize| {
        while union[n] != n {
            n = union[n];
        }
        n
    };
    for (archive, roots, all) in [(archive, ours, true), (held, theirs, false)] {
        for (n, entry) in archive.entries.iter().enumerate() {
            if !all && entry.desc != "FK CONSTRAINT" {
                continue;
            }
            let needed = entry.dependencies.iter().filter_map(|id| roots.of_id(*id));
            let connected: Vec<usize> =
                roots.of(n).into_iter().chain(needed).filter_map(|root| number.get(root).copied()).collect();
            for pair in connected.windows(2) {
                let (a, b) = (find(&union, pair[0]), find(&union, pair[1]));
                union[a.max(b)] = a.min(b);
            }
        }
    }
    members.iter().filter_map(|&n| Some((n, find(&union, *number.get(root_of[n].as_ref()?)?)))).collect()
}

/// Others first, then the groups, then what comes after members.
#[allow(clippy::too_many_arguments, reason = "all of it is one arrangement")]
fn arrange(
    steps: Vec<Step>,
    members: &BTreeSet<usize>,
    root_of: &[Option<ObjectIdentity>],
    component: &HashMap<usize, usize>,
    drops: &[Drop],
    ours: &Roots,
    rejects: Option<&Path>,
) -> Vec<Step> {
    let mut later: BTreeSet<usize> = BTreeSet::new();
    for (n, step) in steps.iter().enumerate() {
        let comes_after = step.after.iter().any(|(m, _)| members.contains(m) || later.contains(m));
        if !members.contains(&n) && comes_after {
            later.insert(n);
        }
    }
    let first = (0..steps.len()).filter(|n| !members.contains(n) && !later.contains(n));
    // New place of each step; members get that of their group.
    let mut place: HashMap<usize, usize> = first.enumerate().map(|(new, old)| (old, new)).collect();
    let groups: BTreeSet<usize> = component.values().copied().collect();
    let group_place: BTreeMap<usize, usize> =
        groups.iter().enumerate().map(|(n, group)| (*group, place.len() + n)).collect();
    let places = place.len() + groups.len();
    place.extend(component.iter().map(|(member, group)| (*member, group_place[group])));
    place.extend(later.iter().enumerate().map(|(n, &old)| (old, places + n)));

    let mut arranged: Vec<Step> = Vec::new();
    arranged.resize_with(places + later.len(), Step::default);
    for group in &groups {
        let of_group = |drop: &&Drop| {
            let root = ours.of_id(drop.by);
            component.iter().any(|(member, other)| other == group && root_of[*member].as_ref() == root)
        };
        let action = Group {
            drops: drops.iter().filter(of_group).cloned().collect(),
            members: Vec::new(),
            rejects: rejects.map(Path::to_owned),
        };
        arranged[group_place[group]] =
            Step { stage: Stage::Parallel, action: Action::Group(action), ..Step::default() };
    }
    for (old, mut step) in steps.into_iter().enumerate() {
        let Some(&new) = place.get(&old) else { continue };
        let mut after: BTreeMap<usize, Need> = BTreeMap::new();
        for (n, need) in step.after.drain(..) {
            let Some(&n) = place.get(&n).filter(|&&n| n != new) else { continue };
            let known = after.entry(n).or_insert(need);
            if need == Need::Success {
                *known = Need::Success;
            }
        }
        let Some(slot) = arranged.get_mut(new) else { continue };
        match &mut slot.action {
            Action::Group(group) if members.contains(&old) => {
                // What only keeps an order must not go round in a circle: grants of one group come after those of another, and
                // the other way round. What they need of each other made them one group.
                for (n, need) in after.into_iter().filter(|(n, need)| *n < new || *need == Need::Success) {
                    match slot.after.iter_mut().find(|(m, _)| *m == n) {
                        Some((_, known)) if need == Need::Success => *known = need,
                        Some(_) => {}
                        None => slot.after.push((n, need)),
                    }
                }
                slot.exclusive.append(&mut step.exclusive);
                slot.shared.append(&mut step.shared);
                slot.weight = slot.weight.saturating_add(match &step.action {
                    Action::Table(table) => table.bytes(),
                    _ => 0,
                });
                group.members.push(step);
            }
            _ => {
                step.after = after.into_iter().collect();
                *slot = step;
            }
        }
    }
    for step in &mut arranged {
        if let Action::Group(group) = &step.action {
            let tables: Vec<&str> = group.tables().map(|(n, _)| group.members[n].name.as_str()).collect();
            let all: Vec<&str> = group.members.iter().map(|member| member.name.as_str()).collect();
            let named = if tables.is_empty() { &all } else { &tables };
            step.name = named.first().copied().unwrap_or_default().to_owned();
            if named.len() > 1 {
                step.name += &format!(" and {} more", named.len() - 1);
            }
        }
    }
    arranged
}
