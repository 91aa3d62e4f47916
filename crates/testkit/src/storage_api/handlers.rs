//! What the service answers.

use std::sync::atomic::Ordering;

use basekeep_postgres::quote_literal;
use serde_json::{Value, json};

use super::wire::{Answer, Request};
use super::{STORAGE_KEY, Shared, StoredFile, Upload, lock};

const PAGE: usize = 1000;

pub(super) async fn answer(shared: &Shared, method: &str, request: &Request) -> Answer {
    let path = request.path.as_str();
    let tus = path.strip_prefix("/upload/resumable");
    // HEAD of a resumable upload needs no key.
    let open = method == "HEAD" && tus.is_some();
    if !open && request.header("authorization") != Some(&format!("Bearer {STORAGE_KEY}")) {
        return refusal("403", "Unauthorized", "Invalid Compact JWS", "AccessDenied");
    }
    if let Some(id) = tus {
        return resumable(shared, method, id.trim_start_matches('/'), request).await;
    }
    if let Some(file) = path.strip_prefix("/object/authenticated/") {
        return get(shared, file, request).await;
    }
    if let Some(file) = path.strip_prefix("/object/info/authenticated/") {
        return info(shared, file).await;
    }
    if let Some(bucket) = path.strip_prefix("/object/list-v2/") {
        return list(shared, bucket, request).await;
    }
    if let ("POST" | "PUT", Some(file)) = (method, path.strip_prefix("/object/")) {
        return upload(shared, file, request).await;
    }
    if (method, path) == ("POST", "/bucket") {
        return create_bucket(shared, request).await;
    }
    refusal("404", "Not Found", "Route not found", "InvalidRequest")
}

fn refusal(status: &str, error: &str, message: &str, code: &str) -> Answer {
    let http = if status == "416" { 416 } else { 400 };
    let body = json!({"statusCode": status, "error": error, "message": message, "code": code});
    Answer::new(http, body.to_string())
}

fn no_object() -> Answer {
    refusal("404", "not_found", "Object not found", "NoSuchKey")
}

async fn get(shared: &Shared, file: &str, request: &Request) -> Answer {
    let (bucket, name) = file.split_once('/').unwrap_or((file, ""));
    let Some(row) = shared.row(bucket, name).await else { return no_object() };
    let stored = lock(&shared.files).get(&(bucket.into(), name.into(), row.version)).cloned();
    let Some(stored) = stored else {
        return refusal("404", "Not found", "The resource was not found", "NoSuchKey");
    };
    let size = stored.content.len();
    let mime = if stored.mime.contains("text/html") { "text/plain".into() } else { stored.mime.clone() };
    let mut headers = vec![
        ("etag", stored.etag.clone()),
        ("content-type", mime),
        ("cache-control", stored.cache_control.clone()),
    ];
    let range = request.header("range").and_then(|range| {
        let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse::<u64>().ok()?, end.parse::<u64>().map_or(size, |end| size.min(end + 1))))
    });
    match range {
        Some((start, end)) if start < end => {
            headers.push(("content-range", format!("bytes {start}-{}/{size}", end - 1)));
            Answer { status: 206, headers, content: stored.content, range: (start, end) }
        }
        Some(_) => refusal("416", "invalid_range", "invalid range provided", "InvalidRange"),
        None => Answer { status: 200, headers, content: stored.content, range: (0, size) },
    }
}

async fn info(shared: &Shared, file: &str) -> Answer {
    let (bucket, name) = file.split_once('/').unwrap_or((file, ""));
    let Some(row) = shared.row(bucket, name).await else { return no_object() };
    let metadata: Value = serde_json::from_str(&row.metadata).unwrap_or_default();
    let body = json!({"id": row.id, "name": name, "version": row.version, "bucket_id": bucket,
        "size": metadata["size"], "etag": metadata["eTag"]});
    Answer::new(200, body.to_string())
}

async fn list(shared: &Shared, bucket: &str, request: &Request) -> Answer {
    let query: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let after = query["cursor"].as_str().unwrap_or_default();
    let limit = query["limit"].as_u64().map_or(PAGE, |limit| PAGE.min(limit as usize));
    let sql = format!(
        "SELECT o.name FROM storage.objects o WHERE o.bucket_id = {} AND o.name COLLATE \"C\" > {}
         ORDER BY o.name COLLATE \"C\" LIMIT {}",
        quote_literal(bucket),
        quote_literal(after),
        limit + 1
    );
    let rows = shared.database.lock().await.query(&sql).await.expect("names");
    let mut names: Vec<String> = rows.iter().map(|row| row.get(0).unwrap_or_default().to_owned()).collect();
    let more = names.len() > limit;
    names.truncate(limit);
    let objects: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
    let next = names.last().filter(|_| more);
    Answer::new(
        200,
        json!({"hasNext": more, "nextCursor": next, "folders": [], "objects": objects}).to_string(),
    )
}

/// Why the bucket does not take the file, if so.
async fn objection(shared: &Shared, bucket: &str, name: &str, size: u64, mime: &str) -> Option<Answer> {
    let sql = format!(
        "SELECT coalesce(b.file_size_limit, 53687091200), b.allowed_mime_types IS NULL OR EXISTS (
           SELECT FROM unnest(b.allowed_mime_types) t
           WHERE t = {mime} OR t LIKE '%/*' AND split_part(t, '/', 1) = split_part({mime}, '/', 1))
         FROM storage.buckets b WHERE b.id = {}",
        quote_literal(bucket),
        mime = quote_literal(mime)
    );
    let rows = shared.database.lock().await.query(&sql).await.expect("a bucket");
    let Some(row) = rows.first() else {
        return Some(refusal("404", "Bucket not found", "Bucket not found", "NoSuchBucket"));
    };
    let placeholder = name.ends_with(".emptyFolderPlaceholder");
    let limit = if placeholder { 0 } else { row.get(0)?.parse().unwrap_or(u64::MAX) };
    if size > limit {
        let message = "The object exceeded the maximum allowed size";
        return Some(refusal("413", "Payload too large", message, "EntityTooLarge"));
    }
    if !placeholder && row.get(1) != Some("t") {
        let message = format!("mime type {mime} is not supported");
        return Some(refusal("415", "invalid_mime_type", &message, "InvalidMimeType"));
    }
    None
}

async fn upload(shared: &Shared, file: &str, request: &Request) -> Answer {
    let (bucket, name) = file.split_once('/').unwrap_or((file, ""));
    let mime = request.header("content-type").unwrap_or("application/octet-stream");
    let size = request.body.len() as u64;
    if let Some(refused) = objection(shared, bucket, name, size, mime).await {
        return refused;
    }
    let upsert = request.header("x-upsert") == Some("true");
    if !upsert && shared.row(bucket, name).await.is_some() {
        return refusal("409", "Duplicate", "The resource already exists", "ResourceAlreadyExists");
    }
    shared.received.fetch_add(size, Ordering::Relaxed);
    let cache_control = request.header("cache-control").unwrap_or("no-cache").to_owned();
    let row = stored(shared, bucket, name, request.body.clone(), mime, cache_control).await;
    Answer::new(200, json!({"Id": row, "Key": file}).to_string())
}

async fn stored(
    shared: &Shared,
    bucket: &str,
    name: &str,
    body: Vec<u8>,
    mime: &str,
    cache_control: String,
) -> String {
    let content: super::StoredContent = body.into();
    let file = StoredFile { etag: content.etag(), content, mime: mime.to_owned(), cache_control };
    shared.store(bucket, name, file).await.id
}

async fn create_bucket(shared: &Shared, request: &Request) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let text = |key: &str| body[key].as_str().map_or("NULL".to_owned(), quote_literal);
    let types = body["allowed_mime_types"].as_array().map_or("NULL".to_owned(), |types| {
        let types: Vec<String> = types.iter().filter_map(Value::as_str).map(quote_literal).collect();
        format!("ARRAY[{}]::text[]", types.join(","))
    });
    let sql = format!(
        "INSERT INTO storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
         VALUES ({}, {}, {}, {}, {types}) ON CONFLICT DO NOTHING RETURNING id",
        text("id"),
        text("name"),
        body["public"].as_bool().unwrap_or_default(),
        body["file_size_limit"].as_u64().map_or("NULL".to_owned(), |limit| limit.to_string()),
    );
    let rows = shared.database.lock().await.query(&sql).await.expect("a bucket");
    match rows.is_empty() {
        true => refusal("409", "Duplicate", "The resource already exists", "ResourceAlreadyExists"),
        false => Answer::new(200, json!({"name": body["name"]}).to_string()),
    }
}

async fn resumable(shared: &Shared, method: &str, id: &str, request: &Request) -> Answer {
    if method == "POST" {
        return begin(shared, request).await;
    }
    let offset = request.header("upload-offset").and_then(|offset| offset.parse().ok());
    let finished = {
        let mut uploads = lock(&shared.uploads);
        let Some(upload) = uploads.get_mut(id) else {
            return refusal("404", "not_found", "Upload not found", "NoSuchUpload");
        };
        if method == "PATCH" {
            if offset != Some(upload.data.len()) {
                return Answer::new(409, "Upload-Offset conflict".into());
            }
            upload.data.extend_from_slice(&request.body);
            shared.received.fetch_add(request.body.len() as u64, Ordering::Relaxed);
        }
        let reached = upload.data.len() as u64;
        match method == "PATCH" && reached == upload.length {
            true => uploads.remove(id).ok_or(reached),
            false => Err(reached),
        }
    };
    let reached = match finished {
        Ok(upload) => {
            let Upload { bucket, name, length, data, mime, cache_control } = upload;
            stored(shared, &bucket, &name, data, &mime, cache_control).await;
            length
        }
        Err(reached) => reached,
    };
    let mut answer = Answer::new(if method == "HEAD" { 200 } else { 204 }, String::new());
    answer.headers.push(("upload-offset", reached.to_string()));
    answer
}

async fn begin(shared: &Shared, request: &Request) -> Answer {
    let metadata = request.header("upload-metadata").unwrap_or_default();
    let value = |name: &str| {
        let pair = metadata.split(',').find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix(' '));
        String::from_utf8(from_base64(pair.unwrap_or_default())).expect("UTF-8")
    };
    let length = request.header("upload-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let (bucket, name, mime) = (value("bucketName"), value("objectName"), value("contentType"));
    if let Some(refused) = objection(shared, &bucket, &name, length, &mime).await {
        return refused;
    }
    let seconds = value("cacheControl");
    let digits = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    let cache_control = if digits { format!("max-age={seconds}") } else { "no-cache".into() };
    let mut uploads = lock(&shared.uploads);
    let id = format!("upload-{}", uploads.len());
    // The service sees itself under another name than clients do.
    let location = format!("https://storage.internal/upload/resumable/{id}");
    uploads.insert(id, Upload { bucket, name, length, data: Vec::new(), mime, cache_control });
    let mut answer = Answer::new(201, String::new());
    answer.headers.push(("location", location));
    answer
}

/// A request whose connection was cut: a resumable upload keeps what came.
pub(super) fn cut_off(shared: &Shared, request: &Request) {
    if let Some(id) = request.path.strip_prefix("/upload/resumable/")
        && let Some(upload) = lock(&shared.uploads).get_mut(id)
    {
        upload.data.extend_from_slice(&request.body);
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> =
        text.bytes().filter_map(|byte| ALPHABET.iter().position(|c| *c == byte)).map(|n| n as u32).collect();
    let mut out = Vec::new();
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        out.extend(bits.to_be_bytes()[1..group.len()].iter());
    }
    out
}
