//! `basekeep dashboard`: everything in a browser, without the schedules of `serve`; and passwords and tokens for it.

mod panel;
mod work;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use basekeep_engine::EngineError;
use basekeep_engine::config::{Dotenv, PasswordFrom};
use basekeep_engine::postgres::Secret;
use basekeep_server::history::{History, state_folder};
use basekeep_server::live::Live;
use basekeep_server::web::{self, Lifetimes, Role, Settings, Site, User, Web};
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::net::TcpListener;

pub(crate) use self::panel::EnginePanel;
pub(crate) use self::work::Work;
use crate::confirm;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::JSON_VERSION;

/// The audit log, in the state folder.
const AUDIT: &str = "audit.jsonl";

/// Show everything in a browser, or make passwords and tokens for that
#[derive(Debug, Args)]
#[command(
    after_long_help = "Sources, runs with live progress, growth, snapshots and what differs between them; operators start backups and \
drills, export and restore. Who may log in stands in [dashboard] of basekeep.toml (docs/DASHBOARD.md); without a user there, a token for \
one login is printed, and only this machine reaches the dashboard."
)]
pub(crate) struct Dashboard {
    #[command(subcommand)]
    make: Option<Make>,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8432")]
    listen: SocketAddr,
    /// The folder of history and audit log [default: $XDG_STATE_HOME/basekeep]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Make {
    /// Hash a password for `password_hash` in [dashboard.user.NAME]
    Password {
        /// The file that holds the password [default: asked for on the terminal]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Make a token, and its hash for `token_hash` in [dashboard.user.NAME]
    Token,
}

#[derive(Serialize)]
struct HashDocument<'a> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_hash: Option<&'a str>,
}

pub(crate) async fn run(command: &Dashboard, context: &Context) -> Result<Exit, EngineError> {
    match &command.make {
        Some(Make::Password { password_file }) => password(password_file.as_deref(), context)?,
        Some(Make::Token) => token(context)?,
        None => serve(command, context).await?,
    }
    Ok(Exit::Done)
}

fn password(file: Option<&Path>, context: &Context) -> Result<(), EngineError> {
    let secret = match file {
        Some(file) => PasswordFrom::File(file.to_owned()).read(&context.env, &Dotenv::default())?,
        None if confirm::possible() && !context.output.json => {
            let first = Secret::new(confirm::password("password")?);
            if first != Secret::new(confirm::password("the same again")?) {
                return Err(
                    EngineError::usage("the two passwords differ").hint("nothing was made; try again")
                );
            }
            first
        }
        None => {
            return Err(EngineError::usage("no password is given").hint("use --password-file FILE"));
        }
    };
    let hash = web::hash_password(secret.expose())?;
    if context.output.json {
        let (token, token_hash) = (None, None);
        return context.output.document(&HashDocument {
            version: JSON_VERSION,
            password_hash: Some(&hash),
            token,
            token_hash,
        });
    }
    context.output.data(&format!("password_hash = \"{hash}\"\n"))
}

fn token(context: &Context) -> Result<(), EngineError> {
    let (token, hash) = web::new_token();
    if context.output.json {
        return context.output.document(&HashDocument {
            version: JSON_VERSION,
            password_hash: None,
            token: Some(&token),
            token_hash: Some(&hash),
        });
    }
    context.output.data(&format!("token_hash = \"{hash}\"\n"))?;
    context.output.note("the token, which is shown this once:");
    context.output.data(&format!("{token}\n"))
}

async fn serve(command: &Dashboard, context: &Context) -> Result<(), EngineError> {
    let folder = state_folder(command.state.as_deref(), &context.env).ok_or_else(|| {
        EngineError::usage("there is no place for the history: neither HOME nor XDG_STATE_HOME is set")
            .hint("name a folder with --state DIR")
    })?;
    let (history, aside) = History::open(&folder)?;
    if let Some(aside) = aside {
        context.output.warning(&format!("the history was damaged; it is {} now", aside.display()), None);
    }
    let panel = EnginePanel::new(&context.global, Arc::new(history), Live::default(), Work::Here);
    web::check_address(command.listen.ip(), &settings(context)?.users)?;
    let listener = listen(command.listen).await?;
    let address = listener.local_addr().unwrap_or(command.listen);
    let output = context.output.clone();
    let web = dashboard(context, panel.clone(), address, &folder, move |line| output.line(line))?;
    context.output.note(&format!("the dashboard is at http://{address}"));
    let interrupt = context.interrupt.clone();
    web::serve(listener, web.router(), async move { interrupt.requested().await }).await?;
    panel.finish().await;
    Ok(())
}

/// The dashboard over `panel`, with the users of the configuration. `tell` gets the line with the address of the first login.
pub(crate) fn dashboard(
    context: &Context,
    panel: EnginePanel,
    listen: SocketAddr,
    state: &Path,
    tell: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Web, EngineError> {
    let settings = settings(context)?;
    web::check_address(listen.ip(), &settings.users)?;
    Web::new(Arc::new(panel), settings, state.join(AUDIT), move |token| {
        tell(&format!("to log in once: http://{listen}/login#token={token}"));
    })
}

/// What `[dashboard]` says.
pub(crate) fn settings(context: &Context) -> Result<Settings, EngineError> {
    let entry = context.config()?.map(|config| config.dashboard.clone()).unwrap_or_default();
    let standard = Lifetimes::default();
    let mut users = Vec::new();
    for user in entry.users {
        let within = |error: EngineError| error.within(format!("[dashboard.user.{}]", user.name));
        user.password_hash.as_deref().map_or(Ok(()), web::check_password_hash).map_err(within)?;
        user.token_hash.as_deref().map_or(Ok(()), web::check_token_hash).map_err(within)?;
        users.push(User {
            role: if user.operator { Role::Operator } else { Role::Viewer },
            name: user.name,
            password_hash: user.password_hash,
            token_hash: user.token_hash,
        });
    }
    Ok(Settings {
        users,
        site: Site::new(entry.public_url.as_deref(), entry.hosts)?,
        lifetimes: Lifetimes {
            idle: entry.session_idle.unwrap_or(standard.idle),
            absolute: entry.session_lifetime.unwrap_or(standard.absolute),
        },
    })
}

/// Opens the port.
async fn listen(address: SocketAddr) -> Result<TcpListener, EngineError> {
    TcpListener::bind(address).await.map_err(|error| {
        EngineError::failed(format!("cannot listen on {address}: {error}"))
            .hint("name another address with --listen, such as 127.0.0.1:8433")
            .caused_by(error)
    })
}
