//! Backup, restore and drill against real servers, with repositories in memory.

mod restore;
mod support;
