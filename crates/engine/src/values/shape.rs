//! What a column's text means: the little of a type that matters to show its values.

use crate::stored::columns::{Columns, Kind, Table, Type};

/// Types may nest; what is deeper than this is shown as its text.
const DEEPEST: u32 = 64;

/// How the values of a type are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `t` or `f`.
    Bool,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `numeric`, with precision and scale where they are declared.
    Numeric(Option<(u16, i16)>),
    /// `real`.
    Float4,
    /// `double precision`.
    Float8,
    /// `date`.
    Date,
    /// `timestamp without time zone`.
    Timestamp,
    /// `timestamp with time zone`, always written in UTC.
    TimestampTz,
    /// `uuid`.
    Uuid,
    /// `bytea`, written as `\x…`.
    Bytes,
    /// `json` or `jsonb`.
    Json,
    /// `hstore`.
    Hstore,
    /// `int2vector`, `oidvector`: elements with spaces between them.
    Vector(Box<Shape>),
    /// A true array.
    Array {
        /// Its elements.
        element: Box<Shape>,
        /// What stands between two elements: a semicolon for boxes, a comma for everything else.
        delimiter: u8,
    },
    /// A composite type: names and types of its attributes.
    Composite(Vec<(String, Shape)>),
    /// Everything else is shown as its text.
    Text,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: String,
    /// How its values are shown.
    pub(crate) shape: Shape,
}

impl Column {
    /// The columns of a table's rows.
    pub(crate) fn of_table(columns: &Columns, table: &Table) -> Vec<Self> {
        let column = |column: &crate::stored::columns::Column| Self {
            name: column.name.clone(),
            shape: Shape::of(columns, column.of, column.typmod, 0),
        };
        table.columns.iter().map(column).collect()
    }

    /// Columns of which nothing but the name is known.
    pub(crate) fn unknown(names: &[String]) -> Vec<Self> {
        names.iter().map(|name| Self { name: name.clone(), shape: Shape::Text }).collect()
    }
}

impl Shape {
    fn of(columns: &Columns, oid: u32, typmod: i32, depth: u32) -> Self {
        let Some(found) = columns.type_of(oid).filter(|_| depth < DEEPEST) else { return Self::Text };
        if found.schema == "pg_catalog"
            && let vector @ Self::Vector(_) = Self::of_base(&found.name, -1)
        {
            return vector;
        }
        match &found.kind {
            Kind::Base if found.schema == "pg_catalog" => Self::of_base(&found.name, typmod),
            Kind::Base if found.name == "hstore" && found.extension.as_deref() == Some("hstore") => {
                Self::Hstore
            }
            Kind::Base | Kind::Enum | Kind::Range { .. } | Kind::Multirange { .. } => Self::Text,
            Kind::Domain { base, typmod } => Self::of(columns, *base, *typmod, depth + 1),
            // A modifier of an array is that of its elements.
            Kind::Array { element } => Self::Array {
                element: Box::new(Self::of(columns, *element, typmod, depth + 1)),
                delimiter: columns.type_of(*element).map_or(b',', delimiter),
            },
            Kind::Composite { attributes } => Self::Composite(
                attributes
                    .iter()
                    .map(|part| (part.name.clone(), Self::of(columns, part.of, part.typmod, depth + 1)))
                    .collect(),
            ),
        }
    }

    /// The shape of a base type of the server, by its name in `pg_catalog`, with its type modifier (-1 for none).
    pub(crate) fn of_base(name: &str, typmod: i32) -> Self {
        match name {
            "bool" => Self::Bool,
            "int2" => Self::Int2,
            "int4" => Self::Int4,
            "int8" => Self::Int8,
            "numeric" => Self::Numeric(precision(typmod)),
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            "uuid" => Self::Uuid,
            "bytea" => Self::Bytes,
            "json" | "jsonb" => Self::Json,
            "int2vector" => Self::Vector(Box::new(Self::Int2)),
            "oidvector" => Self::Vector(Box::new(Self::Text)),
            _ => Self::Text,
        }
    }
}

/// `pg_type.typdelim`, which is a comma for all but these.
fn delimiter(element: &Type) -> u8 {
    match (element.schema.as_str(), element.name.as_str(), element.extension.as_deref()) {
        ("pg_catalog", "box", _) => b';',
        (_, "geometry" | "geography", Some("postgis")) => b':',
        _ => b',',
    }
}

/// Precision and scale of a numeric's type modifier (`make_numeric_typmod` in the server's `numeric.c`).
fn precision(typmod: i32) -> Option<(u16, i16)> {
    let packed = u32::try_from(typmod.checked_sub(4)?).ok()?;
    let precision = u16::try_from(packed >> 16).ok()?;
    // Eleven bits with a sign.
    let scale = ((packed & 0x7ff) as i16 ^ 1024) - 1024;
    Some((precision, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_and_scale_are_read_from_the_type_modifier() {
        assert_eq!(precision(-1), None);
        assert_eq!(precision((14 << 16 | 4) + 4), Some((14, 4)));
        assert_eq!(precision((3 << 16 | (-2 & 0x7ff)) + 4), Some((3, -2)));
    }
}
