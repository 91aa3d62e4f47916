//! Which crate may know which. The picture is docs/ARCHITECTURE.md's; change both in one commit.

use super::{Finding, Package};

/// The crates of ours that each crate may depend on outside of its tests.
const MAY_KNOW: [(&str, &[&str]); 11] = [
    ("archive", &[]),
    ("postgres", &[]),
    ("store", &[]),
    ("repository", &["store"]),
    ("supabase", &["archive", "postgres", "store", "repository"]),
    ("engine", &["archive", "postgres", "store", "repository", "supabase"]),
    ("server", &["engine"]),
    ("cli", &["engine", "server"]),
    ("testkit", &["postgres"]),
    ("second-reader", &[]),
    ("xtask", &["repository", "store"]),
];

/// Outside libraries that belong to some crates alone.
const RESERVED: [(&str, &[&str]); 4] = [
    ("object_store", &["store"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("postgres-protocol", &["postgres"]),
];

/// Libraries that the pure crate does without.
const NOT_IN_ARCHIVE: [&str; 4] = ["tokio", "futures", "async-trait", "reqwest"];

pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(|package| check_dependencies(&package.name, &dependencies(package))).collect()
}

fn dependencies(package: &Package) -> Vec<String> {
    ["dependencies", "build-dependencies"]
        .iter()
        .filter_map(|section| package.manifest.get(*section)?.as_table())
        .flat_map(|section| section.keys().cloned())
        .collect()
}

fn check_dependencies(package: &str, dependencies: &[String]) -> Vec<Finding> {
    let place = if package == "xtask" {
        "xtask/Cargo.toml".to_owned()
    } else {
        format!("crates/{package}/Cargo.toml")
    };
    let Some((_, may_know)) = MAY_KNOW.iter().find(|(name, _)| *name == package) else {
        return vec![Finding::error(place, "this crate has no place yet in xtask/src/tidy/layers.rs")];
    };
    let mut findings = Vec::new();
    for dependency in dependencies {
        if let Some(ours) = dependency.strip_prefix("basekeep-")
            && !may_know.contains(&ours)
        {
            findings.push(Finding::error(&place, format!("{package} must not know {ours}")));
        }
        if let Some((_, owners)) = RESERVED.iter().find(|(name, _)| name == dependency)
            && !owners.contains(&package)
        {
            findings.push(Finding::error(&place, format!("{dependency} belongs to {}", owners.join(", "))));
        }
        if package == "archive" && NOT_IN_ARCHIVE.contains(&dependency.as_str()) {
            findings.push(Finding::error(&place, format!("archive is pure: no {dependency}")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::check_dependencies;

    fn messages(package: &str, dependencies: &[&str]) -> Vec<String> {
        let dependencies: Vec<String> = dependencies.iter().map(|name| (*name).to_owned()).collect();
        check_dependencies(package, &dependencies).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_crate_knows_only_those_below_it() {
        assert!(messages("repository", &["basekeep-store", "tokio"]).is_empty());
        assert_eq!(messages("store", &["basekeep-repository"]), ["store must not know repository"]);
        assert_eq!(messages("postgres", &["basekeep-archive"]), ["postgres must not know archive"]);
    }

    #[test]
    fn the_backup_storage_and_the_terminal_have_one_owner_each() {
        assert_eq!(
            messages("engine", &["object_store", "clap"]),
            ["object_store belongs to store", "clap belongs to cli"]
        );
    }

    #[test]
    fn the_archive_is_pure() {
        assert_eq!(messages("archive", &["tokio"]), ["archive is pure: no tokio"]);
    }

    #[test]
    fn a_new_crate_must_be_given_its_place() {
        assert_eq!(messages("novel", &[]).len(), 1);
    }
}
