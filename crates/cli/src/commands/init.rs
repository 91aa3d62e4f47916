//! `basekeep init`: a configuration that works as it stands, a key, a repository. Nothing that exists is overwritten.

pub(super) mod address;
mod discover;
mod project;
pub(super) mod secrets;
pub(super) mod template;

use std::path::{Path, PathBuf};

use basekeep_engine::EngineError;
use basekeep_engine::repositories;
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::context::other::Role;
use crate::exit::Exit;
use crate::output::JSON_VERSION;

/// Write basekeep.toml and a key, and create the repository
#[derive(Debug, Args)]
#[command(
    after_long_help = "Finds supabase/config.toml, a local Supabase stack, and DATABASE_URL, POSTGRES_URL, \
SUPABASE_DB_URL and DB_PASSWORD in the environment, .env.local and .env. Passwords are never written into basekeep.toml.\n\n\
With --repo, and a password in BASEKEEP_PASSWORD or RESTIC_PASSWORD, just the repository is created.\n\n\
With --from-repo and --copy-chunker-params the new repository shares data with that one; its password comes from \
--from-password-file, BASEKEEP_FROM_PASSWORD, BASEKEEP_FROM_PASSWORD_FILE or BASEKEEP_FROM_PASSWORD_COMMAND."
)]
pub(crate) struct Init {
    /// The database to back up, a postgresql:// URL [default: what is found]
    #[arg(value_name = "URL")]
    source: Option<String>,
    /// Name the source [default: the Supabase project's id or the folder's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// With --copy-chunker-params: the repository that the new one is to share data with
    #[arg(long, value_name = "REPO", requires = "copy_chunker_params")]
    from_repo: Option<String>,
    /// Cut data where the repository of --from-repo does, so that copies and later backups share it
    #[arg(long, requires = "from_repo")]
    copy_chunker_params: bool,
    /// Read the password of --from-repo from this file [env: BASEKEEP_FROM_PASSWORD…]
    #[arg(long, value_name = "FILE", requires = "from_repo")]
    from_password_file: Option<PathBuf>,
}

/// What was made and what was there.
#[derive(Debug, Serialize)]
struct Report {
    version: u32,
    repository: Item,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    replicas: Vec<ReplicaItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Item>,
    sources: Vec<SourceItem>,
    hints: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Item {
    path: String,
    created: bool,
}

#[derive(Debug, Serialize)]
struct ReplicaItem {
    name: String,
    path: String,
    created: bool,
}

#[derive(Debug, Serialize)]
struct SourceItem {
    name: String,
    url: String,
    found: String,
    /// What was tried of it: `true` login works, `false` it does not, `null` not tried.
    reachable: Option<bool>,
}

pub(crate) async fn run(command: &Init, context: &Context) -> Result<Exit, EngineError> {
    let report = match just_the_repository(command, context)? {
        true => repository_alone(command, context).await?,
        false if command.from_repo.is_some() => {
            return Err(EngineError::usage("--from-repo makes just a repository")
                .hint("name it with --repo, give its password in BASEKEEP_PASSWORD, and leave source and --name out"));
        }
        false => project::init(command, context).await?,
    };
    if context.output.json {
        context.output.document(&report)?;
    } else if !context.output.quiet {
        context.output.data(&text(&report))?;
    }
    if !context.output.json {
        for hint in &report.hints {
            context.output.hint(hint);
        }
    }
    Ok(Exit::Done)
}

/// A repository is named, its password is known, and nothing is said about a source.
fn just_the_repository(command: &Init, context: &Context) -> Result<bool, EngineError> {
    let named = context.global.repo.is_some() || context.env.var("BASEKEEP_REPOSITORY").is_some();
    if !named || command.source.is_some() || command.name.is_some() {
        return Ok(false);
    }
    Ok(context.password_from(&context.repository_place()?)?.is_some())
}

async fn repository_alone(command: &Init, context: &Context) -> Result<Report, EngineError> {
    let (spec, origin) = context.repository_spec()?;
    match &command.from_repo {
        Some(place) => {
            let model = context.open_other(place, command.from_password_file.as_deref(), Role::From).await?;
            context.interrupt.guard(repositories::init_like(&spec, &model)).await?;
        }
        None => {
            context.interrupt.guard(repositories::init(&spec)).await?;
        }
    }
    Ok(Report {
        version: JSON_VERSION,
        repository: Item { path: spec.url, created: true },
        replicas: Vec::new(),
        config: None,
        key: None,
        sources: Vec::new(),
        hints: vec![format!(
            "keep the password (from {origin}) somewhere else too: without it nobody can read the backups, you included"
        )],
    })
}

fn text(report: &Report) -> String {
    let how = |created: bool| if created { "new" } else { "was there, left as it is" };
    let item = |name: &str, item: &Item| format!("{name:<14} {} ({})\n", item.path, how(item.created));
    let mut text = String::new();
    text += &report.config.as_ref().map(|config| item("configuration", config)).unwrap_or_default();
    text += &report.key.as_ref().map(|key| item("key", key)).unwrap_or_default();
    text += &item("repository", &report.repository);
    for ReplicaItem { name, path, created } in &report.replicas {
        text += &format!("{:<14} {name}: {path} ({})\n", "replica", how(*created));
    }
    for source in &report.sources {
        let state = match source.reachable {
            Some(true) => ", login works",
            Some(false) => ", does not answer or refuses the login now",
            None => "",
        };
        text += &format!("source         {}: {} ({}{state})\n", source.name, source.url, source.found);
    }
    text
}

/// For people and for basekeep.toml: below the home directory as `~/…`.
fn with_tilde(path: &Path, home: Option<&PathBuf>) -> String {
    match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}
