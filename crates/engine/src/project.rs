//! A snapshot's edge functions and configuration into a project, through its Management API.
//!
//! Only on request: it changes what serves users. Functions are deployed from the bundles that were deployed; of the
//! configuration only what differs is sent, and never a secret, since the snapshot has none.

use basekeep_repository::{Repository, Snapshot};
use basekeep_supabase::management::{Api, ApiError, DOCUMENTS, Document, Function, redact};
use serde_json::{Map, Value};

use crate::backup::open_management;
use crate::config::Management;
use crate::restore::FailedObject;
use crate::stored::project as stored;
use crate::{EngineError, ErrorKind, Interrupt, ResultExt, listing};

/// A bundle larger than this, in bytes, is not sent; the service takes 20 MB.
const LARGEST_BUNDLE: usize = 64 << 20;

/// What to send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Edge functions.
    pub functions: bool,
    /// Configuration of auth, the REST API, realtime, storage and the database server.
    pub configuration: bool,
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct PushReport {
    /// Slugs of the functions that were deployed.
    pub functions: Vec<String>,
    /// What was changed, `the configuration of auth: site_url, jwt_exp`.
    pub changed: Vec<String>,
    /// What could not be sent.
    pub failed: Vec<FailedObject>,
    /// What is left to do.
    pub warnings: Vec<String>,
}

/// Sends it.
///
/// Errors: kind `Unreachable` when the API does not let us in, kind `Usage` when the snapshot has nothing of what is asked
/// for. What is refused later is in the report.
pub async fn push(
    repository: &Repository,
    snapshot: &Snapshot,
    management: &Management,
    options: PushOptions,
    interrupt: &Interrupt,
) -> Result<PushReport, EngineError> {
    interrupt.guard(send(repository, snapshot, management, options)).await
}

async fn send(
    repository: &Repository,
    snapshot: &Snapshot,
    management: &Management,
    options: PushOptions,
) -> Result<PushReport, EngineError> {
    let functions = match options.functions {
        true => stored::read_functions(repository, snapshot).await?,
        false => None,
    };
    let mut documents = Vec::new();
    for document in DOCUMENTS.iter().filter(|_| options.configuration) {
        if let Some(found) = stored::read_configuration(repository, snapshot, document.name).await? {
            documents.push((document, found));
        }
    }
    if functions.is_none() && documents.is_empty() {
        return Err(EngineError::usage(format!("snapshot {} has nothing of the Management API", snapshot.id.short()))
            .hint("set `management` of the source before the next backup; functions of the project's folder are below functions/"));
    }
    let api = open_management(management).await.map_err(|error| {
        let unreachable = EngineError::new(ErrorKind::Unreachable, error.message.clone());
        unreachable
            .within(format!("open project {}", management.entry.project_ref))
            .hints_from(error.hint().map(str::to_owned))
    })?;
    let mut report = PushReport::default();
    for function in functions.into_iter().flat_map(|list| list.functions) {
        deploy(repository, snapshot, &api, function, &mut report).await?;
    }
    for (document, found) in documents {
        configure(&api, document, &found, &mut report).await;
    }
    if let Some(names) = stored::read_secrets(repository, snapshot).await?.filter(|_| options.functions) {
        let names: Vec<String> = names.secrets.into_iter().map(|secret| secret.name).collect();
        if !names.is_empty() {
            report.warnings.push(format!("set these secrets of the functions again: {}", names.join(", ")));
        }
    }
    Ok(report)
}

async fn deploy(
    repository: &Repository,
    snapshot: &Snapshot,
    api: &Api,
    function: stored::DeployedFunction,
    report: &mut PushReport,
) -> Result<(), EngineError> {
    let object = format!("edge function {}", function.slug);
    let Some(file) = &function.file else {
        report.failed.push(failed(object, "the snapshot does not have its bundle", true));
        return Ok(());
    };
    let bundle = listing::read_file(repository, snapshot, file, LARGEST_BUNDLE)
        .await
        .doing(|| format!("read {file}"))?;
    let Some(bundle) = bundle else {
        report.failed.push(failed(object, "its bundle is not in the snapshot", true));
        return Ok(());
    };
    let slug = function.slug.clone();
    match api.deploy(&sent(function), bundle.into()).await {
        Ok(()) => report.functions.push(slug),
        Err(error) => report.failed.push(failed(object, &error.message, false)),
    }
    Ok(())
}

fn sent(function: stored::DeployedFunction) -> Function {
    Function {
        slug: function.slug,
        name: function.name,
        status: function.status,
        version: function.deployments,
        verify_jwt: function.verify_jwt,
        import_map: function.import_map,
        entrypoint_path: function.entrypoint_path,
        import_map_path: function.import_map_path,
        ezbr_sha256: function.ezbr_sha256,
    }
}

/// Sends what differs from the target's present configuration.
async fn configure(api: &Api, document: &Document, found: &stored::Configuration, report: &mut PushReport) {
    let present = match api.document(document).await {
        Ok(Some(present)) => present,
        Ok(None) => {
            return report
                .warnings
                .push(format!("{}: the target has none; set it up by hand", document.words));
        }
        Err(error) => return report.failed.push(refused(document, &error)),
    };
    let change = change(&found.config, present);
    if change.is_empty() {
        return;
    }
    let names: Vec<&str> = change.keys().map(String::as_str).collect();
    let what = format!("{}: {}", document.words, names.join(", "));
    let changeable: &[&str] = match document.name {
        "auth" | "postgrest" | "realtime" | "postgres" => &[],
        "storage" => &["fileSizeLimit", "features"],
        _ => {
            let stays = format!(
                "{what}: differs and is not changed; compare {}",
                stored::configuration(document.name)
            );
            return report.warnings.push(stays);
        }
    };
    let change: Map<String, Value> = change
        .into_iter()
        .filter(|(name, _)| changeable.is_empty() || changeable.contains(&name.as_str()))
        .collect();
    if change.is_empty() {
        return;
    }
    match api.configure(document, &Value::Object(change)).await {
        Ok(()) => report.changed.push(what),
        Err(error) => report.failed.push(refused(document, &error)),
    }
    if !found.redacted.is_empty() {
        let again = format!("{}: set again: {}", document.words, found.redacted.join(", "));
        report.warnings.push(again);
    }
}

/// What of `wanted` the target has otherwise. Keys that the target does not know are left out: it is of another version.
fn change(wanted: &Value, mut present: Value) -> Map<String, Value> {
    redact::redact(&mut present);
    let (Value::Object(wanted), Value::Object(present)) = (wanted, &present) else {
        // A list, such as the pooler's: compared as a whole, and named.
        return match *wanted == present {
            true => Map::new(),
            false => Map::from_iter([("entries".to_owned(), wanted.clone())]),
        };
    };
    let differs = wanted.iter().filter(|(name, value)| present.get(*name).is_some_and(|now| now != *value));
    differs.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn refused(document: &Document, error: &ApiError) -> FailedObject {
    failed(document.words.to_owned(), &error.message, false)
}

fn failed(object: String, reason: &str, skipped: bool) -> FailedObject {
    FailedObject { object, reason: reason.to_owned(), skipped }
}
