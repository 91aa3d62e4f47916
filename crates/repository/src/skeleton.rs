//! signatures
#![allow(missing_docs, unused_variables, clippy::todo, dead_code)]
use crate::*;
use basekeep_store::Store;
use bytes::Bytes;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone, Default)]
pub struct InitOptions { pub scrypt_log_n: Option<u8> }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode { Shared, Exclusive }
#[derive(Debug, Clone)]
pub struct LockOptions { pub wait: Duration, pub refresh: Duration, pub stale: Duration, pub settle: Duration }
impl Default for LockOptions { fn default() -> Self { todo!() } }
#[derive(Debug)]
pub struct Lock(());
impl Lock {
    pub fn is_lost(&self) -> bool { todo!() }
    pub async fn lost(&self) { todo!() }
    pub async fn release(self) -> Result<()> { todo!() }
}
#[derive(Debug, Clone)]
pub struct Repository(Arc<()>);
impl Repository {
    pub async fn init(store: Arc<dyn Store>, password: &Password, options: InitOptions) -> Result<Repository> { todo!() }
    pub async fn open(store: Arc<dyn Store>, password: &Password) -> Result<Repository> { todo!() }
    pub fn id(&self) -> &str { todo!() }
    pub fn location(&self) -> String { todo!() }
    pub async fn lock(&self, mode: LockMode) -> Result<Lock> { todo!() }
    pub async fn lock_with(&self, mode: LockMode, options: LockOptions) -> Result<Lock> { todo!() }
    pub async fn load_index(&self) -> Result<()> { todo!() }
    pub async fn snapshots(&self) -> Result<(Vec<Snapshot>, Vec<(String, String)>)> { todo!() }
    pub async fn find_snapshot(&self, prefix: &str) -> Result<Snapshot> { todo!() }
    pub fn writer(&self, lock: &Lock, options: WriterOptions) -> Writer { todo!() }
    pub async fn tree(&self, id: &TreeId) -> Result<Tree> { todo!() }
    pub async fn node_at(&self, snapshot: &Snapshot, path: &str) -> Result<Option<Node>> { todo!() }
    pub async fn read_small(&self, node: &Node, limit: usize) -> Result<Vec<u8>> { todo!() }
    pub fn read_blobs(&self, blobs: Vec<BlobId>, prefetch_bytes: usize) -> BlobStream { todo!() }
    pub async fn check(&self, options: &CheckOptions, progress: &(dyn Fn(CheckProgress) + Send + Sync)) -> Result<CheckReport> { todo!() }
}
#[derive(Debug)]
pub struct BlobStream(());
impl BlobStream { pub async fn next(&mut self) -> Option<Result<Bytes>> { todo!() } }
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub id: SnapshotId,
    pub time: Timestamp,
    pub tree: TreeId,
    pub parent: Option<SnapshotId>,
    pub paths: Vec<String>,
    pub hostname: String,
    pub username: String,
    pub tags: Vec<String>,
    pub original: Option<SnapshotId>,
    pub program_version: String,
    pub summary: Option<Summary>,
}
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary { pub total_files_processed: u64, pub total_bytes_processed: u64, pub data_added: u64, pub data_added_packed: u64 }
#[derive(Debug, Clone)]
pub struct NewSnapshot {
    pub time: Timestamp,
    pub hostname: String,
    pub username: String,
    pub paths: Vec<String>,
    pub tags: Vec<String>,
    pub parent: Option<SnapshotId>,
    pub program_version: String,
}
#[derive(Debug, Clone, Default)]
pub struct Tree { pub nodes: Vec<Node> }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind { File, Dir, Symlink, Other }
#[derive(Debug, Clone)]
pub struct Node { pub name: String, pub kind: NodeKind, pub mode: u32, pub size: u64, pub modified: Option<Timestamp>, pub content: Vec<BlobId>, pub subtree: Option<TreeId> }
#[derive(Debug, Clone)]
pub struct WriterOptions { pub in_flight: usize, pub compression: i32, pub verify: bool, pub pack_size: usize, pub workers: usize }
impl Default for WriterOptions { fn default() -> Self { todo!() } }
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterStats { pub blobs_new: u64, pub blobs_known: u64, pub bytes_in: u64, pub bytes_new: u64, pub bytes_stored: u64 }
#[derive(Debug, Clone)]
pub struct Writer(());
impl Writer {
    pub fn file(&self, chunk_average: usize) -> FileWriter { todo!() }
    pub async fn put_file(&self, data: &[u8]) -> Result<FileContent> { todo!() }
    pub async fn finish(self, tree: TreeBuilder, snapshot: NewSnapshot) -> Result<Snapshot> { todo!() }
    pub async fn abort(self) { todo!() }
    pub fn stats(&self) -> WriterStats { todo!() }
}
#[derive(Debug)]
pub struct FileWriter(());
impl FileWriter {
    pub fn buffer(&mut self) -> &mut Vec<u8> { todo!() }
    pub async fn advance(&mut self) -> Result<()> { todo!() }
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> { todo!() }
    pub async fn cut(&mut self) -> Result<u64> { todo!() }
    pub async fn append_known(&mut self, blobs: &[(BlobId, u32)]) -> Result<()> { todo!() }
    pub async fn finish(self) -> Result<FileContent> { todo!() }
}
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileContent { pub blobs: Vec<BlobId>, pub size: u64 }
#[derive(Debug)]
pub struct TreeBuilder(());
impl TreeBuilder {
    pub fn new(time: Timestamp) -> Self { todo!() }
    pub fn file(&mut self, path: &str, content: FileContent, mode: u32) { todo!() }
    pub fn dir(&mut self, path: &str, mode: u32) { todo!() }
}
#[derive(Debug, Clone, Default)]
pub struct CheckOptions { pub read_data: bool, pub snapshots: Option<Vec<SnapshotId>> }
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckProgress { pub packs_done: u64, pub packs_total: u64, pub bytes_done: u64, pub bytes_total: u64 }
#[derive(Debug, Clone, Default)]
pub struct CheckReport { pub snapshots: u64, pub packs: u64, pub blobs: u64, pub blobs_read: u64, pub bytes_read: u64, pub damage: Vec<Damage>, pub notes: Vec<String> }
#[derive(Debug, Clone)]
pub struct Damage { pub file: String, pub reason: String, pub touches: Vec<Touched> }
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touched { pub snapshot: SnapshotId, pub path: String }
