//! Definitions: `pg_dump --schema-only`, parsed as an archive. A backup runs it inside its snapshot, a drill on what it restored.

use std::process::Stdio;

use basekeep_archive::Archive;
use basekeep_postgres::cluster::PgDump;
use basekeep_postgres::{ConnectOptions, quote_identifier};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::EngineError;

/// Definitions of more than this are refused: memory is bounded by design. A thousand tables make about 2 MiB.
const LARGEST_ARCHIVE: u64 = 2 << 30;
/// How much of what pg_dump complains about is kept.
const LONGEST_COMPLAINT: usize = 64 << 10;

/// Why there is no archive.
#[derive(Debug)]
pub(crate) enum DumpError {
    /// pg_dump ended with an error. Its first error line, without its name in front, and the lines after it.
    Refused {
        /// What it said.
        message: String,
        /// `detail:` and `hint:` lines.
        more: Vec<String>,
    },
    /// It could not be run, or what it wrote is no archive.
    Broken(EngineError),
}

/// Runs `program` on a database and gives its archive, in directory format.
pub(crate) async fn dump(
    program: &PgDump,
    connect: &ConnectOptions,
    encoding: Option<&str>,
    arguments: &[String],
) -> Result<Archive, DumpError> {
    let mut command = Command::new(&program.path);
    command.args(["--format=custom", "--schema-only", "--compress=0", "--no-password"]).args(arguments);
    if let Some(encoding) = encoding {
        command.arg(format!("--encoding={encoding}"));
    }
    for name in connect.child_environment_removed() {
        command.env_remove(name);
    }
    command
        .envs(connect.child_environment())
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let broken = |doing: String| {
        move |error: std::io::Error| {
            DumpError::Broken(EngineError::failed(format!("{doing}: {error}")).caused_by(error))
        }
    };
    let mut child = command.spawn().map_err(broken(format!("start {}", program.path.display())))?;
    let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(DumpError::Broken(EngineError::failed("pg_dump was started without its pipes")));
    };
    let (mut archive, mut complaints) = (Vec::new(), Vec::new());
    let mut bounded = stdout.take(LARGEST_ARCHIVE + 1);
    let (read, _) = tokio::join!(bounded.read_to_end(&mut archive), read_some(&mut stderr, &mut complaints));
    read.map_err(broken("read pg_dump's output".into()))?;
    if archive.len() as u64 > LARGEST_ARCHIVE {
        return Err(DumpError::Broken(EngineError::failed("pg_dump wrote more than 2 GiB of definitions")));
    }
    let status = child.wait().await.map_err(broken("wait for pg_dump".into()))?;
    if !status.success() {
        return Err(refused(&complaints));
    }
    let parsed = Archive::parse(&archive).map_err(|error| {
        let message = format!("read the archive of pg_dump {}: {error}", program.version);
        DumpError::Broken(EngineError::failed(message).caused_by(error))
    })?;
    Ok(parsed.into_directory())
}

/// Arguments that leave relations out: pg_dump fails as a whole on what the role may not lock.
pub(crate) fn without(relations: &[(String, String)]) -> impl Iterator<Item = String> {
    // Inside double quotes a pattern's characters stand for themselves.
    relations
        .iter()
        .map(|(schema, name)| format!("--exclude-table={}.{}", quote_pattern(schema), quote_pattern(name)))
}

fn quote_pattern(name: &str) -> String {
    // `quote_identifier` leaves plain names bare, but a bare pattern folds case and knows wildcards.
    let quoted = quote_identifier(name);
    if quoted.starts_with('"') { quoted } else { format!("\"{name}\"") }
}

/// Keeps the first part of what pg_dump complains about, and reads on so that it never blocks.
async fn read_some(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    into: &mut Vec<u8>,
) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        if into.len() < LONGEST_COMPLAINT {
            into.extend_from_slice(&buffer[..n]);
        }
    }
}

fn refused(complaints: &[u8]) -> DumpError {
    let text = String::from_utf8_lossy(complaints);
    let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches("pg_dump: ")).collect();
    let message = lines.iter().find(|line| line.starts_with("error:")).or_else(|| lines.first());
    let more = lines.iter().filter(|line| line.starts_with("detail:") || line.starts_with("hint:")).take(3);
    DumpError::Refused {
        message: message.map_or("it said nothing", |line| line.trim_start_matches("error: ")).to_owned(),
        more: more.map(|line| (*line).to_owned()).collect(),
    }
}
