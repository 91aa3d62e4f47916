//! A manifest in the words of the command line; shared by `backup` and `show`.

use basekeep_engine::stored::manifest::{Manifest, Missing, Warning};
use serde::Serialize;

use crate::output::Output;

#[derive(Serialize)]
pub(super) struct MissingDocument<'a> {
    what: &'a str,
    reason: &'a str,
    hint: Option<&'a str>,
}

impl<'a> MissingDocument<'a> {
    pub(super) fn of(missing: &'a Missing) -> Self {
        Self { what: &missing.what, reason: &missing.reason, hint: missing.hint.as_deref() }
    }
}

#[derive(Serialize)]
pub(super) struct WarningDocument<'a> {
    code: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
}

impl<'a> WarningDocument<'a> {
    pub(super) fn of(warning: &'a Warning) -> Self {
        Self { code: &warning.code, message: &warning.message, hint: warning.hint.as_deref() }
    }
}

/// Lists what is not in the snapshot; a hint that several share is told once.
pub(super) fn tell_not_captured(output: &Output, manifest: &Manifest) {
    let mut told: Option<&str> = None;
    for (i, missing) in manifest.not_captured.iter().enumerate() {
        let hint = missing.hint.as_deref();
        let last_with_it = manifest.not_captured.get(i + 1).is_none_or(|next| next.hint.as_deref() != hint);
        let hint = hint.filter(|hint| last_with_it && told != Some(hint));
        output.warning(&format!("not captured: {}: {}", missing.what, missing.reason), hint);
        told = hint.or(told);
    }
}
