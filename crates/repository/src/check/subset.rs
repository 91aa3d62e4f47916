//! Reading a part of the packs, so that a large repository is read in the course of a week, or a sample of it every day.

use rand::seq::SliceRandom;

use crate::PackId;

/// Which packs are read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Subset {
    /// All of them.
    #[default]
    All,
    /// So many percent of the packs, at random; at least one.
    Percent(f64),
    /// Those of a group, by their ids, as stock restic groups them: the same packs each time, and each in one group.
    Group {
        /// From 1.
        number: u32,
        /// How many groups there are; at most 256.
        of: u32,
    },
    /// Packs of so many bytes, at random; at least one.
    Bytes(u64),
}

impl Subset {
    /// Chooses among packs, each with number, id and size.
    pub(super) fn choose(self, mut packs: Vec<(usize, PackId, u64)>) -> Vec<usize> {
        match self {
            Self::All => {}
            Self::Group { number, of } => {
                packs.retain(|(_, id, _)| u32::from(id.as_bytes()[0]) % of.max(1) + 1 == number);
            }
            Self::Percent(percent) => {
                packs.shuffle(&mut rand::rng());
                let wanted = (packs.len() as f64 * percent / 100.0).ceil().max(1.0);
                packs.truncate(wanted as usize);
            }
            Self::Bytes(bytes) => {
                packs.shuffle(&mut rand::rng());
                let mut sum = 0;
                let fit = packs.iter().take_while(|(_, _, size)| {
                    sum += size;
                    sum <= bytes
                });
                let fit = fit.count().max(1);
                packs.truncate(fit);
            }
        }
        packs.into_iter().map(|(number, _, _)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packs() -> Vec<(usize, PackId, u64)> {
        (0..1000).map(|n: usize| (n, PackId::of(&n.to_le_bytes()), 10)).collect()
    }

    #[test]
    fn groups_are_the_same_each_time_and_hold_every_pack_once() {
        let group = |number| Subset::Group { number, of: 7 }.choose(packs());
        let mut all: Vec<usize> = (1..=7).flat_map(group).collect();
        assert_eq!(group(3), group(3));
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_share_or_a_size_is_chosen_at_random_and_never_nothing() {
        assert_eq!(Subset::All.choose(packs()).len(), 1000);
        assert_eq!(Subset::Percent(5.0).choose(packs()).len(), 50);
        assert_eq!(Subset::Percent(0.001).choose(packs()).len(), 1);
        assert_eq!(Subset::Bytes(255).choose(packs()).len(), 25);
        assert_eq!(Subset::Bytes(1).choose(packs()).len(), 1);
        assert_ne!(Subset::Percent(50.0).choose(packs()), Subset::Percent(50.0).choose(packs()));
        assert!(Subset::Bytes(1).choose(Vec::new()).is_empty());
    }
}
