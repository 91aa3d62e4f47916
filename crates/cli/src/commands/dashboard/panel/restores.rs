//! Restores from the dashboard: only into what the configuration names, only as the plan that was seen says.

use std::sync::PoisonError;

use basekeep_engine::restore::{self, Mode, OnConflict, RestoreOptions};
use basekeep_engine::selection::Selection;
use basekeep_engine::{EngineError, Repository};
use basekeep_server::history::RunResult;
use basekeep_server::jobs::{Job, JobKind};
use basekeep_server::web::panel::{
    Answer, Named, PanelError, PlannedChange, RestoreMode, RestorePlan, RestoreRequest, Target,
};

use super::EnginePanel;
use crate::exit::Exit;
use crate::output::units;

/// Failures of objects that the history keeps.
const FAILURES: usize = 50;

impl EnginePanel {
    pub(super) fn all_targets(&self) -> Answer<Vec<Target>> {
        let context = self.reading();
        let Some(config) = context.config()? else { return Ok(Vec::new()) };
        let target = |name: &str| {
            let options = config.source(name)?.connect(&context.env)?;
            Ok::<_, EngineError>(Target {
                name: name.to_owned(),
                place: options.redacted(),
                database: options.database().to_owned(),
            })
        };
        // One whose password is missing cannot be restored into.
        Ok(config.sources.iter().filter_map(|entry| target(&entry.name).ok()).collect())
    }

    fn options(&self, request: &RestoreRequest) -> Answer<RestoreOptions> {
        let context = self.reading();
        let Some(config) = context.config()? else {
            return Err(PanelError::NotFound("there is no configuration that names a target".to_owned()));
        };
        let mut target = config.source(&request.target)?.connect(&context.env)?;
        if let Some(database) = &request.database {
            target = target.with_database(database);
        }
        let tables = request.tables.iter().flat_map(|tables| tables.split(','));
        let tables = tables.map(str::trim).filter(|table| !table.is_empty()).map(str::to_owned);
        Ok(RestoreOptions {
            create_database: request.create,
            mode: match request.mode {
                RestoreMode::Empty => Mode::Empty,
                RestoreMode::Merge => Mode::Merge(OnConflict::Keep),
                RestoreMode::Clear => Mode::Clear,
            },
            selection: Selection { tables: tables.collect(), ..Selection::default() },
            environment: Some(context.env.clone()),
            ..RestoreOptions::new(target)
        })
    }

    /// The plan as it is shown, and as it is executed.
    pub(super) async fn planned(
        &self,
        request: &RestoreRequest,
    ) -> Answer<(RestorePlan, restore::RestorePlan, Repository)> {
        let options = self.options(request)?;
        let snapshot = self.found(&request.snapshot).await?;
        let line = self.line_of(&snapshot).await?;
        let repository = self.repository().await?;
        let plan = restore::plan(&repository, &snapshot, &options).await?;
        let named = |pairs: &[(String, String)]| {
            pairs.iter().map(|(name, text)| Named { name: name.clone(), text: text.clone() }).collect()
        };
        let changes = plan.changes.iter().map(|change| PlannedChange {
            object: change.object.clone(),
            action: change.action.name().to_owned(),
            rows: change.rows,
        });
        let shown = RestorePlan {
            digest: String::new(),
            snapshot: line,
            place: options.target.redacted(),
            database: options.target.database().to_owned(),
            summary: plan.summary.clone(),
            changes: changes.collect(),
            warnings: plan.warnings.clone(),
            differs: named(&plan.differs),
            lost: named(&plan.lost),
        };
        Ok((shown.sealed(request), plan, repository))
    }

    pub(super) async fn restore(
        &self,
        request: &RestoreRequest,
        digest: &str,
        typed: &str,
        who: &str,
    ) -> Answer<String> {
        let (shown, plan, repository) = self.planned(request).await?;
        if typed != shown.database {
            let name = &shown.database;
            return Err(PanelError::Refused(format!(
                "nothing was done: type {name}, the name of the target's database"
            )));
        }
        if digest != shown.digest {
            return Err(PanelError::Refused(
                "nothing was done: the plan is not the one that was shown any more; look at it again"
                    .to_owned(),
            ));
        }
        let place = shown.place.clone();
        let busy = Busy::take(self, &place).ok_or_else(|| {
            PanelError::Refused(format!("nothing was done: a restore into {place} is going on already"))
        })?;
        let job = Job::of(JobKind::Restore, &shown.snapshot.source);
        let id = shown.snapshot.id;
        let doing = move |observer, interrupt| {
            let work = async move {
                let _busy = busy;
                let report = restore::execute(&repository, plan, observer, &interrupt).await?;
                Ok(result(&report, &id, &place))
            };
            Box::pin(work) as futures::future::LocalBoxFuture<'static, _>
        };
        self.spawn(job, who, Box::new(doing))
    }
}

fn result(report: &restore::RestoreReport, snapshot: &str, place: &str) -> RunResult {
    let complete = report.failed.is_empty() && report.rejected == 0;
    let exit = if complete { Exit::Done } else { Exit::Incomplete };
    let mut summary = format!(
        "into {place}: {}, {} in {}",
        units::counted(report.objects, "object", "objects"),
        units::counted(report.rows, "row", "rows"),
        units::counted(report.tables, "table", "tables"),
    );
    if let Some(safety) = &report.safety_snapshot {
        summary += &format!("; what was there before is snapshot {}", units::short(safety));
    }
    let failed =
        report.failed.iter().take(FAILURES).map(|failed| format!("{}: {}", failed.object, failed.reason));
    let failed: Vec<String> = failed.collect();
    RunResult {
        snapshot: Some(snapshot.to_owned()),
        rows: Some(report.rows),
        bytes: Some(report.bytes),
        summary: Some(summary),
        error: (!failed.is_empty()).then(|| failed.join("\n")),
        warnings: report.warnings.clone(),
        ..RunResult::of_exit_code(exit.code())
    }
}

/// A database that is restored into, until this is dropped.
struct Busy {
    panel: EnginePanel,
    place: String,
}

impl Busy {
    fn take(panel: &EnginePanel, place: &str) -> Option<Self> {
        let mut targets = panel.0.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.insert(place.to_owned()).then(|| Self { panel: panel.clone(), place: place.to_owned() })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.panel.0.targets.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}
