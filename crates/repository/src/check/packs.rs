//! Packs: are they there, have they the right size, and is what they hold right.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;

use crate::bits::Bits;
use crate::check::{CheckOptions, CheckProgress, Checking, Subset, as_damage};
use crate::compression::Unpacker;
use crate::crypto::Key;
use crate::index::{Builder, ByPack, Location};
use crate::pack::{self, PackedBlob};
use crate::pack_header::{open_header, read_header};
use crate::read::open_blob;
use crate::repository::blocking;
use crate::{PackId, Repository, Result, layout};

/// Packs that are in memory at the same time.
const FETCHES: usize = 3;
/// Headers that are read at the same time.
const HEADERS: usize = 8;

/// What reading a pack brought.
#[derive(Default)]
struct Read {
    reasons: Vec<String>,
    bad: Vec<PackedBlob>,
    blobs: u64,
    bytes: u64,
}

impl Checking {
    /// Compares what the index files list with what is in the store.
    pub(super) async fn compare_packs(
        &mut self,
        repository: &Repository,
        mut builder: Builder,
    ) -> Result<()> {
        self.listed = builder.packs();
        let mut stored = HashMap::new();
        for file in repository.list_ids(layout::DATA).await? {
            if let Some(id) = layout::id_of(&file.key).map(PackId::from_bytes)
                && layout::pack(id) == file.key
            {
                stored.insert(id, file.size);
            }
        }
        let unlisted = stored.iter().filter(|(id, _)| !builder.knows(**id));
        let unlisted: Vec<(PackId, u64)> = unlisted.map(|(id, size)| (*id, *size)).collect();
        self.look_into_unlisted(repository, unlisted, &mut builder).await?;
        self.index = Arc::new(builder.build());
        self.by_pack = ByPack::new(&self.index);
        self.bad = Arc::new(Bits::new(self.index.len()));
        self.stored = self.index.packs().iter().map(|id| stored.get(id).copied()).collect();
        let listed = (0..self.listed).map(|pack| self.by_pack.positions(pack).count() as u64);
        (self.report.packs, self.report.blobs) = (self.listed as u64, listed.sum());
        self.compare_sizes();
        Ok(())
    }

    fn compare_sizes(&mut self) {
        let (index, mut missing) = (self.index.clone(), Vec::new());
        for (pack, id) in index.packs().iter().enumerate().take(self.listed) {
            let blobs = self.by_pack.positions(pack).map(|position| index.at(position).blob);
            let blobs = blobs.map(|blob| u64::from(blob.length) + blob.entry_size() as u64);
            let expected = blobs.sum::<u64>() + pack::tail_size([]);
            match self.stored[pack] {
                None => {
                    self.damage(layout::pack(*id), "it is missing");
                    missing.push(pack);
                }
                Some(size) if size != expected => {
                    self.damage(layout::pack(*id), format!("it has {size} bytes instead of {expected}"));
                }
                Some(_) => {}
            }
        }
        missing.into_iter().for_each(|pack| self.mark_all_bad(pack));
    }

    fn mark_all_bad(&self, pack: usize) {
        for position in self.by_pack.positions(pack) {
            self.bad.set(position);
        }
    }

    /// Packs in no index are what an interrupted run leaves; or their index file is lost. Their headers tell what is in them.
    async fn look_into_unlisted(
        &mut self,
        repository: &Repository,
        unlisted: Vec<(PackId, u64)>,
        builder: &mut Builder,
    ) -> Result<()> {
        if unlisted.is_empty() {
            return Ok(());
        }
        let count = unlisted.len();
        let packs = if count == 1 { "1 pack is".to_owned() } else { format!("{count} packs are") };
        self.report.notes.push(format!(
            "{packs} in no index: leftovers of runs that were interrupted; `basekeep prune` removes them"
        ));
        let mut reads = futures::stream::iter(unlisted)
            .map(|(id, size)| read_one_header(repository.clone(), id, size))
            .buffer_unordered(HEADERS);
        let mut unreadable = Vec::new();
        while let Some((id, result)) = reads.next().await {
            match result {
                Ok(blobs) => {
                    builder.add(id, &blobs);
                }
                Err(error) => {
                    let reason = as_damage(&error).ok_or(error)?;
                    unreadable
                        .push(format!("{}: a leftover that cannot be read: {reason}", layout::pack(id)));
                }
            }
        }
        unreadable.sort();
        self.report.notes.extend(unreadable);
        Ok(())
    }

    /// Reads the packs that the options ask for, and those whose size is wrong in any case, to see what is left of them.
    pub(super) async fn read_packs(
        &mut self,
        repository: &Repository,
        options: &CheckOptions,
        subset: Subset,
        progress: &(dyn Fn(CheckProgress) + Send + Sync),
    ) -> Result<()> {
        let chosen = self.choose_packs(options, subset);
        let mut done = CheckProgress {
            packs_total: chosen.len() as u64,
            bytes_total: chosen.iter().filter_map(|pack| self.stored[*pack]).sum(),
            ..CheckProgress::default()
        };
        progress(done);
        if options.read_data {
            // Trees were counted while walking; they are read again.
            (self.report.blobs_read, self.report.bytes_read) = (0, 0);
        }
        let (index, by_pack) = (self.index.clone(), std::mem::take(&mut self.by_pack));
        let mut reads = futures::stream::iter(chosen)
            .map(|pack| read_pack(repository.clone(), pack, index.packs()[pack], by_pack.blobs(&index, pack)))
            .buffer_unordered(FETCHES);
        let mut unreadable = Vec::new();
        while let Some((pack, result)) = reads.next().await {
            if let Some(reason) = self.take_pack(index.packs()[pack], result)? {
                self.damage(layout::pack(index.packs()[pack]), reason);
                unreadable.push(pack);
            }
            done.packs_done += 1;
            done.bytes_done += self.stored[pack].unwrap_or(0);
            progress(done);
        }
        drop(reads);
        self.by_pack = by_pack;
        self.report.packs_read = done.packs_done;
        unreadable.into_iter().for_each(|pack| self.mark_all_bad(pack));
        Ok(())
    }

    /// By number.
    fn choose_packs(&self, options: &CheckOptions, subset: Subset) -> Vec<usize> {
        let listed = (0..self.listed).filter(|pack| self.stored[*pack].is_some());
        let file = |pack: usize| layout::pack(self.index.packs()[pack]);
        let (mut chosen, others): (Vec<usize>, Vec<usize>) =
            listed.partition(|pack| self.found.contains_key(&file(*pack)));
        if options.read_data {
            let wanted =
                others.into_iter().filter(|pack| options.snapshots.is_none() || self.is_needed(*pack));
            let sized = wanted.map(|pack| (pack, self.index.packs()[pack], self.stored[pack].unwrap_or(0)));
            chosen.extend(subset.choose(sized.collect()));
        }
        chosen
    }

    /// Whether the snapshots need anything in a pack.
    fn is_needed(&self, pack: usize) -> bool {
        let blobs = self.by_pack.positions(pack).map(|position| self.index.at(position).blob);
        blobs.into_iter().any(|blob| self.needed.get(self.index.positions(blob.kind, blob.id).start))
    }

    /// What is wrong with a pack that cannot be read at all.
    fn take_pack(&mut self, id: PackId, result: Result<Read>) -> Result<Option<String>> {
        match result {
            Ok(read) => {
                self.report.blobs_read += read.blobs;
                self.report.bytes_read += read.bytes;
                for blob in read.bad {
                    let places = self.index.positions(blob.kind, blob.id);
                    let here =
                        places.filter(|position| self.index.at(*position) == Location { pack: id, blob });
                    here.for_each(|position| {
                        self.bad.set(position);
                    });
                }
                for reason in read.reasons {
                    self.damage(layout::pack(id), reason);
                }
                Ok(None)
            }
            Err(error) => Ok(Some(as_damage(&error).ok_or(error)?)),
        }
    }
}

async fn read_one_header(repository: Repository, id: PackId, size: u64) -> (PackId, Result<Vec<PackedBlob>>) {
    let result = read_header(&repository, id, size).await;
    (id, result)
}

async fn read_pack(
    repository: Repository,
    pack: usize,
    id: PackId,
    blobs: Vec<PackedBlob>,
) -> (usize, Result<Read>) {
    let shared = repository.shared.clone();
    let read = async {
        let data = shared.store.get(&layout::pack(id)).await?;
        let shared = shared.clone();
        blocking(move || verify_pack(&shared.key, id, &data, &blobs)).await?
    };
    (pack, read.await)
}

/// Name, header and every blob.
fn verify_pack(key: &Key, id: PackId, data: &[u8], blobs: &[PackedBlob]) -> Result<Read> {
    let mut read = Read::default();
    if PackId::of(data) != id {
        read.reasons.push("its content does not match its name".to_owned());
    }
    let mut unpacker = Unpacker::new()?;
    for blob in blobs {
        let start = blob.offset as usize;
        let sealed = data.get(start..start.saturating_add(blob.length as usize)).unwrap_or_default();
        match open_blob(key, &mut unpacker, Location { pack: id, blob: *blob }, sealed) {
            Ok(plain) => {
                read.blobs += 1;
                read.bytes += plain.len() as u64;
            }
            Err(_) => read.bad.push(*blob),
        }
    }
    if !read.bad.is_empty() {
        read.reasons.push(format!("{} of its {} blobs are damaged", read.bad.len(), blobs.len()));
    }
    let header = open_header(key, data).and_then(|header| {
        let mut listed = blobs.to_vec();
        listed.sort_by_key(|blob| blob.offset);
        if header == listed {
            Ok(())
        } else {
            Err("its header does not list what the index lists".to_owned())
        }
    });
    read.reasons.extend(header.err());
    Ok(read)
}
