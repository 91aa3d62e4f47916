use std::collections::BTreeMap;

use basekeep_server::web::{Role, Site, User, check_address};

use crate::client::{Browser, Site8432, form, settings};
use crate::fake::ID;

/// Every page, and whatever a viewer may not do.
pub(crate) fn pages() -> Vec<String> {
    let paths = ["/", "/sources/shop", "/snapshots", "/diff", "/runs", "/runs/7", "/runs/7/events"];
    let of_snapshot = [format!("/snapshots/{ID}"), format!("/snapshots/{ID}/objects?kind=table")];
    paths
        .map(str::to_owned)
        .into_iter()
        .chain(of_snapshot)
        .chain([format!("/diff?a={ID}&b={ID}&rows=true")])
        .collect()
}

fn for_operators() -> Vec<(&'static str, String, String)> {
    let restore = format!("snapshot={ID}&target=shop&mode=empty&digest=d1&typed=shop");
    vec![
        ("POST", "/start".into(), "source=shop&job=backup".into()),
        ("POST", "/start".into(), "source=shop&job=drill".into()),
        ("POST", "/runs/7/stop".into(), String::new()),
        ("POST", format!("/snapshots/{ID}/export"), "format=sql&table=".into()),
        ("GET", "/restore".into(), String::new()),
        ("POST", "/restore/plan".into(), restore.clone()),
        ("POST", "/restore/start".into(), restore),
    ]
}

#[tokio::test]
async fn without_a_login_every_page_leads_to_the_login_and_nothing_starts() {
    let site = Site8432::new().await;
    let nobody = Browser::default();
    for path in pages() {
        let got = site.get(&nobody, &path).await;
        assert_eq!(got.status, 303, "{path}");
        assert!(
            got.header("location").unwrap().starts_with("/login?next=%2F")
                || got.header("location").unwrap().starts_with("/login?next=/"),
            "{got:?}"
        );
    }
    let login = site.get(&nobody, "/login").await;
    let mut browser = Browser { csrf: login.csrf(), ..Browser::default() };
    browser.take(&login);
    for (method, path, fields) in for_operators() {
        let got = match method {
            "GET" => site.get(&nobody, &path).await,
            _ => site.post(&browser, &path, &fields).await,
        };
        assert!(matches!(got.status, 303 | 401), "{path}: {}", got.status);
    }
    assert_eq!(site.fake.started(), Vec::<String>::new());
}

#[tokio::test]
async fn a_viewer_sees_every_page_and_may_start_nothing() {
    let site = Site8432::new().await;
    let viewer = site.log_in("vic").await;
    for path in pages() {
        let got = site.get(&viewer, &path).await;
        assert_eq!(got.status, 200, "{path}");
        for action in ["/start\"", "/stop\"", "/export\"", "/restore"] {
            assert!(!got.body.contains(action), "{path} offers {action}");
        }
    }
    for (method, path, fields) in for_operators() {
        let got = match method {
            "GET" => site.get(&viewer, &path).await,
            _ => site.post(&viewer, &path, &fields).await,
        };
        assert_eq!(got.status, 403, "{path}");
        assert!(got.body.contains("This is for operators"), "{path}");
    }
    assert_eq!(site.fake.started(), Vec::<String>::new());
    let refused =
        site.audit().iter().filter(|line| line["who"] == "vic" && line["outcome"] == "refused").count();
    assert_eq!(refused, for_operators().len());
}

#[tokio::test]
async fn an_operator_may_do_everything_and_each_action_is_written_down() {
    let site = Site8432::new().await;
    let ada = site.log_in("ada").await;
    for (method, path, fields) in for_operators() {
        let got = match method {
            "GET" => site.get(&ada, &path).await,
            _ => site.post(&ada, &path, &fields).await,
        };
        assert!(matches!(got.status, 200 | 303), "{path}: {} {}", got.status, got.body);
    }
    let expected = [
        "backup shop by ada",
        "drill shop by ada",
        "stop 7",
        &format!("export {ID}"),
        "restore shop d1 by ada",
    ];
    assert_eq!(site.fake.started(), expected);
    let audit = site.audit();
    let actions: Vec<(&str, &str)> = audit
        .iter()
        .map(|line| (line["action"].as_str().unwrap(), line["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        actions,
        [
            ("login", "done"),
            ("backup", "asked"),
            ("backup", "started"),
            ("drill", "asked"),
            ("drill", "started"),
            ("stop", "asked"),
            ("export", "started"),
            ("plan", "done"),
            ("restore", "asked"),
            ("restore", "started"),
        ]
    );
    assert!(audit.iter().all(|line| line["who"] == "ada" || line["action"] == "login"));
    assert!(audit.iter().all(|line| line["from"] == "127.0.0.1"));
}

#[tokio::test]
async fn a_form_of_another_site_or_of_another_session_is_refused() {
    let site = Site8432::new().await;
    let ada = site.log_in("ada").await;
    let body = format!("csrf={}&source=shop&job=backup", ada.csrf);
    let cookie = ada.header();
    let with = |headers: &[(&'static str, &str)]| {
        let mut all = vec![cookie.clone(), form()];
        all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        all
    };
    for headers in [
        with(&[("Origin", "https://evil.example")]),
        with(&[("Origin", "null")]),
        with(&[("Sec-Fetch-Site", "cross-site")]),
        with(&[("Sec-Fetch-Site", "same-site")]),
        with(&[]),
    ] {
        let got = site.send("POST", "/start", &headers, &body).await;
        assert_eq!(got.status, 403, "{headers:?}");
    }
    let other = site.log_in("ada").await;
    for token in ["", "x", &other.csrf, &site.get(&Browser::default(), "/login").await.csrf()] {
        let got = site
            .post(&Browser { csrf: token.to_owned(), ..ada.clone() }, "/start", "source=shop&job=backup")
            .await;
        assert_eq!(got.status, 403, "{token}");
    }
    assert_eq!(site.fake.started(), Vec::<String>::new());
    let own = with(&[("Sec-Fetch-Site", "same-origin")]);
    assert_eq!(site.send("POST", "/start", &own, &body).await.status, 303, "a browser that sends no Origin");
}

#[tokio::test]
async fn wrong_logins_are_told_alike_and_end_in_a_pause() {
    let site = Site8432::new().await;
    let (_, known) = site.try_login("name=ada&password=wrong").await;
    let (_, unknown) = site.try_login("name=eve&password=wrong").await;
    let (_, token) = site.try_login("token=bkt_wrong").await;
    let told = |got: &crate::client::Got| {
        let at = got.body.find("role=\"alert\"").unwrap();
        got.body[at..at + 60].to_owned()
    };
    assert_eq!((known.status, unknown.status, token.status), (401, 401, 401));
    assert_eq!(told(&known), told(&unknown));
    for _ in 0..7 {
        site.try_login("name=ada&password=wrong").await;
    }
    let (browser, got) = site.try_login("name=ada&password=adaada").await;
    assert_eq!(got.status, 429, "the right password does not help now");
    assert!(got.header("retry-after").unwrap().parse::<u64>().unwrap() <= 300);
    assert!(!browser.cookies.contains_key("basekeep_session"));
    site.wait(301);
    site.log_in("ada").await;
    let audit = site.audit();
    assert!(audit.iter().any(|line| line["what"] == "eve" && line["outcome"] == "refused"));
    assert!(!serde_json::to_string(&audit).unwrap().contains("wrong"), "no password is written down");
}

#[tokio::test]
async fn sessions_expire_and_end_with_the_logout_and_with_the_user() {
    let site = Site8432::new().await;
    let ada = site.log_in("ada").await;
    site.wait(3600);
    assert_eq!(site.get(&ada, "/").await.status, 200);
    site.wait(2 * 3600 + 1);
    assert_eq!(site.get(&ada, "/").await.status, 303, "idle");
    let stale = site.post(&ada, "/start", "source=shop&job=backup").await;
    assert_eq!(stale.status, 403, "its form token is no good any more, either");
    let ada = site.log_in("ada").await;
    for _ in 0..12 {
        assert_eq!(site.get(&ada, "/").await.status, 200);
        site.wait(3600);
    }
    site.wait(1);
    assert_eq!(site.get(&ada, "/").await.status, 303, "old");
    let ada = site.log_in("ada").await;
    let out = site.post(&ada, "/logout", "").await;
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(site.get(&ada, "/").await.status, 303, "the cookie is worth nothing");
    let ada = site.log_in("ada").await;
    let bob = User { name: "bob".into(), role: Role::Viewer, password_hash: None, token_hash: None };
    site.web.reload(settings(vec![bob]));
    assert_eq!(site.get(&ada, "/").await.status, 303, "ada is no user any more");
    assert_eq!(site.fake.started(), Vec::<String>::new());
}

#[tokio::test]
async fn the_first_login_is_by_a_token_that_works_once() {
    let site = Site8432::with(settings(Vec::new()), BTreeMap::new()).await;
    let token = site.told.lock().unwrap()[0].clone();
    let (browser, got) = site.try_login(&format!("token={token}")).await;
    assert_eq!(got.status, 303);
    assert!(site.get(&browser, "/").await.body.contains("Back up now"), "it is an operator's");
    assert_eq!(site.try_login(&format!("token={token}")).await.1.status, 401);
    let api = [("Authorization", format!("Bearer {}", site.told.lock().unwrap()[1]))];
    assert_eq!(site.send("GET", "/api/v1/sources", &api, "").await.status, 401);
}

#[tokio::test]
async fn a_name_that_is_not_the_dashboards_gets_nothing() {
    let site = Site8432::new().await;
    let ada = site.log_in("ada").await;
    for host in ["evil.example", "evil.example:8432", "localhost.evil.example"] {
        let headers = [ada.header(), ("Host", host.to_owned())];
        assert_eq!(site.send("GET", "/", &headers, "").await.status, 421, "{host}");
    }
    for host in ["localhost:8432", "127.0.0.1", "[::1]:8432"] {
        let headers = [ada.header(), ("Host", host.to_owned())];
        assert_eq!(site.send("GET", "/", &headers, "").await.status, 200, "{host}");
    }
    let probe = [("Host", "pod".to_owned())];
    for path in ["/healthz", "/readyz"] {
        assert_eq!(site.send("GET", path, &probe, "").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_browsers_in_bounds() {
    let site = Site8432::new().await;
    let ada = site.log_in("ada").await;
    for path in pages().into_iter().chain(["/login".into(), "/nowhere".into(), "/api/v1/sources".into()]) {
        let got = site.get(&ada, &path).await;
        let policy = got.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(got.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(got.header("referrer-policy"), Some("same-origin"), "{path}");
        assert!(got.header("cache-control").is_some_and(|value| value.starts_with("no-")), "{path}");
    }
    let cookie = site.try_login("name=ada&password=adaada").await.1;
    let cookie = cookie.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
}

#[tokio::test]
async fn behind_a_proxy_with_tls_cookies_are_for_tls_and_addresses_are_the_clients() {
    let mut behind = settings(Vec::new());
    behind.site = Site::new(Some("https://backup.example.com"), Vec::new()).unwrap();
    let site = Site8432::with(behind, BTreeMap::new()).await;
    let headers = |origin: &str| {
        let mut all = vec![
            ("Host", "backup.example.com".to_owned()),
            ("X-Forwarded-For", "203.0.113.9, 198.51.100.7".to_owned()),
            form(),
        ];
        all.extend((!origin.is_empty()).then(|| ("Origin", origin.to_owned())));
        all
    };
    let page = site.send("GET", "/login", &headers(""), "").await;
    assert!(page.header("set-cookie").unwrap().contains("; Secure"));
    assert!(page.header("strict-transport-security").is_some());
    let mut browser = Browser::default();
    browser.take(&page);
    let token = site.told.lock().unwrap()[0].clone();
    let body = format!("csrf={}&token={token}", page.csrf());
    let mut with = headers("https://backup.example.com");
    with.push(browser.header());
    assert_eq!(site.send("POST", "/login", &with, &body).await.status, 303);
    assert_eq!(site.audit()[0]["from"], "198.51.100.7", "what the proxy added, not what the client wrote");
}

#[test]
fn others_reach_it_only_when_a_user_is_configured() {
    let user = User { name: "ada".into(), role: Role::Viewer, password_hash: None, token_hash: None };
    check_address("127.0.0.1".parse().unwrap(), &[]).unwrap();
    check_address("::1".parse().unwrap(), &[]).unwrap();
    check_address("0.0.0.0".parse().unwrap(), std::slice::from_ref(&user)).unwrap();
    for open in ["0.0.0.0", "::", "192.168.1.7"] {
        assert!(check_address(open.parse().unwrap(), &[]).is_err(), "{open}");
    }
}
