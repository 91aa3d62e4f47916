//! Many blobs in order, fetched and decoded ahead. Blobs of a window that stand near each other in a pack are read with
//! one request; the bytes that are fetched or decoded and not yet taken are capped.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::compression::Unpacker;
use crate::index::Location;
use crate::pack::BlobKind;
use crate::read::{open_blob, open_unhashed};
use crate::repository::blocking;
use crate::{BlobId, PackId, Repository, RepositoryError, Result, layout};

const LEAST_PREFETCH: usize = 1 << 20;
/// Bytes between two blobs that are cheaper to read than to ask again for.
const GAP: u32 = 64 << 10;
const LARGEST_REQUEST: u32 = 8 << 20;
/// Requests under way for one stream.
const REQUESTS: usize = 4;
/// Blobs in a window, so that lots of tiny ones do not delay the first.
const WINDOW_BLOBS: usize = 512;

type Decoded = Result<(Bytes, OwnedSemaphorePermit)>;

/// Blobs, in the order in which they were asked for.
#[derive(Debug)]
pub struct BlobStream {
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is fetched before the first blob is asked for.
    Waiting {
        repository: Repository,
        blobs: Vec<BlobId>,
        prefetch: usize,
        hashed: bool,
    },
    Running {
        ready: mpsc::Receiver<oneshot::Receiver<Decoded>>,
        _feeder: AbortOnDrop,
    },
    Ended,
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Repository {
    /// The blobs, in order, each verified. At most about `prefetch` bytes (1 MiB at least, and one window's blobs) are
    /// held in memory.
    pub fn read_blobs(&self, blobs: impl IntoIterator<Item = BlobId>, prefetch: usize) -> BlobStream {
        self.stream(blobs, prefetch, true)
    }

    /// As [`Repository::read_blobs`], but leaves it to the caller to compare the content with a digest of its own: blobs are
    /// what the repository's key sealed, and their SHA-256 is not computed.
    pub fn read_blobs_unhashed(
        &self,
        blobs: impl IntoIterator<Item = BlobId>,
        prefetch: usize,
    ) -> BlobStream {
        self.stream(blobs, prefetch, false)
    }

    fn stream(&self, blobs: impl IntoIterator<Item = BlobId>, prefetch: usize, hashed: bool) -> BlobStream {
        let blobs = blobs.into_iter().collect();
        BlobStream { state: State::Waiting { repository: self.clone(), blobs, prefetch, hashed } }
    }
}

impl BlobStream {
    /// The next blob; `None` at the end. After an error there is nothing more.
    ///
    /// Errors: [`RepositoryError::DamagedBlob`] names pack and blob; [`RepositoryError::MissingBlob`].
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        if let State::Waiting { .. } = &self.state
            && let State::Waiting { repository, blobs, prefetch, hashed } =
                std::mem::replace(&mut self.state, State::Ended)
        {
            let prefetch = prefetch.clamp(LEAST_PREFETCH, u32::MAX as usize >> 4);
            let (sender, ready) = mpsc::channel(4 * WINDOW_BLOBS);
            let feeder = AbortOnDrop(tokio::spawn(feed(repository, blobs, prefetch, hashed, sender)));
            self.state = State::Running { ready, _feeder: feeder };
        }
        let State::Running { ready, .. } = &mut self.state else { return None };
        let result = match ready.recv().await {
            None => {
                self.state = State::Ended;
                return None;
            }
            Some(slot) => match slot.await {
                Ok(result) => result.map(|(blob, _permit)| blob),
                Err(_) => Err(RepositoryError::internal("read a blob", "a reading task ended early")),
            },
        };
        if result.is_err() {
            self.state = State::Ended;
        }
        Some(result)
    }
}

/// A blob that somebody waits for.
struct Wanted {
    place: Location,
    permit: OwnedSemaphorePermit,
    answer: oneshot::Sender<Decoded>,
}

async fn feed(
    repository: Repository,
    blobs: Vec<BlobId>,
    prefetch: usize,
    hashed: bool,
    ready: mpsc::Sender<oneshot::Receiver<Decoded>>,
) {
    let budget = Arc::new(Semaphore::new(prefetch));
    let slots = Arc::new(Semaphore::new(REQUESTS));
    let mut requests = JoinSet::new();
    let mut blobs = blobs.into_iter().peekable();
    while blobs.peek().is_some() {
        let mut packs: BTreeMap<PackId, Vec<Wanted>> = BTreeMap::new();
        let mut cost = 0;
        for _ in 0..WINDOW_BLOBS {
            let Some(id) = blobs.next_if(|_| cost < prefetch / 2) else { break };
            let (answer, receiver) = oneshot::channel();
            match repository.places(BlobKind::Data, id) {
                Err(error) => drop(answer.send(Err(error))),
                Ok(places) => {
                    let place = places[0];
                    let bytes = place.blob.length as usize + place.blob.plain_length() as usize;
                    let bytes = bytes.clamp(1, prefetch / 2);
                    cost += bytes;
                    let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
                    // The permits of the window before are given back as the reader takes its blobs.
                    let Ok(permit) = budget.clone().acquire_many_owned(permits).await else { return };
                    packs.entry(place.pack).or_default().push(Wanted { place, permit, answer });
                }
            }
            if ready.send(receiver).await.is_err() {
                return;
            }
        }
        for (pack, wanted) in packs {
            for group in neighbours(wanted) {
                requests.spawn(fetch(repository.clone(), slots.clone(), pack, group, hashed));
            }
        }
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

/// Groups the blobs of one pack into requests.
fn neighbours(mut wanted: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    wanted.sort_by_key(|wanted| wanted.place.blob.offset);
    let mut groups: Vec<Vec<Wanted>> = Vec::new();
    let (mut start, mut end) = (0_u32, 0_u32);
    for one in wanted {
        let blob = one.place.blob;
        let blob_end = blob.offset.saturating_add(blob.length);
        let near =
            blob.offset <= end.saturating_add(GAP) && blob_end.saturating_sub(start) <= LARGEST_REQUEST;
        match groups.last_mut() {
            Some(group) if near => group.push(one),
            _ => {
                start = blob.offset;
                groups.push(vec![one]);
            }
        }
        end = blob_end;
    }
    groups
}

async fn fetch(
    repository: Repository,
    slots: Arc<Semaphore>,
    pack: PackId,
    group: Vec<Wanted>,
    hashed: bool,
) {
    let Ok(_slot) = slots.acquire().await else { return };
    let start = group.iter().map(|one| one.place.blob.offset).min().unwrap_or(0);
    let end = group
        .iter()
        .map(|one| one.place.blob.offset.saturating_add(one.place.blob.length))
        .max()
        .unwrap_or(0);
    let range = u64::from(start)..u64::from(end);
    let failed = match repository.shared.store.get_range(&layout::pack(pack), range).await {
        Ok(data) => {
            let shared = repository.shared.clone();
            blocking(move || decode(&shared.key, start, &data, group, hashed)).await.unwrap_or_default()
        }
        Err(_) => group,
    };
    // One by one: the others of the group may be good, or stand in another pack too; and the error is the blob's own.
    for one in failed {
        let result = match repository.places(BlobKind::Data, one.place.blob.id) {
            Ok(places) => repository.read_places(places).await,
            Err(error) => Err(error),
        };
        drop(one.answer.send(result.map(|plain| (plain.into(), one.permit))));
    }
}

/// Answers what can be decoded; gives the others back.
fn decode(
    key: &crate::crypto::Key,
    start: u32,
    data: &[u8],
    group: Vec<Wanted>,
    hashed: bool,
) -> Vec<Wanted> {
    let Ok(mut unpacker) = Unpacker::new() else { return group };
    let mut failed = Vec::new();
    for mut one in group {
        if one.answer.is_closed() {
            continue;
        }
        let blob = one.place.blob;
        let from = (blob.offset - start) as usize;
        let sealed = data.get(from..from + blob.length as usize).unwrap_or_default();
        let open = if hashed { open_blob } else { open_unhashed };
        match open(key, &mut unpacker, one.place, sealed) {
            Ok(plain) => {
                let excess = one.permit.num_permits().saturating_sub(plain.len());
                drop(one.permit.split(excess));
                drop(one.answer.send(Ok((plain.into(), one.permit))));
            }
            Err(_) => failed.push(one),
        }
    }
    failed
}
