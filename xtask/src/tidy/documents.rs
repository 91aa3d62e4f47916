//! What the documents must mention: each crate, and the reason for each dependency.

use super::{Finding, Package};
use std::fs;
use std::io;
use std::path::Path;

const MAP: &str = "docs/ARCHITECTURE.md";

pub(super) fn check(root: &Path, packages: &[Package]) -> io::Result<Vec<Finding>> {
    let map = fs::read_to_string(root.join(MAP))?;
    let crates: Vec<String> =
        packages
            .iter()
            .map(|package| {
                if package.name == "xtask" {
                    package.name.clone()
                } else {
                    format!("crates/{}", package.name)
                }
            })
            .collect();
    Ok(check_map(&map, &crates, &used_libraries(packages)))
}

/// The outside libraries that some crate's own code uses.
fn used_libraries(packages: &[Package]) -> Vec<String> {
    let sections = packages.iter().filter_map(|package| package.manifest.get("dependencies")?.as_table());
    let mut names: Vec<String> = sections
        .flat_map(|section| section.keys().cloned())
        .filter(|name| !name.starts_with("basekeep-"))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn check_map(map: &str, crates: &[String], libraries: &[String]) -> Vec<Finding> {
    let missing_crates = crates.iter().filter(|name| !map.contains(&format!("`{name}`")));
    let missing_libraries = libraries.iter().filter(|name| !mentions(map, name));
    missing_crates
        .map(|name| Finding::error(MAP, format!("does not say what {name} is for")))
        .chain(
            missing_libraries
                .map(|name| Finding::error(MAP, format!("does not say why we depend on {name}"))),
        )
        .collect()
}

/// Whether a table row names the library as a whole word.
fn mentions(map: &str, name: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '-' || character == '_';
    let rows = map.lines().filter(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split(|character| !is_part(character))).any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::check_map;

    #[test]
    fn crates_and_libraries_must_be_in_the_map() {
        let map = "# Map\n\n| `crates/store` | objects |\n| tokio, tokio-rustls | I/O |\n";
        let check = |crates: &[&str], libraries: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            check_map(map, &owned(crates), &owned(libraries)).len()
        };
        assert_eq!(check(&["crates/store"], &["tokio", "tokio-rustls"]), 0);
        assert_eq!(check(&["crates/engine"], &["rustls"]), 2);
    }
}
