//! Keeps a proof in the repository, as a small snapshot of its own: storage that only appends must do.

use basekeep_repository::{Lock, NewSnapshot, Repository, Snapshot, TreeBuilder, WriterOptions};

use crate::stored::proof::{self, Proof};
use crate::{EngineError, ResultExt, listing};

/// The proof's name in its folder.
const FILE: &str = "proof.json";

/// Writes the proof's snapshot. Its host is the source, so that lists show what it belongs to; its path is not the source's,
/// so that a retention policy that groups by host and paths never counts a proof as a backup.
pub(super) async fn record(
    repository: &Repository,
    lock: &Lock,
    proven: &Snapshot,
    proof: &Proof,
) -> Result<(), EngineError> {
    let doing = || "record the proof";
    let folder = format!("{}-proof", listing::folder(proven).trim_start_matches('/'));
    let json = serde_json::to_vec_pretty(proof)
        .map_err(|error| EngineError::failed(format!("write the proof as JSON: {error}")).caused_by(error))?;
    let result = if proof.equal { proof::EQUAL } else { proof::DIFFERENT };
    let writer = repository.writer(lock, WriterOptions::default());
    let content = match writer.put_file(&json).await {
        Ok(content) => content,
        Err(error) => {
            writer.abort().await;
            return Err(error).doing(doing);
        }
    };
    let mut tree = TreeBuilder::new(proof.time);
    tree.file(&format!("{folder}/{}", FILE), content, 0o600);
    let snapshot = NewSnapshot {
        time: proof.time,
        hostname: proven.hostname.clone(),
        username: String::new(),
        paths: vec![format!("/{folder}")],
        tags: vec![
            proof::TAG.to_owned(),
            format!("{}{}", proof::TREE_TAG_PREFIX, proof.tree),
            format!("{}{result}", proof::RESULT_TAG_PREFIX),
        ],
        parent: None,
        program_version: format!("basekeep {}", env!("CARGO_PKG_VERSION")),
    };
    writer.finish(tree, snapshot).await.doing(doing)?;
    Ok(())
}
