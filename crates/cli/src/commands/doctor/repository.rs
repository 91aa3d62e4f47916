//! The repository: place, password, opening, snapshots, free space.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use basekeep_engine::Repository;
use basekeep_engine::config::{PasswordFrom, ReplicaEntry, is_url};
use basekeep_engine::listing::{self, Filter};
use basekeep_engine::repositories;

use super::checks::Group;
use crate::context::Context;
use crate::output::units;

/// Below this a backup may end for lack of space, whatever the database's size.
const LITTLE_SPACE: u64 = 1 << 30;

pub(super) async fn look(context: &Context, needed_bytes: u64) -> Group {
    let place = match context.repository_place() {
        Ok(place) => place,
        Err(error) => return Group::failed("repository", "repository", &error),
    };
    let mut group = Group::new(format!("repository {}", place.url));
    match context.password_from(&place) {
        Ok(Some(PasswordFrom::File(file))) => key_file(&file, &mut group),
        Ok(_) => {}
        Err(error) => {
            group.error("password", &error);
            return group;
        }
    }
    let repository = match context.open_repository().await {
        Ok(repository) => repository,
        Err(error) => {
            group.error("repository", &error);
            return group;
        }
    };
    snapshots(&repository, &mut group).await;
    if !is_url(&place.url) {
        space(Path::new(&place.url), needed_bytes, &mut group);
    }
    group
}

/// The same for a replica.
pub(super) async fn look_at_replica(context: &Context, entry: &ReplicaEntry, needed_bytes: u64) -> Group {
    let mut group = Group::new(format!("replica {} ({})", entry.name, repositories::place(&entry.url)));
    if let Some(PasswordFrom::File(file)) = &entry.password {
        key_file(file, &mut group);
    }
    let opened = match context.repository_spec() {
        Ok((spec, origin)) => context.open_replica(entry, &spec.password, &origin).await,
        Err(error) => Err(error),
    };
    let repository = match opened {
        Ok(repository) => repository,
        Err(error) => {
            group.error("replica", &error);
            return group;
        }
    };
    snapshots(&repository, &mut group).await;
    if !is_url(&entry.url) {
        space(Path::new(&entry.url), needed_bytes, &mut group);
    }
    group
}

async fn snapshots(repository: &Repository, group: &mut Group) {
    let listing = match listing::list(repository, &Filter::default()).await {
        Ok(listing) => listing,
        Err(error) => {
            group.error("repository", &error);
            return;
        }
    };
    let count = listing.snapshots.len() as u64;
    let newest =
        listing.snapshots.last().map(|newest| format!(", the newest of {}", units::time(newest.time)));
    let what =
        format!("opens; {}{}", units::counted(count, "snapshot", "snapshots"), newest.unwrap_or_default());
    group.ok("repository", what);
    if !listing.unreadable.is_empty() {
        let damaged = units::counted(listing.unreadable.len() as u64, "snapshot", "snapshots");
        let hint = "`basekeep verify` says what is damaged".to_owned();
        group.warning("snapshots", format!("{damaged} cannot be read"), vec![hint]);
    }
}

fn key_file(file: &Path, group: &mut Group) {
    let Ok(metadata) = std::fs::metadata(file) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        group.warning(
            "password-file",
            format!("others may read the password file {} (mode {mode:o})", file.display()),
            vec![format!("`chmod 600 {}`", file.display())],
        );
    }
}

fn space(folder: &Path, needed_bytes: u64, group: &mut Group) {
    let Ok(file_system) = nix::sys::statvfs::statvfs(folder) else { return };
    // These numbers have 32 bits on some systems.
    #[allow(clippy::unnecessary_cast)]
    let free = (file_system.blocks_available() as u64).saturating_mul(file_system.fragment_size() as u64);
    let what = format!("{} free", units::bytes(free));
    // Rows usually compress to less than half; indexes are not stored at all.
    if free < LITTLE_SPACE || free < needed_bytes / 2 {
        let sources = format!("the databases have {}", units::bytes(needed_bytes));
        group.warning(
            "space",
            format!("only {what}"),
            vec![format!("make room before a first backup; {sources}")],
        );
    } else {
        group.ok("space", what);
    }
}
