//! Alerts against real receivers: what arrives, how often, and that nothing secret does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use basekeep_engine::config::{Config, Topic};
use basekeep_engine::monitor::{Finding, Severity};
use basekeep_engine::postgres::{Environment, Secret};
use basekeep_server::alerts::{
    Alerts, Failure, Level, Message, Observation, Patience, Run, RunEnd, RunStart, Setup,
};
use basekeep_testkit::{HttpAnswer, HttpReceiver, MailTls, SmtpServer};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;

const PLANTED: &str = "Pass-wort-7913";
const LIMIT: Duration = Duration::from_secs(30);

/// Quick to give up, so that the tests are quick.
const PATIENCE: Patience =
    Patience { tries: 3, wait: Duration::from_millis(20), limit: Duration::from_millis(1500) };

fn now() -> Timestamp {
    "2026-11-22T04:00:00Z".parse().unwrap()
}

fn alerts(text: &str, state: Option<&Path>, vars: &[(&str, &str)]) -> Alerts {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let env = Environment { vars, ..Environment::default() };
    let config = Config::parse(text, Path::new("/nowhere/basekeep.toml"), &env).unwrap();
    let setup = Setup::new("/nowhere", env, state.map(Path::to_owned));
    Alerts::new(&config.alerts, Setup { patience: PATIENCE, secrets: vec![Secret::new(PLANTED)], ..setup })
}

fn notify(channels: &str) -> String {
    format!("[alerts]\nnotify = [{channels}]\n")
}

fn run(end: RunEnd) -> Observation {
    let source = Some("shop".to_owned());
    Observation::Run(Run { job: "backup".to_owned(), source, end, ended: now(), detail: None })
}

fn failed() -> Observation {
    run(RunEnd::Failed(format!("cannot log in to postgresql://me:other@db/d with {PLANTED}")))
}

fn old_backup() -> Observation {
    let finding = Finding::of_source(
        "shop",
        "backup-age",
        Severity::Critical,
        "the newest backup is old",
        "basekeep backup shop",
    );
    Observation::Findings { source: Some("shop".to_owned()), findings: vec![finding] }
}

async fn flushed(alerts: &Alerts) -> Vec<Failure> {
    let failures = alerts.flush(LIMIT).await;
    let text = format!("{failures:?}");
    assert!(!text.contains(PLANTED) && !text.contains("geheim") && !text.contains("127.0.0.1"), "{text}");
    failures
}

/// What an HTTP receiver got, checked for what must not be in it.
fn bodies(receiver: &HttpReceiver) -> Vec<serde_json::Value> {
    let parse = |one: basekeep_testkit::Received| {
        let all = format!("{:?} {}", one.headers, one.body);
        assert!(!all.contains(PLANTED) && !all.contains("me:other") && !all.contains("geheim"), "{all}");
        serde_json::from_str(&one.body).unwrap_or_else(|_| one.body.into())
    };
    receiver.received().into_iter().map(parse).collect()
}

#[tokio::test]
async fn a_webhook_is_signed_and_told_once_for_each_change() {
    let receiver = HttpReceiver::start([]).await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("alerts.json");
    let config = notify(&format!("{{ webhook = \"{}\", secret_env = \"KEY\" }}", receiver.url("/geheim")));
    let start = || alerts(&config, Some(&state), &[("KEY", "signing-geheim")]);
    let first = start();
    first.observe(failed(), now());
    assert_eq!(flushed(&first).await, []);
    first.observe(failed(), now() + SignedDuration::from_mins(5));
    assert_eq!(flushed(&first).await, []);
    drop(first);
    // Another process goes on where this one was.
    let second = start();
    second.observe(failed(), now() + SignedDuration::from_mins(10));
    flushed(&second).await;
    assert_eq!(bodies(&receiver).len(), 1);
    second.observe(failed(), now() + SignedDuration::from_hours(25));
    flushed(&second).await;
    second.observe(run(RunEnd::Interrupted), now() + SignedDuration::from_hours(26));
    second.observe(run(RunEnd::Done), now() + SignedDuration::from_hours(27));
    assert_eq!(flushed(&second).await, []);
    let told = bodies(&receiver);
    let states: Vec<&str> = told.iter().map(|body| body["alerts"][0]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["firing", "continuing", "recovered"]);
    assert_eq!(
        told[0]["alerts"][0]["message"],
        "backup failed: cannot log in to postgresql://me:***@db/d with ***"
    );
    assert_eq!(told[0]["level"], "critical");
    let one = &receiver.received()[0];
    let mut mac = Hmac::<Sha256>::new_from_slice(b"signing-geheim").unwrap();
    mac.update(format!("{}.{}", one.headers["basekeep-timestamp"], one.body).as_bytes());
    let expected = format!("v1={}", hex::encode(mac.finalize().into_bytes()));
    assert_eq!(one.headers["basekeep-signature"], expected);
    assert!(!std::fs::read_to_string(&state).unwrap().contains(PLANTED));
}

#[tokio::test]
async fn failures_are_retried_and_what_fails_for_good_is_not() {
    let busy = HttpReceiver::start([
        503.into(),
        HttpAnswer { headers: vec![("retry-after", "0".to_owned())], ..429.into() },
    ])
    .await;
    let gone = HttpReceiver::start([404.into()]).await;
    let moved = HttpReceiver::start([HttpAnswer {
        headers: vec![("location", busy.url("/elsewhere"))],
        ..302.into()
    }])
    .await;
    let silent = HttpReceiver::start([0.into(), 0.into(), 0.into()]).await;
    let slow_answer = || HttpAnswer { delay: Duration::from_secs(60), ..200.into() };
    let slow = HttpReceiver::start([slow_answer(), slow_answer(), slow_answer()]).await;
    let config = notify(&format!(
        "{{ webhook = \"{}\", name = \"busy\" }}, {{ slack = \"{}\", name = \"gone\" }}, {{ discord = \"{}\", name = \"moved\" }}, \
         {{ teams = \"{}\", name = \"silent\" }}, {{ webhook = \"{}\", name = \"slow\" }}, {{ slack = \"http://127.0.0.1:1/geheim\", name = \"away\" }}",
        busy.url("/"),
        gone.url("/geheim"),
        moved.url("/geheim"),
        silent.url("/geheim"),
        slow.url("/geheim")
    ));
    let alerts = alerts(&config, None, &[]);
    alerts.observe(old_backup(), now());
    let mut failures = flushed(&alerts).await;
    failures.sort_by(|a, b| a.channel.cmp(&b.channel));
    let reasons: Vec<(&str, &str)> =
        failures.iter().map(|failure| (failure.channel.as_str(), failure.reason.as_str())).collect();
    assert_eq!(reasons[1], ("gone", "it answered 404 Not Found"));
    assert_eq!(
        reasons[2],
        ("moved", "it answered 302 Found: redirects are not followed, give the new address")
    );
    assert!(reasons[0].0 == "away" && reasons[0].1.starts_with("cannot connect"), "{reasons:?}");
    assert!(reasons[3].0 == "silent" && reasons[3].1.ends_with("(3 tries)"), "{reasons:?}");
    assert_eq!(reasons[4], ("slow", "no answer within 1.5 s (3 tries)"));
    assert_eq!(reasons.len(), 5);
    let counts = [&busy, &gone, &moved, &silent, &slow].map(|receiver| receiver.received().len());
    assert_eq!(counts, [3, 1, 1, 3, 3]);
    let deliveries: Vec<String> =
        busy.received().iter().map(|one| one.headers["basekeep-delivery"].clone()).collect();
    assert!(
        deliveries.iter().all(|delivery| *delivery == deliveries[0]),
        "one message, told apart from others"
    );
    assert!(busy.received().iter().all(|one| one.path == "/"), "the redirect was not followed");
}

#[tokio::test]
async fn what_nobody_took_is_news_again() {
    let receiver = HttpReceiver::start([404.into()]).await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("alerts.json");
    let alerts = alerts(&notify(&format!("{{ slack = \"{}\" }}", receiver.url("/x"))), Some(&state), &[]);
    for (minute, expected) in [(0, 1), (1, 2), (2, 2)] {
        alerts.observe(old_backup(), now() + SignedDuration::from_mins(minute));
        flushed(&alerts).await;
        assert_eq!(bodies(&receiver).len(), expected, "{minute}");
    }
}

#[tokio::test]
async fn several_at_once_are_one_message_and_channels_choose() {
    let (all, narrow, digest) =
        (HttpReceiver::start([]).await, HttpReceiver::start([]).await, HttpReceiver::start([]).await);
    let config = notify(&format!(
        "{{ webhook = \"{}\" }}, {{ slack = \"{}\", sources = [\"crm\"] }}, {{ discord = \"{}\", topics = [\"digest\"] }}",
        all.url("/"),
        narrow.url("/"),
        digest.url("/")
    ));
    let alerts = alerts(&config, None, &[]);
    let crm = Finding::of_source(
        "crm",
        "table-empty",
        Severity::Critical,
        "public.t is empty",
        "basekeep monitor crm",
    );
    let findings = Observation::Findings { source: Some("crm".to_owned()), findings: vec![crm] };
    alerts.observe_all(vec![old_backup(), findings], now());
    flushed(&alerts).await;
    let both = bodies(&all);
    assert_eq!((both.len(), both[0]["title"].as_str().unwrap()), (1, "basekeep: 2 alerts (crm, shop)"));
    let narrowed = bodies(&narrow)[0]["text"].as_str().unwrap().to_owned();
    assert!(narrowed.contains("crm: public.t is empty") && !narrowed.contains("shop"), "{narrowed}");
    assert_eq!(bodies(&digest).len(), 0);
    let text = format!("## A week\n- all well, {PLANTED}\n");
    alerts.send(Message::new(Topic::Digest, "basekeep: a week", text, now()).level(Level::Note));
    flushed(&alerts).await;
    let content = bodies(&digest)[0]["content"].as_str().unwrap().to_owned();
    assert_eq!(content, "🔵 **basekeep: a week**\n## A week\n- all well, ***\n");
    assert_eq!(bodies(&all).len(), 2);
}

#[tokio::test]
async fn a_dead_mans_switch_hears_starts_successes_and_failures_of_its_source() {
    let receiver = HttpReceiver::start([]).await;
    let other = HttpReceiver::start([]).await;
    let config = notify(&format!(
        "{{ ping = \"{}\", sources = [\"shop\"] }}, {{ ping = \"{}\", plain = true, fail = \"{}\" }}, {{ ping = \"{}\", job = \"drill\" }}",
        receiver.url("/abc"),
        other.url("/plain"),
        other.url("/down"),
        other.url("/drill")
    ));
    let alerts = alerts(&config, None, &[]);
    alerts.started(&RunStart { job: "backup".to_owned(), source: Some("shop".to_owned()) });
    alerts.observe(run(RunEnd::Done), now());
    alerts.started(&RunStart { job: "backup".to_owned(), source: Some("crm".to_owned()) });
    alerts.observe(failed(), now());
    assert_eq!(flushed(&alerts).await, []);
    let paths = |receiver: &HttpReceiver| -> Vec<String> {
        receiver.received().into_iter().map(|one| one.path).collect()
    };
    assert_eq!(paths(&receiver), ["/abc/start", "/abc", "/abc/fail"]);
    assert_eq!(paths(&other), ["/plain", "/down"]);
    assert_eq!(bodies(&receiver)[0], "backup of shop began");
}

#[tokio::test]
async fn mail_goes_over_tls_with_a_login_and_is_tried_again() {
    for (tls, security) in [(MailTls::Start, "starttls"), (MailTls::Wrapped, "tls"), (MailTls::None, "none")]
    {
        let server = SmtpServer::start(tls, PLANTED).await;
        server.refuse(["451 later"]);
        let config = format!(
            "{}[alerts.smtp]\nhost = \"localhost\"\nport = {}\nsecurity = \"{security}\"\nusername = \"ada\"\n\
             password_env = \"SMTP\"\nfrom = \"basekeep <b@example.com>\"\nca_file = \"{}\"\n",
            notify("{ email = [\"ops@example.com\", \"lead@example.com\"] }"),
            server.port(),
            server.ca_file().display()
        );
        let mailing = alerts(&config, None, &[("SMTP", PLANTED)]);
        mailing.observe(failed(), now());
        assert_eq!(flushed(&mailing).await, [], "{security}");
        let mails = server.mails();
        assert_eq!(mails.len(), 1, "{security}");
        let mail = &mails[0];
        assert_eq!(mail.to, ["ops@example.com", "lead@example.com"]);
        assert_eq!(mail.encrypted, tls != MailTls::None);
        assert_eq!(mail.login, Some(("ada".to_owned(), PLANTED.to_owned())));
        assert!(mail.text.contains("Subject: basekeep: shop: backup failed"), "{}", mail.text);
        assert!(!mail.text.contains(PLANTED) && !mail.text.contains("me:other"), "{}", mail.text);
        server.refuse(["554 never"]);
        mailing.observe(run(RunEnd::Done), now());
        let failures = flushed(&mailing).await;
        assert!(failures[0].reason.contains("554") && !failures[0].reason.contains("tries"), "{failures:?}");

        let wrong = alerts(&config, None, &[("SMTP", "guessed")]);
        wrong.observe(old_backup(), now());
        assert!(flushed(&wrong).await[0].reason.contains("535"));
        if tls != MailTls::None {
            let distrusted =
                config.lines().filter(|line| !line.starts_with("ca_file")).collect::<Vec<_>>().join("\n");
            let distrusted = alerts(&distrusted, None, &[("SMTP", PLANTED)]);
            distrusted.observe(old_backup(), now());
            assert_eq!(flushed(&distrusted).await.len(), 1, "a certificate that nobody trusts");
        }
        assert_eq!(server.mails().len(), 1);
    }
}

#[tokio::test]
async fn a_channel_that_is_not_ready_is_named_and_the_others_work() {
    let receiver = HttpReceiver::start([]).await;
    let config = format!(
        "{}[alerts.smtp]\nhost = \"mail.example.com\"\nsecurity = \"none\"\nusername = \"u\"\npassword_env = \"P\"\nfrom = \"a@b.c\"\n",
        notify(&format!(
            "{{ slack_env = \"NOT_SET\" }}, {{ webhook = \"ftp://geheim\" }}, {{ email = \"a@b.c\" }}, {{ discord = \"{}\" }}, \
             {{ command = \"sleep 60 # geheim\", name = \"sleeper\" }}, {{ command = \"test $# = 0 && grep -q backup-age\" }}",
            receiver.url("/")
        ))
    );
    let alerts = alerts(&config, None, &[("P", PLANTED)]);
    alerts.observe(old_backup(), now());
    let failures = flushed(&alerts).await;
    let of = |name: &str| failures.iter().find(|f| f.channel == name).map_or("", |f| f.reason.as_str());
    assert!(of("slack").contains("NOT_SET is not set"), "{failures:?}");
    assert!(of("webhook").contains("not an https:// or http:// address"), "{failures:?}");
    assert!(of("email").contains("in the clear"), "{failures:?}");
    assert_eq!(of("sleeper"), "no answer within 1.5 s (3 tries)");
    assert_eq!(failures.len(), 4, "{failures:?}");
    assert_eq!(bodies(&receiver).len(), 1);
    assert!(alerts.channels()[0].problem.is_some() && alerts.channels()[3].problem.is_none());
}

#[tokio::test]
async fn a_slow_channel_fills_its_own_queue_alone() {
    let answer = || HttpAnswer { delay: Duration::from_millis(300), ..200.into() };
    let slow = HttpReceiver::start((0..200).map(|_| answer())).await;
    let quick = HttpReceiver::start([]).await;
    let config = notify(&format!(
        "{{ slack = \"{}\", name = \"slow\" }}, {{ discord = \"{}\" }}",
        slow.url("/"),
        quick.url("/")
    ));
    let alerts = alerts(&config, None, &[]);
    for number in 0..100 {
        alerts.send(Message::new(Topic::Digest, format!("{number}"), "", now()));
        tokio::task::yield_now().await;
    }
    let began = std::time::Instant::now();
    while quick.received().len() < 60 {
        assert!(began.elapsed() < LIMIT, "the quick one waits for the slow one");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(slow.received().len() < 60);
    let full = alerts.flush(Duration::from_millis(1)).await;
    assert!(full.iter().any(|failure| failure.reason.contains("too many messages wait")), "{full:?}");
}

/// Takes what the program logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_secret_is_logged() {
    let log = Log::default();
    let made = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || made.clone())
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let receiver = HttpReceiver::start([500.into(), 500.into(), 500.into()]).await;
    let config = notify(&format!(
        "{{ webhook = \"{}\" }}, {{ command = \"echo {PLANTED} geheim >&2; exit 1\" }}",
        receiver.url("/hook/geheim?x=geheim")
    ));
    let alerts = alerts(&config, None, &[]);
    alerts.observe(failed(), now());
    assert_eq!(alerts.flush(LIMIT).await.len(), 2);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("a message was not delivered"), "{text}");
    assert!(
        !text.contains(PLANTED) && !text.contains("/hook/geheim") && !text.contains("me:other"),
        "{text}"
    );
}
