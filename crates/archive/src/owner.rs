//! Who owns what an entry creates (`_getObjectDescription` and the end of `_printTocEntry`).

use bstr::BString;

use crate::model::Entry;
use crate::quote::{quote_identifier, quote_qualified};

/// The statement that gives the entry's object to its owner. `None` when the archive names no owner or objects of
/// this kind have none of their own (constraints, triggers, policies, …).
///
/// Large objects that share an entry are not handled here.
pub(crate) fn alter_owner(entry: &Entry) -> Option<BString> {
    let owner = entry.owner.as_ref().filter(|o| !o.is_empty())?;
    let drop_stmt = entry.drop_stmt.as_ref().filter(|d| !d.is_empty())?;
    let object = match entry.desc.as_slice() {
        b"COLLATION"
        | b"CONVERSION"
        | b"DATABASE"
        | b"DOMAIN"
        | b"EVENT TRIGGER"
        | b"FOREIGN DATA WRAPPER"
        | b"FOREIGN TABLE"
        | b"MATERIALIZED VIEW"
        | b"PROCEDURAL LANGUAGE"
        | b"PUBLICATION"
        | b"SCHEMA"
        | b"SEQUENCE"
        | b"SERVER"
        | b"STATISTICS"
        | b"SUBSCRIPTION"
        | b"TABLE"
        | b"TEXT SEARCH CONFIGURATION"
        | b"TEXT SEARCH DICTIONARY"
        | b"TYPE"
        | b"VIEW" => {
            let schema = entry.namespace.as_ref().map_or(&[][..], |n| n.as_slice());
            bstr::concat([entry.desc.as_slice(), b" ", &quote_qualified(schema, entry.tag_bytes())])
        }
        b"BLOB" => bstr::concat([b"LARGE OBJECT ", entry.tag_bytes()]),
        // The name with its argument types is in the DROP statement, and nowhere else.
        b"AGGREGATE" | b"FUNCTION" | b"OPERATOR" | b"OPERATOR CLASS" | b"OPERATOR FAMILY" | b"PROCEDURE" => {
            dropped_object(drop_stmt)?.to_vec()
        }
        _ => return None,
    };
    Some(bstr::concat([b"ALTER ", object.as_slice(), b" OWNER TO ", &quote_identifier(owner), b";\n"]).into())
}

/// What a DROP statement drops: the statement without `DROP` and without its end.
pub(crate) fn dropped_object(drop_stmt: &[u8]) -> Option<&[u8]> {
    let object = drop_stmt.strip_prefix(b"DROP ")?;
    let end = object.iter().rposition(|b| !matches!(b, b'\n' | b';'))? + 1;
    object.get(..end)
}
