//! A manifest in the words of the command line; shared by `backup` and `show`.

use basekeep_engine::stored::manifest::{Missing, Warning};
use serde::Serialize;

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
