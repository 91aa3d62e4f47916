//! `basekeep key`: the passwords that open a repository.

use std::path::PathBuf;

use basekeep_engine::EngineError;
use basekeep_engine::keys::{self, KeyListing, KeyOwner};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::JSON_VERSION;
use crate::output::table::{Align, Table};
use crate::output::units;

/// List, add and remove the keys that open the repository, or change the password
#[derive(Debug, Args)]
#[command(
    after_long_help = "Each key opens the repository with a password of its own. All of them hold the same master key, which \
never changes: whoever has once opened the repository and kept that key can read it for ever. Keys are restic's; `restic key` \
works on them too.\n\n\
The new password comes from --new-password-file, from BASEKEEP_NEW_PASSWORD, BASEKEEP_NEW_PASSWORD_FILE or \
BASEKEEP_NEW_PASSWORD_COMMAND, or is asked twice on a terminal."
)]
pub(crate) struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the keys; `*` marks the one in use
    List,
    /// Add a key for a further password
    Add(New),
    /// Remove a key; the one in use is refused
    Remove {
        /// The key's id or its beginning
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Change the password in use: a new key is added and seen to open the repository, then the old one is removed
    Passwd(New),
}

/// A new key.
#[derive(Debug, Args)]
struct New {
    /// Read the new password from this file
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// The user whom the key is for [default: yours]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The machine that the key is for [default: this one]
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
}

#[derive(Serialize)]
struct ListDocument<'a> {
    version: u32,
    keys: Vec<KeyDocument<'a>>,
    unreadable: Vec<Unreadable<'a>>,
}

#[derive(Serialize)]
struct KeyDocument<'a> {
    id: &'a str,
    created: String,
    user: &'a str,
    host: &'a str,
    current: bool,
}

#[derive(Serialize)]
struct Unreadable<'a> {
    file: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Changed<'a> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<&'a str>,
}

pub(crate) async fn run(command: &Key, context: &Context) -> Result<Exit, EngineError> {
    match &command.action {
        Action::List => list(context).await,
        Action::Add(new) => {
            let password = context.new_password(new.new_password_file.as_deref())?;
            let repository = context.open_repository().await?;
            let id = keys::add(&repository, &password, &new.owner(), &context.interrupt).await?;
            tell(context, Some(&id), None, &format!("added key {}", units::short(&id)))
        }
        Action::Remove { id } => {
            let repository = context.open_repository().await?;
            let id = keys::remove(&repository, id, &context.interrupt).await?;
            tell(context, None, Some(&id), &format!("removed key {}", units::short(&id)))
        }
        Action::Passwd(new) => {
            let password = context.new_password(new.new_password_file.as_deref())?;
            let repository = context.open_repository().await?;
            let old = repository.current_key().to_string();
            let id = keys::change_password(&repository, &password, &new.owner(), &context.interrupt).await?;
            let text =
                format!("changed the password: key {} replaces {}", units::short(&id), units::short(&old));
            tell(context, Some(&id), Some(&old), &text)
        }
    }
}

impl New {
    fn owner(&self) -> KeyOwner {
        KeyOwner { username: self.user.clone(), hostname: self.host.clone() }
    }
}

fn tell(
    context: &Context,
    added: Option<&str>,
    removed: Option<&str>,
    text: &str,
) -> Result<Exit, EngineError> {
    match context.output.json {
        true => context.output.document(&Changed { version: JSON_VERSION, added, removed })?,
        false => context.output.note(text),
    }
    Ok(Exit::Done)
}

async fn list(context: &Context) -> Result<Exit, EngineError> {
    let repository = context.open_repository().await?;
    let listing = context.interrupt.guard(keys::list(&repository)).await?;
    if context.output.json {
        context.output.document(&document(&listing))?;
        return Ok(Exit::Done);
    }
    for (file, reason) in &listing.unreadable {
        let id = units::short(file.rsplit('/').next().unwrap_or(file));
        context.output.warning(
            &format!("{file} cannot be read: {reason}"),
            Some(&format!("`basekeep key remove {id}` removes it")),
        );
    }
    context.output.data(&text(&listing))?;
    Ok(Exit::Done)
}

fn document(listing: &KeyListing) -> ListDocument<'_> {
    let keys = listing.keys.iter().map(|key| KeyDocument {
        id: &key.id,
        created: key.created.to_string(),
        user: &key.username,
        host: &key.hostname,
        current: key.current,
    });
    let unreadable = listing.unreadable.iter().map(|(file, reason)| Unreadable { file, reason });
    ListDocument { version: JSON_VERSION, keys: keys.collect(), unreadable: unreadable.collect() }
}

fn text(listing: &KeyListing) -> String {
    let columns = [("", Align::Left), ("key", Align::Left), ("user", Align::Left), ("host", Align::Left)];
    let mut table = Table::new(&[columns.as_slice(), &[("created", Align::Left)]].concat());
    for key in &listing.keys {
        table.row([
            if key.current { "*" } else { "" }.to_owned(),
            units::short(&key.id).to_owned(),
            key.username.clone(),
            key.hostname.clone(),
            units::time(key.created),
        ]);
    }
    table.render()
}
