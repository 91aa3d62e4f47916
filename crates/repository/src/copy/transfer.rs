//! Moving blobs: fetched in the order of the source's packs with a few requests at once, opened, verified, and sealed with
//! the target's key. Bytes count as in flight from before they are fetched until their pack is durable.

use basekeep_store::ErrorKind;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::OwnedSemaphorePermit;

use crate::compression::Unpacker;
use crate::copy::missing::Blob;
use crate::copy::{Copying, is_damage};
use crate::crypto::Key;
use crate::id::sha256;
use crate::index::Location;
use crate::repository::blocking;
use crate::writer::Payload;
use crate::{Repository, RepositoryError, Result, Writer, layout};

/// Requests under way.
const REQUESTS: usize = 6;
/// Bytes between two blobs that are cheaper to read than to ask again for.
const GAP: u32 = 64 << 10;
const LARGEST_REQUEST: u32 = 8 << 20;

/// What became of the blobs of one request.
#[derive(Default)]
struct Moved {
    blobs: u64,
    bytes: u64,
    failed: Vec<(Blob, RepositoryError)>,
}

impl Copying<'_> {
    /// Moves these blobs. Gives those that the source cannot give, with the reason.
    pub(super) async fn transfer(&mut self, blobs: Vec<Location>) -> Result<Vec<(Blob, RepositoryError)>> {
        let (from, writer) = (self.from.clone(), self.writer.clone());
        let mut moves = futures::stream::iter(groups(blobs))
            .map(move |group| move_group(from.clone(), writer.clone(), group))
            .buffer_unordered(REQUESTS);
        let mut failed = Vec::new();
        while let Some(moved) = moves.next().await {
            let moved = moved?;
            self.report.blobs += moved.blobs;
            self.report.bytes += moved.bytes;
            failed.extend(moved.failed);
            self.tell();
        }
        Ok(failed)
    }
}

/// Blobs of one pack that stand near each other, in their order.
fn groups(mut blobs: Vec<Location>) -> Vec<Vec<Location>> {
    blobs.sort_unstable_by_key(|place| (place.pack, place.blob.offset));
    let mut groups: Vec<Vec<Location>> = Vec::new();
    for place in blobs {
        let end = place.blob.offset.saturating_add(place.blob.length);
        let near = groups.last().and_then(|group| Some((group.first()?, group.last()?))).is_some_and(
            |(first, last)| {
                first.pack == place.pack
                    && place.blob.offset <= last.blob.offset.saturating_add(last.blob.length + GAP)
                    && end.saturating_sub(first.blob.offset) <= LARGEST_REQUEST
            },
        );
        match groups.last_mut() {
            Some(group) if near => group.push(place),
            _ => groups.push(vec![place]),
        }
    }
    groups
}

async fn move_group(from: Repository, writer: Writer, group: Vec<Location>) -> Result<Moved> {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(Moved::default()) };
    let start = u64::from(first.blob.offset);
    let end = u64::from(last.blob.offset) + u64::from(last.blob.length);
    let room = writer.room(usize::try_from(end - start).unwrap_or(usize::MAX)).await?;
    let mut moved = Moved::default();
    let left = match from.shared.store.get_range(&layout::pack(first.pack), start..end).await {
        Ok(data) => {
            let (from, writer) = (from.clone(), writer.clone());
            let put = blocking(move || put_group(&from, &writer, &group, &data, room)).await??;
            moved.blobs += put.blobs;
            moved.bytes += put.bytes;
            put.left
        }
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Corrupt) => {
            drop(room);
            group
        }
        Err(error) => return Err(error.into()),
    };
    // One by one: the others of the group may be good, or stand in another pack too; and the error is the blob's own.
    for place in left {
        match move_one(&from, &writer, place).await {
            Ok(bytes) => {
                moved.blobs += 1;
                moved.bytes += bytes;
            }
            Err(error) if is_damage(&error) => {
                moved.failed.push(((place.blob.kind, place.blob.id), error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(moved)
}

/// What of a group was put, and what must be tried one by one.
struct PutGroup {
    blobs: u64,
    bytes: u64,
    left: Vec<Location>,
}

fn put_group(
    from: &Repository,
    writer: &Writer,
    group: &[Location],
    data: &Bytes,
    mut room: OwnedSemaphorePermit,
) -> Result<PutGroup> {
    let mut opener = Opener::new()?;
    let mut put = PutGroup { blobs: 0, bytes: 0, left: Vec::new() };
    let start = group.first().map_or(0, |first| first.blob.offset);
    for place in group {
        let at = (place.blob.offset - start) as usize;
        let length = place.blob.length as usize;
        let sealed = data.get(at..at + length).unwrap_or_default();
        let Ok(payload) = opener.open(&from.shared.key, *place, sealed) else {
            put.left.push(*place);
            continue;
        };
        // A group of one large blob may hold fewer permits than it has bytes.
        let part = room.split(length.min(room.num_permits()));
        let Some(part) = part else {
            return Err(RepositoryError::internal("copy a blob", "its room was lost"));
        };
        writer.put_payload(&payload, part)?;
        put.blobs += 1;
        put.bytes += length as u64;
    }
    Ok(put)
}

/// Moves a blob from the first of its places that is good.
async fn move_one(from: &Repository, writer: &Writer, place: Location) -> Result<u64> {
    let mut failure = None;
    for place in from.places(place.blob.kind, place.blob.id)? {
        let (start, length) = (u64::from(place.blob.offset), u64::from(place.blob.length));
        let room = writer.room(place.blob.length as usize).await?;
        let data = from.shared.store.get_range(&layout::pack(place.pack), start..start + length).await;
        let data = match data {
            Ok(data) => data,
            Err(error) => {
                let error = crate::read::unreadable(place, error);
                if !is_damage(&error) {
                    return Err(error);
                }
                failure = Some(error);
                continue;
            }
        };
        let (from, writer) = (from.clone(), writer.clone());
        let put = blocking(move || {
            let mut opener = Opener::new()?;
            let payload = opener.open(&from.shared.key, place, &data)?;
            writer.put_payload(&payload, room)
        });
        match put.await? {
            Ok(()) => return Ok(length),
            Err(error) if is_damage(&error) => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| RepositoryError::internal("copy a blob", "it has no place")))
}

/// Opens and verifies, in buffers that are kept.
struct Opener {
    unpacker: Unpacker,
    opened: Vec<u8>,
    plain: Vec<u8>,
}

impl Opener {
    fn new() -> Result<Self> {
        Ok(Self { unpacker: Unpacker::new()?, opened: Vec::new(), plain: Vec::new() })
    }

    /// The payload of a sealed blob whose plain content has the right hash.
    fn open(&mut self, key: &Key, place: Location, sealed: &[u8]) -> Result<Payload<'_>> {
        let blob = place.blob;
        self.verify(key, place, sealed).map_err(|reason| RepositoryError::DamagedBlob {
            pack: place.pack,
            blob: blob.id,
            reason,
        })?;
        Ok(Payload { kind: blob.kind, id: blob.id, bytes: &self.opened, uncompressed: blob.uncompressed })
    }

    fn verify(&mut self, key: &Key, place: Location, sealed: &[u8]) -> Result<(), String> {
        let blob = place.blob;
        key.open_into(sealed, &mut self.opened).map_err(|e| e.to_string())?;
        let plain = if blob.uncompressed == 0 {
            &self.opened
        } else {
            self.unpacker.unpack_into(&self.opened, blob.uncompressed as usize, &mut self.plain)?;
            &self.plain
        };
        if sha256(plain) == *blob.id.as_bytes() { Ok(()) } else { Err("its hash differs".to_owned()) }
    }
}
