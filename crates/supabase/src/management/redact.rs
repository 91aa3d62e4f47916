//! Secrets in configuration: taken out, and named.

use serde_json::{Map, Value};

/// Ends of keys whose values are secrets, in words with underscores between them.
const SECRET_ENDS: [&str; 12] = [
    "secret",
    "secrets",
    "pass",
    "password",
    "token",
    "api_key",
    "access_key",
    "private_key",
    "service_key",
    "root_key",
    "secret_key",
    "test_otp",
];

/// Takes every secret out of a document. Gives the places that had one, such as `smtp_pass` or `hooks.send_email.secrets`; places
/// that were empty are taken out and not named. Passwords inside of URLs are replaced by `…`.
pub fn redact(document: &mut Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(document, "", &mut found);
    found
}

fn walk(value: &mut Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => object(map, place, found),
        Value::Array(values) => {
            for (number, value) in values.iter_mut().enumerate() {
                walk(value, &format!("{place}[{number}]"), found);
            }
        }
        Value::String(text) => {
            if let Some(open) = without_password(text) {
                *text = open;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn object(map: &mut Map<String, Value>, place: &str, found: &mut Vec<String>) {
    let below = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    let secret: Vec<String> = map
        .iter()
        .filter(|(key, value)| may_hide(value) && is_secret(key))
        .map(|(key, _)| key.clone())
        .collect();
    for key in secret {
        let value = map.remove(&key);
        if !value.as_ref().is_none_or(is_empty) {
            found.push(below(&key));
        }
    }
    for (key, value) in map.iter_mut() {
        walk(value, &below(key), found);
    }
}

/// Switches and numbers are no secrets, whatever they are called.
fn may_hide(value: &Value) -> bool {
    !matches!(value, Value::Bool(_) | Value::Number(_))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_secret(key: &str) -> bool {
    let key = snake(key);
    SECRET_ENDS.iter().any(|end| key == *end || key.strip_suffix(end).is_some_and(|rest| rest.ends_with('_')))
}

/// `jwtSecret` as `jwt_secret`.
fn snake(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    let mut lower_before = false;
    for c in key.chars() {
        if c.is_ascii_uppercase() && lower_before {
            snake.push('_');
        }
        lower_before = c.is_ascii_lowercase() || c.is_ascii_digit();
        snake.push(if c == '-' { '_' } else { c.to_ascii_lowercase() });
    }
    snake
}

/// The URL with its password replaced; `None` where there is none.
fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (user, _) = rest[..end].rsplit_once('@')?;
    let (user_name, password) = user.split_once(':')?;
    (!password.is_empty()).then(|| format!("{scheme}://{user_name}:…{}", &rest[user.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_taken_out_and_named_and_the_rest_stays() {
        let mut document = json!({
            "site_url": "https://example.com", "smtp_pass": "geheim", "smtp_user": "me", "external_google_secret": "",
            "external_github_secret": "x", "sms_twilio_auth_token": "x", "sms_vonage_api_key": "x", "jwtSecret": "x",
            "hook_send_email_secrets": "v1,whsec_x", "password_min_length": 8, "hook_custom_access_token_uri": "pg-functions://x",
            "mailer_subjects_password_changed_notification": "Changed", "security_captcha_secret": null, "disable_signup": false,
            "password_required_characters": "abc", "nested": {"list": [{"private_key": "x", "kid": "1"}]},
            "connection_string": "postgresql://postgres.abc:pw@host:6543/postgres",
        });
        assert_eq!(
            redact(&mut document),
            [
                "external_github_secret",
                "hook_send_email_secrets",
                "jwtSecret",
                "sms_twilio_auth_token",
                "sms_vonage_api_key",
                "smtp_pass",
                "nested.list[0].private_key",
            ]
        );
        assert_eq!(
            document,
            json!({
                "site_url": "https://example.com", "smtp_user": "me", "password_min_length": 8,
                "hook_custom_access_token_uri": "pg-functions://x", "disable_signup": false,
                "mailer_subjects_password_changed_notification": "Changed", "password_required_characters": "abc",
                "nested": {"list": [{"kid": "1"}]}, "connection_string": "postgresql://postgres.abc:…@host:6543/postgres",
            })
        );
    }
}
