//! Which of a writer's repositories leads, what becomes of one that fails, and of one that cannot keep up.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::pack::BlobKind;
use crate::writer::pipeline::Pipeline;
use crate::writer::target::{MOST_TARGETS, Mask, Target};
use crate::{BlobId, RepositoryError, Result, sync};

/// Who leads and who still goes on. Read without a lock for each blob; changed under one.
#[derive(Debug)]
pub(super) struct Roles {
    leader: AtomicUsize,
    alive: AtomicU16,
    changing: Mutex<()>,
}

impl Roles {
    /// The first one leads.
    pub(super) fn new(targets: usize) -> Self {
        let alive = (0..targets.min(MOST_TARGETS)).fold(0, |mask: Mask, n| mask | 1 << n);
        Self { leader: AtomicUsize::new(0), alive: AtomicU16::new(alive), changing: Mutex::default() }
    }

    /// Those that have not failed.
    pub(super) fn alive(&self) -> Mask {
        self.alive.load(SeqCst)
    }

    pub(super) fn is_leading(&self, target: &Target) -> bool {
        self.leader.load(SeqCst) == target.number
    }
}

impl Pipeline {
    /// Whether everything can be written with these targets.
    pub(super) fn check_targets(&self) -> Result<()> {
        if self.targets.is_empty() || self.targets.len() > MOST_TARGETS {
            return Err(RepositoryError::Refused(format!(
                "a backup goes to between 1 and {MOST_TARGETS} repositories, not to {}",
                self.targets.len()
            )));
        }
        for target in &self.targets {
            if let Err(error) = target.repository.may_write() {
                self.fail_target(target, error);
            }
        }
        self.check()
    }

    /// The one that holds the streams up when it is slow. It may have failed, if all have.
    pub(super) fn leader(&self) -> &Arc<Target> {
        &self.targets[self.roles.leader.load(SeqCst)]
    }

    /// The target goes on no more; the others do. If it led, one that has everything leads from now on; if there is none,
    /// the writer fails, with what the first target failed with.
    pub(super) fn fail_target(&self, target: &Target, error: RepositoryError) {
        let changing = sync::lock(&self.roles.changing);
        if !target.stop(error.clone()) {
            return;
        }
        self.roles.alive.fetch_and(!target.bit(), SeqCst);
        let mut next = None;
        if self.roles.is_leading(target) {
            next = self.targets.iter().find(|target| target.is_complete());
            match next {
                Some(next) => self.roles.leader.store(next.number, SeqCst),
                None => {
                    let first = self.targets.first().and_then(|first| first.failure());
                    self.fail(first.unwrap_or_else(|| error.clone()));
                }
            }
        }
        drop(changing);
        if self.targets.len() > 1 {
            let location = target.repository.location();
            let leads = next.map(|next| next.repository.location());
            tracing::warn!(%error, %location, leads, "a repository failed; the others go on");
        }
        self.tell();
    }

    /// Leaves a blob out of a target that has no room for it. `false` if it leads by now: then it must take the blob.
    pub(super) fn owe(&self, target: &Target, kind: BlobKind, id: BlobId) -> bool {
        let changing = sync::lock(&self.roles.changing);
        if self.roles.is_leading(target) {
            return false;
        }
        target.owe();
        drop(changing);
        self.unclaim(target, kind, id);
        true
    }

    /// Targets that do not have these blobs of file content owe them. An error names one that the leader does not have.
    pub(super) fn owe_unknown<'a>(&self, blobs: impl IntoIterator<Item = &'a BlobId>) -> Result<(), BlobId> {
        if self.targets.len() == 1 {
            return Ok(());
        }
        for blob in blobs {
            for target in self.targets.iter().filter(|target| self.roles.alive() & target.bit() != 0) {
                let known = self.known_length(target, BlobKind::Data, *blob).is_some();
                if !known && !self.owe(target, BlobKind::Data, *blob) {
                    return Err(*blob);
                }
            }
        }
        Ok(())
    }
}
