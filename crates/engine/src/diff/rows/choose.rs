//! Which blobs of two tables must be read to find all rows that differ.
//!
//! Rows are compared as two bags, so whatever is a part of both, as whole rows, may be left out of both, wherever it stands.
//! Ranges of blocks with equal digests are such a part. So are the whole rows inside a run of blobs that both have: of such a run
//! only the end of the row that began before it (its *head*) and the beginning of the row that goes on after it (its *tail*) are
//! read, in both tables alike.

use std::collections::HashMap;

use basekeep_repository::BlobId;

use crate::stored::ranges::Range;

/// What of a blob is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    All,
    /// Up to its first line end: the next blob that is read begins a line.
    Head,
    /// What follows its last line end.
    Tail,
}

/// The ranges that the other table does not have.
pub(super) fn differing(a: &[Range], b: &[Range]) -> (Vec<Range>, Vec<Range>) {
    type Content = (u64, u64, u128);
    let content = |range: &Range| -> Content { (range.rows, range.bytes, range.digest) };
    let mut shared: HashMap<Content, (u64, u64)> = HashMap::new();
    for range in a {
        shared.entry(content(range)).or_default().0 += 1;
    }
    for range in b {
        shared.entry(content(range)).or_default().1 += 1;
    }
    let both: HashMap<Content, u64> = shared.into_iter().map(|(key, (a, b))| (key, a.min(b))).collect();
    let left = |ranges: &[Range]| {
        let mut skip = both.clone();
        let mut left = Vec::new();
        for range in ranges {
            match skip.get_mut(&content(range)) {
                Some(n) if *n > 0 => *n -= 1,
                _ => left.push(*range),
            }
        }
        left
    };
    (left(a), left(b))
}

/// A range's blobs, which hold whole rows. That they are there was checked with the ranges.
pub(super) fn blobs_of<'a>(range: &Range, blobs: &'a [BlobId]) -> &'a [BlobId] {
    let first = usize::try_from(range.first_blob).unwrap_or(usize::MAX);
    let end = usize::try_from(range.first_blob.saturating_add(range.blobs)).unwrap_or(usize::MAX);
    blobs.get(first..end).unwrap_or_default()
}

/// The blobs to read, in order, with what of them.
pub(super) type Chosen = Vec<(BlobId, Part)>;

/// All of them.
pub(super) fn everything(ranges: &[&[BlobId]]) -> Chosen {
    ranges.iter().flat_map(|blobs| blobs.iter().map(|blob| (*blob, Part::All))).collect()
}

/// All but what is inside of runs of blobs that both have.
pub(super) fn without_shared(a: &[&[BlobId]], b: &[&[BlobId]]) -> (Chosen, Chosen) {
    let mut places: HashMap<BlobId, Vec<(usize, usize)>> = HashMap::new();
    for (range, blobs) in b.iter().enumerate().rev() {
        for (at, blob) in blobs.iter().enumerate().rev() {
            places.entry(*blob).or_default().push((range, at));
        }
    }
    let whole = |ranges: &[&[BlobId]]| -> Vec<Vec<Option<Part>>> {
        ranges.iter().map(|blobs| vec![Some(Part::All); blobs.len()]).collect()
    };
    let (mut of_a, mut of_b) = (whole(a), whole(b));
    let mut used: Vec<Vec<bool>> = b.iter().map(|blobs| vec![false; blobs.len()]).collect();
    for (range_a, blobs) in a.iter().enumerate() {
        let mut at_a = 0;
        while at_a < blobs.len() {
            let Some((range_b, at_b)) = free(places.get_mut(&blobs[at_a]), &used) else {
                at_a += 1;
                continue;
            };
            let others = b[range_b];
            let length = (0..)
                .take_while(|n| {
                    let pair = (blobs.get(at_a + n), others.get(at_b + n));
                    matches!(pair, (Some(x), Some(y)) if x == y && !used[range_b][at_b + n])
                })
                .count();
            used[range_b][at_b..at_b + length].fill(true);
            // Where both begin (or end) a range, the run begins (or ends) at a line, too.
            let begins = at_a == 0 && at_b == 0;
            let ends = at_a + length == blobs.len() && at_b + length == others.len();
            if length > usize::from(!begins) + usize::from(!ends) {
                for (parts, at) in [(&mut of_a[range_a], at_a), (&mut of_b[range_b], at_b)] {
                    parts[at..at + length].fill(None);
                    if !begins {
                        parts[at] = Some(Part::Head);
                    }
                    if !ends {
                        parts[at + length - 1] = Some(Part::Tail);
                    }
                }
            }
            at_a += length.max(1);
        }
    }
    (chosen(a, &of_a), chosen(b, &of_b))
}

/// The first place of a blob that no run has taken.
fn free(places: Option<&mut Vec<(usize, usize)>>, used: &[Vec<bool>]) -> Option<(usize, usize)> {
    let places = places?;
    while let Some((range, at)) = places.last().copied() {
        if !used[range][at] {
            return Some((range, at));
        }
        places.pop();
    }
    None
}

fn chosen(ranges: &[&[BlobId]], parts: &[Vec<Option<Part>>]) -> Chosen {
    let blobs = ranges.iter().flat_map(|blobs| blobs.iter());
    blobs.zip(parts.iter().flatten()).filter_map(|(blob, part)| Some((*blob, (*part)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A blob for each letter.
    fn id(letter: u8) -> BlobId {
        format!("{letter:064x}").parse().unwrap()
    }

    fn ids(text: &str) -> Vec<BlobId> {
        text.bytes().map(id).collect()
    }

    fn shown(chosen: &Chosen, letters: &str) -> String {
        let letter = |blob: &BlobId| letters.chars().find(|l| id(*l as u8) == *blob).unwrap();
        let one = |(blob, part): &(BlobId, Part)| match part {
            Part::All => letter(blob).to_string(),
            Part::Head => format!("{}[", letter(blob)),
            Part::Tail => format!("]{}", letter(blob)),
        };
        chosen.iter().map(one).collect()
    }

    fn choose(a: &[&str], b: &[&str]) -> (String, String) {
        let letters: String = a.concat() + &b.concat();
        let (left, right): (Vec<_>, Vec<_>) =
            (a.iter().map(|t| ids(t)).collect(), b.iter().map(|t| ids(t)).collect());
        let slices = |all: &[Vec<BlobId>]| -> Vec<Vec<BlobId>> { all.to_vec() };
        let (left, right) = (slices(&left), slices(&right));
        let (x, y) = without_shared(
            &left.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            &right.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        );
        (shown(&x, &letters), shown(&y, &letters))
    }

    #[test]
    fn of_a_shared_run_only_its_edges_are_read() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(choose(&["abcdef"], &["abXdef"]), pair("]bcd[", "]bXd["));
        assert_eq!(choose(&["Xabcd"], &["Yabcd"]), pair("Xa[", "Ya["));
        assert_eq!(choose(&["Xabcd"], &["abcdY"]), pair("Xa[]d", "a[]dY"));
        assert_eq!(choose(&["Xab", "c"], &["Yab", "d"]), pair("Xa[c", "Ya[d"), "shorter runs with an end");
        assert_eq!(choose(&["Xab1"], &["Yab2"]), pair("Xab1", "Yab2"), "nothing is inside of it");
        assert_eq!(choose(&["abc"], &["d", "abc"]), pair("", "d"), "ranges may have moved");
        assert_eq!(choose(&["aa"], &["a"]), pair("aa", "a"), "each counts once");
    }

    /// Text of letters as lines, `blobs` cut anywhere: what is read of both differs in the same way as the whole.
    fn bag(chosen: &Chosen, contents: &HashMap<BlobId, Vec<u8>>) -> Option<Vec<Vec<u8>>> {
        let mut text = Vec::new();
        for (blob, part) in chosen {
            let all = &contents[blob];
            match part {
                Part::All => text.extend_from_slice(all),
                Part::Head => text.extend_from_slice(&all[..=memchr::memchr(b'\n', all)?]),
                Part::Tail => text.extend_from_slice(&all[memchr::memrchr(b'\n', all)? + 1..]),
            }
        }
        assert!(text.is_empty() || text.ends_with(b"\n"));
        Some(text.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect())
    }

    fn difference(a: Vec<Vec<u8>>, b: Vec<Vec<u8>>) -> HashMap<Vec<u8>, i64> {
        let mut counts: HashMap<Vec<u8>, i64> = HashMap::new();
        a.into_iter().for_each(|line| *counts.entry(line).or_default() += 1);
        b.into_iter().for_each(|line| *counts.entry(line).or_default() -= 1);
        counts.retain(|_, n| *n != 0);
        counts
    }

    proptest! {
        #[test]
        fn what_is_left_out_is_the_same_in_both(
            lines in proptest::collection::vec("[ab]{0,6}\n", 4..60),
            edits in proptest::collection::vec((any::<proptest::sample::Index>(), "[abc]{0,4}\n", 0..3_u8), 0..4),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..30),
        ) {
            let mut changed = lines.clone();
            for (at, line, how) in &edits {
                let at = at.index(changed.len());
                match how {
                    0 => changed[at] = line.clone(),
                    1 => changed.insert(at, line.clone()),
                    _ if changed.len() > 1 => { changed.remove(at); }
                    _ => {}
                }
            }
            let mut contents = HashMap::new();
            let mut cut = |text: String| -> Vec<BlobId> {
                // Blobs end after certain letters, so that both texts are cut alike where they are alike.
                let ends = cuts.iter().map(|cut| cut.index(5)).collect::<Vec<_>>();
                let mut blobs = Vec::new();
                let mut blob = Vec::new();
                let mut since = 0;
                for byte in text.into_bytes() {
                    blob.push(byte);
                    since += 1;
                    let want = ends.get(usize::from(byte) % ends.len().max(1)).copied().unwrap_or(3);
                    if since > 2 + want && byte != b'a' {
                        blobs.push(std::mem::take(&mut blob));
                        since = 0;
                    }
                }
                if !blob.is_empty() { blobs.push(blob); }
                blobs.into_iter().map(|content| {
                    let mut digest = basekeep_postgres::Digest::default();
                    digest.add_row(&content);
                    let id: BlobId = format!("{:064x}", digest.sum).parse().unwrap();
                    contents.insert(id, content);
                    id
                }).collect()
            };
            let split = lines.len() / 2;
            let a = [cut(lines[..split].concat()), cut(lines[split..].concat())];
            let split = changed.len() / 2;
            let b = [cut(changed[..split].concat()), cut(changed[split..].concat())];
            let (x, y) = without_shared(&[&a[0], &a[1]], &[&b[0], &b[1]]);
            let whole = |ranges: [&[BlobId]; 2]| bag(&everything(&ranges), &contents).unwrap();
            if let (Some(left), Some(right)) = (bag(&x, &contents), bag(&y, &contents)) {
                prop_assert_eq!(difference(left, right), difference(whole([&a[0], &a[1]]), whole([&b[0], &b[1]])));
            }
        }
    }
}
