//! Robust statistics: what a single odd day cannot change.
//!
//! The slope of a series is that of Theil and Sen, the median of the slopes between all pairs of points. Whether it differs
//! from nothing is decided by the test of Mann and Kendall (two-sided, 5 %), which asks only how many pairs rise and how
//! many fall; its range is Sen's 95 % interval. None of them assumes a distribution. Fewer than [`FEWEST`] points cannot be
//! significant, whatever they are.

use serde::Serialize;

/// Fewer points say nothing.
pub const FEWEST: usize = 5;

/// Of a normal distribution, 95 % lie so many standard deviations around the mean.
const Z: f64 = 1.959_964;

/// Makes a median of absolute deviations comparable with a standard deviation.
const MAD: f64 = 1.4826;

/// The slope of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Slope {
    /// Change in a day.
    pub per_day: f64,
    /// The lower end of its 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Whether the test of Mann and Kendall calls it more than chance.
    pub significant: bool,
    /// How far points lie from the line, as a standard deviation.
    pub scatter: f64,
    /// How many points it comes from.
    pub points: usize,
}

/// The median; `None` of nothing.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The slope through points of days and values, in the order of time. `None` for fewer than [`FEWEST`] points, or if all are
/// of one moment.
pub(super) fn slope(points: &[(f64, f64)]) -> Option<Slope> {
    let count = points.len();
    if count < FEWEST {
        return None;
    }
    let mut slopes = Vec::with_capacity(count * (count - 1) / 2);
    let mut rising: i64 = 0;
    for (i, (x1, y1)) in points.iter().enumerate() {
        for (x2, y2) in &points[i + 1..] {
            rising += match y2.total_cmp(y1) {
                std::cmp::Ordering::Greater => 1,
                std::cmp::Ordering::Less => -1,
                std::cmp::Ordering::Equal => 0,
            };
            if x2 > x1 {
                slopes.push((y2 - y1) / (x2 - x1));
            }
        }
    }
    let per_day = median(&mut slopes)?;
    let deviation = variance(points).sqrt();
    let z = if deviation > 0.0 { (rising.abs() - 1).max(0) as f64 / deviation } else { 0.0 };
    let (pairs, reach) = (slopes.len() as f64, Z * deviation);
    let at = |rank: f64| slopes[(rank.max(0.0) as usize).min(slopes.len() - 1)];
    let offset = median(&mut points.iter().map(|(x, y)| y - per_day * x).collect::<Vec<_>>())?;
    let mut distances: Vec<f64> = points.iter().map(|(x, y)| (y - per_day * x - offset).abs()).collect();
    Some(Slope {
        per_day,
        low: at(((pairs - reach) / 2.0).floor()),
        high: at(((pairs + reach) / 2.0).ceil()),
        significant: z > Z,
        scatter: MAD * median(&mut distances)?,
        points: count,
    })
}

/// The variance of Kendall's score under chance, ties counted.
fn variance(points: &[(f64, f64)]) -> f64 {
    let term = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut values: Vec<f64> = points.iter().map(|(_, y)| *y).collect();
    values.sort_by(f64::total_cmp);
    let ties: f64 = values.chunk_by(|a, b| a == b).map(|group| term(group.len() as f64)).sum();
    (term(points.len() as f64) - ties) / 18.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(values: &[f64]) -> Vec<(f64, f64)> {
        values.iter().enumerate().map(|(day, value)| (day as f64, *value)).collect()
    }

    #[test]
    fn a_line_has_its_slope_and_one_wild_day_changes_nothing() {
        let mut points: Vec<(f64, f64)> =
            (0..30).map(|day| (f64::from(day), 100.0 + 7.0 * f64::from(day))).collect();
        let straight = slope(&points).unwrap();
        assert_eq!((straight.per_day, straight.low, straight.high), (7.0, 7.0, 7.0));
        assert!(straight.significant && straight.scatter < 1e-9);
        points[12].1 = 1e9;
        let wild = slope(&points).unwrap();
        assert!((wild.per_day - 7.0).abs() < 0.01 && wild.significant, "{wild:?}");
    }

    #[test]
    fn few_points_and_noise_prove_nothing() {
        assert_eq!(slope(&line(&[1.0, 2.0, 3.0, 4.0])), None);
        assert!(slope(&line(&[1.0, 2.0, 3.0, 4.0, 5.0])).unwrap().significant);
        let flat = slope(&line(&[5.0; 20])).unwrap();
        assert_eq!((flat.per_day, flat.significant), (0.0, false));
        let noise = [5.0, 9.0, 2.0, 7.0, 4.0, 8.0, 3.0, 6.0, 5.5, 4.5];
        let noise = slope(&line(&noise)).unwrap();
        assert!(!noise.significant && noise.low < 0.0 && noise.high > 0.0, "{noise:?}");
        assert_eq!(slope(&[(1.0, 2.0); 6]), None, "all of one moment");
    }

    #[test]
    fn the_interval_is_sens() {
        // 45 slopes, a deviation of sqrt(125): the ends are those of ranks 11.5 and 33.5, taken outwards.
        let found = slope(&line(&[3.0, 5.0, 4.0, 6.0, 8.0, 7.0, 9.0, 12.0, 10.0, 11.0])).unwrap();
        assert_eq!((found.per_day, found.low), (1.0, 0.6));
        assert!((found.high - 9.0 / 7.0).abs() < 1e-12 && found.significant, "{found:?}");
    }

    proptest! {
        #[test]
        fn slopes_scale_with_values_and_lie_in_their_interval(values in proptest::collection::vec(-1e6f64..1e6, 5..40), factor in 0.1f64..100.0) {
            let points = line(&values);
            let found = slope(&points).unwrap();
            prop_assert!(found.low <= found.per_day && found.per_day <= found.high);
            let scaled: Vec<(f64, f64)> = points.iter().map(|(x, y)| (*x, y * factor)).collect();
            let scaled = slope(&scaled).unwrap();
            prop_assert!((scaled.per_day - found.per_day * factor).abs() <= 1e-6 * (1.0 + found.per_day.abs() * factor));
            prop_assert_eq!(scaled.significant, found.significant);
        }
    }
}
