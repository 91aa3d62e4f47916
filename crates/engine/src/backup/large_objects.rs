//! Large objects: each one's content is a file of its own, as pg_dump's directory format has it.

use std::sync::Arc;
use std::time::Instant;

use basekeep_archive::{Archive, LargeObject};
use basekeep_postgres::large_objects::{Contents, LargeObjectDigester};
use basekeep_postgres::{Client, Digest};
use basekeep_repository::{FileContent, Writer};

use super::Stopped;
use super::finish::{FILE_MODE, Folder};
use super::plan::Plan;
use crate::stored::{manifest, path};
use crate::words::{bytes, counted};
use crate::{EngineError, Event, Observer, ResultExt, Step};

/// Average chunk size of a large object's file.
const CHUNK_AVERAGE: usize = 1 << 20;

/// What was read.
#[derive(Default)]
pub(super) struct LargeObjects {
    described: Vec<LargeObject>,
    contents: Vec<FileContent>,
    digest: Digest,
}

/// Reads the contents of all readable large objects on the leading connection.
pub(super) async fn read(
    plan: &Plan,
    leader: &mut Client,
    writer: &Writer,
    observer: &Arc<dyn Observer>,
) -> Result<LargeObjects, Stopped> {
    let readable: Vec<_> = plan.large_objects.iter().filter(|object| object.readable).collect();
    if readable.is_empty() {
        return Ok(LargeObjects::default());
    }
    let began = Instant::now();
    let step = Step("large objects");
    observer.event(Event::Began { step: step.clone() });
    let mut read = LargeObjects::default();
    let mut contents = Contents::new(readable.iter().map(|object| object.oid).collect());
    let mut open = None;
    while let Some(part) = contents.next(leader).await.doing(|| "read large objects")? {
        let doing = || format!("store large object {}", part.oid);
        let (mut file, mut digester) =
            open.take().unwrap_or_else(|| (writer.file(CHUNK_AVERAGE), LargeObjectDigester::new(part.oid)));
        file.write(&part.data).await.doing(doing)?;
        digester.update(&part.data);
        if part.last {
            read.digest += digester.digest();
            read.contents.push(file.finish().await.doing(doing)?);
        } else {
            open = Some((file, digester));
        }
    }
    if read.contents.len() != readable.len() {
        return Err(EngineError::failed("a large object disappeared while it was read").into());
    }
    read.described = readable
        .into_iter()
        .map(|object| LargeObject {
            oid: object.oid,
            owner: object.owner.clone(),
            acl: object.acl.clone(),
            comment: object.comment.clone(),
            security_labels: object
                .security_labels
                .iter()
                .map(|label| (label.provider.clone(), label.label.clone()))
                .collect(),
        })
        .collect();
    observer.event(Event::Ended {
        step,
        elapsed: began.elapsed(),
        detail: format!(
            "{}, {}",
            counted(read.digest.rows, "large object", "large objects"),
            bytes(read.digest.bytes)
        ),
    });
    Ok(read)
}

/// Adds the entries and files; the result is what the manifest says of them.
pub(super) async fn add_to(
    archive: &mut Archive,
    read: &LargeObjects,
    folder: &mut Folder,
) -> Result<manifest::LargeObjects, EngineError> {
    if !read.described.is_empty() {
        let entries = archive
            .add_large_objects(&read.described)
            .map_err(|error| EngineError::failed(error.to_string()).within("describe the large objects"))?;
        for blobs in &entries.blobs {
            let lines: String = blobs.objects.iter().map(|oid| format!("{oid} blob_{oid}.dat\n")).collect();
            folder
                .put(&format!("{}/{}", path::DATABASE, blobs.toc_name), lines.as_bytes(), FILE_MODE)
                .await?;
        }
        for (object, content) in read.described.iter().zip(&read.contents) {
            folder.file(&format!("{}/blob_{}.dat", path::DATABASE, object.oid), content.clone(), FILE_MODE);
        }
    }
    Ok(manifest::LargeObjects {
        count: read.digest.rows,
        bytes: read.digest.bytes,
        digest: format!("{:032x}", read.digest.sum),
    })
}
