//! One stream of file content.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex};

use crate::chunker::Chunker;
use crate::pack::BlobKind;
use crate::{BlobId, RepositoryError, Result, Writer, sync};

/// What is appended at once by [`FileWriter::write`], so that the buffer stays small.
const PIECE: usize = 1 << 20;
/// A chunk in a buffer larger than this, and four times as large as the chunk, moves to one of its own.
const MOST_SLACK: usize = 64 << 10;

/// A file's content: what its entry in a tree says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileContent {
    /// Its blobs, in order.
    pub blobs: Vec<BlobId>,
    /// Its bytes.
    pub size: u64,
}

/// The ids of a file's blobs, as the workers find them out.
#[derive(Debug, Default)]
pub(super) struct FileState(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    ids: Vec<Option<BlobId>>,
    missing: usize,
}

impl FileState {
    /// A place for the next blob.
    fn reserve(&self) -> usize {
        let mut state = sync::lock(&self.0);
        state.ids.push(None);
        state.missing += 1;
        state.ids.len() - 1
    }

    fn push(&self, id: BlobId) {
        sync::lock(&self.0).ids.push(Some(id));
    }

    /// Fills a place; `true` if it was the last one missing.
    pub(super) fn set(&self, place: usize, id: BlobId) -> bool {
        let mut state = sync::lock(&self.0);
        if let Some(slot @ None) = state.ids.get_mut(place) {
            *slot = Some(id);
            state.missing -= 1;
        }
        state.missing == 0
    }

    fn is_complete(&self) -> bool {
        sync::lock(&self.0).missing == 0
    }

    fn len(&self) -> usize {
        sync::lock(&self.0).ids.len()
    }

    fn take(&self) -> Option<Vec<BlobId>> {
        std::mem::take(&mut *sync::lock(&self.0)).ids.into_iter().collect()
    }
}

/// Writes one file. Append to [`FileWriter::buffer`] and call [`FileWriter::advance`], or use [`FileWriter::write`].
///
/// A file that is dropped before [`FileWriter::finish`] has returned makes the whole writer fail: there will be no
/// snapshot. So does a call that is dropped before it has returned.
#[derive(Debug)]
pub struct FileWriter {
    writer: Writer,
    chunker: Chunker,
    buffer: Vec<u8>,
    state: Arc<FileState>,
    size: u64,
    /// A call is under way; if the next one sees it, the call was dropped and bytes may be lost.
    busy: bool,
    finished: bool,
}

impl FileWriter {
    pub(super) fn new(writer: Writer, chunk_average: usize) -> Self {
        writer.pipeline().open_files.fetch_add(1, SeqCst);
        Self {
            chunker: Chunker::new(chunk_average),
            buffer: Vec::new(),
            state: Arc::default(),
            size: 0,
            busy: false,
            finished: false,
            writer,
        }
    }

    /// Where to append the next bytes. What is in it already must stay; it is the beginning of the present chunk.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Hands the whole chunks in the buffer on. Waits when too many bytes are in flight.
    pub async fn advance(&mut self) -> Result<()> {
        self.begin()?;
        self.cut_chunks().await?;
        self.busy = false;
        Ok(())
    }

    /// Appends `bytes` and advances.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.begin()?;
        for piece in bytes.chunks(PIECE) {
            self.buffer.extend_from_slice(piece);
            self.cut_chunks().await?;
        }
        self.busy = false;
        Ok(())
    }

    /// Ends the present chunk here. Gives the number of blobs that the file has so far.
    pub async fn cut(&mut self) -> Result<u64> {
        self.begin()?;
        self.cut_chunks().await?;
        self.cut_rest().await?;
        self.busy = false;
        Ok(self.state.len() as u64)
    }

    /// Takes blobs over that are stored already, each with its plain length. Ends the present chunk first. The repository
    /// that leads must have them; another one that does not is behind from then on.
    ///
    /// Errors: [`RepositoryError::MissingBlob`] if the index does not know one; then none is taken over, and the file
    /// can go on.
    pub async fn append_known(&mut self, blobs: &[(BlobId, u32)]) -> Result<()> {
        self.cut().await?;
        let pipeline = self.writer.pipeline();
        for (blob, length) in blobs {
            match pipeline.known_length(pipeline.leader(), BlobKind::Data, *blob) {
                Some(known) if known == *length => {}
                Some(known) => {
                    return Err(RepositoryError::Refused(format!(
                        "blob {blob} has {known} bytes, not {length}"
                    )));
                }
                None => return Err(RepositoryError::MissingBlob { blob: *blob, hint: String::new() }),
            }
        }
        pipeline
            .owe_unknown(blobs.iter().map(|(blob, _)| blob))
            .map_err(|blob| RepositoryError::MissingBlob { blob, hint: String::new() })?;
        for (blob, length) in blobs {
            self.state.push(*blob);
            self.size += u64::from(*length);
        }
        for target in &pipeline.targets {
            target.counters.data_known.fetch_add(blobs.len() as u64, Relaxed);
        }
        Ok(())
    }

    /// Ends the file and waits until the ids of its blobs are known.
    pub async fn finish(mut self) -> Result<FileContent> {
        self.cut().await?;
        let pipeline = self.writer.pipeline();
        pipeline.wait_until(|| self.state.is_complete()).await?;
        let lost = || RepositoryError::internal("finish a file", "a blob has no id");
        let blobs = self.state.take().ok_or_else(lost)?;
        let size = self.size;
        self.finished = true;
        Ok(FileContent { blobs, size })
    }

    fn begin(&mut self) -> Result<()> {
        let pipeline = self.writer.pipeline();
        if self.busy {
            let reason = "a call on one of its files was dropped before it returned".to_owned();
            pipeline.fail(RepositoryError::Incomplete { reason });
        }
        pipeline.check()?;
        self.busy = true;
        Ok(())
    }

    async fn cut_chunks(&mut self) -> Result<()> {
        let pipeline = self.writer.pipeline().clone();
        let mut start = 0;
        while let Some(length) = self.chunker.next_cut(&pipeline.gear, &self.buffer[start..]) {
            let end = start + length;
            if start == 0 && self.buffer.len() - end <= length {
                // The chunk keeps its place; what follows it is less to copy.
                let mut rest = pipeline.spare_chunks.take();
                rest.extend_from_slice(&self.buffer[end..]);
                self.buffer.truncate(end);
                let chunk = std::mem::replace(&mut self.buffer, rest);
                self.submit(chunk).await?;
            } else {
                let mut chunk = pipeline.spare_chunks.take();
                chunk.extend_from_slice(&self.buffer[start..end]);
                self.submit(chunk).await?;
                start = end;
            }
        }
        if start > 0 {
            self.buffer.drain(..start);
        }
        Ok(())
    }

    /// What is left in the buffer becomes a chunk.
    async fn cut_rest(&mut self) -> Result<()> {
        self.chunker.restart();
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.buffer);
        self.submit(chunk).await
    }

    /// Hands a chunk on, once there is room for it.
    async fn submit(&mut self, mut chunk: Vec<u8>) -> Result<()> {
        let pipeline = self.writer.pipeline();
        // The memory that it takes counts as in flight, so that must not be much more than its bytes.
        if chunk.capacity() > MOST_SLACK && chunk.capacity() / 4 > chunk.len() {
            let small = chunk.as_slice().to_vec();
            pipeline.spare_chunks.give(std::mem::replace(&mut chunk, small));
        }
        let permit = pipeline.room(chunk.capacity()).await?;
        self.size += chunk.len() as u64;
        pipeline.submit(chunk, BlobKind::Data, Some((self.state.clone(), self.state.reserve())), permit);
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        let pipeline = self.writer.pipeline();
        pipeline.open_files.fetch_sub(1, SeqCst);
        if !self.finished {
            let reason = "one of its files was not written to its end".to_owned();
            pipeline.fail(RepositoryError::Incomplete { reason });
        }
    }
}
