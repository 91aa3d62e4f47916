//! The download of a snapshot in another form.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::web::Web;
use crate::web::guard::Caller;
use crate::web::layout::show;
use crate::web::panel::{Answer, ExportFormat, ExportRequest, PanelError};
use crate::web::words::short;

#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    format: ExportFormat,
    #[serde(default)]
    table: String,
    #[serde(default)]
    gzip: bool,
}

pub(crate) async fn download(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(snapshot): Path<String>,
    Form(asked): Form<Asked>,
) -> Response {
    let table = Some(asked.table).filter(|table| !table.is_empty());
    let request = ExportRequest { snapshot, format: asked.format, table, gzip: asked.gzip };
    match stream(&web, &caller, &request).await {
        Ok(response) => response,
        Err(error) => show(&caller, Err(error)),
    }
}

/// Begins a download, after it was written down.
pub(crate) async fn stream(web: &Web, caller: &Caller, request: &ExportRequest) -> Answer<Response> {
    if request.format.is_for_one_table() && request.table.is_none() {
        return Err(PanelError::Refused("this form holds one table: choose which".to_owned()));
    }
    let form = ExportFormat::ALL
        .iter()
        .find(|(format, ..)| *format == request.format)
        .map_or("", |(_, word, _)| word);
    let table = request.table.as_deref().unwrap_or("all tables");
    let what = format!("{} as {form}, {table}", short(&request.snapshot));
    web.audit(caller, "export", &what, "started", "")?;
    let download = match web.panel().export(request).await {
        Ok(download) => download,
        Err(error) => {
            web.audit(caller, "export", &what, "failed", &error.to_string())?;
            return Err(error);
        }
    };
    let name: String = download
        .file_name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .collect();
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    let mut response = Body::from_stream(download.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(download.media_type));
    headers
        .insert(header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment")));
    Ok(response)
}
