//! Entries that refresh materialized views (`refreshMatViewData`).

use std::collections::HashMap;

use bstr::BString;

use crate::data::{Draft, NewEntry};
use crate::error::ArchiveError;
use crate::model::{Archive, CatalogId, Section};
use crate::quote::quote_qualified;

/// A populated materialized view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterializedViewData {
    /// Its oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// The oids of all materialized views that it reads, directly or through other views.
    pub depends_on: Vec<u32>,
}

impl Archive {
    /// Adds the refresh of one materialized view and returns its dump id. Add the views that it reads first, or use
    /// [`Archive::add_materialized_views`].
    ///
    /// # Errors
    /// The view has no entry or has a refresh already; or it reads a view of this archive that has no refresh.
    pub fn add_materialized_view_data(&mut self, view: &MaterializedViewData) -> Result<i32, ArchiveError> {
        let refreshes = self.refreshes();
        let mut draft = Draft::new(self)?;
        let mut depends_on = draft.relation(view.oid, &view.schema, &view.name, None)?;
        draft.claim(view.oid, &view.schema, &view.name)?;
        for oid in view.depends_on.iter().filter(|oid| **oid != view.oid) {
            match refreshes.get(oid) {
                Some(id) => depends_on.push(*id),
                None if draft.relation_id(*oid).is_none() => {}
                None => {
                    return Err(ArchiveError::MissingRefresh {
                        schema: view.schema.clone(),
                        name: view.name.clone(),
                        missing: *oid,
                    });
                }
            }
        }
        let name = quote_qualified(&view.schema, &view.name);
        draft.check_encoding([&name])?;
        let defn = bstr::concat([b"REFRESH MATERIALIZED VIEW ", name.as_slice(), b";\n"]);
        let id = draft.push(NewEntry {
            catalog: CatalogId { table_oid: 0, oid: view.oid },
            desc: "MATERIALIZED VIEW DATA",
            section: Section::PostData,
            tag: &view.name,
            namespace: Some(&view.schema),
            owner: Some(&view.owner),
            defn: Some(BString::from(defn)),
            depends_on,
            ..NewEntry::default()
        })?;
        let end = draft.archive.entries.len();
        draft.insert_at(end);
        Ok(id)
    }

    /// Adds the refreshes of all populated materialized views, each after those that it reads, and returns the dump
    /// ids in the order of `views` (`None` for a view that is left out). As in pg_dump, a view that reads one that is
    /// in the archive but not in `views` (it is not populated) cannot be refreshed and is left out.
    ///
    /// # Errors
    /// A view has no entry, or has a refresh already.
    pub fn add_materialized_views(
        &mut self,
        views: &[MaterializedViewData],
    ) -> Result<Vec<Option<i32>>, ArchiveError> {
        let mut ids = vec![None; views.len()];
        let mut waiting: Vec<usize> = (0..views.len()).collect();
        loop {
            let before = waiting.len();
            let mut still = Vec::new();
            for i in waiting {
                let Some(view) = views.get(i) else { continue };
                match self.add_materialized_view_data(view) {
                    Ok(id) => {
                        if let Some(slot) = ids.get_mut(i) {
                            *slot = Some(id);
                        }
                    }
                    Err(ArchiveError::MissingRefresh { .. }) => still.push(i),
                    Err(other) => return Err(other),
                }
            }
            if still.is_empty() || still.len() == before {
                return Ok(ids);
            }
            waiting = still;
        }
    }

    fn refreshes(&self) -> HashMap<u32, i32> {
        let refreshes = self.entries.iter().filter(|e| e.desc == "MATERIALIZED VIEW DATA");
        refreshes.map(|e| (e.catalog.oid, e.dump_id)).collect()
    }
}
