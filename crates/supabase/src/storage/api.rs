//! The Storage API, as `supabase/storage` serves it (src/http/routes/object, src/http/routes/bucket).

use reqwest::{Body, Method};
use serde::{Deserialize, Serialize};

use super::client::{file_path, is_header_value};
use super::error::{ErrorKind, StorageError};
use super::http::escaped;
use super::upload::{self, Content, NewFile};
use super::{Files, Listed, NewBucket};

/// Names in one answer.
const PAGE: u32 = 1000;
const OCTETS: &str = "application/octet-stream";

pub(super) async fn version(files: &Files, bucket: &str, name: &str) -> Result<Option<String>, StorageError> {
    #[derive(Deserialize)]
    struct Info {
        version: Option<String>,
    }
    let path = format!("object/info/authenticated/{}", file_path(bucket, name));
    let answer = files.ask(files.request(Method::GET, &path), Body::default()).await?;
    Ok(understood::<Info>(&answer)?.version)
}

pub(super) async fn list(files: &Files, bucket: &str, after: Option<&str>) -> Result<Listed, StorageError> {
    #[derive(Serialize)]
    struct Query<'a> {
        prefix: &'a str,
        limit: u32,
        with_delimiter: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
    }
    #[derive(Deserialize)]
    struct Page {
        #[serde(default, rename = "hasNext")]
        has_next: bool,
        #[serde(rename = "nextCursor")]
        next: Option<String>,
        objects: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let query = Query { prefix: "", limit: PAGE, with_delimiter: false, cursor: after };
    let path = format!("object/list-v2/{}", escaped(bucket));
    let answer = files.ask(json(files, Method::POST, &path), body(&query)?).await?;
    let page = understood::<Page>(&answer)?;
    let names = page.objects.into_iter().map(|object| object.name).collect();
    Ok(Listed { names, next: page.next.filter(|_| page.has_next) })
}

pub(super) async fn create_bucket(files: &Files, bucket: &NewBucket) -> Result<(), StorageError> {
    #[derive(Serialize)]
    struct Body<'a> {
        id: &'a str,
        name: &'a str,
        public: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_size_limit: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        allowed_mime_types: Option<&'a [String]>,
    }
    let wanted = Body {
        id: &bucket.id,
        name: &bucket.name,
        public: bucket.public,
        file_size_limit: bucket.file_size_limit,
        allowed_mime_types: bucket.allowed_mime_types.as_deref(),
    };
    files.ask(json(files, Method::POST, "bucket"), body(&wanted)?).await.map(drop)
}

/// One request with the whole file.
pub(super) async fn upload(
    files: &Files,
    file: &NewFile<'_>,
    content: &dyn Content,
) -> Result<(), StorageError> {
    // A form would be taken apart.
    let mime = file.mime.filter(|mime| is_header_value(mime) && !mime.starts_with("multipart/form-data"));
    let path = format!("object/{}", file_path(file.bucket, file.name));
    let mut request = files
        .request(Method::POST, &path)
        .header("content-type", mime.unwrap_or(OCTETS))
        .header("content-length", file.size.to_string())
        .header("x-upsert", "true");
    if let Some(cache_control) = file.cache_control.filter(|value| is_header_value(value)) {
        request = request.header("cache-control", cache_control);
    }
    files.ask(request, upload::body(content)).await.map(drop)
}

fn json(files: &Files, method: Method, path: &str) -> super::http::Request {
    files.request(method, path).header("content-type", "application/json")
}

fn body(value: &impl Serialize) -> Result<Body, StorageError> {
    let wrong = |error| StorageError::new(ErrorKind::Refused, format!("write JSON: {error}"));
    serde_json::to_vec(value).map(Body::from).map_err(wrong)
}

fn understood<T: serde::de::DeserializeOwned>(answer: &str) -> Result<T, StorageError> {
    let wrong =
        |error| StorageError::new(ErrorKind::Refused, format!("not the answer of a Storage API: {error}"));
    serde_json::from_str(answer).map_err(wrong)
}
