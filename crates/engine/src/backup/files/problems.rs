//! What was wrong with files, put together: counts and a few examples, however many there are.

use std::collections::{BTreeMap, BTreeSet};

use basekeep_supabase::storage::index::Object;
use basekeep_supabase::storage::rows::Totals;

use super::fetch::Failure;
use crate::backup::parts::Parts;
use crate::stored::manifest::Warning;
use crate::words::counted;

/// Examples that are named.
const EXAMPLES: usize = 5;
/// Reasons that are told apart.
const REASONS: usize = 20;

/// All of them.
#[derive(Default)]
pub(super) struct Problems {
    /// Buckets that have objects.
    pub(super) buckets: BTreeSet<String>,
    missing: BTreeMap<Failure, Group>,
    changed: Group,
    history: Group,
    strays: Group,
    not_listed: Vec<String>,
}

/// A few of many.
#[derive(Default)]
struct Group {
    count: u64,
    examples: Vec<String>,
}

impl Group {
    fn add(&mut self, bucket: &str, name: &str) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(format!("{bucket}/{}", name.escape_debug()));
        }
    }

    /// `2 files (a/b, a/c)`.
    fn words(&self, one: &str, many: &str) -> String {
        let more = if self.count > self.examples.len() as u64 { ", …" } else { "" };
        format!("{} ({}{more})", counted(self.count, one, many), self.examples.join(", "))
    }
}

impl Problems {
    /// Takes note of an object that is done.
    pub(super) fn note(&mut self, object: &Object, failure: Option<Failure>) {
        if !self.buckets.contains(object.bucket()) {
            self.buckets.insert(object.bucket().to_owned());
        }
        if let Some(failure) = failure {
            let known = self.missing.contains_key(&failure) || self.missing.len() < REASONS;
            let failure = if known { failure } else { Failure::Other("other reasons, see the index".into()) };
            self.missing.entry(failure).or_default().add(object.bucket(), object.name());
        } else if object.missing.is_some() {
            self.history.add(object.bucket(), object.name());
        }
        if object.changed {
            self.changed.add(object.bucket(), object.name());
        }
    }

    /// Takes note of a file that no row names.
    pub(super) fn stray(&mut self, bucket: &str, name: &str) {
        self.strays.add(bucket, name);
    }

    /// Takes note of a bucket that could not be listed.
    pub(super) fn not_listed(&mut self, bucket: &str, reason: &str) {
        self.not_listed.push(format!("{bucket}: {reason}"));
    }

    /// Tells all of it.
    pub(super) fn tell(self, totals: Totals, parts: &mut Parts) {
        for (failure, some) in self.missing {
            let hint = match &failure {
                Failure::NoFile => Some("delete the rows, or upload the files again"),
                _ => None,
            };
            let all = some.count == totals.objects && some.count > EXAMPLES as u64;
            let what = match all {
                true => format!("all files of {}", counted(some.count, "object", "objects")),
                false => format!("storage files of {}", some.words("object", "objects")),
            };
            parts.miss(what, failure.reason(), hint);
        }
        if self.history.count > 0 {
            let what = format!("older versions of {}", self.history.words("file", "files"));
            parts.miss(what, "the service gives the present version only", None);
        }
        let mut warn = |code: &str, message: String, hint: Option<&str>| {
            let hint = hint.map(str::to_owned);
            parts.warnings.push(Warning { code: code.into(), message, hint });
        };
        if self.changed.count > 0 {
            let some = self.changed.words("file is", "files are");
            let message = format!("{some} not what the rows say: replaced after the snapshot was taken");
            warn("files-changed", message, Some("the next backup has rows and files that agree"));
        }
        if self.strays.count > 0 {
            let some = self.strays.words("file", "files");
            let message = format!(
                "{some} without a row in this snapshot: uploaded since it was taken, or forgotten by the database"
            );
            warn("files-without-rows", message, None);
        }
        if !self.not_listed.is_empty() {
            let message = format!("files without rows were not looked for in {}", self.not_listed.join("; "));
            warn("files-not-listed", message, None);
        }
    }
}
