//! Backup, restore and drill against real servers, with repositories in memory.

mod drill;
mod restore;
mod support;
mod tampered;
