//! `basekeep.toml`: finding, reading and checking it, and turning its entries into sources and repositories.
//!
//! Unknown keys are errors that name the nearest known one. Relative paths are relative to the file, `~` is the home
//! directory. Nothing here connects anywhere.

mod alerts;
mod dashboard;
mod dotenv;
mod files;
mod management;
mod pace;
mod password;
mod paths;
mod profiles;
mod read;
mod schedule;
mod sizes;
mod storage;

use std::path::{Path, PathBuf};

use basekeep_postgres::{ConnectOptions, Environment, Secret};

use crate::backup::{ChangePolicy, Pace, Source};
use crate::export::SetOptions;
use crate::files::FilesAccess;
use crate::{EngineError, ErrorKind};

pub use alerts::{
    AgeLimit, AlertsEntry, ChannelEntry, ChannelKind, LIMIT_KEYS, Limits, SecretFrom, SmtpEntry,
    SmtpSecurity, Thresholds, Topic,
};
pub use dashboard::{DashboardEntry, DashboardUser};
pub use dotenv::Dotenv;
pub use files::FilesEntry;
pub use management::{Management, ManagementEntry};
pub use pace::{jobs, rows_per_second, span};
pub use password::PasswordFrom;
pub use paths::{expand, is_url};
pub use profiles::ProfileEntry;
pub use schedule::Schedule;
pub use sizes::{MaxUnused, size};
pub use storage::{ReplicaEntry, RepositoryEntry, StorageEntry};

/// The file's name.
pub const FILE_NAME: &str = "basekeep.toml";

/// A checked `basekeep.toml`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it was read from.
    pub file: PathBuf,
    /// `[repository]`.
    pub repository: RepositoryEntry,
    /// `[[replica]]`, in the order of the file. Their names are unique, and so are their places.
    pub replicas: Vec<ReplicaEntry>,
    /// `[source.*]`, in the order of the file.
    pub sources: Vec<SourceEntry>,
    /// `[profile.*]`, in the order of the file, then the built-in ones that sources name.
    pub profiles: Vec<ProfileEntry>,
    /// `[export]`.
    pub export: Option<ExportEntry>,
    /// `secret` of `[diff]`: columns whose values `diff` and `history` hide ([`crate::diff::Secrets`]).
    pub secret_columns: Vec<String>,
    /// `folder` of `[report]`: where a report of each backup goes.
    pub report_folder: Option<PathBuf>,
    /// `[alerts]`.
    pub alerts: AlertsEntry,
    /// `[dashboard]`.
    pub dashboard: DashboardEntry,
}

/// `[export]`: a plain copy of each snapshot, beside the repository.
#[derive(Debug, Clone)]
pub struct ExportEntry {
    /// What is written where, and how long it stays.
    pub options: SetOptions,
    /// The sources that it is for; all of them if `None`.
    pub sources: Option<Vec<String>>,
}

impl ExportEntry {
    /// Whether the source of this name gets copies.
    pub fn is_for(&self, source: &str) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.iter().any(|name| name == source))
    }
}

/// `[source.<name>]`.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceEntry {
    /// The name under which its snapshots are kept.
    pub name: String,
    /// Connection URL or `key=value` string.
    pub url: Secret,
    /// Where its password comes from, unless the URL or libpq's means give it.
    pub password: Option<PasswordFrom>,
    /// The project's folder. Its `.env.local` and `.env` are looked into for the variable of `password_env`.
    pub project: Option<PathBuf>,
    /// The Management API of its project.
    pub management: Option<ManagementEntry>,
    /// The profile that it names; the file has it, or it is built in.
    pub profile: Option<String>,
    /// How its storage files are reached, where the file says it.
    pub storage: Option<FilesEntry>,
    /// How its changes are found.
    pub changes: ChangePolicy,
    /// How it is read.
    pub pace: Pace,
    /// Its own thresholds, which come before those of `[alerts]`.
    pub alerts: Limits,
}

impl Config {
    /// Reads and checks the file. Errors are of kind `Usage` and name the line.
    pub fn read(file: &Path, env: &Environment) -> Result<Self, EngineError> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let wrong = EngineError::usage(format!("cannot read {}: {error}", file.display()));
            match error.kind() {
                std::io::ErrorKind::NotFound => wrong.hint("`basekeep init` writes one"),
                _ => wrong,
            }
        })?;
        Self::parse(&text, file, env)
    }

    /// Checks `text` as if it were the content of `file`.
    pub fn parse(text: &str, file: &Path, env: &Environment) -> Result<Self, EngineError> {
        read::read(text, file, env)
    }

    /// The configuration for `folder`: its own, or that of the project that it is part of.
    ///
    /// Parent folders are looked into only up to the project's root (the nearest one with `.git` or `supabase`), so that
    /// a file that somebody left in a shared folder such as `/tmp` is never used by accident.
    pub fn find(folder: &Path) -> Option<PathBuf> {
        let here = folder.join(FILE_NAME);
        if here.is_file() {
            return Some(here);
        }
        let root = folder.ancestors().find(|f| f.join(".git").exists() || f.join("supabase").is_dir())?;
        folder
            .ancestors()
            .take_while(|f| f.starts_with(root))
            .map(|f| f.join(FILE_NAME))
            .find(|file| file.is_file())
    }

    /// The profile of that name.
    pub fn profile(&self, name: &str) -> Option<&ProfileEntry> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    /// The profile of the source of that name, where it has one.
    pub fn profile_of(&self, source: &str) -> Option<&ProfileEntry> {
        let source = self.sources.iter().find(|entry| entry.name == source)?;
        self.profile(source.profile.as_deref()?)
    }

    /// The thresholds of the source of that name; those of `[alerts]` for one that the file does not know.
    pub fn thresholds(&self, source: &str) -> Thresholds {
        let own = self.sources.iter().find(|entry| entry.name == source).map(|entry| &entry.alerts);
        Thresholds::of(&self.alerts.limits, own.unwrap_or(&Limits::default()))
    }

    /// The replica of that name.
    pub fn replica(&self, name: &str) -> Option<&ReplicaEntry> {
        self.replicas.iter().find(|replica| replica.name == name)
    }

    /// The source of that name. The error names the nearest one.
    pub fn source(&self, name: &str) -> Result<&SourceEntry, EngineError> {
        self.sources.iter().find(|source| source.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.sources.iter().map(|s| s.name.as_str()).collect();
            let error = EngineError::usage(format!(
                "there is no source '{}' in {}",
                name.escape_debug(),
                self.file.display()
            ));
            match nearest(name, &names) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None if names.is_empty() => {
                    error.hint("it has no sources; add a [source.NAME] section, or give a postgresql:// URL")
                }
                None => {
                    error.hint(format!("its sources are {}; a postgresql:// URL works too", names.join(", ")))
                }
            }
        })
    }
}

impl SourceEntry {
    /// How to connect, with the password that the entry names.
    pub fn connect(&self, env: &Environment) -> Result<ConnectOptions, EngineError> {
        let doing = || format!("source '{}'", self.name);
        let options = connect_options(self.url.expose(), env).map_err(|error| error.within(doing()))?;
        let Some(from) = &self.password else { return Ok(options) };
        let dotenv = self.project.as_deref().map(Dotenv::of_project).unwrap_or_default();
        let password = from.read(env, &dotenv).map_err(|error| error.within(doing()))?;
        Ok(options.with_password(password))
    }

    /// How its storage files are reached: as the entry says, or else as the variables and the database's address tell.
    pub fn files(&self, database: &ConnectOptions, env: &Environment) -> FilesAccess {
        let dotenv = self.project.as_deref().map(Dotenv::of_project).unwrap_or_default();
        files::access(self.storage.as_ref(), database, env, &dotenv)
    }

    /// The same as something to back up.
    pub fn source(&self, env: &Environment) -> Result<Source, EngineError> {
        let connect = self.connect(env)?;
        let files = self.files(&connect, env);
        let dotenv = self.project.as_deref().map(Dotenv::of_project).unwrap_or_default();
        let management = self.management.as_ref().map(|entry| entry.resolve(env, &dotenv));
        let (project, changes, pace) = (self.project.clone(), self.changes, self.pace);
        Ok(Source { project, files, management, changes, pace, ..Source::new(&self.name, connect) })
    }
}

/// How the storage files of a database are reached that no entry names: by `SUPABASE_SERVICE_ROLE_KEY`, and `SUPABASE_URL`
/// or the database's address.
pub fn files_of(database: &ConnectOptions, env: &Environment) -> FilesAccess {
    files::access(None, database, env, &Dotenv::default())
}

/// Resolves a URL or `key=value` string; nothing is connected yet.
pub fn connect_options(conninfo: &str, env: &Environment) -> Result<ConnectOptions, EngineError> {
    if let Some((scheme, _)) = conninfo.split_once("://")
        && scheme.chars().all(|c| c.is_alphanumeric() || c == '+')
        && !matches!(scheme, "postgres" | "postgresql")
    {
        // The rest of it may hold a password.
        return Err(usage(format!("a {scheme}:// URL is no PostgreSQL database"))
            .hint("a URL looks like postgresql://user@host:5432/database"));
    }
    ConnectOptions::resolve(conninfo, env).map_err(EngineError::from)
}

/// The one of `known` that was probably meant.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&word.to_lowercase(), &k.to_lowercase()), *k))
        .filter(|(distance, k)| *distance <= 1 + k.chars().count().min(word.chars().count()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

fn usage(message: String) -> EngineError {
    EngineError::new(ErrorKind::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        let known = ["password_env", "password_file", "url"];
        assert_eq!(nearest("pasword_file", &known), Some("password_file"));
        assert_eq!(nearest("URL", &known), Some("url"));
        assert_eq!(nearest("exclude_data", &known), None);
        assert_eq!(nearest("", &known), None);
    }

    #[test]
    fn a_configuration_is_looked_for_up_to_the_projects_root() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for name in ["project/.git", "project/deep/er", "plain/deep"] {
            std::fs::create_dir_all(place(name)).unwrap();
        }
        for name in ["project/basekeep.toml", "plain/basekeep.toml"] {
            std::fs::write(place(name), "").unwrap();
        }
        assert_eq!(Config::find(&place("project/deep/er")), Some(place("project/basekeep.toml")));
        assert_eq!(Config::find(&place("plain")), Some(place("plain/basekeep.toml")));
        assert_eq!(Config::find(&place("plain/deep")), None);
    }

    #[test]
    fn a_source_connects_with_the_password_that_its_entry_names() {
        let env = Environment {
            vars: [("DB_PASSWORD".to_owned(), "from-env".to_owned())].into(),
            user: Some("ada".to_owned()),
            ..Environment::default()
        };
        let text = "[source.a]\nurl = \"postgresql://ada@h/d\"\npassword_env = \"DB_PASSWORD\"\n";
        let config = Config::parse(text, Path::new("/p/basekeep.toml"), &env).unwrap();
        let options = config.source("a").unwrap().connect(&env).unwrap();
        let password = options.child_environment().into_iter().find(|(name, _)| name == "PGPASSWORD");
        assert_eq!(password.map(|(_, value)| value), Some("from-env".into()));
        assert!(!format!("{config:?} {options:?}").contains("from-env"));
        assert!(config.source("elsewhere").unwrap_err().hints()[0].contains("its sources are a"));
    }
}
