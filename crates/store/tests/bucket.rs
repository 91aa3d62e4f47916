//! An S3 server in memory whose conditional writes are honoured, ignored or refused, as those of real servers are; and what
//! the store makes of each.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use basekeep_store::{ErrorKind, Put, Secret, Store, StoreOptions, Surroundings};
use bytes::Bytes;

use crate::contract::{check, check_in_turn};
use crate::server::{Answer, Request, Server, answer, refusal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conditions {
    Honoured,
    /// At the end of uploads in parts they are not implemented.
    HonouredForWholeObjects,
    Ignored,
    Refused,
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: HashMap<String, BTreeMap<usize, Vec<u8>>>,
}

impl Bucket {
    fn respond(&mut self, conditions: Conditions, request: &Request) -> Answer {
        let Some(key) = request.path.strip_prefix("/bucket") else { return refusal(404, "NoSuchBucket") };
        let key = key.trim_start_matches('/').to_owned();
        let conditional = request.headers.contains_key("if-none-match");
        let ends_upload = request.method == "POST" && request.query.contains_key("uploadId");
        let refused = conditions == Conditions::Refused
            || (conditions == Conditions::HonouredForWholeObjects && ends_upload);
        if conditional && refused {
            return refusal(501, "NotImplemented");
        }
        let honoured = !matches!(conditions, Conditions::Ignored | Conditions::Refused);
        if conditional && honoured && self.objects.contains_key(&key) {
            return refusal(412, "PreconditionFailed");
        }
        match (request.method.as_str(), request.query.get("uploadId")) {
            ("PUT", Some(id)) => {
                let number = request.query["partNumber"].parse().unwrap();
                // A part may still be on its way when the upload is given up.
                let Some(upload) = self.uploads.get_mut(id) else { return refusal(404, "NoSuchUpload") };
                upload.insert(number, request.body.clone());
                tagged(200)
            }
            ("PUT", None) => {
                self.objects.insert(key, request.body.clone());
                tagged(200)
            }
            ("POST", None) => {
                let id = format!("upload-{}", self.uploads.len());
                self.uploads.insert(id.clone(), BTreeMap::new());
                let text = "InitiateMultipartUploadResult";
                answer(200, format!("<{text}><UploadId>{id}</UploadId></{text}>"))
            }
            ("POST", Some(id)) => {
                let parts = self.uploads.remove(id).unwrap();
                self.objects.insert(key, parts.into_values().flatten().collect());
                let text = "CompleteMultipartUploadResult";
                answer(200, format!("<{text}><ETag>x</ETag></{text}>"))
            }
            ("DELETE", Some(id)) => {
                self.uploads.remove(id);
                answer(204, "")
            }
            ("DELETE", None) => {
                self.objects.remove(&key);
                answer(204, "")
            }
            ("GET", None) if key.is_empty() => self.list(request),
            _ => self.read(&key, request),
        }
    }

    /// Three keys to a page.
    fn list(&self, request: &Request) -> Answer {
        let prefix = request.query.get("prefix").cloned().unwrap_or_default();
        let after = request.query.get("continuation-token").cloned().unwrap_or_default();
        let rest: Vec<_> =
            self.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after).collect();
        let page = &rest[..rest.len().min(3)];
        let mut text = String::from("<ListBucketResult>");
        for (key, data) in page {
            text.push_str(&format!(
                "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>",
                data.len()
            ));
        }
        if rest.len() > 3 {
            text.push_str(&format!("<NextContinuationToken>{}</NextContinuationToken>", page[2].0));
        }
        text.push_str("</ListBucketResult>");
        answer(200, text)
    }

    fn read(&self, key: &str, request: &Request) -> Answer {
        let Some(data) = self.objects.get(key) else { return refusal(404, "NoSuchKey") };
        let date = ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT".to_owned());
        if let Some(range) = request.header("range").strip_prefix("bytes=") {
            let (start, end) = range.split_once('-').unwrap();
            let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
            if start >= data.len() {
                return refusal(416, "InvalidRange");
            }
            let end = end.min(data.len() - 1);
            let range = ("content-range", format!("bytes {start}-{end}/{}", data.len()));
            return Answer { headers: vec![date, range], ..answer(206, &data[start..=end]) };
        }
        Answer { headers: vec![date], ..answer(200, data.clone()) }
    }
}

pub(crate) fn tagged(status: u16) -> Answer {
    Answer { headers: vec![("etag", "\"x\"".to_owned())], ..answer(status, "") }
}

struct Fake {
    server: Server,
    bucket: Arc<Mutex<Bucket>>,
}

impl Fake {
    async fn start(conditions: Conditions) -> Self {
        let bucket = Arc::<Mutex<Bucket>>::default();
        let inner = bucket.clone();
        let respond = move |request: &Request| inner.lock().unwrap().respond(conditions, request);
        Self { server: Server::start(respond).await, bucket }
    }

    fn store(&self) -> Arc<dyn Store> {
        open(&self.server)
    }

    fn count(&self, method: &str) -> usize {
        self.server.requests().iter().filter(|request| request.method == method).count()
    }
}

pub(crate) fn options(server: &Server) -> StoreOptions {
    StoreOptions {
        endpoint: Some(server.endpoint.clone()),
        access_key_id: Some("AKID".to_owned()),
        secret_access_key: Some(Secret::new("secret")),
        retry_for: Some(Duration::from_secs(2)),
        ..StoreOptions::default()
    }
}

pub(crate) fn open(server: &Server) -> Arc<dyn Store> {
    basekeep_store::open_in("s3://bucket/p", &options(server), &Surroundings::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_honour_conditions_keep_the_whole_contract() {
    for conditions in [Conditions::Honoured, Conditions::HonouredForWholeObjects] {
        let fake = Fake::start(conditions).await;
        let store = fake.store();
        // The first small object tells what the server does.
        store.put("keys/first", Bytes::from_static(b"x")).await.unwrap();
        store.delete("keys/first").await.unwrap();
        check(store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_ignore_or_refuse_conditions_keep_the_contract_for_writers_in_turn() {
    for conditions in [Conditions::Ignored, Conditions::Refused] {
        check_in_turn(&*Fake::start(conditions).await.store()).await;
    }
}

#[tokio::test]
async fn an_honest_server_is_asked_once_for_each_object() {
    let fake = Fake::start(Conditions::Honoured).await;
    let store = fake.store();
    let name = |digit: &str| format!("data/{}", digit.repeat(64));
    store.put(&name("0"), Bytes::from_static(b"x")).await.unwrap();
    let before = fake.server.requests().len();
    assert_eq!(store.put(&name("1"), Bytes::from_static(b"x")).await.unwrap(), Put::Written);
    assert_eq!(store.put(&name("1"), Bytes::from_static(b"x")).await.unwrap(), Put::AlreadyExists);
    let requests = fake.server.requests();
    assert_eq!(requests.len(), before + 2);
    for request in &requests[before..] {
        assert_eq!(request.header("if-none-match"), "*");
        assert_eq!(request.header("x-amz-checksum-sha256"), "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=");
        assert_eq!(request.header("x-amz-content-sha256").len(), 64, "the payload is signed");
        assert!(request.header("authorization").contains("Credential=AKID/"));
    }
}

#[tokio::test]
async fn a_name_that_is_no_hash_is_read_back_where_conditions_do_not_hold() {
    let fake = Fake::start(Conditions::Ignored).await;
    let store = fake.store();
    store.put("locks/first", Bytes::from_static(b"x")).await.unwrap();
    let (heads, gets) = (fake.count("HEAD"), fake.count("GET"));
    assert_eq!(store.put("config", Bytes::from_static(b"ours")).await.unwrap(), Put::Written);
    assert_eq!((fake.count("HEAD"), fake.count("GET")), (heads + 1, gets + 1));
    let name = format!("data/{}", "a".repeat(64));
    store.put(&name, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(fake.count("GET"), gets + 1, "its name tells what it holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_go_up_in_parts_and_replace_nothing() {
    let large = Bytes::from(vec![7; (64 << 20) + 1]);
    for conditions in [Conditions::Honoured, Conditions::HonouredForWholeObjects, Conditions::Ignored] {
        let fake = Fake::start(conditions).await;
        let store = fake.store();
        store.put("keys/first", Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(store.put("data/large", large.clone()).await.unwrap(), Put::Written);
        assert_eq!(fake.bucket.lock().unwrap().objects["p/data/large"].len(), large.len());
        assert_eq!(store.put("data/large", large.clone()).await.unwrap(), Put::AlreadyExists);
        let parts = fake.server.requests().iter().filter(|r| r.query.contains_key("partNumber")).count();
        assert_eq!(parts, 5);
        assert!(fake.bucket.lock().unwrap().uploads.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_a_failed_upload_are_removed() {
    let bucket = Arc::<Mutex<Bucket>>::default();
    let inner = bucket.clone();
    let server = Server::start(move |request| {
        if request.query.get("partNumber").is_some_and(|number| number == "3") {
            return refusal(403, "AccessDenied");
        }
        inner.lock().unwrap().respond(Conditions::Honoured, request)
    })
    .await;
    let error = open(&server).put("data/large", Bytes::from(vec![7; 70 << 20])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    let started = std::time::Instant::now();
    while !bucket.lock().unwrap().uploads.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(10), "the upload was not aborted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(bucket.lock().unwrap().objects.is_empty());
}

#[tokio::test]
async fn a_server_that_wants_the_md5_of_uploads_gets_it() {
    let stored = Mutex::new(HashMap::new());
    let server = Server::start(move |request| {
        let mut stored = stored.lock().unwrap();
        match request.method.as_str() {
            "PUT" if request.header("content-md5").is_empty() => answer(
                400,
                "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is required \
                 for Put Object requests with Object Lock parameters</Message></Error>",
            ),
            "PUT" => {
                stored.insert(request.path.clone(), request.body.clone());
                Answer { headers: vec![("etag", "\"1\"".to_owned())], ..answer(200, "") }
            }
            _ => match stored.get(&request.path) {
                Some(body) => Answer {
                    headers: vec![
                        ("etag", "\"1\"".to_owned()),
                        ("last-modified", "Sat, 21 Nov 2026 17:00:00 GMT".to_owned()),
                    ],
                    ..answer(200, body.clone())
                },
                None => refusal(404, "NoSuchKey"),
            },
        }
    })
    .await;
    let store = open(&server);
    store.put("data/a", "content".into()).await.unwrap();
    let puts = || server.requests().into_iter().filter(|request| request.method == "PUT");
    let sent: Vec<String> = puts().map(|request| request.header("content-md5").to_owned()).collect();
    // From `printf content | openssl md5 -binary | base64`.
    let md5 = "mgNkuembtIDdJeHwKEyFVQ==";
    assert_eq!(sent.last().unwrap(), md5);
    store.put("data/b", "content".into()).await.unwrap();
    assert_eq!(puts().next_back().unwrap().header("content-md5"), md5);
}
