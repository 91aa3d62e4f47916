//! Writing index files, of a size that stock restic writes too.

use crate::index_file::{self, PackContents};
use crate::lock::LockState;
use crate::repository::blocking;
use crate::{Repository, RepositoryError, Result, layout};

/// Blobs in one index file: about 8 MiB of JSON.
pub(crate) const INDEX_BLOBS: usize = 50_000;

/// Writes as many index files as these packs need; gives their number. One file's contents are in memory at a time.
pub(crate) async fn write_index(
    repository: &Repository,
    lock: &LockState,
    packs: impl Iterator<Item = PackContents> + Send,
) -> Result<u64> {
    let (mut file, mut blobs, mut written) = (Vec::new(), 0, 0);
    for pack in packs {
        if !file.is_empty() && blobs + pack.1.len() > INDEX_BLOBS {
            write_index_file(repository, lock, std::mem::take(&mut file)).await?;
            (blobs, written) = (0, written + 1);
        }
        blobs += pack.1.len();
        file.push(pack);
    }
    if !file.is_empty() {
        write_index_file(repository, lock, file).await?;
        written += 1;
    }
    Ok(written)
}

/// Writes one index file; gives its key.
pub(crate) async fn write_index_file(
    repository: &Repository,
    lock: &LockState,
    packs: Vec<PackContents>,
) -> Result<String> {
    let json = blocking(move || index_file::encode(&packs)).await?;
    let json = json.map_err(|e| RepositoryError::internal("write an index", e))?;
    lock.confirm().await?;
    repository.write_json(layout::INDEX, json).await
}
