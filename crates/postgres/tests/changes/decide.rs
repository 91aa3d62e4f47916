//! The decision under test, as a backup takes it.

use super::sight::{Seen, Sight};
use basekeep_postgres::Client;
use basekeep_postgres::catalog::Table;
use basekeep_postgres::changes::{
    Continuity, Moment, RangeBefore, Since, TableBefore, Verdict, comparable, continues, probe, survey,
};
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
    agrees_with_a_survey(client, seen, table, since, &unchanged).await;
    Ok(unchanged)
}

/// One scan of the whole table says nothing else than a look at each range.
async fn agrees_with_a_survey(
    client: &mut Client,
    seen: &Seen,
    table: &Table,
    since: Since,
    unchanged: &[bool],
) {
    let before = |range: &super::sight::Range| RangeBefore { blocks: range.blocks.clone(), rows: range.rows };
    let before: Vec<RangeBefore> = seen.ranges.iter().map(before).collect();
    let verdicts = survey(client, table, &before, since).await.unwrap();
    assert_eq!(verdicts.len(), unchanged.len());
    for (verdict, unchanged) in verdicts.iter().zip(unchanged) {
        match verdict {
            Verdict::Unchanged => assert!(unchanged, "{verdicts:?}"),
            Verdict::Changed => assert!(!unchanged, "{verdicts:?}"),
            Verdict::Unknown => {}
        }
    }
    if unchanged.iter().all(|unchanged| *unchanged) {
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Unchanged), "{verdicts:?}");
    }
}
