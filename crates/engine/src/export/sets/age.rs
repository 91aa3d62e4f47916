//! What happens to copies as they grow old.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::sink::{Encoder, FILE_MODE, PARTIAL};
use super::{Compression, LIST, SetOptions, time_of};

/// Copies by what happens to them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Aged {
    /// To be removed.
    pub(super) gone: Vec<String>,
    /// To be compressed.
    pub(super) old: Vec<String>,
}

/// Sorts copies. The newest one always stays, of several from the same second the one that was `written` last; names that are none
/// of ours are passed over.
pub(super) fn sort(names: &[String], written: &str, options: &SetOptions, now: Timestamp) -> Aged {
    let mut copies: Vec<(Timestamp, &String)> =
        names.iter().filter_map(|name| Some((time_of(name)?, name))).collect();
    copies.sort_by_key(|(time, name)| (*time, name.as_str() == written, *name));
    let before = |span: &crate::retention::Span| span.before(now, &TimeZone::UTC);
    let mut aged = Aged::default();
    for (place, (time, name)) in copies.iter().rev().enumerate() {
        let too_many = place as u64 >= options.max;
        let too_old = *time < before(&options.keep);
        if place > 0 && (too_many || too_old) {
            aged.gone.push((*name).clone());
        } else if options.compress_after.as_ref().is_some_and(|span| *time < before(span)) {
            aged.old.push((*name).clone());
        }
    }
    aged
}

/// Endings of files that gain nothing.
const COMPRESSED: [&str; 5] = [".gz", ".zst", ".dump", ".parquet", ".partial"];
/// Files by which a copy is loaded and described.
const PLAIN: [&str; 4] = ["restore.sh", "BACKUP_MANIFEST.md", "globals.sql", LIST];

/// Compresses the files of a copy, one after the other, and says whether there were any.
///
/// A copy that this is interrupted on has some files in the one form and some in the other, each of them whole.
pub(super) fn compress(copy: &Path, compression: Compression) -> io::Result<bool> {
    let list = std::fs::read_to_string(copy.join(LIST))?;
    let mut names: Vec<String> = Vec::new();
    let mut any = false;
    for name in list.lines() {
        let path = copy.join(name);
        if !is_worth_it(name) || !path.is_file() {
            let there = path.exists() || !copy.join(format!("{name}{}", compression.suffix())).exists();
            names.push(if there { name.to_owned() } else { format!("{name}{}", compression.suffix()) });
            continue;
        }
        any = true;
        let packed = copy.join(format!("{name}{}", compression.suffix()));
        let partial = copy.join(format!("{name}{}{PARTIAL}", compression.suffix()));
        let _ = std::fs::remove_file(&partial);
        let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&partial)?;
        let mut encoder = Encoder::new(file, compression)?;
        io::copy(&mut File::open(&path)?, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        std::fs::rename(&partial, &packed)?;
        std::fs::remove_file(&path)?;
        names.push(format!("{name}{}", compression.suffix()));
    }
    if any {
        let partial = copy.join(format!("{LIST}{PARTIAL}"));
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        std::fs::write(&partial, text)?;
        std::fs::rename(&partial, copy.join(LIST))?;
    }
    Ok(any)
}

/// pg_restore reads compressed data files of an archive, but not a compressed table of contents.
fn is_worth_it(name: &str) -> bool {
    let list_of_archive =
        name == "database/toc.dat" || (name.starts_with("database/") && name.ends_with(".toc"));
    let packed = COMPRESSED.iter().any(|ending| name.ends_with(ending));
    // Storage has pictures and the like.
    !(list_of_archive || packed || PLAIN.contains(&name) || name.starts_with("storage/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{ExportOptions, Format};

    fn options(keep: &str, max: u64) -> SetOptions {
        SetOptions {
            folder: "x".into(),
            export: ExportOptions::new([Format::Sql]),
            keep: keep.parse().unwrap(),
            max,
            compress_after: Some("7d".parse().unwrap()),
        }
    }

    fn name(day: u32) -> String {
        format!("2026-01-{day:02}_12-00-00_0123abcd")
    }

    #[test]
    fn old_copies_go_the_newest_stays_and_those_between_are_compressed() {
        let now = "2026-01-31T13:00:00Z".parse().unwrap();
        let names: Vec<String> = [1, 20, 28, 30].map(name).into_iter().chain(["notes".to_owned()]).collect();
        let aged = sort(&names, "", &options("15d", 50), now);
        assert_eq!(aged, Aged { gone: vec![name(1)], old: vec![name(20)] });
        let aged = sort(&names, "", &options("15d", 1), now);
        assert_eq!(aged, Aged { gone: vec![name(28), name(20), name(1)], old: vec![] });
        // Nothing newer came for a long time: the last copy is not thrown away.
        let aged = sort(&[name(1)], "", &options("15d", 50), now);
        assert_eq!(aged, Aged { gone: vec![], old: vec![name(1)] });
    }

    #[test]
    fn of_copies_from_the_same_second_the_one_just_written_stays() {
        let now = "2026-01-31T13:00:00Z".parse().unwrap();
        let names = ["0", "1", "2"].map(|id| format!("2026-01-31_12-00-00_{}", id.repeat(8)));
        for written in &names {
            let gone = sort(&names, written, &options("15d", 1), now).gone;
            assert!(gone.len() == 2 && !gone.contains(written), "{gone:?}");
        }
    }

    #[test]
    fn files_are_compressed_but_those_that_are_needed_plain() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "database.sql",
            "database/1.dat",
            "database/toc.dat",
            "restore.sh",
            "csv/a.csv.gz",
            "storage/a/b.png",
        ];
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        std::fs::write(folder.path().join(LIST), names.map(|name| format!("{name}\n")).concat()).unwrap();
        assert!(compress(folder.path(), Compression::Gzip).unwrap());
        assert!(!compress(folder.path(), Compression::Gzip).unwrap());
        let there = |name: &str| folder.path().join(name).exists();
        assert!(there("database.sql.gz") && !there("database.sql") && there("database/1.dat.gz"));
        assert!(
            there("database/toc.dat")
                && there("restore.sh")
                && there("csv/a.csv.gz")
                && there("storage/a/b.png")
        );
        let list = std::fs::read_to_string(folder.path().join(LIST)).unwrap();
        assert!(list.starts_with("database.sql.gz\ndatabase/1.dat.gz\ndatabase/toc.dat\n"), "{list}");
    }
}
