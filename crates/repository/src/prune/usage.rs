//! Which places of the index the snapshots need.

use std::sync::{Arc, Mutex};

use crate::bits::Bits;
use crate::index::{Index, Location};
use crate::pack::BlobKind;
use crate::prune::survey::Survey;
use crate::walk::{Place, Visitor, walk};
use crate::{BlobId, Repository, RepositoryError, Result, Snapshot, SnapshotId, TreeId, layout, sync};

const REPAIR_SNAPSHOTS: &str = "`basekeep repair snapshots` makes it whole or removes it; then prune again";
const REPAIR_INDEX: &str =
    "`basekeep repair index` finds it if it is in a pack; else `basekeep repair snapshots`";

/// Marks needed blobs, at the first of their positions.
#[derive(Debug)]
pub(super) struct Usage {
    index: Arc<Index>,
    /// By pack number: it is there and has the right size.
    sound: Arc<Bits>,
    pub(super) needed: Bits,
    /// The first thing that is needed and not there.
    missing: Mutex<Option<RepositoryError>>,
}

impl Usage {
    pub(super) fn new(index: Arc<Index>, sound: Arc<Bits>) -> Self {
        let needed = Bits::new(index.len());
        Self { index, sound, needed, missing: Mutex::default() }
    }

    /// Walks these snapshots.
    ///
    /// Errors: [`RepositoryError::CannotPrune`] if anything that they need is not there or cannot be read.
    pub(super) async fn walk(
        self: &Arc<Self>,
        repository: &Repository,
        snapshots: &[Snapshot],
    ) -> Result<()> {
        let roots = snapshots.iter().map(|snapshot| (snapshot.id, snapshot.tree)).collect();
        walk(repository, roots, self).await?;
        match sync::lock(&self.missing).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Marks a blob; the positions of its sound places if it was not marked before.
    fn need(&self, kind: BlobKind, blob: BlobId, place: &Place, path: impl Fn() -> String) -> Vec<usize> {
        let positions = self.index.positions(kind, blob);
        if !positions.is_empty() && self.needed.set(positions.start) {
            return Vec::new();
        }
        let listed: Vec<usize> = positions.collect();
        let sound: Vec<usize> =
            listed.iter().copied().filter(|at| self.sound.get(self.index.pack_at(*at))).collect();
        if sound.is_empty() {
            let packs: Vec<String> = listed.iter().map(|at| layout::pack(self.index.at(*at).pack)).collect();
            let what = match packs.as_slice() {
                [] => "is in no index file".to_owned(),
                packs => format!("is in {}, which is missing or has the wrong size", packs.join(" and in ")),
            };
            sync::lock(&self.missing).get_or_insert_with(|| RepositoryError::CannotPrune {
                reason: format!("blob {blob} of {} in snapshot {} {what}", path(), place.snapshot.short()),
                hint: REPAIR_INDEX,
            });
        }
        sound
    }
}

impl Visitor for Usage {
    fn tree(&self, tree: TreeId, place: &Place) -> Vec<Location> {
        let places = self.need(BlobKind::Tree, tree.into(), place, || place.folder().to_owned());
        places.into_iter().map(|at| self.index.at(at)).collect()
    }

    fn content(&self, blob: BlobId, place: &Place, name: &str) {
        self.need(BlobKind::Data, blob, place, || place.entry(name));
    }

    fn unreadable(&self, _: TreeId, place: &Place, error: RepositoryError) -> Result<()> {
        if !error.is_damage() {
            return Err(error);
        }
        let (folder, snapshot) = (place.folder(), place.snapshot.short());
        Err(RepositoryError::CannotPrune {
            reason: format!("the folder {folder} of snapshot {snapshot} cannot be read: {error}"),
            hint: REPAIR_SNAPSHOTS,
        })
    }

    fn enough(&self) -> bool {
        sync::lock(&self.missing).is_some()
    }
}

impl Repository {
    /// What only these snapshots need: blobs, and their bytes in the packs. The space that a prune frees after they
    /// are removed is about that much.
    ///
    /// Errors: [`RepositoryError::CannotPrune`] if something that a snapshot needs cannot be read.
    pub async fn only_used_by(&self, snapshots: &[SnapshotId]) -> Result<(u64, u64)> {
        let mut survey = Survey::begin(self).await?;
        let (going, staying): (Vec<Snapshot>, Vec<Snapshot>) =
            std::mem::take(&mut survey.snapshots).into_iter().partition(|one| snapshots.contains(&one.id));
        let usage = Arc::new(Usage::new(survey.index.clone(), survey.sound.clone()));
        usage.walk(self, &staying).await?;
        let before = usage.needed.copy();
        usage.walk(self, &going).await?;
        let new = (0..survey.index.len()).filter(|at| usage.needed.get(*at) && !before.get(*at));
        let sizes = new.map(|at| u64::from(survey.index.at(at).blob.length));
        Ok(sizes.fold((0, 0), |(blobs, bytes), size| (blobs + 1, bytes + size)))
    }
}
