//! What a snapshot holds beside its database, as files: storage, edge functions, migrations, the project's folder.

use basekeep_repository::{Node, NodeKind};

use super::job::Job;
use super::place::Place;
use super::{Compression, Sink};
use crate::selection::Part;
use crate::{EngineError, ResultExt, listing};

/// Decoded blobs kept ready, in bytes.
const PREFETCH: usize = 16 << 20;
/// Folders of a snapshot, and the part that each belongs to.
const FOLDERS: [(&str, Part); 5] = [
    ("storage", Part::Files),
    ("functions", Part::EdgeFunctions),
    ("migrations", Part::Migrations),
    ("project", Part::Config),
    ("supabase", Part::Config),
];

/// Writes the files, and gives their number.
pub(super) async fn write(job: &Job<'_>, place: &mut Place) -> Result<u64, EngineError> {
    let mut written = 0;
    for (folder, _) in FOLDERS.iter().filter(|(_, part)| job.has(*part)) {
        let full = format!("{}/{folder}", listing::folder(job.snapshot));
        let doing = || format!("read {folder} of snapshot {}", job.snapshot.id.short());
        let Some(node) = job.repository.node_at(job.snapshot, &full).await.doing(doing)? else { continue };
        let mut open = vec![((*folder).to_owned(), node)];
        while let Some((path, node)) = open.pop() {
            match node.kind {
                NodeKind::Dir => {
                    let Some(tree) = &node.subtree else { continue };
                    let tree = job.repository.tree(tree).await.doing(doing)?;
                    for node in tree.nodes.into_iter().rev() {
                        open.push((below(&path, &node)?, node));
                    }
                }
                NodeKind::File => {
                    file(job, place, &path, node).await?;
                    written += 1;
                }
                NodeKind::Other => {}
            }
        }
        if let Some(place) = place.folder()
            && job.is_everything()
        {
            place.remove_stale(&format!("{folder}/"))?;
        }
    }
    Ok(written)
}

async fn file(job: &Job<'_>, place: &mut Place, path: &str, node: Node) -> Result<(), EngineError> {
    let mut sink = place.begin_as(path, Compression::None, false)?;
    let mut content = job.repository.read_blobs(node.content, PREFETCH);
    while let Some(blob) = content.next().await {
        let blob = blob.doing(|| format!("read {path}"))?;
        job.passed(0, blob.len() as u64);
        sink.write_shared(blob).await?;
    }
    place.end(path, sink).await?;
    Ok(())
}

/// A repository that somebody forged must not lead out of the folder.
fn below(path: &str, node: &Node) -> Result<String, EngineError> {
    if node.name.is_empty() || matches!(node.name.as_str(), "." | "..") || node.name.contains(['/', '\0']) {
        return Err(EngineError::failed(format!(
            "{path} of the snapshot holds a file without a proper name"
        )));
    }
    Ok(format!("{path}/{}", node.name))
}
