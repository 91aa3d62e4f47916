//! Snapshots and what is in one.

use basekeep_engine::{Snapshot, listing, objects};
use basekeep_server::web::panel::{
    Answer, Named, Notice, PanelError, SnapshotDetail, SnapshotLine, Snapshots, TableLine,
};

use super::EnginePanel;
use super::overview::line;

impl EnginePanel {
    pub(super) async fn all_snapshots(&self, source: Option<&str>) -> Answer<Snapshots> {
        let overview = self.overview().await?;
        let all = overview.listing.snapshots.iter().rev();
        let wanted = all.filter(|snapshot| source.is_none_or(|source| snapshot.source == source));
        let unreadable = overview.listing.unreadable.iter();
        Ok(Snapshots {
            snapshots: wanted.map(line).collect(),
            unreadable: unreadable
                .map(|(name, text)| Named { name: name.clone(), text: text.clone() })
                .collect(),
        })
    }

    /// The snapshot that an id, its beginning or `latest` means.
    pub(super) async fn found(&self, id: &str) -> Answer<Snapshot> {
        let repository = self.repository().await?;
        listing::find(&repository, id, None).await.map_err(|error| match error.kind() {
            basekeep_engine::ErrorKind::Usage => PanelError::NotFound(error.to_string()),
            _ => error.into(),
        })
    }

    /// The same in a line.
    pub(super) async fn line_of(&self, snapshot: &Snapshot) -> Answer<SnapshotLine> {
        let id = snapshot.id.to_string();
        for _ in 0..2 {
            let overview = self.overview().await?;
            if let Some(summary) = overview.listing.snapshots.iter().find(|summary| summary.id == id) {
                return Ok(line(summary));
            }
            // It is newer than what is known.
            self.changed().await;
        }
        Err(PanelError::NotFound(format!("snapshot {} holds a proof and no backup", snapshot.id.short())))
    }

    pub(super) async fn snapshot_detail(&self, id: &str) -> Answer<SnapshotDetail> {
        let snapshot = self.found(id).await?;
        let line = self.line_of(&snapshot).await?;
        let repository = self.repository().await?;
        let manifest = listing::manifest(&repository, &snapshot).await?;
        let overview = self.overview().await?;
        let mut same = overview.listing.snapshots.iter().filter(|other| other.source == line.source);
        let mut previous = None;
        while let Some(other) = same.next().filter(|other| other.id != line.id) {
            previous = Some(other.id.clone());
        }
        let tables = manifest.tables.iter().map(|table| TableLine {
            schema: table.schema.clone(),
            name: table.name.clone(),
            rows: table.rows,
            bytes: table.bytes,
            digest: table.digest.clone(),
        });
        let missing = manifest.not_captured.iter();
        let warnings = manifest.warnings.iter();
        Ok(SnapshotDetail {
            tables: tables.collect(),
            not_captured: missing
                .map(|missing| notice(&missing.what, &missing.reason, &missing.hint))
                .collect(),
            warnings: warnings
                .map(|warning| notice(&warning.code, &warning.message, &warning.hint))
                .collect(),
            extensions: manifest.extensions.iter().map(|e| format!("{} {}", e.name, e.version)).collect(),
            sequences: manifest.sequences.len() as u64,
            large_objects: manifest.large_objects.count,
            server: manifest.server.version,
            database: manifest.server.database,
            basekeep: manifest.basekeep,
            seconds: manifest.duration_seconds,
            inventory: manifest.components,
            roles: manifest.roles,
            previous,
            snapshot: line,
        })
    }

    pub(super) async fn objects_of(&self, id: &str, kind: &str) -> Answer<Vec<String>> {
        let snapshot = self.found(id).await?;
        let repository = self.repository().await?;
        let all = objects::list(&repository, &snapshot).await?;
        let names: Vec<String> = all.into_iter().filter(|o| o.kind == kind).map(|o| o.name).collect();
        match names.is_empty() {
            true => Err(PanelError::NotFound(format!("the snapshot has no '{}'", kind.escape_debug()))),
            false => Ok(names),
        }
    }
}

fn notice(what: &str, reason: &str, hint: &Option<String>) -> Notice {
    Notice { what: what.to_owned(), reason: reason.to_owned(), hint: hint.clone() }
}
