//! A backup of the target before something of it is cleared.

use std::sync::Arc;

use basekeep_postgres::{ConnectOptions, Environment};
use basekeep_repository::Repository;

use super::{RestoreOptions, SAFETY_TAG};
use crate::backup::{BackupOptions, Source, backup};
use crate::files::FilesAccess;
use crate::{EngineError, Event, Interrupt, Observer};

/// What is backed up, and how.
pub(super) struct Safety {
    target: ConnectOptions,
    environment: Option<Environment>,
}

impl Safety {
    pub(super) fn of(options: &RestoreOptions) -> Self {
        Self { target: options.target.clone(), environment: options.environment.clone() }
    }

    /// Makes the snapshot, and gives its id. What could not be captured is told.
    ///
    /// Errors: there is no snapshot; nothing of the target has changed.
    pub(super) async fn back_up(
        &self,
        repository: &Repository,
        observer: &Arc<dyn Observer>,
        interrupt: &Interrupt,
    ) -> Result<String, EngineError> {
        let database: String = self
            .target
            .database()
            .chars()
            .map(|c| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' })
            .collect();
        let name = format!("{SAFETY_TAG}-{database}");
        // Files are not touched by what is cleared.
        let source = Source { files: FilesAccess::Skip, ..Source::new(name, self.target.clone()) };
        let options = BackupOptions {
            tags: vec![SAFETY_TAG.into()],
            environment: self.environment.clone(),
            ..BackupOptions::default()
        };
        let (repository, told, interrupt) = (repository.clone(), observer.clone(), interrupt.clone());
        // A backup stays on one thread, and this may be called from a task that changes its own.
        let work = tokio::task::spawn_blocking(move || {
            tokio::runtime::Handle::current().block_on(backup(
                &repository,
                &source,
                &options,
                told,
                &interrupt,
            ))
        });
        let report = work
            .await
            .map_err(|error| EngineError::failed("the backup's thread broke").caused_by(error))
            .and_then(|result| result)
            .map_err(|error| {
                error
                    .within("back the target up first")
                    .hint("nothing of the target has changed; --no-safety-backup does without it")
            })?;
        let id = report.snapshot.unwrap_or_default();
        observer.event(Event::Warning {
            code: "safety-snapshot".into(),
            message: format!("the target as it was is snapshot {}", id.chars().take(8).collect::<String>()),
            hint: None,
        });
        Ok(id)
    }
}
