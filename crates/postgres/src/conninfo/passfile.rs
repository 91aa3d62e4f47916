//! The password file `.pgpass`: `host:port:database:user:password` lines, first match wins.

use crate::secret::Secret;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// What a look into the password file gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Password(Secret),
    Nothing,
    /// The file is there and is not used; why, for a hint.
    Ignored(String),
}

/// What an entry is compared with.
pub(super) struct Wanted<'a> {
    /// `localhost` for the default socket directory.
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

pub(super) fn look_up(path: &Path, wanted: &Wanted<'_>) -> Found {
    // Checked on the open file, so that it is the file that is then read.
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Found::Nothing,
        Err(e) => return Found::Ignored(format!("the password file {} cannot be read: {e}", path.display())),
    };
    let Ok(metadata) = file.metadata() else { return Found::Nothing };
    if !metadata.is_file() {
        return match path.to_str() {
            Some("/dev/null") => Found::Nothing,
            _ => Found::Ignored(format!(
                "the password file {} is not a plain file and is ignored",
                path.display()
            )),
        };
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Found::Ignored(format!(
                "the password file {0} is ignored because others may read it: chmod 0600 {0}",
                path.display()
            ));
        }
    }
    let mut line = zeroize::Zeroizing::new(Vec::new());
    let mut reader = BufReader::new(file);
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return Found::Nothing,
            Ok(_) => {}
        }
        let Ok(text) = std::str::from_utf8(&line) else { continue };
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if let Some(password) = match_line(text, wanted) {
            return Found::Password(password);
        }
    }
}

fn match_line(line: &str, wanted: &Wanted<'_>) -> Option<Secret> {
    if line.starts_with('#') {
        return None;
    }
    let port = wanted.port.to_string();
    let mut rest = line;
    for value in [wanted.host, &port, wanted.database, wanted.user] {
        rest = match_field(rest, value)?;
    }
    let mut password = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            // Text after an unescaped colon is not part of the password.
            ':' => break,
            '\\' => password.push(chars.next().unwrap_or('\\')),
            c => password.push(c),
        }
    }
    (!password.is_empty()).then(|| Secret::new(password))
}

/// What follows the field's colon when the field is `*` or equals the value.
fn match_field<'a>(line: &'a str, value: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut expected = value.chars();
    let mut chars = line.chars();
    loop {
        match chars.next()? {
            ':' => return expected.next().is_none().then_some(chars.as_str()),
            '\\' => {
                let escaped = chars.next()?;
                (expected.next() == Some(escaped)).then_some(())?;
            }
            c => (expected.next() == Some(c)).then_some(())?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn check(line: &str, expect: Option<&str>) {
        let wanted = Wanted { host: "db.example", port: 5432, database: "d:b", user: r"u\x" };
        let got = match_line(line, &wanted);
        assert_eq!(got.as_ref().map(Secret::expose), expect, "{line}");
    }

    #[test]
    fn lines_match_with_wildcards_and_escapes() {
        check(r"db.example:5432:d\:b:u\\x:secret", Some("secret"));
        check("*:*:*:*:secret", Some("secret"));
        check(r"*:*:*:*:se\:cr\\et", Some(r"se:cr\et"));
        check("*:*:*:*:secret:more", Some("secret"));
        check("*:*:*:*:", None);
        check("#*:*:*:*:secret", None);
        check("other:*:*:*:secret", None);
        check("db.example.:*:*:*:secret", None);
        check("db.exampl:*:*:*:secret", None);
        check("*:5433:*:*:secret", None);
        check("**:*:*:*:secret", None);
        check("*:*:*", None);
        check("", None);
    }

    #[test]
    fn the_first_match_counts_and_open_permissions_make_the_file_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".pgpass");
        let wanted = Wanted { host: "localhost", port: 1, database: "d", user: "u" };
        assert_eq!(look_up(&path, &wanted), Found::Nothing);
        std::fs::write(&path, "x:*:*:*:no\r\n\nlocalhost:1:d:u:first\r\n*:*:*:*:second").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(look_up(&path, &wanted), Found::Password("first".into()));
        assert_eq!(look_up(&path, &Wanted { port: 2, ..wanted }), Found::Password("second".into()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let Found::Ignored(why) = look_up(&path, &wanted) else { panic!() };
        assert!(why.contains("chmod 0600"), "{why}");
    }
}
