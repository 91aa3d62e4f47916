//! What a prune tells while it works, and what it has done.

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneStage {
    /// Reading second copies, to delete only what is good elsewhere.
    Verifying,
    /// Copying what is needed into new packs.
    Copying,
    /// Replacing index files.
    Indexing,
    /// Deleting packs.
    Deleting,
}

/// How far a stage has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneProgress {
    /// The stage.
    pub stage: PruneStage,
    /// Packs (blobs while verifying, files while indexing) that are done.
    pub done: u64,
    /// How many there are.
    pub total: u64,
    /// Bytes that were read or deleted.
    pub bytes_done: u64,
    /// Bytes in all, where they are known.
    pub bytes_total: u64,
}

/// What a prune has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneOutcome {
    /// Packs that were deleted.
    pub packs_deleted: u64,
    /// Their bytes.
    pub bytes_deleted: u64,
    /// Packs that were written.
    pub packs_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// Blobs that were copied into them.
    pub blobs_copied: u64,
    /// How many of these were compressed again and became smaller.
    pub blobs_recompressed: u64,
    /// Bytes that this saved.
    pub bytes_saved: u64,
    /// Index files that were written.
    pub index_files_written: u64,
    /// Index files that were deleted.
    pub index_files_deleted: u64,
    /// Packs that stay because a blob in them is damaged and is nowhere else: the key and what is wrong, sorted. Nothing was
    /// lost, and nothing healed.
    pub damaged: Vec<(String, String)>,
}
