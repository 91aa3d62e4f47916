//! Whether a server continues the history that an earlier snapshot saw.
//!
//! A disk or a virtual machine that was put back gives transaction ids out again, with the same system identifier and on
//! the same timeline; so does a crash that lost commits which were not yet flushed. Continuity is shown by facts, or it is denied.

use super::Since;
use super::token::Tokens;
use crate::session::SourceSnapshot;

/// Transactions that may lie between two snapshots. Ids are compared by their distance modulo 2^32, so it must stay far
/// below 2^31.
const FARTHEST: u64 = 1 << 30;

/// What shows that a server continues its history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Continuity {
    /// The server process is the same, and has not recovered from a crash. Nothing is written to the source.
    #[default]
    Process,
    /// A row in the source that each backup replaces; survives restarts.
    Token,
}

/// The facts of the earlier snapshot. What was not known then is `None`, and never equals anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// System identifier of the cluster.
    pub system_identifier: Option<String>,
    /// Timeline of its write-ahead log.
    pub timeline: Option<u32>,
    /// Oid of the database.
    pub database_oid: u32,
    /// `xmin` of the snapshot, 64 bits.
    pub xmin: Option<u64>,
    /// `xmax` of the snapshot, 64 bits.
    pub xmax: Option<u64>,
    /// Position in the write-ahead log, in bytes.
    pub wal_position: Option<u64>,
    /// Start of the server process.
    pub postmaster_start: Option<String>,
    /// [`SourceSnapshot::crash_marker`].
    pub crash_marker: Option<String>,
    /// Whether the server was a standby.
    pub in_recovery: bool,
    /// The token that was written after the snapshot was taken.
    pub token: Option<String>,
}

/// From which transaction on rows may have changed since `before`. The error says why that cannot be told, for people.
pub fn continues(
    before: &Moment,
    now: &SourceSnapshot,
    continuity: Continuity,
    tokens: Option<&Tokens>,
) -> Result<Since, String> {
    same(&before.system_identifier, &now.system_identifier, "the server's identity")?;
    same(&before.timeline, &now.timeline, "the timeline of its write-ahead log")?;
    if before.database_oid != now.database_oid {
        return Err("it is another database".into());
    }
    if before.in_recovery != now.in_recovery {
        return Err("one of the two snapshots is a standby's".into());
    }
    let (Some(xmin), Some(xmax)) = (before.xmin, before.xmax) else {
        return Err("the last backup's transaction ids are not known".into());
    };
    let (Some(position_before), Some(position)) = (before.wal_position, now.wal_position) else {
        return Err("the position in the write-ahead log is not known".into());
    };
    if now.xmax < xmax || now.xmin < xmin || position < position_before {
        return Err("the server was put back to an earlier moment".into());
    }
    if xmin > xmax || now.xmax.saturating_sub(xmin) >= FARTHEST {
        return Err("too many transactions were used since".into());
    }
    // A database that was made from a template may have an oid that was another's, with the same tables in an older state.
    if now.database_written >= xmin {
        return Err("the database was made, renamed or granted since".into());
    }
    match continuity {
        Continuity::Process => {
            same(&before.postmaster_start, &now.postmaster_start, "the start of the server process")
                .map_err(|reason| {
                    restarted(before.postmaster_start.is_some(), reason, "the server was restarted")
                })?;
            same(&before.crash_marker, &now.crash_marker, "the server's last recovery").map_err(
                |reason| {
                    restarted(before.crash_marker.is_some(), reason, "the server recovered from a crash")
                },
            )?;
        }
        Continuity::Token => {
            let Some(token) = before.token.as_deref() else {
                return Err("the last backup has no token".into());
            };
            if !tokens.is_some_and(|tokens| tokens.knows(token)) {
                return Err(
                    "the server does not have the last backup's token: it was put back to an earlier moment"
                        .into(),
                );
            }
        }
    }
    Ok(Since(xmin))
}

fn same<T: PartialEq>(before: &Option<T>, now: &Option<T>, what: &str) -> Result<(), String> {
    match (before, now) {
        (Some(before), Some(now)) if before == now => Ok(()),
        (Some(_), Some(_)) => Err(format!("{what} changed")),
        _ => Err(format!("{what} is not known")),
    }
}

/// Says what a change means, and leaves what is not known as it is.
fn restarted(known: bool, reason: String, meaning: &str) -> String {
    if known && reason.ends_with("changed") { meaning.to_owned() } else { reason }
}
