//! Contents of large objects, from the repository into objects that the archive's entries have made.

use basekeep_postgres::large_objects::{LargeObjectDigester, Writer};
use basekeep_postgres::{Client, Digest, Error};
use basekeep_repository::{Repository, RepositoryError};

use super::session::is_lost;
use super::work::{LargeObject, LargeObjects};

/// Decoded blobs kept ready.
const PREFETCH: usize = 16 << 20;

/// Why large objects were not written. None of the step's is, then.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0}")]
    Server(#[from] Error),
    #[error("large object {oid}: {source}")]
    Repository { oid: u32, source: RepositoryError },
    #[error("the data differs from what was backed up (digest {found}, not {expected})")]
    Different { found: String, expected: String },
}

impl WriteError {
    /// Whether the connection is gone.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Server(error) if is_lost(error))
    }
}

/// Writes the step's objects in one transaction.
pub(super) async fn write(
    repository: &Repository,
    client: &mut Client,
    objects: &LargeObjects,
) -> Result<(), WriteError> {
    let result = send(repository, client, objects).await;
    if let Err(error) = &result
        && !error.is_lost()
    {
        client.execute("ROLLBACK").await?;
    }
    result
}

async fn send(
    repository: &Repository,
    client: &mut Client,
    objects: &LargeObjects,
) -> Result<(), WriteError> {
    let mut writer = Writer::new();
    let mut total = Digest::default();
    for LargeObject { oid, blobs } in &objects.objects {
        let mut content = repository.read_blobs(blobs.clone(), PREFETCH);
        let mut digester = LargeObjectDigester::new(*oid);
        while let Some(blob) = content.next().await {
            let blob = blob.map_err(|source| WriteError::Repository { oid: *oid, source })?;
            digester.update(&blob);
            writer.write(client, *oid, &blob).await?;
        }
        total += digester.digest();
    }
    if let Some(expected) = &objects.expected {
        let found = format!("{:032x}", total.sum);
        if found != *expected {
            return Err(WriteError::Different { found, expected: expected.clone() });
        }
    }
    writer.finish(client).await?;
    Ok(())
}
