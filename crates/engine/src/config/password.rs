//! Where a password comes from: a variable, a file, or what a command prints.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use basekeep_postgres::{Environment, Secret};

use super::{Dotenv, usage};
use crate::EngineError;

/// One of `password_env`, `password_file`, `password_command`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordFrom {
    /// A variable of the environment, or of the project's `.env` files.
    Env(String),
    /// A file; white space around the password is ignored, as restic does.
    File(PathBuf),
    /// What a shell command prints; white space around it is ignored.
    Command(String),
}

impl PasswordFrom {
    /// Reads it. A variable that holds a whole connection URL (`DATABASE_URL`) stands for that URL's password.
    pub fn read(&self, env: &Environment, dotenv: &Dotenv) -> Result<Secret, EngineError> {
        let secret = match self {
            Self::Env(name) => from_variable(name, env, dotenv)?,
            Self::File(file) => from_file(file)?,
            Self::Command(command) => from_command(command)?,
        };
        match secret.expose() {
            "" => Err(usage(format!("the password from {self} is empty"))),
            _ => Ok(secret),
        }
    }
}

impl std::fmt::Display for PasswordFrom {
    /// Names the place, never the password. A command is not shown, because people put secrets on command lines.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the variable {name}"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Command(_) => write!(f, "password_command"),
        }
    }
}

fn from_variable(name: &str, env: &Environment, dotenv: &Dotenv) -> Result<Secret, EngineError> {
    let value = env.var(name).or_else(|| dotenv.var(name)).ok_or_else(|| {
        usage(format!("the variable {name} is not set, and the password should come from it")).hint(format!(
            "set it: `export {name}=…`, or put it into .env.local or .env of the source's project folder"
        ))
    })?;
    match password_of_url(value) {
        None => Ok(Secret::new(value)),
        Some(password) if password.expose().is_empty() => {
            Err(usage(format!("the URL in the variable {name} has no password")))
        }
        Some(password) => Ok(password),
    }
}

/// The password of a `postgresql://` URL, empty when it has none; `None` for anything else.
fn password_of_url(value: &str) -> Option<Secret> {
    let rest = value.strip_prefix("postgresql://").or_else(|| value.strip_prefix("postgres://"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let password =
        authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map_or("", |(_, p)| p);
    Some(Secret::new(decode(password)))
}

/// Percent decoding; what is no valid escape stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = (first == b'%').then(|| tail.get(..2)).flatten();
        match escape.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn from_file(file: &std::path::Path) -> Result<Secret, EngineError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let wrong = usage(format!("cannot read the password from {}: {error}", file.display()));
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                wrong.hint("put the password into that file, or name another password_file")
            }
            std::io::ErrorKind::PermissionDenied => {
                wrong.hint("the file must be readable for you (and only for you)")
            }
            _ => wrong,
        }
    })?;
    Ok(Secret::new(text.trim_start_matches('\u{feff}').trim()))
}

fn from_command(command: &str) -> Result<Secret, EngineError> {
    let failed = |reason: String| {
        usage(format!("password_command failed: {reason}"))
            .hint("it must print the password and end with exit code 0; run it by hand to see")
    };
    let output = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| failed("its output is not UTF-8".to_owned()))?;
    Ok(Secret::new(text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> Environment {
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Environment { vars, ..Environment::default() }
    }

    fn read(from: PasswordFrom, vars: &[(&str, &str)]) -> Result<String, EngineError> {
        from.read(&env(vars), &Dotenv::default()).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn a_variable_is_taken_as_it_is_and_a_url_stands_for_its_password() {
        let from = || PasswordFrom::Env("P".to_owned());
        assert_eq!(read(from(), &[("P", " a b ")]).unwrap(), " a b ");
        assert_eq!(read(from(), &[("P", "postgresql://u:s%40x%2@h:1/d")]).unwrap(), "s@x%2");
        assert_eq!(read(from(), &[("P", "postgres://u:p%3F@h/d?x=@y:z")]).unwrap(), "p?");
        let missing = read(from(), &[]).unwrap_err();
        assert!(missing.message().contains("variable P is not set"), "{missing}");
        assert!(!missing.hints().is_empty());
        let bare = read(from(), &[("P", "postgresql://u@h/d")]).unwrap_err();
        assert!(bare.message().contains("has no password"), "{bare}");
    }

    #[test]
    fn the_environment_wins_over_the_projects_files() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "P=file\n").unwrap();
        let dotenv = Dotenv::of_project(folder.path());
        let from = PasswordFrom::Env("P".to_owned());
        assert_eq!(from.read(&env(&[]), &dotenv).unwrap().expose(), "file");
        assert_eq!(from.read(&env(&[("P", "process")]), &dotenv).unwrap().expose(), "process");
    }

    #[test]
    fn files_and_commands_lose_white_space_around_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "  secret word \n").unwrap();
        assert_eq!(read(PasswordFrom::File(file.clone()), &[]).unwrap(), "secret word");
        assert_eq!(read(PasswordFrom::Command("printf ' a b\\n'".to_owned()), &[]).unwrap(), "a b");
        std::fs::write(&file, "\n").unwrap();
        assert!(read(PasswordFrom::File(file), &[]).unwrap_err().message().contains("is empty"));
    }

    #[test]
    fn a_command_that_fails_is_named_without_its_text() {
        let error = read(PasswordFrom::Command("false tops3cret".to_owned()), &[]).unwrap_err();
        assert!(error.message().contains("exit status: 1"), "{error}");
        assert!(!format!("{error} {:?}", error.hints()).contains("tops3cret"));
    }
}
