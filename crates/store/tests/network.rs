//! A network that fails: busy servers, answers cut off, silence, TLS. And bandwidth limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use basekeep_store::{ErrorKind, Limits, Memory, Store, StoreError, StoreOptions, Surroundings};
use bytes::Bytes;
use rcgen::{CertificateParams, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto};

use crate::bucket::{open, options, tagged};
use crate::server::{Answer, Request, Server, answer, refusal};

/// Answers `first` to the first `times` requests, and the object "whole" afterwards.
async fn at_first(times: usize, first: Answer) -> (Server, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let respond = move |_: &Request| {
        if count.fetch_add(1, Ordering::SeqCst) < times { first.clone() } else { answer(200, "whole") }
    };
    (Server::start(respond).await, seen)
}

fn told(error: &StoreError) -> String {
    format!("{error} · {}", error.hint.as_deref().unwrap_or_default())
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    for first in
        [refusal(503, "SlowDown"), refusal(500, "InternalError"), answer(429, ""), answer(502, "<html>")]
    {
        let (server, seen) = at_first(2, first).await;
        assert_eq!(open(&server).get("a").await.unwrap(), "whole");
        assert_eq!(seen.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test]
async fn a_server_that_asks_for_time_gets_it() {
    let busy = Answer { headers: vec![("retry-after", "1".to_owned())], ..refusal(503, "SlowDown") };
    let (server, _) = at_first(1, busy).await;
    let started = Instant::now();
    assert_eq!(open(&server).get("a").await.unwrap(), "whole");
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn half_an_answer_is_no_answer() {
    let cut = Answer { cut_after: Some(3), ..answer(200, "whole") };
    let (server, seen) = at_first(2, cut).await;
    assert_eq!(open(&server).get("a").await.unwrap(), "whole");
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_asked_again() {
    let silent = Answer { pause: Duration::from_secs(3600), ..answer(200, "late") };
    let (server, seen) = at_first(1, silent).await;
    let options = StoreOptions { stall_after: Some(Duration::from_millis(200)), ..options(&server) };
    let store = basekeep_store::open_in("s3://bucket/p", &options, &Surroundings::default()).unwrap();
    assert_eq!(store.get("a").await.unwrap(), "whole");
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_transfer_that_is_slow_and_moves_is_not_given_up() {
    let server = Server::start(|request| match request.method.as_str() {
        "HEAD" => answer(404, ""),
        "PUT" if request.body.len() == 300_000 => tagged(200),
        "PUT" => answer(500, ""),
        _ => answer(200, vec![1; 300_000]),
    })
    .await;
    let options = StoreOptions {
        limit_upload: Some(300_000),
        limit_download: Some(300_000),
        stall_after: Some(Duration::from_millis(500)),
        ..options(&server)
    };
    let store = basekeep_store::open_in("s3://bucket/p", &options, &Surroundings::default()).unwrap();
    let name = format!("data/{}", "a".repeat(64));
    let started = Instant::now();
    store.put(&name, Bytes::from(vec![1; 300_000])).await.unwrap();
    assert!(started.elapsed() > Duration::from_millis(500), "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(store.get(&name).await.unwrap().len(), 300_000);
    assert!(started.elapsed() > Duration::from_millis(500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn limits_hold_for_everything_together() {
    let store = Arc::new(Limits::new(Arc::new(Memory::new()), Some(100_000), Some(200_000)));
    let started = Instant::now();
    let mut puts = tokio::task::JoinSet::new();
    for number in 0..6 {
        let store = store.clone();
        puts.spawn(
            async move { store.put(&format!("a/{number}"), Bytes::from(vec![1; 10_000])).await.unwrap() },
        );
    }
    puts.join_all().await;
    // The last of six waits for the five before it.
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

#[tokio::test]
async fn a_server_with_certificates_of_its_own_is_trusted_when_told_so() {
    let (issuer, authority_pem) = authority();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let server = Server::start_with(Some(tls), |_| answer(200, "whole")).await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, authority_pem).unwrap();
    let trusting = StoreOptions { ca_file: Some(file.clone()), ..options(&server) };
    let open = |options: &StoreOptions, surroundings: &Surroundings| {
        basekeep_store::open_in("s3://bucket/p", options, surroundings)
    };
    assert_eq!(open(&trusting, &Surroundings::default()).unwrap().get("a").await.unwrap(), "whole");
    let variables = [("AWS_CA_BUNDLE".to_owned(), file.display().to_string())].into_iter().collect();
    let surroundings = Surroundings { variables, home: None };
    assert_eq!(open(&options(&server), &surroundings).unwrap().get("a").await.unwrap(), "whole");

    let (_, stranger) = authority();
    std::fs::write(&file, stranger).unwrap();
    let error = open(&trusting, &Surroundings::default()).unwrap().get("a").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Permanent, "{}", told(&error));
    assert!(told(&error).contains("AWS_CA_BUNDLE"), "{}", told(&error));

    std::fs::write(&file, "nothing").unwrap();
    let error = open(&trusting, &Surroundings::default()).unwrap_err();
    assert!(told(&error).contains("there is no certificate in it"), "{}", told(&error));
}
