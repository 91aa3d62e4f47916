//! What every command starts from: options, surroundings, and how a name becomes a repository, a source or a target.

pub(crate) mod other;
pub(crate) mod passwords;
pub(crate) mod replicas;
pub(crate) mod repository;
pub(crate) mod sources;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use basekeep_engine::cache;
use basekeep_engine::config::Config;
use basekeep_engine::postgres::Environment;
use basekeep_engine::{EngineError, Interrupt, Observer};

use crate::arguments::Global;
use crate::output::Output;
use crate::progress;

/// Made once per run, from the command line and the process's environment.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) env: Environment,
    pub(crate) output: Output,
    pub(crate) interrupt: Interrupt,
    config: OnceLock<Option<Config>>,
    /// Who hears of the work instead of the terminal.
    observer: Option<Arc<dyn Observer>>,
}

impl Context {
    pub(crate) fn new(global: Global, output: Output, interrupt: Interrupt) -> Self {
        Self {
            global,
            env: Environment::of_process(),
            output,
            interrupt,
            config: OnceLock::new(),
            observer: None,
        }
    }

    /// What a job of the daemon starts from.
    pub(crate) fn for_job(
        global: Global,
        output: Output,
        interrupt: Interrupt,
        config: Config,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        Self { config: OnceLock::from(Some(config)), observer, ..Self::new(global, output, interrupt) }
    }

    /// The file that --config or BASEKEEP_CONFIG names, or the one that is found.
    pub(crate) fn config_file(&self) -> Option<PathBuf> {
        let named = self.global.config.clone().or_else(|| self.env.var("BASEKEEP_CONFIG").map(PathBuf::from));
        named.or_else(|| Config::find(&current_folder().ok()?))
    }

    /// The configuration; `None` where there is none and none was named.
    pub(crate) fn config(&self) -> Result<Option<&Config>, EngineError> {
        if self.config.get().is_none() {
            let config = match self.config_file() {
                Some(file) => Some(Config::read(&std::path::absolute(&file).unwrap_or(file), &self.env)?),
                None => None,
            };
            return Ok(self.config.get_or_init(|| config).as_ref());
        }
        Ok(self.config.get().and_then(Option::as_ref))
    }

    /// The folder of local caches, unless the user wants none.
    pub(crate) fn cache_folder(&self) -> Option<PathBuf> {
        if self.global.no_cache { None } else { cache::folder(&self.env) }
    }

    /// An observer that shows the progress of one piece of work.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        match &self.observer {
            Some(observer) => observer.clone(),
            None => progress::observer(&self.output, !self.global.no_progress, None),
        }
    }

    /// The same, where several sources take turns.
    pub(crate) fn observer_of(&self, source: &str) -> Arc<dyn Observer> {
        match &self.observer {
            Some(observer) => observer.clone(),
            None => progress::observer(&self.output, !self.global.no_progress, Some(source)),
        }
    }
}

/// The folder that relative paths of the command line are relative to.
pub(crate) fn current_folder() -> Result<PathBuf, EngineError> {
    std::env::current_dir()
        .map_err(|error| EngineError::failed("cannot tell the current folder").caused_by(error))
}
