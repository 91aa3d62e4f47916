//! `[report]`: a report of each backup in a folder, as many as there are snapshots.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Report, markdown};
use crate::EngineError;

/// Never more than this many reports of a source.
const MAX: usize = 1000;

/// What was written and what went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The new files.
    pub files: Vec<PathBuf>,
    /// Reports that went with their snapshots.
    pub removed: u64,
}

/// Writes `TIME-SOURCE-ID.md` and `.json`, then removes reports of this source whose snapshots are not among `ids` any
/// more. What else is in the folder stays.
///
/// Errors: the folder cannot be made or written.
pub fn keep(folder: &Path, report: &Report, ids: &[String]) -> Result<Written, EngineError> {
    let failed = |path: &Path, error: std::io::Error| {
        EngineError::failed(format!("cannot write {}", path.display())).caused_by(error)
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let source = proper(&report.source);
    let time = report.time.strftime("%Y%m%dT%H%M%SZ");
    let stem = format!("{time}-{source}-{}", report.snapshot.get(..8).unwrap_or(&report.snapshot));
    let json = serde_json::to_vec_pretty(report)
        .map_err(|error| EngineError::failed("cannot write a report as JSON").caused_by(error))?;
    let mut written = Written::default();
    for (extension, content) in [("md", markdown(report).into_bytes()), ("json", json)] {
        let path = folder.join(format!("{stem}.{extension}"));
        let unfinished = folder.join(format!(".{stem}.{extension}.part"));
        let done = fs::write(&unfinished, content).and_then(|()| fs::rename(&unfinished, &path));
        done.map_err(|error| failed(&path, error))?;
        written.files.push(path);
    }
    written.removed = remove(folder, &source, ids);
    Ok(written)
}

/// Gives how many reports went. One that cannot be removed stays.
fn remove(folder: &Path, source: &str, ids: &[String]) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut stems: Vec<String> = names
        .filter_map(|name| Some(name.strip_suffix(".md")?.to_owned()))
        .filter(|stem| is_of(stem, source))
        .collect();
    stems.sort_unstable();
    let over = stems.len().saturating_sub(MAX);
    let known = |stem: &str| ids.iter().any(|id| stem.ends_with(id.get(..8).unwrap_or(id)));
    let old = stems.iter().enumerate().filter(|(n, stem)| *n < over || !known(stem));
    let mut removed = 0;
    for (_, stem) in old {
        let gone = fs::remove_file(folder.join(format!("{stem}.md"))).is_ok();
        let _ = fs::remove_file(folder.join(format!("{stem}.json")));
        removed += u64::from(gone);
    }
    removed
}

/// Whether this is a name that [`keep`] gives: `20261122T041200Z-shop-1a2b3c4d`.
fn is_of(stem: &str, source: &str) -> bool {
    let Some((time, rest)) = stem.split_once('-') else { return false };
    let Some((name, id)) = rest.rsplit_once('-') else { return false };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = time.len() == 16
        && time.is_ascii()
        && digits(&time[..8])
        && &time[8..9] == "T"
        && digits(&time[9..15]);
    is_time && name == source && id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A source's name as a part of a file's name.
fn proper(source: &str) -> String {
    source.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}
