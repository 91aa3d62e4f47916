//! Removing what no snapshot needs: a plan, which is pure data and can be printed, and its execution.
//!
//! *Must*: what a snapshot needs is never deleted before its copy is durable and in a durable index file. New packs →
//! new index files → old index files deleted → old packs deleted. Interrupted anywhere, every snapshot is whole, and the
//! next run goes on: copies that an index file names are chosen over the packs that they come from.
//!
//! When in doubt nothing is removed: an index file, a snapshot or a tree that cannot be read may need anything.

mod choose;
mod copy;
mod execute;
mod outcome;
mod packer;
mod packs;
mod plan;
mod recompress;
mod rewrite;
mod survey;
mod usage;

use jiff::Timestamp;

pub use outcome::{PruneOutcome, PruneProgress, PruneStage};
pub use plan::{Amount, PrunePlan, PruneSummary};

use crate::SnapshotId;

/// How much of what is not needed may stay in the packs that stay, since rewriting them costs more than it saves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// So many bytes.
    Bytes(u64),
    /// So many percent of all bytes that stay, as stock restic counts.
    Percent(f64),
    /// As much as there is: only packs that nothing needs are removed.
    Unlimited,
}

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// What may stay.
    pub max_unused: MaxUnused,
    /// Rewrite packs of at most so many bytes in all.
    pub max_repack_size: Option<u64>,
    /// Put small packs together.
    pub repack_small: bool,
    /// Compress packs again that a snapshot needs which was taken then or before.
    pub recompress_before: Option<Timestamp>,
    /// zstd level for that.
    pub recompress_level: i32,
    /// A pack is full at this size, in bytes.
    pub pack_size: usize,
    /// Plan as if these snapshots had been removed. Such a plan is for looking at; it can be executed once they are.
    pub without: Vec<SnapshotId>,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            max_unused: MaxUnused::Percent(5.0),
            max_repack_size: None,
            repack_small: false,
            recompress_before: None,
            recompress_level: recompress::LEVEL,
            pack_size: 32 << 20,
            without: Vec::new(),
        }
    }
}

impl MaxUnused {
    /// The bytes that may stay beside `used` bytes.
    fn limit(self, used: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) if percent < 100.0 => {
                (percent.max(0.0) / (100.0 - percent) * used as f64) as u64
            }
            Self::Percent(_) | Self::Unlimited => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_counts_of_what_stays() {
        assert_eq!(MaxUnused::Percent(5.0).limit(950), 50);
        assert_eq!(MaxUnused::Percent(0.0).limit(950), 0);
        assert_eq!(MaxUnused::Percent(100.0).limit(950), u64::MAX);
        assert_eq!(MaxUnused::Bytes(7).limit(950), 7);
    }
}
