//! The objects of a snapshot by kind and name, from the archive's table of contents.

use basekeep_archive::Archive;
use basekeep_repository::{Repository, Snapshot};

use crate::stored::path;
use crate::{EngineError, listing};

/// The largest table of contents that is read; one with 100,000 tables has about 200 MiB.
const LARGEST: usize = 1 << 30;

/// One object of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// The archive's kind in lower case, as in the manifest's components: `table`, `fk constraint`, `acl`.
    pub kind: String,
    /// As a person would name it: `table public.orders`, `policy own_files on storage.objects`.
    pub name: String,
}

/// All objects, by kind and name. The archive's own settings (its encoding, for example) are not among them.
pub async fn list(repository: &Repository, snapshot: &Snapshot) -> Result<Vec<Object>, EngineError> {
    repository
        .load_index()
        .await
        .map_err(|error| EngineError::from(error).within("read the repository's index"))?;
    let short = snapshot.id.short();
    let Some(bytes) = listing::read_file(repository, snapshot, path::TOC, LARGEST).await? else {
        return Err(EngineError::failed(format!("snapshot {short} was not made by basekeep"))
            .hint("it has no database/toc.dat; use restic for it"));
    };
    let archive = Archive::parse(&bytes).map_err(|error| {
        EngineError::failed(format!("the archive in snapshot {short} cannot be read")).caused_by(error)
    })?;
    Ok(of(&archive))
}

fn of(archive: &Archive) -> Vec<Object> {
    let own = |kind: &str| matches!(kind, "ENCODING" | "STDSTRINGS" | "SEARCHPATH");
    let mut objects: Vec<Object> = archive
        .entries
        .iter()
        .map(|entry| (entry, entry.desc.to_string()))
        .filter(|(_, kind)| !own(kind))
        .map(|(entry, kind)| Object { kind: kind.to_lowercase(), name: entry.display() })
        .collect();
    objects.sort();
    objects
}
