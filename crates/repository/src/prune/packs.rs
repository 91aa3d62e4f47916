//! What is in each pack, counted; and which of a blob's places counts where it has several.

use crate::bits::Bits;
use crate::layout;
use crate::pack::BlobKind;
use crate::prune::choose::Verdict;
use crate::prune::plan::PruneSummary;
use crate::prune::survey::Survey;

/// A pack in figures. Bytes are those of the sealed blobs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PackFigures {
    pub(super) blobs: u32,
    pub(super) bytes: u64,
    /// Plain bytes.
    plain: u64,
    /// What nobody needs.
    unused_blobs: u32,
    unused: u64,
    /// What is needed and chosen to be taken from here.
    pub(super) chosen_blobs: u32,
    pub(super) chosen: u64,
    pub(super) trees: bool,
    pub(super) data: bool,
    pub(super) compressed: bool,
    /// A blob in it is needed by a snapshot that is old enough for recompression.
    pub(super) early: bool,
    /// A blob in it is needed, whether or not it is taken from here.
    pub(super) needed: bool,
}

impl PackFigures {
    /// Bytes that could go.
    pub(super) fn dropped(&self) -> u64 {
        self.bytes - self.chosen
    }
}

/// All packs in figures, by number.
#[derive(Debug)]
pub(super) struct Packs {
    pub(super) figures: Vec<PackFigures>,
    /// By position.
    pub(super) chosen: Bits,
    needed: (u64, u64),
}

impl Packs {
    pub(super) fn new(survey: &Survey) -> Self {
        let index = &survey.index;
        let mut figures = vec![PackFigures::default(); index.packs().len()];
        for position in 0..index.len() {
            let blob = index.at(position).blob;
            let pack = &mut figures[index.pack_at(position)];
            pack.blobs += 1;
            pack.bytes += u64::from(blob.length);
            pack.plain += u64::from(blob.plain_length());
            pack.trees |= blob.kind == BlobKind::Tree;
            pack.data |= blob.kind == BlobKind::Data;
            pack.compressed |= blob.uncompressed > 0;
        }
        Self { figures, chosen: Bits::new(index.len()), needed: (0, 0) }
    }

    /// Chooses one place for each blob that is needed. Gives those that have several, by their first position.
    pub(super) fn choose_places(&mut self, survey: &Survey, needed: &Bits, early: &Bits) -> Vec<u32> {
        let index = &survey.index;
        let mut several = Vec::new();
        let mut first = 0;
        while first < index.len() {
            let places = index.same(first);
            let is_needed = needed.get(first);
            let mut sound = places.clone().filter(|at| survey.sound.get(index.pack_at(*at)));
            for position in places.clone() {
                let pack = &mut self.figures[index.pack_at(position)];
                if is_needed {
                    pack.needed = true;
                    pack.early |= early.get(first);
                } else {
                    pack.unused_blobs += 1;
                    pack.unused += u64::from(index.at(position).blob.length);
                }
            }
            match (is_needed, sound.next(), sound.next()) {
                (true, Some(only), None) => self.choose(survey, only),
                (true, Some(_), Some(_)) => several.push(first as u32),
                _ => {}
            }
            first = places.end;
        }
        self.choose_among(survey, &several);
        several
    }

    fn choose(&mut self, survey: &Survey, position: usize) {
        let length = u64::from(survey.index.at(position).blob.length);
        let pack = &mut self.figures[survey.index.pack_at(position)];
        pack.chosen_blobs += 1;
        pack.chosen += length;
        self.chosen.set(position);
        self.needed.0 += 1;
        self.needed.1 += length;
    }

    /// Packs are ranked once, so that what two packs share comes from the same one. First come packs that are needed
    /// anyhow; then those with the smallest share of unused blobs, and then the better compressed ones: so the copies
    /// that an interrupted run left win over what they were copied from.
    fn choose_among(&mut self, survey: &Survey, several: &[u32]) {
        let per_mille = |part: u64, whole: u64| part * 1000 / whole.max(1);
        let rank = |pack: &PackFigures| {
            (pack.chosen == 0, per_mille(pack.unused, pack.bytes), per_mille(pack.bytes, pack.plain))
        };
        let ranks: Vec<_> = self.figures.iter().map(rank).collect();
        for first in several {
            let places = survey.index.same(*first as usize);
            let sound = places.filter(|at| survey.sound.get(survey.index.pack_at(*at)));
            let best = sound.min_by_key(|at| {
                let number = survey.index.pack_at(*at);
                (ranks[number], number, *at)
            });
            if let Some(best) = best {
                self.choose(survey, best);
            }
        }
    }

    pub(super) fn summary(&self, survey: &Survey, verdicts: &[Verdict]) -> PruneSummary {
        let mut summary = PruneSummary {
            snapshots: survey.snapshots.len() as u64,
            index_files: survey.files.len() as u64,
            ..PruneSummary::default()
        };
        (summary.needed.blobs, summary.needed.bytes) = self.needed;
        for (number, pack) in self.figures.iter().enumerate() {
            let size = survey.stored[number].unwrap_or(0);
            let blobs = u64::from(pack.blobs);
            if *verdict_of(verdicts, number) == Verdict::Gone {
                summary.gone += 1;
                continue;
            }
            summary.stored.add(blobs, size);
            summary.needed.packs += u64::from(pack.needed);
            if pack.unused_blobs > 0 {
                summary.unused.add(u64::from(pack.unused_blobs), pack.unused);
            }
            let second_blobs = pack.blobs - pack.unused_blobs - pack.chosen_blobs;
            if second_blobs > 0 {
                summary.duplicates.add(u64::from(second_blobs), pack.bytes - pack.unused - pack.chosen);
            }
            match verdict_of(verdicts, number) {
                Verdict::Gone => {}
                Verdict::Keep => {
                    summary.kept.add(blobs, size);
                    summary.unused_after += pack.dropped();
                    if !survey.sound.get(number) {
                        summary.suspect.push(layout::pack(survey.index.packs()[number]));
                    }
                }
                Verdict::Delete => {
                    summary.deleted.add(blobs, size);
                    summary.freed += size;
                }
                Verdict::Repack => {
                    summary.repacked.add(blobs, size);
                    summary.copied_bytes += pack.chosen;
                    summary.freed += pack.dropped();
                }
                Verdict::Recompress => {
                    summary.recompressed.add(blobs, size);
                    summary.copied_bytes += pack.chosen;
                    summary.freed += pack.dropped();
                }
            }
        }
        for (_, size) in &survey.unindexed {
            summary.unindexed.add(0, *size);
            summary.freed += size;
        }
        summary.suspect.sort();
        summary
    }
}

fn verdict_of(verdicts: &[Verdict], number: usize) -> &Verdict {
    verdicts.get(number).unwrap_or(&Verdict::Keep)
}
