//! What the commands did, for the history of runs: `status`, `report` and the dashboard know it from there. `serve` keeps its
//! own runs. A history that cannot be written is no reason not to work.

use basekeep_engine::{EngineError, ErrorKind};
use basekeep_server::history::{History, NewRun, RunResult, state_folder};
use basekeep_server::jobs::{Job, JobKind, Trigger};
use jiff::Timestamp;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::with_causes;

/// A run of a command that is going on.
pub(crate) struct Recording {
    job: Job,
    started: Timestamp,
}

impl Recording {
    pub(crate) fn begin(kind: JobKind, source: Option<&str>) -> Self {
        let job = source.map_or_else(|| Job::repository(kind), |source| Job::of(kind, source));
        Self { job, started: Timestamp::now() }
    }

    /// It ended so. `fill` adds what came out.
    pub(crate) fn end(
        self,
        context: &Context,
        result: Result<Exit, &EngineError>,
        fill: impl FnOnce(&mut RunResult),
    ) {
        // What was wrong on the command line is no run.
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Usage) {
            return;
        }
        let exit = result.as_ref().map_or_else(|error| Exit::of(error), |exit| *exit);
        let mut known = RunResult::of_exit_code(exit.code());
        known.error = result.err().map(with_causes);
        fill(&mut known);
        let Some(folder) = state_folder(None, &context.env) else { return };
        let run =
            NewRun { job: self.job, trigger: Trigger::Demand, due: None, attempt: 1, started: self.started };
        let recorded =
            History::open(&folder).and_then(|(history, _)| history.record(&run, Timestamp::now(), &known));
        if let Err(error) = recorded {
            tracing::debug!(error = with_causes(&error), "the history of runs was not written");
        }
    }
}
