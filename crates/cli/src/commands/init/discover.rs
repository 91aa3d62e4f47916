//! What there is to back up: a given URL, the Supabase project of this folder, its local stack, connection URLs in the
//! environment and in `.env` files, libpq's variables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use basekeep_engine::EngineError;
use basekeep_engine::config::{Dotenv, connect_options};
use basekeep_engine::postgres::{Client, ConnectOptions, Environment, Secret};

use super::address::{self, Address};
use crate::context::sources::name_of;

/// Connection URLs, the direct and the session ones first. The first that is set counts.
const URL_VARIABLES: [&str; 5] =
    ["SUPABASE_DB_URL", "DIRECT_URL", "POSTGRES_URL_NON_POOLING", "DATABASE_URL", "POSTGRES_URL"];
/// Passwords of the local stack.
const PASSWORD_VARIABLES: [&str; 2] = ["DB_PASSWORD", "POSTGRES_PASSWORD"];
/// What `supabase start` uses unless it is told otherwise.
const LOCAL_PORT: u16 = 54322;
const LOCAL_PASSWORD: &str = "postgres";
/// A database on this machine answers sooner.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the password of a found source will come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FoundPassword {
    /// `.pgpass`, PGPASSWORD, or none at all.
    Elsewhere,
    /// A variable of the environment or of the project's `.env` files.
    Variable(String),
    /// This one, to be put into a file of its own.
    Known(Secret),
}

/// A source that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) password: FoundPassword,
    pub(super) origin: String,
    pub(super) note: Option<String>,
    pub(super) reachable: Option<bool>,
}

/// Where to look.
pub(super) struct Surroundings<'a> {
    pub(super) folder: &'a Path,
    pub(super) env: &'a Environment,
    pub(super) dotenv: Dotenv,
}

impl Surroundings<'_> {
    /// A variable and where it stands.
    fn variable(&self, name: &str) -> Option<(&str, String)> {
        if let Some(value) = self.env.var(name) {
            return Some((value, "the environment".to_owned()));
        }
        let file = self.dotenv.file_of(name)?.file_name()?.to_string_lossy().into_owned();
        Some((self.dotenv.var(name)?, file))
    }
}

/// The source that the user gave.
pub(super) fn given(text: &str, env: &Environment) -> Result<Found, EngineError> {
    let Address { url, password, note } = address::take(text)?;
    let name = name_of(&connect_options(&url, env)?);
    let password = password.map_or(FoundPassword::Elsewhere, FoundPassword::Known);
    Ok(Found { name, url, password, origin: "given".to_owned(), note, reachable: None })
}

/// All that is found, the project's own database first.
pub(super) async fn all(around: &Surroundings<'_>) -> Vec<Found> {
    let supabase = SupabaseProject::read(around.folder);
    let name = supabase
        .as_ref()
        .and_then(|project| project.id.clone())
        .unwrap_or_else(|| folder_name(around.folder));
    let local = local_stack(around, supabase.as_ref()).await;
    let mut found: Vec<Found> = Vec::new();
    if let Some(by_url) = from_variables(around) {
        let is_local = local.as_ref().is_some_and(|local| same_server(&local.url, &by_url.url));
        if !is_local || local.is_none() {
            found.push(by_url);
        }
    }
    found.extend(local);
    if found.is_empty() {
        found.extend(from_libpq(around.env));
    }
    let several = found.len() > 1;
    for source in &mut found {
        let local = source.origin.contains("local stack");
        source.name = if several && local { format!("{name}-local") } else { name.clone() };
    }
    found
}

/// What `supabase/config.toml` says.
struct SupabaseProject {
    id: Option<String>,
    port: u16,
}

impl SupabaseProject {
    fn read(folder: &Path) -> Option<Self> {
        let root: PathBuf = folder.join("supabase");
        if !root.is_dir() {
            return None;
        }
        let text = std::fs::read_to_string(root.join("config.toml")).unwrap_or_default();
        let table: toml::Table = text.parse().unwrap_or_default();
        let port = table.get("db").and_then(|db| db.get("port")?.as_integer()?.try_into().ok());
        let id = table.get("project_id").and_then(toml::Value::as_str).map(proper_name);
        Some(Self { id: id.filter(|id| !id.is_empty()), port: port.unwrap_or(LOCAL_PORT) })
    }
}

async fn local_stack(around: &Surroundings<'_>, project: Option<&SupabaseProject>) -> Option<Found> {
    let port = project.map_or(LOCAL_PORT, |project| project.port);
    let listening = listens(port).await;
    let origin = match (project, listening) {
        (Some(_), _) => "local stack of supabase/config.toml",
        (None, true) => "local stack that runs on this machine",
        (None, false) => return None,
    };
    let url = format!("postgresql://postgres@127.0.0.1:{port}/postgres");
    let options = connect_options(&url, &Environment::default()).ok()?;
    let mut candidates: Vec<(FoundPassword, String, Secret)> = Vec::new();
    for name in PASSWORD_VARIABLES {
        if let Some((value, place)) = around.variable(name) {
            let origin = format!("{origin}, password from {name} in {place}");
            candidates.push((FoundPassword::Variable(name.to_owned()), origin, Secret::new(value)));
        }
    }
    let usual = Secret::new(LOCAL_PASSWORD);
    candidates.push((FoundPassword::Known(usual.clone()), format!("{origin}, its usual password"), usual));

    let mut reachable = None;
    let mut chosen = 0;
    if listening {
        reachable = Some(false);
        for (i, (_, _, password)) in candidates.iter().enumerate() {
            if logs_in(&options.clone().with_password(password.clone())).await {
                (reachable, chosen) = (Some(true), i);
                break;
            }
        }
    }
    let (password, origin, _) = candidates.swap_remove(chosen);
    Some(Found { name: String::new(), url, password, origin, note: None, reachable })
}

fn from_variables(around: &Surroundings<'_>) -> Option<Found> {
    URL_VARIABLES.iter().find_map(|name| {
        let (value, place) = around.variable(name)?;
        let is_postgres = value.starts_with("postgres://") || value.starts_with("postgresql://");
        // `${OTHER}` is expanded by whoever reads that file, not by us.
        if !is_postgres || value.contains("${") {
            return None;
        }
        let Address { url, password, note } = address::take(value).ok()?;
        let password = match password {
            Some(_) => FoundPassword::Variable((*name).to_owned()),
            None => FoundPassword::Elsewhere,
        };
        let origin = format!("{name} in {place}");
        Some(Found { name: String::new(), url, password, origin, note, reachable: None })
    })
}

fn from_libpq(env: &Environment) -> Option<Found> {
    let named =
        ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE"].iter().find(|name| env.var(name).is_some())?;
    let options = connect_options("", env).ok()?;
    Some(Found {
        name: String::new(),
        url: options.redacted(),
        password: match env.var("PGPASSWORD") {
            Some(_) => FoundPassword::Variable("PGPASSWORD".to_owned()),
            None => FoundPassword::Elsewhere,
        },
        origin: format!("{named} in the environment"),
        note: None,
        reachable: None,
    })
}

fn same_server(one: &str, other: &str) -> bool {
    let server = |url: &str| {
        let options = connect_options(url, &Environment::default()).ok()?;
        let host = if options.host() == "localhost" { "127.0.0.1" } else { options.host() };
        Some((host.to_owned(), options.port()))
    };
    server(one).is_some_and(|one| server(other) == Some(one))
}

async fn listens(port: u16) -> bool {
    let connect = tokio::net::TcpStream::connect(("127.0.0.1", port));
    matches!(tokio::time::timeout(PATIENCE, connect).await, Ok(Ok(_)))
}

async fn logs_in(options: &ConnectOptions) -> bool {
    match tokio::time::timeout(PATIENCE, Client::connect(options, "basekeep init")).await {
        Ok(Ok(client)) => {
            client.close().await;
            true
        }
        _ => false,
    }
}

fn folder_name(folder: &Path) -> String {
    let name = folder.file_name().map(|name| proper_name(&name.to_string_lossy())).unwrap_or_default();
    if name.is_empty() { "main".to_owned() } else { name }
}

/// Letters, digits, `-`, `_` and `.` only.
fn proper_name(text: &str) -> String {
    let proper = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    text.chars().take(60).map(proper).collect::<String>().trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> Environment {
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Environment { vars, ..Environment::default() }
    }

    #[tokio::test]
    async fn a_supabase_project_and_a_remote_url_are_two_sources() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("supabase")).unwrap();
        // Port 1 is not listened on, whatever runs on this machine.
        std::fs::write(folder.path().join("supabase/config.toml"), "project_id = \"shop\"\n[db]\nport = 1\n")
            .unwrap();
        std::fs::write(
            folder.path().join(".env"),
            "DB_PASSWORD=x\nDATABASE_URL=postgres://u:p@db.example.com/d\n",
        )
        .unwrap();
        let env = env(&[]);
        let around =
            Surroundings { folder: folder.path(), env: &env, dotenv: Dotenv::of_project(folder.path()) };
        let found = all(&around).await;
        let told: Vec<_> =
            found.iter().map(|f| (f.name.as_str(), f.url.as_str(), f.origin.as_str())).collect();
        assert_eq!(
            told,
            [
                ("shop", "postgres://u@db.example.com/d", "DATABASE_URL in .env"),
                (
                    "shop-local",
                    "postgresql://postgres@127.0.0.1:1/postgres",
                    "local stack of supabase/config.toml, password from DB_PASSWORD in .env"
                ),
            ]
        );
        assert_eq!(found[0].password, FoundPassword::Variable("DATABASE_URL".to_owned()));
        assert_eq!(found[1].password, FoundPassword::Variable("DB_PASSWORD".to_owned()));
    }

    #[tokio::test]
    async fn a_url_of_the_local_stack_is_the_local_stack() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("supabase")).unwrap();
        std::fs::write(folder.path().join("supabase/config.toml"), "project_id = \"shop\"\n[db]\nport = 1\n")
            .unwrap();
        let env = env(&[("DATABASE_URL", "postgresql://postgres:postgres@localhost:1/postgres")]);
        let around = Surroundings { folder: folder.path(), env: &env, dotenv: Dotenv::default() };
        let found = all(&around).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "shop");
        assert_eq!(found[0].password, FoundPassword::Known(Secret::new("postgres")));
    }

    #[test]
    fn a_given_url_loses_its_password() {
        let found = given("postgresql://u:secret@db.example.com/shop", &env(&[])).unwrap();
        assert_eq!(found.url, "postgresql://u@db.example.com/shop");
        assert_eq!(found.name, "shop-db.example.com");
        assert_eq!(found.password, FoundPassword::Known(Secret::new("secret")));
    }

    #[test]
    fn names_are_proper() {
        assert_eq!(proper_name("Factory Pulse!"), "Factory-Pulse");
        assert_eq!(folder_name(Path::new("/")), "main");
    }
}
