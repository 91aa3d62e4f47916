//! SQL cut into tokens, as far as a comparison of pg_dump's own output needs it.

/// One token of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Token<'a> {
    /// A keyword, a number or an identifier without quotes.
    Word(&'a [u8]),
    /// An identifier with its quotes.
    Quoted(&'a [u8]),
    /// A string literal with its quotes, of either kind.
    Text(&'a [u8]),
    /// One character of anything else.
    Mark(u8),
}

impl Token<'_> {
    pub(crate) fn is_word(self, word: &str) -> bool {
        matches!(self, Token::Word(w) if w == word.as_bytes())
    }

    pub(crate) fn is_name(self) -> bool {
        matches!(self, Token::Word(_) | Token::Quoted(_))
    }
}

/// Cuts SQL into tokens. White space and comments between them are dropped, what is inside of literals is kept.
pub(crate) fn tokens(sql: &[u8]) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.first() {
        let (length, token): (usize, fn(&[u8]) -> Token<'_>) = match first {
            b if b.is_ascii_whitespace() => (1, |_| Token::Mark(b' ')),
            b'-' if rest.starts_with(b"--") => (line_length(rest), |_| Token::Mark(b' ')),
            b'"' => (quoted_length(rest, b'"', false), |t| Token::Quoted(t)),
            b'\'' => {
                let escapes = matches!(found.last(), Some(Token::Word(b"E" | b"e")));
                (quoted_length(rest, b'\'', escapes), |t| Token::Text(t))
            }
            b'$' => match dollar_length(rest) {
                Some(length) => (length, |t| Token::Text(t)),
                None => (1, |_| Token::Mark(b'$')),
            },
            b if is_word_byte(*b) => {
                (rest.iter().take_while(|b| is_word_byte(**b) || **b == b'$').count(), |t| Token::Word(t))
            }
            _ => (1, |t| Token::Mark(t.first().copied().unwrap_or_default())),
        };
        let (text, after) = rest.split_at(length.clamp(1, rest.len()));
        let token = token(text);
        if token != Token::Mark(b' ') {
            found.push(token);
        }
        rest = after;
    }
    found
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn line_length(text: &[u8]) -> usize {
    text.iter().position(|b| *b == b'\n').map_or(text.len(), |end| end + 1)
}

/// Up to the closing quote; a doubled one is part of the text, as is an escaped one where there are escapes.
fn quoted_length(text: &[u8], quote: u8, escapes: bool) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        if escapes && *byte == b'\\' {
            at += 2;
        } else if *byte != quote {
            at += 1;
        } else if text.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return at + 1;
        }
    }
    text.len()
}

/// Up to the end of a dollar-quoted string; `None` when it is none, such as a parameter.
fn dollar_length(text: &[u8]) -> Option<usize> {
    let tag = text.iter().skip(1).take_while(|b| is_word_byte(**b)).count() + 2;
    let mark = text.get(..tag)?;
    if mark.last() != Some(&b'$') || mark.get(1).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let body = text.get(tag..)?;
    let end = body.windows(tag).position(|w| w == mark)?;
    Some(tag + end + tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_literals_whole_and_drops_white_space() {
        let sql = b"SELECT  a.\"b \"\"c\"\"\",\n 'it''s', E'\\'x', $1, $_$ $$ ' $_$ -- end\n<= 1.5";
        let text = |t: &Token<'_>| match t {
            Token::Word(t) | Token::Quoted(t) | Token::Text(t) => String::from_utf8_lossy(t).into_owned(),
            Token::Mark(m) => char::from(*m).to_string(),
        };
        let found: Vec<_> = tokens(sql).iter().map(text).collect();
        assert_eq!(
            found,
            [
                "SELECT",
                "a",
                ".",
                "\"b \"\"c\"\"\"",
                ",",
                "'it''s'",
                ",",
                "E",
                "'\\'x'",
                ",",
                "$",
                "1",
                ",",
                "$_$ $$ ' $_$",
                "<",
                "=",
                "1",
                ".",
                "5"
            ]
        );
    }

    #[test]
    fn an_unfinished_literal_ends_with_the_text() {
        for sql in ["'abc", "\"abc", "$$abc", "$a", "E'a\\", "--", "$"] {
            assert!(!tokens(sql.as_bytes()).contains(&Token::Mark(b' ')), "{sql}");
        }
    }
}
