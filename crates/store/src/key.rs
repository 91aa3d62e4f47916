//! Which keys are valid: relative paths of plain components, so that no key leaves the store's folder.

use crate::{ErrorKind, Operation, StoreError};

/// Marks the file names of writes that are under way; no key may hold it.
pub(crate) const UNFINISHED: &str = ".unfinished-";

/// Refuses keys with empty, `.` or `..` components, with NUL, or with the mark of unfinished writes.
pub(crate) fn check(operation: Operation, key: &str) -> Result<(), StoreError> {
    let plain = key.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if plain && !key.contains('\0') && !key.contains('\\') && !key.contains(UNFINISHED) {
        Ok(())
    } else {
        Err(StoreError::new(ErrorKind::Permanent, operation, key, "not a valid key"))
    }
}

/// Like [`check`] for a folder: empty or with a slash at its end.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    match prefix.strip_suffix('/') {
        None if prefix.is_empty() => Ok(()),
        None => Err(StoreError::new(ErrorKind::Permanent, Operation::List, prefix, "not a folder")),
        Some(folder) => check(Operation::List, folder),
    }
}

/// Whether the key's last component is a SHA-256 in hex: the name of its content.
pub(crate) fn names_content(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
