//! What a restore into a database that held something looks at in the end: foreign keys that were not checked while rows
//! were loaded, and whether the definitions are those of the snapshot.

use std::collections::HashSet;

use basekeep_archive::{self as archive, Archive, CompareOptions, DifferenceKind, compare};
use basekeep_postgres::Client;

use super::contents::Contents;
use super::definitions::reason;
use super::project;
use super::reconcile::Reconciled;
use super::references;
use super::run::Run;
use super::{FailedObject, Mode, RestoreOptions};
use crate::EngineError;

/// What to look at.
pub(super) struct After {
    options: RestoreOptions,
    is_project: bool,
    /// The snapshot's definitions, as this target should have them.
    expected: Archive,
    /// Entries that this restore ran.
    made: HashSet<i32>,
    /// Objects that are known to differ.
    known: HashSet<String>,
    /// Tables that were there and got rows.
    loaded: Vec<(String, String)>,
}

impl After {
    /// `None` when nothing was reconciled.
    pub(super) fn new(
        options: &RestoreOptions,
        found: &Reconciled,
        contents: &Contents,
        is_project: bool,
    ) -> Option<Self> {
        let loaded = contents
            .manifest
            .tables
            .iter()
            // Groups look at their keys before they commit.
            .filter(|_| matches!(options.mode, Mode::Empty | Mode::Resume))
            .filter(|table| found.loads.contains_key(&table.dump_id))
            .map(|table| (table.schema.clone(), table.name.clone()))
            .collect();
        // Under another owner the same privileges are put in other words.
        let expected = found.expected.as_ref()?;
        let adopted = expected.entries.iter().filter(|entry| {
            entry.desc == "ACL" && entry.dependencies.iter().any(|id| found.adopted.contains(id))
        });
        let adopted = adopted.map(basekeep_archive::Entry::display);
        let known = found.differs.iter().map(|(object, _)| object.clone());
        Some(Self {
            options: options.clone(),
            is_project,
            expected: found.expected.clone()?,
            made: found.keep.clone(),
            known: known.chain(adopted).chain(found.lost.iter().map(|lost| lost.object.clone())).collect(),
            loaded,
        })
    }

    /// Looks, and takes note of what is not right.
    pub(super) async fn look(&self, run: &Run, client: &mut Client) -> Result<(), EngineError> {
        if self.is_project {
            // The API learns of new tables by this; event triggers that do it have not fired on all of them.
            if let Err(error) = client.execute("NOTIFY pgrst, 'reload schema'").await {
                run.outcomes
                    .warn("api-not-told", format!("the API was not told of the tables: {}", reason(&error)));
            }
        }
        for (schema, table) in &self.loaded {
            match references::broken_of(client, schema, table).await {
                Ok(broken) => {
                    for key in broken {
                        run.outcomes.lost(
                            format!("foreign key {} of {schema}.{table}", key.name),
                            format!("{} rows refer to rows that are not there", key.rows),
                            false,
                        );
                    }
                }
                Err(error) => run.outcomes.warn(
                    "references-not-checked",
                    format!("the foreign keys of {schema}.{table} could not be checked: {}", reason(&error)),
                ),
            }
        }
        self.definitions(run, client).await
    }

    async fn definitions(&self, run: &Run, client: &mut Client) -> Result<(), EngineError> {
        let encoding = self.expected.encoding().map(ToString::to_string);
        let found = match project::dump(client, &self.options, encoding).await {
            Ok((archive, _)) => archive,
            Err(error) => {
                run.outcomes.warn(
                    "definitions-not-compared",
                    format!("the restored definitions could not be compared: {error}"),
                );
                return Ok(());
            }
        };
        let options = CompareOptions {
            restore: archive::RestoreOptions {
                owner: self.options.owner,
                privileges: self.options.privileges,
                tablespaces: false,
                ..archive::RestoreOptions::default()
            },
            large_objects: false,
        };
        let failed: HashSet<String> =
            run.outcomes.report().failed.into_iter().map(|FailedObject { object, .. }| object).collect();
        let made: std::collections::HashMap<_, _> = self
            .expected
            .entries
            .iter()
            .filter(|entry| self.made.contains(&entry.dump_id))
            .map(|entry| (entry.identity(), entry))
            .collect();
        for difference in compare(&self.expected, &found, &options) {
            let Some(entry) = made.get(&difference.identity) else { continue };
            let name = entry.display();
            if failed.contains(&name) || self.known.contains(&name) {
                continue;
            }
            let what = match difference.kind {
                DifferenceKind::OnlyInA => "it is not there after the restore",
                DifferenceKind::OnlyInB => continue,
                DifferenceKind::Changed { .. }
                    if basekeep_supabase::objects::is_webhook(entry) && !self.options.enable_webhooks =>
                {
                    continue;
                }
                DifferenceKind::Changed { .. } => "it is not as it was",
            };
            run.outcomes.lost(name, what.into(), false);
        }
        Ok(())
    }
}
