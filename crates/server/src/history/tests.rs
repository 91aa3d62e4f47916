//! The history as its callers see it.

use super::*;

fn new_run(source: &str, started: i64) -> NewRun {
    NewRun {
        job: Job::of(JobKind::Backup, source),
        trigger: Trigger::Schedule,
        due: Some(Timestamp::from_second(started).unwrap()),
        attempt: 1,
        started: Timestamp::from_second(started).unwrap(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn a_run_is_read_as_it_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let (history, aside) = History::open(&folder.path().join("deep/er")).unwrap();
    assert_eq!(aside, None);
    let id = history.begin(&new_run("shop", 1000)).unwrap();
    assert_eq!(history.running().unwrap().len(), 1);
    let result = RunResult {
        snapshot: Some("ab".repeat(32)),
        rows: Some(7),
        bytes: Some(u64::MAX),
        added_bytes: Some(-5),
        summary: Some("7 rows".to_owned()),
        error: Some("x".repeat(100_000)),
        warnings: vec!["one\ntwo".to_owned(), "three".to_owned()],
        ..RunResult::of_exit_code(3)
    };
    history.finish(id, at(1010), &result).unwrap();
    let run = history.run(id).unwrap().unwrap();
    assert_eq!(run.outcome, Some(Outcome::Incomplete));
    assert_eq!((run.exit_code, run.rows, run.added_bytes), (Some(3), Some(7), Some(-5)));
    assert_eq!(run.bytes, Some(i64::MAX.unsigned_abs()), "what SQLite cannot hold is its largest number");
    assert_eq!(run.warnings, ["one two", "three"]);
    assert_eq!(run.error.as_ref().map(String::len), Some(16 * 1024), "texts are bounded");
    assert_eq!(run.duration(), Some(SignedDuration::from_secs(10)));
    assert!(history.running().unwrap().is_empty());
    let beside = History::read(&folder.path().join("deep/er")).unwrap().unwrap();
    assert_eq!(beside.run(id).unwrap(), Some(run));
    assert!(History::read(folder.path()).unwrap().is_none());
}

#[test]
fn runs_are_found_by_source_kind_time_and_page() {
    let folder = tempfile::tempdir().unwrap();
    let (history, _) = History::open(folder.path()).unwrap();
    for number in 0..10 {
        let run = new_run(if number % 2 == 0 { "a" } else { "b" }, 1000 + number);
        let code = if number == 9 { 1 } else { 0 };
        history.record(&run, at(2000 + number), &RunResult::of_exit_code(code)).unwrap();
    }
    let ids = |query: Query| history.runs(&query).unwrap().iter().map(|run| run.id).collect::<Vec<_>>();
    assert_eq!(ids(Query { source: Some("a".to_owned()), ..Query::default() }), [9, 7, 5, 3, 1]);
    assert_eq!(ids(Query { limit: 2, ..Query::default() }), [10, 9]);
    assert_eq!(ids(Query { limit: 2, before: Some(9), ..Query::default() }), [8, 7]);
    assert_eq!(ids(Query { since: Some(at(1008)), ..Query::default() }), [10, 9]);
    assert_eq!(ids(Query { outcome: Some(Outcome::Failed), ..Query::default() }), [10]);
    assert!(ids(Query { job: Some(JobKind::Drill), ..Query::default() }).is_empty());
    let job = Job::of(JobKind::Backup, "b");
    assert_eq!(history.last(&job).unwrap().map(|run| run.id), Some(10));
    assert_eq!(history.last_good(&job).unwrap().map(|run| run.id), Some(8));
    let totals = history.totals().unwrap();
    assert_eq!(totals.iter().map(|total| total.runs).sum::<u64>(), 10);
    assert!(totals.iter().any(|total| total.outcome == Outcome::Failed && total.runs == 1));
    assert_eq!(history.forget_before(at(1004)).unwrap(), 4);
    assert_eq!(ids(Query::default()).len(), 6);
}

#[test]
fn a_damaged_file_is_set_aside_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE_NAME);
    std::fs::write(&file, "this is no database, and long enough to be read as one".repeat(50)).unwrap();
    let (history, aside) = History::open(folder.path()).unwrap();
    let aside = aside.unwrap();
    assert!(std::fs::read(&aside).unwrap().starts_with(b"this is no database"));
    let id = history.begin(&new_run("shop", 1000)).unwrap();
    assert!(history.run(id).unwrap().is_some());
}

#[test]
fn a_page_that_is_overwritten_costs_the_history_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (history, _) = History::open(folder.path()).unwrap();
    for number in 0..500 {
        history.begin(&new_run("shop", number)).unwrap();
    }
    drop(history);
    let file = folder.path().join(FILE_NAME);
    let mut bytes = std::fs::read(&file).unwrap();
    for byte in bytes.iter_mut().skip(4096) {
        *byte ^= 0x5a;
    }
    std::fs::write(&file, bytes).unwrap();
    let (history, aside) = History::open(folder.path()).unwrap();
    assert!(aside.is_some());
    assert!(history.runs(&Query::default()).unwrap().is_empty());
}

#[test]
fn a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(History::open(folder.path()).unwrap());
    let connection = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    connection.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(connection);
    for error in [History::open(folder.path()).unwrap_err(), History::read(folder.path()).unwrap_err()] {
        assert!(error.message().contains("later version"), "{error}");
    }
}

#[test]
fn a_run_whose_process_is_gone_was_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let (history, _) = History::open(folder.path()).unwrap();
    let gone = history.begin(&new_run("shop", 1000)).unwrap();
    let ours = history.begin(&new_run("shop", 1001)).unwrap();
    // The number of a process that cannot exist.
    history.with(|c| c.execute("UPDATE run SET pid = 2147483646 WHERE id = ?1", [gone])).unwrap();
    drop(history);
    let (history, _) = History::open(folder.path()).unwrap();
    assert_eq!(history.run(gone).unwrap().unwrap().outcome, Some(Outcome::Interrupted));
    assert_eq!(history.run(ours).unwrap().unwrap().outcome, None);
}

#[test]
fn the_state_folder_is_where_people_and_systemd_expect_it() {
    let mut env = Environment { home: Some("/home/ada".into()), ..Environment::default() };
    assert_eq!(state_folder(None, &env), Some("/home/ada/.local/state/basekeep".into()));
    env.vars.insert("XDG_STATE_HOME".into(), "/xdg".into());
    assert_eq!(state_folder(None, &env), Some("/xdg/basekeep".into()));
    env.vars.insert("STATE_DIRECTORY".into(), "/var/lib/basekeep".into());
    assert_eq!(state_folder(None, &env), Some("/var/lib/basekeep".into()));
    assert_eq!(state_folder(Some(Path::new("/given")), &env), Some("/given".into()));
    assert_eq!(state_folder(None, &Environment::default()), None);
}
