//! The Management API: documented answers are understood, and each way to fail is told apart.

use std::time::Duration;

use basekeep_supabase::management::{Api, ApiError, DOCUMENTS, Document, ErrorKind, Function, Patience};
use basekeep_testkit::management_api::{Answer, ManagementApi, REFERENCE};

const TOKEN: &str = "sbp_0123456789";

fn api(server: &ManagementApi, token: &str) -> Api {
    let patience = Patience {
        within: Duration::from_secs(5),
        first_pause: Duration::from_millis(5),
        stall: Duration::from_millis(500),
    };
    Api::new(server.url(), REFERENCE, token.into(), patience).unwrap()
}

fn document(name: &str) -> Document {
    *DOCUMENTS.iter().find(|document| document.name == name).unwrap()
}

async fn body(api: &Api, slug: &str) -> Result<Vec<u8>, ApiError> {
    let mut content = api.function_body(slug).await?;
    let mut body = Vec::new();
    while let Some(piece) = content.next().await? {
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

#[tokio::test]
async fn documented_answers_are_understood() {
    let server = ManagementApi::start(TOKEN).await;
    let api = api(&server, TOKEN);
    assert_eq!(api.project().await.unwrap()["name"], "factory");
    let functions = api.functions().await.unwrap();
    let slugs: Vec<_> = functions.iter().map(|f| (f.slug.as_str(), f.verify_jwt, f.import_map)).collect();
    assert_eq!(slugs, [("hook", false, false), ("send-mail", true, true)]);
    assert_eq!(body(&api, "send-mail").await.unwrap(), b"ESZIP-of-send-mail");
    let secrets = api.secrets().await.unwrap();
    let names: Vec<_> = secrets.iter().filter(|s| !s.is_platforms()).map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["OPENAI_KEY", "STRIPE_KEY"]);
    assert!(!format!("{secrets:?}").contains("9f86"), "not even digests");
    let key = api.pgsodium_root_key().await.unwrap().unwrap();
    assert_eq!(key.expose(), "0123456789abcdef0123456789abcdef");
    for document in DOCUMENTS {
        let found = api.document(&document).await.unwrap();
        assert_eq!(found.is_some(), document.name != "auth-sso", "{}", document.name);
    }
    assert!(server.requests().iter().all(|request| request.authorized && request.method == "GET"));
}

#[tokio::test]
async fn refusals_are_told_apart_and_not_tried_again() {
    let server = ManagementApi::start(TOKEN).await;
    let wrong = api(&server, "sbp_wrong").project().await.unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::Unauthorized);
    assert_eq!(wrong.message, "the Management API answered 401 Unauthorized: Unauthorized");
    assert!(wrong.hint().unwrap().contains("token") && !format!("{wrong:?}").contains("sbp_wrong"));
    server
        .answer("GET secrets", [Answer::refusal(403, "Your account does not have the necessary privileges")]);
    let api = api(&server, TOKEN);
    assert_eq!(api.secrets().await.unwrap_err().kind, ErrorKind::Forbidden);
    assert_eq!(body(&api, "gone").await.unwrap_err().kind, ErrorKind::NotFound);
    server.answer("GET pgsodium", [Answer::refusal(404, "Not Found")]);
    assert_eq!(api.pgsodium_root_key().await.unwrap(), None);
    server.answer("GET postgrest", [Answer::new(200, "<html>jwt-geheim</html>")]);
    let odd = api.document(&document("postgrest")).await.unwrap_err();
    assert_eq!(odd.kind, ErrorKind::Unexpected);
    assert!(!odd.message.contains("geheim"), "{odd}");
    assert_eq!(server.requests().len(), 5, "each was asked once");
}

#[tokio::test]
async fn limits_and_failures_of_the_server_are_waited_for() {
    let server = ManagementApi::start(TOKEN).await;
    let api = api(&server, TOKEN);
    let good = Answer::new(200, "[]");
    server.answer(
        "GET functions",
        [
            Answer::refusal(429, "Too many requests").header("Retry-After", "1"),
            Answer::refusal(500, "Internal"),
            Answer::new(502, "<html>bad gateway</html>"),
            Answer::new(200, "[]").cut_after(1),
            Answer::new(200, "[]").after(Duration::from_secs(2)),
            good,
        ],
    );
    let started = std::time::Instant::now();
    assert_eq!(api.functions().await.unwrap(), []);
    assert!(started.elapsed() >= Duration::from_secs(1), "the server asked for a second");
    assert_eq!(server.requests().len(), 6);

    server.answer("GET secrets", [Answer::refusal(429, "Too many requests").header("Retry-After", "100")]);
    let error = api.secrets().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("429") && error.message.contains("Too many requests"), "{error}");
    server.answer("GET functions/hook/body", [Answer::new(200, "ESZIP").cut_after(2)]);
    assert_eq!(body(&api, "hook").await.unwrap_err().kind, ErrorKind::Unavailable, "never a short file");
}

#[tokio::test]
async fn an_unreachable_server_is_said_to_be_that() {
    let patience = Patience {
        within: Duration::from_millis(50),
        first_pause: Duration::from_millis(5),
        ..Patience::default()
    };
    // Nothing listens on port 9 of this machine.
    let api = Api::new("http://127.0.0.1:9", REFERENCE, TOKEN.into(), patience).unwrap();
    let error = api.project().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.starts_with("no connection to the Management API can be made"), "{error}");
    assert!(Api::new("http://127.0.0.1:9", "../x", TOKEN.into(), patience).is_err());
}

#[tokio::test]
async fn lists_are_read_to_the_last_page() {
    let server = ManagementApi::start(TOKEN).await;
    let page = |n: u32| format!(r#"[{{"slug":"f{n}"}}]"#);
    let next = |n: u32| format!("</v1/projects/{REFERENCE}/functions?offset={n}>; rel=\"next\"");
    server.answer(
        "GET functions",
        [
            Answer::new(200, page(2)).header("Link", &next(1)),
            Answer::new(200, page(1)).header("Link", &next(2)),
            Answer::new(200, page(3)),
        ],
    );
    let slugs: Vec<String> =
        api(&server, TOKEN).functions().await.unwrap().into_iter().map(|f| f.slug).collect();
    assert_eq!(slugs, ["f1", "f2", "f3"]);
    assert!(server.requests()[2].target.ends_with("functions?offset=2"));
    server.answer("GET functions", [Answer::new(200, r#"[{"slug":"../x"}]"#)]);
    assert_eq!(api(&server, TOKEN).functions().await.unwrap_err().kind, ErrorKind::Unexpected);
}

#[tokio::test]
async fn functions_are_deployed_with_what_they_had_and_configuration_is_changed() {
    let server = ManagementApi::start(TOKEN).await;
    let api = api(&server, TOKEN);
    let functions: Vec<Function> = api.functions().await.unwrap();
    server.answer("GET functions/hook", [Answer::new(200, "{}")]);
    server.answer("PATCH functions/hook", [Answer::new(200, "{}")]);
    server.answer("POST functions", [Answer::refusal(503, "later"), Answer::new(201, "{}")]);
    for function in &functions {
        api.deploy(function, "ESZIP".into()).await.unwrap();
    }
    let sent: Vec<_> = server.requests().into_iter().filter(|request| request.method != "GET").collect();
    assert_eq!(sent[0].method, "PATCH");
    assert!(
        sent[0].target.ends_with("functions/hook?slug=hook&name=hook&verify_jwt=false&import_map=false"),
        "{:?}",
        sent[0]
    );
    assert_eq!((sent[2].method.as_str(), sent[2].body.as_slice()), ("POST", b"ESZIP".as_slice()));
    assert!(
        sent[2].target.contains("slug=send-mail&name=Send%20mail&verify_jwt=true&import_map=true"),
        "{:?}",
        sent[2]
    );
    server.answer("PATCH postgrest", [Answer::new(200, "{}")]);
    api.configure(&document("postgrest"), &serde_json::json!({"max_rows": 500})).await.unwrap();
    assert_eq!(server.requests().last().unwrap().body, br#"{"max_rows":500}"#);
}
