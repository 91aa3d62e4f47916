//! Rust text reduced to its code: comments, strings and test modules blanked out, lines kept.

/// The text with comments and the insides of string and character literals replaced by spaces.
pub(super) fn mask(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let hidden = literal_or_comment(rest, output.chars().next_back());
        let (piece, keep) =
            if hidden > 0 { (&rest[..hidden], false) } else { (&rest[..character.len_utf8()], true) };
        if keep {
            output.push_str(piece);
        } else {
            output.extend(piece.chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
        }
        rest = &rest[piece.len()..];
    }
    output
}

/// How many bytes at the beginning of `text` are a comment or a literal; 0 when it begins with neither.
fn literal_or_comment(text: &str, before: Option<char>) -> usize {
    if text.starts_with("//") {
        text.find('\n').unwrap_or(text.len())
    } else if text.starts_with("/*") {
        block_comment(text)
    } else if text.starts_with('"') {
        quoted(text, '"')
    } else if text.starts_with('r') && !before.is_some_and(|before| before.is_alphanumeric() && before != 'b')
    {
        raw_string(text)
    } else if text.starts_with('\'') {
        // A lifetime has no second quote after one character.
        let mut characters = text.char_indices().skip(1);
        match (characters.next(), characters.next()) {
            (Some((_, '\\')), _) => quoted(text, '\''),
            (Some(_), Some((at, '\''))) => at + 1,
            _ => 0,
        }
    } else {
        0
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let inside = &text[hashes + 2..];
    inside.find(&end).map_or(text.len(), |at| hashes + 2 + at + end.len())
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Masked code without what stands below `#[cfg(test)]`: the item up to its closing brace in the same column.
pub(super) fn without_tests(code: &str) -> String {
    let mut output = String::with_capacity(code.len());
    let mut skip_until: Option<String> = None;
    let mut lines = code.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(end) = &skip_until {
            if line.trim_end() == end {
                skip_until = None;
            }
        } else if line.trim() == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.trim_end().ends_with('{'))
        {
            let indent = &line[..line.len() - line.trim_start().len()];
            skip_until = Some(format!("{indent}}}"));
        } else {
            output.push_str(line);
        }
        output.push('\n');
    }
    output
}

#[cfg(test)]
mod tests {
    use super::{mask, without_tests};

    #[test]
    fn comments_and_literals_are_blanked() {
        let blank = " ".repeat(17);
        assert_eq!(mask("a // b\nc /* d /* e */ f */ g"), format!("a     \nc {blank} g"));
        assert_eq!(mask(r#"f("x\"y", 'z', '\'', b"q")"#), "f(      ,    ,     , b   )");
        assert_eq!(mask("r#\"a \" b\"# + br\"c\""), format!("{} + b    ", " ".repeat(10)));
    }

    #[test]
    fn lifetimes_and_names_are_code() {
        assert_eq!(mask("fn f<'a>(x: &'a str, bar: r) {}"), "fn f<'a>(x: &'a str, bar: r) {}");
    }

    #[test]
    fn only_the_test_module_goes() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n";
        assert_eq!(without_tests(code), "fn a() {}\n\n\n\n\n\nfn c() {}\n");
        assert_eq!(
            without_tests("#[cfg(test)]\nmod tests;\nfn c() {}\n"),
            "#[cfg(test)]\nmod tests;\nfn c() {}\n"
        );
    }
}
