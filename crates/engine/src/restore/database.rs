//! The target's database: how to create it like the source's, from the archive's DATABASE entry.

use basekeep_archive::Archive;
use basekeep_postgres::{quote_identifier, quote_literal};

use super::names::{Token, tokens};
use crate::stored::manifest::Server;

/// What a new database must share with the source's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DatabaseOptions {
    /// Encoding, always known.
    pub(super) encoding: String,
    /// The options that concern the locale, as pg_dump wrote them (`LOCALE`, `LC_COLLATE`, `LOCALE_PROVIDER`…).
    pub(super) locale: Vec<(String, String)>,
    /// The tablespace, if it is not the default one.
    pub(super) tablespace: Option<String>,
}

impl DatabaseOptions {
    /// Reads the DATABASE entry; an archive without one leaves what the manifest says.
    pub(super) fn of(archive: &Archive, server: &Server) -> Self {
        let entry = archive.entries.iter().find(|entry| entry.desc == "DATABASE");
        let definition = entry.and_then(|entry| entry.defn.as_ref()).map(|text| text.to_string());
        let mut options = definition.map(|text| Self::parse(&text)).unwrap_or_default();
        if options.encoding.is_empty() {
            options.encoding.clone_from(&server.encoding);
        }
        if options.locale.is_empty() {
            options.locale = vec![
                ("LC_COLLATE".into(), server.collate.clone()),
                ("LC_CTYPE".into(), server.ctype.clone()),
            ];
        }
        options
    }

    fn parse(definition: &str) -> Self {
        let mut options = Self::default();
        // CREATE DATABASE <name> [WITH] KEY = value ... ; further statements may follow.
        let mut tokens = tokens(definition).skip(3).peekable();
        let mut key: Vec<String> = Vec::new();
        while let Some(token) = tokens.next() {
            match token {
                Token::Mark(';') => break,
                Token::Word(word) => key.push(word),
                Token::Mark('=') => {
                    let value = match tokens.next() {
                        Some(Token::Word(text) | Token::Quoted(text) | Token::Text(text)) => text,
                        // CONNECTION LIMIT = -1
                        Some(Token::Mark(_)) => match tokens.next_if(|t| matches!(t, Token::Word(_))) {
                            Some(Token::Word(text)) => format!("-{text}"),
                            _ => break,
                        },
                        None => break,
                    };
                    match key.last().map_or("", String::as_str) {
                        "ENCODING" => options.encoding = value,
                        "TABLESPACE" => options.tablespace = Some(value),
                        name if name.starts_with("LC_")
                            || name.contains("LOCALE")
                            || name.starts_with("ICU_") =>
                        {
                            options.locale.push((name.to_owned(), value));
                        }
                        _ => {}
                    }
                    key.clear();
                }
                Token::Quoted(_) | Token::Text(_) | Token::Mark(_) => {}
            }
        }
        options
    }

    /// The libc locales that the target's operating system must know.
    pub(super) fn libc_locales(&self) -> impl Iterator<Item = &str> {
        let builtin = self.locale.iter().any(|(key, value)| key == "LOCALE_PROVIDER" && value == "builtin");
        self.locale
            .iter()
            .filter(move |(key, _)| !builtin || key.starts_with("LC_"))
            .filter(|(key, _)| matches!(key.as_str(), "LOCALE" | "LC_COLLATE" | "LC_CTYPE"))
            .map(|(_, value)| value.as_str())
    }

    /// `CREATE DATABASE`, with the source's locale or with the target's default one.
    pub(super) fn create_sql(&self, name: &str, with_locale: bool, with_tablespace: bool) -> String {
        let mut sql = format!(
            "CREATE DATABASE {} WITH TEMPLATE = template0 ENCODING = {}",
            quote_identifier(name),
            quote_literal(&self.encoding)
        );
        for (key, value) in self.locale.iter().filter(|_| with_locale) {
            if key == "LOCALE_PROVIDER" {
                sql.push_str(&format!(" {key} = {}", quote_identifier(value)));
            } else {
                sql.push_str(&format!(" {key} = {}", quote_literal(value)));
            }
        }
        if !with_locale && self.encoding != "UTF8" {
            // Only the C locale goes with every encoding.
            sql.push_str(" LC_COLLATE = 'C' LC_CTYPE = 'C'");
        }
        if let Some(tablespace) = self.tablespace.as_deref().filter(|_| with_tablespace) {
            sql.push_str(&format!(" TABLESPACE = {}", quote_identifier(tablespace)));
        }
        sql
    }
}

/// Locale names differ in spelling between `pg_database` and `pg_collation` (`en_US.UTF-8`, `en_US.utf8`).
pub(super) fn same_locale(a: &str, b: &str) -> bool {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', '.'], "");
    plain(a) == plain(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_every_provider_are_read() {
        let old = DatabaseOptions::parse(
            "CREATE DATABASE \"odd = name\" WITH TEMPLATE = template0 ENCODING = 'LATIN1' LC_COLLATE = 'C' LC_CTYPE = 'de_DE' TABLESPACE = \"my space\" CONNECTION LIMIT = -1;",
        );
        assert_eq!(old.encoding, "LATIN1");
        assert_eq!(old.locale, [("LC_COLLATE".into(), "C".into()), ("LC_CTYPE".into(), "de_DE".into())]);
        assert_eq!(old.tablespace.as_deref(), Some("my space"));
        assert_eq!(
            old.create_sql("new", true, true),
            "CREATE DATABASE \"new\" WITH TEMPLATE = template0 ENCODING = 'LATIN1' LC_COLLATE = 'C' LC_CTYPE = 'de_DE' TABLESPACE = \"my space\""
        );
        let icu = DatabaseOptions::parse(
            "CREATE DATABASE d WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = 'en_US.UTF-8' ICU_LOCALE = 'en-US';\n\nALTER DATABASE d IS_TEMPLATE = true;",
        );
        assert_eq!(icu.libc_locales().collect::<Vec<_>>(), ["en_US.UTF-8"]);
        assert!(
            icu.create_sql("n", true, false)
                .contains("LOCALE_PROVIDER = \"icu\" LOCALE = 'en_US.UTF-8' ICU_LOCALE = 'en-US'")
        );
        assert!(!icu.create_sql("n", false, false).contains("LOCALE"));
        let builtin = DatabaseOptions::parse(
            "CREATE DATABASE d WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = builtin LC_COLLATE = 'C' LC_CTYPE = 'C' BUILTIN_LOCALE = 'C.UTF-8';",
        );
        assert_eq!(builtin.libc_locales().collect::<Vec<_>>(), ["C", "C"]);
    }
}
