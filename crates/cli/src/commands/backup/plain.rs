//! The plain copy that `[export]` asks for after a backup. Whatever becomes of it, the backup stays.

use basekeep_engine::backup::BackupReport;
use basekeep_engine::export::{SetReport, keep_set};
use basekeep_engine::replicas::BackupTarget;
use basekeep_engine::{EngineError, ErrorKind, listing};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{ErrorBody, units};

/// What became of a copy; `None` where none is wanted.
pub(crate) type Outcome = Option<Result<SetReport, EngineError>>;

#[derive(Serialize)]
pub(super) struct CopyDocument<'a> {
    folder: String,
    files: Option<u64>,
    bytes: Option<u64>,
    removed: &'a [String],
    compressed: &'a [String],
    failed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
}

/// Writes the copy of a new snapshot, and tells of it.
pub(crate) async fn write(
    context: &Context,
    targets: &[BackupTarget],
    report: &BackupReport,
) -> Result<Outcome, EngineError> {
    let source = report.manifest.source.as_str();
    let Some(entry) = context.config()?.and_then(|config| config.export.as_ref()) else { return Ok(None) };
    let written = report.replicas.iter().zip(targets).find_map(|(replica, target)| {
        let id = replica.snapshot.as_ref().filter(|_| replica.has_it())?;
        Some((id, target.opened.as_ref().ok()?))
    });
    let Some((id, repository)) = written.filter(|_| entry.is_for(source)) else { return Ok(None) };
    let copy = async {
        let snapshot = context.interrupt.guard(listing::find(repository, id, None)).await?;
        let observer = context.observer_of(source);
        keep_set(repository, &snapshot, &entry.options, &observer, &context.interrupt).await
    };
    let result = copy.await;
    tell(context, &result);
    Ok(Some(result))
}

fn tell(context: &Context, result: &Result<SetReport, EngineError>) {
    match result {
        Err(error) => {
            let hint = error.hints().first().map(String::as_str);
            let message = crate::output::with_causes(error);
            context.output.warning(&format!("the plain copy was not written: {message}"), hint);
        }
        Ok(report) => {
            for (what, reason) in failures(report) {
                context.output.warning(&format!("{what}: {reason}"), None);
            }
            let mut text = format!("plain copy in {}", report.folder.display());
            if !report.removed.is_empty() {
                let copies = units::counted(report.removed.len() as u64, "old copy", "old copies");
                text += &format!(", {copies} removed");
            }
            if !report.compressed.is_empty() {
                text += &format!(", {} compressed", units::count(report.compressed.len() as u64));
            }
            context.output.note(&text);
        }
    }
}

fn failures(report: &SetReport) -> impl Iterator<Item = (&str, &str)> {
    let written = report.written.iter().flat_map(|written| &written.failed);
    written
        .map(|(what, reason)| (what.as_str(), reason.as_str()))
        .chain(report.failed.iter().map(|reason| ("old copies", reason.as_str())))
}

/// Old copies that went.
pub(super) fn removed(outcome: &Outcome) -> &[String] {
    match outcome {
        Some(Ok(report)) => &report.removed,
        Some(Err(_)) | None => &[],
    }
}

/// What went wrong, a line each.
pub(super) fn problems(outcome: &Outcome) -> Vec<String> {
    match outcome {
        None => Vec::new(),
        Some(Err(error)) => {
            vec![format!("the plain copy was not written: {}", crate::output::with_causes(error))]
        }
        Some(Ok(report)) => failures(report).map(|(what, reason)| format!("{what}: {reason}")).collect(),
    }
}

/// How the command ends because of it.
pub(crate) fn end_of(outcome: &Outcome) -> Exit {
    match outcome {
        Some(Err(error)) if error.kind() == ErrorKind::Interrupted => Exit::Interrupted,
        Some(Err(_)) => Exit::Incomplete,
        Some(Ok(report)) if failures(report).next().is_some() => Exit::Incomplete,
        Some(Ok(_)) | None => Exit::Done,
    }
}

pub(super) fn document(outcome: &Outcome) -> Option<CopyDocument<'_>> {
    Some(match outcome.as_ref()? {
        Ok(report) => CopyDocument {
            folder: report.folder.display().to_string(),
            files: report.written.as_ref().map(|written| written.files.len() as u64),
            bytes: report.written.as_ref().map(|written| written.files.iter().map(|file| file.bytes).sum()),
            removed: &report.removed,
            compressed: &report.compressed,
            failed: failures(report).map(|(what, reason)| format!("{what}: {reason}")).collect(),
            error: None,
        },
        Err(error) => CopyDocument {
            folder: String::new(),
            files: None,
            bytes: None,
            removed: &[],
            compressed: &[],
            failed: Vec::new(),
            error: Some(ErrorBody::of(error)),
        },
    })
}
