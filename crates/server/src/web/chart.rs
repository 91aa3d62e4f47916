//! A line over time as SVG, without any text in it: labels are HTML around it, so that they stay readable at every width.

use jiff::Timestamp;
use maud::{Markup, html};

use super::words::{day, minute};

/// The drawing's size in its own units; it is stretched to the place that it has.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 160.0;
/// The most points that are drawn; of more, the last one of each stretch of time is.
const MOST: usize = 300;
/// The most points that get a dot.
const DOTS: usize = 40;

/// A chart of at least two points.
pub(crate) fn line(title: &str, points: &[(Timestamp, u64)], word: fn(u64) -> String) -> Markup {
    let points = thinned(points);
    let (Some((first, start)), Some((last, end))) = (points.first().copied(), points.last().copied()) else {
        return html! {};
    };
    let top = points.iter().map(|(_, value)| *value).max().unwrap_or(0).max(1);
    let length = last.duration_since(first).as_secs_f64().max(1.0);
    let place = |(time, value): &(Timestamp, u64)| {
        let x = time.duration_since(first).as_secs_f64() / length * WIDTH;
        let y = HEIGHT - *value as f64 / top as f64 * (HEIGHT - 8.0);
        (x, y)
    };
    // Within two days the time of day tells more.
    let when = |time| if length < 2.0 * 86_400.0 { minute(time) } else { day(time) };
    let mut path = String::new();
    for (i, point) in points.iter().enumerate() {
        let (x, y) = place(point);
        path += &format!("{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
    }
    let area = format!("{path}L{WIDTH} {HEIGHT}L0 {HEIGHT}Z");
    let told = format!(
        "{title}: {} on {}, {} on {}, at most {}",
        word(start),
        day(first),
        word(end),
        day(last),
        word(top)
    );
    html! {
        figure.chart {
            figcaption { span { (title) } b { (word(end)) } }
            div.plot {
                span.top aria-hidden="true" { (word(top)) }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(told) {
                    path.grid d={ "M0 8H" (WIDTH) "M0 " ((HEIGHT + 8.0) / 2.0) "H" (WIDTH) "M0 " (HEIGHT) "H" (WIDTH) } {}
                    path.area d=(area) {}
                    path.line d=(path) {}
                    @if points.len() <= DOTS {
                        @for point in &points {
                            @let (x, y) = place(point);
                            path.dot d=(format!("M{x:.1} {y:.1}h0")) { title { (minute(point.0)) ": " (word(point.1)) } }
                        }
                    }
                }
            }
            div.axis aria-hidden="true" { span { (when(first)) } span { (when(last)) } }
        }
    }
}

/// At most [`MOST`] points; the first and the last one are among them.
fn thinned(points: &[(Timestamp, u64)]) -> Vec<(Timestamp, u64)> {
    let step = points.len().div_ceil(MOST).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.iter().enumerate().filter(|(i, _)| i % step == 0 || *i == last);
    kept.map(|(_, point)| *point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::words::count;

    fn points(number: i64) -> Vec<(Timestamp, u64)> {
        (0..number).map(|i| (Timestamp::from_second(i * 86_400).unwrap(), i as u64 * 10)).collect()
    }

    #[test]
    fn a_line_goes_from_the_first_to_the_last_point_and_is_told_in_words() {
        let text = line("Rows", &points(3), count).into_string();
        assert!(text.contains(r#"d="M0.0 160.0L300.0 84.0L600.0 8.0""#), "{text}");
        assert!(text.contains("Rows: 0 on Jan 1, 1970, 20 on Jan 3, 1970, at most 20"), "{text}");
        assert!(!text.contains("style="), "the policy forbids inline styles");
    }

    #[test]
    fn many_points_are_thinned_and_equal_ones_do_no_harm() {
        let kept = thinned(&points(5000));
        assert!(kept.len() <= MOST + 1);
        assert_eq!((kept[0].1, kept.last().unwrap().1), (0, 49_990));
        let same = vec![(Timestamp::UNIX_EPOCH, 0); 2];
        assert!(!line("Rows", &same, count).into_string().contains("NaN"));
    }
}
