//! The files of the pages: a style sheet, two scripts, an icon. They are part of the program.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::access::sha256;

/// Name, media type, content.
const ALL: [(&str, &str, &[u8]); 4] = [
    ("style.css", "text/css; charset=utf-8", include_bytes!("assets/style.css")),
    ("page.js", "text/javascript; charset=utf-8", include_bytes!("assets/page.js")),
    ("run.js", "text/javascript; charset=utf-8", include_bytes!("assets/run.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
];

/// The address of a file, which changes with its content.
pub(crate) fn address(name: &str) -> String {
    let content = ALL.iter().find(|(its, ..)| *its == name).map_or(&[][..], |(.., content)| content);
    format!("/assets/{name}?v={}", hex::encode(&sha256(content)[..6]))
}

pub(crate) async fn get(Path(name): Path<String>) -> Response {
    match ALL.iter().find(|(its, ..)| *its == name) {
        Some((_, kind, content)) => {
            let headers = [
                (header::CONTENT_TYPE, *kind),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, *content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
