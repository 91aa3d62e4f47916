//! Which packs are worth compressing again: old ones whose first compressed blob is not marked yet.

use std::ops::Range;

use futures::StreamExt;

use crate::compression::{FRAME_HEAD, is_marked};
use crate::prune::PruneOptions;
use crate::prune::choose::Verdict;
use crate::prune::packs::Packs;
use crate::prune::survey::Survey;
use crate::{Repository, Result, layout};

/// Chosen by measuring on COPY text: docs/adr/0004-recompression.md.
pub(super) const LEVEL: i32 = 15;

/// Beginnings of packs that are read at the same time.
const FETCHES: usize = 16;
/// The initialisation vector comes first.
const HEAD: u64 = 16 + FRAME_HEAD as u64;

/// Turns verdicts on packs that would stay.
pub(super) async fn choose(
    repository: &Repository,
    survey: &Survey,
    packs: &Packs,
    options: &PruneOptions,
    verdicts: &mut [Verdict],
) -> Result<()> {
    let repacked: u64 = (0..verdicts.len())
        .filter(|n| verdicts[*n] == Verdict::Repack)
        .filter_map(|n| survey.stored[n])
        .sum();
    let mut budget = options.max_repack_size.unwrap_or(u64::MAX).saturating_sub(repacked);
    let candidates: Vec<(usize, String, Range<u64>)> = (0..verdicts.len())
        .filter(|number| {
            let pack = &packs.figures[*number];
            verdicts[*number] == Verdict::Keep
                && pack.early
                && pack.compressed
                && !pack.trees
                && survey.sound.get(*number)
        })
        .filter_map(|number| {
            let mut blobs = survey.by_pack.positions(number).map(|at| survey.index.at(at).blob);
            let first = blobs.find(|blob| blob.uncompressed > 0)?;
            let start = u64::from(first.offset);
            let end = start + HEAD.min(u64::from(first.length));
            Some((number, layout::pack(survey.index.packs()[number]), start..end))
        })
        .collect();
    let mut reads = futures::stream::iter(candidates)
        .map(|(number, key, range)| judge(repository.clone(), number, key, range))
        .buffered(FETCHES);
    while let Some(judged) = reads.next().await {
        let (number, marked) = judged?;
        let size = survey.stored[number].unwrap_or(0);
        if marked || size > budget {
            continue;
        }
        verdicts[number] = Verdict::Recompress;
        budget -= size;
    }
    Ok(())
}

async fn judge(
    repository: Repository,
    number: usize,
    key: String,
    range: Range<u64>,
) -> Result<(usize, bool)> {
    let head = repository.shared.store.get_range(&key, range).await?;
    Ok((number, is_marked(&repository.shared.key.peek(&head))))
}
