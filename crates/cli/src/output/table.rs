//! Tables in text: aligned by what a terminal shows, safe against what a database's names may contain.

use unicode_width::UnicodeWidthStr;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of cells below a heading.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        Self {
            columns: columns.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    /// The text, heading first when the columns have names. Lines end without blanks.
    pub(crate) fn render(&self) -> String {
        let heading: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let headed = heading.iter().any(|name| !name.is_empty());
        let lines: Vec<&Vec<String>> = headed.then_some(&heading).into_iter().chain(&self.rows).collect();
        let cell = |line: &[String], i: usize| line.get(i).map_or(0, |text| text.width());
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| lines.iter().map(|line| cell(line, i)).max().unwrap_or_default())
            .collect();
        let mut text = String::new();
        for line in lines {
            let mut out = String::new();
            for (i, ((_, align), width)) in self.columns.iter().zip(&widths).enumerate() {
                let content = line.get(i).map_or("", String::as_str);
                let blanks = " ".repeat(width - content.width());
                out.push_str(if i == 0 { "" } else { "  " });
                match align {
                    Align::Left => out.extend([content, &blanks]),
                    Align::Right => out.extend([&*blanks, content]),
                }
            }
            text.push_str(out.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Text with control characters (line breaks, terminal sequences) shown as escapes.
pub(crate) fn clean(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.chars().any(hidden) {
        return text.to_owned();
    }
    text.chars().map(|c| if hidden(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_names_cannot_break_out() {
        let mut table = Table::new(&[("table", Align::Left), ("rows", Align::Right)]);
        table.row(["public.a\nb".to_owned(), "1,000".to_owned()]);
        table.row(["日本".to_owned(), "5".to_owned()]);
        assert_eq!(
            table.render(),
            "table         rows\n\
             public.a\\nb  1,000\n\
             日本             5\n"
        );
        assert_eq!(clean("\u{1b}[31mred"), "\\u{1b}[31mred");
    }
}
