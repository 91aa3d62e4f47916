//! One suite of what a store promises, run against every store and wrapper; then what is particular to each.

mod contract;
mod local;
mod wrappers;
