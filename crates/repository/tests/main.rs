//! Repositories as a whole: written, read, locked, damaged, interrupted, and shared with stock restic.

mod check;
mod faults;
mod locks;
mod reading;
mod stock;
mod support;
mod writing;
