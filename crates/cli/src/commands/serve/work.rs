//! The work behind the daemon: the configuration's jobs, run with the same code as the commands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use basekeep_engine::config::{Config, ProfileEntry};
use basekeep_engine::leases::{Lease, LeaseAttempt, LeaseOptions, Leases};
use basekeep_engine::{EngineError, Interrupt, Observer, listing};
use basekeep_server::agenda::{Planned, Start};
use basekeep_server::history::{RunResult, text_of};
use basekeep_server::jobs::{Job, JobKind};
use basekeep_server::operations::{Held, Leased, Operations};
use basekeep_server::timetable::Timetable;
use jiff::Timestamp;

use super::jobs;
use crate::arguments::Global;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Output;

/// The lease of jobs about the whole repository.
const REPOSITORY: &str = "repository";

pub(super) struct Work {
    global: Global,
    output: Output,
    config: RwLock<Arc<Config>>,
    options: LeaseOptions,
    /// Made with the first connection to the repository, and again when its place changes.
    leases: tokio::sync::Mutex<Option<Arc<Leases>>>,
}

impl Work {
    pub(super) fn new(context: &Context, expires: Duration) -> Result<Self, EngineError> {
        let Some(config) = context.config()? else {
            return Err(EngineError::usage("there is no basekeep.toml that says what to do when")
                .hint("`basekeep init` writes one"));
        };
        check(config)?;
        // Only warnings and errors: what a job does is in the log.
        let global =
            Global { json: false, quiet: true, verbose: false, no_progress: true, ..context.global.clone() };
        let global = Global { config: Some(config.file.clone()), ..global };
        Ok(Self {
            output: Output::new(&global),
            global,
            config: RwLock::new(Arc::new(config.clone())),
            options: LeaseOptions { expires, ..LeaseOptions::default() },
            leases: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The sources that have anything to do.
    pub(super) fn sources(&self) -> Vec<String> {
        let config = self.config();
        let with_profile = config.sources.iter().filter(|source| config.profile_of(&source.name).is_some());
        with_profile.map(|source| source.name.clone()).collect()
    }

    /// What a command would start from, with the configuration as it is now.
    pub(super) fn context(&self, observer: Option<Arc<dyn Observer>>, interrupt: &Interrupt) -> Context {
        let config = Config::clone(&self.config());
        Context::for_job(self.global.clone(), self.output.clone(), interrupt.clone(), config, observer)
    }

    /// The leases of the repository. They are kept from one call to the next: that others' leases stand still is seen over
    /// time.
    async fn leases(&self) -> Result<Arc<Leases>, EngineError> {
        let mut leases = self.leases.lock().await;
        if let Some(leases) = &*leases {
            return Ok(leases.clone());
        }
        let repository = self.context(None, &Interrupt::never()).open_repository().await?;
        let made = Arc::new(Leases::new(repository, self.options.clone()));
        *leases = Some(made.clone());
        Ok(made)
    }
}

/// What makes no sense is said at the start, not at night.
fn check(config: &Config) -> Result<(), EngineError> {
    if config.sources.iter().any(|source| config.profile_of(&source.name).is_some()) {
        return Ok(());
    }
    Err(EngineError::usage(format!(
        "no source in {} names a profile, so there is nothing to do",
        config.file.display()
    ))
    .hint("add a line such as profile = \"production\" to a [source.NAME] section"))
}

#[async_trait]
impl Operations for Work {
    fn planned(&self) -> Vec<Planned> {
        planned(&self.config())
    }

    async fn reload(&self) -> Result<(), EngineError> {
        let old = self.config();
        let context = self.context(None, &Interrupt::never());
        let new = Config::read(&old.file, &context.env)?;
        check(&new)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        // The repository may be another one.
        *self.leases.lock().await = None;
        Ok(())
    }

    async fn known(&self) -> Result<BTreeMap<Job, Timestamp>, EngineError> {
        let repository = self.context(None, &Interrupt::never()).open_repository().await?;
        let facts = listing::facts(&repository).await?;
        let leases = self.leases().await?;
        let mut done = BTreeMap::new();
        let jobs: Vec<Job> = self.planned().into_iter().map(|planned| planned.job).collect();
        let scopes: BTreeSet<String> = jobs.iter().map(scope).collect();
        for scope in scopes {
            done.insert(scope.clone(), leases.done(&scope).await?);
        }
        let first = facts.values().map(|fact| fact.first).min();
        let known = jobs.into_iter().filter_map(|job| {
            let leased = done.get(&scope(&job)).and_then(|done| done.get(job.kind.name()).copied());
            let fact = job.source.as_ref().and_then(|source| facts.get(source));
            // What neither a lease nor a proof tells of has never been done since the first snapshot.
            let time = match job.kind {
                JobKind::Backup => fact.map(|fact| fact.last).max(leased),
                JobKind::Drill => {
                    let drilled = fact.and_then(|fact| fact.drilled).map(|(time, _)| time);
                    drilled.max(leased).or(fact.map(|fact| fact.first))
                }
                _ => leased.or(first),
            };
            Some((job, time?))
        });
        Ok(known.collect())
    }

    async fn lease(&self, job: &Job) -> Result<Leased, EngineError> {
        match self.leases().await?.acquire(&scope(job)).await? {
            LeaseAttempt::Held(lease) => Ok(Leased::Held(Box::new(Ours(lease)))),
            LeaseAttempt::Busy(owner) => Ok(Leased::Busy(owner)),
        }
    }

    async fn run(&self, start: &Start, observer: Arc<dyn Observer>, interrupt: &Interrupt) -> RunResult {
        let (context, job) = (self.context(Some(observer), interrupt), start.job.clone());
        let runtime = tokio::runtime::Handle::current();
        let span = tracing::Span::current();
        // A thread of its own: the commands' work stays on one, and a panic in it ends this job alone.
        let ended = tokio::task::spawn_blocking(move || {
            let _in = span.enter();
            runtime.block_on(jobs::run(&context, &job))
        });
        let ended = ended.await.unwrap_or_else(|error| {
            Err(EngineError::failed("the job ended by a fault of the program").caused_by(error))
        });
        ended.unwrap_or_else(|error| RunResult {
            error: Some(text_of(&error)),
            ..RunResult::of_exit_code(Exit::of(&error).code())
        })
    }
}

/// The lease that a job needs: jobs of one source share one, so that only one of them runs at a time, wherever.
fn scope(job: &Job) -> String {
    match &job.source {
        Some(source) => format!("source {source}"),
        None => REPOSITORY.to_owned(),
    }
}

fn planned(config: &Config) -> Vec<Planned> {
    let mut planned = Vec::new();
    let of_sources: Vec<(&str, &ProfileEntry)> = config
        .sources
        .iter()
        .filter_map(|source| Some((source.name.as_str(), config.profile_of(&source.name)?)))
        .collect();
    let may_delete = !config.repository.storage.append_only;
    for (source, profile) in &of_sources {
        for kind in [JobKind::Backup, JobKind::Drill] {
            let job = Job::of(kind, *source);
            let timetables = Timetable::of(&job, profile).into_iter().collect();
            // Without a schedule somebody can still ask for it.
            planned.push(Planned { job, timetables });
        }
        if profile.keep.is_some() && may_delete {
            planned.push(Planned { job: Job::of(JobKind::Forget, *source), timetables: Vec::new() });
        }
    }
    for kind in [JobKind::Prune, JobKind::Check, JobKind::Replicas] {
        let job = Job::repository(kind);
        let possible = match kind {
            JobKind::Prune => may_delete,
            JobKind::Replicas => !config.replicas.is_empty(),
            _ => true,
        };
        let mut timetables: Vec<Timetable> = Vec::new();
        for timetable in of_sources.iter().filter_map(|(_, profile)| Timetable::of(&job, profile)) {
            if !timetables.contains(&timetable) {
                timetables.push(timetable);
            }
        }
        if possible {
            planned.push(Planned { job, timetables });
        }
    }
    planned
}

struct Ours(Lease);

#[async_trait]
impl Held for Ours {
    fn done(&self, job: &Job) -> Option<Timestamp> {
        self.0.done(job.kind.name())
    }

    async fn lost(&self) -> String {
        self.0.lost().await
    }

    async fn release(self: Box<Self>, done: Option<(&Job, Timestamp)>) -> Result<(), EngineError> {
        let done = done.map(|(job, time)| (job.kind.name(), time));
        Ok(self.0.release(done).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use basekeep_engine::postgres::Environment;

    #[test]
    fn profiles_become_jobs_and_what_may_not_delete_does_not() {
        let text = "[repository]\nurl = \"/r\"\n[[replica]]\nname = \"r\"\nurl = \"/s\"\n\
                    [source.a]\nurl = \"postgresql://h/a\"\nprofile = \"production\"\n\
                    [source.b]\nurl = \"postgresql://h/b\"\nprofile = \"staging\"\n\
                    [source.c]\nurl = \"postgresql://h/c\"\n";
        let names = |text: &str| {
            let file = std::path::Path::new("/p/basekeep.toml");
            let config = Config::parse(text, file, &Environment::default()).unwrap();
            let all = planned(&config);
            all.iter().map(|p| format!("{} {}", p.job, p.timetables.len())).collect::<Vec<_>>()
        };
        let expected = [
            "backup of a 1",
            "drill of a 1",
            "forget of a 0",
            "backup of b 1",
            "drill of b 1",
            "forget of b 0",
            "prune 1",
            "check 1",
            "replicas 1",
        ];
        assert_eq!(names(text), expected);
        let kept = names(&text.replace("url = \"/r\"", "url = \"/r\"\nappend_only = true"));
        assert!(!kept.iter().any(|name| name.contains("forget") || name.contains("prune")), "{kept:?}");
    }
}
