//! Which columns and settings hold secrets: their values are never told, only that they changed.

/// Ends of names that hold secrets.
const ENDS: [&str; 8] =
    ["_token", "_secret", "secret_key", "private_key", "api_key", "apikey", "access_key", "service_key"];
/// Whole names that do.
const WHOLE: [&str; 11] = [
    "secret",
    "token",
    "token_hash",
    "raw_key",
    "root_key",
    "otp",
    "salt",
    "credentials",
    "code_verifier",
    "auth_code",
    "web_authn_session_data",
];
/// Schemas all of whose values are secrets.
const SCHEMAS: [&str; 2] = ["vault", "pgsodium"];

/// What is hidden.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Secrets {
    /// Hide nothing.
    pub show: bool,
    /// Further columns: `column`, `table.column` or `schema.table.column`, each with `*` for any text. One that begins with
    /// `!` is never hidden.
    pub columns: Vec<String>,
}

impl Secrets {
    /// Whether a column's values are hidden.
    pub fn column(&self, schema: &str, table: &str, column: &str) -> bool {
        if self.show {
            return false;
        }
        let full = format!("{schema}.{table}.{column}").to_lowercase();
        let of = |pattern: &str| match pattern.matches('.').count() {
            0 => matches(&pattern.to_lowercase(), &column.to_lowercase()),
            1 => matches(&pattern.to_lowercase(), &format!("{table}.{column}").to_lowercase()),
            _ => matches(&pattern.to_lowercase(), &full),
        };
        let mut open = self.columns.iter().filter_map(|pattern| pattern.strip_prefix('!'));
        if open.any(of) {
            return false;
        }
        self.columns.iter().any(|pattern| of(pattern))
            || (SCHEMAS.contains(&schema) && !matches!(column, "id" | "name"))
            || is_secret(column)
    }

    /// Whether a setting's value is hidden.
    pub(super) fn setting(&self, name: &str) -> bool {
        !self.show && is_secret(name.rsplit('.').next().unwrap_or(name))
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    WHOLE.contains(&name.as_str())
        || ENDS.iter().any(|end| name.ends_with(end))
        || ["password", "passwd"].iter().any(|part| name.contains(part))
}

/// `*` stands for any text.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = pattern.contains('*').then(|| pattern.rsplit('*').next().unwrap_or_default()) else {
        return rest.is_empty();
    };
    let middle: Vec<&str> = parts.collect();
    for part in middle.iter().take(middle.len().saturating_sub(1)) {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_hold_secrets_are_hidden_unless_shown() {
        let secrets =
            Secrets { show: false, columns: vec!["public.cards.*".into(), "!public.t.token".into()] };
        assert!(secrets.column("auth", "users", "encrypted_password"));
        assert!(secrets.column("auth", "users", "recovery_token"));
        assert!(secrets.column("vault", "secrets", "description"));
        assert!(secrets.column("public", "cards", "number"));
        assert!(secrets.column("public", "other", "token") && !secrets.column("public", "t", "token"));
        assert!(secrets.column("public", "users", "password_hash"));
        assert!(!secrets.column("public", "orders", "total") && !secrets.column("vault", "secrets", "id"));
        assert!(secrets.setting("app.settings.jwt_secret") && !secrets.setting("search_path"));
        let shown = Secrets { show: true, ..secrets };
        assert!(!shown.column("auth", "users", "encrypted_password"));
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, fits) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("abc", "abcd", false),
            ("*", "", true),
            ("a*b*c", "aXbYc", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
