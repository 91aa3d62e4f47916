use std::collections::{BTreeMap, BTreeSet};

use basekeep_engine::monitor::Severity;
use proptest::prelude::*;

use super::*;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap()
}

fn finding(code: &str) -> Finding {
    Finding::of_source("shop", code, Severity::Warning, format!("{code} is so"), "basekeep monitor")
}

const DAY: Option<SignedDuration> = Some(SignedDuration::from_hours(24));

fn kinds(news: &[News]) -> Vec<(Change, &str)> {
    news.iter().map(|one| (one.item.state, one.item.finding.code.as_str())).collect()
}

#[test]
fn an_alert_is_told_once_repeated_and_its_end_is_told_once() {
    let mut states = States::default();
    let mut observe = |minute: i64, codes: &[&str]| {
        let news = states.observe("s", codes.iter().map(|code| finding(code)).collect(), at(minute), DAY);
        states.told(&news, at(minute));
        news
    };
    assert_eq!(kinds(&observe(0, &["a"])), [(Change::Firing, "a")]);
    assert_eq!(kinds(&observe(5, &["a", "b"])), [(Change::Firing, "b")]);
    assert_eq!(kinds(&observe(1439, &["a", "b"])), []);
    let repeated = observe(1440, &["a", "b"]);
    assert_eq!(kinds(&repeated), [(Change::Continuing, "a")]);
    assert_eq!(repeated[0].item.began, at(0));
    assert_eq!(kinds(&observe(1441, &["b"])), [(Change::Recovered, "a")]);
    assert_eq!(kinds(&observe(1442, &["b"])), []);
    assert_eq!(kinds(&observe(1443, &["a"])), [(Change::Firing, "a"), (Change::Recovered, "b")]);
}

#[test]
fn scopes_do_not_end_each_others_alerts() {
    let mut states = States::default();
    let news = states.observe("one", vec![finding("a")], at(0), DAY);
    states.told(&news, at(0));
    assert_eq!(kinds(&states.observe("two", vec![], at(1), DAY)), []);
    assert_eq!(states.firing().count(), 1);
}

#[test]
fn what_could_not_be_told_is_news_again_and_what_got_worse_too() {
    let mut states = States::default();
    let news = states.observe("s", vec![finding("a")], at(0), DAY);
    assert_eq!(kinds(&states.observe("s", vec![finding("a")], at(1), DAY)), [], "it is on its way");
    states.not_told(&news);
    let news = states.observe("s", vec![finding("a")], at(2), DAY);
    assert_eq!(kinds(&news), [(Change::Firing, "a")]);
    assert_eq!(kinds(&states.observe("s", vec![finding("a")], at(12), DAY)), [(Change::Firing, "a")], "lost");
    states.told(&news, at(12));
    let worse = Finding { severity: Severity::Critical, ..finding("a") };
    assert_eq!(kinds(&states.observe("s", vec![worse], at(13), DAY)), [(Change::Firing, "a")]);
}

#[test]
fn what_nobody_heard_of_needs_no_end() {
    let mut states = States::default();
    let news = states.observe("s", vec![finding("a")], at(0), DAY);
    states.not_told(&news);
    assert_eq!(kinds(&states.observe("s", vec![], at(1), DAY)), []);
    assert!(states.is_empty());
}

#[test]
fn the_number_of_alerts_is_bounded() {
    let mut states = States::default();
    let found = (0..MOST + 10).map(|i| finding("many").about(i.to_string())).collect();
    assert_eq!(states.observe("s", found, at(0), DAY).len(), MOST);
    assert_eq!(states.len(), MOST);
}

proptest! {
    /// Whatever comes and goes, restarts included: each beginning and each end is told exactly once, and repeats come no
    /// earlier than told.
    #[test]
    fn each_change_is_told_once(steps in proptest::collection::vec((1i64..2000, proptest::collection::btree_set(0u8..4, 0..4), any::<bool>()), 1..60)) {
        let mut states = States::default();
        let mut before: BTreeSet<u8> = BTreeSet::new();
        let mut told: BTreeMap<u8, i64> = BTreeMap::new();
        let mut minute = 0;
        for (wait, now, restart) in steps {
            minute += wait;
            let found = now.iter().map(|code| finding(&code.to_string())).collect();
            let news = states.observe("s", found, at(minute), DAY);
            states.told(&news, at(minute));
            if restart {
                let text = serde_json::to_string(&states).unwrap();
                states = serde_json::from_str(&text).unwrap();
            }
            let of = |change: Change| -> BTreeSet<u8> {
                news.iter().filter(|one| one.item.state == change).map(|one| one.item.finding.code.parse().unwrap()).collect()
            };
            prop_assert_eq!(of(Change::Firing), now.difference(&before).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(of(Change::Recovered), before.difference(&now).copied().collect::<BTreeSet<_>>());
            let due: BTreeSet<u8> = now.intersection(&before).copied().filter(|code| minute - told[code] >= 1440).collect();
            prop_assert_eq!(of(Change::Continuing), due.clone());
            for code in of(Change::Firing).union(&due) {
                told.insert(*code, minute);
            }
            before = now;
            prop_assert_eq!(states.len(), before.len());
        }
    }

    /// With messages that get lost: whoever is told hears beginnings and ends in turn, and in the end knows the truth.
    #[test]
    fn lost_messages_are_made_up_for(steps in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..60)) {
        let mut states = States::default();
        let mut heard = false;
        let mut minute = 0;
        let mut truth = false;
        let mut step = |states: &mut States, truth: bool, arrives: bool| {
            minute += 11;
            let found = if truth { vec![finding("a")] } else { vec![] };
            let news = states.observe("s", found, at(minute), None);
            if arrives { states.told(&news, at(minute)) } else { states.not_told(&news) }
            news.iter().filter(|_| arrives).map(|one| one.item.state != Change::Recovered).collect::<Vec<bool>>()
        };
        for (now, arrives) in steps {
            truth = now;
            for one in step(&mut states, truth, arrives) {
                prop_assert!(one != heard, "told twice");
                heard = one;
            }
        }
        for one in step(&mut states, truth, true) {
            prop_assert!(one != heard);
            heard = one;
        }
        prop_assert_eq!(heard, truth);
    }
}
