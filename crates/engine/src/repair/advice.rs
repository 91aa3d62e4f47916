//! What to do about damage: the next command, by the kind of file that is damaged.

use crate::verify::VerifyReport;

/// Lines that say what to do about what a check found, in the order in which to do it. Empty without damage.
pub fn advice(report: &VerifyReport) -> Vec<&'static str> {
    let any = |folder: &str| report.damage.iter().any(|damage| damage.file.starts_with(folder));
    let mut lines = Vec::new();
    if any("config") {
        lines.push("`config` cannot be repaired: bring it back from a copy of the repository's folder");
    }
    if any("keys/") {
        lines.push(
            "`basekeep key remove` removes a damaged key file, `basekeep key add` adds its password again",
        );
    }
    let contents = any("data/") || any("index/") || any("/");
    if any("data/") {
        lines.push(
            "first `basekeep repair index --read-data`: it forgets what cannot be read and keeps the rest",
        );
    } else if any("index/") {
        lines.push("first `basekeep repair index`: it finds again what is in the packs");
    }
    if contents {
        lines.push(
            "then `basekeep backup`: it stores again what is still in the database, which makes old snapshots whole",
        );
    }
    if contents || any("snapshots/") {
        let last = "`basekeep repair` drops what is lost for good from the snapshots and names it";
        lines.push(last);
    }
    if !lines.is_empty() {
        lines.push("snapshots that are not named above are whole");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Damage;

    #[test]
    fn the_next_command_depends_on_what_is_damaged() {
        let report = |files: &[&str]| {
            let damage = |file: &&str| Damage {
                file: (*file).to_owned(),
                problem: String::new(),
                snapshots: Vec::new(),
                touches: Vec::new(),
            };
            VerifyReport { damage: files.iter().map(damage).collect(), ..VerifyReport::default() }
        };
        let lines = |files: &[&str]| advice(&report(files)).join("\n");
        assert_eq!(lines(&[]), "");
        let packs = lines(&["data/3f/3f00", "index/00"]);
        let at = |command: &str| packs.find(command).unwrap_or_else(|| panic!("{command}: {packs}"));
        assert!(at("repair index --read-data") < at("basekeep backup"));
        assert!(at("basekeep backup") < at("`basekeep repair` drops"));
        assert!(lines(&["index/00"]).contains("`basekeep repair index`"));
        assert!(lines(&["keys/00"]).contains("key remove") && !lines(&["keys/00"]).contains("backup"));
        assert!(!lines(&["snapshots/00"]).contains("index"));
    }
}
