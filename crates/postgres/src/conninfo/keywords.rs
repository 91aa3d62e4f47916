//! `key=value key2='quoted value'`.

use super::ConninfoError;
use super::parameters::{Parameters, known};

pub(super) fn parse(text: &str) -> Result<Parameters, ConninfoError> {
    let mut parameters = Parameters::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(parameters);
        }
        let mut keyword = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_ascii_whitespace()) {
            keyword.push(c);
        }
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        if chars.next() != Some('=') {
            // The word may be a password that was split at a blank: it is not shown.
            return Err(ConninfoError::new("a word of the connection string has no \"=\" after it").hint(
                "write a URL (postgresql://user@host/database) or key=value pairs; quote values with blanks: password='two words'",
            ));
        }
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        let value = value(&mut chars)?;
        parameters.insert(known(&keyword)?, value);
    }
}

fn value(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, ConninfoError> {
    let unterminated = || ConninfoError::new("a quoted value of the connection string is not terminated");
    let mut value = String::new();
    if chars.next_if_eq(&'\'').is_some() {
        loop {
            match chars.next().ok_or_else(unterminated)? {
                '\'' => return Ok(value),
                '\\' => value.push(chars.next().ok_or_else(unterminated)?),
                c => value.push(c),
            }
        }
    }
    while let Some(c) = chars.next_if(|c| !c.is_ascii_whitespace()) {
        match c {
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(&str, &str)]) {
        let parameters = parse(text).unwrap();
        let got: Vec<_> = parameters.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn values_are_read_with_quotes_escapes_and_blanks() {
        check("", &[]);
        check("host=h port=1", &[("host", "h"), ("port", "1")]);
        check(r"host = 'a b\'c\\' user=x\ y", &[("host", r"a b'c\"), ("user", "x y")]);
        check("host='' user=u", &[("host", ""), ("user", "u")]);
        check("user=a user=b", &[("user", "b")]);
    }

    #[test]
    fn broken_strings_are_errors_that_show_no_value() {
        for text in ["host", "host='x", r"host='x\", "hunter2 host=x", "host=a =b"] {
            let error = parse(text).map(drop).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_unknown_keyword_names_the_nearest() {
        let error = parse("sslmod=require").map(drop).unwrap_err();
        assert_eq!(error.to_string(), "unknown connection parameter \"sslmod\"");
        assert_eq!(error.hints(), ["did you mean \"sslmode\"?"]);
    }
}
