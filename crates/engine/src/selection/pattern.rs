//! Names with `*` in them.

use crate::EngineError;

/// A name in which `*` stands for any characters, also none. In double quotes nothing but the name itself is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// What stands between the stars.
    pieces: Vec<String>,
}

impl Pattern {
    /// Reads one name.
    pub(crate) fn new(text: &str) -> Self {
        let inside =
            text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|_| text.len() > 1);
        match inside {
            Some(inside) => Self { pieces: vec![inside.replace("\"\"", "\"")] },
            None => Self { pieces: text.split('*').map(str::to_owned).collect() },
        }
    }

    /// Any name at all.
    pub(crate) fn any() -> Self {
        Self::new("*")
    }

    /// Whether the whole name fits.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = self.pieces.as_slice() else {
            return self.pieces.first().is_some_and(|only| only == name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            match rest.find(piece.as_str()) {
                Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

/// `schema.name`, and the schema alone where it is in double quotes. Without a dot the name is looked for in every schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QualifiedPattern {
    pub(super) schema: Pattern,
    pub(super) name: Pattern,
}

impl QualifiedPattern {
    /// Reads `schema.name`.
    ///
    /// Errors, as kind `Usage`: a part is missing.
    pub(super) fn parse(text: &str) -> Result<Self, EngineError> {
        let (schema, name) = match first_dot(text) {
            Some(at) => (Pattern::new(&text[..at]), &text[at + 1..]),
            None => (Pattern::any(), text),
        };
        if name.is_empty() || text.starts_with('.') {
            return Err(EngineError::usage(format!("'{text}' is no name of a table"))
                .hint("write schema.table, such as public.orders or 'sales.*'"));
        }
        Ok(Self { schema, name: Pattern::new(name) })
    }

    pub(super) fn matches(&self, schema: &str, name: &str) -> bool {
        self.schema.matches(schema) && self.name.matches(name)
    }
}

/// The first dot outside of double quotes.
pub(crate) fn first_dot(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == '.' && !quoted).then_some(at)
    })
}

/// The name among `known` that is nearest to `wanted`, if one is near enough to be what was meant.
pub(super) fn nearest(wanted: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let lower = wanted.to_lowercase();
    known
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .min()
        .filter(|(distance, name)| *distance <= name.chars().count().max(6) / 3)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters_and_quotes_for_the_name_itself() {
        for (pattern, name, fits) in [
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("or*", "orders", true),
            ("*", "", true),
            ("*ers", "orders", true),
            ("o*d*s", "orders", true),
            ("ab*ba", "aba", false),
            ("a*a", "a", false),
            ("\"a*\"", "ab", false),
            ("\"a*\"", "a*", true),
            ("\"a\"\"b\"", "a\"b", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_qualified_name_is_cut_at_the_first_dot_outside_of_quotes() {
        let fits = |pattern: &str, schema: &str, name: &str| {
            QualifiedPattern::parse(pattern).unwrap().matches(schema, name)
        };
        assert!(fits("public.orders", "public", "orders"));
        assert!(fits("orders", "sales", "orders"));
        assert!(fits("\"a.b\".c.d", "a.b", "c.d"));
        assert!(!fits("public.orders", "sales", "orders"));
        assert!(fits("p*.o*", "public", "orders"));
        assert!(QualifiedPattern::parse("public.").is_err());
        assert!(QualifiedPattern::parse(".orders").is_err());
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = || ["public.orders", "public.users"].into_iter().map(str::to_owned);
        assert_eq!(nearest("public.ordres", known()).as_deref(), Some("public.orders"));
        assert_eq!(nearest("something.else.entirely", known()), None);
    }
}
