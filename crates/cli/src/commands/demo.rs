//! `basekeep demo`: a throwaway server with a sample project; backup, disaster, restore, proof.

mod project;
mod stage;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use basekeep_engine::backup::{self, BackupOptions, BackupReport, Source};
use basekeep_engine::drill::{self, DrillOptions};
use basekeep_engine::postgres::cluster::{self, Binaries, ClusterError, ClusterOptions, ScratchCluster};
use basekeep_engine::repositories::{self, RepositorySpec};
use basekeep_engine::restore::{self, RestoreOptions};
use basekeep_engine::{EngineError, Observer, Silent, listing};
use basekeep_engine::{Password, Repository};
use clap::Args;
use serde::Serialize;
use tempfile::TempDir;

use self::stage::Stage;
use super::init::secrets;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::units;
use crate::progress;

const SOURCE: &str = "factory";
const RESTORED: &str = "factory_restored";

/// Show a backup, a disaster, the restore and the proof on a throwaway Postgres
#[derive(Debug, Args)]
#[command(
    after_long_help = "Nothing outside of temporary folders is touched. PostgreSQL's server programs must be \
                             installed; BASEKEEP_POSTGRES_BIN names a folder that is not found by itself."
)]
pub(crate) struct Demo {
    /// Leave the server and the repository, and say how to look at them
    #[arg(long)]
    keep: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    snapshots: [&'a str; 2],
    proven: bool,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<&'a [String]>,
}

pub(crate) async fn run(command: &Demo, context: &Context) -> Result<Exit, EngineError> {
    let began = Instant::now();
    let binaries = programs(context)?;
    let folder = tempfile::Builder::new()
        .prefix("basekeep-demo-")
        .tempdir()
        .map_err(|error| EngineError::failed("cannot make a temporary folder").caused_by(error))?;
    let mut stage = Stage::new(context);

    let cluster = stage
        .step(&format!("start a throwaway PostgreSQL {}", binaries.version), async {
            let cluster =
                ScratchCluster::start(&binaries, ClusterOptions::default()).await.map_err(scratch)?;
            Ok((cluster, String::new()))
        })
        .await?;
    let outcome = story(context, &mut stage, &cluster, folder.path()).await;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            stage.end();
            cluster.stop().await.map_err(scratch)?;
            return Err(error);
        }
    };
    let kept = if command.keep {
        Some(keep(cluster, folder)?)
    } else {
        stage
            .step("clean up", async {
                cluster.stop().await.map_err(scratch)?;
                folder.close().map_err(|error| {
                    EngineError::failed("cannot remove a temporary folder").caused_by(error)
                })?;
                Ok(((), String::new()))
            })
            .await?;
        None
    };
    finish(context, &outcome, began.elapsed(), kept.as_deref())?;
    Ok(outcome.exit)
}

/// What came out of it.
struct Outcome {
    snapshots: [String; 2],
    exit: Exit,
}

async fn story(
    context: &Context,
    stage: &mut Stage<'_>,
    cluster: &ScratchCluster,
    folder: &Path,
) -> Result<Outcome, EngineError> {
    let source = Source::new(SOURCE, cluster.options().with_database(SOURCE));
    let loaded = stage.step("load a sample project, shaped like Supabase", project::load(cluster)).await?;
    let repository = stage.step("create an encrypted repository", create(folder)).await?;
    let first = stage.step("first backup", back_up(context, &repository, &source)).await?;
    stage.step("people go on working", project::work(&source.connect)).await?;
    let second = stage.step("second backup", back_up(context, &repository, &source)).await?;
    let before = project::count_rows(&source.connect).await?;
    stage.step("disaster: DROP SCHEMA public CASCADE", project::disaster(&source.connect, loaded)).await?;
    let restored = stage.step("restore into a new database", put_back(context, &repository, cluster)).await?;
    let target = cluster.options().with_database(RESTORED);
    let same = stage.step("look whether every row is back", project::compare(&target, &before)).await?;
    let proven = stage.step("drill: restore elsewhere, compare digests", prove(context, &repository)).await?;
    let exit = match (restored, same && proven) {
        (_, false) => Exit::Difference,
        (false, true) => Exit::Incomplete,
        (true, true) => Exit::Done,
    };
    Ok(Outcome { snapshots: [first, second], exit })
}

/// The newest server that there is also a pg_dump for.
fn programs(context: &Context) -> Result<Binaries, EngineError> {
    let fits =
        |found: &Binaries| found.has_server && cluster::find_pg_dump(&context.env, found.version_num).is_ok();
    cluster::find(&context.env).into_iter().find(fits).ok_or_else(|| {
        EngineError::failed("no PostgreSQL server programs with a pg_dump were found on this machine")
            .hint("on Debian and Ubuntu: `apt install postgresql`")
            .hint("or name their folder: BASEKEEP_POSTGRES_BIN=/path/to/bin")
    })
}

fn scratch(error: ClusterError) -> EngineError {
    let hints = error.hints().to_vec();
    EngineError::failed(error.to_string()).hints_from(hints)
}

fn observer(context: &Context) -> Arc<dyn Observer> {
    if context.output.json || context.output.verbose { context.observer() } else { Arc::new(Silent) }
}

async fn create(folder: &Path) -> Result<(Repository, String), EngineError> {
    let key = secrets::random_key();
    secrets::keep(&folder.join("repository.key"), &key)?;
    let url = folder.join("repository").display().to_string();
    let spec = RepositorySpec::new(url, Password::new(key.expose()));
    Ok((repositories::init(&spec).await?, String::new()))
}

async fn back_up(
    context: &Context,
    repository: &Repository,
    source: &Source,
) -> Result<(String, String), EngineError> {
    let options = BackupOptions { tags: vec!["demo".to_owned()], ..BackupOptions::default() };
    let report = backup::backup(repository, source, &options, observer(context), &context.interrupt).await?;
    let BackupReport { snapshot: Some(id), manifest, .. } = report else {
        return Err(EngineError::failed("the backup made no snapshot"));
    };
    let detail = format!(
        "snapshot {}: {}, {}, {} added",
        units::short(&id),
        units::counted(manifest.totals.tables, "table", "tables"),
        units::counted(manifest.totals.rows, "row", "rows"),
        units::bytes(manifest.totals.added_bytes),
    );
    Ok((id, detail))
}

async fn put_back(
    context: &Context,
    repository: &Repository,
    cluster: &ScratchCluster,
) -> Result<(bool, String), EngineError> {
    let snapshot = listing::find(repository, "latest", Some(SOURCE)).await?;
    let options = RestoreOptions {
        create_database: true,
        ..RestoreOptions::new(cluster.options().with_database(RESTORED))
    };
    let plan = restore::plan(repository, &snapshot, &options).await?;
    let report = restore::execute(repository, plan, observer(context), &context.interrupt).await?;
    let failed = match report.failed.as_slice() {
        [] => String::new(),
        [first, ..] => format!(", {} FAILED, first {}: {}", report.failed.len(), first.object, first.reason),
    };
    let detail = format!(
        "{}, {}{failed}",
        units::counted(report.objects, "object", "objects"),
        units::counted(report.rows, "row", "rows")
    );
    Ok((report.failed.is_empty(), detail))
}

async fn prove(context: &Context, repository: &Repository) -> Result<(bool, String), EngineError> {
    let snapshot = listing::find(repository, "latest", Some(SOURCE)).await?;
    let options =
        DrillOptions { environment: Some(context.env.clone()), record: true, ..DrillOptions::default() };
    let report = drill::drill(repository, &snapshot, &options, observer(context), &context.interrupt).await?;
    let proof = report.proof;
    let detail = match proof.differences.first() {
        None if proof.equal => format!(
            "proven: {}, {}, {} equal",
            units::counted(proof.tables, "table", "tables"),
            units::counted(proof.rows, "row", "rows"),
            units::counted(proof.definitions, "definition", "definitions"),
        ),
        first => format!("NOT proven: {}", first.map_or("a table differs", String::as_str)),
    };
    Ok((proof.equal, detail))
}

/// Leaves everything where it is and says how to look at it.
fn keep(cluster: ScratchCluster, folder: TempDir) -> Result<Vec<String>, EngineError> {
    let kept = cluster.keep();
    let folder = folder.keep();
    let path = |name: &str| folder.join(name).display().to_string();
    let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let config = format!(
        "[repository]\nurl = \"repository\"\npassword_file = \"repository.key\"\n\n[source.{SOURCE}]\nurl = {}\n",
        quote(&kept.options.with_database(SOURCE).redacted())
    );
    std::fs::write(folder.join("basekeep.toml"), config)
        .map_err(|error| EngineError::failed("cannot write the demo's configuration").caused_by(error))?;
    let mut lines = vec![
        format!("basekeep list --config {}", path("basekeep.toml")),
        format!("basekeep show --config {}", path("basekeep.toml")),
        format!("restic -r {} --password-file {} snapshots", path("repository"), path("repository.key")),
    ];
    let mut instructions = kept.instructions.into_iter();
    let connect = instructions.next().map(|line| match line.strip_suffix(" postgres") {
        Some(server) => format!("{server} {RESTORED}"),
        None => line,
    });
    lines.extend(connect);
    let removal: Vec<String> = instructions.chain([format!("rm -rf {}", folder.display())]).collect();
    lines.push(removal.join("; "));
    Ok(lines)
}

fn finish(
    context: &Context,
    outcome: &Outcome,
    elapsed: Duration,
    kept: Option<&[String]>,
) -> Result<(), EngineError> {
    if context.output.json {
        let [first, second] = &outcome.snapshots;
        let proven = outcome.exit == Exit::Done;
        let document = Document { snapshots: [first, second], proven, seconds: elapsed.as_secs_f64(), kept };
        return progress::emit(&context.output, &document);
    }
    let mut text = match outcome.exit {
        Exit::Done => {
            format!("everything is back, and proven; all of it took {}\n", units::duration(elapsed))
        }
        _ => format!("NOT everything is back; all of it took {}\n", units::duration(elapsed)),
    };
    if let Some((removal, looks)) = kept.and_then(<[String]>::split_last) {
        text += "\nto look at it:\n";
        for line in looks {
            text += &format!("  {line}\n");
        }
        text += &format!("to remove it:\n  {removal}\n");
    }
    context.output.data(&text)
}
