//! Storage files into a snapshot and back, through a Storage API and through S3.

mod api;
mod bucket;
mod diff;
mod faults;
mod sending;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use basekeep_engine::backup::{BackupOptions, BackupReport, Source, backup};
use basekeep_engine::files::{Address, FilesAccess, FilesOptions, FilesReport, Patience, restore};
use basekeep_engine::{Interrupt, listing};
use basekeep_postgres::{Environment, quote_literal};
use basekeep_repository::{NodeKind, Repository, Snapshot, Tree, WriterOptions};
use basekeep_testkit::supabase::{Platform, Project};
use basekeep_testkit::{STORAGE_KEY, StorageApi, server, tool};

use crate::support::{Events, repository};

/// Names that are hard to carry, and that a service may accept.
const ODD: [&str; 20] = [
    " a ",
    "100%/50% off.png",
    ".hidden/..name",
    "a//b",
    "/a",
    "a/",
    "a",
    "a/b",
    "q?a&b=c+d#e;f",
    "ü/完成.png",
    "x/.emptyFolderPlaceholder",
    "trailing ",
    "'(quoted)!*,$@:",
    "%20",
    "%25/x",
    "back\\slash",
    "tab\tnew\nline",
    "\"<&>\"",
    "a%2Fb",
    "~tilde_-.",
];

/// A platform with a project, its service, and a repository.
struct World {
    platform: Platform,
    project: Project,
    api: StorageApi,
    repository: Repository,
    writer: WriterOptions,
}

fn impatient() -> Patience {
    Patience {
        within: Duration::from_secs(5),
        first_pause: Duration::from_millis(5),
        stall: Duration::from_secs(5),
    }
}

fn access(api: &StorageApi, key: &str) -> FilesAccess {
    FilesAccess::Service { address: Address::api(&api.url(), key.into()), patience: impatient() }
}

impl World {
    async fn new() -> Self {
        let platform = Platform::start(server(15)).await;
        let project = platform.create_project("app").await;
        let api = StorageApi::start(&project.database().options()).await;
        project
            .execute_as("postgres", "INSERT INTO storage.buckets (id, name, public) VALUES ('photos', 'photos', true), ('docs', 'docs', false)")
            .await;
        Self { platform, project, api, repository: repository().await, writer: WriterOptions::default() }
    }

    fn source(&self) -> Source {
        Source {
            files: access(&self.api, STORAGE_KEY),
            ..Source::new("app", self.project.options_as("postgres"))
        }
    }

    async fn backup(&self) -> (BackupReport, Snapshot) {
        self.backup_of(&self.source()).await
    }

    async fn backup_of(&self, source: &Source) -> (BackupReport, Snapshot) {
        let folder = tool("pg_dump", 15).parent().unwrap().display().to_string();
        let vars = [("BASEKEEP_POSTGRES_BIN".to_owned(), folder)].into();
        let environment = Environment { vars, home: None, user: None };
        let options = BackupOptions {
            environment: Some(environment),
            writer: self.writer.clone(),
            ..BackupOptions::default()
        };
        let observer = Arc::new(Events::default());
        let report = backup(&self.repository, source, &options, observer, &Interrupt::never()).await.unwrap();
        let snapshot = listing::find(&self.repository, "latest", None).await.unwrap();
        (report, snapshot)
    }

    /// Every file below `storage/` of a snapshot.
    async fn stored(&self, snapshot: &Snapshot) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let root = self.repository.node_at(snapshot, "/app/storage").await.unwrap();
        let mut folders: Vec<(String, Tree)> = Vec::new();
        if let Some(subtree) = root.and_then(|node| node.subtree) {
            folders.push((String::new(), self.repository.tree(&subtree).await.unwrap()));
        }
        while let Some((path, tree)) = folders.pop() {
            for node in tree.nodes {
                let path = format!("{path}/{}", node.name);
                match node.subtree {
                    Some(subtree) => folders.push((path, self.repository.tree(&subtree).await.unwrap())),
                    None => {
                        assert_eq!(node.kind, NodeKind::File);
                        let content = self.repository.read_small(&node, 1 << 30).await.unwrap();
                        files.insert(path[1..].to_owned(), content);
                    }
                }
            }
        }
        files
    }

    /// Another project with the rows of this one, as a restore leaves it before its files; and its service.
    async fn restored_rows(&self, name: &str) -> (Project, StorageApi) {
        let target = self.platform.create_project(name).await;
        for table in ["buckets", "objects"] {
            let sql = format!("SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM storage.{table} t");
            let rows = self.project.value_as("supabase_admin", &sql).await.unwrap();
            let columns = match table {
                "buckets" => {
                    "id, name, owner, owner_id, public, file_size_limit, allowed_mime_types, created_at, updated_at"
                }
                _ => {
                    "id, bucket_id, name, owner, owner_id, created_at, updated_at, last_accessed_at, metadata, version, user_metadata"
                }
            };
            let sql = format!(
                "SET session_replication_role = replica; INSERT INTO storage.{table} ({columns})
                 SELECT {columns} FROM jsonb_populate_recordset(NULL::storage.{table}, {})",
                quote_literal(&rows)
            );
            target.execute_as("supabase_admin", &sql).await;
        }
        let api = StorageApi::start(&target.database().options()).await;
        (target, api)
    }

    async fn send(&self, snapshot: &Snapshot, target: &Project, api: &StorageApi) -> FilesReport {
        let options =
            FilesOptions { target: target.options_as("postgres"), access: access(api, STORAGE_KEY) };
        let observer = Arc::new(Events::default());
        restore(&self.repository, snapshot, &options, observer, &Interrupt::never()).await.unwrap()
    }
}

/// All columns of all objects but the version, which is the service's own.
async fn rows(project: &Project) -> String {
    let sql = "SELECT jsonb_pretty(coalesce(jsonb_agg(to_jsonb(o) - 'version' ORDER BY o.bucket_id, o.name), '[]')) FROM storage.objects o";
    project.value_as("supabase_admin", sql).await.unwrap()
}

/// What is told as not captured of files.
fn missing(report: &BackupReport) -> Vec<(String, String)> {
    let missing = report.manifest.not_captured.iter().filter(|missing| missing.what.contains("file"));
    missing.map(|missing| (missing.what.clone(), missing.reason.clone())).collect()
}

fn count(report: &BackupReport, name: &str) -> u64 {
    let counts = report.manifest.supabase.as_ref().map(|supabase| &supabase.counts);
    counts.and_then(|counts| counts.get(name)).copied().unwrap_or(0)
}
