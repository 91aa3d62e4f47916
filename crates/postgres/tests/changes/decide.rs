//! The decision under test, as a backup takes it.

use super::sight::{Seen, Sight};
use basekeep_postgres::Client;
use basekeep_postgres::catalog::Table;
use basekeep_postgres::changes::{Continuity, Moment, TableBefore, comparable, continues, probe};
use basekeep_postgres::session::SourceSnapshot;

/// What a backup keeps of its snapshot.
pub(crate) fn moment(facts: &SourceSnapshot) -> Moment {
    Moment {
        system_identifier: facts.system_identifier.clone(),
        timeline: facts.timeline,
        database_oid: facts.database_oid,
        xmin: Some(facts.xmin),
        xmax: Some(facts.xmax),
        wal_position: facts.wal_position,
        postmaster_start: facts.postmaster_start.clone(),
        crash_marker: facts.crash_marker.clone(),
        in_recovery: facts.in_recovery,
        token: None,
    }
}

/// Which of the parent's ranges may be taken over, by their place in `seen.ranges`; the error is why the whole table is
/// read. To be asked in the present snapshot's transaction.
pub(crate) async fn unchanged(
    client: &mut Client,
    before: &Sight,
    seen: &Seen,
    now: &Sight,
    table: &Table,
) -> Result<Vec<bool>, String> {
    let since = continues(&moment(&before.facts), &now.facts, Continuity::Process, None)?;
    let old = &seen.table;
    let old = TableBefore {
        oid: old.oid,
        relfilenode: old.relfilenode,
        access_method: Some(&old.access_method),
        fingerprint: &old.fingerprint,
        ineligible: old.incremental_ineligible.as_deref(),
    };
    comparable(&old, table)?;
    let mut unchanged = Vec::with_capacity(seen.ranges.len());
    for range in &seen.ranges {
        let found = probe(client, table, range.blocks.clone(), since).await.unwrap();
        unchanged.push(found.unchanged(range.rows));
    }
    Ok(unchanged)
}
