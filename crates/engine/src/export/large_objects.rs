//! Contents of large objects: as SQL, and the files that a directory archive keeps them in.

use basekeep_archive::Entry;
use basekeep_postgres::Digest;
use basekeep_postgres::large_objects::LargeObjectDigester;
use basekeep_repository::BlobId;

use super::Sink;
use super::job::Job;
use crate::restore::blobs_toc;
use crate::{EngineError, ErrorKind, ResultExt};

/// Decoded blobs kept ready, in bytes.
const PREFETCH: usize = 16 << 20;
/// Bytes of a large object that one statement appends.
const PIECE: usize = 16 << 10;

/// One large object.
pub(super) struct LargeObject {
    pub(super) oid: u32,
    /// Its file in the archive's folder.
    pub(super) file: String,
    pub(super) blobs: Vec<BlobId>,
}

/// The large objects of a `BLOBS` entry.
pub(super) async fn of_entry(job: &Job<'_>, entry: &Entry) -> Result<Vec<LargeObject>, EngineError> {
    let name = entry.data_file().unwrap_or_default().to_string();
    let listed = blobs_toc(job.repository, job.snapshot, &name).await?;
    listed
        .into_iter()
        .map(|(oid, file)| {
            let blobs = job.contents.blobs(&file).ok_or_else(|| {
                EngineError::failed(format!("the snapshot has no file {file} of large object {oid}"))
            })?;
            Ok(LargeObject { oid, blobs: blobs.to_vec(), file })
        })
        .collect()
}

/// Writes statements that fill the objects of an entry, which exist already.
pub(super) async fn write(
    job: &Job<'_>,
    entry: &Entry,
    standard_strings: bool,
    sink: &mut dyn Sink,
) -> Result<Digest, EngineError> {
    let mut sum = Digest::default();
    sink.write(b"BEGIN;\n\n").await?;
    for object in of_entry(job, entry).await? {
        let open = format!("SELECT pg_catalog.lo_open('{}', 131072);\n", object.oid);
        sink.write(open.as_bytes()).await?;
        sum += read(job, &object, &mut Statements { standard_strings, sink }).await?;
        sink.write(b"SELECT pg_catalog.lo_close(0);\n\n").await?;
    }
    sink.write(b"COMMIT;\n\n").await?;
    Ok(sum)
}

/// Reads one object into a sink.
pub(super) async fn read(
    job: &Job<'_>,
    object: &LargeObject,
    sink: &mut dyn Sink,
) -> Result<Digest, EngineError> {
    let mut content = job.repository.read_blobs(object.blobs.clone(), PREFETCH);
    let mut digester = LargeObjectDigester::new(object.oid);
    while let Some(blob) = content.next().await {
        let blob = blob.doing(|| format!("read large object {}", object.oid))?;
        digester.update(&blob);
        job.passed(0, blob.len() as u64);
        sink.write_shared(blob).await?;
    }
    Ok(digester.digest())
}

/// Compares all large objects with what was backed up.
pub(super) fn check(job: &Job<'_>, found: Digest) -> Result<(), EngineError> {
    let expected = &job.contents.manifest.large_objects;
    if found.rows != expected.count || format!("{:032x}", found.sum) == expected.digest {
        return Ok(());
    }
    Err(EngineError::new(ErrorKind::Difference, "the large objects are not what was backed up")
        .hint("`basekeep verify --read-data` names everything that is damaged and what it touches"))
}

/// Turns an object's bytes into statements.
struct Statements<'a> {
    standard_strings: bool,
    sink: &'a mut dyn Sink,
}

#[async_trait::async_trait]
impl Sink for Statements<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        let mark = if self.standard_strings { "'\\x" } else { "'\\\\x" };
        for piece in bytes.chunks(PIECE) {
            let statement = format!("SELECT pg_catalog.lowrite(0, {mark}{}');\n", hex::encode(piece));
            self.sink.write(statement.as_bytes()).await?;
        }
        Ok(())
    }
}
