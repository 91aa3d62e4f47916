//! What the repository holds: tables of the sizes and chunks that docs/FORMAT.md gives them.

use std::path::Path;

use basekeep_repository::{
    BlobId, InitOptions, Lock, LockMode, NewSnapshot, Password, PlantedBlob, Repository, Snapshot,
    TreeBuilder, WriterOptions,
};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

use super::{Result, claims};

const GIB: u64 = 1 << 30;
/// Number of tables, bytes of each, average chunk.
const TABLES: [(u64, u64, u32); 3] =
    [(1, 512 * GIB, 4 << 20), (2, 128 * GIB, 1 << 20), (8, 32 * GIB, 256 << 10)];
/// Rows compress to about a quarter.
const RATIO: u32 = 4;
const PACK: u32 = 32 << 20;
/// Snapshots, of which some have trees of their own.
pub(super) const SNAPSHOTS: usize = 10_000;
const TREES: usize = 3;
/// Every so many blobs there is one that no snapshot needs any more.
const FORGOTTEN: usize = 9;
/// Each hash is that of nothing; equal seeds give equal ids.
const SEED: u64 = 7;

pub(super) fn password() -> Password {
    "synthetic".into()
}

/// A table's path, its blobs and their plain length.
pub(super) struct Table {
    pub(super) path: String,
    pub(super) blobs: Vec<BlobId>,
    pub(super) chunk: u32,
}

fn tables() -> Vec<Table> {
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut tables = Vec::new();
    for (count, bytes, chunk) in TABLES {
        for _ in 0..count {
            let blobs = (0..bytes / u64::from(chunk)).map(|_| id(&mut random)).collect();
            tables.push(Table { path: format!("shop/database/{}.dat", 1000 + tables.len()), blobs, chunk });
        }
    }
    tables
}

fn id(random: &mut SmallRng) -> BlobId {
    let mut bytes = [0; 32];
    random.fill_bytes(&mut bytes);
    BlobId::from_bytes(bytes)
}

/// Builds it; says what it is.
pub(super) async fn build(folder: &Path) -> Result<String> {
    let options = InitOptions { scrypt_log_n: Some(10), ..InitOptions::default() };
    let repository = Repository::init(claims::open(folder)?, &password(), options).await?;
    let lock = repository.lock(LockMode::Shared).await?;
    let tables = tables();
    let planted = repository.plant_packs(&lock, packs(&tables)).await?;
    claims::save(folder, &planted)?;
    lock.release().await?;

    let repository = Repository::open(claims::open(folder)?, &password()).await?;
    let lock = repository.lock(LockMode::Shared).await?;
    repository.load_index().await?;
    let end = Timestamp::now() - SignedDuration::from_hours(24 * 400);
    let mut snapshots = Vec::new();
    for n in 0..TREES {
        snapshots.push(snapshot(&repository, &lock, &tables, n, end).await?);
    }
    let hours = |n: usize| SignedDuration::from_hours(i64::try_from(n).unwrap_or(0));
    let files: Vec<(Snapshot, Timestamp)> =
        (TREES..SNAPSHOTS).map(|n| (snapshots[n % TREES].clone(), end - hours(n))).collect();
    let mut writes = futures::stream::iter(files)
        .map(|(like, time)| {
            let repository = repository.clone();
            async move { repository.plant_snapshot(&like, time).await }
        })
        .buffer_unordered(32);
    while let Some(result) = writes.next().await {
        result?;
    }
    lock.release().await?;
    let blobs: usize = tables.iter().map(|table| table.blobs.len()).sum();
    Ok(format!(
        "{} tables, {:.2} million blobs of 256 KiB to 4 MiB, and a tenth more that nothing needs, in {} packs; {SNAPSHOTS} snapshots \
         with {TREES} different trees",
        tables.len(),
        blobs as f64 / 1e6,
        planted.len()
    ))
}

/// Fills packs with the tables' blobs, and some that belong to nobody.
fn packs(tables: &[Table]) -> impl Iterator<Item = Vec<PlantedBlob>> + Send {
    let mut random = SmallRng::seed_from_u64(SEED + 1);
    let mut blobs =
        tables.iter().flat_map(|table| table.blobs.iter().map(|blob| (*blob, table.chunk))).enumerate();
    std::iter::from_fn(move || {
        let (mut pack, mut bytes) = (Vec::new(), 0);
        while bytes < PACK {
            let Some((n, (id_, plain))) = blobs.next() else { break };
            let forgotten = (n % FORGOTTEN == 0).then(|| id(&mut random));
            for id in [Some(id_), forgotten].into_iter().flatten() {
                let stored = plain / RATIO + random.random_range(0..1000);
                pack.push(PlantedBlob { id, plain, stored });
                bytes += stored;
            }
        }
        (!pack.is_empty()).then_some(pack)
    })
}

/// The `n`th snapshot lacks the last `n` blobs of each table.
async fn snapshot(
    repository: &Repository,
    lock: &Lock,
    tables: &[Table],
    n: usize,
    time: Timestamp,
) -> Result<Snapshot> {
    let writer = repository.writer(lock, WriterOptions::default());
    let mut tree = TreeBuilder::new(time);
    for table in tables {
        let known: Vec<(BlobId, u32)> =
            table.blobs[..table.blobs.len() - n].iter().map(|blob| (*blob, table.chunk)).collect();
        let mut file = writer.file(table.chunk as usize);
        for part in known.chunks(10_000) {
            file.append_known(part).await?;
        }
        tree.file(&table.path, file.finish().await?, 0o600);
    }
    Ok(writer.finish(tree, new_snapshot(time)).await?)
}

pub(super) fn new_snapshot(time: Timestamp) -> NewSnapshot {
    NewSnapshot {
        time,
        hostname: "shop".into(),
        username: "synthetic".into(),
        paths: vec!["/shop".into()],
        tags: vec!["nightly".into()],
        parent: None,
        program_version: "xtask synthetic".into(),
    }
}

/// The tables of a snapshot, as its folder lists them.
pub(super) async fn tables_of(repository: &Repository, snapshot: &Snapshot) -> Result<Vec<Table>> {
    let node = repository.node_at(snapshot, "/shop/database").await?.ok_or("the folder is missing")?;
    let tree = repository.tree(&node.subtree.ok_or("the folder has no tree")?).await?;
    Ok(tree
        .nodes
        .into_iter()
        .map(|node| {
            let chunk = node.size / (node.content.len() as u64).max(1);
            Table {
                path: format!("shop/database/{}", node.name),
                blobs: node.content,
                chunk: u32::try_from(chunk).unwrap_or(u32::MAX),
            }
        })
        .collect())
}
