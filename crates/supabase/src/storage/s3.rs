//! The S3 protocol: Supabase's endpoint for it, or any server's, with buckets in the path.

use bytes::Bytes;
use reqwest::{Body, Method};

use super::client::{file_path, is_header_value};
use super::error::{ErrorKind, StorageError};
use super::http::{Request, escaped, patiently};
use super::upload::{self, Content, NewFile, Pieces};
use super::{Files, Listed, xml};

/// Larger files go up in parts.
pub(super) const PARTS_ABOVE: u64 = 64 << 20;
const LEAST_PART: u64 = 16 << 20;
/// S3 allows 10,000.
const MOST_PARTS: u64 = 9_000;

pub(super) async fn list(files: &Files, bucket: &str, after: Option<&str>) -> Result<Listed, StorageError> {
    // Sorted, as the signature wants it.
    let token = after.map(|token| format!("continuation-token={}&", escaped(token))).unwrap_or_default();
    let path = format!("{}?{token}encoding-type=url&list-type=2&max-keys=1000", escaped(bucket));
    let answer = files.ask(files.request(Method::GET, &path), Body::default()).await?;
    let encoded = xml::first(&answer, "EncodingType").is_some();
    let names = xml::all(&answer, "Key").map(|name| if encoded { xml::decoded(&name) } else { name });
    let more = xml::first(&answer, "IsTruncated").is_some_and(|text| text == "true");
    let next = xml::first(&answer, "NextContinuationToken").filter(|token| more && !token.is_empty());
    Ok(Listed { names: names.collect(), next })
}

pub(super) async fn create_bucket(files: &Files, bucket: &str) -> Result<(), StorageError> {
    files.ask(files.request(Method::PUT, &escaped(bucket)), Body::default()).await.map(drop)
}

/// One request with the whole file.
pub(super) async fn put(
    files: &Files,
    file: &NewFile<'_>,
    content: &dyn Content,
) -> Result<(), StorageError> {
    let request = files
        .request(Method::PUT, &file_path(file.bucket, file.name))
        .header("content-length", file.size.to_string());
    files.ask(with_properties(request, file), upload::body(content)).await.map(drop)
}

/// A file in parts. One that fails for good is taken back.
pub(super) async fn put_parts(
    files: &Files,
    file: &NewFile<'_>,
    content: &dyn Content,
) -> Result<(), StorageError> {
    let path = file_path(file.bucket, file.name);
    let begun = patiently(files.patience(), || {
        let request = files.request(Method::POST, &format!("{path}?uploads="));
        files.ask(with_properties(request, file), Body::default())
    });
    let id = xml::first(&begun.await?, "UploadId");
    let id = id.ok_or_else(|| StorageError::new(ErrorKind::Refused, "the service gave no upload id"))?;
    let sent = send_parts(files, file, content, &path, &id).await;
    if sent.is_err() {
        let request = files.request(Method::DELETE, &format!("{path}?uploadId={}", escaped(&id)));
        if let Err(error) = files.send(request, Body::default()).await {
            tracing::debug!(%error, "a multipart upload was not taken back");
        }
    }
    sent
}

async fn send_parts(
    files: &Files,
    file: &NewFile<'_>,
    content: &dyn Content,
    path: &str,
    id: &str,
) -> Result<(), StorageError> {
    let size = LEAST_PART.max(file.size.div_ceil(MOST_PARTS));
    let mut pieces = Pieces::new(content, usize::try_from(size).unwrap_or(usize::MAX));
    let mut document = "<CompleteMultipartUpload>".to_owned();
    let (mut number, mut sent) = (1, 0);
    while sent < file.size {
        let part = pieces.next().await?;
        if part.is_empty() {
            return Err(StorageError::new(ErrorKind::Content, "the content is shorter than it should be"));
        }
        let etag = patiently(files.patience(), || send_part(files, path, id, number, part.clone())).await?;
        document +=
            &format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", xml::escaped(&etag));
        sent += part.len() as u64;
        number += 1;
    }
    document += "</CompleteMultipartUpload>";
    patiently(files.patience(), || async {
        let request = files
            .request(Method::POST, &format!("{path}?uploadId={}", escaped(id)))
            .header("content-type", "application/xml");
        let answer = files.ask(request, Body::from(document.clone())).await?;
        // It answers 200 and then perhaps what went wrong.
        match answer.contains("<Error>") {
            true => Err(StorageError::new(
                ErrorKind::Transient,
                format!("the upload was not completed: {}", xml::first(&answer, "Code").unwrap_or_default()),
            )),
            false => Ok(()),
        }
    })
    .await
}

async fn send_part(
    files: &Files,
    path: &str,
    id: &str,
    number: u32,
    part: Bytes,
) -> Result<String, StorageError> {
    let query = format!("partNumber={number}&uploadId={}", escaped(id));
    let request = files.request(Method::PUT, &format!("{path}?{query}"));
    let response = files.send(request, Body::from(part)).await?;
    let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok());
    etag.map(str::to_owned)
        .ok_or_else(|| StorageError::new(ErrorKind::Refused, "the service gave a part no entity tag"))
}

fn with_properties(mut request: Request, file: &NewFile<'_>) -> Request {
    let sendable = |text: &&str| is_header_value(text);
    request =
        request.header("content-type", file.mime.filter(sendable).unwrap_or("application/octet-stream"));
    match file.cache_control.filter(sendable) {
        Some(value) => request.header("cache-control", value),
        None => request,
    }
}
