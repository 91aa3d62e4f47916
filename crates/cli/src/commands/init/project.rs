//! A whole project: configuration, key, repository.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use basekeep_engine::backup::check_name;
use basekeep_engine::config::{Config, Dotenv, FILE_NAME, PasswordFrom};
use basekeep_engine::repositories::{self, RepositorySpec};
use basekeep_engine::{EngineError, ErrorKind, Password, Repository};

use super::discover::{self, Found, FoundPassword, Surroundings};
use super::template::{self, Entry};
use super::{Init, Item, ReplicaItem, Report, SourceItem, secrets, with_tilde};
use crate::context::repository::{absolute, explain, variables};
use crate::context::{Context, current_folder};
use crate::output::JSON_VERSION;

const DEFAULT_REPOSITORY: &str = "./backups";

pub(super) async fn init(command: &Init, context: &Context) -> Result<Report, EngineError> {
    // A file that --config names need not exist yet.
    let named = context.global.config.clone();
    let file = match named {
        Some(file) => std::path::absolute(&file).unwrap_or(file),
        None => context.config_file().unwrap_or(current_folder()?.join(FILE_NAME)),
    };
    if file.exists() { complete(command, context).await } else { create(command, context, &file).await }
}

/// The configuration is there: what it names and what is missing is created.
async fn complete(command: &Init, context: &Context) -> Result<Report, EngineError> {
    let Some(config) = context.config()? else {
        return Err(EngineError::failed("the configuration has just disappeared"));
    };
    if let Some(source) = &command.source {
        let found = discover::given(source, &context.env)?;
        let name = command.name.as_deref().unwrap_or(&found.name);
        return Err(EngineError::usage(format!(
            "{} is there already and is left as it is",
            config.file.display()
        ))
        .hint(format!("add the source by hand: a section [source.{name}] with url = \"{}\"", found.url)));
    }
    let mut key = None;
    let place = context.repository_place()?;
    if let Some(PasswordFrom::File(file)) = context.password_from(&place)? {
        let created = secrets::keep(&file, &secrets::random_key())?;
        key = Some(Item { path: file.display().to_string(), created });
    }
    let (spec, origin) = context.repository_spec()?;
    let (repository, model) = create_or_open(context, &spec, &origin, None).await?;
    let replicas = replicas(context, &spec, &origin, &model).await?;
    let mut hints =
        vec!["`basekeep doctor` checks the configuration; `basekeep backup` makes a backup".to_owned()];
    hints.extend(key.iter().filter(|key| key.created).map(save_the_key));
    Ok(Report {
        version: JSON_VERSION,
        repository,
        replicas,
        config: Some(Item { path: config.file.display().to_string(), created: false }),
        key,
        sources: Vec::new(),
        hints,
    })
}

/// Nothing is there yet.
async fn create(command: &Init, context: &Context, file: &Path) -> Result<Report, EngineError> {
    let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
    let found = sources(command, context, &folder).await?;
    let secrets_folder = secrets::folder(&context.env, &folder);

    let (from, key) = match variables(&context.env, "BASEKEEP_PASSWORD")? {
        Some(from) => (from, None),
        None => {
            let file = secrets_folder.join("repository.key");
            let created = secrets::keep(&file, &secrets::random_key())?;
            let key = Item { path: file.display().to_string(), created };
            (PasswordFrom::File(file), Some(key))
        }
    };
    let url =
        context.global.repo.clone().or_else(|| context.env.var("BASEKEEP_REPOSITORY").map(str::to_owned));
    let (written_url, place) = match url {
        Some(url) => (absolute(&url, &context.env)?, absolute(&url, &context.env)?),
        None => (DEFAULT_REPOSITORY.to_owned(), folder.join("backups").display().to_string()),
    };
    let password = from.read(&context.env, &Dotenv::default())?;
    let spec = RepositorySpec::new(place, Password::new(password.expose()));
    let (repository, _) = create_or_open(context, &spec, &from.to_string(), None).await?;

    let mut entries = Vec::new();
    for source in &found {
        let (password, project) = password_of(source, &secrets_folder)?;
        let line =
            password.map(|from| template::password_line(&from, |p| with_tilde(p, context.env.home.as_ref())));
        entries.push(Entry {
            name: &source.name,
            url: &source.url,
            found: &source.origin,
            password: line,
            project,
        });
    }
    let password_line = template::password_line(&from, |path| with_tilde(path, context.env.home.as_ref()));
    let text = template::render(&written_url, &password_line, &entries);
    Config::parse(&text, file, &context.env)
        .map_err(|error| error.within("the new configuration would not be valid"))?;
    write_new(file, &text)?;

    let hints = hints(&found, key.as_ref(), file, &spec.url, &folder);
    Ok(Report {
        version: JSON_VERSION,
        repository,
        replicas: Vec::new(),
        config: Some(Item { path: file.display().to_string(), created: true }),
        key,
        sources: found.into_iter().map(item).collect(),
        hints,
    })
}

async fn sources(command: &Init, context: &Context, folder: &Path) -> Result<Vec<Found>, EngineError> {
    let mut found = match &command.source {
        Some(text) => vec![discover::given(text, &context.env)?],
        None => {
            let dotenv = Dotenv::of_project(folder);
            let around = Surroundings { folder, env: &context.env, dotenv };
            let look = async { Ok(discover::all(&around).await) };
            context.interrupt.guard(look).await?
        }
    };
    if let Some(name) = &command.name {
        check_name(name)?;
        match found.first_mut() {
            Some(source) => name.clone_into(&mut source.name),
            None => {
                return Err(EngineError::usage("--name names a source, and none was given or found")
                    .hint(format!("`basekeep init --name {name} postgresql://user@host:5432/database`")));
            }
        }
    }
    Ok(found)
}

/// Where the password of a source will come from, and whether the project's `.env` files count.
fn password_of(source: &Found, folder: &Path) -> Result<(Option<PasswordFrom>, bool), EngineError> {
    Ok(match &source.password {
        FoundPassword::Elsewhere => (None, false),
        FoundPassword::Variable(name) => (Some(PasswordFrom::Env(name.clone())), true),
        FoundPassword::Known(password) => {
            let file = free_file(folder, &source.name, password)?;
            (Some(PasswordFrom::File(file)), false)
        }
    })
}

/// A file that holds exactly this password: an existing one of the right name, or a new one.
fn free_file(
    folder: &Path,
    name: &str,
    password: &basekeep_engine::postgres::Secret,
) -> Result<PathBuf, EngineError> {
    for n in 1u32.. {
        let number = if n == 1 { String::new() } else { format!("-{n}") };
        let file = folder.join(format!("{name}{number}.password"));
        if secrets::keep(&file, password)? {
            return Ok(file);
        }
        if std::fs::read_to_string(&file).is_ok_and(|text| text.trim() == password.expose()) {
            return Ok(file);
        }
    }
    Err(EngineError::failed(format!("no name is left for a password file in {}", folder.display())))
}

/// A new one cuts chunks as `model` does.
async fn create_or_open(
    context: &Context,
    spec: &RepositorySpec,
    origin: &str,
    model: Option<&Repository>,
) -> Result<(Item, Repository), EngineError> {
    let work = async {
        match (repositories::open(spec).await, model) {
            (Ok(repository), _) => Ok((false, repository)),
            (Err(error), Some(model)) if error.kind() == ErrorKind::NoRepository => {
                Ok((true, repositories::init_like(spec, model).await?))
            }
            (Err(error), None) if error.kind() == ErrorKind::NoRepository => {
                Ok((true, repositories::init(spec).await?))
            }
            (Err(error), _) => Err(error),
        }
    };
    let (created, repository) = context.interrupt.guard(work).await.map_err(|error| {
        let wrong = error.kind() == ErrorKind::WrongPassword;
        let error = explain(error, &spec.url, origin);
        if wrong {
            error.hint("a repository is there already; name another place with --repo")
        } else {
            error
        }
    })?;
    Ok((Item { path: spec.url.clone(), created }, repository))
}

/// The replicas that the configuration names: what is missing is created, so that they share data with the repository.
async fn replicas(
    context: &Context,
    spec: &RepositorySpec,
    origin: &str,
    model: &Repository,
) -> Result<Vec<ReplicaItem>, EngineError> {
    let mut items = Vec::new();
    for entry in context.replicas()? {
        if let Some(PasswordFrom::File(file)) = &entry.password {
            secrets::keep(file, &secrets::random_key())?;
        }
        let doing = |error: EngineError| error.within(format!("replica {}", entry.name));
        let (spec, origin) = context.replica_spec(entry, &spec.password, origin)?;
        let (item, _) = create_or_open(context, &spec, &origin, Some(model)).await.map_err(doing)?;
        items.push(ReplicaItem { name: entry.name.clone(), path: item.path, created: item.created });
    }
    Ok(items)
}

fn write_new(file: &Path, text: &str) -> Result<(), EngineError> {
    let written = OpenOptions::new().write(true).create_new(true).open(file);
    written
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .map_err(|error| EngineError::failed(format!("cannot write {}", file.display())).caused_by(error))
}

fn item(source: Found) -> SourceItem {
    SourceItem { name: source.name, url: source.url, found: source.origin, reachable: source.reachable }
}

fn save_the_key(key: &Item) -> String {
    format!(
        "save a copy of {} somewhere else now: without it nobody can read the backups, you included",
        key.path
    )
}

fn hints(found: &[Found], key: Option<&Item>, file: &Path, repository: &str, folder: &Path) -> Vec<String> {
    let mut hints = Vec::new();
    hints.extend(key.filter(|key| key.created).map(save_the_key));
    if let Some(key) = key.filter(|key| !key.created) {
        hints.push(format!("the key of your other repositories, {}, opens this one too", key.path));
    }
    hints.extend(
        found.iter().filter_map(|source| Some(format!("{}: {}", source.name, source.note.as_ref()?))),
    );
    if let Some(line) = not_ignored(repository, folder) {
        hints.push(format!("add {line} to .gitignore"));
    }
    hints.push(match found {
        [] => format!("no database was found: add a section [source.NAME] to {}", file.display()),
        _ => "next: `basekeep doctor`, then `basekeep backup`".to_owned(),
    });
    hints
}

/// The line that .gitignore lacks when the repository lies in a git work tree.
fn not_ignored(repository: &str, folder: &Path) -> Option<String> {
    let inside = Path::new(repository).strip_prefix(folder).ok()?.to_str()?.to_owned();
    folder.ancestors().find(|ancestor| ancestor.join(".git").exists())?;
    let text = std::fs::read_to_string(folder.join(".gitignore")).unwrap_or_default();
    let ignored = text.lines().any(|line| line.trim().trim_matches('/') == inside);
    (!ignored).then(|| format!("/{inside}"))
}
