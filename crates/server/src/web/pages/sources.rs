//! The first page: every source with its age, proof and next run; and one source with its growth.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{runs, snapshots};
use crate::web::Web;
use crate::web::chart;
use crate::web::guard::Caller;
use crate::web::layout::{Page, Place, pill, scroll, show, token};
use crate::web::panel::{
    Answer, Growth, JobKind, PanelError, RunFilter, Source, State as Health, TableGrowth,
};
use crate::web::words::{bytes, count, known, minute, relative};

/// Runs on the page of a source.
const RUNS: usize = 8;
/// Snapshots on the page of a source.
const SNAPSHOTS: usize = 8;
/// Tables on the page of a source.
const TABLES: usize = 50;

pub(crate) async fn overview(State(web): State<Web>, Extension(caller): Extension<Caller>) -> Response {
    show(&caller, overview_page(&web, &caller).await)
}

async fn overview_page(web: &Web, caller: &Caller) -> Answer<Page> {
    let sources = web.panel().sources().await?;
    let runs = web.panel().runs(&RunFilter { limit: Some(6), ..RunFilter::default() }).await?;
    let now = web.now();
    let body = html! {
        div.heading { h1 { "Sources" } (verdict(&sources)) }
        @if sources.is_empty() {
            div.card { p { "No source is configured, and the repository holds no snapshot yet. Add a "
                code { "[source.NAME]" } " section to basekeep.toml." } }
        }
        div.cards { @for source in &sources { (card(source, caller, now)) } }
        h2 { "Latest runs" }
        @if runs.is_empty() { p.quiet { "Nothing has run yet." } } @else { (runs::table(&runs, now)) }
    };
    Ok(Page::new("Sources", Place::Sources, body))
}

/// All sources in one sentence.
fn verdict(sources: &[Source]) -> Markup {
    let of = |state| sources.iter().filter(|source| source.state == state).count();
    match (of(Health::Bad), of(Health::Warning), of(Health::Unknown)) {
        _ if sources.is_empty() => html! {},
        (0, 0, 0) => pill(Health::Good, "all well"),
        (0, 0, unknown) => pill(Health::Unknown, &format!("{unknown} without a backup")),
        (0, warning, _) => pill(Health::Warning, &format!("{warning} to look at")),
        (bad, ..) => pill(Health::Bad, &format!("{bad} in trouble")),
    }
}

fn state(source: &Source) -> Markup {
    let words = match source.state {
        Health::Good => "well",
        Health::Warning => "to look at",
        Health::Bad => "in trouble",
        Health::Unknown => "no backup yet",
    };
    pill(source.state, words)
}

fn card(source: &Source, caller: &Caller, now: Timestamp) -> Markup {
    html! {
        section.card.source aria-label=(source.name) {
            div.title { h2 { a href={ "/sources/" (source.name) } { (source.name) } } (state(source)) }
            @if let Some(reason) = &source.reason { p.reason { (reason) } }
            (facts(source, now))
            (actions(source, caller))
        }
    }
}

fn facts(source: &Source, now: Timestamp) -> Markup {
    html! {
        dl.facts {
            div { dt { "Last backup" } dd {
                @match &source.last {
                    Some(last) => { a href={ "/snapshots/" (last.id) } { (relative(last.time, now)) } }
                    None => { "never" }
                }
            } }
            div { dt { "Proof" } dd {
                @match &source.proof {
                    Some(proof) if proof.equal => { "proven " (relative(proof.time, now)) }
                    Some(proof) => { "found different " (relative(proof.time, now)) }
                    None => { "never drilled" }
                }
            } }
            div { dt { "Next run" } dd {
                @match source.next.iter().min_by_key(|next| next.time) {
                    Some(next) => { (next.job) " " (relative(next.time, now)) }
                    None => { "no schedule" }
                }
            } }
            div { dt { "Rows" } dd { (known(source.last.as_ref().and_then(|last| last.rows), count)) } }
            div { dt { "Size" } dd { (known(source.last.as_ref().and_then(|last| last.bytes), bytes)) } }
            div { dt { "Snapshots" } dd { (count(source.snapshots)) } }
        }
    }
}

fn actions(source: &Source, caller: &Caller) -> Markup {
    html! {
        div.actions {
            @if let Some(run) = &source.running {
                a.button href={ "/runs/" (run) } { "Watch the running work" }
            } @else if caller.is_operator() && source.configured {
                (start(caller, source, JobKind::Backup, "Back up now", None))
                @if source.last.is_some() { (start(caller, source, JobKind::Drill, "Drill", None)) }
            }
        }
    }
}

fn start(caller: &Caller, source: &Source, job: JobKind, text: &str, snapshot: Option<&str>) -> Markup {
    let class = if job == JobKind::Backup { "primary" } else { "" };
    html! {
        form method="post" action="/start" {
            (token(caller))
            input type="hidden" name="source" value=(source.name);
            @if let Some(snapshot) = snapshot { input type="hidden" name="snapshot" value=(snapshot); }
            button class=(class) type="submit" name="job" value=(job.word()) aria-label={ (text) ": " (source.name) } { (text) }
        }
    }
}

pub(crate) async fn one(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Response {
    show(&caller, source_page(&web, &caller, &name).await)
}

async fn source_page(web: &Web, caller: &Caller, name: &str) -> Answer<Page> {
    let sources = web.panel().sources().await?;
    let source = sources.into_iter().find(|source| source.name == name);
    let source = source.ok_or_else(|| PanelError::NotFound(format!("there is no source '{name}'")))?;
    let growth = web.panel().growth(name).await?;
    let filter = RunFilter { source: Some(name.to_owned()), limit: Some(RUNS), ..RunFilter::default() };
    let runs = web.panel().runs(&filter).await?;
    let all = web.panel().snapshots(Some(name)).await?;
    let now = web.now();
    let body = html! {
        div.heading { h1 { (source.name) } (state(&source)) }
        @if let Some(place) = &source.place { p.quiet.place { (place) @if let Some(profile) = &source.profile { " · profile " (profile) } } }
        @if let Some(reason) = &source.reason { p.reason { (reason) } }
        div.card { (facts(&source, now)) (actions(&source, caller))
            @if source.next.len() > 1 {
                p.quiet { "Next: "
                    @for (i, next) in source.next.iter().enumerate() { @if i > 0 { ", " } (next.job) " " (relative(next.time, now)) } }
            }
        }
        h2 #growth { "Growth" }
        (growth_section(&growth))
        h2 { "Snapshots" }
        @if all.snapshots.is_empty() { p.quiet { "None yet." } } @else {
            (snapshots::table(&all.snapshots[..all.snapshots.len().min(SNAPSHOTS)], now, false))
            @if all.snapshots.len() > SNAPSHOTS {
                p { a href={ "/snapshots?source=" (source.name) } { "All " (count(all.snapshots.len() as u64)) " snapshots" } }
            }
        }
        h2 { "Runs" }
        @if runs.is_empty() { p.quiet { "None yet." } } @else {
            (runs::table(&runs, now))
            p { a href={ "/runs?source=" (source.name) } { "All runs of " (source.name) } }
        }
    };
    Ok(Page::new(source.name.clone(), Place::Sources, body))
}

fn growth_section(growth: &Growth) -> Markup {
    if growth.points.len() < 2 {
        return html! { p.quiet { "Two snapshots are needed to draw a line." } };
    }
    let series = |value: fn(&crate::web::panel::GrowthPoint) -> u64| {
        growth.points.iter().map(|point| (point.time, value(point))).collect::<Vec<_>>()
    };
    html! {
        div.charts {
            (chart::line("Rows", &series(|point| point.rows), count))
            (chart::line("Size of the rows", &series(|point| point.bytes), bytes))
            (chart::line("Added to the repository", &series(|point| point.added_bytes), bytes))
        }
        details.figures {
            summary { "The same as a table" }
            (scroll("Growth as a table", html! {
                table {
                    thead { tr { th scope="col" { "Time" } th.number scope="col" { "Rows" } th.number scope="col" { "Size" } th.number scope="col" { "Added" } } }
                    tbody { @for point in growth.points.iter().rev() {
                        tr {
                            td { a href={ "/snapshots/" (point.snapshot) } { (crate::web::words::exact(point.time)) } }
                            td.number { (count(point.rows)) }
                            td.number { (bytes(point.bytes)) }
                            td.number { (bytes(point.added_bytes)) }
                        }
                    } }
                }
            }))
        }
        @if let (Some((from, to)), false) = (growth.between, growth.tables.is_empty()) {
            h3 { "Tables that changed" }
            p.quiet { "Between " (minute(from)) " and " (minute(to)) "." }
            (scroll("Tables that changed", tables(&growth.tables)))
        }
    }
}

fn tables(tables: &[TableGrowth]) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { "Table" } th.number scope="col" { "Rows" } th.number scope="col" { "Change" } th.number.wide scope="col" { "Size" } } }
            tbody { @for table in tables.iter().take(TABLES) {
                tr {
                    td { (table.table) }
                    td.number { (known(table.rows, count)) }
                    td.number { (change(table)) }
                    td.number.wide { (known(table.bytes, bytes)) }
                }
            } }
        }
        @if tables.len() > TABLES { p.quiet { "And " (count((tables.len() - TABLES) as u64)) " more." } }
    }
}

fn change(table: &TableGrowth) -> Markup {
    match (table.rows_before, table.rows) {
        (None, _) => html! { "new" },
        (_, None) => html! { "gone" },
        (Some(before), Some(now)) if now >= before => html! { "+" (count(now - before)) },
        (Some(before), Some(now)) => html! { "−" (count(before - now)) },
    }
}
