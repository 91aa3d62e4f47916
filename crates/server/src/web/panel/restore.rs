//! A restore: where it can go, what it would do.

use serde::{Deserialize, Serialize};

use super::{Named, SnapshotLine};
use crate::web::access::sha256;

/// A database that a restore can go to.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// The name in the configuration.
    pub name: String,
    /// Where it is, without any password.
    pub place: String,
    /// Its database, which is asked for before a restore.
    pub database: String,
}

/// What the target of a restore may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestoreMode {
    /// Nothing.
    #[default]
    Empty,
    /// Rows, beside which the snapshot's are put; rows that are there stay.
    Merge,
    /// Rows, whose place the snapshot's take, after a backup of the target.
    Clear,
}

/// What to restore, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// The snapshot.
    pub snapshot: String,
    /// The target's name in the configuration.
    pub target: String,
    /// Another database on the target's server.
    #[serde(default)]
    pub database: Option<String>,
    /// Create this database first.
    #[serde(default)]
    pub create: bool,
    /// What the target may hold.
    #[serde(default)]
    pub mode: RestoreMode,
    /// Only these tables, `schema.name` separated by commas.
    #[serde(default)]
    pub tables: Option<String>,
}

/// What a restore will do.
#[derive(Debug, Clone, Serialize)]
pub struct RestorePlan {
    /// Stands for exactly this plan.
    pub digest: String,
    /// The snapshot.
    pub snapshot: SnapshotLine,
    /// Where it goes, without any password.
    pub place: String,
    /// What has to be typed: the name of the database that is restored into.
    pub database: String,
    /// Lines for people.
    pub summary: Vec<String>,
    /// What happens to each object and each table's rows.
    pub changes: Vec<PlannedChange>,
    /// What to know beforehand.
    pub warnings: Vec<String>,
    /// What the target has otherwise and keeps.
    pub differs: Vec<Named>,
    /// What is not in the snapshot any more.
    pub lost: Vec<Named>,
}

/// One line of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedChange {
    /// The object.
    pub object: String,
    /// `create`, `replace`, `load`, `replace-rows`, `merge`, `set` or `skip`.
    pub action: String,
    /// Rows, where it is about rows.
    pub rows: Option<u64>,
}

impl RestorePlan {
    /// The same with the digest of everything that it says and was asked for.
    #[must_use]
    pub fn sealed(self, request: &RestoreRequest) -> Self {
        let plan = Self { digest: String::new(), ..self };
        // Plain data has no reason not to be written; an empty text never stands for a plan.
        let text = serde_json::to_vec(&(&plan, request)).unwrap_or_default();
        let digest = if text.is_empty() { String::new() } else { hex::encode(sha256(&text)) };
        Self { digest, ..plan }
    }
}
