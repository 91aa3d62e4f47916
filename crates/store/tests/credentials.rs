//! Where the access key comes from: each source, and what is said when there is none.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use basekeep_store::{ErrorKind, Store, StoreError, StoreOptions, Surroundings};

use crate::server::{Request, Server, answer};

const PATH: &str = "/latest/meta-data/iam/security-credentials/";

fn document(id: &str, minutes: i64) -> String {
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(minutes);
    format!(
        r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"s","Token":"T-{id}","Expiration":"{ends}"}}"#
    )
}

/// A bucket, and beside it the services that hand out credentials.
async fn server(minutes: i64) -> Server {
    Server::start(move |request| match (request.method.as_str(), request.path.as_str()) {
        ("PUT", "/latest/api/token") if !request.header("x-aws-ec2-metadata-token-ttl-seconds").is_empty() => {
            answer(200, "session")
        }
        ("GET", path) if path.starts_with(PATH) && request.header("x-aws-ec2-metadata-token") != "session" => {
            answer(401, "")
        }
        ("GET", PATH) => answer(200, "role"),
        ("GET", path) if path == format!("{PATH}role") => answer(200, document("MACHINE", minutes)),
        ("GET", "/container") if request.header("authorization") == "let me in" => {
            answer(200, document("CONTAINER", minutes))
        }
        ("GET", "/container") => answer(403, ""),
        ("POST", "/sts") if String::from_utf8_lossy(&request.body).contains("WebIdentityToken=jwt%2Etoken") => answer(
            200,
            "<R><Credentials><AccessKeyId>WEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
             <SessionToken>T-WEB</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></R>",
        ),
        ("GET", path) if path.starts_with("/bucket/") => answer(200, "x"),
        _ => answer(400, "<Error><Code>Odd</Code></Error>"),
    })
    .await
}

fn surroundings<const N: usize>(variables: [(&str, String); N]) -> Surroundings {
    let variables: HashMap<_, _> =
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Surroundings { variables, home: None }
}

fn open(server: &Server, surroundings: &Surroundings) -> Arc<dyn Store> {
    let options = StoreOptions {
        endpoint: Some(server.endpoint.clone()),
        retry_for: Some(std::time::Duration::from_secs(1)),
        ..StoreOptions::default()
    };
    basekeep_store::open_in("s3://bucket/p", &options, surroundings).unwrap()
}

fn to_bucket(server: &Server) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.path.starts_with("/bucket/")).collect()
}

#[track_caller]
fn signed_by(request: &Request, id: &str) {
    assert!(request.header("authorization").contains(&format!("Credential={id}/")), "{request:?}");
    assert_eq!(request.header("x-amz-security-token"), format!("T-{id}"));
}

fn told(error: &StoreError) -> String {
    format!("{error} · {}", error.hint.as_deref().unwrap_or_default())
}

#[tokio::test]
async fn the_role_of_the_machine_is_asked_for_once() {
    let server = server(60).await;
    let store =
        open(&server, &surroundings([("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.endpoint.clone())]));
    store.get("a").await.unwrap();
    store.get("b").await.unwrap();
    let requests = to_bucket(&server);
    assert_eq!(requests.len(), 2);
    signed_by(&requests[1], "MACHINE");
    assert_eq!(server.requests().len(), 2 + 3, "token, role, credentials, once");
}

#[tokio::test]
async fn credentials_that_end_soon_are_renewed() {
    let server = server(4).await;
    let store =
        open(&server, &surroundings([("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.endpoint.clone())]));
    store.get("a").await.unwrap();
    store.get("b").await.unwrap();
    assert_eq!(server.requests().len(), 2 * (1 + 3));
}

#[tokio::test]
async fn the_role_of_a_container_needs_its_token() {
    let server = server(60).await;
    let url = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/container", server.endpoint));
    let variables = [url.clone(), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in".to_owned())];
    open(&server, &surroundings(variables)).get("a").await.unwrap();
    signed_by(&to_bucket(&server)[0], "CONTAINER");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "let me in\n").unwrap();
    let variables = [url.clone(), ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.display().to_string())];
    open(&server, &surroundings(variables)).get("a").await.unwrap();

    let error = open(&server, &surroundings([url])).get("a").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{}", told(&error));
    assert!(told(&error).contains("the container's role"), "{}", told(&error));
}

#[tokio::test]
async fn a_web_identity_is_exchanged() {
    let server = server(60).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "jwt.token").unwrap();
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.display().to_string()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/backup".to_owned()),
        ("AWS_ENDPOINT_URL_STS", format!("{}/sts", server.endpoint)),
    ];
    open(&server, &surroundings(variables)).get("a").await.unwrap();
    signed_by(&to_bucket(&server)[0], "WEB");
}

#[tokio::test]
async fn a_profile_may_name_a_program() {
    let server = server(60).await;
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".aws")).unwrap();
    let text = format!(
        "[profile tool]\ncredential_process = echo '{}'\n[profile broken]\ncredential_process = echo no >&2; exit 3\n",
        document("PROCESS", 60)
    );
    fs::write(home.path().join(".aws/config"), text).unwrap();
    let of = |profile: &str| Surroundings {
        home: Some(home.path().to_owned()),
        ..surroundings([("AWS_PROFILE", profile.to_owned())])
    };
    open(&server, &of("tool")).get("a").await.unwrap();
    signed_by(&to_bucket(&server)[0], "PROCESS");
    let error = open(&server, &of("broken")).get("a").await.unwrap_err();
    assert!(told(&error).contains("credential_process failed"), "{}", told(&error));
    assert!(told(&error).contains("try it: echo no"), "{}", told(&error));
}

#[tokio::test]
async fn where_nothing_is_found_it_is_said_what_was_looked_for() {
    let nobody = surroundings([("AWS_EC2_METADATA_DISABLED", "true".to_owned())]);
    let error = basekeep_store::open_in("s3://bucket/p", &StoreOptions::default(), &nobody).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    for part in
        ["AWS_ACCESS_KEY_ID", "profile default", "AWS_WEB_IDENTITY_TOKEN_FILE", "set AWS_ACCESS_KEY_ID and"]
    {
        assert!(told(&error).contains(part), "{part}: {}", told(&error));
    }

    let server = Server::start(|_| answer(404, "")).await;
    let elsewhere = surroundings([("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.endpoint.clone())]);
    let error = open(&server, &elsewhere).get("a").await.unwrap_err();
    assert!(told(&error).contains("no credentials for S3 were found; looked at"), "{}", told(&error));
    assert!(told(&error).contains("the role of this machine"), "{}", told(&error));
}
