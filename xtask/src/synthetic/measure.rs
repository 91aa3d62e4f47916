//! The pieces of work that are measured.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use basekeep_repository::{
    CacheScope, CheckOptions, LockMode, PruneOptions, Repository, TreeBuilder, WriterOptions,
};
use basekeep_store::Local;
use jiff::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Result, build, claims};

/// Name and title.
pub(super) const PHASES: [(&str, &str); 6] = [
    ("open", "open, and load the index"),
    ("list", "list the snapshots, into an empty cache"),
    ("list-again", "list the snapshots, from the cache"),
    ("backup", "an incremental backup of 64 MiB of new rows"),
    ("check", "`check`, the structure"),
    ("prune", "`prune`, the plan"),
];

/// Plain bytes that the incremental backup adds.
const NEW: usize = 64 << 20;

/// What a phase cost.
pub(super) struct Phase {
    pub(super) seconds: f64,
    pub(super) peak_mib: u64,
    pub(super) detail: String,
}

impl Phase {
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)?;
        let mut words = text.splitn(3, ' ');
        let mut next = || words.next().ok_or("a phase left no figures");
        Ok(Self { seconds: next()?.parse()?, peak_mib: next()?.parse()?, detail: next()?.to_owned() })
    }
}

/// Runs a phase and leaves its figures in the folder.
pub(super) fn run(name: &str, folder: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let began = Instant::now();
    let detail = runtime.block_on(phase(name, folder))?;
    let figures = format!("{:.2} {} {detail}", began.elapsed().as_secs_f64(), peak_mib()?);
    Ok(std::fs::write(folder.join(name), figures)?)
}

async fn phase(name: &str, folder: &Path) -> Result<String> {
    if name == "build" {
        return build::build(folder).await;
    }
    let repository = Repository::open(claims::open(folder)?, &build::password()).await?;
    match name {
        "open" => {
            repository.load_index().await?;
            Ok(String::new())
        }
        "list" | "list-again" => {
            let cache = Arc::new(Local::new(folder.join("cache")));
            let (snapshots, _) = repository.with_cache(cache, CacheScope::Records).snapshots().await?;
            Ok(format!("{} snapshots", snapshots.len()))
        }
        "backup" => backup(&repository).await,
        "check" => check(&repository).await,
        "prune" => prune(&repository).await,
        other => Err(format!("there is no phase {other}").into()),
    }
}

async fn backup(repository: &Repository) -> Result<String> {
    let lock = repository.lock(LockMode::Shared).await?;
    let (snapshots, _) = repository.snapshots().await?;
    let parent = snapshots.last().ok_or("there is no snapshot")?.clone();
    drop(snapshots);
    repository.load_index().await?;
    repository.forget_missing_packs().await?;
    let tables = build::tables_of(repository, &parent).await?;
    let writer = repository.writer(&lock, WriterOptions::default());
    let mut tree = TreeBuilder::new(Timestamp::now());
    let count = tables.len();
    let mut random = SmallRng::seed_from_u64(99);
    for table in tables {
        let mut file = writer.file(table.chunk as usize);
        for part in table.blobs.chunks(1000) {
            let known: Vec<_> = part.iter().map(|blob| (*blob, table.chunk)).collect();
            file.append_known(&known).await?;
        }
        let mut new = vec![0; NEW / count];
        random.fill_bytes(&mut new);
        file.write(&new).await?;
        tree.file(&table.path, file.finish().await?, 0o600);
    }
    let new = build::new_snapshot(Timestamp::now());
    writer.finish(tree, new).await?;
    lock.release().await?;
    Ok(String::new())
}

async fn check(repository: &Repository) -> Result<String> {
    let lock = repository.lock(LockMode::Shared).await?;
    let report = repository.check(&CheckOptions::default(), &|_| {}).await?;
    lock.release().await?;
    if let Some(damage) = report.damage.first() {
        return Err(format!("damage where there is none: {damage:?}").into());
    }
    Ok(format!("{} blobs in {} packs", report.blobs, report.packs))
}

async fn prune(repository: &Repository) -> Result<String> {
    let lock = repository.lock(LockMode::Exclusive).await?;
    let plan = repository.plan_prune(&PruneOptions::default(), &lock).await?;
    lock.release().await?;
    let summary = &plan.summary;
    Ok(format!(
        "{} packs to rewrite, {} to delete, {} stay",
        summary.repacked.packs, summary.deleted.packs, summary.kept.packs
    ))
}

/// The most memory that this process ever had.
fn peak_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("there is no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib.div_ceil(1024))
}
