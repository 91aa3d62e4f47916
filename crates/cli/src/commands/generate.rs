//! `basekeep generate`: what makes basekeep run by itself elsewhere. Nothing secret goes into the files: they name the
//! variables, and say what to fill in.

mod compose;
mod cron;
mod facts;
mod github;
mod kubernetes;
mod portable;
mod schedule;
mod schedules;
mod systemd;

use std::path::{Path, PathBuf};

use basekeep_engine::EngineError;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::JSON_VERSION;
use facts::Facts;

/// Write what runs basekeep by itself: systemd units, cron lines, a workflow, manifests
#[derive(Debug, Args)]
#[command(
    after_long_help = "The files are made from basekeep.toml, or from a URL and --repo where there is none. They say in comments \
what to fill in; passwords are never copied into them, also none that stands in a URL. Without --output they are printed.\n\n\
Schedules are those of the flags, else of the source's profile, else a backup each night, a drill and the freeing of space each \
Sunday, and a check each Wednesday; `never` leaves a job out."
)]
pub(crate) struct Generate {
    /// What to write
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Names from basekeep.toml or postgresql:// URLs [default: all configured sources]
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// Name the source that is given as a URL [default: its database and host]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Write the files into this folder
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long, requires = "output")]
    force: bool,
    /// When to back up, in cron's five fields, or never
    #[arg(long, value_name = "CRON")]
    backup: Option<String>,
    /// When to drill
    #[arg(long, value_name = "CRON")]
    drill: Option<String>,
    /// When to apply retention and free space
    #[arg(long, value_name = "CRON")]
    prune: Option<String>,
    /// When to check the repository and read a part of it
    #[arg(long, value_name = "CRON")]
    check: Option<String>,
    /// The time zone of the schedules, such as Europe/Zurich [default: the machine's]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    timezone: Option<String>,
    /// systemd: one service that runs `basekeep serve` instead of timers
    #[arg(long)]
    serve: bool,
    /// systemd: the account that it runs as [default: yours]
    #[arg(long, value_name = "ACCOUNT")]
    user: Option<String>,
    /// systemd, cron: where the program is [default: this one]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// kubernetes, compose: the container image [default: basekeep:VERSION, as contrib/container makes it]
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// kubernetes, compose: where the repository goes if the configured one is a folder
    #[arg(long, value_name = "WHERE", default_value = "s3")]
    storage: Keep,
    /// github-actions: the major version of PostgreSQL's programs
    #[arg(long, value_name = "MAJOR", default_value = "17", value_parser = major)]
    postgres: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A service and a timer for each job, or one service with --serve
    Systemd,
    /// Lines for a crontab
    Cron,
    /// A workflow
    GithubActions,
    /// A `CronJob` for each job, with secret and configuration
    Kubernetes,
    /// `basekeep serve` beside the databases
    Compose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Keep {
    /// A bucket
    S3,
    /// A volume
    Volume,
}

/// A generated file: a path relative to the folder of --output, and its text.
#[derive(Debug)]
struct File {
    name: String,
    text: String,
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    files: Vec<FileDocument<'a>>,
}

#[derive(Serialize)]
struct FileDocument<'a> {
    name: &'a str,
    /// Where it was written; `null` without --output.
    path: Option<String>,
    text: &'a str,
}

pub(crate) async fn run(command: &Generate, context: &Context) -> Result<Exit, EngineError> {
    if command.serve && command.kind != Kind::Systemd {
        return Err(
            EngineError::usage("--serve is for systemd").hint("`generate compose` runs `serve` as it is")
        );
    }
    let facts = Facts::gather(command, context)?;
    if command.serve {
        warn_without_profiles(&facts, context)?;
    }
    let files = match command.kind {
        Kind::Systemd if command.serve => systemd::daemon(&facts),
        Kind::Systemd => systemd::timers(&facts),
        Kind::Cron => cron::files(&facts),
        Kind::GithubActions => github::files(&facts, command)?,
        Kind::Kubernetes => kubernetes::files(&facts, command)?,
        Kind::Compose => compose::files(&facts, command)?,
    };
    if let Some(folder) = &command.output {
        write(folder, &files, command.force)?;
    }
    if context.output.json {
        let path =
            |file: &File| command.output.as_ref().map(|folder| folder.join(&file.name).display().to_string());
        let files =
            files.iter().map(|file| FileDocument { name: &file.name, path: path(file), text: &file.text });
        context.output.document(&Document { version: JSON_VERSION, files: files.collect() })?;
    } else if let Some(folder) = &command.output {
        for file in &files {
            context.output.note(&format!("wrote {}", folder.join(&file.name).display()));
        }
    } else {
        let alone = files.len() == 1;
        for file in &files {
            let head = if alone { String::new() } else { format!("# --- {}\n", file.name) };
            let end = if alone { "" } else { "\n" };
            context.output.data(&format!("{head}{}{end}", file.text))?;
        }
    }
    if let Some(first) = files.iter().find(|file| file.text.contains("Fill in")) {
        context.output.note(&format!("the first lines of {} say what to fill in", first.name));
    }
    Ok(Exit::Done)
}

/// `serve` does what profiles say, and ends where no source has one.
fn warn_without_profiles(facts: &Facts, context: &Context) -> Result<(), EngineError> {
    let config = context.config()?;
    let scheduled = |name: &str| config.is_some_and(|config| config.profile_of(name).is_some());
    if !facts.sources.iter().any(|source| scheduled(&source.name)) {
        let hint = "add profile = \"production\" to its section in basekeep.toml, or leave --serve out";
        context.output.warning("no source names a profile, so `serve` will have nothing to do", Some(hint));
    }
    Ok(())
}

impl File {
    fn new(name: impl Into<String>, text: String) -> Self {
        Self { name: name.into(), text }
    }
}

impl Generate {
    fn image(&self) -> &str {
        self.image.as_deref().unwrap_or(concat!("basekeep:", env!("CARGO_PKG_VERSION")))
    }
}

/// All of them or none: what is there is refused before anything is written.
fn write(folder: &Path, files: &[File], force: bool) -> Result<(), EngineError> {
    if let Some(there) = files
        .iter()
        .map(|file| folder.join(&file.name))
        .find(|path| !force && path.symlink_metadata().is_ok())
    {
        return Err(EngineError::usage(format!("{} is there already", there.display()))
            .hint("nothing was written; --force replaces it, another --output leaves it alone"));
    }
    for file in files {
        let path = folder.join(&file.name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, &file.text)).map_err(
            |error| EngineError::failed(format!("cannot write {}", path.display())).caused_by(error),
        )?;
    }
    Ok(())
}

fn zone(text: &str) -> Result<String, String> {
    match jiff::tz::TimeZone::get(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("name it as the time zone database does, such as Europe/Zurich".to_owned()),
    }
}

fn major(text: &str) -> Result<String, String> {
    match text.parse::<u8>() {
        Ok(13..=99) => Ok(text.to_owned()),
        _ => Err("a major version such as 17".to_owned()),
    }
}

/// Lines, each with its end.
fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line.replace(['\n', '\r'], " ") + "\n").collect()
}

/// A text moved to the right; empty lines stay empty.
fn indented(text: &str, by: usize) -> String {
    let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("{:by$}{line}\n", "") };
    text.lines().map(line).collect()
}

/// A text in YAML, always in double quotes: JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
