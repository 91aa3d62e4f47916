//! What the Management API gives in a snapshot, and what becomes of a snapshot when it does not.

use basekeep_engine::backup::Source;
use basekeep_engine::config::{Management, ManagementEntry};
use basekeep_engine::files::FilesAccess;
use basekeep_engine::project::{self, PushOptions};
use basekeep_engine::stored::project as stored;
use basekeep_engine::{Interrupt, listing};
use basekeep_testkit::management_api::{Answer, ManagementApi, REFERENCE};
use basekeep_testkit::{TestCluster, TestDatabase};

use crate::support::{Backup, back_up};

const PLATFORM: &str = include_str!("platform.sql");
const TOKEN: &str = "sbp_0123456789";

async fn source() -> TestDatabase {
    let database = TestCluster::private(15, &[]).create_database();
    database.load(PLATFORM).await;
    database
}

async fn backed_up(database: &TestDatabase, server: &ManagementApi, token: Option<&str>) -> Backup {
    let entry = ManagementEntry {
        project_ref: REFERENCE.into(),
        token_env: "SUPABASE_ACCESS_TOKEN".into(),
        url: server.url().into(),
    };
    let management = Some(Management { entry, token: token.map(Into::into) });
    back_up(
        database,
        Source {
            files: FilesAccess::Skip,
            management,
            ..Source::new("shop", database.options().with_user("operator", None))
        },
    )
    .await
}

async fn everything(backup: &Backup) -> String {
    let mut all = String::new();
    let names = [
        "functions",
        "secrets",
        "auth",
        "postgrest",
        "pooler",
        "storage",
        "realtime",
        "network-restrictions",
    ];
    for name in names {
        let path = stored::configuration(name);
        let bytes = listing::read_file(&backup.repository, &backup.snapshot, &path, 1 << 20).await.unwrap();
        all += &String::from_utf8(bytes.unwrap_or_default()).unwrap();
    }
    all + &serde_json::to_string(&backup.manifest).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn deployed_functions_and_configuration_are_in_the_snapshot_and_their_secrets_are_not() {
    let (database, server) = (source().await, ManagementApi::start(TOKEN).await);
    let backup = backed_up(&database, &server, Some(TOKEN)).await;
    assert_eq!(backup.manifest.not_captured, []);
    let (repository, snapshot) = (&backup.repository, &backup.snapshot);
    let functions = stored::read_functions(repository, snapshot).await.unwrap().unwrap().functions;
    let [hook, mail] = functions.as_slice() else { panic!("{functions:?}") };
    assert_eq!((hook.slug.as_str(), hook.verify_jwt), ("hook", false));
    assert_eq!((mail.deployments, mail.import_map, mail.ezbr_sha256.as_deref()), (3, true, Some("44c6")));
    let file = mail.file.as_deref().unwrap();
    let bundle = listing::read_file(repository, snapshot, file, 1 << 20).await.unwrap().unwrap();
    assert_eq!(bundle, b"ESZIP-of-send-mail");
    let names = stored::read_secrets(repository, snapshot).await.unwrap().unwrap().secrets;
    assert_eq!(names.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["OPENAI_KEY", "STRIPE_KEY"]);
    let auth = stored::read_configuration(repository, snapshot, "auth").await.unwrap().unwrap();
    assert_eq!(auth.redacted, ["external_github_secret", "smtp_pass"]);
    assert_eq!(auth.config["site_url"], "https://factory.example");
    let key = stored::read_root_key(repository, snapshot).await.unwrap().unwrap();
    assert_eq!(key.root_key.expose(), "0123456789abcdef0123456789abcdef");
    let supabase = backup.manifest.supabase.as_ref().unwrap();
    assert_eq!((supabase.counts["deployed_functions"], supabase.counts["function_secrets"]), (2, 2));
    assert_eq!(supabase.counts["users"], 4);
    let again = [
        "secret OPENAI_KEY of the edge functions",
        "secret STRIPE_KEY of the edge functions",
        "external_github_secret in the configuration of auth",
        "smtp_pass in the configuration of auth",
        "jwt_secret in the configuration of the REST API",
    ];
    assert_eq!(supabase.supply_again, again);
    let all = everything(&backup).await;
    for secret in ["geheim", TOKEN, "9f86d081", "0123456789abcdef"] {
        assert!(!all.contains(secret), "{secret}");
    }
    assert!(!format!("{key:?}").contains("0123456789abcdef"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_refuses_is_named_and_the_snapshot_is_made_all_the_same() {
    let (database, server) = (source().await, ManagementApi::start(TOKEN).await);
    server.answer("GET secrets", [Answer::refusal(403, "Forbidden resource")]);
    server.answer("GET functions/hook/body", [Answer::refusal(404, "Function not found")]);
    server.answer("GET pgsodium", [Answer::refusal(403, "Forbidden resource")]);
    server.answer(
        "GET functions/send-mail/body",
        [Answer::new(200, "ESZIP-of").cut_after(3), Answer::new(200, "ESZIP-whole")],
    );
    let backup = backed_up(&database, &server, Some(TOKEN)).await;
    let missing: Vec<_> =
        backup.manifest.not_captured.iter().map(|m| (m.what.as_str(), m.reason.as_str())).collect();
    let refused = "the Management API answered 403 Forbidden: Forbidden resource";
    assert_eq!(
        missing,
        [
            (
                "the deployed edge function hook",
                "the Management API answered 404 Not Found: Function not found"
            ),
            ("the names of the edge functions' secrets", refused),
            ("pgsodium's root key", refused),
        ]
    );
    let functions =
        stored::read_functions(&backup.repository, &backup.snapshot).await.unwrap().unwrap().functions;
    assert_eq!(functions[0].file, None);
    let file = functions[1].file.as_deref().unwrap();
    let bundle = listing::read_file(&backup.repository, &backup.snapshot, file, 1 << 20).await.unwrap();
    assert_eq!(bundle.as_deref(), Some(b"ESZIP-whole".as_slice()), "fetched again, and whole");
    assert_eq!(backup.manifest.supabase.unwrap().counts["users"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_that_opens_it_the_api_is_one_line_of_what_is_missing() {
    let (database, server) = (source().await, ManagementApi::start(TOKEN).await);
    for (token, reason) in [
        (None, "the variable SUPABASE_ACCESS_TOKEN, which holds the access token, is not set"),
        (Some("sbp_wrong"), "the Management API answered 401 Unauthorized: Unauthorized"),
    ] {
        let backup = backed_up(&database, &server, token).await;
        let [missing] = backup.manifest.not_captured.as_slice() else {
            panic!("{:?}", backup.manifest.not_captured)
        };
        assert_eq!(missing.what, "what the Management API knows of the project");
        assert_eq!(missing.reason, reason);
        assert_eq!(backup.manifest.supabase.as_ref().unwrap().counts["users"], 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_and_what_differs_of_the_configuration_go_back_and_secrets_are_asked_for() {
    let (database, server) = (source().await, ManagementApi::start(TOKEN).await);
    let backup = backed_up(&database, &server, Some(TOKEN)).await;
    let target = ManagementApi::start("sbp_target").await;
    let entry =
        ManagementEntry { project_ref: REFERENCE.into(), token_env: "T".into(), url: target.url().into() };
    let management = Management { entry, token: Some("sbp_target".into()) };
    let send = async |options| {
        project::push(&backup.repository, &backup.snapshot, &management, options, &Interrupt::never())
            .await
            .unwrap()
    };
    target.answer("GET functions/send-mail", [Answer::refusal(404, "Not Found")]);
    target.answer("POST functions", [Answer::new(201, "{}")]);
    target.answer("GET functions/hook", [Answer::new(200, "{}")]);
    target.answer("PATCH functions/hook", [Answer::refusal(402, "Function limit reached")]);
    target.answer(
        "GET config/auth",
        [Answer::new(200, r#"{"site_url":"http://localhost","jwt_exp":3600,"smtp_pass":"other"}"#)],
    );
    target.answer("GET postgrest", [Answer::new(200, r#"{"max_rows":10,"jwt_secret":"x"}"#)]);
    target.answer("PATCH config/auth", [Answer::new(200, "{}")]);
    target.answer("PATCH postgrest", [Answer::refusal(400, "max_rows is too large")]);
    target.answer("GET network-restrictions", [Answer::new(200, r#"{"config":{},"status":"applied"}"#)]);

    let report = send(PushOptions { functions: true, configuration: false }).await;
    assert_eq!(report.functions, ["send-mail"]);
    assert_eq!(report.failed[0].object, "edge function hook");
    assert!(report.failed[0].reason.ends_with("Function limit reached"), "{:?}", report.failed);
    assert_eq!(report.warnings, ["set these secrets of the functions again: OPENAI_KEY, STRIPE_KEY"]);
    let post = target.requests().into_iter().find(|request| request.method == "POST").unwrap();
    assert_eq!(post.body, b"ESZIP-of-send-mail");
    assert!(
        post.target.contains("verify_jwt=true") && post.target.contains("import_map=true"),
        "{}",
        post.target
    );

    let report = send(PushOptions { functions: false, configuration: true }).await;
    assert_eq!(report.changed, ["the configuration of auth: site_url"]);
    let patch = target
        .requests()
        .into_iter()
        .rfind(|request| request.target.ends_with("config/auth") && request.method == "PATCH");
    assert_eq!(patch.unwrap().body, br#"{"site_url":"https://factory.example"}"#);
    let failed: Vec<_> = report.failed.iter().map(|failed| failed.object.as_str()).collect();
    assert_eq!(failed, ["the configuration of the REST API"]);
    assert!(
        report.warnings.iter().any(|w| w.contains("set again: external_github_secret, smtp_pass")),
        "{:?}",
        report.warnings
    );
    assert!(
        report.warnings.iter().any(|w| w.starts_with("the network restrictions: config: differs")),
        "{:?}",
        report.warnings
    );
}
