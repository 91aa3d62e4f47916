//! What a backup of a Supabase project would capture with the given role and settings, and what not: a line for each
//! component. Nothing is changed, and no secret leaves the server.

use basekeep_postgres::Client;
use basekeep_supabase::components::{self, Components};
use basekeep_supabase::probe::Probe;
use basekeep_supabase::project;
use basekeep_supabase::recognize::{self, Flavour, Project};
use basekeep_supabase::services;

use crate::backup::{Source, describe, open_management};
use crate::files::FilesAccess;
use crate::stored::manifest::Supabase;
use crate::{EngineError, ResultExt};

/// One component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// A stable word, such as `supabase-users`.
    pub code: &'static str,
    /// Whether a backup holds it.
    pub captured: bool,
    /// What there is, or what is missing and why.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Components that are told together: code, title, names of their counts.
const GROUPS: [(&str, &str, &[&str]); 8] = [
    ("supabase-users", "accounts", &["users", "identities", "mfa_factors", "sessions", "sso_providers"]),
    ("supabase-roles", "roles", &["roles", "memberships"]),
    (
        "supabase-definitions",
        "definitions",
        &[
            "tables",
            "policies",
            "functions",
            "triggers",
            "triggers_on_platform_tables",
            "event_triggers",
            "extensions",
            "publications",
            "webhooks",
        ],
    ),
    ("supabase-storage", "storage", &["buckets", "objects"]),
    ("supabase-migrations", "migrations", &["migrations"]),
    ("supabase-cron", "cron", &["cron_jobs"]),
    ("supabase-queues", "queues", &["queues", "queue_messages"]),
    ("supabase-encryption", "encryption", &["encryption_uses", "pgsodium_keys"]),
];
const AS_POSTGRES: &str = "back up as `postgres`, or grant the role SELECT on it";

/// Looks; empty where the database is not that of a Supabase project.
///
/// Errors: the database cannot be reached.
pub async fn survey(source: &Source) -> Result<Vec<Line>, EngineError> {
    let doing = || format!("look at {}", source.connect.redacted());
    let mut client = Client::connect(&source.connect, "basekeep doctor").await.doing(doing)?;
    client.execute(BEGIN).await.doing(doing)?;
    let Some(project) = recognize::recognize(&mut client).await.doing(doing)? else { return Ok(Vec::new()) };
    let found = components::read(&mut client, &project).await.doing(doing)?;
    let mut lines = vec![recognised(&project, &found)];
    lines.extend(GROUPS.iter().filter_map(|(code, title, names)| group(code, title, names, &found)));
    lines.extend(vault(&mut client, &project).await?);
    lines.extend(project.limits().into_iter().map(|(what, hint)| Line {
        code: "supabase-role",
        captured: false,
        what,
        hint: Some(hint.into()),
    }));
    client.execute("ROLLBACK").await.doing(doing)?;
    client.close().await;
    if project.has("storage.objects") {
        lines.push(files(source));
    }
    lines.push(folder(source).await?);
    lines.push(api(source, &project).await);
    Ok(lines)
}

/// Settings that end with the transaction: a pooler would hand a session's settings to others.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''; SET LOCAL row_security = off;
  SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '3s'";

fn recognised(project: &Project, found: &Components) -> Line {
    let described: Supabase = describe(project, found.clone());
    let place = match (described.flavour.as_str(), &described.reference) {
        ("unknown", _) => "a Supabase project".to_owned(),
        (flavour, Some(reference)) => format!("a {flavour} Supabase project, {reference}"),
        (flavour, None) => format!("a {flavour} Supabase project"),
    };
    let version = |name: &str, version: &Option<crate::stored::manifest::SchemaVersion>| {
        version.as_ref().map(|version| format!("; {name} migrated to {version}")).unwrap_or_default()
    };
    let (auth, storage) = (&described.auth_schema, &described.storage_schema);
    let what = format!("{place}{}{}", version("auth", auth), version("storage", storage));
    Line { code: "supabase", captured: true, what, hint: None }
}

/// `accounts: 12 users (bcrypt 10, none 2), 3 identities`, or what is refused.
fn group(code: &'static str, title: &str, names: &[&str], found: &Components) -> Option<Line> {
    let words = |name: &str| name.replace('_', " ");
    let counted: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let parts: Vec<String> = match *name {
                "users" => {
                    found.users_by_hash.iter().map(|(hash, count)| format!("{hash} {count}")).collect()
                }
                _ => Vec::new(),
            };
            let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
            found.counts.get(name).map(|count| format!("{count} {}{parts}", words(name)))
        })
        .collect();
    let refused: Vec<String> = names
        .iter()
        .filter_map(|name| found.refused.get(name).map(|reason| format!("{}: {reason}", words(name))))
        .collect();
    if counted.is_empty() && refused.is_empty() {
        return None;
    }
    let mut what = format!("{title}: {}", counted.join(", "));
    if !refused.is_empty() {
        let also = if counted.is_empty() { "" } else { "; " };
        what = format!("{what}{also}not captured: {}", refused.join(", "));
    }
    let hint = (!refused.is_empty()).then(|| AS_POSTGRES.to_owned());
    Some(Line { code, captured: refused.is_empty(), what, hint })
}

/// Whether the server decrypts the vault's secrets for this role.
async fn vault(client: &mut Client, project: &Project) -> Result<Option<Line>, EngineError> {
    let mut probe = Probe::new(client);
    let readable = services::vault_readable(&mut probe, project).await.doing(|| "look at the vault")?;
    let refused = probe.denied.pop();
    let line = |captured, what, hint: Option<&str>| Line {
        code: "supabase-vault",
        captured,
        what,
        hint: hint.map(str::to_owned),
    };
    Ok(match (readable, refused) {
        (Some((0, 0)), _) => Some(line(true, "vault: no secrets".into(), None)),
        (Some((open, all)), _) if open == all => {
            Some(line(true, format!("vault: {all} secrets, decrypted into the sealed repository"), None))
        }
        (Some((open, all)), _) => {
            Some(line(false, format!("vault: {} of {all} secrets cannot be decrypted", all - open), None))
        }
        (None, Some(denied)) => {
            let what = format!("vault: its secrets are not captured: {}", denied.reason);
            Some(line(false, what, Some(AS_POSTGRES)))
        }
        (None, None) => None,
    })
}

/// Whether the Management API lets us in.
async fn api(source: &Source, project: &Project) -> Line {
    const CODE: &str = "supabase-api";
    let Some(management) = &source.management else {
        return match project.flavour {
            Flavour::Hosted | Flavour::Unknown => Line {
                code: CODE,
                captured: false,
                what: "deployed edge functions and the project's configuration are not captured: no Management API is configured".into(),
                hint: Some(format!(
                    "add `management = {{ project_ref = \"{}\" }}` to the source, and set SUPABASE_ACCESS_TOKEN",
                    project.reference.as_deref().unwrap_or("…")
                )),
            },
            Flavour::Local | Flavour::SelfHosted => Line {
                code: CODE,
                captured: true,
                what: "no Management API here: the project folder holds functions and configuration".into(),
                hint: None,
            },
        };
    };
    match open_management(management).await {
        Ok(_) => {
            let what = format!(
                "the Management API at {} opens project {}",
                management.entry.url, management.entry.project_ref
            );
            Line { code: CODE, captured: true, what, hint: None }
        }
        Err(error) => Line {
            code: CODE,
            captured: false,
            what: format!(
                "deployed edge functions and the project's configuration are not captured: {error}"
            ),
            hint: error.hint().map(str::to_owned),
        },
    }
}

/// Whether it is known how files in storage are reached; nothing is asked.
fn files(source: &Source) -> Line {
    let line = |captured, what, hint: Option<&str>| Line {
        code: "supabase-files",
        captured,
        what,
        hint: hint.map(str::to_owned),
    };
    let hint = Some(
        "set SUPABASE_SERVICE_ROLE_KEY, or `storage` of the source; storage = \"skip\" leaves files out",
    );
    match &source.files {
        FilesAccess::Service { address, .. } => {
            line(true, format!("files in storage: through {}", address.url), None)
        }
        FilesAccess::Skip => line(true, "files in storage are left out, as configured".into(), None),
        FilesAccess::Unavailable { reason } => {
            line(false, format!("files in storage are not captured: {reason}"), hint)
        }
        FilesAccess::Unknown => {
            line(false, "files in storage are not captured: no key for the storage API is known".into(), hint)
        }
    }
}

/// What the project's folder gives.
async fn folder(source: &Source) -> Result<Line, EngineError> {
    const CODE: &str = "supabase-folder";
    let line = |captured, what, hint: &str| Line {
        code: CODE,
        captured,
        what,
        hint: (!hint.is_empty()).then(|| hint.to_owned()),
    };
    let Some(folder) = source.project.clone() else {
        let what = "edge functions and migration files are not captured: no project folder is known";
        return Ok(line(
            false,
            what.into(),
            "set `project` of the source to the folder that holds supabase/",
        ));
    };
    let shown = folder.display().to_string();
    let scanned = tokio::task::spawn_blocking(move || project::scan(&folder)).await;
    let scanned = scanned.map_err(|error| EngineError::failed(format!("look through {shown}: {error}")))?;
    let Some(found) = scanned else {
        let what =
            format!("edge functions and migration files are not captured: {shown} has no folder supabase");
        return Ok(line(false, what, "set `project` of the source to the folder that holds supabase/"));
    };
    let mut what =
        format!("project folder: {} edge functions, {} files", found.functions.len(), found.files.len());
    if !found.supply_again.is_empty() {
        what += &format!("; not stored since secret: {}", found.supply_again.join(", "));
    }
    if let Some(problem) = found.problems.first() {
        what += &format!("; {} cannot be taken: {}", problem.what, problem.reason);
    }
    Ok(line(found.problems.is_empty(), what, ""))
}
