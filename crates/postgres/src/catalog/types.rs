//! The types of columns, taken apart: what decides how a value of a type looks as text.

use super::ColumnType;
use crate::rows::Row;
use crate::{Error, Rows};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// Types of the server whose text names other objects: it changes when those are renamed or dropped.
const NAMES_OTHER_OBJECTS: [&str; 13] = [
    "aclitem",
    "regclass",
    "regcollation",
    "regconfig",
    "regdatabase",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

/// Types may nest; a chain longer than this is not understood.
const DEEPEST: u32 = 64;

/// All types that columns are made of.
pub(super) struct Types {
    types: HashMap<u32, Type>,
    known: HashMap<u32, Description>,
}

/// What is known of one type and everything below it.
#[derive(Clone, Debug)]
pub(super) struct Description {
    /// SHA-256 in hex.
    pub(super) fingerprint: String,
    /// Whether `lc_monetary` decides about the text.
    pub(super) money: bool,
    /// Why the text may change although no row does.
    pub(super) ineligible: Option<String>,
}

struct Type {
    schema: String,
    name: String,
    kind: char,
    /// Of true arrays alone: other base types with elements have an output function of their own.
    element: u32,
    base: u32,
    base_typmod: i32,
    /// Name, and version with the transaction that set it.
    extension: Option<(String, String)>,
    /// Each with the transaction that wrote it.
    labels: Vec<String>,
    subtype: u32,
    attributes: Vec<Attribute>,
    /// Of the attributes. They are not in the text, so not in the fingerprint.
    attribute_names: Vec<String>,
}

/// Number, type, type modifier, collation, missing value.
type Attribute = (i16, u32, i32, Option<String>, Option<String>);

#[derive(Serialize)]
struct Canonical<'a> {
    oid: u32,
    schema: &'a str,
    name: &'a str,
    kind: char,
    extension: &'a Option<(String, String)>,
    labels: &'a [String],
    base_typmod: i32,
    attributes: &'a [Attribute],
    /// Fingerprints of element, base, subtype and attributes, in this order.
    parts: Vec<String>,
}

impl Types {
    /// Reads the result of [`super::queries::types`].
    pub(super) fn read(rows: &Rows) -> Result<Self, Error> {
        let types =
            rows.iter().map(|row| Ok((row.parse(0)?, Type::read(row)?))).collect::<Result<_, Error>>()?;
        Ok(Self { types, known: HashMap::new() })
    }

    /// All of them, by oid.
    pub(super) fn list(&self) -> Vec<ColumnType> {
        let mut list: Vec<_> = self.types.iter().map(|(oid, found)| found.column_type(*oid)).collect();
        list.sort_by_key(|found| found.oid);
        list
    }

    /// Describes a type with everything below it.
    pub(super) fn describe(&mut self, oid: u32) -> Description {
        self.describe_at(oid, 0)
    }

    fn describe_at(&mut self, oid: u32, depth: u32) -> Description {
        if let Some(known) = self.known.get(&oid) {
            return known.clone();
        }
        let Some(found) = self.types.get(&oid).filter(|_| depth < DEEPEST) else {
            return Description {
                fingerprint: String::new(),
                money: false,
                ineligible: Some(format!("type {oid} is not understood")),
            };
        };
        let below = found.below();
        let mut money = found.is_server("money");
        let mut ineligible = found.ineligible();
        let mut parts = Vec::with_capacity(below.len());
        for part in below {
            let part = self.describe_at(part, depth + 1);
            money |= part.money;
            ineligible = ineligible.or(part.ineligible);
            parts.push(part.fingerprint);
        }
        let fingerprint = self.types.get(&oid).map(|found| found.fingerprint(oid, parts)).unwrap_or_default();
        let description = Description { fingerprint, money, ineligible };
        self.known.insert(oid, description.clone());
        description
    }
}

impl Type {
    fn read(row: Row<'_>) -> Result<Self, Error> {
        let extension = match (row.get(7), row.get(8)) {
            (Some(name), Some(version)) => Some((name.to_owned(), version.to_owned())),
            _ => None,
        };
        let attributes = match row.get(11) {
            Some(json) => serde_json::from_str(json)
                .map_err(|error| Error::Protocol(format!("attributes of a composite type: {error}")))?,
            None => Vec::new(),
        };
        Ok(Self {
            schema: row.parse(1)?,
            name: row.parse(2)?,
            kind: row.parse::<String>(3)?.chars().next().unwrap_or('?'),
            element: row.parse(4)?,
            base: row.parse(5)?,
            base_typmod: row.parse(6)?,
            extension,
            labels: row.parse::<Option<Vec<String>>>(9)?.unwrap_or_default(),
            subtype: row.parse::<Option<u32>>(10)?.unwrap_or_default(),
            attributes,
            attribute_names: row.parse::<Option<Vec<String>>>(12)?.unwrap_or_default(),
        })
    }

    fn column_type(&self, oid: u32) -> ColumnType {
        let some = |oid: u32| (oid != 0).then_some(oid);
        let names = self.attribute_names.iter().cloned();
        ColumnType {
            oid,
            schema: self.schema.clone(),
            name: self.name.clone(),
            kind: self.kind,
            element: some(self.element),
            base: some(self.base),
            base_typmod: self.base_typmod,
            subtype: some(self.subtype),
            extension: self.extension.as_ref().map(|(name, _)| name.clone()),
            attributes: names.zip(&self.attributes).map(|(name, of)| (name, of.1, of.2)).collect(),
        }
    }

    fn is_server(&self, name: &str) -> bool {
        self.schema == "pg_catalog" && self.name == name
    }

    fn below(&self) -> Vec<u32> {
        let direct = [self.element, self.base, self.subtype].into_iter().filter(|oid| *oid != 0);
        direct.chain(self.attributes.iter().map(|attribute| attribute.1)).collect()
    }

    fn ineligible(&self) -> Option<String> {
        let name = || format!("{}.{}", self.schema, self.name);
        match self.kind {
            'b' if self.schema == "pg_catalog" && NAMES_OTHER_OBJECTS.contains(&self.name.as_str()) => {
                Some(format!("the text of type {} names other objects", self.name))
            }
            // Arrays follow their elements; other base types are code.
            'b' if self.schema != "pg_catalog" && self.extension.is_none() && self.element == 0 => {
                Some(format!("type {} belongs to no extension whose version could be watched", name()))
            }
            'b' | 'c' | 'd' | 'e' | 'm' | 'r' => None,
            _ => Some(format!("type {} is not understood", name())),
        }
    }

    fn fingerprint(&self, oid: u32, parts: Vec<String>) -> String {
        let canonical = Canonical {
            oid,
            schema: &self.schema,
            name: &self.name,
            kind: self.kind,
            extension: &self.extension,
            labels: &self.labels,
            base_typmod: self.base_typmod,
            attributes: &self.attributes,
            parts,
        };
        super::fingerprint::hash(&canonical)
    }
}

/// SHA-256 of bytes in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
