//! Keeps secrets out of messages and logs, whoever wrote the text.

use basekeep_engine::postgres::Secret;

/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// Shorter secrets are not looked for: they would be found in every word.
const SHORTEST: usize = 4;

/// Knows secrets and takes them out of texts.
#[derive(Clone, Default)]
pub struct Redactor(Vec<Secret>);

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.0.len())
    }
}

impl Redactor {
    /// Hides this from now on. Of a web address, its path and query as well, since some carry their secret there.
    pub fn hide(&mut self, secret: &Secret) {
        let text = secret.expose().trim();
        let path = text.split_once("://").and_then(|(_, rest)| rest.find(['/', '?']).map(|at| &rest[at..]));
        for part in [Some(text), path.filter(|path| path.len() > 8)].into_iter().flatten() {
            if part.len() >= SHORTEST && !self.0.iter().any(|known| known.expose() == part) {
                self.0.push(Secret::new(part));
            }
        }
        // What contains another secret goes first.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    }

    /// The text without any secret, and without passwords in URLs that nobody named.
    pub fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.0 {
            if clean.contains(secret.expose()) {
                clean = clean.replace(secret.expose(), HIDDEN);
            }
        }
        without_userinfo(&clean)
    }
}

/// `scheme://user:password@host` as `scheme://user:***@host`.
fn without_userinfo(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/?#'\"`<>".contains(c)).unwrap_or(after.len());
        let authority = &after[..end];
        match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
            Some((user, host)) => out.push_str(&format!("{user}:{HIDDEN}@{host}")),
            None => out.push_str(authority),
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_passwords_in_urls_are_hidden() {
        let mut redactor = Redactor::default();
        redactor.hide(&Secret::new("https://hooks.example/services/T0/geheim"));
        redactor.hide(&Secret::new("tiefes wort"));
        redactor.hide(&Secret::new("abc"));
        let clean = redactor.clean(
            "POST /services/T0/geheim of https://hooks.example/services/T0/geheim: tiefes wort; abc; \
             postgresql://u:p%40w@h:1/d, http://h/x@y, a://b@c",
        );
        assert_eq!(clean, "POST *** of ***: ***; abc; postgresql://u:***@h:1/d, http://h/x@y, a://b@c");
        assert!(!format!("{redactor:?}").contains("wort"));
    }
}
