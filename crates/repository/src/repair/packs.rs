//! Packs with damaged blobs: what is good in them is copied into new packs, what is not leaves the index.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures::StreamExt;

use basekeep_store::ErrorKind;

use crate::compression::Unpacker;
use crate::crypto::Key;
use crate::index::Location;
use crate::index_file::PackContents;
use crate::pack::{self, BlobKind, PackedBlob};
use crate::read::open_blob;
use crate::repository::{blocking, put_new};
use crate::{Lock, PackId, Repository, RepositoryError, Result, layout};

/// Packs that are in memory at the same time.
const FETCHES: usize = 2;

/// What became of a damaged pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairedPack {
    /// Its key, `data/3f/3fa9…`.
    pub file: String,
    /// Good blobs, copied into a new pack.
    pub kept: u64,
    /// Blobs that could not be read. The index names them no more, so that the next backup stores them again if it meets
    /// the same content.
    pub lost: u64,
    /// Whether the storage refused to remove the pack; then it stays listed, too.
    pub still_there: bool,
}

/// What is left of a pack.
struct Salvaged {
    id: PackId,
    lost: u64,
    /// New packs, one for each kind of blob.
    packs: Vec<(Bytes, Vec<PackedBlob>)>,
}

impl Repository {
    /// Packs that an index lists and that have another size than it says, or are gone. It costs one listing; the index must
    /// have been loaded.
    pub async fn packs_of_wrong_size(&self) -> Result<Vec<String>> {
        let stored: HashMap<String, u64> =
            self.list_ids(layout::DATA).await?.into_iter().map(|pack| (pack.key, pack.size)).collect();
        let listed = self.with_index(|index| index.pack_sizes());
        let mut wrong: Vec<String> = listed
            .into_iter()
            .map(|(pack, size)| (layout::pack(pack), size))
            .filter(|(key, size)| stored.get(key) != Some(size))
            .map(|(key, _)| key)
            .collect();
        wrong.sort();
        Ok(wrong)
    }

    /// Takes damaged packs out of the repository: every blob in them that is good goes into a new pack, and no index file
    /// names the others any more. `packs` are keys such as `data/3f/3fa9…`; those that no index lists are passed over. Each
    /// blob that cannot be read is read a second time before it is given up.
    ///
    /// The index must have been loaded; it is loaded again at the end. Hold an exclusive lock.
    ///
    /// Errors: a lost lock; failures of the storage other than a refusal to delete.
    pub async fn repair_packs(&self, lock: &Lock, packs: &[String]) -> Result<Vec<RepairedPack>> {
        let wanted: HashSet<PackId> =
            packs.iter().filter_map(|key| layout::id_of(key)).map(PackId::from_bytes).collect();
        let contents = self.contents_of(&wanted);
        let old: HashSet<PackId> = contents.keys().copied().collect();
        let mut repaired = Vec::with_capacity(contents.len());
        let mut new: Vec<PackContents> = Vec::new();
        let mut reads =
            futures::stream::iter(contents.into_iter().map(|(id, blobs)| salvage(self.clone(), id, blobs)))
                .buffer_unordered(FETCHES);
        while let Some(salvaged) = reads.next().await {
            let salvaged = salvaged?;
            let kept = salvaged.packs.iter().map(|(_, blobs)| blobs.len() as u64).sum();
            for (bytes, blobs) in salvaged.packs {
                let id = PackId::of(&bytes);
                lock.state().confirm_now_and_then().await?;
                put_new(&*self.shared.store, &layout::pack(id), bytes).await?;
                new.push((id, blobs));
            }
            let file = layout::pack(salvaged.id);
            repaired.push(RepairedPack { file, kept, lost: salvaged.lost, still_there: false });
        }
        drop(reads);
        let kept = self.replace_packs(lock, &old, new).await?;
        for pack in &mut repaired {
            pack.still_there = kept.contains(&pack.file);
        }
        repaired.sort_by(|a, b| a.file.cmp(&b.file));
        self.load_index().await?;
        Ok(repaired)
    }

    /// What the index says is in these packs, in the order in which it lies there.
    fn contents_of(&self, packs: &HashSet<PackId>) -> HashMap<PackId, Vec<PackedBlob>> {
        let mut contents: HashMap<PackId, Vec<PackedBlob>> = HashMap::new();
        self.with_index(|index| {
            for place in index.iter().filter(|place| packs.contains(&place.pack)) {
                contents.entry(place.pack).or_default().push(place.blob);
            }
        });
        for blobs in contents.values_mut() {
            blobs.sort_by_key(|blob| blob.offset);
        }
        contents
    }
}

async fn salvage(repository: Repository, id: PackId, blobs: Vec<PackedBlob>) -> Result<Salvaged> {
    let first = read(&repository, id).await?;
    let (mut good, bad) = sort_out(&repository, id, first, blobs).await?;
    let mut lost = 0;
    if !bad.is_empty() {
        // It may have been damaged on its way.
        let again = read(&repository, id).await?;
        let (more, gone) = sort_out(&repository, id, again, bad).await?;
        lost = gone.len() as u64;
        good.extend(more);
        good.sort_by_key(|(blob, _)| blob.offset);
    }
    let shared = repository.shared.clone();
    let packs = blocking(move || {
        let kinds = [BlobKind::Data, BlobKind::Tree].into_iter();
        kinds.filter_map(|kind| assemble(&shared.key, kind, &good).transpose()).collect::<Result<Vec<_>>>()
    });
    Ok(Salvaged { id, lost, packs: packs.await?? })
}

/// The whole pack, or nothing if it is not there.
async fn read(repository: &Repository, id: PackId) -> Result<Bytes> {
    match repository.shared.store.get(&layout::pack(id)).await {
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(Bytes::new()),
        result => Ok(result?),
    }
}

type Sealed = (PackedBlob, Bytes);

/// Blobs that open to what they should be, sealed as they are; and the others.
async fn sort_out(
    repository: &Repository,
    id: PackId,
    data: Bytes,
    blobs: Vec<PackedBlob>,
) -> Result<(Vec<Sealed>, Vec<PackedBlob>)> {
    let shared = repository.shared.clone();
    blocking(move || {
        let mut unpacker = Unpacker::new()?;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for blob in blobs {
            let start = blob.offset as usize;
            let end = start.saturating_add(blob.length as usize);
            let opens = |sealed: &[u8], unpacker: &mut Unpacker| {
                open_blob(&shared.key, unpacker, Location { pack: id, blob }, sealed).is_ok()
            };
            if end <= data.len() && opens(&data[start..end], &mut unpacker) {
                good.push((blob, data.slice(start..end)));
            } else {
                bad.push(blob);
            }
        }
        Ok((good, bad))
    })
    .await?
}

/// A pack of the blobs of one kind; `None` if there are none.
fn assemble(key: &Key, kind: BlobKind, good: &[Sealed]) -> Result<Option<(Bytes, Vec<PackedBlob>)>> {
    let (mut bytes, mut blobs) = (Vec::new(), Vec::new());
    for (blob, sealed) in good.iter().filter(|(blob, _)| blob.kind == kind) {
        let offset = u32::try_from(bytes.len()).map_err(|e| RepositoryError::internal("fill a pack", e))?;
        bytes.extend_from_slice(sealed);
        blobs.push(PackedBlob { offset, ..*blob });
    }
    if blobs.is_empty() {
        return Ok(None);
    }
    let header = key.seal(&pack::encode_header(&blobs));
    let length = u32::try_from(header.len()).map_err(|e| RepositoryError::internal("close a pack", e))?;
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&length.to_le_bytes());
    Ok(Some((Bytes::from(bytes), blobs)))
}
