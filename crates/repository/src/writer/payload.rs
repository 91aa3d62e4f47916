//! Blobs that come from another repository: compressed and verified there, sealed here with this one's key. A writer that
//! takes them has one target.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::OwnedSemaphorePermit;

use crate::pack::BlobKind;
use crate::writer::packs::Permit;
use crate::writer::seal::Sealed;
use crate::{BlobId, RepositoryError, Result, SnapshotId, Writer, layout};

/// What a blob's place in a pack holds once it is opened: compressed, unless that made it larger.
#[derive(Debug)]
pub(crate) struct Payload<'a> {
    pub(crate) kind: BlobKind,
    pub(crate) id: BlobId,
    pub(crate) bytes: &'a [u8],
    /// The plain length if it is compressed, else 0.
    pub(crate) uncompressed: u32,
}

impl Payload<'_> {
    fn plain_length(&self) -> u64 {
        if self.uncompressed > 0 { u64::from(self.uncompressed) } else { self.bytes.len() as u64 }
    }
}

impl Writer {
    /// Whether the blob is stored, or is being stored by this writer.
    pub(crate) fn knows(&self, kind: BlobKind, id: BlobId) -> bool {
        self.pipeline().known_length(self.pipeline().leader(), kind, id).is_some()
    }

    /// Waits for room for so many bytes in flight.
    pub(crate) async fn room(&self, length: usize) -> Result<OwnedSemaphorePermit> {
        self.pipeline().room(length).await
    }

    /// Stores a payload whose plain content the caller has verified; one that is known already is passed over. Call it on a
    /// thread for such work, and wait for all calls before [`Writer::settle`].
    pub(crate) fn put_payload(&self, payload: &Payload<'_>, permit: OwnedSemaphorePermit) -> Result<()> {
        let pipeline: &Arc<_> = self.pipeline();
        pipeline.check()?;
        let Payload { kind, id, bytes, uncompressed } = *payload;
        let plain = u32::try_from(payload.plain_length())
            .map_err(|e| RepositoryError::internal("store a blob", e))?;
        let target = pipeline.leader();
        let new = pipeline.claim(kind, id, plain) & target.bit() != 0;
        target.count(kind, new);
        if !new {
            return Ok(());
        }
        let result = self.seal(bytes, id).and_then(|sealed| {
            target.counters.bytes_new.fetch_add(u64::from(plain), Relaxed);
            target.counters.bytes_stored.fetch_add(sealed.len() as u64, Relaxed);
            let sealed = Sealed { bytes: &sealed, uncompressed };
            pipeline.append(target, kind, id, &sealed, Permit::Flight(permit))
        });
        // It is claimed: nobody else would store it.
        if let Err(error) = &result {
            pipeline.fail(error.clone());
        }
        result
    }

    fn seal(&self, payload: &[u8], id: BlobId) -> Result<Vec<u8>> {
        let key = &self.pipeline().leader().repository.shared.key;
        let sealed = key.seal(payload);
        if self.pipeline().options.verify && key.open(&sealed).as_deref() != Ok(payload) {
            let reason = "it does not open to what was sealed".to_owned();
            return Err(RepositoryError::VerificationFailed { blob: id, reason });
        }
        Ok(sealed)
    }

    /// Makes everything that was stored so far durable and indexed. The writer can go on.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.pipeline().settle().await
    }

    /// Writes a snapshot file. The caller has seen that everything it refers to is stored, after [`Writer::settle`].
    pub(crate) async fn put_snapshot(&self, json: Vec<u8>) -> Result<SnapshotId> {
        self.pipeline().check()?;
        let key = self.pipeline().leader().put_snapshot(json).await?;
        let id = layout::id_of(&key).ok_or_else(|| RepositoryError::InvalidId(key.clone()))?;
        Ok(SnapshotId::from_bytes(id))
    }
}
