//! Files of a snapshot by their paths, for many paths in the order of their names: the folders on the way to the last one are
//! kept.

use basekeep_repository::{Node, NodeKind, Repository, RepositoryError, Snapshot, Tree};

use crate::listing;

/// A snapshot's folders.
pub(crate) struct Folders {
    repository: Repository,
    snapshot: Snapshot,
    /// The way to the last file: each folder's name and content.
    way: Vec<(String, Tree)>,
}

impl Folders {
    pub(crate) fn new(repository: &Repository, snapshot: &Snapshot) -> Self {
        Self { repository: repository.clone(), snapshot: snapshot.clone(), way: Vec::new() }
    }

    /// The file at a path below the source's folder; `None` if there is none.
    pub(crate) async fn file(&mut self, path: &str) -> Result<Option<Node>, RepositoryError> {
        let whole = format!("{}/{path}", listing::folder(&self.snapshot));
        let Some((folder, name)) = whole.rsplit_once('/') else { return Ok(None) };
        let parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        let common = self.way.iter().zip(&parts).take_while(|((name, _), part)| name == *part).count();
        self.way.truncate(common);
        for part in &parts[common..] {
            let below = match self.way.last() {
                Some((_, tree)) => found(tree, part).and_then(|node| node.subtree),
                None => {
                    let root = self.repository.tree(&self.snapshot.tree).await?;
                    found(&root, part).and_then(|node| node.subtree)
                }
            };
            let Some(below) = below else { return Ok(None) };
            let tree = self.repository.tree(&below).await?;
            self.way.push(((*part).to_owned(), tree));
        }
        let node = self.way.last().and_then(|(_, tree)| found(tree, name));
        Ok(node.filter(|node| node.kind == NodeKind::File).cloned())
    }
}

/// Entries are sorted, as a rule; other programs may think otherwise.
fn found<'t>(tree: &'t Tree, name: &str) -> Option<&'t Node> {
    match tree.nodes.binary_search_by(|node| node.name.as_str().cmp(name)) {
        Ok(at) => tree.nodes.get(at),
        Err(_) => tree.find(name),
    }
}
