//! What ran and what runs: the history, one run with live progress (server-sent events), starting and stopping.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Form, Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use futures::StreamExt;
use jiff::Timestamp;
use maud::{Markup, html};

use crate::web::Web;
use crate::web::guard::Caller;
use crate::web::layout::{Page, Place, outcome, scroll, sentence, show, token};
use crate::web::panel::{Answer, Counters, EventKind, JobRequest, Outcome, Run, RunDetail, RunFilter};
use crate::web::words::{bytes, clock, count, exact, known, relative, short, span};

/// How often a quiet stream says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Runs on a page.
const MOST: usize = 200;

pub(crate) async fn list(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Query(filter): Query<RunFilter>,
) -> Response {
    show(&caller, list_page(&web, filter).await)
}

async fn list_page(web: &Web, filter: RunFilter) -> Answer<Page> {
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let limit = Some(filter.limit.unwrap_or(MOST).min(MOST));
    let filter = RunFilter { source: some(filter.source), job: some(filter.job), limit };
    let runs = web.panel().runs(&filter).await?;
    let sources = web.panel().sources().await?;
    let jobs = ["backup", "drill", "restore", "forget", "prune", "check", "replicas"];
    let body = html! {
        div.heading { h1 { "Runs" } }
        form.filter method="get" action="/runs" {
            label for="source" { "Source" }
            select #source name="source" {
                option value="" { "all" }
                @for one in &sources { option value=(one.name) selected[filter.source.as_deref() == Some(&one.name)] { (one.name) } }
            }
            label for="job" { "Job" }
            select #job name="job" {
                option value="" { "all" }
                @for job in jobs { option value=(job) selected[filter.job.as_deref() == Some(job)] { (job) } }
            }
            button type="submit" { "Show" }
        }
        @if runs.is_empty() { div.card { p { "Nothing has run yet." } } } @else { (table(&runs, web.now())) }
    };
    Ok(Page::new("Runs", Place::Runs, body))
}

/// Runs as a table.
pub(super) fn table(runs: &[Run], now: Timestamp) -> Markup {
    let table = html! {
        table {
            thead { tr {
                th scope="col" { "Job" } th scope="col" { "Source" } th scope="col" { "Started" } th.wide scope="col" { "Took" }
                th scope="col" { "Outcome" } th.wide scope="col" { "Summary" }
            } }
            tbody { @for run in runs {
                tr {
                    td { a href={ "/runs/" (run.id) } { (run.job) } }
                    td { (run.source) }
                    td { (relative(run.started, now)) }
                    td.wide { (took(run, now)) }
                    td { (outcome(run.outcome)) }
                    td.wide.summary { (run.summary.as_deref().unwrap_or_default()) }
                }
            } }
        }
    };
    scroll("Runs", table)
}

fn took(run: &Run, now: Timestamp) -> String {
    span(run.ended.unwrap_or(now).duration_since(run.started).as_secs_f64())
}

pub(crate) async fn one(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let answer = web.panel().run(&id).await;
    show(&caller, answer.map(|detail| run_page(&detail, &caller, web.now())))
}

fn run_page(detail: &RunDetail, caller: &Caller, now: Timestamp) -> Page {
    let run = &detail.run;
    let is_running = run.outcome == Outcome::Running;
    let by = run.started_by.as_deref().unwrap_or("the schedule");
    let body = html! {
        nav.crumbs aria-label="Breadcrumb" { a href="/runs" { "Runs" } }
        div.heading { h1 { (sentence(&run.job).trim_end_matches('.')) " of " (run.source) } (outcome(run.outcome)) }
        @if is_running { (live(detail, caller)) }
        @if let Some(summary) = &run.summary {
            p class=(if matches!(run.outcome, Outcome::Failed | Outcome::Different) { "error" } else { "lead" }) { (sentence(summary)) }
        }
        div.card { dl.facts {
            div { dt { "Started" } dd { (exact(run.started)) " by " (by) } }
            div { dt { "Took" } dd { (took(run, now)) } }
            @if let Some(snapshot) = &run.snapshot {
                div { dt { "Snapshot" } dd { a href={ "/snapshots/" (snapshot) } { code { (short(snapshot)) } } } }
            }
            div { dt { "Rows" } dd { (known(run.rows, count)) } }
            div { dt { "Size" } dd { (known(run.bytes, bytes)) } }
            div { dt { "Added" } dd { (known(run.added_bytes, bytes)) } }
        } }
        h2 { "What it told" }
        ol.events #events { @for event in &detail.events {
            li class=(word(event.kind)) { (clock_of(event.time)) " " span { (event.text) } }
        } }
        @if detail.events.is_empty() && !is_running { p.quiet { "The steps of this run are not kept any more." } }
    };
    let mut page = Page::new(format!("{} of {}", run.job, run.source), Place::Runs, body);
    if is_running {
        page.script = Some("run.js");
        page.again = Some(3);
    }
    page
}

fn clock_of(time: Timestamp) -> Markup {
    html! { time datetime=(time) { (clock(time)) } }
}

fn word(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Step => "step",
        EventKind::Warning => "warning",
        EventKind::Error => "failure",
        EventKind::End => "end",
    }
}

fn live(detail: &RunDetail, caller: &Caller) -> Markup {
    let counters = detail.progress.unwrap_or_default();
    let share = share(&counters);
    html! {
        section.card.live #live data-run=(detail.run.id) aria-label="Progress" {
            div.title {
                h2 #step { (detail.step.as_deref().unwrap_or("starting")) }
                @if caller.is_operator() {
                    form method="post" action={ "/runs/" (detail.run.id) "/stop" } { (token(caller)) button type="submit" { "Stop" } }
                }
            }
            progress #bar max="100" value=[share] aria-labelledby="step" {}
            p #counters role="status" { (told(&counters)) }
        }
    }
}

/// How far a step is, in percent; `None` where it is not known.
fn share(counters: &Counters) -> Option<u64> {
    let of = |part: u64, all: u64| (all > 0).then(|| (part.min(all) as f64 / all as f64 * 100.0) as u64);
    of(counters.bytes, counters.bytes_expected).or_else(|| of(counters.items, counters.items_expected))
}

fn told(counters: &Counters) -> String {
    let mut parts = Vec::new();
    if counters.items_expected > 0 {
        parts.push(format!("{} of {}", count(counters.items), count(counters.items_expected)));
    }
    if counters.rows > 0 {
        parts.push(format!("{} rows", count(counters.rows)));
    }
    if counters.bytes > 0 {
        parts.push(bytes(counters.bytes));
    }
    parts.join(" · ")
}

/// Server-sent events: `step`, `progress` (share and words), `told`, and `ended`.
pub(crate) async fn events(State(web): State<Web>, Path(id): Path<String>) -> Response {
    use crate::web::panel::RunUpdate;
    let updates = match web.panel().follow(&id).await {
        Ok(updates) => updates,
        Err(error) => return crate::web::layout::status(&error).into_response(),
    };
    let stream = updates.map(|update| {
        let (name, data) = match update {
            RunUpdate::Step { name } => ("step", serde_json::json!({ "name": name })),
            RunUpdate::Progress(counters) => {
                ("progress", serde_json::json!({ "share": share(&counters), "text": told(&counters) }))
            }
            RunUpdate::Event(event) => (
                "told",
                serde_json::json!({ "time": event.time, "clock": clock(event.time), "kind": word(event.kind), "text": event.text }),
            ),
            RunUpdate::Ended { outcome, summary } => {
                ("ended", serde_json::json!({ "outcome": outcome, "summary": summary }))
            }
        };
        Ok::<_, Infallible>(Event::default().event(name).data(data.to_string()))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

pub(crate) async fn start(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(job): Form<JobRequest>,
) -> Response {
    let job = JobRequest { snapshot: job.snapshot.filter(|snapshot| !snapshot.is_empty()), ..job };
    match begin(&web, &caller, &job).await {
        Ok(run) => Redirect::to(&format!("/runs/{run}")).into_response(),
        Err(error) => show(&caller, Err(error)),
    }
}

/// Starts a job, after it was written down.
pub(crate) async fn begin(web: &Web, caller: &Caller, job: &JobRequest) -> Answer<String> {
    let what = match &job.snapshot {
        Some(snapshot) => format!("{} {}", job.source, short(snapshot)),
        None => job.source.clone(),
    };
    web.audit(caller, job.job.word(), &what, "asked", "")?;
    let started = web.panel().start(job, caller.name()).await;
    noted(web, caller, job.job.word(), &what, &started)?;
    started
}

/// Writes down what came of an action.
pub(crate) fn noted<T: AsRef<str>>(
    web: &Web,
    caller: &Caller,
    action: &str,
    what: &str,
    answer: &Answer<T>,
) -> Answer<()> {
    match answer {
        Ok(run) => web.audit(caller, action, what, "started", run.as_ref())?,
        Err(error) => web.audit(caller, action, what, "refused", &error.to_string())?,
    }
    Ok(())
}

pub(crate) async fn stop(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    match halt(&web, &caller, &id).await {
        Ok(()) => Redirect::to(&format!("/runs/{id}")).into_response(),
        Err(error) => show(&caller, Err(error)),
    }
}

/// Stops a run, after it was written down.
pub(crate) async fn halt(web: &Web, caller: &Caller, id: &str) -> Answer<()> {
    web.audit(caller, "stop", id, "asked", "")?;
    web.panel().stop(id).await
}
