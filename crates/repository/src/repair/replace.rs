//! Putting packs in the place of others.

use std::collections::HashSet;

use crate::index_file::PackContents;
use crate::index_write::write_index;
use crate::{Lock, PackId, Repository, RepositoryError, Result, layout};

impl Repository {
    /// Writes index files for `new`, and index files without the `old` packs beside those that list them; then removes the old
    /// packs, then these index files. Index files that cannot be read stay as they are. `new` packs must be durable.
    ///
    /// The packs go before the index files that list them: interrupted in between, a pack that is listed is missing, which every
    /// backup and every repair notices. A damaged pack that is in no index would be taken for a good one by its header.
    ///
    /// Gives the old packs that are still there, because the storage refuses to delete: all or none, as it answers for the first.
    /// Then they stay listed, too.
    ///
    /// Errors: a lost lock; failures of the storage, also a refusal to delete after it has let one go.
    pub(super) async fn replace_packs(
        &self,
        lock: &Lock,
        old: &HashSet<PackId>,
        new: Vec<PackContents>,
    ) -> Result<HashSet<String>> {
        write_index(self, &lock.state(), new.into_iter()).await?;
        let mut superseded = Vec::new();
        for file in self.list_ids(layout::INDEX).await? {
            let (file, contents) = self.read_index_file(file.key).await;
            let mut contents = match contents {
                Ok(Some(contents)) => contents,
                Ok(None) | Err(RepositoryError::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            let before = contents.len();
            contents.retain(|(pack, _)| !old.contains(pack));
            if contents.len() < before {
                write_index(self, &lock.state(), contents.into_iter()).await?;
                superseded.push(file);
            }
        }
        let mut packs: Vec<String> = old.iter().map(|pack| layout::pack(*pack)).collect();
        packs.sort();
        let mut refused = Vec::new();
        let Some((first, others)) = packs.split_first() else { return Ok(HashSet::new()) };
        self.try_remove(lock, first, &mut refused).await?;
        if !refused.is_empty() {
            return Ok(packs.into_iter().collect());
        }
        for key in others.iter().chain(&superseded) {
            self.remove_file(lock, key).await?;
        }
        Ok(HashSet::new())
    }
}
