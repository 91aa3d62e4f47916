//! Facts of the server and the role, and the findings that follow from them.

use super::Facts;
use super::findings::Findings;
use crate::{Client, Error};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Fewer free connections than this and a backup cannot run: one holds the snapshot, pg_dump is one, one reads.
const NEEDED_CONNECTIONS: i64 = 3;
/// Fewer than this and a parallel backup may disturb others.
const COMFORTABLE_CONNECTIONS: i64 = 10;
/// A clock that is off by more confuses schedules, retention and the age of locks.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

pub(super) async fn facts(client: &mut Client) -> Result<Facts, Error> {
    let version = client.server_version();
    let rows = client.query(&query(version)).await?;
    let row = rows.one()?;
    let used: i64 = row.parse(8)?;
    let mut free = row.parse::<i64>(7)? - row.parse::<i64>(9)? - used;
    // Limits of the role and of the database; superusers have none.
    for (limit, sessions) in [(10, 11), (12, 13)] {
        if let Some(limit) = row.parse::<Option<i64>>(limit)? {
            free = free.min(limit - row.parse::<i64>(sessions)?);
        }
    }
    Ok(Facts {
        server_version: version,
        server_version_text: client.parameter("server_version").unwrap_or_default().to_owned(),
        database: row.parse(0)?,
        encoding: row.parse(1)?,
        role: row.parse(2)?,
        superuser: row.parse(3)?,
        bypass_rls: row.parse(4)?,
        reads_verifiers: row.parse(5)?,
        in_recovery: row.parse(6)?,
        wal_level: row.parse(14)?,
        max_connections: row.parse(7)?,
        // The session that asks is counted as used and ends.
        free_connections: free + 1,
        clock_difference_ms: clock_difference(client).await?,
        pooler: false,
        tables: 0,
        table_bytes: 0,
        large_objects: 0,
        unreadable: Vec::new(),
    })
}

fn query(version: u32) -> String {
    let reserved = if version >= 160_000 {
        "+ CASE WHEN pg_catalog.pg_has_role('pg_use_reserved_connections', 'USAGE') THEN 0
           ELSE pg_catalog.current_setting('reserved_connections')::int END"
    } else {
        ""
    };
    // Sessions of others show neither their type nor more than role and database to an ordinary role.
    let sessions = "pg_catalog.pg_stat_activity a WHERE a.usesysid IS NOT NULL
      AND coalesce(a.backend_type, 'client backend') = 'client backend'";
    format!(
        "SELECT d.datname, pg_catalog.pg_encoding_to_char(d.encoding), r.rolname, r.rolsuper,
  r.rolsuper OR r.rolbypassrls, pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT'),
  pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('max_connections'),
  (SELECT pg_catalog.count(*) FROM {sessions}),
  CASE WHEN r.rolsuper THEN 0
    ELSE pg_catalog.current_setting('superuser_reserved_connections')::int {reserved} END,
  CASE WHEN r.rolconnlimit >= 0 AND NOT r.rolsuper THEN r.rolconnlimit END,
  (SELECT pg_catalog.count(*) FROM {sessions} AND a.usesysid = r.oid),
  CASE WHEN d.datconnlimit >= 0 AND NOT r.rolsuper THEN d.datconnlimit END,
  (SELECT pg_catalog.count(*) FROM {sessions} AND a.datid = d.oid),
  pg_catalog.current_setting('wal_level')
FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
WHERE d.datname = pg_catalog.current_database() AND r.rolname = current_user"
    )
}

/// The server's clock minus ours; zero when the difference is within half the round trip.
async fn clock_difference(client: &mut Client) -> Result<i64, Error> {
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let started = Instant::now();
    let rows = client
        .query("SELECT pg_catalog.floor(extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint")
        .await?;
    let half = started.elapsed() / 2;
    let theirs: i64 = rows.one()?.parse(0)?;
    let middle = i64::try_from((ours + half).as_millis()).unwrap_or(i64::MAX);
    let difference = theirs.saturating_sub(middle);
    let tolerance = i64::try_from(half.as_millis()).unwrap_or(i64::MAX).saturating_add(1);
    Ok(if difference.saturating_abs() <= tolerance { 0 } else { difference })
}

pub(super) fn report(facts: &Facts, findings: &mut Findings) {
    let free = facts.free_connections;
    if free < NEEDED_CONNECTIONS {
        findings.blocking(
            "few-connections",
            format!("only {free} connections are free, {NEEDED_CONNECTIONS} are needed"),
            "free connections on the server, or raise max_connections or the role's connection limit",
        );
    } else if free < COMFORTABLE_CONNECTIONS {
        findings.warning(
            "few-connections",
            format!("only {free} connections are free"),
            format!("run with at most {} jobs", free - 2),
        );
    } else {
        findings.ok("few-connections", format!("{free} connections are free"));
    }
    if facts.reads_verifiers {
        findings.ok("role-passwords", "the passwords of roles are part of the backup");
    } else {
        findings.warning(
            "role-passwords",
            format!("role {} may not read pg_authid: passwords of roles are not in the backup", facts.role),
            "set the passwords again after a restore into a new cluster, or back up as superuser",
        );
    }
    if facts.clock_difference_ms.unsigned_abs() > CLOCK_TOLERANCE.as_millis() as u64 {
        let (seconds, side) = (facts.clock_difference_ms / 1000, "the server's clock");
        let direction = if seconds > 0 { "ahead of" } else { "behind" };
        findings.warning(
            "clock",
            format!("{side} is {} seconds {direction} this machine's", seconds.abs()),
            "set both clocks by NTP: schedules, retention and locks of the repository go by this machine's clock",
        );
    } else {
        findings.ok("clock", "both clocks agree");
    }
}

/// A table that a session holds exclusively.
pub(super) struct Lock {
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) pid: i32,
}

/// The exclusive locks on tables of this database that are held now.
pub(super) async fn exclusive_locks(client: &mut Client) -> Result<Vec<Lock>, Error> {
    let rows = client
        .query(
            "SELECT n.nspname, c.relname, l.pid FROM pg_catalog.pg_locks l
             JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
             JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p')
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE l.mode = 'AccessExclusiveLock' AND l.granted AND l.pid IS NOT NULL
             ORDER BY 1, 2",
        )
        .await?;
    rows.iter()
        .map(|row| Ok(Lock { schema: row.parse(0)?, table: row.parse(1)?, pid: row.parse(2)? }))
        .collect()
}

/// Settings of a standby that decide how long a backup may run there.
pub(super) struct Standby {
    feedback: bool,
    delay: String,
}

/// The standby's settings; none on a primary.
pub(super) async fn standby(client: &mut Client) -> Result<Option<Standby>, Error> {
    let rows = client
        .query(
            "SELECT pg_catalog.current_setting('hot_standby_feedback'),
                    pg_catalog.current_setting('max_standby_streaming_delay')
             WHERE pg_catalog.pg_is_in_recovery()",
        )
        .await?;
    rows.first().map(|row| Ok(Standby { feedback: row.parse(0)?, delay: row.parse(1)? })).transpose()
}

impl Standby {
    pub(super) fn report(self, findings: &mut Findings) {
        if self.feedback || self.delay == "-1" {
            findings.warning(
                "hot-standby",
                "the server is a standby: it has no unlogged tables".to_owned(),
                "back up the primary if there are unlogged tables",
            );
            return;
        }
        let delay = &self.delay;
        findings.warning(
            "hot-standby",
            format!("the server is a standby: replay may cancel reading after max_standby_streaming_delay = {delay}"),
            "set hot_standby_feedback = on or max_standby_streaming_delay = -1 there, or back up the primary",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, Severity};
    use super::*;

    fn reported(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
        let mut facts = Facts {
            server_version: 180_000,
            server_version_text: "18.0".into(),
            database: "d".into(),
            encoding: "UTF8".into(),
            role: "r".into(),
            superuser: true,
            bypass_rls: true,
            reads_verifiers: true,
            in_recovery: false,
            wal_level: "replica".into(),
            max_connections: 100,
            free_connections: 90,
            clock_difference_ms: 0,
            pooler: false,
            tables: 0,
            table_bytes: 0,
            large_objects: 0,
            unreadable: Vec::new(),
        };
        change(&mut facts);
        let mut findings = Findings::default();
        report(&facts, &mut findings);
        findings.with(facts).findings.into_iter().filter(|finding| finding.severity != Severity::Ok).collect()
    }

    #[test]
    fn clocks_that_disagree_are_a_warning_with_the_side() {
        assert!(reported(|_| {}).is_empty());
        assert!(reported(|facts| facts.clock_difference_ms = 59_000).is_empty());
        let ahead = reported(|facts| facts.clock_difference_ms = 3_600_000);
        assert!(ahead[0].code == "clock" && ahead[0].what.contains("3600 seconds ahead of"), "{ahead:?}");
        assert!(reported(|facts| facts.clock_difference_ms = -61_000)[0].what.contains("61 seconds behind"));
    }
}
