//! What makes two entries of two archives the same object.

use std::fmt;

use bstr::BString;
use serde::Serialize;

use crate::model::Entry;
use crate::owner::dropped_object;

/// An object's name across archives: independent of oids, dump ids and order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectIdentity {
    /// The kind, e.g. `TABLE`.
    pub desc: BString,
    /// The schema, empty for objects outside of schemas.
    pub namespace: BString,
    /// The name as the archive has it; for some kinds with a table or argument types.
    pub tag: BString,
    /// What the tag leaves open: an operator's operands, an operator class's access method, the role that default
    /// privileges are for.
    pub detail: BString,
}

impl Entry {
    /// The object this entry is about.
    pub fn identity(&self) -> ObjectIdentity {
        let detail = match self.desc.as_slice() {
            b"OPERATOR" | b"OPERATOR CLASS" | b"OPERATOR FAMILY" => {
                self.drop_stmt.as_ref().and_then(|d| dropped_object(d)).map(BString::from)
            }
            b"DEFAULT ACL" => self.owner.clone(),
            _ => None,
        };
        ObjectIdentity {
            desc: self.desc.clone(),
            namespace: self.namespace.clone().unwrap_or_default(),
            tag: self.tag.clone().unwrap_or_default(),
            detail: detail.unwrap_or_default(),
        }
    }
}

impl fmt::Display for ObjectIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.desc)?;
        if !self.namespace.is_empty() {
            write!(f, "{}.", self.namespace)?;
        }
        write!(f, "{}", self.tag)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}
