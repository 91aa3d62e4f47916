//! Connection service files (`pg_service.conf`).

use super::ConninfoError;
use super::parameters::{Parameters, known};
use crate::environment::Environment;
use std::path::{Path, PathBuf};

/// Sets what is not set yet from the service that is named, if one is.
pub(super) fn fill(parameters: &mut Parameters, env: &Environment) -> Result<(), ConninfoError> {
    let named = parameters.remove("service").or_else(|| env.var("PGSERVICE").map(str::to_owned));
    let file = parameters.remove("servicefile").or_else(|| env.var("PGSERVICEFILE").map(str::to_owned));
    let Some(service) = named.filter(|n| !n.is_empty()) else { return Ok(()) };
    let personal = match file {
        Some(path) => Some((PathBuf::from(path), true)),
        None => env.home.as_ref().map(|home| (home.join(".pg_service.conf"), false)),
    };
    let system_dir = env.var("PGSYSCONFDIR").unwrap_or("/etc/postgresql-common");
    let files = personal.into_iter().chain([(Path::new(system_dir).join("pg_service.conf"), false)]);
    for (path, must_exist) in files {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => continue,
            Err(e) => {
                return Err(ConninfoError::new(format!(
                    "cannot read the service file {}: {e}",
                    path.display()
                )));
            }
        };
        if let Some(found) = section(&text, &service, &path)? {
            for (keyword, value) in found {
                parameters.entry(keyword).or_insert(value);
            }
            return Ok(());
        }
    }
    Err(ConninfoError::new(format!("there is no service \"{service}\" in the service files"))
        .hint("define it in ~/.pg_service.conf, or name another file in PGSERVICEFILE"))
}

/// The parameters of a section; the first value of a keyword counts, as in libpq.
fn section(text: &str, service: &str, path: &Path) -> Result<Option<Parameters>, ConninfoError> {
    let mut found: Option<Parameters> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if name.strip_suffix(']') == Some(service) {
                found = Some(Parameters::new());
            }
            continue;
        }
        let Some(parameters) = &mut found else { continue };
        let place = || format!("{}, line {}", path.display(), number + 1);
        if line.starts_with("ldap") && line.contains("://") {
            return Err(ConninfoError::new(format!("{}: LDAP lookup is not supported", place())));
        }
        let (keyword, value) = line
            .split_once('=')
            .ok_or_else(|| ConninfoError::new(format!("{}: the line is not keyword=value", place())))?;
        let keyword = known(keyword.trim_end())
            .map_err(|e| ConninfoError { message: format!("{}: {}", place(), e.message), hints: e.hints })?;
        if matches!(keyword, "service" | "servicefile") {
            return Err(ConninfoError::new(format!("{}: a service cannot name another service", place())));
        }
        parameters.entry(keyword).or_insert_with(|| value.to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, service: &str) -> Result<Option<Vec<(&'static str, String)>>, String> {
        section(text, service, Path::new("f"))
            .map(|found| found.map(|p| p.into_iter().collect()))
            .map_err(|e| e.to_string())
    }

    const FILE: &str = "# all\n[one]\nhost=h1\n port=1 \nhost=again\n\n[two]\nbad line\n[three]\nnope=1\n[four]\nservice=one\n";

    #[test]
    fn the_named_section_is_read() {
        let one = check(FILE, "one").unwrap().unwrap();
        assert_eq!(one, [("host", "h1".to_owned()), ("port", "1".to_owned())]);
        assert_eq!(check(FILE, "none").unwrap(), None);
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(check(FILE, "two").unwrap_err(), "f, line 8: the line is not keyword=value");
        assert_eq!(check(FILE, "three").unwrap_err(), "f, line 10: unknown connection parameter \"nope\"");
        assert_eq!(check(FILE, "four").unwrap_err(), "f, line 12: a service cannot name another service");
    }
}
