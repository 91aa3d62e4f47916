//! The checks: which crate may know which, what source files may hold, what the documents must mention.

mod documents;
mod layers;
mod source;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One broken rule, or a warning.
#[derive(Debug)]
pub(crate) struct Finding {
    /// Path relative to the workspace, with the line where there is one.
    place: String,
    message: String,
    /// Whether it fails the check.
    pub(crate) fatal: bool,
}

impl Finding {
    fn error(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into(), fatal: true }
    }

    fn warning(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into(), fatal: false }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.fatal { "error" } else { "warning" };
        write!(f, "{kind}: {}: {}", self.place, self.message)
    }
}

/// A crate of the workspace.
struct Package {
    /// The folder's name: `archive`, `xtask`.
    name: String,
    directory: PathBuf,
    manifest: toml::Table,
}

/// All findings in the workspace at `root`.
pub(crate) fn check(root: &Path) -> io::Result<Vec<Finding>> {
    let packages = packages(root)?;
    let mut findings = layers::check(&packages);
    for package in &packages {
        for path in rust_files(&package.directory)? {
            let text = fs::read_to_string(&path)?;
            let place = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            findings.extend(source::check(&package.name, &place, &text));
        }
    }
    findings.extend(documents::check(root, &packages)?);
    Ok(findings)
}

fn packages(root: &Path) -> io::Result<Vec<Package>> {
    let mut directories: Vec<PathBuf> = fs::read_dir(root.join("crates"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    directories.push(root.join("xtask"));
    directories.retain(|directory| directory.join("Cargo.toml").exists());
    directories.sort();
    directories.into_iter().map(package).collect()
}

fn package(directory: PathBuf) -> io::Result<Package> {
    let manifest = fs::read_to_string(directory.join("Cargo.toml"))?.parse().map_err(io::Error::other)?;
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Package { name, directory, manifest })
}

/// All Rust files below, but for what is generated.
fn rust_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
