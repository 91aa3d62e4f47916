//! Which jobs are due when: as the flags say, else as the profile of the source says, else as a cautious team would.

use std::time::Duration;

use basekeep_engine::EngineError;
use basekeep_engine::config::{Config, ProfileEntry};

use super::Generate;
use super::facts::Job;
use super::schedule::Schedule;

/// What holds where neither a flag nor a profile says anything.
const DEFAULTS: [(Job, &str); 4] = [
    (Job::Backup, "12 2 * * *"),
    (Job::Drill, "12 4 * * 0"),
    (Job::Prune, "12 5 * * 0"),
    (Job::Check, "12 6 * * 3"),
];

/// A job, when it is due, and how much later it may begin.
pub(super) type Due = (Job, Schedule, Duration);

/// The jobs of one source.
pub(super) fn of_source(
    command: &Generate,
    config: Option<&Config>,
    source: &str,
) -> Result<Vec<Due>, EngineError> {
    jobs(command, &[Job::Backup, Job::Drill], config.and_then(|config| config.profile_of(source)))
}

/// The jobs of the repository: as the first of its sources that has a profile wants it.
pub(super) fn maintenance(
    command: &Generate,
    config: Option<&Config>,
    sources: &[&str],
) -> Result<Vec<Due>, EngineError> {
    let profile = config.and_then(|config| sources.iter().find_map(|source| config.profile_of(source)));
    jobs(command, &[Job::Prune, Job::Check], profile)
}

fn jobs(command: &Generate, jobs: &[Job], profile: Option<&ProfileEntry>) -> Result<Vec<Due>, EngineError> {
    let zone = profile.and_then(|profile| profile.timezone.as_ref()).and_then(|zone| zone.iana_name());
    let zone = command.timezone.as_deref().or(zone);
    let jitter = profile.map(|profile| profile.jitter).unwrap_or_default();
    let mut found = Vec::new();
    for job in jobs {
        let usual = match profile {
            Some(profile) => of_profile(profile, *job),
            None => DEFAULTS.iter().find(|(known, _)| known == job).map(|(_, text)| *text),
        };
        let text = flag(command, *job).or(usual);
        let Some(text) = text.filter(|text| *text != "never") else { continue };
        found.push((*job, read(*job, text, zone)?, jitter));
    }
    Ok(found)
}

/// The digest that `[alerts]` wants; where `serve` does not send it, a job does.
pub(super) fn digest(command: &Generate, config: Option<&Config>) -> Result<Option<Due>, EngineError> {
    let alerts = config.map(|config| &config.alerts).filter(|alerts| !alerts.notify.is_empty());
    let Some(schedule) = alerts.and_then(|alerts| alerts.digest.as_ref()) else { return Ok(None) };
    let schedule = read(Job::Digest, schedule.cron(), command.timezone.as_deref())?;
    Ok(Some((Job::Digest, schedule, Duration::ZERO)))
}

/// What `serve` would not take is no schedule here either.
fn read(job: Job, text: &str, zone: Option<&str>) -> Result<Schedule, EngineError> {
    let understood = text.parse::<basekeep_engine::config::Schedule>();
    understood
        .and_then(|_| Schedule::read(text, zone))
        .map_err(|wrong| EngineError::usage(format!("the schedule of {}: {wrong}", job.name())))
}

fn of_profile(profile: &ProfileEntry, job: Job) -> Option<&str> {
    let schedule = match job {
        Job::Backup => &profile.backup,
        Job::Drill => &profile.drill,
        Job::Prune => &profile.prune,
        Job::Check => &profile.check,
        Job::Digest => &None,
    };
    schedule.as_ref().map(basekeep_engine::config::Schedule::cron)
}

fn flag(command: &Generate, job: Job) -> Option<&str> {
    match job {
        Job::Backup => command.backup.as_deref(),
        Job::Drill => command.drill.as_deref(),
        Job::Prune => command.prune.as_deref(),
        Job::Check => command.check.as_deref(),
        Job::Digest => None,
    }
}
