use serde_json::Value;

use crate::client::Site8432;
use crate::fake::ID;

#[tokio::test]
async fn the_api_wants_a_token_and_no_cookie() {
    let site = Site8432::new().await;
    let ada = site.log_in("ada").await;
    assert_eq!(site.get(&ada, "/api/v1/sources").await.status, 401);
    let wrong = [("Authorization", "Bearer bkt_wrong".to_owned())];
    let got = site.send("GET", "/api/v1/sources", &wrong, "").await;
    assert_eq!((got.status, got.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(got.json()["error"], "no valid token was sent");
    let got = site.send("GET", "/api/v1/sources", &[site.bearer("vic")], "").await;
    assert_eq!(got.status, 200);
    assert_eq!(got.json()["sources"][0]["name"], "shop");
    assert_eq!(site.send("GET", "/api/v1/nothing", &[site.bearer("vic")], "").await.status, 404);
}

/// Method, path and body of whatever needs an operator.
fn for_operators() -> Vec<(&'static str, String)> {
    let restore = format!(r#"{{"snapshot":"{ID}","target":"shop","digest":"d1","confirm":"shop"}}"#);
    vec![
        ("/api/v1/jobs", r#"{"job":"backup","source":"shop"}"#.into()),
        ("/api/v1/runs/7/stop", String::new()),
        ("/api/v1/exports", format!(r#"{{"snapshot":"{ID}","format":"sql"}}"#)),
        ("/api/v1/restores/plan", restore.clone()),
        ("/api/v1/restores", restore),
    ]
}

#[tokio::test]
async fn a_viewers_token_reads_and_an_operators_token_starts() {
    let site = Site8432::new().await;
    let json = || ("Content-Type", "application/json".to_owned());
    for (path, body) in for_operators() {
        let got = site.send("POST", path, &[site.bearer("vic"), json()], &body).await;
        assert_eq!(got.status, 403, "{path}");
    }
    assert_eq!(site.fake.started(), Vec::<String>::new());
    for (path, body) in for_operators() {
        let got = site.send("POST", path, &[site.bearer("ada"), json()], &body).await;
        assert!(matches!(got.status, 200 | 202), "{path}: {}", got.body);
    }
    assert_eq!(site.fake.started().len(), 4);
    let wrong = format!(r#"{{"snapshot":"{ID}","target":"shop","digest":"d1","confirm":"other"}}"#);
    let got = site.send("POST", "/api/v1/restores", &[site.bearer("ada"), json()], &wrong).await;
    assert_eq!((got.status, got.json()["error"].as_str()), (409, Some("that is not the target's name")));
    assert!(site.audit().iter().any(|line| line["action"] == "backup" && line["who"] == "ada"));
}

#[tokio::test]
async fn guessing_tokens_ends_in_a_pause() {
    let site = Site8432::new().await;
    for _ in 0..10 {
        let wrong = [("Authorization", "Bearer bkt_wrong".to_owned())];
        assert_eq!(site.send("GET", "/api/v1/sources", &wrong, "").await.status, 401);
    }
    assert_eq!(site.send("GET", "/api/v1/sources", &[site.bearer("ada")], "").await.status, 429);
    site.wait(301);
    assert_eq!(site.send("GET", "/api/v1/sources", &[site.bearer("ada")], "").await.status, 200);
}

/// The description, as it is served.
async fn description(site: &Site8432) -> serde_json::Value {
    let got = site.send("GET", "/api/v1/openapi.json", &[], "").await;
    assert_eq!(got.status, 200, "it is no secret");
    got.json()
}

/// What does not fit the schema, with the place; empty where all does. Knows what the description uses of JSON Schema.
fn misfits(value: &Value, schema: &Value, all: &Value, place: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target =
            all.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name} is not described"));
        return misfits(value, target, all, place);
    }
    if let Some(ways) = schema["oneOf"].as_array() {
        let tried: Vec<_> = ways.iter().map(|way| misfits(value, way, all, place)).collect();
        return if tried.iter().any(Vec::is_empty) { Vec::new() } else { tried.concat() };
    }
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("unknown type {other}"),
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => panic!("{place}: a schema without a type"),
    };
    if !kinds.iter().any(|kind| is(kind)) {
        return vec![format!("{place}: {value} is not {kinds:?}")];
    }
    let mut wrong = Vec::new();
    if let Some(words) = schema["enum"].as_array()
        && !value.is_null()
        && !words.contains(value)
    {
        wrong.push(format!("{place}: {value} is not one of {words:?}"));
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        wrong.extend(misfits(item, &schema["items"], all, &format!("{place}[{i}]")));
    }
    if let (Some(fields), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                wrong.push(format!("{place}: {name} is missing"));
            }
        }
        for (name, field) in fields {
            match properties.get(name) {
                Some(schema) => wrong.extend(misfits(field, schema, all, &format!("{place}.{name}"))),
                None => wrong.push(format!("{place}: {name} is not described")),
            }
        }
    }
    wrong
}

#[tokio::test]
async fn every_answer_is_as_the_description_says() {
    let site = Site8432::new().await;
    let all = description(&site).await;
    let restore = format!(r#"{{"snapshot":"{ID}","target":"shop","digest":"d1","confirm":"shop"}}"#);
    let mut seen = 0;
    for (path, operations) in all["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let address = path
                .replace("{name}", "shop")
                .replace("{id}", if path.starts_with("/runs") { "7" } else { ID });
            let query = match path.as_str() {
                "/diff" => format!("?a={ID}&b={ID}&rows=true"),
                "/snapshots/{id}/objects" => "?kind=table".to_owned(),
                _ => String::new(),
            };
            let body = match path.as_str() {
                "/jobs" => r#"{"job":"backup","source":"shop"}"#.to_owned(),
                "/exports" => format!(r#"{{"snapshot":"{ID}","format":"sql"}}"#),
                "/restores" | "/restores/plan" => restore.clone(),
                _ => String::new(),
            };
            let headers = [site.bearer("ada"), ("Content-Type", "application/json".to_owned())];
            let got =
                site.send(&method.to_uppercase(), &format!("/api/v1{address}{query}"), &headers, &body).await;
            let described = &operation["responses"][got.status.to_string()];
            assert!(described.is_object(), "{method} {path}: {} is not described: {}", got.status, got.body);
            if let Some(schema) = described.pointer("/content/application~1json/schema") {
                assert_eq!(misfits(&got.json(), schema, &all, path), Vec::<String>::new(), "{method} {path}");
            }
            seen += 1;
            let nobody = site.send(&method.to_uppercase(), &format!("/api/v1{address}"), &[], &body).await;
            if nobody.status != 200 {
                let reference = operation["responses"][nobody.status.to_string()]["$ref"].as_str().unwrap();
                let problem = all.pointer(reference.trim_start_matches('#')).unwrap();
                let schema = &problem["content"]["application/json"]["schema"];
                assert_eq!(
                    misfits(&nobody.json(), schema, &all, path),
                    Vec::<String>::new(),
                    "{method} {path}"
                );
            }
        }
    }
    assert_eq!(seen, 15, "every operation was tried");
}

#[test]
fn the_description_is_valid_openapi() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let checked = basekeep_testkit::validator("openapi_spec_validator").arg(file).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
