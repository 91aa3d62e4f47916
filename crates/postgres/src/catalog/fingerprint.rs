//! The fingerprint of a table: everything that decides how a stored row looks as COPY text. While it stays the same, equal
//! rows give equal text. Names of tables and columns are not part of it, they are not in the text.

use super::types::{Types, sha256};
use super::{Column, Generated};
use crate::SESSION_PINNING;
use serde::Serialize;

/// Raise it when the meaning of the fields below changes.
const FORMAT: u32 = 2;

#[derive(Serialize)]
struct Canonical<'a> {
    format: u32,
    server_major: u32,
    pinning: &'a str,
    encoding: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lc_monetary: Option<&'a str>,
    columns: Vec<CanonicalColumn<'a>>,
}

#[derive(Serialize)]
struct CanonicalColumn<'a> {
    attnum: i16,
    type_name: &'a str,
    typmod: i32,
    collation: Option<&'a str>,
    missing_value: Option<&'a str>,
    generated: Option<&'static str>,
    type_fingerprint: String,
}

/// What is the same for all tables of a database.
pub(super) struct Circumstances {
    pub(super) server_version: u32,
    pub(super) encoding: String,
    pub(super) lc_monetary: String,
}

/// The fingerprint, and why a column's text may change without its row, if it may.
pub(super) fn of_table(
    columns: &[Column],
    types: &mut Types,
    circumstances: &Circumstances,
) -> (String, Option<String>) {
    let mut money = false;
    let mut ineligible = None;
    let mut canonical = Vec::with_capacity(columns.len());
    for column in columns {
        let described = types.describe(column.type_oid);
        if column.generated.is_none() {
            money |= described.money;
            ineligible =
                ineligible.or(described.ineligible.map(|reason| format!("column {}: {reason}", column.name)));
        }
        canonical.push(CanonicalColumn {
            attnum: column.attnum,
            type_name: &column.type_name,
            typmod: column.typmod,
            collation: column.collation.as_deref(),
            missing_value: column.missing_value.as_deref(),
            generated: column.generated.map(|generated| match generated {
                Generated::Stored => "stored",
                Generated::Virtual => "virtual",
            }),
            type_fingerprint: described.fingerprint,
        });
    }
    let fingerprint = hash(&Canonical {
        format: FORMAT,
        server_major: circumstances.server_version / 10_000,
        pinning: SESSION_PINNING,
        encoding: &circumstances.encoding,
        lc_monetary: money.then_some(circumstances.lc_monetary.as_str()),
        columns: canonical,
    });
    (fingerprint, ineligible)
}

/// SHA-256 in hex of the value as JSON, whose fields come in the order of the type.
pub(super) fn hash(value: &impl Serialize) -> String {
    // Plain structs of numbers, texts and lists always serialize; were it to fail, the empty text would never equal a hash.
    serde_json::to_vec(value).map(|json| sha256(&json)).unwrap_or_default()
}
