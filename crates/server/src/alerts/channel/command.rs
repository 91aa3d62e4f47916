//! A shell command that gets the message as JSON on its standard input.

use std::process::Stdio;

use basekeep_engine::postgres::Secret;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{SendError, webhook};
use crate::alerts::message::Message;
use crate::alerts::redact::Redactor;

/// What is kept of its standard error, in bytes.
const KEPT: u64 = 1_000;

/// Nothing of the message stands in the arguments, since everybody on the machine can read those.
pub(super) async fn send(line: &Secret, message: &Message, redactor: &Redactor) -> Result<(), SendError> {
    let document = webhook::document(message)?;
    let mut child = Command::new("/bin/sh")
        .args(["-c", line.expose()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| SendError::for_now(format!("the command cannot be started: {error}")))?;
    // The shell's children, too, do not outlive the time limit.
    let _group = child.id().and_then(|id| i32::try_from(id).ok()).map(Group);
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A command that does not read its input may be right all the same.
            let _ = stdin.write_all(&document).await;
        }
    };
    let read = async {
        let mut kept = Vec::new();
        if let Some(stderr) = stderr {
            let mut stderr = stderr.take(KEPT);
            let _ = stderr.read_to_end(&mut kept).await;
            let _ = tokio::io::copy(&mut stderr.into_inner(), &mut tokio::io::sink()).await;
        }
        kept
    };
    let (status, (), complaint) = tokio::join!(child.wait(), write, read);
    let status = status.map_err(|error| SendError::for_now(format!("the command: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let complaint = redactor.clean(String::from_utf8_lossy(&complaint).trim());
    let complaint = complaint.lines().next().unwrap_or_default();
    Err(SendError::for_now(match complaint {
        "" => format!("the command failed: {status}"),
        text => format!("the command failed: {status}: {text}"),
    }))
}

/// A process group that is ended when this is dropped.
struct Group(i32);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0), Signal::SIGKILL);
    }
}
