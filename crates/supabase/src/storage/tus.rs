//! Resumable uploads (tus 1.0.0), as the Storage API offers them for large files. A piece that did not arrive whole is
//! sent again from where the service says it stopped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::{Body, Method, Response};

use super::Files;
use super::error::{ErrorKind, StorageError};
use super::http::{Pauses, Request, escaped, patiently};
use super::upload::{Content, NewFile, Pieces};

/// The hosted service takes pieces of exactly this size, the last one excepted.
pub(super) const PIECE: usize = 6 << 20;
/// Larger files are sent so.
pub(super) const ABOVE: u64 = 48 << 20;

/// The protocol carries a number of seconds and makes `max-age=` of it, or `no-cache` of anything else.
pub(super) fn keeps_cache_control(file: &NewFile<'_>) -> bool {
    matches!(file.cache_control, None | Some("no-cache")) || max_age(file).is_some()
}

fn max_age<'a>(file: &NewFile<'a>) -> Option<&'a str> {
    let seconds = file.cache_control?.strip_prefix("max-age=")?;
    (!seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit())).then_some(seconds)
}

pub(super) async fn upload(
    files: &Files,
    file: &NewFile<'_>,
    content: &dyn Content,
) -> Result<(), StorageError> {
    let path = patiently(files.patience(), || begin(files, file)).await?;
    let mut pieces = Pieces::new(content, PIECE);
    let mut offset = 0;
    while offset < file.size {
        let piece = pieces.next().await?;
        if piece.is_empty() {
            return Err(StorageError::new(ErrorKind::Content, "the content is shorter than it should be"));
        }
        send_piece(files, &path, offset, &piece).await?;
        offset += piece.len() as u64;
    }
    Ok(())
}

/// Gives the path of the upload, below the service's URL.
async fn begin(files: &Files, file: &NewFile<'_>) -> Result<String, StorageError> {
    let encoded = |name: &str, value: &str| format!("{name} {}", STANDARD.encode(value));
    let metadata = [
        encoded("bucketName", file.bucket),
        encoded("objectName", file.name),
        encoded("contentType", file.mime.unwrap_or("application/octet-stream")),
        encoded("cacheControl", max_age(file).unwrap_or("no-cache")),
    ];
    let request = tus(files, Method::POST, "upload/resumable")
        .header("upload-length", file.size.to_string())
        .header("upload-metadata", metadata.join(","));
    let response = files.send(request, Body::default()).await?;
    // The URL as the service sees itself can be another one than the one that we reach it by.
    let location = response.headers().get("location").and_then(|value| value.to_str().ok());
    let id = location.and_then(|location| location.trim_end_matches('/').rsplit('/').next());
    let id = id.filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| StorageError::new(ErrorKind::Refused, "the service gave no upload URL"))?;
    Ok(format!("upload/resumable/{}", escaped(id)))
}

/// Sends one piece, from the offset that the service has reached in it.
async fn send_piece(files: &Files, path: &str, start: u64, piece: &Bytes) -> Result<(), StorageError> {
    let end = start + piece.len() as u64;
    let mut pauses = Pauses::new(files.patience());
    let mut offset = start;
    while offset < end {
        let rest = usize::try_from(offset - start).map_or_else(|_| Bytes::new(), |from| piece.slice(from..));
        let request = tus(files, Method::PATCH, path)
            .header("upload-offset", offset.to_string())
            .header("content-type", "application/offset+octet-stream");
        let answered = files.send(request, Body::from(rest)).await;
        let reached = match answered {
            Ok(response) => offset_of(&response)?,
            // A conflict: the service has another offset than we think.
            Err(error) if matches!(error.kind, ErrorKind::Transient | ErrorKind::Exists) => {
                let kind = ErrorKind::Transient;
                pauses.wait(StorageError { kind, ..error }).await?;
                patiently(files.patience(), || reached(files, path)).await?
            }
            Err(error) => return Err(error),
        };
        if !(offset..=end).contains(&reached) {
            let message = format!("the service has {reached} bytes of an upload that had reached {offset}");
            return Err(StorageError::new(ErrorKind::Refused, message));
        }
        if reached > offset {
            pauses.moved();
        }
        offset = reached;
    }
    Ok(())
}

async fn reached(files: &Files, path: &str) -> Result<u64, StorageError> {
    offset_of(&files.send(tus(files, Method::HEAD, path), Body::default()).await?)
}

fn offset_of(response: &Response) -> Result<u64, StorageError> {
    let offset = response.headers().get("upload-offset").and_then(|value| value.to_str().ok()?.parse().ok());
    offset.ok_or_else(|| StorageError::new(ErrorKind::Transient, "the service gave no upload offset"))
}

fn tus(files: &Files, method: Method, path: &str) -> Request {
    files.request(method, path).header("tus-resumable", "1.0.0").header("x-upsert", "true")
}
