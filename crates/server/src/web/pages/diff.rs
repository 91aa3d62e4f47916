//! What differs between two snapshots.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::web::Web;
use crate::web::guard::Caller;
use crate::web::layout::{Page, Place, pill, scroll, sentence, show};
use crate::web::panel::{
    Answer, Comparison, DiffRequest, FieldChange, ItemChange, ObjectChange, RowChange, SnapshotLine,
    State as Health, TableChange,
};
use crate::web::words::{count, counted, exact, known, minute, short};

/// Objects and items on the page; the others are counted.
const MOST: usize = 300;

#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    a: String,
    #[serde(default)]
    b: String,
    #[serde(default)]
    rows: bool,
}

pub(crate) async fn page(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
) -> Response {
    show(&caller, content(&web, asked).await)
}

async fn content(web: &Web, asked: Asked) -> Answer<Page> {
    let all = web.panel().snapshots(None).await?.snapshots;
    let found = match asked.a.is_empty() || asked.b.is_empty() {
        true => None,
        false => {
            let request = DiffRequest { a: asked.a.clone(), b: asked.b.clone(), rows: asked.rows };
            Some(web.panel().diff(&request).await?)
        }
    };
    let body = html! {
        div.heading { h1 { "Compare" } @if let Some(found) = &found {
            @if found.equal { (pill(Health::Good, "equal")) } @else { (pill(Health::Warning, "different")) } } }
        form.card.grid method="get" action="/diff" {
            (choice("a", "Older", &all, &asked.a, 1))
            (choice("b", "Newer", &all, &asked.b, 0))
            div.check { label { input type="checkbox" name="rows" value="true" checked[asked.rows]; " read and compare rows, too" } }
            div.actions { button.primary type="submit" { "Compare" } }
        }
        @if let Some(found) = &found { (comparison(found)) }
        @else if all.len() < 2 { p.quiet { "Two snapshots are needed." } }
    };
    Ok(Page::new("Compare", Place::Compare, body))
}

/// A choice of snapshots; without a wish the one at `standard` is chosen.
fn choice(id: &str, label: &str, all: &[SnapshotLine], wanted: &str, standard: usize) -> Markup {
    let is_wanted = |number: usize, snapshot: &SnapshotLine| match wanted {
        "" => number == standard,
        id => snapshot.id.starts_with(id),
    };
    html! {
        div { label for=(id) { (label) }
            select id=(id) name=(id) {
                @for (number, snapshot) in all.iter().enumerate() {
                    option value=(snapshot.id) selected[is_wanted(number, snapshot)] {
                        (snapshot.source) " · " (minute(snapshot.time)) " · " (short(&snapshot.id)) }
                }
            }
        }
    }
}

fn comparison(found: &Comparison) -> Markup {
    html! {
        p.lead { a href={ "/snapshots/" (found.a.id) } { code { (short(&found.a.id)) } } " of " (found.a.source) ", " (exact(found.a.time))
            " → " a href={ "/snapshots/" (found.b.id) } { code { (short(&found.b.id)) } } " of " (found.b.source) ", " (exact(found.b.time)) }
        @for note in &found.notes { p.quiet { (sentence(note)) } }
        @for notice in &found.not_compared { p.error { "Not compared: " (notice.what) ": " (sentence(&notice.reason)) } }
        @if found.equal { div.card { p { "Nothing differs. " (counted(found.equal_tables, "table has", "tables have")) " equal rows." } } }
        @if !found.tables.is_empty() {
            h2 { "Tables " span.quiet { (count(found.tables.len() as u64)) } }
            (scroll("Tables that differ", tables(&found.tables)))
            @if found.equal_tables > 0 { p.quiet { (counted(found.equal_tables, "table has", "tables have")) " equal rows." } }
            @for table in found.tables.iter().filter(|table| !table.shown.is_empty()) { (rows(table)) }
        }
        @if !found.objects.is_empty() {
            h2 { "Definitions " span.quiet { (count(found.objects.len() as u64)) } }
            @for object in found.objects.iter().take(MOST) { (definition(object)) }
            (rest(found.objects.len()))
        }
        @if !found.items.is_empty() {
            h2 { "Everything else " span.quiet { (count(found.items.len() as u64)) } }
            div.card { ul.changes { @for item in found.items.iter().take(MOST) { (one(item)) } } }
            (rest(found.items.len()))
        }
    }
}

fn rest(number: usize) -> Markup {
    html! { @if number > MOST { p.quiet { "And " (count((number - MOST) as u64)) " more." } } }
}

fn sign(change: &str) -> Markup {
    html! { span class={ "change " (change) } { (change) } }
}

fn tables(tables: &[TableChange]) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { "Table" } th scope="col" { "Change" } th.number scope="col" { "Rows before" } th.number scope="col" { "Rows after" }
                th.number.wide scope="col" { "New" } th.number.wide scope="col" { "Gone" } th.number.wide scope="col" { "Changed" } } }
            tbody { @for table in tables {
                tr {
                    td { (table.table) }
                    td { (sign(&table.change)) }
                    td.number { (known(table.rows_before, count)) }
                    td.number { (known(table.rows, count)) }
                    td.number.wide { (known(table.counts.map(|counts| counts.added), count)) }
                    td.number.wide { (known(table.counts.map(|counts| counts.removed), count)) }
                    td.number.wide { (known(table.counts.map(|counts| counts.changed), count)) }
                }
            } }
        }
    }
}

fn rows(table: &TableChange) -> Markup {
    html! {
        details.card.rows open[table.shown.len() <= 10] {
            summary { "Rows of " (table.table) }
            ul.changes { @for row in &table.shown { (row_of(row)) } }
        }
    }
}

fn row_of(row: &RowChange) -> Markup {
    html! { li { (sign(&row.change)) " " @for key in &row.key { b { (key.name) "=" (value(key.new.as_ref().or(key.old.as_ref()))) } " " } (fields(&row.fields)) } }
}

fn one(item: &ItemChange) -> Markup {
    html! { li { (sign(&item.change)) " " b { (item.kind) " " (item.name) } " " (fields(&item.fields)) } }
}

fn fields(fields: &[FieldChange]) -> Markup {
    html! { @for field in fields { span.field { (field.name) " "
        @if field.old.is_some() { del { (value(field.old.as_ref())) } }
        @if field.old.is_some() && field.new.is_some() { " → " }
        @if field.new.is_some() { ins { (value(field.new.as_ref())) } }
    } " " } }
}

fn value(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

fn definition(object: &ObjectChange) -> Markup {
    let class = |line: &str| match line.as_bytes().first() {
        Some(b'+') => Some("plus"),
        Some(b'-') => Some("minus"),
        Some(b'@') => Some("at"),
        _ => None,
    };
    html! {
        details.card.definition {
            summary { (sign(&object.change)) " " (object.name) }
            pre tabindex="0" { @for line in object.diff.lines() { span class=[class(line)] { (line) "\n" } } }
        }
    }
}
