//! File names for objects: any name gives one that every file system takes, and no two of them are the same, not even
//! where upper and lower case are one.

use std::collections::{BTreeMap, HashMap};

use md5::{Digest as _, Md5};

/// Bytes of a part of a path, without its ending; file systems take 255.
const LONGEST: usize = 180;
/// Names that Windows keeps for devices.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// Schema, kind and name.
type Place = (String, String, String);

/// The paths of some places.
pub(in crate::export) struct Names(HashMap<Place, String>);

impl Names {
    /// Chooses a path for each place. Of names that differ in case alone, the first one in byte order that has no upper case
    /// stays plain, and the others are marked.
    pub(in crate::export) fn of<'a>(places: impl Iterator<Item = &'a Place>) -> Self {
        let mut alike: BTreeMap<String, Vec<(String, &Place)>> = BTreeMap::new();
        for place in places {
            let (schema, kind, name) = place;
            let name = part(name);
            let path = match kind.as_str() {
                "" => format!("{schema}/{name}"),
                kind => format!("{schema}/{kind}/{name}"),
            };
            alike.entry(path.to_lowercase()).or_default().push((path, place));
        }
        let mut chosen = HashMap::new();
        for (lower, group) in alike {
            let alone = group.len() == 1;
            for (path, place) in group {
                let plain = alone || path == lower;
                let path = if plain { path } else { format!("{path}~{}", mark(&place.2)) };
                chosen.insert(place.clone(), path);
            }
        }
        Self(chosen)
    }

    /// The path of a place, without its ending.
    pub(in crate::export) fn path(&self, place: &Place) -> &str {
        self.0.get(place).map_or("", String::as_str)
    }
}

/// A name as a part of a path. One that had to be changed has a mark of the whole name.
pub(crate) fn part(name: &str) -> String {
    let keep = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '(' | ')' | ',' | '[' | ']');
    let mut safe: String = name.chars().map(|c| if keep(c) { c } else { '_' }).collect();
    if safe.starts_with('.') || safe.is_empty() {
        safe.insert(0, '_');
    }
    let stem = safe.split('.').next().unwrap_or_default().to_lowercase();
    let is_device =
        DEVICES.iter().any(|device| stem.strip_prefix(device).is_some_and(|rest| rest.len() <= 1));
    if safe.ends_with('.') || is_device || name == "_database" {
        safe.push('_');
    }
    if safe.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|&n| safe.is_char_boundary(n)).unwrap_or(0);
        safe.truncate(end);
    }
    if safe == name { safe } else { format!("{safe}~{}", mark(name)) }
}

/// Distinguishes names; nothing secret depends on it.
fn mark(name: &str) -> String {
    let mut digest = hex::encode(Md5::digest(name.as_bytes()));
    digest.truncate(8);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn place(name: &str) -> Place {
        ("public".into(), "tables".into(), name.into())
    }

    #[test]
    fn plain_names_stay_and_others_are_marked() {
        assert_eq!(part("orders"), "orders");
        assert_eq!(part("total(integer,text)"), "total(integer,text)");
        assert_eq!(part("größe"), "größe");
        for odd in
            ["a/b", "..", ".hidden", "", "con", "COM1", "lpt1.x", "a b", "ends.", "new\nline", "_database"]
        {
            let safe = part(odd);
            assert!(safe.contains('~') && !safe.contains('/') && !safe.starts_with('.'), "{odd:?}: {safe}");
        }
        assert!(part(&"ü".repeat(200)).len() <= 200);
        assert_eq!(part("constant"), "constant");
    }

    #[test]
    fn names_that_differ_in_case_or_in_odd_characters_alone_have_files_of_their_own() {
        let places: Vec<Place> =
            ["Order", "order", "ORDER", "Item", "a/b", "a_b", "a:b"].iter().map(|name| place(name)).collect();
        let names = Names::of(places.iter());
        let paths: BTreeSet<String> = places.iter().map(|place| names.path(place).to_lowercase()).collect();
        assert_eq!(paths.len(), places.len());
        assert_eq!(names.path(&place("order")), "public/tables/order");
        assert_eq!(names.path(&place("Item")), "public/tables/Item");
    }
}
