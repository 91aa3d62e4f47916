//! Where a file lies in a snapshot: `storage/<bucket>/<name>`, so that stock tools restore it under its own name.
//!
//! A name may be anything that the service accepts, and not all of that can be a path. A part that cannot be one is escaped:
//! `%e` and the part for an empty one, `.`, `..` and one that begins with `%`; `%d` and the part for a folder whose name a
//! file has too; `%l`, `e` or `d`, the part's SHA-256 and its beginning for one of more than 255 bytes. No two names
//! get the same path. The index has the true names.

use sha2::{Digest, Sha256};

/// The folder of all files.
pub const ROOT: &str = "storage";
/// What a file system takes for one name, in bytes.
const LONGEST: usize = 255;
/// What is left of a longer part.
const BEGINNING: usize = 120;

/// Gives paths to names that come sorted by bucket and name, by their bytes.
#[derive(Debug, Default)]
pub struct Namer {
    bucket: String,
    /// Files whose names are beginnings of the present name, the shortest first.
    beginnings: Vec<String>,
}

impl Namer {
    /// The path below the source's folder.
    pub fn path(&mut self, bucket: &str, name: &str) -> String {
        if self.bucket != bucket {
            bucket.clone_into(&mut self.bucket);
            self.beginnings.clear();
        }
        while self.beginnings.last().is_some_and(|file| !name.starts_with(file.as_str())) {
            self.beginnings.pop();
        }
        let mut path = format!("{ROOT}/{}", part(bucket, 'e', bucket.contains('/')));
        let mut end = 0;
        for text in name.split('/') {
            end += text.len();
            let is_file_too = end < name.len() && self.beginnings.iter().any(|file| *file == name[..end]);
            path.push('/');
            path += &part(text, if is_file_too { 'd' } else { 'e' }, is_file_too);
            end += 1;
        }
        self.beginnings.push(name.to_owned());
        path
    }
}

fn part(text: &str, kind: char, escape: bool) -> String {
    let cannot_be = matches!(text, "" | "." | "..") || text.starts_with('%') || text.contains('\0');
    let escaped = match escape || cannot_be {
        true => {
            let text = text.replace('%', "%25").replace('/', "%2F").replace('\0', "%00");
            format!("%{kind}{text}")
        }
        false => text.to_owned(),
    };
    if escaped.len() <= LONGEST {
        return escaped;
    }
    let mut end = BEGINNING;
    while !escaped.is_char_boundary(end) {
        end -= 1;
    }
    format!("%l{kind}{}-{}", hex::encode(Sha256::digest(text)), &escaped[..end])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ordinary_names_stay_as_they_are() {
        let mut namer = Namer::default();
        for name in
            [" a ", ".emptyFolderPlaceholder", ".hidden/x", "100%/50% off.png", "a b/c", "a+&?#\\:", "ü/ö"]
        {
            assert_eq!(namer.path("avatars", name), format!("storage/avatars/{name}"));
        }
    }

    #[test]
    fn no_two_names_share_a_path_and_every_path_can_be() {
        let long = "x".repeat(300);
        let mut names = vec![
            "/", "//", "/a", "a", "a//b", "a/", "a/.", "a/..", "a/../b", "a/b", "a/b/c", "a/b/c/d", "a-b",
            "%", "%e", "%e.", "%da", "%da/b", "..", ".", "...", "a/%25", "b/c", "b",
        ];
        let (one, two) = (format!("{long}1"), format!("{long}2/{long}"));
        let folder_of_long = format!("{long}1/x");
        names.extend([long.as_str(), &one, &two, &folder_of_long]);
        names.sort_unstable();
        let mut namer = Namer::default();
        let paths: Vec<String> = ["a", "%a", "a/b"]
            .iter()
            .flat_map(|bucket| names.iter().map(|name| namer.path(bucket, name)).collect::<Vec<_>>())
            .collect();
        let unique: BTreeSet<&String> = paths.iter().collect();
        assert_eq!(unique.len(), paths.len());
        for path in &paths {
            let parts: Vec<&str> = path.split('/').collect();
            assert!(
                parts.iter().all(|part| !matches!(*part, "" | "." | "..") && part.len() <= LONGEST),
                "{path}"
            );
            let folder = |end: usize| parts[..end].join("/");
            assert!((1..parts.len()).all(|end| !unique.contains(&folder(end))), "{path} lies below a file");
        }
    }
}
