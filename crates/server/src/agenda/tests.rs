//! The rules, one by one.

use basekeep_engine::config::ProfileEntry;
use jiff::tz::TimeZone;

use super::*;

mod year;

fn at(time: &str) -> Timestamp {
    format!("2026-06-{time}:00Z").parse().unwrap()
}

fn planned(job: Job, cron: &str) -> Planned {
    let schedule = cron.parse().ok();
    let profile = ProfileEntry {
        backup: schedule.clone(),
        drill: schedule.clone(),
        prune: schedule.clone(),
        check: schedule,
        timezone: Some(TimeZone::UTC),
        ..ProfileEntry::default()
    };
    let timetables = Timetable::of(&job, &profile).into_iter().collect();
    Planned { job, timetables }
}

fn backup(source: &str) -> Job {
    Job::of(JobKind::Backup, source)
}

/// An agenda at 01T00:30 in which everything was done until then.
fn agenda(limit: usize, planned: Vec<Planned>) -> Agenda {
    let now = at("01T00:30");
    let known = planned.iter().map(|planned| (planned.job.clone(), now)).collect();
    let mut agenda = Agenda::new(limit);
    agenda.plan(planned, &known, now);
    agenda
}

fn jobs(starts: &[Start]) -> Vec<String> {
    starts.iter().map(|start| start.job.to_string()).collect()
}

#[test]
fn of_missed_runs_the_latest_is_caught_up_once() {
    let mut agenda = agenda(4, vec![planned(backup("a"), "0 * * * *")]);
    assert!(agenda.tick(at("01T00:59")).is_empty());
    let starts = agenda.tick(at("01T05:20"));
    assert_eq!(starts[0].due, Some(at("01T05:00")));
    assert_eq!(starts[0].trigger, Trigger::Missed);
    assert!(agenda.tick(at("01T05:21")).is_empty(), "it runs");
    agenda.ended(&starts[0], Ended::Ran(Outcome::Done), at("01T05:30"));
    assert!(agenda.tick(at("01T05:31")).is_empty());
    assert_eq!(agenda.wake(at("01T05:31")), Some(at("01T06:00")));
    let starts = agenda.tick(at("01T06:00"));
    assert_eq!((starts[0].due, starts[0].trigger), (Some(at("01T06:00")), Trigger::Schedule));
}

#[test]
fn what_failed_is_tried_three_times_more_and_then_at_its_next_time() {
    let mut agenda = agenda(4, vec![planned(backup("a"), "0 * * * *")]);
    let mut tried = Vec::new();
    let mut now = at("01T01:00");
    while now < at("01T02:00") {
        for start in agenda.tick(now) {
            tried.push((now.to_string()[14..16].to_owned(), start.attempt));
            agenda.ended(&start, Ended::Ran(Outcome::Failed), now);
        }
        now += SignedDuration::from_mins(1);
    }
    let expected = [("00", 1), ("01", 2), ("06", 3), ("21", 4)];
    assert_eq!(tried, expected.map(|(minute, attempt)| (minute.to_owned(), attempt)));
    let starts = agenda.tick(at("01T02:00"));
    assert_eq!((starts[0].due, starts[0].attempt), (Some(at("01T02:00")), 1));
}

#[test]
fn one_source_has_one_job_and_all_together_have_a_limit() {
    let drill = Job::of(JobKind::Drill, "a");
    let all = ["a", "b", "c"].map(|name| planned(backup(name), "0 1 * * *"));
    let mut agenda = agenda(2, all.into_iter().chain([planned(drill, "0 1 * * *")]).collect());
    let first = agenda.tick(at("01T01:00"));
    assert_eq!(jobs(&first), ["backup of a", "backup of b"]);
    agenda.ended(&first[1], Ended::Ran(Outcome::Done), at("01T01:01"));
    assert_eq!(jobs(&agenda.tick(at("01T01:01"))), ["backup of c"], "the drill waits for its source");
    agenda.ended(&first[0], Ended::Ran(Outcome::Done), at("01T01:02"));
    assert_eq!(jobs(&agenda.tick(at("01T01:02"))), ["drill of a"]);
}

#[test]
fn a_prune_is_alone_and_nothing_overtakes_it() {
    let prune = Job::repository(JobKind::Prune);
    let mut agenda = agenda(
        8,
        vec![
            planned(backup("a"), "0 1 * * *"),
            planned(backup("b"), "2 1 * * *"),
            planned(prune, "1 1 * * *"),
        ],
    );
    let a = agenda.tick(at("01T01:00"));
    assert!(agenda.tick(at("01T01:01")).is_empty(), "the prune waits");
    assert!(agenda.tick(at("01T01:02")).is_empty(), "what came later waits for it");
    agenda.ended(&a[0], Ended::Ran(Outcome::Done), at("01T01:03"));
    let prune = agenda.tick(at("01T01:03"));
    assert_eq!(jobs(&prune), ["prune"]);
    assert!(agenda.tick(at("01T01:04")).is_empty());
    agenda.ended(&prune[0], Ended::Ran(Outcome::Done), at("01T01:05"));
    assert_eq!(jobs(&agenda.tick(at("01T01:05"))), ["backup of b"]);
}

#[test]
fn retention_follows_a_backup_that_made_a_snapshot() {
    let forget = Planned { job: Job::of(JobKind::Forget, "a"), timetables: Vec::new() };
    let mut agenda = agenda(2, vec![planned(backup("a"), "0 * * * *"), forget]);
    let start = agenda.tick(at("01T01:00")).remove(0);
    agenda.ended(&start, Ended::Ran(Outcome::Failed), at("01T01:00"));
    let start = agenda.tick(at("01T01:01")).remove(0);
    agenda.ended(&start, Ended::Ran(Outcome::Incomplete), at("01T01:02"));
    let forget = agenda.tick(at("01T01:02"));
    assert_eq!((jobs(&forget)[0].as_str(), forget[0].trigger), ("forget of a", Trigger::After));
    agenda.ended(&forget[0], Ended::Ran(Outcome::Done), at("01T01:02"));
    assert!(agenda.tick(at("01T01:03")).is_empty());
}

#[test]
fn a_source_that_was_never_backed_up_is_backed_up_at_once_and_the_rest_waits() {
    let mut agenda = Agenda::new(4);
    let prune = planned(Job::repository(JobKind::Prune), "0 1 * * *");
    agenda.plan(vec![planned(backup("a"), "0 1 * * *"), prune], &BTreeMap::new(), at("01T12:00"));
    assert_eq!(jobs(&agenda.tick(at("01T12:00"))), ["backup of a"]);
    // A snapshot whose time is wrong does not stop backups.
    let mut agenda = Agenda::new(4);
    let future = BTreeMap::from([(backup("a"), at("20T00:00"))]);
    agenda.plan(vec![planned(backup("a"), "0 1 * * *")], &future, at("01T12:00"));
    assert_eq!(jobs(&agenda.tick(at("02T01:00"))), ["backup of a"]);
}

#[test]
fn what_another_server_does_or_has_done_is_not_done_twice() {
    let mut agenda = agenda(2, vec![planned(backup("a"), "0 * * * *")]);
    let start = agenda.tick(at("01T01:00")).remove(0);
    agenda.ended(&start, Ended::Busy, at("01T01:00"));
    assert_eq!(agenda.wake(at("01T01:00")), Some(at("01T01:00") + BUSY));
    let start = agenda.tick(at("01T01:01")).remove(0);
    assert_eq!(start.attempt, 1);
    agenda.ended(&start, Ended::DoneElsewhere(at("01T01:00")), at("01T01:01"));
    assert!(agenda.tick(at("01T01:30")).is_empty());
    assert_eq!(agenda.wake(at("01T01:30")), Some(at("01T02:00")));
}

#[test]
fn somebody_who_asks_is_served_once_and_first() {
    let mut agenda = agenda(1, vec![planned(backup("a"), "0 1 * * *"), planned(backup("b"), "0 1 * * *")]);
    assert!(agenda.demand(&backup("b"), at("01T01:00")));
    assert!(!agenda.demand(&backup("b"), at("01T01:00")), "it is asked for already");
    assert!(!agenda.demand(&backup("x"), at("01T01:00")), "nobody knows it");
    let start = agenda.tick(at("01T01:00")).remove(0);
    assert_eq!((start.job.clone(), start.trigger, start.due), (backup("b"), Trigger::Demand, None));
    assert!(!agenda.demand(&backup("b"), at("01T01:00")), "it runs");
    agenda.ended(&start, Ended::Ran(Outcome::Failed), at("01T01:01"));
    let upcoming = agenda.upcoming(at("01T01:01"));
    assert!(upcoming.iter().all(|upcoming| upcoming.retry.is_none()), "whoever asked can ask again");
}

#[test]
fn a_new_plan_keeps_what_is_known() {
    let mut agenda = agenda(2, vec![planned(backup("a"), "0 1 * * *")]);
    let start = agenda.tick(at("01T01:00")).remove(0);
    let now = at("01T01:10");
    agenda.plan(vec![planned(backup("a"), "5 * * * *")], &BTreeMap::new(), now);
    assert!(agenda.tick(now).is_empty(), "it still runs");
    agenda.ended(&start, Ended::Ran(Outcome::Done), now);
    assert_eq!(agenda.tick(now)[0].due, Some(at("01T01:05")));
    agenda.plan(Vec::new(), &BTreeMap::new(), now);
    assert!(agenda.upcoming(now).is_empty());
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_anything() {
    let mut agenda = agenda(2, vec![planned(backup("a"), "0 * * * *")]);
    let start = agenda.tick(at("20T01:00")).remove(0);
    agenda.ended(&start, Ended::Ran(Outcome::Done), at("20T01:01"));
    assert!(agenda.tick(at("02T02:30")).is_empty());
    assert_eq!(agenda.wake(at("02T02:30")), Some(at("02T03:00")));
    assert_eq!(agenda.tick(at("02T03:00"))[0].due, Some(at("02T03:00")));
}
