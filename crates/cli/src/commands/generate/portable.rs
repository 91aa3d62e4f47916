//! A configuration for another machine: what basekeep.toml says, without what only this machine has, and with every
//! password out of a variable. What it does not know to be harmless, it leaves out.

use std::path::Path;

use basekeep_engine::EngineError;
use basekeep_engine::config::is_url;
use toml::{Table, Value};

use super::facts::{Facts, Variable};

/// The text, the variables that it reads, and the place of the repository.
#[derive(Debug)]
pub(super) struct Portable {
    pub(super) text: String,
    pub(super) variables: Vec<Variable>,
    pub(super) repository: String,
}

const PASSWORDS: [&str; 3] = ["password_env", "password_file", "password_command"];
/// What of a repository goes along: the rest is this machine's.
const REPOSITORY: [&str; 9] = [
    "endpoint",
    "region",
    "path_style",
    "access_key_env",
    "secret_key_env",
    "session_token_env",
    "limit_upload",
    "limit_download",
    "append_only",
];
/// What of a source does not.
const NOT_OF_SOURCES: [&str; 3] = ["url", "project", "alerts"];

/// `repository` is where it is if the configured one is a folder of this machine; `project` says where a source's folder
/// is there; `profile` is that of sources that name none.
pub(super) fn portable(
    facts: &Facts,
    repository: &str,
    project: impl Fn(&Path) -> Option<String>,
    profile: Option<&str>,
) -> Result<Portable, EngineError> {
    let old = match &facts.config {
        Some(file) => read(file)?,
        None => Table::new(),
    };
    let section = |name: &str| old.get(name).and_then(Value::as_table).cloned().unwrap_or_default();
    let mut variables = Vec::new();
    let mut new = Table::new();
    let url = if is_url(&facts.repository) { facts.repository.as_str() } else { repository };

    let mut table = Table::new();
    table.insert("url".into(), url.into());
    let name = variable(&section("repository")).unwrap_or_else(|| "BASEKEEP_PASSWORD".to_owned());
    table.insert("password_env".into(), name.clone().into());
    add(&mut variables, &name, "the repository's password; keep it somewhere else too");
    // What it says of its storage belongs to its own place.
    if is_url(&facts.repository) {
        copy(&section("repository"), &mut table, &REPOSITORY);
    }
    keys(url, &table, &mut variables);
    new.insert("repository".into(), table.into());

    let replicas = old.get("replica").and_then(Value::as_array).cloned().unwrap_or_default();
    let far = replicas.iter().filter_map(|replica| {
        let replica = replica.as_table()?;
        let url = replica.get("url")?.as_str().filter(|url| is_url(url))?;
        let mut table = Table::new();
        table.insert("url".into(), url.into());
        copy(replica, &mut table, &["name"]);
        copy(replica, &mut table, &REPOSITORY);
        if let Some(name) = variable(replica) {
            table.insert("password_env".into(), name.clone().into());
            add(&mut variables, &name, "the password of a replica");
        } else if PASSWORDS.iter().any(|key| replica.contains_key(*key)) {
            table.insert("password_env".into(), "REPLICA_PASSWORD".into());
            add(&mut variables, "REPLICA_PASSWORD", "the password of a replica");
        }
        keys(url, &table, &mut variables);
        Some(Value::Table(table))
    });
    let far: Vec<Value> = far.collect();
    if !far.is_empty() {
        new.insert("replica".into(), far.into());
    }

    let sections = section("source");
    let mut sources = Table::new();
    for source in &facts.sources {
        let before = sections.get(&source.name).and_then(Value::as_table).cloned().unwrap_or_default();
        let mut table = Table::new();
        table.insert("url".into(), source.url.clone().into());
        table.insert("password_env".into(), source.password.clone().into());
        add(&mut variables, &source.password, &format!("the database password of {}", source.name));
        if let Some(folder) = source.project.as_deref().and_then(&project) {
            table.insert("project".into(), folder.into());
        }
        let rest = before
            .iter()
            .filter(|(key, _)| !PASSWORDS.contains(&key.as_str()) && !NOT_OF_SOURCES.contains(&key.as_str()));
        table.extend(rest.map(|(key, value)| (key.clone(), value.clone())));
        if let Some(profile) = profile {
            table.entry("profile").or_insert_with(|| profile.into());
        }
        sources.insert(source.name.clone(), table.into());
    }
    new.insert("source".into(), sources.into());
    let profiles = section("profile");
    if !profiles.is_empty() {
        new.insert("profile".into(), profiles.into());
    }
    // Keys of services, whose names stay.
    let known: Vec<String> = variables.iter().map(|variable| variable.name.clone()).collect();
    let text = toml::to_string(&new).map_err(|error| {
        EngineError::failed("cannot write the configuration for another machine").caused_by(error)
    })?;
    let mentioned = facts.variables.iter().filter(|variable| {
        !known.contains(&variable.name) && text.contains(&format!("\"{}\"", variable.name))
    });
    variables.extend(mentioned.cloned());
    Ok(Portable { text, variables, repository: url.to_owned() })
}

fn read(file: &Path) -> Result<Table, EngineError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| EngineError::usage(format!("cannot read {}", file.display())).caused_by(error))?;
    text.parse().map_err(|error: toml::de::Error| {
        EngineError::usage(format!("{} cannot be read", file.display())).caused_by(error)
    })
}

fn variable(table: &Table) -> Option<String> {
    table.get("password_env").and_then(Value::as_str).map(str::to_owned)
}

fn copy(from: &Table, to: &mut Table, keys: &[&str]) {
    for key in keys {
        if let Some(value) = from.get(*key) {
            to.insert((*key).to_owned(), value.clone());
        }
    }
}

/// The variables of a bucket's keys.
fn keys(url: &str, table: &Table, variables: &mut Vec<Variable>) {
    if !url.starts_with("s3:") {
        return;
    }
    let named = |key: &str, usual: &str| table.get(key).and_then(Value::as_str).unwrap_or(usual).to_owned();
    add(variables, &named("access_key_env", "AWS_ACCESS_KEY_ID"), "the access key of the bucket");
    add(variables, &named("secret_key_env", "AWS_SECRET_ACCESS_KEY"), "its secret");
    if let Some(name) = table.get("session_token_env").and_then(Value::as_str) {
        add(variables, name, "the session token of the bucket");
    }
}

fn add(variables: &mut Vec<Variable>, name: &str, about: &str) {
    if !variables.iter().any(|variable| variable.name == name) {
        variables.push(Variable { name: name.to_owned(), about: about.to_owned() });
    }
}
