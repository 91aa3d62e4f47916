//! Files that hold secrets: told by their names, and listed by the names of their variables, never by values.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A file larger than this is listed without its variables, in bytes.
const LARGEST: u64 = 1 << 20;

/// Whether a file of this name holds secrets. Examples of `.env` files do not.
pub(super) fn is_secret(name: &str) -> bool {
    let example = [".example", ".sample", ".template", ".dist"].iter().any(|end| name.ends_with(end));
    name == ".npmrc" || name == ".netrc" || name == ".dev.vars" || (is_dotenv(name) && !example)
}

fn is_dotenv(name: &str) -> bool {
    name == ".env" || name.starts_with(".env.") || name.starts_with(".env_") || name.ends_with(".env")
}

/// The file with the names of its variables.
pub(super) fn describe(file: &Path, shown: &str) -> String {
    let small = fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LARGEST);
    let text = small.then(|| fs::read_to_string(file).ok()).flatten().unwrap_or_default();
    let names: Vec<&str> = text.lines().filter_map(variable).collect();
    if names.is_empty() || !is_dotenv(&file.file_name().unwrap_or_default().to_string_lossy()) {
        return shown.to_owned();
    }
    format!("{shown} ({})", names.join(", "))
}

/// The name in `NAME=…` or `export NAME = …`. Anything that is no plain name may be part of a value and is left out.
fn variable(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let (name, _) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    let name = name.trim();
    let first = name.chars().next()?;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (plain && !first.is_ascii_digit() && name.len() <= 100).then_some(name)
}

/// The variables that `config.toml` takes from the environment: `env(NAME)`.
pub(super) fn of_config(file: &Path, found: &mut Vec<String>) {
    let small = fs::metadata(file).is_ok_and(|metadata| metadata.len() <= LARGEST);
    let text = small.then(|| fs::read_to_string(file).ok()).flatten().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let names: BTreeSet<&str> = lines
        .flat_map(|line| line.split("env(").skip(1))
        .filter_map(|rest| rest.split_once(')').map(|(name, _)| name.trim()))
        .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    found.extend(names.into_iter().map(|name| format!("variable {name}, which supabase/config.toml names")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_names_and_values_never_show() {
        for name in [".env", ".env.local", ".env.production", "prod.env", ".npmrc"] {
            assert!(is_secret(name), "{name}");
        }
        for name in [".env.example", "index.ts", "environment.ts", ".envrc.md"] {
            assert!(!is_secret(name), "{name}");
        }
        assert_eq!(variable("export A_1 = x=y"), Some("A_1"));
        assert_eq!(variable("-----BEGIN KEY==="), None);
        assert_eq!(variable("MIIEvQIBADANBgkqhkiG9w0B/AQEF="), None);
    }
}
