//! The pages and their routes. Which role a route needs is told by the function that it stands in.

mod diff;
pub(crate) mod export;
mod login;
pub(crate) mod restore;
pub(crate) mod runs;
mod snapshots;
mod sources;

use axum::Extension;
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};

use super::guard::{Caller, for_operators, for_viewers};
use super::{Web, assets, layout};

/// For everybody.
pub(crate) fn open_routes() -> Router<Web> {
    Router::new()
        .route("/assets/{name}", get(assets::get))
        .route("/login", get(login::form).post(login::log_in))
}

/// For whoever has logged in.
pub(crate) fn viewer_routes(web: &Web) -> Router<Web> {
    Router::new()
        .route("/", get(sources::overview))
        .route("/sources/{name}", get(sources::one))
        .route("/snapshots", get(snapshots::list))
        .route("/snapshots/{id}", get(snapshots::one))
        .route("/snapshots/{id}/objects", get(snapshots::objects))
        .route("/diff", get(diff::page))
        .route("/runs", get(runs::list))
        .route("/runs/{id}", get(runs::one))
        .route("/runs/{id}/events", get(runs::events))
        .route("/theme", post(login::theme))
        .route("/logout", post(login::log_out))
        .route_layer(from_fn_with_state(web.clone(), for_viewers))
}

/// For operators alone: whatever starts or stops work, and exports, which hold everything that a database holds.
pub(crate) fn operator_routes(web: &Web) -> Router<Web> {
    Router::new()
        .route("/start", post(runs::start))
        .route("/runs/{id}/stop", post(runs::stop))
        .route("/snapshots/{id}/export", post(export::download))
        .route("/restore", get(restore::form))
        .route("/restore/plan", post(restore::plan))
        .route("/restore/start", post(restore::start))
        .route_layer(from_fn_with_state(web.clone(), for_operators))
}

/// What has no route.
pub(crate) async fn not_found(Extension(caller): Extension<Caller>) -> Response {
    layout::refusal(&caller, StatusCode::NOT_FOUND, "Not found", "there is no page at this address")
}
