//! Bytes that parse as an archive are written back as they were, and everything that reads an archive copes with it.
//!
//! `cargo +nightly fuzz run parse fuzz/corpus/parse tests/fixtures` in `crates/archive`.

#![no_main]

use basekeep_archive::{
    Archive, CompareOptions, Format, RestoreOptions, compare, inventory, plan, session_setup,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(archive) = Archive::parse(bytes) else { return };
    let written = archive.to_bytes();
    match archive.header.format {
        Format::Custom => assert!(bytes.starts_with(&written)),
        Format::Directory => assert_eq!(bytes, written),
    }
    let opts = RestoreOptions { database: true, ..RestoreOptions::default() };
    for entry in &archive.entries {
        let _ = (entry.create_sql(&archive, &opts), entry.display(), entry.identity());
    }
    for (position, step) in plan(&archive, &opts, &|_| true).steps.iter().enumerate() {
        assert!(step.depends_on.iter().all(|d| *d < position));
    }
    let _ = (inventory(&archive), session_setup(&archive));
    assert!(compare(&archive, &archive, &CompareOptions::default()).is_empty());
    let directory = archive.into_directory();
    assert_eq!(Archive::parse(&directory.to_bytes()), Ok(directory));
});
