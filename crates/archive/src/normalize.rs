//! Definitions as different releases of the server and of pg_dump print them, made comparable.

use bstr::BString;

/// A definition without what does not matter: white space at the ends of lines and at the end.
pub(crate) fn normalize(sql: &[u8]) -> BString {
    let lines: Vec<&[u8]> =
        sql.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end).filter(|l| !l.is_empty()).collect();
    lines.join(&b'\n').into()
}
