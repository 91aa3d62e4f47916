//! Names that a definition mentions. pg_dump prints identifiers bare only when they are plain lower-case words and no
//! keywords, so comparing tokens with a list of known names finds every mention (and perhaps a few more, harmlessly).

use std::collections::BTreeSet;

use basekeep_postgres::quote_identifier;

/// One piece of SQL text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// A bare word, as written.
    Word(String),
    /// A quoted identifier, unquoted.
    Quoted(String),
    /// A string constant, unquoted.
    Text(String),
    /// Any other character.
    Mark(char),
}

/// Which of `known` names the text mentions as identifiers.
pub(super) fn mentioned<'a>(sql: &str, known: &'a BTreeSet<String>) -> BTreeSet<&'a str> {
    tokens(sql)
        .filter_map(|token| match token {
            Token::Word(name) | Token::Quoted(name) => known.get(&name).map(String::as_str),
            Token::Text(_) | Token::Mark(_) => None,
        })
        .collect()
}

/// The tokens of SQL text as pg_dump prints it.
pub(crate) fn tokens(sql: &str) -> impl Iterator<Item = Token> + '_ {
    let mut rest = sql;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let (token, length) = match first {
            '"' => {
                let (text, length) = quoted(rest, '"');
                (Token::Quoted(text), length)
            }
            '\'' => {
                let (text, length) = quoted(rest, '\'');
                (Token::Text(text), length)
            }
            c if is_word(c) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (Token::Word(rest[..length].to_owned()), length)
            }
            c => (Token::Mark(c), c.len_utf8()),
        };
        rest = &rest[length..];
        Some(token)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The text between two quotes, with doubled quotes undone, and how many bytes it takes with its quotes.
fn quoted(text: &str, quote: char) -> (String, usize) {
    let mut content = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            content.push(c);
        } else if chars.peek().is_some_and(|&(_, next)| next == quote) {
            content.push(quote);
            chars.next();
        } else {
            return (content, at + quote.len_utf8());
        }
    }
    (content, text.len())
}

/// `COPY schema.table (columns) FROM stdin;` taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CopyStatement {
    /// The relation as written, quoted where needed.
    pub(crate) relation: String,
    /// The columns as names; empty for a table without columns.
    pub(crate) columns: Vec<String>,
}

impl CopyStatement {
    /// Reads the statement that pg_dump keeps with a table's data. `None` when it is none.
    pub(crate) fn parse(statement: &str) -> Option<Self> {
        let mut tokens = tokens(statement);
        if tokens.next() != Some(Token::Word("COPY".into())) {
            return None;
        }
        let mut relation = String::new();
        let mut columns = Vec::new();
        let mut in_columns = false;
        for token in tokens {
            match token {
                Token::Mark('(') => in_columns = true,
                Token::Word(word) if !in_columns && word == "FROM" => {
                    return Some(Self { relation, columns });
                }
                Token::Mark(')') => in_columns = false,
                Token::Word(name) | Token::Quoted(name) if in_columns => columns.push(name),
                Token::Word(name) => relation.push_str(&name),
                Token::Quoted(name) => relation.push_str(&quote_identifier(&name)),
                Token::Mark('.') => relation.push('.'),
                Token::Mark(',') => {}
                Token::Mark(_) | Token::Text(_) => return None,
            }
        }
        None
    }

    /// The columns as a list for SQL.
    pub(crate) fn column_list(&self) -> String {
        self.columns.iter().map(|name| quote_identifier(name)).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_found_bare_and_quoted_and_not_inside_strings() {
        let known: BTreeSet<String> = ["bob", "Odd \"Role\"", "app user", "nobody"].map(str::to_owned).into();
        let sql = "GRANT SELECT ON TABLE public.t TO bob;\nGRANT ALL ON TABLE public.\"nobody's\" TO \"Odd \"\"Role\"\"\";\n\
                   COMMENT 'nobody'; CREATE POLICY p ON t TO \"app user\"";
        assert_eq!(
            mentioned(sql, &known).into_iter().collect::<Vec<_>>(),
            ["Odd \"Role\"", "app user", "bob"]
        );
    }

    #[test]
    fn a_copy_statement_gives_its_relation_and_columns() {
        let copy =
            CopyStatement::parse("COPY public.\"Odd, (Table)\" (id, \"FROM\", \"a\"\"b\") FROM stdin;\n")
                .unwrap();
        assert_eq!(copy.relation, "public.\"Odd, (Table)\"");
        assert_eq!(copy.columns, ["id", "FROM", "a\"b"]);
        let none = CopyStatement::parse("COPY public.zero  FROM stdin;\n").unwrap();
        assert!(none.columns.is_empty());
        assert_eq!(CopyStatement::parse("INSERT INTO x"), None);
    }
}
