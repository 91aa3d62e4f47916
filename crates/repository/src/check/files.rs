//! The small files: config, keys, snapshots, index.

use futures::StreamExt;

use crate::check::{CheckOptions, Checking, Touched, as_damage};
use crate::config::Config;
use crate::id::sha256;
use crate::index::Builder;
use crate::{Repository, RepositoryError, Result, SnapshotId, key_file, layout};

const FETCHES: usize = 8;

impl Checking {
    pub(super) async fn check_config(&mut self, repository: &Repository) -> Result<()> {
        let shared = &repository.shared;
        let problem = match shared.store.get(layout::CONFIG).await.map_err(RepositoryError::from) {
            Err(error) => Some(as_damage(&error).ok_or(error)?),
            Ok(sealed) => match shared.key.open(&sealed) {
                Err(error) => Some(error.to_string()),
                Ok(json) => match Config::decode(&json) {
                    Err(reason) => Some(reason),
                    Ok(config) if config.id != shared.config.id => {
                        Some("it belongs to another repository".to_owned())
                    }
                    Ok(_) => None,
                },
            },
        };
        if let Some(reason) = problem {
            self.damage(layout::CONFIG, reason);
        }
        Ok(())
    }

    pub(super) async fn check_keys(&mut self, repository: &Repository) -> Result<()> {
        let files = repository.list_ids(layout::KEYS).await?;
        if files.is_empty() {
            self.damage(layout::KEYS, "there is no key file");
        }
        for file in files {
            let contents = match repository.shared.store.get(&file.key).await.map_err(RepositoryError::from) {
                Err(error) => {
                    let reason = as_damage(&error).ok_or(error)?;
                    self.damage(file.key, reason);
                    continue;
                }
                Ok(contents) => contents,
            };
            if layout::id_of(&file.key) != Some(sha256(&contents)) {
                self.damage(&file.key, "its content does not match its name");
            }
            if let Err(reason) = key_file::inspect(&contents) {
                self.damage(file.key, reason);
            }
        }
        Ok(())
    }

    pub(super) async fn check_snapshots(
        &mut self,
        repository: &Repository,
        options: &CheckOptions,
    ) -> Result<()> {
        let (snapshots, unreadable) = repository.snapshots().await?;
        let wanted = |id: &SnapshotId| options.snapshots.as_ref().is_none_or(|wanted| wanted.contains(id));
        for (file, reason) in unreadable {
            let Some(snapshot) = layout::id_of(&file).map(SnapshotId::from_bytes) else { continue };
            if wanted(&snapshot) {
                self.damage(file, reason).touches.insert(Touched { snapshot, path: "/".to_owned() });
                self.report.snapshots += 1;
            }
        }
        self.snapshots = snapshots.into_iter().filter(|snapshot| wanted(&snapshot.id)).collect();
        self.report.snapshots += self.snapshots.len() as u64;
        for id in options.snapshots.iter().flatten() {
            let known = self.snapshots.iter().any(|snapshot| snapshot.id == *id);
            if !known && !self.found.contains_key(&layout::snapshot(*id)) {
                return Err(RepositoryError::NoSuchSnapshot { prefix: id.to_string() });
            }
        }
        Ok(())
    }

    /// Reads all index files anew, into an index of the check's own; and the list of packs.
    pub(super) async fn check_index(&mut self, repository: &Repository) -> Result<()> {
        let files = repository.list_ids(layout::INDEX).await?;
        let mut builder = Builder::default();
        let mut reads = futures::stream::iter(files)
            .map(|file| repository.read_index_file(file.key))
            .buffer_unordered(FETCHES);
        while let Some((file, result)) = reads.next().await {
            match result {
                Ok(None) => self.report.notes.push(format!("{file} is listed by the storage, and gone")),
                Ok(Some(packs)) => packs.iter().for_each(|(pack, blobs)| {
                    builder.add(*pack, blobs);
                }),
                Err(error) => {
                    let reason = as_damage(&error).ok_or(error)?;
                    self.damage(&file, reason);
                    self.bad_index_files.push(file);
                }
            }
        }
        drop(reads);
        self.bad_index_files.sort();
        self.compare_packs(repository, builder).await
    }
}
