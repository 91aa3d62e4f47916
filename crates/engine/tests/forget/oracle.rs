//! The same snapshots and the same rules, judged by stock restic and by us.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use basekeep_engine::retention::{self, Candidate, Count, Policy, Reason};
use basekeep_repository::{Password, Repository, Snapshot};
use basekeep_store::Local;
use basekeep_testkit::restics;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::snapshots::{New, PASSWORD, make, repository};

const SOURCES: usize = 12;
const SNAPSHOTS: usize = 16;
const POLICIES: u64 = 24;

/// Host, paths and tags of a group, and which of its snapshots stay.
type Kept = BTreeMap<(String, Vec<String>, Vec<String>), BTreeSet<String>>;

#[tokio::test]
async fn random_policies_keep_what_stock_restic_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(Arc::new(Local::new(folder.path()))).await;
    let mut random = StdRng::seed_from_u64(20_241_103);
    let names: Vec<String> = (0..SOURCES).map(|n| format!("source{n}")).collect();
    let new: Vec<New<'_>> = names.iter().flat_map(|name| history(name, &mut random)).collect();
    make(&repository, &new).await;
    let (snapshots, _) = repository.snapshots().await.unwrap();
    for restic in programs() {
        for seed in 0..POLICIES {
            let mut random = StdRng::seed_from_u64(seed);
            let policy = policy(&mut random);
            let by_tags = random.random_bool(0.25);
            let theirs = restic.forget(folder.path(), &policy, by_tags, "UTC");
            let ours = ours(&snapshots, &policy, by_tags, &TimeZone::UTC, restic.oldest);
            assert_eq!(ours, theirs, "policy {seed}: {policy} (by tags: {by_tags}), {:?}", restic.program);
        }
    }
}

#[tokio::test]
async fn days_begin_where_the_machine_is() {
    let folder = tempfile::tempdir().unwrap();
    let made = repository(Arc::new(Local::new(folder.path()))).await;
    drop(made);
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let zone = "America/New_York";
    let [restic, ..] = &programs()[..] else { panic!("restic is installed") };
    // Around a change of clocks and around midnight, there and in UTC.
    let times = [
        "2024-11-02 23:30:00",
        "2024-11-03 00:30:00",
        "2024-11-03 03:30:00",
        "2024-11-03 19:30:00",
        "2024-11-03 23:30:00",
        "2024-11-04 00:30:00",
    ];
    for time in times {
        let mut command = restic.command(folder.path(), zone);
        let backup = command.args(["backup", "--quiet", "--host", "h", "--time", time]).arg("file");
        assert!(backup.current_dir(folder.path()).status().unwrap().success());
    }
    let opened =
        Repository::open(Arc::new(Local::new(folder.path())), &Password::from(PASSWORD)).await.unwrap();
    let (snapshots, _) = opened.snapshots().await.unwrap();
    assert_eq!(snapshots.len(), times.len());
    let at_home = TimeZone::get(zone).unwrap();
    for rule in ["daily", "hourly", "within 1d", "within_daily 2d"] {
        let policy = match rule {
            "daily" => Policy { daily: Count::Newest(3), ..Policy::default() },
            "hourly" => Policy { hourly: Count::Newest(4), ..Policy::default() },
            "within 1d" => Policy { within: "1d".parse().unwrap(), ..Policy::default() },
            _ => Policy { within_daily: "2d".parse().unwrap(), ..Policy::default() },
        };
        let theirs = restic.forget(folder.path(), &policy, false, zone);
        assert_eq!(ours(&snapshots, &policy, false, &at_home, restic.oldest), theirs, "{rule}");
    }
}

/// Snapshots of one source, spread over hours, weeks or years, some of them close together.
fn history<'a>(source: &'a str, random: &mut StdRng) -> Vec<New<'a>> {
    let newest: Timestamp = "2024-06-16T12:34:56Z".parse().unwrap();
    let spread: i64 = *pick(random, &[3, 72, 24 * 40, 24 * 365 * 2, 24 * 365 * 12]) * 3600;
    let mut new: Vec<New<'a>> = Vec::new();
    for _ in 0..random.random_range(1..=SNAPSHOTS) {
        let time = match new.last() {
            Some(last) if random.random_bool(0.3) => {
                last.time + SignedDuration::from_secs(random.random_range(1..5000))
            }
            _ => newest - SignedDuration::from_secs(random.random_range(0..spread)),
        };
        let tags = ["a", "b", "c"].into_iter().filter(|_| random.random_bool(0.3)).map(str::to_owned);
        // Two at the very same time would leave the order to chance.
        if new.iter().all(|other| other.time != time) {
            new.push(New { source, time, tags: tags.collect(), content: "x" });
        }
    }
    new
}

fn policy(random: &mut StdRng) -> Policy {
    let mut policy = Policy::default();
    while policy.is_empty() {
        let counts = [
            &mut policy.last,
            &mut policy.hourly,
            &mut policy.daily,
            &mut policy.weekly,
            &mut policy.monthly,
            &mut policy.yearly,
        ];
        for count in counts {
            *count = match random.random_range(0..10) {
                0..=5 => Count::None,
                6 => Count::All,
                _ => Count::Newest(random.random_range(1..8)),
            };
        }
        let spans = [
            &mut policy.within,
            &mut policy.within_hourly,
            &mut policy.within_daily,
            &mut policy.within_weekly,
            &mut policy.within_monthly,
            &mut policy.within_yearly,
        ];
        for span in spans {
            if random.random_bool(0.2) {
                let text = pick(random, &["2h", "1d", "7d12h", "1m", "3m", "1y", "1y5m7d2h", "10y"]);
                *span = text.parse().unwrap();
            }
        }
        for list in ["a", "b,c", "c"] {
            if random.random_bool(0.15) {
                policy.tags.push(list.split(',').map(str::to_owned).collect());
            }
        }
    }
    policy
}

fn pick<'v, T>(random: &mut impl Rng, values: &'v [T]) -> &'v T {
    &values[random.random_range(0..values.len())]
}

fn ours(snapshots: &[Snapshot], policy: &Policy, by_tags: bool, zone: &TimeZone, oldest: bool) -> Kept {
    let mut groups: BTreeMap<_, Vec<Candidate>> = BTreeMap::new();
    for snapshot in snapshots {
        let mut tags = if by_tags { snapshot.tags.clone() } else { Vec::new() };
        tags.sort();
        let candidate =
            Candidate { id: snapshot.id.to_string(), time: snapshot.time, tags: snapshot.tags.clone() };
        groups.entry((snapshot.hostname.clone(), snapshot.paths.clone(), tags)).or_default().push(candidate);
    }
    // Before 0.16, restic did not keep the oldest snapshot for the sake of a long history.
    let counts = |reason: &Reason| oldest || !matches!(reason, Reason::Oldest(_) | Reason::OldestWithin(..));
    let kept = |group: Vec<Candidate>| {
        let decisions = retention::apply(policy, &group, Timestamp::now(), zone);
        decisions.into_iter().filter(|d| d.reasons.iter().any(counts)).map(|d| d.id).collect()
    };
    groups.into_iter().map(|(key, group)| (key, kept(group))).collect()
}

/// A stock restic.
struct Restic {
    program: PathBuf,
    /// It keeps the oldest snapshot while a rule's count is not used up (0.17 and newer, with every rule).
    oldest: bool,
}

/// All that there are.
fn programs() -> Vec<Restic> {
    restics().into_iter().map(Restic::new).collect()
}

impl Restic {
    fn new(program: PathBuf) -> Self {
        let output = Command::new(&program).arg("version").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let minor: u32 = text.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap();
        Self { program, oldest: minor >= 17 }
    }

    fn command(&self, folder: &Path, zone: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--no-cache", "--repo"]).arg(folder);
        command.env("RESTIC_PASSWORD", PASSWORD).env("TZ", zone);
        command
    }

    fn forget(&self, folder: &Path, policy: &Policy, by_tags: bool, zone: &str) -> Kept {
        let mut command = self.command(folder, zone);
        command.args(["forget", "--dry-run", "--json", "--group-by"]);
        command.arg(if by_tags { "host,paths,tags" } else { "host,paths" });
        for (option, value) in self.arguments(policy) {
            command.arg(format!("--keep-{option}={value}"));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        let groups: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        let texts = |value: &serde_json::Value| -> Vec<String> {
            let values = value.as_array().map_or(&[][..], Vec::as_slice);
            let mut texts: Vec<String> = values.iter().map(|v| v.as_str().unwrap().to_owned()).collect();
            texts.sort();
            texts
        };
        let kept = |group: &serde_json::Value| -> BTreeSet<String> {
            let keep = group["keep"].as_array().map_or(&[][..], Vec::as_slice);
            keep.iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect()
        };
        groups
            .iter()
            .map(|group| {
                let host = group["host"].as_str().unwrap().to_owned();
                ((host, texts(&group["paths"]), texts(&group["tags"])), kept(group))
            })
            .collect()
    }

    fn arguments(&self, policy: &Policy) -> Vec<(&'static str, String)> {
        // Old ones know no such word.
        let unlimited = if self.oldest { "unlimited" } else { "1000000" };
        let counts = [
            ("last", policy.last),
            ("hourly", policy.hourly),
            ("daily", policy.daily),
            ("weekly", policy.weekly),
            ("monthly", policy.monthly),
            ("yearly", policy.yearly),
        ];
        let spans = [
            ("within", policy.within),
            ("within-hourly", policy.within_hourly),
            ("within-daily", policy.within_daily),
            ("within-weekly", policy.within_weekly),
            ("within-monthly", policy.within_monthly),
            ("within-yearly", policy.within_yearly),
        ];
        let counts = counts.into_iter().filter_map(|(option, count)| match count {
            Count::None => None,
            Count::Newest(number) => Some((option, number.to_string())),
            Count::All => Some((option, unlimited.to_owned())),
        });
        let spans = spans.into_iter().filter(|(_, span)| !span.is_zero());
        let tags = policy.tags.iter().map(|list| ("tag", list.join(",")));
        counts.chain(spans.map(|(option, span)| (option, span.to_string()))).chain(tags).collect()
    }
}
