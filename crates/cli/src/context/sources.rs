//! Which databases are meant: names of the configuration, URLs, libpq's conninfo, libpq's environment.

use basekeep_engine::EngineError;
use basekeep_engine::backup::{Source, check_name};
use basekeep_engine::config::{Management, SourceEntry, connect_options, files_of};
use basekeep_engine::files::FilesAccess;
use basekeep_engine::postgres::ConnectOptions;

use super::Context;

/// A source that is known by name; connecting it may still fail (a password that is missing, say).
#[derive(Debug)]
pub(crate) enum Wanted {
    Configured(Box<SourceEntry>),
    Given(Box<Source>),
}

impl Wanted {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Configured(entry) => &entry.name,
            Self::Given(source) => &source.name,
        }
    }

    pub(crate) fn resolve(&self, context: &Context) -> Result<Source, EngineError> {
        match self {
            Self::Configured(entry) => entry.source(&context.env),
            Self::Given(source) => Ok(Source::clone(source)),
        }
    }
}

/// Whether this is a URL or `key=value` rather than a name.
pub(crate) fn is_conninfo(text: &str) -> bool {
    text.contains("://") || text.contains('=')
}

impl Context {
    /// The sources that `given` names; without any: all configured ones, or what libpq's variables name.
    pub(crate) fn wanted_sources(
        &self,
        given: &[String],
        name: Option<&str>,
    ) -> Result<Vec<Wanted>, EngineError> {
        let mut wanted = match given {
            [] => self.default_sources()?,
            given => given.iter().map(|text| self.wanted_source(text)).collect::<Result<_, _>>()?,
        };
        if let Some(name) = name {
            rename(&mut wanted, name)?;
        }
        for (i, source) in wanted.iter().enumerate() {
            check_name(source.name())?;
            if wanted[..i].iter().any(|other| other.name() == source.name()) {
                return Err(EngineError::usage(format!("source '{}' is given twice", source.name())));
            }
        }
        Ok(wanted)
    }

    fn wanted_source(&self, text: &str) -> Result<Wanted, EngineError> {
        let config = self.config()?;
        if let Some(entry) = config.and_then(|config| config.sources.iter().find(|entry| entry.name == text))
        {
            return Ok(Wanted::Configured(Box::new(entry.clone())));
        }
        if is_conninfo(text) {
            let connect = connect_options(text, &self.env)?;
            return Ok(self.given(connect));
        }
        match config {
            Some(config) => Ok(Wanted::Configured(Box::new(config.source(text)?.clone()))),
            None => Err(EngineError::usage(format!(
                "'{}' is not a postgresql:// URL, and there is no basekeep.toml that could name it",
                text.escape_debug()
            ))
            .hint("`basekeep init` writes one; a URL looks like postgresql://user@host:5432/database")),
        }
    }

    /// A source that no entry names.
    fn given(&self, connect: ConnectOptions) -> Wanted {
        let files = files_of(&connect, &self.env);
        Wanted::Given(Box::new(Source { files, ..Source::new(name_of(&connect), connect) }))
    }

    /// How the storage files of a target are reached.
    pub(crate) fn target_files(&self, text: &str) -> Result<FilesAccess, EngineError> {
        match self.wanted_source(text)? {
            Wanted::Configured(entry) => Ok(entry.files(&entry.connect(&self.env)?, &self.env)),
            Wanted::Given(source) => Ok(source.files),
        }
    }

    /// The Management API of a target, where it is configured.
    pub(crate) fn target_management(&self, text: &str) -> Result<Option<Management>, EngineError> {
        Ok(self.wanted_source(text)?.resolve(self)?.management)
    }

    fn default_sources(&self) -> Result<Vec<Wanted>, EngineError> {
        if let Some(config) = self.config()?.filter(|config| !config.sources.is_empty()) {
            return Ok(config.sources.iter().cloned().map(Box::new).map(Wanted::Configured).collect());
        }
        let named =
            ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE"].iter().any(|v| self.env.var(v).is_some());
        if named {
            let connect = connect_options("", &self.env)?;
            return Ok(vec![self.given(connect)]);
        }
        if let Some(config) = self.config()? {
            return Err(EngineError::usage(format!("{} names no source", config.file.display()))
                .hint("add a section [source.NAME] with a url, or give a postgresql:// URL"));
        }
        Err(EngineError::usage("there is nothing to work on: no basekeep.toml here and no source given")
            .hint("`basekeep init` finds your database and writes basekeep.toml")
            .hint("or give a URL: `basekeep backup postgresql://user@host:5432/database --repo ./backups`"))
    }

    /// The database that a restore or a drill goes to.
    pub(crate) fn target(&self, text: &str) -> Result<ConnectOptions, EngineError> {
        match self.wanted_source(text)? {
            Wanted::Configured(entry) => entry.connect(&self.env),
            Wanted::Given(source) => Ok(source.connect),
        }
    }
}

fn rename(wanted: &mut [Wanted], name: &str) -> Result<(), EngineError> {
    check_name(name)?;
    match wanted {
        [Wanted::Given(source)] => name.clone_into(&mut source.name),
        [Wanted::Configured(entry)] => {
            return Err(EngineError::usage(format!(
                "--name cannot rename the configured source '{}'",
                entry.name
            ))
            .hint("change its section's name in basekeep.toml; --name is for sources given as a URL"));
        }
        _ => {
            return Err(EngineError::usage("--name needs exactly one source, given as a URL")
                .hint("leave --name out: each URL is then named by its database and host"));
        }
    }
    Ok(())
}

/// The name of a source that has none: database, host, and the port where it is not the usual one.
pub(crate) fn name_of(connect: &ConnectOptions) -> String {
    name_from(connect.database(), connect.host(), connect.port())
}

fn name_from(database: &str, host: &str, port: u16) -> String {
    let host = if host.is_empty() || host.starts_with(['/', '@']) { "localhost" } else { host };
    let port = if port == 5432 { String::new() } else { format!("-{port}") };
    let proper = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = format!("{database}-{host}{port}").chars().map(proper).collect();
    let mut end = name.len().min(200);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_named_by_database_and_host() {
        assert_eq!(name_from("postgres", "db.example.com", 5432), "postgres-db.example.com");
        assert_eq!(name_from("postgres", "127.0.0.1", 54322), "postgres-127.0.0.1-54322");
        assert_eq!(name_from("shop", "/var/run/postgresql", 5432), "shop-localhost");
        assert_eq!(name_from("a/b c", "::1", 5432), "a_b_c-__1");
        for name in [name_from("..", "", 5432), name_from(&"ü".repeat(300), "h", 5432)] {
            check_name(&name).unwrap();
        }
    }

    #[test]
    fn conninfo_is_told_from_names() {
        assert!(is_conninfo("postgresql://h/d"));
        assert!(is_conninfo("dbname=x host=/tmp"));
        assert!(!is_conninfo("factory-pulse"));
    }
}
