//! The JSON API, version 1. It knows users by their token alone, never by a cookie, so that no page elsewhere can use it. What it
//! answers are the panel's types; docs/openapi.json describes them and is served, too.

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use super::guard::{Caller, Visitor, text};
use super::layout::{hints, status};
use super::pages::{export, restore, runs};
use super::panel::{Answer, DiffRequest, ExportRequest, JobRequest, PanelError, RestoreRequest, RunFilter};
use super::{Role, Web};

/// The description of this API, OpenAPI 3.1.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
    hints: &'a [String],
}

#[derive(Serialize)]
struct Started {
    run: String,
}

/// A list under its name, so that fields can be added beside it.
#[derive(Serialize)]
struct Many<T> {
    #[serde(flatten)]
    list: std::collections::BTreeMap<&'static str, Vec<T>>,
}

#[derive(Debug, Deserialize)]
struct OfSource {
    source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct OfKind {
    kind: String,
}

/// A restore with the confirmation.
#[derive(Debug, Deserialize)]
struct Confirmed {
    #[serde(flatten)]
    request: RestoreRequest,
    /// Of the plan that was seen.
    digest: String,
    /// The database's name.
    confirm: String,
}

pub(crate) fn routes(web: &Web) -> Router<Web> {
    let operators = Router::new()
        .route("/jobs", post(start))
        .route("/runs/{id}/stop", post(stop))
        .route("/exports", post(exported))
        .route("/restores/plan", post(plan))
        .route("/restores", post(restored))
        .route_layer(from_fn(for_operators));
    let viewers = Router::new()
        .route("/sources", get(sources))
        .route("/sources/{name}/growth", get(growth))
        .route("/snapshots", get(snapshots))
        .route("/snapshots/{id}", get(snapshot))
        .route("/snapshots/{id}/objects", get(objects))
        .route("/diff", get(diff))
        .route("/runs", get(all_runs))
        .route("/runs/{id}", get(run))
        .route("/targets", get(targets));
    viewers
        .merge(operators)
        .route_layer(from_fn_with_state(web.clone(), by_token))
        .route("/openapi.json", get(openapi))
        .fallback(nothing)
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn nothing() -> Response {
    problem(StatusCode::NOT_FOUND, "there is no such address", &[])
}

fn problem(status: StatusCode, error: &str, hints: &[String]) -> Response {
    (status, Json(Problem { error, hints })).into_response()
}

fn answer<T: Serialize>(answer: Answer<T>) -> Response {
    match answer {
        Ok(value) => Json(value).into_response(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &PanelError) -> Response {
    problem(status(error), &error.to_string(), hints(error))
}

fn many<T: Serialize>(name: &'static str, list: Answer<Vec<T>>) -> Response {
    answer(list.map(|list| Many { list: [(name, list)].into() }))
}

/// Lets in whom a bearer token names. A cookie means nothing here.
async fn by_token(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
    next: Next,
) -> Response {
    let keys = [format!("address {}", caller.address)];
    let now = web.now();
    if let Some(seconds) = web.0.throttle.wait(&keys, now) {
        let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "too many attempts", &[]);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        return response;
    }
    let token = text(request.headers(), header::AUTHORIZATION).and_then(|text| text.strip_prefix("Bearer "));
    let name = token.and_then(|token| web.0.access.by_token(token.trim(), false));
    let found = name.and_then(|name| web.0.access.role(&name).map(|role| (name, role)));
    let Some((name, role)) = found else {
        if token.is_some() {
            web.0.throttle.failed(&keys, now);
            let _ = web.audit(&caller.as_visitor(None), "request", request.uri().path(), "refused", "token");
        }
        let hint = "send `Authorization: Bearer TOKEN`; `basekeep dashboard token` makes one".to_owned();
        let mut response = problem(StatusCode::UNAUTHORIZED, "no valid token was sent", &[hint]);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    };
    request.extensions_mut().insert(caller.as_visitor(Some(Visitor::of_token(name, role))));
    next.run(request).await
}

async fn for_operators(Extension(caller): Extension<Caller>, request: Request, next: Next) -> Response {
    match caller.visitor.as_ref().map(|visitor| visitor.role) {
        Some(Role::Operator) => next.run(request).await,
        _ => problem(
            StatusCode::FORBIDDEN,
            "this is for operators",
            &["the token's user is a viewer".to_owned()],
        ),
    }
}

async fn sources(State(web): State<Web>) -> Response {
    many("sources", web.panel().sources().await)
}

async fn growth(State(web): State<Web>, Path(name): Path<String>) -> Response {
    answer(web.panel().growth(&name).await)
}

async fn snapshots(State(web): State<Web>, Query(of): Query<OfSource>) -> Response {
    answer(web.panel().snapshots(of.source.as_deref()).await)
}

async fn snapshot(State(web): State<Web>, Path(id): Path<String>) -> Response {
    answer(web.panel().snapshot(&id).await)
}

async fn objects(State(web): State<Web>, Path(id): Path<String>, Query(of): Query<OfKind>) -> Response {
    many("objects", web.panel().objects(&id, &of.kind).await)
}

async fn diff(State(web): State<Web>, Query(request): Query<DiffRequest>) -> Response {
    answer(web.panel().diff(&request).await)
}

async fn all_runs(State(web): State<Web>, Query(filter): Query<RunFilter>) -> Response {
    many("runs", web.panel().runs(&filter).await)
}

async fn run(State(web): State<Web>, Path(id): Path<String>) -> Response {
    answer(web.panel().run(&id).await)
}

async fn targets(State(web): State<Web>) -> Response {
    many("targets", web.panel().targets().await)
}

fn started(run: Answer<String>) -> Response {
    match run {
        Ok(run) => (StatusCode::ACCEPTED, Json(Started { run })).into_response(),
        Err(error) => failed(&error),
    }
}

async fn start(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Json(job): Json<JobRequest>,
) -> Response {
    started(runs::begin(&web, &caller, &job).await)
}

async fn stop(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    match runs::halt(&web, &caller, &id).await {
        Ok(()) => (StatusCode::ACCEPTED, Json(Started { run: id })).into_response(),
        Err(error) => failed(&error),
    }
}

async fn exported(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<ExportRequest>,
) -> Response {
    match export::stream(&web, &caller, &request).await {
        Ok(response) => response,
        Err(error) => failed(&error),
    }
}

async fn plan(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<RestoreRequest>,
) -> Response {
    if let Err(error) = web.audit(&caller, "plan", &restore::named(&request), "asked", "") {
        return failed(&error.into());
    }
    answer(web.panel().plan_restore(&request).await)
}

async fn restored(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Json(confirmed): Json<Confirmed>,
) -> Response {
    let Confirmed { request, digest, confirm } = confirmed;
    started(restore::begin(&web, &caller, &request, &digest, &confirm).await)
}
