//! Packs: are they there, have they the right size, and is what they hold right.

use std::collections::HashMap;

use futures::StreamExt;

use crate::check::{CheckOptions, CheckProgress, Checking, Handle, as_damage};
use crate::compression::Unpacker;
use crate::crypto::Key;
use crate::index::Location;
use crate::pack::{self, PackedBlob};
use crate::pack_header::{open_header, read_header};
use crate::read::open_blob;
use crate::repository::blocking;
use crate::{PackId, Repository, Result, layout};

/// Packs that are in memory at the same time.
const FETCHES: usize = 3;

/// What reading a pack brought.
#[derive(Default)]
struct Read {
    reasons: Vec<String>,
    bad: Vec<Handle>,
    blobs: u64,
    bytes: u64,
}

impl Checking {
    /// Compares what the index lists with what is in the store.
    pub(super) async fn compare_packs(&mut self, repository: &Repository) -> Result<()> {
        for file in repository.list_ids(layout::DATA).await? {
            if let Some(id) = layout::id_of(&file.key).map(PackId::from_bytes)
                && layout::pack(id) == file.key
            {
                self.stored.insert(id, file.size);
            }
        }
        let mut problems = Vec::new();
        for (pack, blobs) in &self.listed {
            let expected =
                blobs.iter().map(|blob| u64::from(blob.length)).sum::<u64>() + pack::tail_size(blobs);
            match self.stored.get(pack) {
                None => problems.push((*pack, "it is missing".to_owned())),
                Some(size) if *size != expected => {
                    problems.push((*pack, format!("it has {size} bytes instead of {expected}")));
                }
                Some(_) => {}
            }
        }
        for (pack, reason) in problems {
            self.damage(layout::pack(pack), reason);
            if !self.stored.contains_key(&pack) {
                self.mark_all_bad(pack);
            }
        }
        self.look_into_unlisted(repository).await
    }

    fn mark_all_bad(&mut self, pack: PackId) {
        let blobs = self.listed.get(&pack).into_iter().flatten();
        self.bad.extend(blobs.map(|blob| (pack, (blob.kind, blob.id))));
    }

    /// Packs in no index are what an interrupted run leaves; or their index file is lost. Their headers tell what is in them.
    async fn look_into_unlisted(&mut self, repository: &Repository) -> Result<()> {
        let unlisted: Vec<(PackId, u64)> = self
            .stored
            .iter()
            .filter(|(id, _)| self.index.pack_number(**id).is_none())
            .map(|(id, size)| (*id, *size))
            .collect();
        if unlisted.is_empty() {
            return Ok(());
        }
        self.report.notes.push(format!("{} packs are in no index", unlisted.len()));
        let reads = unlisted
            .into_iter()
            .map(|(id, size)| async move { (id, read_header(repository, id, size).await) });
        let mut reads = futures::stream::iter(reads).buffer_unordered(8);
        while let Some((id, result)) = reads.next().await {
            match result {
                Ok(blobs) => {
                    self.index.add(id, &blobs);
                    self.unlisted.insert(id);
                }
                Err(error) => {
                    let reason = as_damage(&error).ok_or(error)?;
                    self.report.notes.push(format!("{}: {reason}", layout::pack(id)));
                }
            }
        }
        Ok(())
    }

    /// Reads the packs that the options ask for, and those whose size is wrong in any case, to see what is left of them.
    pub(super) async fn read_packs(
        &mut self,
        repository: &Repository,
        options: &CheckOptions,
        progress: &(dyn Fn(CheckProgress) + Send + Sync),
    ) -> Result<()> {
        let needed = |blobs: &[PackedBlob]| {
            options.snapshots.is_none()
                || blobs.iter().any(|blob| self.needed.contains(&(blob.kind, blob.id)))
        };
        let chosen: HashMap<PackId, (u64, Vec<PackedBlob>)> = self
            .listed
            .iter()
            .filter(|(id, blobs)| {
                self.found.contains_key(&layout::pack(**id)) || (options.read_data && needed(blobs))
            })
            .filter_map(|(id, blobs)| self.stored.get(id).map(|size| (*id, (*size, blobs.clone()))))
            .collect();
        let mut done = CheckProgress {
            packs_total: chosen.len() as u64,
            bytes_total: chosen.values().map(|(size, _)| size).sum(),
            ..CheckProgress::default()
        };
        progress(done);
        let reads = chosen
            .into_iter()
            .map(|(id, (size, blobs))| async move { (id, size, read_pack(repository, id, blobs).await) });
        let mut reads = futures::stream::iter(reads).buffer_unordered(FETCHES);
        if options.read_data {
            // Trees were counted while walking; they are read again.
            (self.report.blobs_read, self.report.bytes_read) = (0, 0);
        }
        while let Some((id, size, result)) = reads.next().await {
            self.take_pack(id, result)?;
            done.packs_done += 1;
            done.bytes_done += size;
            progress(done);
        }
        Ok(())
    }

    fn take_pack(&mut self, id: PackId, result: Result<Read>) -> Result<()> {
        match result {
            Ok(read) => {
                self.report.blobs_read += read.blobs;
                self.report.bytes_read += read.bytes;
                self.bad.extend(read.bad.into_iter().map(|handle| (id, handle)));
                for reason in read.reasons {
                    self.damage(layout::pack(id), reason);
                }
            }
            Err(error) => {
                let reason = as_damage(&error).ok_or(error)?;
                self.damage(layout::pack(id), reason);
                self.mark_all_bad(id);
            }
        }
        Ok(())
    }
}

async fn read_pack(repository: &Repository, id: PackId, blobs: Vec<PackedBlob>) -> Result<Read> {
    let data = repository.shared.store.get(&layout::pack(id)).await?;
    let shared = repository.shared.clone();
    blocking(move || verify_pack(&shared.key, id, &data, &blobs)).await?
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
            Err(_) => read.bad.push((blob.kind, blob.id)),
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
