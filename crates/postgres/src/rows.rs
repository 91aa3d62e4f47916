//! Results of a query, as text.

use crate::error::Error;

/// All rows of one statement.
#[derive(Clone, Default)]
pub struct Rows {
    columns: Vec<String>,
    data: Vec<u8>,
    /// Start and length of each cell in `data`; a length of `None` is NULL.
    cells: Vec<Cell>,
    count: usize,
    /// Text of cells that are not UTF-8, by index into `cells`: only databases in SQL_ASCII have them.
    replaced: std::collections::BTreeMap<usize, String>,
}

#[derive(Clone, Copy)]
struct Cell {
    start: usize,
    length: Option<u32>,
}

impl Rows {
    /// Column names.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.count
    }
    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
    /// The row at `index`.
    pub fn get(&self, index: usize) -> Option<Row<'_>> {
        (index < self.count).then_some(Row { rows: self, index })
    }
    /// The first row.
    pub fn first(&self) -> Option<Row<'_>> {
        self.get(0)
    }
    /// The only row; an error when there are none or several.
    pub fn one(&self) -> Result<Row<'_>, Error> {
        match (self.count, self.first()) {
            (1, Some(row)) => Ok(row),
            (count, _) => Err(Error::Protocol(format!("expected one row, got {count}"))),
        }
    }
    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> + Clone {
        (0..self.count).map(move |index| Row { rows: self, index })
    }

    pub(crate) fn with_columns(columns: Vec<String>) -> Self {
        Self { columns, ..Self::default() }
    }

    /// Appends the body of a DataRow message: count, then for each cell its length (-1 for NULL) and bytes.
    pub(crate) fn push(&mut self, body: &[u8]) -> Result<(), Error> {
        let malformed = || Error::Protocol("malformed DataRow".into());
        let (count, mut rest) = body.split_first_chunk::<2>().ok_or_else(malformed)?;
        if usize::from(u16::from_be_bytes(*count)) != self.columns.len() {
            return Err(malformed());
        }
        for _ in 0..self.columns.len() {
            let (length, after) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
            let start = self.data.len();
            match i32::from_be_bytes(*length) {
                -1 => {
                    self.cells.push(Cell { start, length: None });
                    rest = after;
                }
                length => {
                    let length = u32::try_from(length).map_err(|_| malformed())?;
                    let value = after.get(..length as usize).ok_or_else(malformed)?;
                    if let Err(_invalid) = std::str::from_utf8(value) {
                        self.replaced.insert(self.cells.len(), String::from_utf8_lossy(value).into_owned());
                    }
                    self.data.extend_from_slice(value);
                    self.cells.push(Cell { start, length: Some(length) });
                    rest = &after[length as usize..];
                }
            }
        }
        if !rest.is_empty() {
            return Err(malformed());
        }
        self.count += 1;
        Ok(())
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = Row<'a>;
    type IntoIter = Box<dyn Iterator<Item = Row<'a>> + Send + 'a>;
    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values are never printed.
        f.debug_struct("Rows")
            .field("columns", &self.columns)
            .field("len", &self.count)
            .finish_non_exhaustive()
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    rows: &'a Rows,
    index: usize,
}

impl<'a> Row<'a> {
    fn cell_index(&self, column: usize) -> Option<usize> {
        let width = self.rows.columns.len();
        (column < width).then_some(self.index * width + column)
    }

    /// The value's bytes; `None` for NULL (and for a column that is not there).
    pub fn bytes(&self, column: usize) -> Option<&'a [u8]> {
        let cell = self.rows.cells.get(self.cell_index(column)?)?;
        self.rows.data.get(cell.start..cell.start + cell.length? as usize)
    }

    /// The value's text; `None` for NULL (and for a column that is not there). Bytes that are not UTF-8, as a database
    /// in SQL_ASCII may hold, appear as the replacement character.
    pub fn get(&self, column: usize) -> Option<&'a str> {
        let index = self.cell_index(column)?;
        match self.rows.replaced.get(&index) {
            Some(text) => Some(text),
            None => std::str::from_utf8(self.bytes(column)?).ok(),
        }
    }

    /// The value as `T`; NULL is an error unless `T` is an `Option`.
    pub fn parse<T: FromText>(&self, column: usize) -> Result<T, Error> {
        if column >= self.rows.columns.len() {
            return Err(Error::Value { column, reason: "no such column".into() });
        }
        T::from_cell(self.get(column)).map_err(|reason| Error::Value { column, reason: reason.into() })
    }
}

/// A type that reads PostgreSQL's text output.
pub trait FromText: Sized {
    /// Reads a value that is not NULL; the error says what was expected.
    fn from_text(text: &str) -> Result<Self, &'static str>;
    /// Reads a value or NULL.
    fn from_cell(text: Option<&str>) -> Result<Self, &'static str> {
        text.map_or(Err("a value is expected, not NULL"), Self::from_text)
    }
}

macro_rules! number_from_text {
    ($($t:ty)*) => {$(
        impl FromText for $t {
            fn from_text(text: &str) -> Result<Self, &'static str> {
                text.parse().map_err(|_| concat!("a number is expected (", stringify!($t), ")"))
            }
        }
    )*};
}
number_from_text!(i16 i32 i64 i128 u16 u32 u64 u128 usize f32 f64);

impl FromText for String {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        Ok(text.to_owned())
    }
}

impl FromText for bool {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        match text {
            "t" | "true" | "on" => Ok(true),
            "f" | "false" | "off" => Ok(false),
            _ => Err("a boolean is expected"),
        }
    }
}

impl<T: FromText> FromText for Option<T> {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        T::from_text(text).map(Some)
    }
    fn from_cell(text: Option<&str>) -> Result<Self, &'static str> {
        text.map(T::from_text).transpose()
    }
}

/// A one-dimensional array, `{a,"b c",NULL}`.
impl<T: FromText> FromText for Vec<T> {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "a one-dimensional array is expected";
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or(EXPECTED)?;
        let mut items = Vec::new();
        let mut chars = inner.chars().peekable();
        while chars.peek().is_some() {
            let mut item = String::new();
            let quoted = chars.next_if_eq(&'"').is_some();
            if quoted {
                loop {
                    match chars.next().ok_or(EXPECTED)? {
                        '"' => break,
                        '\\' => item.push(chars.next().ok_or(EXPECTED)?),
                        c => item.push(c),
                    }
                }
            } else {
                while let Some(c) = chars.next_if(|c| *c != ',') {
                    match c {
                        '{' | '}' | '"' => return Err(EXPECTED),
                        '\\' => item.push(chars.next().ok_or(EXPECTED)?),
                        c => item.push(c),
                    }
                }
                if item.is_empty() {
                    return Err(EXPECTED);
                }
            }
            let null = !quoted && item.eq_ignore_ascii_case("NULL");
            items.push(T::from_cell((!null).then_some(item.as_str()))?);
            match chars.next() {
                None => return Ok(items),
                Some(',') if chars.peek().is_some() => {}
                Some(_) => return Err(EXPECTED),
            }
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(cells: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = (cells.len() as u16).to_be_bytes().to_vec();
        for cell in cells {
            body.extend(cell.map_or(-1, |c| c.len() as i32).to_be_bytes());
            body.extend(cell.unwrap_or_default());
        }
        body
    }

    #[test]
    fn cells_come_back_as_they_were_sent() {
        let mut rows = Rows::with_columns(vec!["a".into(), "b".into()]);
        rows.push(&body(&[Some(b"42"), None])).unwrap();
        rows.push(&body(&[Some(b""), Some(b"\xff")])).unwrap();
        let first = rows.first().unwrap();
        assert_eq!((first.parse::<u32>(0).unwrap(), first.get(1)), (42, None));
        assert_eq!(first.parse::<Option<i64>>(1).unwrap(), None);
        assert!(first.parse::<i64>(1).is_err() && first.parse::<Option<i64>>(2).is_err());
        let second = rows.get(1).unwrap();
        assert_eq!(
            (second.get(0), second.get(1), second.bytes(1)),
            (Some(""), Some("\u{fffd}"), Some(&b"\xff"[..]))
        );
        assert!(rows.get(2).is_none());
    }

    #[test]
    fn malformed_rows_are_errors() {
        let good = body(&[Some(b"x")]);
        for cut in 0..good.len() {
            assert!(Rows::with_columns(vec!["a".into()]).push(&good[..cut]).is_err());
        }
        let mut long = good.clone();
        long[2] = 0x7f;
        assert!(Rows::with_columns(vec!["a".into()]).push(&long).is_err());
        assert!(Rows::with_columns(vec![]).push(&good).is_err());
    }

    #[test]
    fn arrays_are_read_with_quotes_and_nulls() {
        let read = |text: &str| Vec::<Option<String>>::from_text(text);
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(read("{}").unwrap(), vec![]);
        assert_eq!(
            read(r#"{a,"b, \"c\"\\",NULL,"NULL",""}"#).unwrap(),
            vec![some("a"), some(r#"b, "c"\"#), None, some("NULL"), some("")]
        );
        assert_eq!(Vec::<i64>::from_text("{1,-2}").unwrap(), vec![1, -2]);
        for bad in ["", "{", "{a", "{a,}", "{,a}", r#"{"a}"#, "{{1}}", "{1}{2}"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
