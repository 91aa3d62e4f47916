//! What a repository's snapshots tell about its sources: growth, trends, projections, and what is wrong.

mod finding;

pub use finding::{Finding, Severity};
