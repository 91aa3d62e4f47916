//! The snapshots, and what is in one: inventory, tables, warnings, and what could not be captured.

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use crate::web::Web;
use crate::web::guard::Caller;
use crate::web::layout::{Page, Place, proven, scroll, sentence, show, token};
use crate::web::panel::{Answer, ExportFormat, Notice, SnapshotDetail, SnapshotLine, TableLine};
use crate::web::words::{bytes, count, exact, known, relative, short, span};

/// Tables and objects on a page; the others are counted.
const MOST: usize = 2000;

#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    source: Option<String>,
    #[serde(default)]
    all: bool,
}

/// Snapshots on the page of all of them, unless more is asked for.
const FIRST: usize = 100;

pub(crate) async fn list(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Query(which): Query<Which>,
) -> Response {
    show(&caller, list_page(&web, &which).await)
}

async fn list_page(web: &Web, which: &Which) -> Answer<Page> {
    let source = which.source.as_deref().filter(|source| !source.is_empty());
    let found = web.panel().snapshots(source).await?;
    let now = web.now();
    let sources = web.panel().sources().await?;
    let shown = if which.all { found.snapshots.len() } else { found.snapshots.len().min(FIRST) };
    let body = html! {
        div.heading { h1 { "Snapshots" } span.quiet { (count(found.snapshots.len() as u64)) } }
        @if sources.len() > 1 {
            form.filter method="get" action="/snapshots" {
                label for="source" { "Source" }
                select #source name="source" {
                    option value="" { "all" }
                    @for one in &sources { option value=(one.name) selected[source == Some(&one.name)] { (one.name) } }
                }
                button type="submit" { "Show" }
            }
        }
        @for file in &found.unreadable {
            p.error { "Snapshot " code { (short(&file.name)) } " cannot be read: " (sentence(&file.text)) }
        }
        @if found.snapshots.is_empty() { div.card { p { "There is no snapshot yet." } } }
        @else { (table(&found.snapshots[..shown], now, true)) }
        @if shown < found.snapshots.len() {
            p { a href={ "/snapshots?all=true&source=" (source.unwrap_or_default()) } { "All " (count(found.snapshots.len() as u64)) } }
        }
    };
    Ok(Page::new("Snapshots", Place::Snapshots, body))
}

/// Snapshots as a table.
pub(super) fn table(snapshots: &[SnapshotLine], now: Timestamp, with_source: bool) -> Markup {
    let table = html! {
        table {
            thead { tr {
                th scope="col" { "Snapshot" }
                @if with_source { th scope="col" { "Source" } }
                th scope="col" { "Taken" }
                th.number scope="col" { "Rows" }
                th.number.wide scope="col" { "Size" }
                th.number.wide scope="col" { "Added" }
                th scope="col" { "Proof" }
                th.wide scope="col" { "Notes" }
            } }
            tbody { @for snapshot in snapshots {
                tr {
                    td { a href={ "/snapshots/" (snapshot.id) } { code { (short(&snapshot.id)) } } }
                    @if with_source { td { (snapshot.source) } }
                    td { (relative(snapshot.time, now)) }
                    td.number { (known(snapshot.rows, count)) }
                    td.number.wide { (known(snapshot.bytes, bytes)) }
                    td.number.wide { (known(snapshot.added_bytes, bytes)) }
                    td { (proven(snapshot.proven)) }
                    td.wide { (notes(snapshot)) }
                }
            } }
        }
    };
    scroll("Snapshots", table)
}

fn notes(snapshot: &SnapshotLine) -> Markup {
    html! {
        @for tag in &snapshot.tags { span.tag { (tag) } " " }
        @if snapshot.not_captured > 0 { span.warn { (count(snapshot.not_captured)) " not captured" } }
        @if let Some(why) = &snapshot.damaged { span.warn title=(why) { "damaged" } }
    }
}

pub(crate) async fn one(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let answer = web.panel().snapshot(&id).await;
    show(&caller, answer.map(|detail| snapshot_page(&detail, &caller, web.now())))
}

fn snapshot_page(detail: &SnapshotDetail, caller: &Caller, now: Timestamp) -> Page {
    let snapshot = &detail.snapshot;
    let title = format!("Snapshot {}", short(&snapshot.id));
    let body = html! {
        nav.crumbs aria-label="Breadcrumb" { a href={ "/sources/" (snapshot.source) } { (snapshot.source) } }
        div.heading { h1 { "Snapshot " code { (short(&snapshot.id)) } } (proven(snapshot.proven)) }
        div.card {
            dl.facts {
                div { dt { "Taken" } dd { (exact(snapshot.time)) ", " (relative(snapshot.time, now)) } }
                div { dt { "Database" } dd { (detail.database) ", PostgreSQL " (detail.server.split(' ').next().unwrap_or_default()) } }
                div { dt { "Rows" } dd { (known(snapshot.rows, count)) } }
                div { dt { "Size" } dd { (known(snapshot.bytes, bytes)) } }
                div { dt { "Added" } dd { (known(snapshot.added_bytes, bytes)) } }
                div { dt { "Took" } dd { (span(detail.seconds)) } }
                div { dt { "Tags" } dd { @if snapshot.tags.is_empty() { "–" } @for tag in &snapshot.tags { span.tag { (tag) } " " } } }
                div { dt { "Made by" } dd { "basekeep " (detail.basekeep) } }
                div.all { dt { "Id" } dd { code.id { (snapshot.id) } } }
            }
            (actions(detail, caller))
        }
        (notices("Not captured", "bad", &detail.not_captured))
        (notices("Warnings", "warning", &detail.warnings))
        h2 { "Inventory" }
        ul.inventory { @for (kind, number) in &detail.inventory {
            li { a href={ "/snapshots/" (snapshot.id) "/objects?kind=" (kind.replace(' ', "+")) } { span.many { (count(*number)) } " " (kind) } }
        } }
        dl.facts.plain {
            div { dt { "Sequences" } dd { (count(detail.sequences)) } }
            div { dt { "Large objects" } dd { (count(detail.large_objects)) } }
            div { dt { "Extensions" } dd { (listed(&detail.extensions)) } }
            div { dt { "Roles" } dd { (listed(&detail.roles)) } }
        }
        h2 { "Tables" }
        @if detail.tables.is_empty() { p.quiet { "It has none." } } @else { (scroll("Tables", tables(&detail.tables))) }
        @if caller.is_operator() { (export_form(detail, caller)) }
    };
    Page::new(title, Place::Snapshots, body)
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "–".to_owned() } else { names.join(", ") }
}

fn actions(detail: &SnapshotDetail, caller: &Caller) -> Markup {
    let snapshot = &detail.snapshot;
    html! {
        div.actions {
            @if let Some(previous) = &detail.previous {
                a.button href={ "/diff?a=" (previous) "&b=" (snapshot.id) } { "Compare with the one before" }
            }
            @if caller.is_operator() {
                form method="post" action="/start" {
                    (token(caller))
                    input type="hidden" name="source" value=(snapshot.source);
                    input type="hidden" name="snapshot" value=(snapshot.id);
                    button type="submit" name="job" value="drill" { "Drill this snapshot" }
                }
                a.button href={ "/restore?snapshot=" (snapshot.id) } { "Restore…" }
                a.button href="#export" { "Export…" }
            }
        }
    }
}

fn notices(title: &str, class: &str, notices: &[Notice]) -> Markup {
    html! {
        @if !notices.is_empty() {
            section class={ "card notices " (class) } {
                h2 { (title) " " span.quiet { (count(notices.len() as u64)) } }
                ul { @for notice in notices {
                    li { b { (notice.what) } ": " (sentence(&notice.reason))
                        @if let Some(hint) = &notice.hint { " " span.quiet { (sentence(hint)) } } }
                } }
            }
        }
    }
}

fn tables(tables: &[TableLine]) -> Markup {
    let largest = tables.iter().map(|table| table.bytes).max().unwrap_or(1).max(1);
    html! {
        table {
            thead { tr {
                th scope="col" { "Table" } th.number scope="col" { "Rows" } th.number scope="col" { "Size" }
                th.wide scope="col" { "Share" } th.wide scope="col" { "Digest" }
            } }
            tbody { @for table in tables.iter().take(MOST) {
                tr {
                    td { span.quiet { (table.schema) "." } (table.name) }
                    td.number { (count(table.rows)) }
                    td.number { (bytes(table.bytes)) }
                    td.wide { svg.bar viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
                        rect width=(table.bytes as f64 / largest as f64 * 100.0) height="6" rx="1" {}
                    } }
                    td.wide { code.quiet { (table.digest.get(..12).unwrap_or(&table.digest)) } }
                }
            } }
        }
        @if tables.len() > MOST { p.quiet { "And " (count((tables.len() - MOST) as u64)) " more." } }
    }
}

fn export_form(detail: &SnapshotDetail, caller: &Caller) -> Markup {
    html! {
        h2 #export { "Export" }
        form.card.grid method="post" action={ "/snapshots/" (detail.snapshot.id) "/export" } {
            (token(caller))
            div { label for="format" { "Form" }
                select #format name="format" { @for (_, word, text) in ExportFormat::ALL { option value=(word) { (text) } } } }
            div { label for="table" { "Table" }
                select #table name="table" {
                    option value="" { "all" }
                    @for table in detail.tables.iter().take(MOST) {
                        @let name = format!("{}.{}", table.schema, table.name);
                        option value=(name) { (name) }
                    }
                } }
            div.check { label { input type="checkbox" name="gzip" value="true"; " compress (gzip)" } }
            div.actions { button type="submit" { "Download" } }
            p.quiet { "An export holds everything that the database holds, password hashes too." }
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Kind {
    kind: String,
}

pub(crate) async fn objects(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(kind): Query<Kind>,
) -> Response {
    let answer = web.panel().objects(&id, &kind.kind).await;
    show(&caller, answer.map(|names| objects_page(&id, &kind.kind, &names)))
}

fn objects_page(id: &str, kind: &str, names: &[String]) -> Page {
    let body = html! {
        nav.crumbs aria-label="Breadcrumb" { a href={ "/snapshots/" (id) } { "Snapshot " code { (short(id)) } } }
        div.heading { h1 { (sentence(kind).trim_end_matches('.')) } span.quiet { (count(names.len() as u64)) } }
        div.card { ul.names { @for name in names.iter().take(MOST) { li { (name) } } } }
        @if names.len() > MOST { p.quiet { "And " (count((names.len() - MOST) as u64)) " more." } }
    };
    Page::new(format!("{kind} in {}", short(id)), Place::Snapshots, body)
}
