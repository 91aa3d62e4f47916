//! What the files are made from: repository, sources, schedules, and the names of what is secret.

use std::path::{Path, PathBuf};
use std::time::Duration;

use basekeep_engine::EngineError;
use basekeep_engine::config::{Config, FilesEntry, PasswordFrom, SourceEntry, is_url};

use super::schedule::Schedule;
use super::schedules::Due;
use super::{Generate, schedules};
use crate::commands::init::address;
use crate::context::sources::is_conninfo;
use crate::context::{Context, current_folder};

/// Where a repository goes that nobody named.
const NO_REPOSITORY: &str = "s3://CHANGE-ME/backups";

/// Everything that a generated file may need to know. Nothing in it is secret.
#[derive(Debug)]
pub(super) struct Facts {
    /// The program, as it is called on this machine.
    pub(super) program: PathBuf,
    /// The configuration, where there is one.
    pub(super) config: Option<PathBuf>,
    /// The folder that the work is done in.
    pub(super) folder: PathBuf,
    /// The account that it is done as.
    pub(super) user: String,
    /// The repository's folder or URL.
    pub(super) repository: String,
    /// The databases.
    pub(super) sources: Vec<SourceFacts>,
    /// Variables that the work needs here.
    pub(super) variables: Vec<Variable>,
    /// Other folders that are written: replicas, plain copies.
    pub(super) folders: Vec<PathBuf>,
    /// Some source says what is kept of it, so that `forget` has something to go by.
    pub(super) keeps: bool,
    /// When maintenance is due.
    pub(super) maintenance: Vec<Due>,
    /// When a digest is, where channels are configured; not on another machine, whose configuration has no channels.
    pub(super) digest: Option<Due>,
}

/// A database.
#[derive(Debug)]
pub(super) struct SourceFacts {
    pub(super) name: String,
    /// Without its password.
    pub(super) url: String,
    /// It is on this very machine.
    pub(super) local: bool,
    /// The folder with `supabase/`.
    pub(super) project: Option<PathBuf>,
    /// The variable that its password comes from elsewhere.
    pub(super) password: String,
    /// The configuration names it.
    configured: bool,
    jobs: Vec<Due>,
}

/// A variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) about: String,
}

/// What is done on a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Backup,
    Drill,
    Prune,
    Check,
    Digest,
}

/// A job, when it is due, and the commands that do it (arguments without the program and the global options).
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) job: Job,
    pub(super) source: Option<String>,
    pub(super) schedule: Schedule,
    pub(super) jitter: Duration,
    pub(super) commands: Vec<Vec<String>>,
}

impl Job {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Drill => "drill",
            Self::Prune => "prune",
            Self::Check => "check",
            Self::Digest => "digest",
        }
    }
}

impl Planned {
    /// For people: `drill of shop`.
    pub(super) fn title(&self) -> String {
        match (self.job, &self.source) {
            (job, Some(source)) => format!("{} of {source}", job.name()),
            (Job::Prune, None) => "retention and freeing of space".to_owned(),
            (Job::Digest, None) => "digest to the channels of [alerts]".to_owned(),
            (job, None) => format!("{} of the repository", job.name()),
        }
    }

    /// For file names and the like: small letters, digits and hyphens.
    pub(super) fn slug(&self) -> String {
        let source = self.source.as_ref().map(|source| format!("-{}", slug(source))).unwrap_or_default();
        format!("basekeep-{}{source}", self.job.name())
    }
}

impl Facts {
    pub(super) fn gather(command: &Generate, context: &Context) -> Result<Self, EngineError> {
        let config = context.config()?;
        let mut sources = Vec::new();
        for entry in entries(command, context)? {
            sources.push(match entry {
                Entry::Configured(entry) => configured(&entry, command, config)?,
                Entry::Given(text) => given(&text, command, context)?,
            });
        }
        let own = config.and_then(|config| config.repository.url.clone());
        let repository = match context.global.repo.is_some() || own.is_some() {
            true => context.repository_place()?.url,
            false => NO_REPOSITORY.to_owned(),
        };
        let named: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        let keeps = config.is_some_and(|config| {
            named.iter().any(|name| config.profile_of(name).is_some_and(|profile| profile.keep.is_some()))
        });
        let mut facts = Self {
            program: program(command)?,
            config: context
                .config_file()
                .map(|file| std::path::absolute(&file).unwrap_or(file))
                .filter(|_| config.is_some()),
            folder: match config.and_then(|config| config.file.parent()) {
                Some(folder) => folder.to_owned(),
                None => current_folder()?,
            },
            user: user(command, context),
            repository,
            maintenance: schedules::maintenance(command, config, &named)?,
            digest: schedules::digest(command, config)?,
            sources,
            variables: Vec::new(),
            folders: folders(config),
            keeps,
        };
        facts.variables = variables(&facts, config);
        Ok(facts)
    }

    /// The options that come before every command on this machine.
    pub(super) fn globals(&self) -> Vec<String> {
        match &self.config {
            Some(config) => vec!["--config".to_owned(), config.display().to_string()],
            None => vec!["--repo".to_owned(), self.repository.clone()],
        }
    }

    /// Folders on this machine that are written.
    pub(super) fn local_folders(&self) -> Vec<PathBuf> {
        let own = (!is_url(&self.repository)).then(|| PathBuf::from(&self.repository));
        own.into_iter().chain(self.folders.iter().cloned()).collect()
    }

    /// Everything that is due on a schedule, as it is called where the configuration names the sources.
    pub(super) fn jobs(&self) -> Vec<Planned> {
        self.planned(false)
    }

    /// The same for a machine whose configuration is [`super::portable`].
    pub(super) fn portable_jobs(&self) -> Vec<Planned> {
        self.planned(true)
    }

    fn planned(&self, named: bool) -> Vec<Planned> {
        let mut jobs = Vec::new();
        for source in &self.sources {
            for (job, schedule, jitter) in &source.jobs {
                jobs.push(Planned {
                    job: *job,
                    source: Some(source.name.clone()),
                    schedule: schedule.clone(),
                    jitter: *jitter,
                    commands: vec![source.command(*job, named)],
                });
            }
        }
        let digest = self.digest.iter().filter(|_| !named);
        for (job, schedule, jitter) in self.maintenance.iter().chain(digest) {
            jobs.push(Planned {
                job: *job,
                source: None,
                schedule: schedule.clone(),
                jitter: *jitter,
                commands: self.commands(*job),
            });
        }
        jobs
    }

    fn commands(&self, job: Job) -> Vec<Vec<String>> {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        match job {
            Job::Check => vec![words("check --read-data-subset 5%")],
            Job::Digest => vec![words("report --digest --notify")],
            _ if self.keeps => vec![words("forget"), words("prune --retry-lock 2h")],
            _ => vec![words("prune --retry-lock 2h")],
        }
    }
}

impl SourceFacts {
    fn command(&self, job: Job, named: bool) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match job {
            Job::Drill => words(&["drill", "--source", &self.name]),
            _ if named || self.configured => words(&["backup", &self.name, "--retry-lock", "1h"]),
            _ => words(&["backup", &self.url, "--name", &self.name, "--retry-lock", "1h"]),
        }
    }
}

enum Entry {
    Configured(Box<SourceEntry>),
    Given(String),
}

/// The sources that are meant, without asking for any password.
fn entries(command: &Generate, context: &Context) -> Result<Vec<Entry>, EngineError> {
    let config = context.config()?;
    if command.sources.is_empty() {
        let all = config.map(|config| config.sources.as_slice()).unwrap_or_default();
        if all.is_empty() {
            return Err(EngineError::usage("there is nothing to back up: no source is configured or given")
                .hint("`basekeep init` finds your database and writes basekeep.toml")
                .hint("or give a URL: `basekeep generate cron postgresql://user@host:5432/database`"));
        }
        return Ok(all.iter().cloned().map(Box::new).map(Entry::Configured).collect());
    }
    let one = |text: &String| {
        let configured = config.and_then(|config| config.sources.iter().find(|entry| entry.name == *text));
        match (configured, config) {
            (Some(entry), _) => Ok(Entry::Configured(Box::new(entry.clone()))),
            (None, _) if is_conninfo(text) => Ok(Entry::Given(text.clone())),
            (None, Some(config)) => Ok(Entry::Configured(Box::new(config.source(text)?.clone()))),
            (None, None) => Err(EngineError::usage(format!(
                "'{}' is not a postgresql:// URL, and there is no basekeep.toml that could name it",
                text.escape_debug()
            ))
            .hint("`basekeep init` writes one; a URL looks like postgresql://user@host:5432/database")),
        }
    };
    command.sources.iter().map(one).collect()
}

fn configured(
    entry: &SourceEntry,
    command: &Generate,
    config: Option<&Config>,
) -> Result<SourceFacts, EngineError> {
    let taken = address::take(entry.url.expose())
        .map_err(|error| error.within(format!("source '{}'", entry.name)))?;
    let password = match &entry.password {
        Some(PasswordFrom::Env(name)) => name.clone(),
        _ => password_variable(&entry.name),
    };
    Ok(SourceFacts {
        local: is_local(&taken.url),
        name: entry.name.clone(),
        url: taken.url,
        project: entry.project.clone(),
        password,
        configured: true,
        jobs: schedules::of_source(command, config, &entry.name)?,
    })
}

fn given(text: &str, command: &Generate, context: &Context) -> Result<SourceFacts, EngineError> {
    let taken = address::take(text)?;
    let wanted = context.wanted_sources(&[text.to_owned()], command.name.as_deref())?;
    let name = wanted.first().map(|wanted| wanted.name().to_owned()).unwrap_or_default();
    Ok(SourceFacts {
        local: is_local(&taken.url),
        url: taken.url,
        project: None,
        password: password_variable(&name),
        configured: false,
        jobs: schedules::of_source(command, None, &name)?,
        name,
    })
}

fn password_variable(source: &str) -> String {
    let letters =
        source.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    let name: String = letters.collect();
    let prefix = if name.starts_with(|c: char| c.is_ascii_digit()) { "_" } else { "" };
    format!("{prefix}{name}_PASSWORD")
}

fn is_local(url: &str) -> bool {
    let host =
        url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    let host = host.rsplit('@').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let known = ["", "localhost", "127.0.0.1", "[::1]", "::1"];
    match url.contains("://") {
        true => known.contains(&host),
        false => {
            !url.contains("host=")
                || url.contains("host=/")
                || url.contains("host=localhost")
                || url.contains("host=127.")
        }
    }
}

fn program(command: &Generate) -> Result<PathBuf, EngineError> {
    match &command.program {
        Some(program) => Ok(program.clone()),
        None => std::env::current_exe().map_err(|error| {
            EngineError::failed("cannot tell where this program is")
                .caused_by(error)
                .hint("name it with --program")
        }),
    }
}

fn user(command: &Generate, context: &Context) -> String {
    let given = command.user.clone().or_else(|| context.env.var("SUDO_USER").map(str::to_owned));
    given.or_else(|| context.env.user.clone()).unwrap_or_else(|| "basekeep".to_owned())
}

fn folders(config: Option<&Config>) -> Vec<PathBuf> {
    let Some(config) = config else { return Vec::new() };
    let replicas =
        config.replicas.iter().map(|replica| &replica.url).filter(|url| !is_url(url)).map(PathBuf::from);
    let export = config.export.iter().map(|entry| entry.options.folder.clone());
    replicas.chain(export).chain(config.report_folder.clone()).collect()
}

/// The variables that the configuration reads, with what they are for.
fn variables(facts: &Facts, config: Option<&Config>) -> Vec<Variable> {
    let mut found: Vec<Variable> = Vec::new();
    let mut add = |name: &str, about: &str| {
        if !found.iter().any(|variable| variable.name == name) {
            found.push(Variable { name: name.to_owned(), about: about.to_owned() });
        }
    };
    let about_repository = "the repository's password; keep it somewhere else too";
    let Some(config) = config else {
        add("BASEKEEP_PASSWORD", about_repository);
        for source in &facts.sources {
            add("PGPASSWORD", &format!("the database password of {}", source.name));
        }
        storage(&facts.repository, &mut add);
        return found;
    };
    match &config.repository.password {
        Some(PasswordFrom::Env(name)) => add(name, about_repository),
        Some(_) => {}
        None => add("BASEKEEP_PASSWORD", about_repository),
    }
    let own = std::iter::once((facts.repository.as_str(), &config.repository.storage));
    for (url, entry) in
        own.chain(config.replicas.iter().map(|replica| (replica.url.as_str(), &replica.storage)))
    {
        match (&entry.access_key_env, &entry.secret_key_env) {
            (None, None) if entry.profile.is_none() => storage(url, &mut add),
            (id, secret) => {
                for name in [id, secret, &entry.session_token_env].into_iter().flatten() {
                    add(name, "the key of the object storage");
                }
            }
        }
    }
    for replica in &config.replicas {
        if let Some(PasswordFrom::Env(name)) = &replica.password {
            add(name, &format!("the password of the replica {}", replica.name));
        }
    }
    for source in
        config.sources.iter().filter(|entry| facts.sources.iter().any(|source| source.name == entry.name))
    {
        of_source(source, &mut add);
    }
    found
}

fn of_source(source: &SourceEntry, add: &mut impl FnMut(&str, &str)) {
    if let Some(PasswordFrom::Env(name)) = &source.password {
        add(name, &format!("the database password of {}", source.name));
    }
    match &source.storage {
        Some(FilesEntry::Api { service_key_env, .. }) => {
            add(
                service_key_env,
                &format!("the key of the service role of {}, for storage files", source.name),
            );
        }
        Some(FilesEntry::S3 { access_key_env, secret_key_env, .. }) => {
            add(access_key_env, &format!("the S3 key of the storage files of {}", source.name));
            add(secret_key_env, &format!("its secret, of {}", source.name));
        }
        Some(FilesEntry::Skip) | None => {}
    }
    if let Some(management) = &source.management {
        add(&management.token_env, &format!("the access token of the Management API, for {}", source.name));
    }
}

fn storage(url: &str, add: &mut impl FnMut(&str, &str)) {
    if url.starts_with("s3:") {
        add(
            "AWS_ACCESS_KEY_ID",
            "the access key of the bucket (not needed where the machine's role gives one)",
        );
        add("AWS_SECRET_ACCESS_KEY", "its secret");
    }
}

/// Small letters, digits and hyphens, as names in Kubernetes and of units want it.
pub(super) fn slug(name: &str) -> String {
    let letters = name.to_lowercase();
    let words: Vec<&str> =
        letters.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut slug = words.join("-");
    slug.truncate(30);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "source".to_owned() } else { slug.to_owned() }
}

/// A path relative to the root of the Git repository that it is in.
pub(super) fn in_checkout(path: &Path) -> Option<PathBuf> {
    let root = path.ancestors().find(|folder| folder.join(".git").exists())?;
    let relative = path.strip_prefix(root).ok()?;
    Some(if relative.as_os_str().is_empty() { PathBuf::from(".") } else { relative.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_what_other_programs_take() {
        assert_eq!(slug("Factory Pulse_2"), "factory-pulse-2");
        assert_eq!(slug("ü"), "source");
        assert_eq!(password_variable("factory-pulse"), "FACTORY_PULSE_PASSWORD");
        assert_eq!(password_variable("9lives"), "_9LIVES_PASSWORD");
    }

    #[test]
    fn databases_that_only_this_machine_reaches_are_recognised() {
        for url in [
            "postgresql://postgres@127.0.0.1:54322/postgres",
            "postgresql://localhost/d",
            "postgresql:///d",
            "host=/tmp dbname=d",
            "dbname=d",
        ] {
            assert!(is_local(url), "{url}");
        }
        for url in ["postgresql://u@db.example.com:5432/d", "host=db.example.com dbname=d"] {
            assert!(!is_local(url), "{url}");
        }
    }
}
