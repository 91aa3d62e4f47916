//! Reading what is needed from a pack that goes. Every blob is verified, by MAC and hash, before it is copied; a blob that
//! is damaged is taken from another of its places.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::compression::{Packer as Compressor, Unpacker, is_marked};
use crate::crypto::{Key, OVERHEAD};
use crate::index::{Index, Location};
use crate::pack::PackedBlob;
use crate::prune::packer::{Copied, Sealed};
use crate::read::open_blob;
use crate::repository::blocking;
use crate::{PackId, Repository, RepositoryError, Result, layout};

/// Bytes between two blobs that are cheaper to read than to ask again for.
const GAP: u32 = 256 << 10;

/// What is needed of a pack.
#[derive(Debug)]
pub(super) struct Job {
    /// The pack's number.
    pub(super) pack: usize,
    /// Its blobs that are needed, by offset.
    pub(super) blobs: Vec<PackedBlob>,
    /// The zstd level to compress them again with.
    pub(super) level: Option<i32>,
}

/// What a job brought.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) pack: usize,
    /// Bytes that were read.
    pub(super) bytes: u64,
    pub(super) result: Result<Vec<Copied>, Damage>,
}

/// Blobs of a pack that are good nowhere; the whole pack has to stay.
#[derive(Debug)]
pub(super) struct Damage {
    pub(super) blobs: usize,
    /// What is wrong with the first of them.
    pub(super) reason: String,
}

/// Does a job. An error means that the storage failed.
pub(super) async fn bring(repository: Repository, index: Arc<Index>, job: Job) -> Result<Brought> {
    let pack = index.packs()[job.pack];
    let opened = open_all(&repository, pack, job.blobs, job.level).await?;
    let (mut copied, bytes) = (opened.good, opened.bytes);
    let mut damage: Option<Damage> = None;
    for (blob, reason) in opened.bad {
        match elsewhere(&repository, &index, Location { pack, blob }, job.level).await? {
            Some(blob) => copied.push(blob),
            None => damage.get_or_insert(Damage { blobs: 0, reason }).blobs += 1,
        }
    }
    Ok(Brought { pack: job.pack, bytes, result: damage.map_or(Ok(copied), Err) })
}

/// Which of these blobs of a pack are damaged, each with what is wrong; and the bytes that were read.
pub(super) async fn find_bad(
    repository: Repository,
    pack: PackId,
    blobs: Vec<PackedBlob>,
) -> Result<(PackId, Vec<(PackedBlob, String)>, u64)> {
    let (mut bad, mut bytes) = (Vec::new(), 0);
    for group in neighbours(blobs) {
        let opened = open_group(&repository, pack, group, None).await?;
        bad.extend(opened.bad);
        bytes += opened.bytes;
    }
    Ok((pack, bad, bytes))
}

/// What is good and what is not, of some blobs of a pack.
#[derive(Default)]
struct Opened {
    good: Vec<Copied>,
    bad: Vec<(PackedBlob, String)>,
    /// Bytes that were read.
    bytes: u64,
}

async fn open_all(
    repository: &Repository,
    pack: PackId,
    blobs: Vec<PackedBlob>,
    level: Option<i32>,
) -> Result<Opened> {
    let mut all = Opened::default();
    for group in neighbours(blobs) {
        let opened = open_group(repository, pack, group, level).await?;
        all.good.extend(opened.good);
        all.bad.extend(opened.bad);
        all.bytes += opened.bytes;
    }
    Ok(all)
}

/// Reads blobs that stand near each other with one request.
async fn open_group(
    repository: &Repository,
    pack: PackId,
    group: Vec<PackedBlob>,
    level: Option<i32>,
) -> Result<Opened> {
    let range = range(&group);
    let read = repository.shared.store.get_range(&layout::pack(pack), range.clone()).await;
    let data = match read.map_err(RepositoryError::from) {
        Ok(data) => data,
        Err(error) if error.is_damage() => {
            let bad = group.into_iter().map(|blob| (blob, error.to_string())).collect();
            return Ok(Opened { bad, ..Opened::default() });
        }
        Err(error) => return Err(error),
    };
    let shared = repository.shared.clone();
    let opened = blocking(move || {
        let mut tools = Tools::new(&shared.key, level)?;
        let mut opened = Opened { bytes: data.len() as u64, ..Opened::default() };
        for blob in group {
            let start = (u64::from(blob.offset) - range.start) as usize;
            let sealed = data.slice(start..start + blob.length as usize);
            match tools.take(Location { pack, blob }, sealed)? {
                Ok(copied) => opened.good.push(copied),
                Err(reason) => opened.bad.push((blob, reason)),
            }
        }
        Ok(opened)
    });
    opened.await?
}

/// The same blob from another pack.
async fn elsewhere(
    repository: &Repository,
    index: &Index,
    bad: Location,
    level: Option<i32>,
) -> Result<Option<Copied>> {
    let others = index.locations(bad.blob.kind, bad.blob.id).filter(|place| *place != bad);
    for place in others.collect::<Vec<_>>() {
        let opened = open_group(repository, place.pack, vec![place.blob], level).await?;
        if let Some(blob) = opened.good.into_iter().next() {
            return Ok(Some(blob));
        }
    }
    Ok(None)
}

/// Groups blobs, which are sorted by offset, into requests.
fn neighbours(blobs: Vec<PackedBlob>) -> Vec<Vec<PackedBlob>> {
    let mut groups: Vec<Vec<PackedBlob>> = Vec::new();
    let mut end = 0;
    for blob in blobs {
        match groups.last_mut() {
            Some(group) if blob.offset <= end + GAP => group.push(blob),
            _ => groups.push(vec![blob]),
        }
        end = blob.offset.saturating_add(blob.length).min(u32::MAX - GAP);
    }
    groups
}

/// A group has a first and a last blob.
fn range(group: &[PackedBlob]) -> Range<u64> {
    let start = group.first().map_or(0, |blob| u64::from(blob.offset));
    let end = group.iter().map(|blob| u64::from(blob.offset) + u64::from(blob.length)).max();
    start..end.unwrap_or(start)
}

/// What a thread needs.
struct Tools<'a> {
    key: &'a Key,
    unpacker: Unpacker,
    compressor: Option<Compressor>,
}

impl<'a> Tools<'a> {
    fn new(key: &'a Key, level: Option<i32>) -> Result<Self> {
        let compressor = level.map(Compressor::marking).transpose()?;
        Ok(Self { key, unpacker: Unpacker::new()?, compressor })
    }

    /// Verifies a blob; and compresses it again if that is wanted and it is not marked yet.
    fn take(&mut self, place: Location, sealed: Bytes) -> Result<Result<Copied, String>> {
        let plain = match open_blob(self.key, &mut self.unpacker, place, &sealed) {
            Ok(plain) => plain,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let PackedBlob { kind, id, uncompressed, .. } = place.blob;
        let marked = uncompressed > 0 && is_marked(&self.key.peek(sealed.get(..HEAD).unwrap_or(&sealed)));
        let blob = Sealed { kind, id, uncompressed, bytes: sealed, marked };
        let again = self.compressor.is_some();
        let Some(smaller) = self.compress(&blob, &plain)? else {
            return Ok(Ok(Copied { blob, again, instead: None, saved: 0 }));
        };
        if smaller.bytes.len() < blob.bytes.len() {
            let saved = (blob.bytes.len() - smaller.bytes.len()) as u64;
            return Ok(Ok(Copied { blob: smaller, again, instead: None, saved }));
        }
        Ok(Ok(Copied { blob, again, instead: Some(smaller), saved: 0 }))
    }

    /// `None` if it should stay as it is. What was compressed is opened and compared before anybody trusts it.
    fn compress(&mut self, blob: &Sealed, plain: &[u8]) -> Result<Option<Sealed>> {
        let Some(compressor) = &mut self.compressor else { return Ok(None) };
        if blob.uncompressed == 0 || blob.marked {
            return Ok(None);
        }
        // A little more than before is good enough to mark a pack with.
        let mut buffer = vec![0; blob.bytes.len() + SLACK];
        let room = buffer.len() - MAC;
        let Some(length) = compressor.pack_into(plain, &mut buffer[IV..room]) else { return Ok(None) };
        buffer.truncate(length + OVERHEAD);
        self.key.seal_in_place(&mut buffer);
        let new = Sealed { bytes: buffer.into(), marked: true, ..blob.clone() };
        let length =
            u32::try_from(new.bytes.len()).map_err(|e| RepositoryError::internal("seal a blob", e))?;
        let packed =
            PackedBlob { id: new.id, kind: new.kind, offset: 0, length, uncompressed: new.uncompressed };
        let place = Location { pack: PackId::from_bytes([0; 32]), blob: packed };
        match open_blob(self.key, &mut self.unpacker, place, &new.bytes) {
            Ok(_) => Ok(Some(new)),
            Err(error) => {
                Err(RepositoryError::VerificationFailed { blob: new.id, reason: error.to_string() })
            }
        }
    }
}

const IV: usize = 16;
const MAC: usize = 16;
/// The beginning of a sealed blob that tells whether its frame is marked.
const HEAD: usize = IV + crate::compression::FRAME_HEAD;
/// Room for a checksum, and for what a high level may lose on very small blobs.
const SLACK: usize = 64;
