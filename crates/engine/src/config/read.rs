//! From the file's text to a [`Config`]: every key is known and has the right type, or the error names its line.

mod alerts;
mod changes;
mod dashboard;
mod export;
mod files;
mod management;
mod pace;
mod profile;
mod storage;
mod values;

use std::borrow::Cow;
use std::path::Path;

use basekeep_postgres::{Environment, Secret};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    AlertsEntry, Config, DashboardEntry, PasswordFrom, ProfileEntry, RepositoryEntry, SourceEntry, expand,
    nearest, usage,
};
use crate::{EngineError, backup};

const TOP_KEYS: [&str; 9] =
    ["repository", "replica", "source", "profile", "export", "diff", "report", "alerts", "dashboard"];
const PASSWORD_KEYS: [&str; 3] = ["password_env", "password_file", "password_command"];
const SOURCE_KEYS: [&str; 18] = [
    "url",
    "password_env",
    "password_file",
    "password_command",
    "project",
    "profile",
    "storage",
    "management",
    "continuity",
    "full_every",
    "jobs",
    "gentle",
    "limit_rows",
    "limit_read",
    "lock_timeout",
    "on_table_change",
    "warn_snapshot_after",
    "alerts",
];

pub(super) fn read(text: &str, file: &Path, env: &Environment) -> Result<Config, EngineError> {
    let reader = Reader { text, file, folder: file.parent().unwrap_or(Path::new(".")), env };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        reader.wrong(at, error.message().trim_end_matches('.').to_lowercase())
    })?;
    reader.config(table.get_ref())
}

/// Knows where the text came from, for errors and for relative paths.
struct Reader<'a> {
    text: &'a str,
    file: &'a Path,
    folder: &'a Path,
    env: &'a Environment,
}

impl Reader<'_> {
    fn config(&self, table: &DeTable<'_>) -> Result<Config, EngineError> {
        self.check_keys(table, "at the top of the file", &TOP_KEYS)?;
        let mut config = Config {
            file: self.file.to_owned(),
            repository: RepositoryEntry::default(),
            replicas: Vec::new(),
            sources: Vec::new(),
            profiles: Vec::new(),
            export: None,
            secret_columns: Vec::new(),
            report_folder: None,
            alerts: AlertsEntry::default(),
            dashboard: DashboardEntry::default(),
        };
        if let Some(value) = table.get("repository") {
            config.repository = self.repository(self.table(value, "repository")?)?;
        }
        if let Some(value) = table.get("replica") {
            config.replicas = self.replicas(value, &config.repository)?;
        }
        if let Some(value) = table.get("diff") {
            let table = self.table(value, "diff")?;
            self.check_keys(table, "in [diff]", &["secret"])?;
            let columns = self.strings(table, "secret")?;
            config.secret_columns = columns.into_iter().map(|(_, column)| column.to_owned()).collect();
        }
        if let Some(value) = table.get("report") {
            let table = self.table(value, "report")?;
            self.check_keys(table, "in [report]", &["folder"])?;
            let folder = self.string(table, "folder")?;
            config.report_folder = folder.map(|path| expand(path, self.folder, self.env));
        }
        if let Some(value) = table.get("dashboard") {
            config.dashboard = self.dashboard(value)?;
        }
        if let Some(value) = table.get("alerts") {
            config.alerts = self.alerts(value)?;
        }
        for (name, value) in self.sections(table, "profile")? {
            config.profiles.push(self.profile(name, value)?);
        }
        for (name, value) in self.sections(table, "source")? {
            let source = self.source(name, value, &config)?;
            let missing = source.profile.as_deref().filter(|name| config.profile(name).is_none());
            config.profiles.extend(missing.and_then(ProfileEntry::built_in));
            config.sources.push(source);
        }
        if let Some(value) = table.get("export") {
            let at = self.position(table, "export");
            config.export = Some(self.export(self.table(value, "export")?, at)?);
        }
        Ok(config)
    }

    /// The sections `[kind.NAME]`, in the order of the file.
    #[allow(clippy::type_complexity)] // a section's name and content, both with their places
    fn sections<'t>(
        &self,
        table: &'t DeTable<'_>,
        kind: &str,
    ) -> Result<Vec<(&'t Spanned<Cow<'t, str>>, &'t Spanned<DeValue<'t>>)>, EngineError> {
        let Some(value) = table.get(kind) else { return Ok(Vec::new()) };
        let mut sections: Vec<_> = self.table(value, kind)?.iter().collect();
        sections.sort_by_key(|(name, _)| name.span().start);
        Ok(sections)
    }

    fn source(
        &self,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        config: &Config,
    ) -> Result<SourceEntry, EngineError> {
        let at = name.span().start;
        let name = name.get_ref();
        let section = format!("source.{name}");
        let DeValue::Table(table) = value.get_ref() else {
            let error = self.wrong(at, format!("`{name}` directly in [source] has no meaning"));
            return Err(
                error.hint("every source has a section with its own name, such as [source.my-project]")
            );
        };
        backup::check_name(name).map_err(|error| error.within(self.place(at)))?;
        self.check_keys(table, &format!("in [{section}]"), &SOURCE_KEYS)?;
        let url = self.string(table, "url")?.ok_or_else(|| {
            self.wrong(at, format!("[{section}] has no url"))
                .hint("add a line such as url = \"postgresql://postgres@127.0.0.1:5432/postgres\"")
        })?;
        let project = self.string(table, "project")?.map(|path| expand(path, self.folder, self.env));
        let profile = self.string(table, "profile")?.map(str::to_owned);
        if let Some(profile) = &profile
            && config.profile(profile).is_none()
            && ProfileEntry::built_in(profile).is_none()
        {
            let at = self.position(table, "profile");
            return Err(self.unknown_profile(at, profile, config));
        }
        Ok(SourceEntry {
            name: name.clone().into_owned(),
            url: Secret::new(url),
            password: self.password(table)?,
            project,
            management: self.management(table, &section)?,
            profile,
            storage: self.files(table)?,
            changes: self.changes(table)?,
            pace: self.pace(table)?,
            alerts: self.source_limits(table, &section)?,
        })
    }

    fn unknown_profile(&self, at: usize, name: &str, config: &Config) -> EngineError {
        let mut names: Vec<&str> = config.profiles.iter().map(|profile| profile.name.as_str()).collect();
        names.extend(ProfileEntry::BUILT_IN.iter().filter(|name| config.profile(name).is_none()));
        let error = self.wrong(at, format!("there is no profile '{}' in this file", name.escape_debug()));
        match nearest(name, &names) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint(format!("the profiles are {}", names.join(", "))).hint(format!(
                "or add a section [profile.{}] with a line such as keep = {{ daily = 14, monthly = 12 }}",
                name.escape_debug()
            )),
        }
    }

    fn password(&self, table: &DeTable<'_>) -> Result<Option<PasswordFrom>, EngineError> {
        let mut found = None;
        for key in PASSWORD_KEYS {
            let Some(value) = self.string(table, key)? else { continue };
            if let Some((other, _)) = found {
                return Err(self
                    .wrong(self.position(table, key), format!("`{other}` and `{key}` contradict each other"))
                    .hint("keep one of them"));
            }
            let from = match key {
                "password_env" => PasswordFrom::Env(value.to_owned()),
                "password_file" => PasswordFrom::File(expand(value, self.folder, self.env)),
                _ => PasswordFrom::Command(value.to_owned()),
            };
            found = Some((key, from));
        }
        Ok(found.map(|(_, from)| from))
    }

    fn check_keys(&self, table: &DeTable<'_>, place: &str, known: &[&str]) -> Result<(), EngineError> {
        let mut unknown: Vec<_> =
            table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())).collect();
        unknown.sort_by_key(|key| key.span().start);
        let Some(key) = unknown.first() else { return Ok(()) };
        let name = key.get_ref();
        let error = self.wrong(key.span().start, format!("unknown key `{}` {place}", name.escape_debug()));
        Err(match forbidden_or_near(name, known) {
            Some(hint) => error.hint(hint),
            None => error.hint(format!(
                "basekeep {} knows {} here",
                env!("CARGO_PKG_VERSION"),
                known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
            )),
        })
    }

    fn position(&self, table: &DeTable<'_>, key: &str) -> usize {
        table.get(key).map_or(0, |value| value.span().start)
    }

    fn wrong(&self, at: usize, problem: impl std::fmt::Display) -> EngineError {
        usage(format!("{}: {problem}", self.place(at)))
    }

    /// `basekeep.toml:7`, with the path as it was given.
    fn place(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or(self.text);
        format!("{}:{}", self.file.display(), before.matches('\n').count() + 1)
    }
}

fn forbidden_or_near(name: &str, known: &[&str]) -> Option<String> {
    if name == "password" {
        return Some(
            "passwords do not stand in this file; use password_env, password_file or password_command".into(),
        );
    }
    if name == "sources" && known.contains(&"source") {
        return Some("did you mean [source.NAME]?".into());
    }
    if (name == "replicas" && known.contains(&"replica"))
        || (name == "profiles" && known.contains(&"profile"))
    {
        let section = if name == "replicas" { "[[replica]]" } else { "[profile.NAME]" };
        return Some(format!("did you mean {section}?"));
    }
    nearest(name, known).map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ErrorKind;

    pub(super) fn parse(text: &str) -> Result<Config, EngineError> {
        let env = Environment { home: Some("/home/ada".into()), ..Environment::default() };
        read(text, Path::new("/project/basekeep.toml"), &env)
    }

    #[track_caller]
    pub(super) fn refused(text: &str, message: &str, hint: &str) {
        let error = parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert_eq!(error.message(), message);
        let hinted = hint.is_empty() || error.hints().iter().any(|h| h.contains(hint));
        assert!(hinted, "{:?}", error.hints());
    }

    #[test]
    fn everything_that_has_a_meaning_is_read() {
        let config = parse(
            "[repository]\nurl = \"./backups\"\npassword_file = \"~/.config/basekeep/repository.key\"\n\
             [source.zeta]\nurl = \"postgresql://postgres@127.0.0.1:54322/postgres\"\npassword_env = \"DB_PASSWORD\"\n\
             project = \".\"\n[source.alpha]\nurl = 'dbname=x host=/tmp'\npassword_command = 'pass show x'\n",
        )
        .unwrap();
        assert_eq!(config.repository.url.as_deref(), Some("/project/backups"));
        let key = PasswordFrom::File("/home/ada/.config/basekeep/repository.key".into());
        assert_eq!(config.repository.password, Some(key));
        let names: Vec<_> = config.sources.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["zeta", "alpha"], "the order of the file counts");
        assert_eq!(config.sources[0].password, Some(PasswordFrom::Env("DB_PASSWORD".into())));
        assert_eq!(config.sources[0].project.as_deref(), Some(Path::new("/project")));
        assert_eq!(config.sources[1].password, Some(PasswordFrom::Command("pass show x".into())));
        assert_eq!(config.report_folder, None);
        let config = parse("[report]\nfolder = \"reports\"\n").unwrap();
        assert_eq!(config.report_folder.as_deref(), Some(Path::new("/project/reports")));
    }

    #[test]
    fn urls_of_repositories_are_not_taken_for_paths() {
        let config = parse("[repository]\nurl = \"s3://bucket/prefix\"\n").unwrap();
        assert_eq!(config.repository.url.as_deref(), Some("s3://bucket/prefix"));
        assert!(parse("").unwrap().sources.is_empty());
    }

    #[test]
    fn unknown_keys_name_their_line_and_the_nearest_known_one() {
        refused(
            "[repository]\nurl = \"./b\"\npasword_file = \"k\"\n",
            "/project/basekeep.toml:3: unknown key `pasword_file` in [repository]",
            "did you mean `password_file`?",
        );
        refused(
            "\n[source.a]\nurl = \"postgresql://h\"\nexclude_data = []\n",
            "/project/basekeep.toml:4: unknown key `exclude_data` in [source.a]",
            "knows `url`, `password_env`",
        );
        refused(
            "[[replicas]]\n",
            "/project/basekeep.toml:1: unknown key `replicas` at the top of the file",
            "[[replica]]",
        );
        refused(
            "[repositry]\n",
            "/project/basekeep.toml:1: unknown key `repositry` at the top of the file",
            "did you mean `repository`?",
        );
        refused(
            "[sources.a]\n",
            "/project/basekeep.toml:1: unknown key `sources` at the top of the file",
            "[source.NAME]",
        );
        refused(
            "[source.a]\nurl = \"x\"\npassword = \"x\"",
            "/project/basekeep.toml:3: unknown key `password` in [source.a]",
            "password_env",
        );
    }

    #[test]
    fn wrong_values_are_refused_with_their_line() {
        refused(
            "[source.a]\npassword_env = \"X\"\n",
            "/project/basekeep.toml:1: [source.a] has no url",
            "postgresql://",
        );
        refused(
            "[source]\nurl = \"postgresql://h\"\n",
            "/project/basekeep.toml:2: `url` directly in [source] has no meaning",
            "[source.my-project]",
        );
        refused(
            "[source.\"a/b\"]\nurl = \"x\"\n",
            "/project/basekeep.toml:1: 'a/b' cannot be a source's name",
            "letters",
        );
        refused(
            "[repository]\nurl = \"  \"\n",
            "/project/basekeep.toml:2: `url` is empty",
            "remove the line",
        );
        refused(
            "[repository]\npassword_env = \"A\"\npassword_file = \"b\"\n",
            "/project/basekeep.toml:3: `password_env` and `password_file` contradict each other",
            "keep one",
        );
        let number = parse("[repository]\nurl = 5\n").unwrap_err();
        assert_eq!(number.message(), "/project/basekeep.toml:2: `url` must be a text in quotes");
        let broken = parse("[repository]\nurl = \"x\n").unwrap_err();
        assert!(broken.message().starts_with("/project/basekeep.toml:2: "), "{broken}");
    }
}
