//! `proof.json`: what a drill found out about a snapshot. It lives in a small snapshot of its own.
//!
//! That snapshot carries the tags [`TAG`] and `tree:<id of the proven tree>`, so that listing needs no file of it. The
//! tree is named rather than the snapshot, because stock tools rewrite snapshots (`restic tag`) but not their trees.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The tag of a proof's snapshot.
pub const TAG: &str = "basekeep-proof";
/// Prefix of the tag that names the tree.
pub const TREE_TAG_PREFIX: &str = "tree:";
/// Prefix of the tag that holds the result: `result:equal` or `result:different`.
pub const RESULT_TAG_PREFIX: &str = "result:";
/// The result of a drill that found everything equal.
pub const EQUAL: &str = "equal";
/// The result of a drill that found a difference.
pub const DIFFERENT: &str = "different";
/// The version this program writes.
pub const VERSION: u32 = 1;

/// The result of a drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Version of this format.
    pub version: u32,
    /// The proven snapshot's id, in full.
    pub snapshot: String,
    /// Its tree's id, in full.
    pub tree: String,
    /// When the drill ended.
    pub time: Timestamp,
    /// Server version that the snapshot was restored on.
    pub server: String,
    /// Whether everything was equal.
    pub equal: bool,
    /// Tables compared.
    pub tables: u64,
    /// Rows compared.
    pub rows: u64,
    /// Definitions compared.
    pub definitions: u64,
    /// What was different or could not be restored, one line each.
    pub differences: Vec<String>,
    /// Seconds for the restore.
    pub restore_seconds: f64,
    /// Seconds for the comparison.
    pub compare_seconds: f64,
}
