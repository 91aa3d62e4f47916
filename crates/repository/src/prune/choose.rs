//! What happens to each pack and each index file.

use crate::prune::PruneOptions;
use crate::prune::packs::Packs;
use crate::prune::survey::{IndexFile, Survey};

/// Index files with fewer blobs are put together.
const SMALL_FILE: usize = 10_000;
/// Fewer small packs than this are not worth putting together: one of each sort always remains.
const SMALL_PACKS: usize = 4;

/// What happens to a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// Nothing in it is needed.
    Delete,
    /// What is needed is copied into new packs.
    Repack,
    /// The same, and compressed again; for no other reason than that.
    Recompress,
    /// It is not there, and nothing in it is needed.
    Gone,
}

/// A pack from which something could be dropped.
struct Candidate {
    number: usize,
    /// In any case, whatever may stay unused.
    always: bool,
    /// What could be dropped, of a million bytes.
    share: u64,
}

/// By pack number.
pub(super) fn verdicts(survey: &Survey, packs: &Packs, options: &PruneOptions) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::Keep; packs.figures.len()];
    let mut candidates = Vec::new();
    let (mut small_data, mut small_trees) = (Vec::new(), Vec::new());
    for (number, pack) in packs.figures.iter().enumerate() {
        let mixed = pack.trees && pack.data;
        match survey.stored[number] {
            None => verdicts[number] = Verdict::Gone,
            // What it holds may be good; it is for `repair index` to find out.
            Some(_) if !survey.sound.get(number) && pack.needed => {}
            Some(_) if pack.chosen_blobs == 0 => verdicts[number] = Verdict::Delete,
            Some(_) if pack.dropped() > 0 || mixed => {
                let share = pack.dropped().saturating_mul(1_000_000) / pack.bytes.max(1);
                candidates.push(Candidate { number, always: pack.trees, share });
            }
            Some(size) if size < options.pack_size as u64 * 4 / 5 => {
                if pack.trees {
                    small_trees.push(number)
                } else {
                    small_data.push(number)
                }
            }
            Some(_) => {}
        }
    }
    let used: u64 = packs.figures.iter().map(|pack| pack.chosen).sum();
    let may_stay = options.max_unused.limit(used);
    let mut unused: u64 = candidates.iter().map(|one| packs.figures[one.number].dropped()).sum();
    let mut budget = options.max_repack_size.unwrap_or(u64::MAX);
    candidates.sort_by_key(|one| (!one.always, std::cmp::Reverse(one.share), one.number));
    for one in candidates {
        let size = survey.stored[one.number].unwrap_or(0);
        if (one.always || unused > may_stay) && size <= budget {
            verdicts[one.number] = Verdict::Repack;
            budget -= size;
            unused -= packs.figures[one.number].dropped();
        }
    }
    for small in [small_data, small_trees] {
        if options.repack_small && small.len() >= SMALL_PACKS {
            for number in small {
                let size = survey.stored[number].unwrap_or(0);
                if size <= budget {
                    verdicts[number] = Verdict::Repack;
                    budget -= size;
                }
            }
        }
    }
    verdicts
}

/// By index file: those that list a pack that goes or that another file lists too, and small ones, if there are several.
pub(super) fn replaced_files(survey: &Survey, verdicts: &[Verdict]) -> Vec<bool> {
    let mut listed = vec![0_u32; verdicts.len()];
    for pack in survey.files.iter().flat_map(|file| &file.packs) {
        listed[*pack as usize] += 1;
    }
    let goes = |pack: &u32| verdicts[*pack as usize] != Verdict::Keep || listed[*pack as usize] > 1;
    let blobs = |file: &IndexFile| -> usize {
        file.packs.iter().map(|pack| survey.by_pack.positions(*pack as usize).count()).sum()
    };
    let small: Vec<bool> = survey.files.iter().map(|file| blobs(file) < SMALL_FILE).collect();
    let several = small.iter().filter(|small| **small).count() > 1;
    let files = survey.files.iter().zip(small);
    files
        .map(|(file, small)| file.packs.iter().any(goes) || file.packs.is_empty() || (small && several))
        .collect()
}
