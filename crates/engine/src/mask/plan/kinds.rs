//! What a column's type means for masks.

use super::super::method::Kind;
use crate::stored::columns::{Column, Columns, Kind as TypeKind};

/// Domains may be made of domains.
const DEEPEST: u32 = 64;
/// What the type modifiers of texts have on top of the length (`VARHDRSZ`).
const HEADER: i32 = 4;
/// `NAMEDATALEN` without the end.
const LONGEST_NAME: usize = 63;

/// The kind of a column.
pub(super) fn of_column(columns: &Columns, column: &Column) -> Kind {
    let (name, typmod) = base(columns, column);
    let longest = usize::try_from(typmod - HEADER).ok();
    match name {
        Some("text") => Kind::TEXT,
        Some("varchar") => Kind::Text { longest, fold: false, trim: false },
        Some("bpchar") => Kind::Text { longest, fold: false, trim: true },
        Some("name") => Kind::Text { longest: Some(LONGEST_NAME), fold: false, trim: false },
        Some("citext") => Kind::Text { longest: None, fold: true, trim: false },
        Some("int2" | "int4" | "int8") => Kind::Integer,
        Some("uuid") => Kind::Uuid,
        Some("bytea") => Kind::Bytes,
        Some("json" | "jsonb") => Kind::Json,
        _ => Kind::Other,
    }
}

/// The base type's name where it is one of the server's own or `citext`, and the modifier that counts.
fn base<'a>(columns: &'a Columns, column: &Column) -> (Option<&'a str>, i32) {
    let (mut oid, mut modifier) = (column.of, column.typmod);
    for _ in 0..DEEPEST {
        let Some(found) = columns.type_of(oid) else { break };
        match &found.kind {
            TypeKind::Domain { base, typmod } => (oid, modifier) = (*base, *typmod),
            TypeKind::Base
                if found.schema == "pg_catalog" || found.extension.as_deref() == Some("citext") =>
            {
                return (Some(&found.name), modifier);
            }
            _ => break,
        }
    }
    (None, -1)
}

/// Why a constant is no value of the column, where that is known.
pub(super) fn constant(columns: &Columns, column: &Column, kind: Kind, value: &str) -> Option<String> {
    let fits = match kind {
        Kind::Text { longest, .. } => longest.is_none_or(|longest| value.chars().count() <= longest),
        Kind::Integer => {
            let number = value.parse::<i64>();
            match base(columns, column).0 {
                Some("int2") => number.is_ok_and(|number| i16::try_from(number).is_ok()),
                Some("int4") => number.is_ok_and(|number| i32::try_from(number).is_ok()),
                _ => number.is_ok(),
            }
        }
        Kind::Json => serde_json::from_str::<&serde_json::value::RawValue>(value).is_ok(),
        Kind::Uuid => {
            value.chars().filter(char::is_ascii_hexdigit).count() == 32
                && value.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
        }
        Kind::Bytes | Kind::Other => true,
    };
    (!fits).then(|| format!("the constant is no {}", column.type_name))
}
