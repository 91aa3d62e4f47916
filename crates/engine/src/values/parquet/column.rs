//! The values of one column of a row group.

use bytes::Bytes;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;

use super::moment;
use super::schema::{DECIMAL_BYTES, Form, UUID_BYTES};
use crate::values::json::value;
use crate::values::nested::Malformed;
use crate::values::{Column, Numbers, Shape};

/// Values that wait to be written.
pub(super) struct ColumnValues {
    pub(super) name: String,
    pub(super) form: Form,
    /// Values that became null, since the type does not hold them.
    pub(super) lost: u64,
    shape: Shape,
    /// 1 for each value, 0 for each null.
    levels: Vec<i16>,
    values: Values,
}

enum Values {
    Bools(Vec<bool>),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    /// All bytes, and where each value ends.
    Texts(Vec<u8>, Vec<usize>),
    /// All bytes; each value has as many.
    Fixed(Vec<u8>, usize),
}

impl ColumnValues {
    pub(super) fn new(column: &Column) -> Self {
        let form = Form::of(&column.shape);
        let values = match form {
            Form::Bool => Values::Bools(Vec::new()),
            Form::Int2 | Form::Int4 | Form::Date | Form::Decimal(..=9, _) => Values::Ints(Vec::new()),
            Form::Int8 | Form::Timestamp | Form::TimestampTz | Form::Decimal(..=18, _) => {
                Values::Longs(Vec::new())
            }
            Form::Float4 => Values::Floats(Vec::new()),
            Form::Float8 => Values::Doubles(Vec::new()),
            Form::Decimal(..) => Values::Fixed(Vec::new(), DECIMAL_BYTES),
            Form::Uuid => Values::Fixed(Vec::new(), UUID_BYTES),
            Form::Bytes | Form::Json | Form::Nested | Form::Text => Values::Texts(Vec::new(), Vec::new()),
        };
        let shape = column.shape.clone();
        Self { name: column.name.clone(), form, lost: 0, shape, levels: Vec::new(), values }
    }

    /// Adds a value, `None` for null.
    pub(super) fn push(&mut self, text: Option<&[u8]>) -> Result<(), Malformed> {
        let Some(text) = text else {
            self.levels.push(0);
            return Ok(());
        };
        let kept = match &mut self.values {
            Values::Bools(values) => match text {
                b"t" => keep(values, Some(true)),
                b"f" => keep(values, Some(false)),
                _ => return Err(Malformed),
            },
            Values::Ints(values) => match self.form {
                Form::Date => keep(values, moment::days(text)),
                Form::Decimal(_, scale) => {
                    keep(values, decimal(text, scale)?.and_then(|n| i32::try_from(n).ok()))
                }
                _ => keep(values, Some(parsed(text)?)),
            },
            Values::Longs(values) => match self.form {
                Form::Timestamp | Form::TimestampTz => keep(values, moment::microseconds(text)),
                Form::Decimal(_, scale) => {
                    keep(values, decimal(text, scale)?.and_then(|n| i64::try_from(n).ok()))
                }
                _ => keep(values, Some(parsed(text)?)),
            },
            Values::Floats(values) => keep(values, Some(parsed(text)?)),
            Values::Doubles(values) => keep(values, Some(parsed(text)?)),
            Values::Fixed(bytes, _) => match self.form {
                Form::Decimal(_, scale) => match decimal(text, scale)? {
                    Some(number) => {
                        bytes.extend_from_slice(&number.to_be_bytes());
                        true
                    }
                    None => false,
                },
                _ => {
                    bytes.extend_from_slice(&uuid(text)?);
                    true
                }
            },
            Values::Texts(bytes, ends) => {
                match self.form {
                    Form::Bytes => bytea(text, bytes)?,
                    Form::Nested => value(&self.shape, text, Numbers::AsIs, bytes)?,
                    _ => bytes.extend_from_slice(text),
                }
                ends.push(bytes.len());
                true
            }
        };
        self.levels.push(i16::from(kept));
        self.lost += u64::from(!kept);
        Ok(())
    }

    /// Writes the values, and forgets them.
    pub(super) fn write(&mut self, writer: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = std::mem::take(&mut self.levels);
        match (writer, &mut self.values) {
            (ColumnWriter::BoolColumnWriter(writer), Values::Bools(values)) => {
                writer.write_batch(&std::mem::take(values), Some(&levels), None)?;
            }
            (ColumnWriter::Int32ColumnWriter(writer), Values::Ints(values)) => {
                writer.write_batch(&std::mem::take(values), Some(&levels), None)?;
            }
            (ColumnWriter::Int64ColumnWriter(writer), Values::Longs(values)) => {
                writer.write_batch(&std::mem::take(values), Some(&levels), None)?;
            }
            (ColumnWriter::FloatColumnWriter(writer), Values::Floats(values)) => {
                writer.write_batch(&std::mem::take(values), Some(&levels), None)?;
            }
            (ColumnWriter::DoubleColumnWriter(writer), Values::Doubles(values)) => {
                writer.write_batch(&std::mem::take(values), Some(&levels), None)?;
            }
            (ColumnWriter::ByteArrayColumnWriter(writer), Values::Texts(bytes, ends)) => {
                let (bytes, ends) = (Bytes::from(std::mem::take(bytes)), std::mem::take(ends));
                let starts = std::iter::once(&0).chain(&ends);
                let values: Vec<ByteArray> =
                    starts.zip(&ends).map(|(start, end)| bytes.slice(*start..*end).into()).collect();
                writer.write_batch(&values, Some(&levels), None)?;
            }
            (ColumnWriter::FixedLenByteArrayColumnWriter(writer), Values::Fixed(bytes, length)) => {
                let bytes = Bytes::from(std::mem::take(bytes));
                let values: Vec<FixedLenByteArray> = (0..bytes.len() / *length)
                    .map(|number| {
                        ByteArray::from(bytes.slice(number * *length..(number + 1) * *length)).into()
                    })
                    .collect();
                writer.write_batch(&values, Some(&levels), None)?;
            }
            _ => {
                return Err(ParquetError::General(format!(
                    "column {} has another type in the file",
                    self.name
                )));
            }
        }
        Ok(())
    }
}

/// Whether there is a value to keep.
fn keep<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            values.push(value);
            true
        }
        None => false,
    }
}

/// A number. Rust reads NaN and Infinity as the server writes them.
fn parsed<T: std::str::FromStr>(text: &[u8]) -> Result<T, Malformed> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Malformed)
}

/// The digits of a decimal as a whole number; `None` for NaN and infinity.
fn decimal(text: &[u8], scale: u16) -> Result<Option<i128>, Malformed> {
    if matches!(text, b"NaN" | b"Infinity" | b"-Infinity") {
        return Ok(None);
    }
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let point = memchr::memchr(b'.', digits).unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    let missing = usize::from(scale).checked_sub(fraction.len()).ok_or(Malformed)?;
    let mut number: i128 = 0;
    for digit in whole.iter().chain(fraction).chain(std::iter::repeat_n(&b'0', missing)) {
        if !digit.is_ascii_digit() {
            return Err(Malformed);
        }
        let further = number.checked_mul(10).and_then(|n| n.checked_add((digit - b'0').into()));
        number = further.ok_or(Malformed)?;
    }
    Ok(Some(if negative { -number } else { number }))
}

fn uuid(text: &[u8]) -> Result<[u8; UUID_BYTES], Malformed> {
    let mut bytes = [0; UUID_BYTES];
    let mut digits = [0; 2 * UUID_BYTES];
    let mut found = text.iter().filter(|byte| **byte != b'-');
    for digit in &mut digits {
        *digit = *found.next().ok_or(Malformed)?;
    }
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| Malformed)?;
    if found.next().is_some() { Err(Malformed) } else { Ok(bytes) }
}

fn bytea(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let digits = text.strip_prefix(b"\\x").ok_or(Malformed)?;
    let start = out.len();
    out.resize(start + digits.len() / 2, 0);
    hex::decode_to_slice(digits, &mut out[start..]).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_whole_numbers_of_their_smallest_part() {
        assert_eq!(decimal(b"12.50", 2), Ok(Some(1250)));
        assert_eq!(decimal(b"-0.01", 2), Ok(Some(-1)));
        assert_eq!(decimal(b"1200", 0), Ok(Some(1200)));
        assert_eq!(decimal(b"3", 2), Ok(Some(300)));
        assert_eq!(decimal(b"NaN", 2), Ok(None));
        assert_eq!(decimal(b"1.234", 2), Err(Malformed));
        assert_eq!(decimal(b"x", 0), Err(Malformed));
        assert_eq!(decimal(&[b'9'; 38], 0), Ok(Some(10_i128.pow(38) - 1)));
    }

    #[test]
    fn bytes_and_uuids_are_read() {
        let mut out = vec![9];
        bytea(b"\\x00ff", &mut out).unwrap();
        assert_eq!(out, [9, 0, 255]);
        assert!(bytea(b"\\x0", &mut out).is_err() && bytea(b"00", &mut out).is_err());
        assert_eq!(uuid(b"00000000-0000-0000-0000-0000000000ff").unwrap()[15], 255);
        assert!(uuid(b"00").is_err());
    }
}
