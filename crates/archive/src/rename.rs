//! Other names in a definition: another schema, or another name for a table.
//!
//! pg_dump writes every name of an object with its schema (it dumps with an empty `search_path`), and prints identifiers in one
//! way only. So a definition is cut into tokens, and where a schema's name, a dot and the name of an object that moves follow each
//! other, both are written anew. Literals that name objects (`'a.s'::regclass`) are cut and written in the same way. What is
//! text to pg_dump, too (bodies of functions), stays as it is and is told.
//!
//! In one place two names and a dot may mean something else: an alias in a query, with a column. The alias would have to be called
//! like the schema, and the column like an object that moves. Then the definition no longer fits together and the server refuses
//! it, unless the new schema's name is an alias in the same query, too: that is told as a doubt.

use std::collections::{BTreeMap, HashMap};

use crate::quote::quote_identifier;
use crate::tokens::{Token, tokens};

/// The new names, by the old ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renames {
    /// Objects: (schema, name) to (schema, name). Functions without their arguments.
    pub names: HashMap<(String, String), (String, String)>,
    /// Schemas that are renamed themselves.
    pub schemas: BTreeMap<String, String>,
    /// Bare names of indexes and constraints, where they are created.
    pub indexes: HashMap<String, String>,
}

/// A definition with new names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// The definition.
    pub text: Vec<u8>,
    /// Whether a literal that stays as it is mentions something that moves.
    pub mentioned: bool,
    /// A name that stands for the new schema and for something else, so that the definition may mean something else now.
    pub doubt: Option<String>,
}

/// What kind of text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    /// Any definition.
    Definition,
    /// One that may say `SCHEMA name`: the schema's own, a grant, a comment.
    OfSchema,
    /// One whose literals are names: the position of a sequence.
    Literals,
}

/// Casts of literals that name objects.
const NAMING: [&str; 6] = ["regclass", "regproc", "regprocedure", "regtype", "regconfig", "regdictionary"];

impl Renames {
    /// Whether nothing gets another name.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.schemas.is_empty()
    }

    /// Writes new names into a definition.
    pub fn rewrite(&self, text: &[u8], wording: Wording) -> Rewritten {
        let pieces = tokens(text);
        let start = text.as_ptr() as usize;
        let mut result = Rewritten::default();
        let mut copied = 0;
        let mut replace = |token: Token<'_>, with: &[u8], out: &mut Vec<u8>| {
            let slice = text_of(token);
            let at = (slice.as_ptr() as usize).saturating_sub(start);
            out.extend_from_slice(text.get(copied..at).unwrap_or_default());
            out.extend_from_slice(with);
            copied = at + slice.len();
        };
        let mut moved: Vec<&str> = Vec::new();
        let mut n = 0;
        while let Some(&token) = pieces.get(n) {
            let dotted = n > 0 && pieces.get(n - 1) == Some(&Token::Mark(b'.'));
            let is_dot = pieces.get(n + 1) == Some(&Token::Mark(b'.'));
            n += 1;
            if let Token::Text(literal) = token {
                let is_name = wording == Wording::Literals || is_cast_to_name(&pieces, n);
                match self.literal(literal, is_name) {
                    Literal::Other => {}
                    Literal::Mentions => result.mentioned = true,
                    Literal::Rewritten(new) => replace(token, &new, &mut result.text),
                }
                continue;
            }
            if !token.is_name() || dotted {
                continue;
            }
            let name = unquoted(token);
            let after_schema = n > 1 && pieces.get(n - 2).is_some_and(|word| word.is_word("SCHEMA"));
            if wording == Wording::OfSchema
                && after_schema
                && let Some(new) = self.schemas.get(&name)
            {
                replace(token, &quote_identifier(new), &mut result.text);
                continue;
            }
            if is_dot
                && let Some(second) = pieces.get(n + 1).copied().filter(|second| second.is_name())
                && let Some((schema, new)) = self.names.get(&(name.clone(), unquoted(second)))
            {
                replace(token, &quote_identifier(schema), &mut result.text);
                replace(second, &quote_identifier(new), &mut result.text);
                moved.push(schema);
                n += 2;
                continue;
            }
            // A table is its own alias where it has no other.
            if is_dot && let Some(new) = self.alias(&name) {
                replace(token, &quote_identifier(new), &mut result.text);
                continue;
            }
            let names_index = n > 1
                && pieces.get(n - 2).is_some_and(|word| {
                    word.is_word("INDEX")
                        || word.is_word("CONSTRAINT")
                        || word.is_word("ON") && is_cluster(&pieces, n)
                });
            if !is_dot
                && names_index
                && let Some(new) = self.indexes.get(&name)
            {
                replace(token, &quote_identifier(new), &mut result.text);
            }
        }
        let rest = text.get(copied..).unwrap_or_default();
        result.text.extend_from_slice(rest);
        result.doubt = doubt(&pieces, &moved);
        result
    }

    /// The new name of a table that is renamed within whatever schema, for what calls its columns by it.
    fn alias(&self, name: &str) -> Option<&str> {
        self.names
            .iter()
            .find(|((_, old), (_, new))| old == name && old != new)
            .map(|(_, (_, new))| new.as_str())
    }

    fn literal(&self, literal: &[u8], is_name: bool) -> Literal {
        let plain = literal.first() == Some(&b'\'');
        let inside = if plain {
            replaced(literal.get(1..literal.len().saturating_sub(1)).unwrap_or_default(), b"''", b"'")
        } else {
            dollar_body(literal).to_vec()
        };
        let pieces = tokens(&inside);
        let pair = |window: &[Token<'_>]| match window {
            [first, Token::Mark(b'.'), second] if first.is_name() && second.is_name() => {
                self.names.contains_key(&(unquoted(*first), unquoted(*second)))
            }
            _ => false,
        };
        let whole = pieces.len() == 1
            && pieces
                .first()
                .is_some_and(|only| only.is_name() && self.schemas.contains_key(&unquoted(*only)));
        if !pieces.windows(3).any(pair) && !whole {
            return Literal::Other;
        }
        if !is_name || !plain {
            return Literal::Mentions;
        }
        let new = self.rewrite(&inside, Wording::Definition).text;
        let mut written = vec![b'\''];
        written.extend(replaced(&new, b"'", b"''"));
        written.push(b'\'');
        Literal::Rewritten(written)
    }
}

enum Literal {
    Other,
    Mentions,
    Rewritten(Vec<u8>),
}

/// What stands between the two marks of a dollar-quoted text.
fn dollar_body(literal: &[u8]) -> &[u8] {
    let mark = literal.iter().skip(1).position(|b| *b == b'$').map_or(0, |at| at + 2);
    literal.get(mark..literal.len().saturating_sub(mark)).unwrap_or_default()
}

/// Whether the tokens from `n` on cast what stands before them to a name.
fn is_cast_to_name(pieces: &[Token<'_>], n: usize) -> bool {
    let colon = Token::Mark(b':');
    matches!(pieces.get(n..n + 3), Some([a, b, cast]) if *a == colon && *b == colon
        && NAMING.iter().any(|name| cast.is_word(name)))
}

/// Whether the name before `n` follows `CLUSTER ON`.
fn is_cluster(pieces: &[Token<'_>], n: usize) -> bool {
    n > 2 && pieces.get(n - 3).is_some_and(|word| word.is_word("CLUSTER"))
}

/// An alias that is called like a schema which something has moved to.
fn doubt(pieces: &[Token<'_>], moved: &[&str]) -> Option<String> {
    if !pieces.iter().any(|token| token.is_word("SELECT")) {
        return None;
    }
    let is_dot = |n: Option<usize>| n.and_then(|n| pieces.get(n)) == Some(&Token::Mark(b'.'));
    pieces
        .iter()
        .enumerate()
        .filter(|(n, token)| token.is_name() && !is_dot(n.checked_sub(1)) && !is_dot(n.checked_add(1)))
        .map(|(_, token)| unquoted(*token))
        .find(|name| moved.contains(&name.as_str()))
}

fn text_of(token: Token<'_>) -> &[u8] {
    match token {
        Token::Word(text) | Token::Quoted(text) | Token::Text(text) => text,
        Token::Mark(_) => &[],
    }
}

fn unquoted(token: Token<'_>) -> String {
    let text = text_of(token);
    let inner = match token {
        Token::Quoted(_) => {
            replaced(text.get(1..text.len().saturating_sub(1)).unwrap_or_default(), b"\"\"", b"\"")
        }
        _ => text.to_vec(),
    };
    String::from_utf8_lossy(&inner).into_owned()
}

fn replaced(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    bstr::ByteSlice::replace(text, old, new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renames() -> Renames {
        let name = |schema: &str, name: &str| (schema.to_owned(), name.to_owned());
        Renames {
            names: [
                (name("public", "orders"), name("b", "orders_old")),
                (name("public", "orders_id_seq"), name("b", "orders_id_seq")),
                (name("public", "total"), name("b", "total")),
                (name("Odd \"S", "t"), name("New S", "t")),
            ]
            .into(),
            schemas: [("public".to_owned(), "b".to_owned())].into(),
            indexes: [("orders_pkey".to_owned(), "orders_old_pkey".to_owned())].into(),
        }
    }

    fn new(text: &str) -> String {
        String::from_utf8(renames().rewrite(text.as_bytes(), Wording::Definition).text).unwrap()
    }

    #[test]
    fn qualified_names_are_written_anew_and_all_else_stays() {
        for (old, wanted) in [
            (
                "CREATE TABLE public.orders (\n    id bigint\n);\n",
                "CREATE TABLE b.orders_old (\n    id bigint\n);\n",
            ),
            ("ALTER TABLE ONLY public.other", "ALTER TABLE ONLY public.other"),
            (
                "DEFAULT nextval('public.orders_id_seq'::regclass)",
                "DEFAULT nextval('b.orders_id_seq'::regclass)",
            ),
            ("OWNED BY public.orders.id;", "OWNED BY b.orders_old.id;"),
            (
                "CREATE TRIGGER public BEFORE INSERT ON public.orders",
                "CREATE TRIGGER public BEFORE INSERT ON b.orders_old",
            ),
            ("ON \"Odd \"\"S\".t USING (public.total(1) > 0)", "ON \"New S\".t USING (b.total(1) > 0)"),
            (
                "ADD CONSTRAINT orders_pkey PRIMARY KEY (orders_pkey)",
                "ADD CONSTRAINT orders_old_pkey PRIMARY KEY (orders_pkey)",
            ),
            ("x.public.orders", "x.public.orders"),
            (
                "(EXISTS ( SELECT 1 FROM public.orders WHERE (orders.id = x.id)))",
                "(EXISTS ( SELECT 1 FROM b.orders_old WHERE (orders_old.id = x.id)))",
            ),
            ("'public.orders' || 'it''s public'", "'public.orders' || 'it''s public'"),
            ("CREATE SCHEMA public;", "CREATE SCHEMA public;"),
        ] {
            assert_eq!(new(old), wanted);
        }
        let schema = renames().rewrite(b"GRANT USAGE ON SCHEMA public TO public;", Wording::OfSchema);
        assert_eq!(schema.text, b"GRANT USAGE ON SCHEMA b TO public;");
        let position = renames()
            .rewrite(b"SELECT pg_catalog.setval('public.orders_id_seq', 5, true);", Wording::Literals);
        assert_eq!(position.text, b"SELECT pg_catalog.setval('b.orders_id_seq', 5, true);");
    }

    #[test]
    fn texts_that_mention_what_moves_are_told() {
        for (text, mentions) in [
            ("AS $_$ SELECT * FROM public.orders $_$;", true),
            ("AS 'SELECT * FROM public.orders'", true),
            ("AS $$ SELECT * FROM public.others $$;", false),
            ("SET search_path TO 'public'", true),
            ("DEFAULT nextval('public.orders_id_seq'::regclass)", false),
        ] {
            assert_eq!(renames().rewrite(text.as_bytes(), Wording::Definition).mentioned, mentions, "{text}");
        }
    }

    #[test]
    fn an_alias_like_the_new_schema_is_a_doubt() {
        let doubt = |text: &str| renames().rewrite(text.as_bytes(), Wording::Definition).doubt;
        assert_eq!(doubt("SELECT public.orders FROM x.y public, x.z b").as_deref(), Some("b"));
        assert_eq!(doubt("SELECT o.id FROM public.orders o, b.c c"), None);
    }
}
