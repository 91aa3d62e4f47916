//! Exit codes. They are an interface: documented in `--help`, tested, never renumbered.

use std::process::ExitCode;

use basekeep_engine::{EngineError, ErrorKind};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    Incomplete,
    Difference,
    NoRepository,
    Locked,
    WrongPassword,
    Unreachable,
    Interrupted,
    /// What another program ended with.
    Other(u8),
}

/// The text for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
    0  done
    1  failed; `monitor`: something alerts; `diff --exit-code`: something differs
    2  wrong usage
    3  done, but something could not be captured or restored (it is listed)
    4  verification found a difference
   10  no repository
   11  repository locked
   12  wrong password
   13  source unreachable
  130  interrupted";

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Incomplete => 3,
            Self::Difference => 4,
            Self::NoRepository => 10,
            Self::Locked => 11,
            Self::WrongPassword => 12,
            Self::Unreachable => 13,
            Self::Interrupted => 130,
            Self::Other(code) => code,
        }
    }

    pub(crate) fn of(error: &EngineError) -> Self {
        match error.kind() {
            ErrorKind::Failed => Self::Failed,
            ErrorKind::Usage => Self::Usage,
            ErrorKind::Difference => Self::Difference,
            ErrorKind::NoRepository => Self::NoRepository,
            ErrorKind::Locked => Self::Locked,
            ErrorKind::WrongPassword => Self::WrongPassword,
            ErrorKind::Unreachable => Self::Unreachable,
            ErrorKind::Interrupted => Self::Interrupted,
        }
    }

    /// Of two pieces of work in one command, the end that the caller must hear about: an interrupt before an error,
    /// an error before a difference, a difference before an omission.
    pub(crate) fn worst(self, other: Self) -> Self {
        let rank = |exit: Self| match exit {
            Self::Done => 0,
            Self::Incomplete => 1,
            Self::Difference => 2,
            Self::Interrupted => 4,
            _ => 3,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// The stable word for an error's kind in JSON.
pub(crate) fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Failed => "failed",
        ErrorKind::Usage => "usage",
        ErrorKind::Difference => "difference",
        ErrorKind::NoRepository => "no-repository",
        ErrorKind::Locked => "locked",
        ErrorKind::WrongPassword => "wrong-password",
        ErrorKind::Unreachable => "unreachable",
        ErrorKind::Interrupted => "interrupted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_end_is_reported() {
        assert_eq!(Exit::Done.worst(Exit::Incomplete), Exit::Incomplete);
        assert_eq!(Exit::Unreachable.worst(Exit::Incomplete), Exit::Unreachable);
        assert_eq!(Exit::Unreachable.worst(Exit::Failed), Exit::Unreachable, "the first error counts");
        assert_eq!(Exit::Failed.worst(Exit::Interrupted), Exit::Interrupted);
        assert_eq!(Exit::Done.worst(Exit::Done), Exit::Done);
    }
}
