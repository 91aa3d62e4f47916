//! `columns`: what the rows are made of, as JSON lines. The first line is a [`Header`], each further line one [`Table`].
//!
//! It tells types and keys to what reads rows without a server: exports, comparisons, masks. Losing it costs those
//! their types; nothing that a restore needs is in it alone.

use basekeep_postgres::catalog;
use serde::{Deserialize, Serialize};

/// The version this program writes.
pub const VERSION: u32 = 1;

/// What all tables share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of this format.
    pub version: u32,
    /// Every type that columns are made of, down to the last element and attribute, by oid.
    pub types: Vec<Type>,
}

/// A type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Type {
    /// Its oid on the source; columns and other types refer to it by this number.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name, without schema.
    pub name: String,
    /// What it is made of.
    #[serde(flatten)]
    pub kind: Kind,
    /// The extension it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
}

/// What a type is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// An enum.
    Enum,
    /// An array of a type.
    Array {
        /// The elements' type.
        element: u32,
    },
    /// A domain.
    Domain {
        /// The type below.
        base: u32,
        /// Its type modifier, -1 for none.
        typmod: i32,
    },
    /// A row of named values.
    Composite {
        /// In order.
        attributes: Vec<Attribute>,
    },
    /// A range.
    Range {
        /// The bounds' type.
        subtype: u32,
    },
    /// A multirange.
    Multirange {
        /// Its range type.
        range: u32,
    },
    /// A base type; what is not known to this program counts as one.
    #[serde(other)]
    Base,
}

/// A named part of a composite type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its type.
    pub of: u32,
    /// Its type modifier, -1 for none.
    pub typmod: i32,
}

/// A table whose rows are in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// The data file below the source's folder.
    pub file: String,
    /// The columns in the order of the fields of a row.
    pub columns: Vec<Column>,
    /// Names of generated columns, which the rows do not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generated: Vec<String>,
    /// Columns of the primary key in key order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<Vec<String>>,
    /// Other keys that tell every two rows apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique_keys: Vec<UniqueKey>,
    /// Foreign keys, those from a partitioned parent too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_keys: Vec<ForeignKey>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as `format_type` prints it: `numeric(10,2)`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its type's oid.
    pub of: u32,
    /// Its type modifier, -1 for none.
    pub typmod: i32,
    /// Whether it is `NOT NULL`.
    pub not_null: bool,
}

/// A unique key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueKey {
    /// Name of its index.
    pub name: String,
    /// Its columns in key order.
    pub columns: Vec<String>,
    /// `NULLS NOT DISTINCT`: two rows with nulls are equal too.
    #[serde(default)]
    pub nulls_equal: bool,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// Name of the constraint.
    pub name: String,
    /// The table's columns.
    pub columns: Vec<String>,
    /// Schema and name of the referenced table.
    pub references: (String, String),
    /// Its columns, in the same order.
    pub referenced: Vec<String>,
}

impl Header {
    /// The types of a catalog.
    pub fn new(types: &[catalog::ColumnType]) -> Self {
        Self { version: VERSION, types: types.iter().map(Type::from).collect() }
    }
}

impl From<&catalog::ColumnType> for Type {
    fn from(found: &catalog::ColumnType) -> Self {
        let kind = match (found.kind, found.element, found.base, found.subtype) {
            ('d', _, Some(base), _) => Kind::Domain { base, typmod: found.base_typmod },
            ('r', _, _, Some(subtype)) => Kind::Range { subtype },
            ('m', _, _, Some(range)) => Kind::Multirange { range },
            ('c', ..) => Kind::Composite {
                attributes: found
                    .attributes
                    .iter()
                    .map(|(name, of, typmod)| Attribute { name: name.clone(), of: *of, typmod: *typmod })
                    .collect(),
            },
            ('e', ..) => Kind::Enum,
            (_, Some(element), ..) => Kind::Array { element },
            _ => Kind::Base,
        };
        Self {
            oid: found.oid,
            schema: found.schema.clone(),
            name: found.name.clone(),
            kind,
            extension: found.extension.clone(),
        }
    }
}

impl Table {
    /// What a catalog knows of a table, whose rows are in `file`.
    pub fn new(table: &catalog::Table, file: &str) -> Self {
        let (generated, columns): (Vec<_>, Vec<_>) =
            table.columns.iter().partition(|column| column.generated.is_some());
        let columns = columns.into_iter().map(|column| Column {
            name: column.name.clone(),
            type_name: column.type_name.clone(),
            of: column.type_oid,
            typmod: column.typmod,
            not_null: column.not_null,
        });
        let unique = table.unique_keys.iter().map(|key| UniqueKey {
            name: key.name.clone(),
            columns: key.columns.clone(),
            nulls_equal: key.nulls_equal,
        });
        let foreign = table.foreign_columns.iter().map(|key| ForeignKey {
            name: key.name.clone(),
            columns: key.columns.clone(),
            references: (key.schema.clone(), key.table.clone()),
            referenced: key.referenced.clone(),
        });
        Self {
            schema: table.schema.clone(),
            name: table.name.clone(),
            file: file.to_owned(),
            columns: columns.collect(),
            generated: generated.into_iter().map(|column| column.name.clone()).collect(),
            primary_key: table.primary_key.clone(),
            unique_keys: unique.collect(),
            foreign_keys: foreign.collect(),
        }
    }
}

/// All of `columns`, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The types.
    pub types: Vec<Type>,
    /// The tables.
    pub tables: Vec<Table>,
}

impl Columns {
    /// Parses the file. The error says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
        let header = lines.next().ok_or("it is empty")?;
        let header: Header = serde_json::from_slice(header).map_err(|error| error.to_string())?;
        if header.version > VERSION {
            return Err(format!("its version {} is newer than this program", header.version));
        }
        let tables = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
        Ok(Self { types: header.types, tables: tables.map_err(|error| error.to_string())? })
    }

    /// A type by its oid.
    pub fn type_of(&self, oid: u32) -> Option<&Type> {
        self.types.binary_search_by_key(&oid, |found| found.oid).ok().and_then(|place| self.types.get(place))
    }

    /// A table by name.
    pub fn table(&self, schema: &str, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.schema == schema && table.name == name)
    }
}
