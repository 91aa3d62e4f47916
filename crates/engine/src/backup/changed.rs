//! Which ranges of which tables the backup may take over from its parent, and why the others are read
//! (`basekeep_postgres::changes` has the argument).

use std::sync::Arc;

use basekeep_postgres::Client;
use basekeep_postgres::catalog::Table;
use basekeep_postgres::changes::{self, Continuity, Since, Tokens, comparable, continues};
use basekeep_repository::Repository;

use super::parent::{self, KnownRange, Parent};
use super::plan::Plan;
use crate::stored::{manifest, ranges};
use crate::words::counted;
use crate::{EngineError, Event, Observer, ResultExt};

/// What a backup reads of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reading {
    /// The ranges that changed since the last snapshot; the others are taken over from it.
    #[default]
    Changed,
    /// Everything.
    Full,
    /// Everything, and what would have been taken over is compared with what was read.
    Paranoid,
}

impl Reading {
    /// Its name in the manifest.
    pub fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Full => "full",
            Self::Paranoid => "paranoid",
        }
    }
}

/// How a source's changes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangePolicy {
    /// What shows that the server continues its history.
    pub continuity: Continuity,
    /// After so many backups that took something over, everything is read once. 0 for never.
    pub full_every: u32,
}

impl Default for ChangePolicy {
    fn default() -> Self {
        Self { continuity: Continuity::Process, full_every: 30 }
    }
}

/// What may be taken over.
pub(super) struct Takeover {
    pub(super) reading: Reading,
    /// `None` when nothing is; then the reason is there.
    pub(super) since: Option<Since>,
    pub(super) reason: Option<String>,
    /// Of each table of the catalog, in its order.
    pub(super) tables: Vec<Known>,
    /// How many backups in a row took something over, with this one.
    pub(super) incrementals: u32,
    /// The token written after the snapshot was taken.
    pub(super) token: Option<String>,
    /// Ranges for which change detection was wrong in an earlier attempt.
    pub(super) differing: Vec<String>,
}

/// What the parent knows of a table.
pub(super) enum Known {
    Ranges(Vec<KnownRange>),
    /// The table is read as a whole, for this reason.
    Nothing(String),
}

impl Takeover {
    /// Nothing is taken over.
    pub(super) fn nothing(reading: Reading, reason: &str, tables: usize) -> Self {
        Self {
            reading,
            since: None,
            reason: Some(reason.to_owned()),
            tables: (0..tables).map(|_| Known::Nothing(reason.to_owned())).collect(),
            incrementals: 0,
            token: None,
            differing: Vec::new(),
        }
    }

    /// A range of a table's known ones.
    pub(super) fn range(&self, table: usize, range: usize) -> Option<&KnownRange> {
        match self.tables.get(table) {
            Some(Known::Ranges(ranges)) => ranges.get(range),
            _ => None,
        }
    }
}

/// How many ranges that are found unchanged are read and compared all the same: one in so many, and at least this many.
const COMPARED_ONE_IN: usize = 100;
const COMPARED_AT_LEAST: usize = 2;

/// How many of `candidates` ranges are compared.
pub(super) fn sample_size(reading: Reading, candidates: usize) -> usize {
    match reading {
        Reading::Full => 0,
        Reading::Paranoid => candidates,
        Reading::Changed => candidates.min((candidates / COMPARED_ONE_IN).max(COMPARED_AT_LEAST)),
    }
}

impl Plan {
    /// Decides what may be taken over from the parent. `differing` is what an earlier attempt found wrong: then everything
    /// is read.
    pub(super) async fn find_takeover(
        &mut self,
        leader: &mut Client,
        repository: &Repository,
        policy: ChangePolicy,
        observer: &Arc<dyn Observer>,
        differing: Vec<String>,
    ) -> Result<(), EngineError> {
        let (token, tokens) = self.tokens(leader, policy, observer).await?;
        let mut takeover = match self.reason_to_read(policy, tokens.as_ref(), &differing) {
            Ok((since, incrementals)) => {
                let tables = self.known_tables(repository).await;
                Takeover { since: Some(since), reason: None, tables, incrementals, ..self.nothing("") }
            }
            Err(reason) => self.nothing(&reason),
        };
        takeover.token = token;
        takeover.differing = differing;
        self.takeover = takeover;
        Ok(())
    }

    fn nothing(&self, reason: &str) -> Takeover {
        Takeover::nothing(self.reading, reason, self.catalog.tables.len())
    }

    /// From which transaction on rows may have changed, and the number of backups in a row that take something over; or
    /// why everything is read.
    fn reason_to_read(
        &self,
        policy: ChangePolicy,
        tokens: Option<&Tokens>,
        differing: &[String],
    ) -> Result<(Since, u32), String> {
        if !differing.is_empty() {
            return Err("change detection was wrong for a range of it or of another table".into());
        }
        if self.reading == Reading::Full {
            return Err("a full read was asked for".into());
        }
        let parent = self.parent.as_ref().ok_or("it is the first backup of the source")?;
        let header = parent.header.as_ref().ok_or("the last snapshot has no range index that can be read")?;
        if header.version > ranges::VERSION || header.row_format != ranges::ROW_FORMAT {
            return Err("the last snapshot was made by another version of basekeep".into());
        }
        let since = continues(&parent::moment(header), &self.snapshot, policy.continuity, tokens)?;
        if self.reading == Reading::Paranoid {
            return Ok((since, 0));
        }
        let incrementals = header.incrementals.saturating_add(1);
        if policy.full_every > 0 && incrementals > policy.full_every {
            let made = counted(u64::from(header.incrementals), "backup", "backups");
            return Err(format!("{made} took rows over since the last full read"));
        }
        Ok((since, incrementals))
    }

    async fn known_tables(&self, repository: &Repository) -> Vec<Known> {
        let mut tables = Vec::with_capacity(self.catalog.tables.len());
        let Some(parent) = &self.parent else { return tables };
        let mut folders = parent.folders(repository);
        for table in &self.catalog.tables {
            let known = match self.worth_asking(parent, table) {
                Ok(before) => parent::known_ranges(repository, &mut folders, before).await,
                Err(reason) => Err(reason),
            };
            tables.push(known.map_or_else(Known::Nothing, Known::Ranges));
        }
        tables
    }

    fn worth_asking<'p>(&self, parent: &'p Parent, table: &Table) -> Result<&'p ranges::Table, String> {
        let before = parent.table(table.oid).ok_or("the last snapshot does not have it")?;
        comparable(&parent::before(before), table)?;
        if table.total_bytes < self.range_bytes / SMALL_PART {
            return Err("it is small".into());
        }
        let grown = before.ranges.last().is_some_and(|last| last.end_block.is_none())
            && table.pages > 2 * super::rows::blocks_each(table, self.range_bytes);
        if before.ranges.is_empty() || grown {
            return Err("it has grown beyond one range".into());
        }
        Ok(before)
    }

    /// The token written now, and those that the snapshot sees.
    async fn tokens(
        &self,
        leader: &mut Client,
        policy: ChangePolicy,
        observer: &Arc<dyn Observer>,
    ) -> Result<(Option<String>, Option<Tokens>), EngineError> {
        if policy.continuity != Continuity::Token || self.snapshot.in_recovery {
            return Ok((None, None));
        }
        let tokens = Tokens::read(leader).await.doing(|| "read the continuity token")?;
        match changes::renew(&self.connect).await {
            Ok(token) => Ok((Some(token), Some(tokens))),
            Err(error) => {
                observer.event(Event::Warning {
                    code: "no-token".into(),
                    message: format!("the continuity token could not be written: {error}"),
                    hint: Some(
                        "the next backup reads everything; let the role make the schema basekeep, or make it and give the \
                         role INSERT, SELECT and UPDATE on basekeep.continuity; or set continuity = \"process\""
                            .into(),
                    ),
                });
                Ok((None, Some(tokens)))
            }
        }
    }
}

/// Tables below this part of a range are read: that takes no longer than asking.
const SMALL_PART: u64 = 128;

/// What the manifest says of it.
pub(super) fn note(plan: &Plan, rows: &super::rows::Rows) -> manifest::Reading {
    let takeover = &plan.takeover;
    let ranges = rows.tables.iter().flatten();
    manifest::Reading {
        mode: takeover.reading.word().to_owned(),
        parent: takeover.since.and(plan.parent.as_ref()).map(|parent| parent.id().to_string()),
        reason: takeover.reason.clone(),
        incrementals: takeover.incrementals,
        ranges: ranges.clone().count() as u64,
        taken_over: ranges.filter(|range| range.taken_over).count() as u64,
        compared: rows.compared,
        differing: takeover.differing.iter().chain(&rows.differing).cloned().collect(),
    }
}
