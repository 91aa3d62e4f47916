//! The work of basekeep: backup, restore, drill, verification and the listing of snapshots.
//!
//! Each piece of work is a plan and its execution. The engine emits typed [`Event`]s and prints nothing; what it
//! stores in a snapshot are the versioned types of [`stored`], never domain types serialized as they happen to be.

pub mod backup;
pub mod cache;
pub mod cat;
pub mod check;
pub mod config;
pub mod copy;
mod definitions;
pub mod diff;
pub mod drill;
mod error;
mod event;
pub mod export;
pub mod files;
pub mod forget;
pub mod history;
mod interrupt;
pub mod keys;
pub mod leases;
pub mod listing;
pub mod live;
pub mod mask;
pub mod monitor;
pub mod objects;
pub mod project;
pub mod prune;
pub mod repair;
pub mod replicas;
pub mod report;
pub mod repositories;
pub mod restore;
pub mod retention;
pub mod selection;
mod snapshot_rows;
pub mod stored;
pub mod survey;
pub mod unlock;
pub mod values;
pub mod verify;
pub mod words;

/// The database side, for callers that connect, look for programs or start a scratch cluster themselves.
pub use basekeep_postgres as postgres;
pub use basekeep_repository::{Password, Repository, Snapshot};
pub use error::{EngineError, ErrorKind, ResultExt};
pub use event::{Event, Observer, Progress, Silent, Step};
pub use interrupt::{Interrupt, InterruptHandle};
