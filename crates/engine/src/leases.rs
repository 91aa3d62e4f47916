//! Which of several servers does a job: leases beside the repository's own folders ([`crate::Repository`]).

pub use basekeep_repository::{Lease, LeaseAttempt, LeaseOptions, Leases};
