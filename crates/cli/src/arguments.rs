//! The command line: commands, the options that all of them share, and errors in it.

pub(crate) mod mask;
pub(crate) mod selection;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use basekeep_engine::EngineError;
use clap::error::ErrorKind as ClapKind;
use clap::{ArgAction, Args, Parser};

use crate::commands::Command;
use crate::exit::{self, Exit};
use crate::output::Output;

/// Back up Postgres and Supabase, prove the backups, restore them
#[derive(Debug, Parser)]
#[command(
    name = "basekeep",
    version,
    max_term_width = 110,
    after_help = "`basekeep --help` says more; `basekeep COMMAND --help` explains a command.",
    after_long_help = long_help()
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Print JSON: one document, or one line per event for long work
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but data, warnings and errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print more: when steps begin, every table of a plan or a drill, the log
    #[arg(long, short, global = true, action = ArgAction::SetTrue)]
    pub(crate) verbose: bool,
    /// No progress bars; a line per step instead
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// The configuration [default: basekeep.toml here or at the project's root; env: BASEKEEP_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The repository, a folder [env: BASEKEEP_REPOSITORY, RESTIC_REPOSITORY]
    #[arg(long, short, global = true, value_name = "URL")]
    pub(crate) repo: Option<String>,
    /// Wait so long for the repository's locks of others, such as 30s, 5m or 1h30m
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub(crate) retry_lock: Option<Duration>,
    /// Read everything from the repository itself, and keep nothing in the local cache
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,
}

/// `90s`, `5m`, `1h30m`, `2d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let help = "write a duration such as 30s, 5m or 1h30m";
    let span: jiff::Span = text.parse().map_err(|_| help.to_owned())?;
    let relative = jiff::SpanRelativeTo::days_are_24_hours();
    let duration = span.to_duration(relative).map_err(|_| help.to_owned())?;
    Duration::try_from(duration).map_err(|_| "it cannot be negative".to_owned())
}

fn long_help() -> String {
    format!(
        "\
Sources and targets:
  A name from basekeep.toml, a postgresql:// URL, or libpq's \"host=… dbname=…\". Passwords come from
  the URL, the configuration's password_env, password_file or password_command, PGPASSWORD or .pgpass.
  Where basekeep.toml names no source, PGHOST, PGSERVICE or PGDATABASE in the environment do.

The repository's password:
  BASEKEEP_PASSWORD, BASEKEEP_PASSWORD_FILE or BASEKEEP_PASSWORD_COMMAND, the configuration, or
  restic's variables of the same kind (RESTIC_PASSWORD…).

Other variables:
  BASEKEEP_CONFIG        the configuration file
  BASEKEEP_CACHE_DIR     the folder of local caches, if not ~/.cache/basekeep; it may be deleted at any time
  BASEKEEP_POSTGRES_BIN  folders with PostgreSQL's programs, separated by colons
  BASEKEEP_LOG           a filter for the program's log on standard error, such as `debug`
  NO_COLOR               no colours

{}",
        exit::HELP
    )
}

/// Prints help, the version, or what is wrong with the command line.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ClapKind::DisplayHelp | ClapKind::DisplayVersion => {
            // Nobody is left to tell when standard output is closed.
            let _ = write!(std::io::stdout(), "{}", error.render());
            Exit::Done.into()
        }
        ClapKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = write!(std::io::stderr(), "{}", error.render());
            Exit::Usage.into()
        }
        _ => {
            let json = std::env::args_os().any(|argument| argument == "--json");
            Output::new(&Global { json, ..Global::default() })
                .error(&usage_error(&error.render().to_string()));
            Exit::Usage.into()
        }
    }
}

/// The parser's report in our own form: one line, then hints.
fn usage_error(report: &str) -> EngineError {
    let (about, rest) = report.split_once("\n\n").unwrap_or((report, ""));
    let about = about.strip_prefix("error: ").unwrap_or(about);
    let message = about.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut error = EngineError::usage(message);
    for line in rest.lines().map(str::trim) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            error = error.hint(tip);
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            error = error.hint(format!("usage: {usage}"));
        }
    }
    error.hint("`--help` explains the options")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_restic_reads_them() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(2 * 86_400)));
        for bad in ["", "5", "soon", "-1m", "1y"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_parsers_report_becomes_one_line_and_hints() {
        let report =
            Cli::try_parse_from(["basekeep", "backup", "--dry-rum"]).unwrap_err().render().to_string();
        let error = usage_error(&report);
        assert_eq!(error.message(), "unexpected argument '--dry-rum' found");
        assert!(error.hints()[0].contains("--dry-run"), "{:?}", error.hints());
    }
}
