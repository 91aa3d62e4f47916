use crate::client::Site8432;
use crate::fake::{HOSTILE, ID};
use crate::security::pages;

#[tokio::test]
async fn no_page_holds_code_or_styles_of_its_own_or_lets_names_become_html() {
    let site = Site8432::new().await;
    let ada = site.log_in("ada").await;
    let restore = format!("snapshot={ID}&target=shop&mode=empty");
    let plan = site.post(&ada, "/restore/plan", &restore).await;
    let mut all = vec![("/restore/plan".to_owned(), plan)];
    for path in pages().into_iter().chain(["/restore".into(), "/nowhere".into(), "/snapshots/ffff".into()]) {
        let got = site.get(&ada, &path).await;
        all.push((path, got));
    }
    for (path, got) in all.iter().filter(|(path, _)| !path.ends_with("/events")) {
        assert!(!got.body.contains(HOSTILE) && !got.body.contains("<script>"), "{path}");
        assert!(!got.body.contains(" style=") && !got.body.contains("<style"), "{path}");
        assert!(!got.body.contains(" onclick") && !got.body.contains("javascript:"), "{path}");
        assert!(!got.body.contains("src=\"http") && !got.body.contains("href=\"http"), "{path}");
        assert_eq!(got.body.matches("<h1").count(), 1, "{path}");
        assert!(got.body.contains("<html lang=\"en\"") && got.body.contains("<title>"), "{path}");
    }
}

#[tokio::test]
async fn progress_is_streamed_as_events() {
    let site = Site8432::new().await;
    let ada = site.log_in("ada").await;
    let got = site.get(&ada, "/runs/7/events").await;
    assert_eq!(got.header("content-type"), Some("text/event-stream"));
    for expected in [
        "event: step",
        "event: progress",
        "\"share\":50",
        "event: told",
        "event: ended",
        "\"outcome\":\"done\"",
    ] {
        assert!(got.body.contains(expected), "{expected}: {}", got.body);
    }
}

#[tokio::test]
async fn an_export_is_a_file_with_a_harmless_name_in_pieces() {
    let site = Site8432::new().await;
    let ada = site.log_in("ada").await;
    let got = site.post(&ada, &format!("/snapshots/{ID}/export"), "format=sql&table=").await;
    assert_eq!((got.status, got.header("content-type")), (200, Some("application/sql")));
    assert_eq!(got.header("content-disposition"), Some("attachment; filename=\"shop___x.sql\""));
    assert_eq!(got.header("transfer-encoding"), Some("chunked"));
    assert!(got.body.contains("-- one\n") && got.body.contains("-- two\n"));
    let got = site.post(&ada, &format!("/snapshots/{ID}/export"), "format=csv&table=").await;
    assert_eq!(got.status, 409, "one table is needed");
}

#[tokio::test]
async fn a_restore_needs_the_targets_name() {
    let site = Site8432::new().await;
    let ada = site.log_in("ada").await;
    let restore = |typed: &str| format!("snapshot={ID}&target=shop&mode=empty&digest=d1&typed={typed}");
    for wrong in ["", "shopp", "SHOP"] {
        let got = site.post(&ada, "/restore/start", &restore(wrong)).await;
        assert_eq!(got.status, 409, "{wrong}");
        assert!(
            got.body.contains("That is not the target&#39;s name.")
                || got.body.contains("That is not the target's name."),
            "{}",
            got.body
        );
        assert!(got.body.contains("The plan"), "the plan is shown again");
    }
    assert_eq!(site.fake.started(), Vec::<String>::new());
    let got = site.post(&ada, "/restore/start", &restore("shop")).await;
    assert_eq!((got.status, got.header("location")), (303, Some("/runs/7")));
}

#[tokio::test]
async fn errors_are_pages_with_their_status_and_hints() {
    let site = Site8432::new().await;
    let ada = site.log_in("ada").await;
    let got = site.get(&ada, "/snapshots/ffff").await;
    assert_eq!(got.status, 400);
    assert!(got.body.contains("No such snapshot.") && got.body.contains("Look at the list."), "{}", got.body);
    assert_eq!(site.get(&ada, "/runs/9").await.status, 404);
    assert_eq!(site.get(&ada, "/sources/nobody").await.status, 404);
    assert_eq!(site.post(&ada, "/start", "source=busy&job=backup").await.status, 409);
    assert!(site.audit().iter().any(|line| line["outcome"] == "refused" && line["what"] == "busy"));
}

#[tokio::test]
async fn the_theme_is_kept_and_leads_back_to_the_page() {
    let site = Site8432::new().await;
    let mut ada = site.log_in("ada").await;
    let body = format!("csrf={}&theme=dark", ada.csrf);
    let headers = [
        ada.header(),
        site.own_origin(),
        crate::client::form(),
        ("Referer", format!("http://{}/runs?job=drill", site.address)),
    ];
    let got = site.send("POST", "/theme", &headers, &body).await;
    assert_eq!(got.header("location"), Some("/runs?job=drill"));
    ada.take(&got);
    assert!(site.get(&ada, "/").await.body.contains("data-theme=\"dark\""));
}

#[tokio::test]
async fn assets_are_cached_by_their_content() {
    let site = Site8432::new().await;
    let page = site.get(&crate::client::Browser::default(), "/login").await;
    for name in ["style.css", "page.js", "icon.svg"] {
        let at = page.body.find(&format!("/assets/{name}?v=")).unwrap_or_else(|| panic!("{name}"));
        let address: String = page.body[at..].chars().take_while(|c| *c != '"').collect();
        let got = site.get(&crate::client::Browser::default(), &address).await;
        assert_eq!(got.status, 200);
        assert!(got.header("cache-control").unwrap().contains("immutable"));
    }
    assert_eq!(site.get(&crate::client::Browser::default(), "/assets/..%2f..%2fweb.rs").await.status, 404);
}
