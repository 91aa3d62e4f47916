//! Logging in and out, and the theme.

use axum::Extension;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use serde::Deserialize;

use crate::web::Web;
use crate::web::guard::{Caller, Theme, text};
use crate::web::layout::{Page, Place, mark, render, token};

#[derive(Debug, Deserialize)]
pub(crate) struct Where {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(crate) struct Login {
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    next: String,
}

pub(crate) async fn form(Extension(caller): Extension<Caller>, Query(query): Query<Where>) -> Response {
    if caller.visitor.is_some() {
        return Redirect::to(&own(&query.next)).into_response();
    }
    page(&caller, StatusCode::OK, &query.next, None)
}

pub(crate) async fn log_in(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(login): Form<Login>,
) -> Response {
    let by_token = !login.token.trim().is_empty();
    let mut keys = vec![format!("address {}", caller.address)];
    if !by_token {
        keys.push(format!("name {}", login.name.chars().take(100).collect::<String>()));
    }
    let now = web.now();
    if let Some(seconds) = web.0.throttle.wait(&keys, now) {
        let _ = web.audit(&caller, "login", &login.name, "refused", "too many attempts");
        let say = format!("Too many attempts. Try again in {} minutes.", seconds / 60 + 1);
        let mut response = page(&caller, StatusCode::TOO_MANY_REQUESTS, &login.next, Some(&say));
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        return response;
    }
    let user = match by_token {
        true => web.0.access.by_token(login.token.trim(), true),
        false => web.0.access.by_password(&login.name, &login.password).await,
    };
    let Some(user) = user else {
        web.0.throttle.failed(&keys, now);
        let _ =
            web.audit(&caller, "login", &login.name, "refused", if by_token { "token" } else { "password" });
        let say = match by_token {
            true => "This token is not valid, or was used already.",
            false => "Name or password are wrong.",
        };
        return page(&caller, StatusCode::UNAUTHORIZED, &login.next, Some(say));
    };
    web.0.throttle.succeeded(&keys);
    if web.audit(&caller, "login", &user, "done", if by_token { "token" } else { "password" }).is_err() {
        let say = "The audit log cannot be written, so nobody can log in.";
        return page(&caller, StatusCode::INTERNAL_SERVER_ERROR, &login.next, Some(say));
    }
    let session = web.0.sessions.begin(&user, now);
    let mut response = Redirect::to(&own(&login.next)).into_response();
    response.headers_mut().insert(header::SET_COOKIE, caller.session_cookie(&session));
    response
}

pub(crate) async fn log_out(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    if let Some(visitor) = &caller.visitor {
        web.0.sessions.end(&visitor.session);
        let _ = web.audit(&caller, "logout", &visitor.name, "done", "");
    }
    let mut response = Redirect::to("/login").into_response();
    response.headers_mut().insert(header::SET_COOKIE, caller.session_cookie(""));
    response
}

#[derive(Debug, Deserialize)]
pub(crate) struct Chosen {
    theme: String,
}

pub(crate) async fn theme(
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Form(chosen): Form<Chosen>,
) -> Response {
    let back = text(&headers, header::REFERER).and_then(|url| url.split_once("://"));
    let path = back.and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or("/");
    let mut response = Redirect::to(&own(path)).into_response();
    response.headers_mut().insert(header::SET_COOKIE, caller.theme_cookie(Theme::of(&chosen.theme)));
    response
}

/// A path of this site; anything else is the first page.
fn own(next: &str) -> String {
    let bytes = next.as_bytes();
    let is_path = bytes.first() == Some(&b'/') && !matches!(bytes.get(1), Some(b'/' | b'\\'));
    let is_plain = bytes.iter().all(|byte| byte.is_ascii_graphic());
    // What is reached by a form alone cannot be shown again.
    let is_page =
        !["/start", "/restore/", "/login", "/logout", "/theme"].iter().any(|path| next.starts_with(path))
            && !next.ends_with("/events");
    if is_path && is_plain && is_page { next.to_owned() } else { "/".to_owned() }
}

fn page(caller: &Caller, status: StatusCode, next: &str, error: Option<&str>) -> Response {
    let body = html! {
        div.login {
            div.card {
                h1.brand { (mark()) span { "basekeep" } }
                @if let Some(error) = error { p.error role="alert" { (error) } }
                form method="post" action="/login" {
                    (token(caller))
                    input type="hidden" name="next" value=(own(next));
                    label for="name" { "Name" }
                    input #name name="name" autocomplete="username" autocapitalize="none" spellcheck="false" autofocus;
                    label for="password" { "Password" }
                    input #password name="password" type="password" autocomplete="current-password";
                    details #by-token {
                        summary { "Log in with a token" }
                        label for="token" { "Token" }
                        input #token name="token" type="password" autocomplete="off" spellcheck="false";
                        p.quiet { "A token takes the place of name and password. Where no user is configured, the server prints one for the first login." }
                    }
                    button.primary type="submit" { "Log in" }
                }
            }
        }
    };
    let mut response = render(caller, status, &Page::new("Log in", Place::None, body));
    response.headers_mut().insert(header::SET_COOKIE, caller.form_cookie());
    response
}

#[cfg(test)]
mod tests {
    use super::own;

    #[test]
    fn a_login_leads_to_pages_of_this_site_alone() {
        assert_eq!(own("/runs?source=shop"), "/runs?source=shop");
        for other in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nb",
            "/start",
            "/runs/1/events",
        ] {
            assert_eq!(own(other), "/", "{other:?}");
        }
    }
}
