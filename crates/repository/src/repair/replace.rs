//! Putting packs in the place of others.

use std::collections::HashSet;

use crate::index_file::{self, PackContents};
use crate::repository::blocking;
use crate::{Lock, PackId, Repository, RepositoryError, Result, layout};

/// Blobs in one index file: about 8 MiB of JSON.
const INDEX_BLOBS: usize = 50_000;

impl Repository {
    /// Writes index files for `new`, then index files without the `old` packs in place of those that list them, then
    /// removes these, then the old packs. Index files that cannot be read stay as they are. `new` packs must be durable.
    ///
    /// Gives the old packs that are still there or still listed, because the storage refuses to delete.
    pub(super) async fn replace_packs(
        &self,
        lock: &Lock,
        old: &HashSet<PackId>,
        new: Vec<PackContents>,
    ) -> Result<HashSet<String>> {
        self.write_index_files(lock, new).await?;
        let mut superseded = Vec::new();
        for file in self.list_ids(layout::INDEX).await? {
            let (file, contents) = self.read_index_file(file.key).await;
            let mut contents = match contents {
                Ok(contents) => contents,
                Err(RepositoryError::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            let before = contents.len();
            contents.retain(|(pack, _)| !old.contains(pack));
            if contents.len() < before {
                self.write_index_files(lock, contents).await?;
                superseded.push(file);
            }
        }
        let mut kept = Vec::new();
        for file in superseded {
            self.try_remove(lock, &file, &mut kept).await?;
        }
        if !kept.is_empty() {
            // An index file that stays still lists them.
            return Ok(old.iter().map(|pack| layout::pack(*pack)).collect());
        }
        for pack in old {
            self.try_remove(lock, &layout::pack(*pack), &mut kept).await?;
        }
        Ok(kept.into_iter().collect())
    }

    async fn write_index_files(&self, lock: &Lock, packs: Vec<PackContents>) -> Result<()> {
        let mut rest = packs.as_slice();
        while !rest.is_empty() {
            let mut blobs = 0;
            let fits = rest.iter().take_while(|(_, contents)| {
                blobs += contents.len();
                blobs <= INDEX_BLOBS || blobs == contents.len()
            });
            let (now, later) = rest.split_at(fits.count());
            let copy = now.to_vec();
            let json = blocking(move || index_file::encode(&copy)).await?;
            let json = json.map_err(|e| RepositoryError::internal("write an index", e))?;
            lock.state().check()?;
            self.write_json(layout::INDEX, json).await?;
            rest = later;
        }
        Ok(())
    }
}
