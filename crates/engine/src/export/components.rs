//! One SQL script for each component of a project: accounts, functions, policies, and so on. Loaded one after the other in
//! the order of their names they give the whole database; each alone goes into a database that has what its head names.

mod kinds;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use basekeep_archive::{Archive, Entry};

use self::kinds::Kind;
use super::job::{Job, Sums};
use super::place::Place;
use super::script::{Script, ScriptOptions};
use super::{Sink, order};
use crate::selection::Part;
use crate::stored::path;
use crate::{EngineError, listing};

/// The folder of the scripts.
pub(super) const AREA: &str = "components/";
/// Names in a head.
const MOST_NAMES: usize = 60;
const LARGEST_GLOBALS: usize = 256 << 20;

/// One script's entries, by dump id.
#[derive(Default)]
struct Component {
    definitions: HashSet<i32>,
    data: HashSet<i32>,
}

/// Writes the scripts.
pub(super) async fn write(job: &Job<'_>, place: &mut Place) -> Result<Sums, EngineError> {
    let archive = &job.contents.archive;
    let options = ScriptOptions { replace: true, ..ScriptOptions::of(job.options) };
    let kinds = kinds::of(job);
    let components = components(job, &kinds);
    let mut sums = Sums::default();
    for kind in Kind::ALL {
        let name = format!("{AREA}{}{}", kind.file(), job.options.compression.suffix());
        if kind == Kind::Roles {
            roles(job, place, &name).await?;
            continue;
        }
        let Some(component) = components.get(&kind) else { continue };
        let definitions = options.definitions && !component.definitions.is_empty();
        let data = options.data && !component.data.is_empty();
        if !definitions && !data {
            continue;
        }
        let mut sink = place.begin(&name, job.options.compression)?;
        let mut script = Script::new(job, options, &mut sink);
        script.begin(&head(archive, kind, component, &kinds)).await?;
        if definitions {
            script.choose(true, false);
            script.steps(&|entry| component.definitions.contains(&entry.dump_id)).await?;
        }
        if data {
            script.choose(false, true);
            let found = script.steps(&|entry| component.data.contains(&entry.dump_id)).await?;
            if !kind.repeats() {
                sums += found;
            }
        }
        place.end(&name, sink).await?;
    }
    if let Some(folder) = place.folder()
        && job.is_everything()
    {
        folder.remove_stale(AREA)?;
    }
    Ok(sums)
}

async fn roles(job: &Job<'_>, place: &mut Place, name: &str) -> Result<(), EngineError> {
    if !job.has(Part::Roles) {
        return Ok(());
    }
    let file = listing::read_file(job.repository, job.snapshot, path::GLOBALS_SQL, LARGEST_GLOBALS).await?;
    let Some(text) = file else { return Ok(()) };
    let mut sink = place.begin(name, job.options.compression)?;
    sink.write(&text).await?;
    place.end(name, sink).await.map(drop)
}

/// The entries of each script: those of its kind, and definitions that are repeated so that it stands alone.
fn components(job: &Job<'_>, kinds: &HashMap<i32, Kind>) -> BTreeMap<Kind, Component> {
    let entries = &job.contents.archive.entries;
    let by_id: HashMap<i32, &Entry> = entries.iter().map(|entry| (entry.dump_id, entry)).collect();
    let mut found: BTreeMap<Kind, Component> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| job.wants(entry)) {
        let Some(kind) = kinds.get(&entry.dump_id) else { continue };
        let component = found.entry(*kind).or_default();
        if entry.is_data() { &mut component.data } else { &mut component.definitions }.insert(entry.dump_id);
    }
    // Schemas that extensions lie in, functions that tables and views call, and what belongs to these.
    for (kind, repeated) in [(Kind::Extensions, Kind::Schema), (Kind::Schema, Kind::Functions)] {
        let Some(component) = found.get(&kind) else { continue };
        let mut open: Vec<i32> = component.definitions.iter().copied().collect();
        let mut seen: HashSet<i32> = open.iter().copied().collect();
        let mut more = HashSet::new();
        while let Some(id) = open.pop() {
            let Some(entry) = by_id.get(&id) else { continue };
            for id in entry.dependencies.iter().filter(|id| seen.insert(**id)) {
                if kinds.get(id) == Some(&repeated) && by_id.get(id).is_some_and(|entry| job.wants(entry)) {
                    more.insert(*id);
                }
                open.push(*id);
            }
        }
        if let Some(component) = found.get_mut(&kind) {
            component.definitions.extend(more);
        }
    }
    for (kind, wanted) in kinds::copies(job, kinds) {
        let component = found.entry(kind).or_default();
        for entry in entries.iter().filter(|entry| wanted.contains(&entry.dump_id) && job.wants(entry)) {
            let list = if entry.is_data() { &mut component.data } else { &mut component.definitions };
            list.insert(entry.dump_id);
        }
    }
    found
}

/// What a script is and what it needs.
fn head(archive: &Archive, kind: Kind, component: &Component, kinds: &HashMap<i32, Kind>) -> Vec<String> {
    let by_id: HashMap<i32, &Entry> = archive.entries.iter().map(|entry| (entry.dump_id, entry)).collect();
    let mut needed: BTreeMap<Kind, BTreeSet<String>> = BTreeMap::new();
    let own = |id: &i32| component.definitions.contains(id) || component.data.contains(id);
    for id in component.definitions.iter().chain(&component.data) {
        let Some(entry) = by_id.get(id) else { continue };
        for other in entry.dependencies.iter().filter(|id| !own(id)).filter_map(|id| by_id.get(id)) {
            if let Some(kind) = kinds.get(&other.dump_id) {
                needed.entry(*kind).or_default().insert(other.display());
            }
        }
    }
    let data: Vec<usize> = archive
        .entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| component.data.contains(&entry.dump_id) && entry.desc == "TABLE DATA")
        .map(|(index, _)| index)
        .collect();
    for index in order::referred_to(archive, &data) {
        let entry = &archive.entries[index];
        if let Some(kind) = kinds.get(&entry.dump_id).filter(|_| !own(&entry.dump_id)) {
            needed.entry(*kind).or_default().insert(entry.display());
        }
    }
    let mut lines = vec![kind.title().to_owned()];
    if kind.repeats() {
        lines.push("All of it is in other scripts, too; do not load it with them.".to_owned());
    }
    if !component.data.is_empty() {
        lines.push("The tables must not hold these rows yet.".to_owned());
    }
    if needed.is_empty() {
        lines.push("It needs nothing but the roles that it names.".to_owned());
    } else {
        lines.push("It needs the roles that it names, and:".to_owned());
    }
    for (kind, names) in needed {
        let more = names.len().saturating_sub(MOST_NAMES);
        lines.push(format!("  of {}:", kind.file()));
        lines.extend(names.into_iter().take(MOST_NAMES).map(|name| format!("    {name}")));
        if more > 0 {
            lines.push(format!("    and {more} more"));
        }
    }
    lines
}
