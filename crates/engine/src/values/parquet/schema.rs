//! The Parquet types of columns.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::Type;

use super::column::ColumnValues;
use crate::values::Shape;

/// Digits that a decimal has at most, in bytes that every reader takes.
const MOST_DIGITS: u16 = 38;
/// Bytes of decimals with many digits.
pub(super) const DECIMAL_BYTES: usize = 16;
pub(super) const UUID_BYTES: usize = 16;

/// How the values of a column are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    /// Digits in all, and those behind the point.
    Decimal(u16, u16),
    Float4,
    Float8,
    Date,
    Timestamp,
    TimestampTz,
    Uuid,
    Bytes,
    /// Text that is JSON as it is.
    Json,
    /// Something that becomes JSON.
    Nested,
    Text,
}

impl Form {
    pub(super) fn of(shape: &Shape) -> Self {
        match shape {
            Shape::Bool => Self::Bool,
            Shape::Int2 => Self::Int2,
            Shape::Int4 => Self::Int4,
            Shape::Int8 => Self::Int8,
            Shape::Numeric(Some((precision, scale))) => decimal(*precision, *scale),
            Shape::Numeric(None) => Self::Text,
            Shape::Float4 => Self::Float4,
            Shape::Float8 => Self::Float8,
            Shape::Date => Self::Date,
            Shape::Timestamp => Self::Timestamp,
            Shape::TimestampTz => Self::TimestampTz,
            Shape::Uuid => Self::Uuid,
            Shape::Bytes => Self::Bytes,
            Shape::Json => Self::Json,
            Shape::Hstore | Shape::Vector(_) | Shape::Array { .. } | Shape::Composite(_) => Self::Nested,
            Shape::Text => Self::Text,
        }
    }

    pub(super) fn physical(self) -> Physical {
        match self {
            Self::Bool => Physical::BOOLEAN,
            Self::Int2 | Self::Int4 | Self::Date | Self::Decimal(..=9, _) => Physical::INT32,
            Self::Int8 | Self::Timestamp | Self::TimestampTz | Self::Decimal(..=18, _) => Physical::INT64,
            Self::Float4 => Physical::FLOAT,
            Self::Float8 => Physical::DOUBLE,
            Self::Decimal(..) | Self::Uuid => Physical::FIXED_LEN_BYTE_ARRAY,
            Self::Bytes | Self::Json | Self::Nested | Self::Text => Physical::BYTE_ARRAY,
        }
    }

    fn logical(self) -> Option<LogicalType> {
        Some(match self {
            Self::Bool | Self::Float4 | Self::Float8 | Self::Bytes => return None,
            Self::Int2 => LogicalType::integer(16, true),
            Self::Int4 => LogicalType::integer(32, true),
            Self::Int8 => LogicalType::integer(64, true),
            Self::Decimal(precision, scale) => LogicalType::decimal(scale.into(), precision.into()),
            Self::Date => LogicalType::Date,
            Self::Timestamp => LogicalType::timestamp(false, TimeUnit::MICROS),
            Self::TimestampTz => LogicalType::timestamp(true, TimeUnit::MICROS),
            Self::Uuid => LogicalType::Uuid,
            Self::Json | Self::Nested => LogicalType::Json,
            Self::Text => LogicalType::String,
        })
    }

    /// One value's bytes where all have as many.
    fn length(self) -> i32 {
        match self {
            Self::Uuid => UUID_BYTES as i32,
            Self::Decimal(19.., _) => DECIMAL_BYTES as i32,
            _ => -1,
        }
    }
}

/// A decimal of so many digits, or text where Parquet has none. The scale may be negative, or more than there are digits.
fn decimal(precision: u16, scale: i16) -> Form {
    let behind = scale.max(0).unsigned_abs();
    let digits = (precision + scale.min(0).unsigned_abs()).max(behind);
    if digits <= MOST_DIGITS { Form::Decimal(digits, behind) } else { Form::Text }
}

/// The file's schema. Every column may be null, since even one that is declared not to be can have old nulls.
pub(super) fn of(columns: &[ColumnValues]) -> Result<Type, ParquetError> {
    let fields = columns
        .iter()
        .map(|column| {
            let builder = Type::primitive_type_builder(&column.name, column.form.physical())
                .with_repetition(Repetition::OPTIONAL)
                .with_logical_type(column.form.logical())
                .with_length(column.form.length());
            let builder = match column.form {
                Form::Decimal(precision, scale) => {
                    builder.with_precision(precision.into()).with_scale(scale.into())
                }
                _ => builder,
            };
            builder.build().map(Arc::new)
        })
        .collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("schema").with_fields(fields).build()
}
