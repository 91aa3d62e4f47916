//! What a restore into a database that held something looks at in the end: foreign keys that were not checked while rows
//! were loaded, and whether the definitions are those of the snapshot.

use std::collections::HashSet;

use basekeep_archive::{self as archive, Archive, CompareOptions, DifferenceKind, compare};
use basekeep_postgres::{Client, Error, quote_literal};

use super::contents::Contents;
use super::definitions::reason;
use super::project;
use super::reconcile::Reconciled;
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
            match broken_references(client, schema, table).await {
                Ok(broken) => {
                    for (key, rows) in broken {
                        run.outcomes.lost(
                            format!("foreign key {key} of {schema}.{table}"),
                            format!("{rows} rows refer to rows that are not there"),
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

/// Foreign keys of a table with rows whose references lead nowhere, and how many there are.
async fn broken_references(
    client: &mut Client,
    schema: &str,
    table: &str,
) -> Result<Vec<(String, String)>, Error> {
    let sql = format!(
        "SELECT k.conname, pg_catalog.format(
            'SELECT pg_catalog.count(*) FROM %I.%I AS a WHERE %s AND NOT EXISTS (SELECT FROM %I.%I AS b WHERE %s)',
            n.nspname, c.relname, columns.filled, fn.nspname, f.relname, columns.joined)
        FROM pg_catalog.pg_constraint AS k
            JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            JOIN pg_catalog.pg_class AS f ON f.oid = k.confrelid JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.relnamespace
            CROSS JOIN LATERAL (
                SELECT pg_catalog.string_agg(pg_catalog.format('a.%I IS NOT NULL', x.attname), ' AND ') AS filled,
                    pg_catalog.string_agg(pg_catalog.format('b.%I OPERATOR(%s.%s) a.%I', y.attname,
                        pg_catalog.quote_ident(o_n.nspname), o.oprname, x.attname), ' AND ') AS joined
                FROM ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey), pg_catalog.unnest(k.conpfeqop))
                        AS u (mine, other, operator)
                    JOIN pg_catalog.pg_attribute AS x ON x.attrelid = k.conrelid AND x.attnum = u.mine
                    JOIN pg_catalog.pg_attribute AS y ON y.attrelid = k.confrelid AND y.attnum = u.other
                    JOIN pg_catalog.pg_operator AS o ON o.oid = u.operator
                    JOIN pg_catalog.pg_namespace AS o_n ON o_n.oid = o.oprnamespace) AS columns
        WHERE k.contype = 'f' AND n.nspname = {} AND c.relname = {}
            AND pg_catalog.has_table_privilege(f.oid, 'SELECT') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')",
        quote_literal(schema),
        quote_literal(table)
    );
    let keys = client.query(&sql).await?;
    let mut broken = Vec::new();
    for key in keys.iter() {
        let (Some(name), Some(sql)) = (key.get(0), key.get(1)) else { continue };
        let rows = client.query(sql).await?;
        let count = rows.iter().next().and_then(|row| row.get(0)).unwrap_or_default();
        if count != "0" {
            broken.push((name.to_owned(), count.to_owned()));
        }
    }
    Ok(broken)
}
