//! A restore: what and where to, then the plan, then the target's name, then its run.

use axum::Extension;
use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::runs::noted;
use crate::web::Web;
use crate::web::guard::Caller;
use crate::web::layout::{Page, Place, render, scroll, sentence, show, token};
use crate::web::panel::{Answer, PanelError, RestoreMode, RestorePlan, RestoreRequest};
use crate::web::words::{count, exact, known, minute, short};

/// Lines of a plan on the page; the others are counted.
const MOST: usize = 1000;

#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    #[serde(default)]
    snapshot: String,
}

/// What the forms send.
#[derive(Debug, Deserialize)]
pub(crate) struct Sent {
    snapshot: String,
    target: String,
    #[serde(default)]
    database: String,
    #[serde(default)]
    create: bool,
    #[serde(default)]
    mode: RestoreMode,
    #[serde(default)]
    tables: String,
    /// Of the second form.
    #[serde(default)]
    digest: String,
    #[serde(default)]
    typed: String,
}

impl Sent {
    fn request(&self) -> RestoreRequest {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        RestoreRequest {
            snapshot: self.snapshot.clone(),
            target: self.target.clone(),
            database: some(&self.database),
            create: self.create,
            mode: self.mode,
            tables: some(&self.tables),
        }
    }
}

pub(crate) async fn form(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Query(which): Query<Which>,
) -> Response {
    show(&caller, form_page(&web, &caller, &which.snapshot).await)
}

async fn form_page(web: &Web, caller: &Caller, wanted: &str) -> Answer<Page> {
    let snapshots = web.panel().snapshots(None).await?.snapshots;
    let targets = web.panel().targets().await?;
    let body = html! {
        div.heading { h1 { "Restore" } }
        p.lead { "Nothing is changed before you have seen the plan and typed the target's name." }
        @if snapshots.is_empty() { div.card { p { "There is no snapshot yet." } } }
        @else if targets.is_empty() { div.card { p { "No target is configured. Every [source.NAME] of basekeep.toml is one." } } }
        @else {
            form.card.grid method="post" action="/restore/plan" {
                (token(caller))
                div { label for="snapshot" { "Snapshot" }
                    select #snapshot name="snapshot" { @for snapshot in &snapshots {
                        option value=(snapshot.id) selected[!wanted.is_empty() && snapshot.id.starts_with(wanted)] {
                            (snapshot.source) " · " (minute(snapshot.time)) " · " (short(&snapshot.id)) }
                    } } }
                div { label for="target" { "Target" }
                    select #target name="target" { @for target in &targets {
                        option value=(target.name) { (target.name) " · " (target.place) }
                    } } }
                div { label for="database" { "Database " span.quiet { "if not the target's own" } }
                    input #database name="database" autocomplete="off" spellcheck="false" autocapitalize="none"; }
                div { label for="mode" { "What the target may hold" }
                    select #mode name="mode" {
                        option value="empty" { "nothing: it must be empty" }
                        option value="merge" { "rows: put the snapshot's in beside them" }
                        option value="clear" { "rows: replace them, after a backup of the target" }
                    } }
                div { label for="tables" { "Tables " span.quiet { "all, or schema.name, separated by commas" } }
                    input #tables name="tables" autocomplete="off" spellcheck="false" autocapitalize="none"; }
                div.check { label { input type="checkbox" name="create" value="true"; " create the database first" } }
                div.actions { button.primary type="submit" { "Show the plan" } }
            }
        }
    };
    Ok(Page::new("Restore", Place::Restore, body))
}

pub(crate) async fn plan(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(sent): Form<Sent>,
) -> Response {
    show(&caller, planned(&web, &caller, &sent, None).await)
}

async fn planned(web: &Web, caller: &Caller, sent: &Sent, error: Option<&str>) -> Answer<Page> {
    let request = sent.request();
    let what = named(&request);
    let plan = web.panel().plan_restore(&request).await;
    let (outcome, detail) = match &plan {
        Ok(_) => ("done", String::new()),
        Err(error) => ("failed", error.to_string()),
    };
    web.audit(caller, "plan", &what, outcome, &detail)?;
    Ok(Page::new("Restore: the plan", Place::Restore, plan_page(&plan?, &request, caller, error)))
}

/// A restore in the audit log.
pub(crate) fn named(request: &RestoreRequest) -> String {
    let into = request.database.as_deref().map(|database| format!("/{database}")).unwrap_or_default();
    format!("{} into {}{into}", short(&request.snapshot), request.target)
}

fn plan_page(plan: &RestorePlan, request: &RestoreRequest, caller: &Caller, error: Option<&str>) -> Markup {
    let mode = match request.mode {
        RestoreMode::Empty => "empty",
        RestoreMode::Merge => "merge",
        RestoreMode::Clear => "clear",
    };
    html! {
        nav.crumbs aria-label="Breadcrumb" { a href={ "/restore?snapshot=" (plan.snapshot.id) } { "Restore" } }
        div.heading { h1 { "The plan" } }
        p.lead { "Snapshot " a href={ "/snapshots/" (plan.snapshot.id) } { code { (short(&plan.snapshot.id)) } } " of " (plan.snapshot.source)
            ", " (exact(plan.snapshot.time)) ", into " b { (plan.place) } }
        div.card { ul.summary { @for line in &plan.summary { li { (line) } } } }
        @if !plan.warnings.is_empty() || !plan.lost.is_empty() || !plan.differs.is_empty() {
            section.card.notices.warning { h2 { "To know beforehand" } ul {
                @for warning in &plan.warnings { li { (sentence(warning)) } }
                @for named in &plan.lost { li { b { (named.name) } " is not in the snapshot any more: " (sentence(&named.text)) } }
                @for named in &plan.differs { li { b { (named.name) } " differs and is left alone: " (sentence(&named.text)) } }
            } }
        }
        @if !plan.changes.is_empty() {
            details.figures { summary { "Every change " span.quiet { (count(plan.changes.len() as u64)) } }
                (scroll("Changes", html! {
                    table {
                        thead { tr { th scope="col" { "What" } th scope="col" { "Object" } th.number scope="col" { "Rows" } } }
                        tbody { @for change in plan.changes.iter().take(MOST) {
                            tr { td { (change.action) } td { (change.object) } td.number { (known(change.rows, count)) } }
                        } }
                    }
                    @if plan.changes.len() > MOST { p.quiet { "And " (count((plan.changes.len() - MOST) as u64)) " more." } }
                }))
            }
        }
        form.card.confirm method="post" action="/restore/start" {
            (token(caller))
            input type="hidden" name="snapshot" value=(plan.snapshot.id);
            input type="hidden" name="target" value=(request.target);
            input type="hidden" name="database" value=(request.database.as_deref().unwrap_or_default());
            @if request.create { input type="hidden" name="create" value="true"; }
            input type="hidden" name="mode" value=(mode);
            input type="hidden" name="tables" value=(request.tables.as_deref().unwrap_or_default());
            input type="hidden" name="digest" value=(plan.digest);
            @if let Some(error) = error { p.error role="alert" { (sentence(error)) } }
            label for="typed" { "Type the database's name, " b { (plan.database) } ", to go on" }
            input #typed name="typed" autocomplete="off" spellcheck="false" autocapitalize="none" required data-expected=(plan.database);
            div.actions { button.danger type="submit" { "Restore into " (plan.database) } a.button href="/restore" { "Cancel" } }
        }
    }
}

pub(crate) async fn start(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Form(sent): Form<Sent>,
) -> Response {
    match begin(&web, &caller, &sent.request(), &sent.digest, &sent.typed).await {
        Ok(run) => Redirect::to(&format!("/runs/{run}")).into_response(),
        Err(PanelError::Refused(why)) => match planned(&web, &caller, &sent, Some(&why)).await {
            Ok(page) => render(&caller, StatusCode::CONFLICT, &page),
            Err(error) => show(&caller, Err(error)),
        },
        Err(error) => show(&caller, Err(error)),
    }
}

/// Starts a restore, after it was written down.
pub(crate) async fn begin(
    web: &Web,
    caller: &Caller,
    request: &RestoreRequest,
    digest: &str,
    typed: &str,
) -> Answer<String> {
    let what = named(request);
    web.audit(caller, "restore", &what, "asked", "")?;
    let started = web.panel().start_restore(request, digest, typed.trim(), caller.name()).await;
    noted(web, caller, "restore", &what, &started)?;
    started
}
