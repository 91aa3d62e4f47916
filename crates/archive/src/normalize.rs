//! Definitions as different releases of the server and of pg_dump print them, made comparable.
//!
//! What releases 15 to 18 print in different ways, as comparing restored databases shows:
//!
//! - white space, and ONLY in ALTER TABLE;
//! - from release 16 on, a view of one table names its columns without the table;
//! - from release 18 on, NOT NULL is a constraint with a name, and stands in another place for inherited columns;
//! - from release 18 on, a subscription streams in parallel unless it says otherwise.

use std::collections::BTreeSet;

use crate::tokens::{Token, tokens};

/// Whether two definitions of one kind of object say the same.
///
/// With `releases_differ` also what differs between releases is overlooked. A view then compares equal to one that
/// reads a table of the same name in another schema.
pub(crate) fn same(desc: &[u8], a: &[u8], b: &[u8], releases_differ: bool) -> bool {
    if a == b {
        return true;
    }
    let (a, b) = (without_only(&tokens(a)), without_only(&tokens(b)));
    if a == b || !releases_differ {
        return a == b;
    }
    match desc {
        b"VIEW" | b"MATERIALIZED VIEW" | b"RULE" => without_qualifiers(&a) == without_qualifiers(&b),
        b"TABLE" | b"FOREIGN TABLE" => {
            let (a, b) = (without_not_null_names(&a), without_not_null_names(&b));
            a == b || not_null_apart(&a) == not_null_apart(&b)
        }
        b"SUBSCRIPTION" => without_streaming(&a) == without_streaming(&b),
        _ => false,
    }
}

fn without_only<'a>(sql: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept: Vec<Token<'a>> = Vec::with_capacity(sql.len());
    let mut in_alter = false;
    for token in sql {
        match token {
            Token::Word(b"ALTER") => in_alter = true,
            Token::Word(b"ONLY") if in_alter && kept.last().is_some_and(|t| t.is_word("TABLE")) => continue,
            Token::Word(b"TABLE" | b"FOREIGN") => {}
            _ => in_alter = false,
        }
        kept.push(*token);
    }
    kept
}

/// `a.b.c` becomes `c`.
fn without_qualifiers<'a>(sql: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept: Vec<Token<'a>> = Vec::with_capacity(sql.len());
    for token in sql {
        if let [.., before, Token::Mark(b'.')] = kept.as_slice()
            && before.is_name()
            && (token.is_name() || *token == Token::Mark(b'*'))
        {
            kept.truncate(kept.len() - 2);
        }
        kept.push(*token);
    }
    kept
}

/// `CONSTRAINT name NOT NULL` becomes `NOT NULL`.
fn without_not_null_names<'a>(sql: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept: Vec<Token<'a>> = Vec::with_capacity(sql.len());
    for token in sql {
        if let [.., constraint, name, not] = kept.as_slice()
            && constraint.is_word("CONSTRAINT")
            && name.is_name()
            && not.is_word("NOT")
            && token.is_word("NULL")
        {
            let not = *not;
            kept.truncate(kept.len() - 3);
            kept.push(not);
        }
        kept.push(*token);
    }
    kept
}

/// Takes the columns that are not null by a statement or a table constraint out of a definition, and names them.
fn not_null_apart<'a>(sql: &[Token<'a>]) -> (Vec<Vec<Token<'a>>>, BTreeSet<Token<'a>>) {
    let mut columns = BTreeSet::new();
    let mut kept = Vec::new();
    for statement in sql.split(|t| *t == Token::Mark(b';')) {
        if let [alter, .., alter_column, column, name, set, not, null] = statement
            && alter.is_word("ALTER")
            && alter_column.is_word("ALTER")
            && column.is_word("COLUMN")
            && set.is_word("SET")
            && not.is_word("NOT")
            && null.is_word("NULL")
        {
            columns.insert(*name);
        } else if statement.first().is_some_and(|t| t.is_word("CREATE")) {
            kept.push(table_without_not_null(statement, &mut columns));
        } else {
            kept.push(statement.to_vec());
        }
    }
    (kept, columns)
}

/// The elements of `CREATE TABLE name (…)` without the constraints `NOT NULL column`.
fn table_without_not_null<'a>(statement: &[Token<'a>], columns: &mut BTreeSet<Token<'a>>) -> Vec<Token<'a>> {
    let mut kept = Vec::with_capacity(statement.len());
    let mut element: Vec<Token<'a>> = Vec::new();
    let mut depth = 0usize;
    for token in statement {
        let inner_end = depth == 1 && matches!(token, Token::Mark(b',' | b')'));
        if inner_end {
            if let [not, null, name] = element.as_slice()
                && not.is_word("NOT")
                && null.is_word("NULL")
                && name.is_name()
            {
                columns.insert(*name);
            } else if !element.is_empty() {
                kept.append(&mut element);
                kept.push(Token::Mark(b','));
            }
            element.clear();
        }
        match token {
            Token::Mark(b'(') => depth += 1,
            Token::Mark(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        let outside = depth == 0 || (depth == 1 && *token == Token::Mark(b'('));
        if outside {
            kept.push(*token);
        } else if !inner_end {
            element.push(*token);
        }
    }
    kept.append(&mut element);
    kept
}

/// `, streaming = off` (or whatever) is taken out.
fn without_streaming<'a>(sql: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept: Vec<Token<'a>> = Vec::with_capacity(sql.len());
    for token in sql {
        kept.push(*token);
        if let [.., Token::Mark(b','), option, Token::Mark(b'='), Token::Word(_)] = kept.as_slice()
            && option.is_word("streaming")
        {
            kept.truncate(kept.len() - 4);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_only_never_matter_but_literals_do() {
        let same = |a: &str, b: &str| same(b"DEFAULT ACL", a.as_bytes(), b.as_bytes(), false);
        assert!(same("GRANT SELECT ON TABLES  TO a;\n", "GRANT SELECT ON TABLES TO a;\n"));
        assert!(same("ALTER TABLE ONLY a.b ADD x", "ALTER TABLE a.b ADD x"));
        assert!(same("ALTER FOREIGN TABLE ONLY a.b ADD x", "ALTER FOREIGN TABLE a.b ADD x"));
        assert!(!same("SELECT 'a  b'", "SELECT 'a b'"));
        assert!(!same("SELECT $$a  b$$", "SELECT $$a b$$"));
        assert!(!same("SELECT a FROM ONLY t", "SELECT a FROM t"));
    }

    #[test]
    fn columns_of_a_view_may_lose_their_table_between_releases_only() {
        let a = b"CREATE VIEW s.v AS\n SELECT t.a,\n    t.\"B\"\n   FROM s.t\n  WHERE (t.a > 0);\n";
        let b = b"CREATE VIEW s.v AS\n SELECT a,\n    \"B\"\n   FROM s.t\n  WHERE (a > 0);\n";
        assert!(same(b"VIEW", a, b, true));
        assert!(!same(b"VIEW", a, b, false));
        assert!(!same(
            b"VIEW",
            a,
            b"CREATE VIEW s.v AS\n SELECT a, c\n   FROM s.t\n  WHERE (a > 0);\n",
            true
        ));
    }

    #[test]
    fn not_null_may_be_written_in_three_ways_between_releases_only() {
        let by_statement = b"CREATE TABLE s.c (\n    CHECK ((own > 0))\n)\nINHERITS (s.p);\n\
            ALTER TABLE ONLY s.c ALTER COLUMN id SET NOT NULL;\n";
        let by_constraint =
            b"CREATE TABLE s.c (\n    NOT NULL id,\n    CHECK ((own > 0))\n)\nINHERITS (s.p);\n";
        let named =
            b"CREATE TABLE s.c (\n    CONSTRAINT c_id_not_null NOT NULL id,\n    CHECK ((own > 0))\n)\n\
            INHERITS (s.p);\n";
        let nullable = b"CREATE TABLE s.c (\n    CHECK ((own > 0))\n)\nINHERITS (s.p);\n";
        for other in [&by_constraint[..], named] {
            assert!(same(b"TABLE", by_statement, other, true));
            assert!(!same(b"TABLE", by_statement, other, false));
        }
        assert!(same(b"TABLE", by_constraint, named, true));
        assert!(!same(b"TABLE", nullable, by_constraint, true));
        assert!(!same(b"TABLE", nullable, by_statement, true));
        let column = |c: &str| format!("CREATE TABLE t (\n a numeric(3,1) {c},\n b text\n);\n");
        let names = (column("NOT NULL"), column("CONSTRAINT x NOT NULL"));
        assert!(same(b"TABLE", names.0.as_bytes(), names.1.as_bytes(), true));
        assert!(!same(b"TABLE", names.0.as_bytes(), column("").as_bytes(), true));
    }

    #[test]
    fn a_subscription_may_stream_otherwise_between_releases_only() {
        let a =
            b"CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false, slot_name = NONE);";
        let b = b"CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false, slot_name = NONE, streaming = parallel);";
        assert!(same(b"SUBSCRIPTION", a, b, true));
        assert!(!same(b"SUBSCRIPTION", a, b, false));
    }
}
