//! Damaged archives are errors, never panics, and never ask for more memory than the file has bytes.

use basekeep_archive::{
    Archive, ArchiveError, CompareOptions, Format, RestoreOptions, TableData, compare, inventory, plan,
    session_setup,
};
use proptest::prelude::*;

/// Archives of `fixtures/small.sql`: schema only by pg_dump 15, 16 and 18, and a directory's table of contents by 18.
const ARCHIVES: [&[u8]; 4] = [
    include_bytes!("fixtures/small-15.dump"),
    include_bytes!("fixtures/small-16.dump"),
    include_bytes!("fixtures/small-18.dump"),
    include_bytes!("fixtures/small-18.toc.dat"),
];

#[derive(Debug, Clone)]
enum Damage {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        8 => (at(), any::<u8>()).prop_map(|(i, b)| Damage::Set(i, b)),
        1 => at().prop_map(Damage::Cut),
        2 => (at(), prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(i, b)| Damage::Insert(i, b)),
        2 => (at(), 1..200usize).prop_map(|(i, n)| Damage::Remove(i, n)),
        2 => (at(), 1..2000usize).prop_map(|(i, n)| Damage::Repeat(i, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    match damage {
        Damage::Set(i, b) => {
            let at = i.index(bytes.len());
            bytes[at] = *b;
        }
        Damage::Cut(i) => bytes.truncate(i.index(bytes.len())),
        Damage::Insert(i, new) => {
            let at = i.index(bytes.len());
            bytes.splice(at..at, new.iter().copied());
        }
        Damage::Remove(i, n) => {
            let at = i.index(bytes.len());
            bytes.drain(at..(at + n).min(bytes.len()));
        }
        Damage::Repeat(i, n) => {
            let at = i.index(bytes.len());
            let part = bytes[at..(at + n).min(bytes.len())].to_vec();
            bytes.splice(at..at, part);
        }
    }
}

/// Everything that can be done with an archive, on whatever was parsed.
fn exercise(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(archive) = Archive::parse(bytes) else { return Ok(()) };
    let written = archive.to_bytes();
    match archive.header.format {
        Format::Custom => prop_assert!(bytes.starts_with(&written)),
        Format::Directory => prop_assert!(bytes == written.as_slice()),
    }
    let opts = RestoreOptions { database: true, ..RestoreOptions::default() };
    for entry in &archive.entries {
        let _ = (entry.create_sql(&archive, &opts), entry.display(), entry.identity().to_string());
    }
    let plan = plan(&archive, &opts, &|_| true);
    for (position, step) in plan.steps.iter().enumerate() {
        prop_assert!(step.depends_on.iter().all(|d| *d < position));
    }
    let _ = (inventory(&archive), session_setup(&archive));
    prop_assert!(compare(&archive, &archive, &CompareOptions::default()).is_empty());
    let mut directory = archive.into_directory();
    let relations: Vec<_> =
        directory.entries.iter().filter(|e| e.desc == "TABLE").map(|e| e.catalog.oid).collect();
    for oid in relations {
        let text = || "x".to_owned();
        let table = TableData {
            oid,
            schema: text(),
            name: text(),
            owner: text(),
            columns: vec![text()],
            load_via_root: None,
            extension: None,
        };
        let _ = directory.add_table_data(&table);
    }
    prop_assert!(Archive::parse(&directory.to_bytes()).as_ref() == Ok(&directory));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_archives_never_panic(which in 0..ARCHIVES.len(), damages in prop::collection::vec(damage(), 0..6)) {
        let mut bytes = ARCHIVES[which].to_vec();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        exercise(&bytes)?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut archive = ARCHIVES[2][..11].to_vec();
        archive.extend(&bytes);
        exercise(&bytes)?;
        exercise(&archive)?;
    }
}

#[test]
fn every_truncated_archive_is_an_error() {
    for bytes in ARCHIVES {
        let whole = Archive::parse(bytes).unwrap().to_bytes();
        for length in (0..whole.len()).step_by(7) {
            assert!(Archive::parse(&whole[..length]).is_err(), "{length} of {}", whole.len());
        }
    }
}

#[test]
fn an_unknown_version_is_named() {
    for (minor, name) in [(17, "1.17"), (11, "1.11")] {
        let mut bytes = ARCHIVES[0].to_vec();
        bytes[6] = minor;
        let error = Archive::parse(&bytes).unwrap_err();
        assert!(matches!(error, ArchiveError::UnsupportedVersion { .. }));
        assert_eq!(
            error.to_string(),
            format!("archive format version {name} is not supported (supported: 1.12 to 1.16)")
        );
    }
}

#[test]
fn a_damaged_count_allocates_nothing() {
    let whole = Archive::parse(ARCHIVES[0]).unwrap();
    let mut header = Archive { entries: Vec::new(), ..whole }.to_bytes();
    let count = header.len() - 4;
    header[count..].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
    assert!(matches!(Archive::parse(&header), Err(ArchiveError::Truncated { .. })));
}

#[test]
fn something_else_is_not_an_archive() {
    assert_eq!(Archive::parse(b"SELECT 1;"), Err(ArchiveError::NotAnArchive));
    assert_eq!(Archive::parse(b""), Err(ArchiveError::NotAnArchive));
}
