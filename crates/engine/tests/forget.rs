//! Retention: restic's rules, with restic as the oracle; and what stays whatever the rules say.

mod oracle;
mod protection;
mod snapshots;
