//! Makes the plan of a restore: reads the snapshot and the target, refuses what cannot work, and changes nothing.

use std::collections::{BTreeSet, HashSet};

use basekeep_archive::{self as archive, inventory};
use basekeep_postgres::Client;
use basekeep_repository::{Repository, Snapshot};
use basekeep_supabase::objects;
use basekeep_supabase::platform::is_platform_role;

use super::after::After;
use super::changes;
use super::conditions;
use super::contents::Contents;
use super::database::{DatabaseOptions, same_locale};
use super::globals::Around;
use super::late::{self, Late};
use super::narrow::{self, Needs};
use super::project::{self, Held};
use super::reconcile::{self, Reconciled};
use super::safety::Safety;
use super::target::{self, Target};
use super::work::{Action, Stage, Step, Work};
use super::{Change, Mode, RestoreOptions, RestorePlan, grouping, rename, roles, steps, validate};
use crate::mask::Masks;
use crate::repair::REPAIRED;
use crate::selection::Part;
use crate::stored::globals::Globals;
use crate::stored::manifest::Manifest;
use crate::{EngineError, listing};

/// More connections than this do not help one restore.
const MOST_JOBS: usize = 8;
/// Connections that are left to others.
const SPARE_CONNECTIONS: u32 = 2;

/// Which roles to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roles {
    /// Those that the archive refers to.
    Needed,
    /// All of the source's, for a server that has none.
    All,
}

/// Makes the plan. The repository must be locked.
pub(crate) async fn make(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    wanted: Roles,
) -> Result<RestorePlan, EngineError> {
    let mut contents = Contents::read(repository, snapshot).await?;
    if let Some(rules) = &options.mask {
        contents.masks = Some(Masks::prepare(rules, repository, snapshot, &contents).await?);
    }
    let options = &conditions::with_tables(options);
    let selected = options.selection.apply(&contents.archive)?;
    let partial = narrow::is_partial(options);
    let conditions = conditions::by_entry(&options.conditions, &contents, &selected)?;
    let mut needs = partial.then(|| Needs::of(&contents.archive, &selected));
    if partial {
        contents.narrow(&selected);
    }
    let mut client = target::connect(&options.target, options.create_database).await?;
    let target = Target::read(&mut client).await?;
    let mut warnings = Vec::new();
    if !options.rename.is_empty() {
        let schemas = match options.create_database {
            true => ["public".to_owned()].into(),
            false => narrow::schemas(&mut client).await?,
        };
        let renamed = rename::apply(&mut contents, &options.rename, &schemas, &target.user)?;
        warnings.extend(renamed);
        if let Some(needs) = &mut needs {
            let rename = &options.rename;
            needs.without_schemas(&|name| {
                rename.into_schema.is_some() || rename.schemas.iter().any(|(old, _)| old == name)
            });
        }
    }
    let mut planner = Planner { contents: &mut contents, target: &target, options, warnings };
    planner.check_version()?;
    let create = planner.database(&mut client).await?;
    let held = if create.is_some() { None } else { planner.held(&mut client).await? };
    let wants_roles = partial && selected.has(Part::Roles);
    let missing = planner.roles(if wants_roles { Roles::All } else { wanted }, held.as_ref());
    if let Some(needs) = needs {
        let bare = !options.selection.with_dependencies && !wants_roles;
        let lacking: Vec<&str> = if bare { missing.iter().map(String::as_str).collect() } else { Vec::new() };
        needs.check(&mut client, held.as_ref(), &lacking).await?;
    }
    planner.keep_known_tablespaces();
    planner.extensions(held.as_ref());
    let archive_options = archive::RestoreOptions {
        owner: options.owner,
        privileges: options.privileges,
        tablespaces: options.tablespaces,
        ..archive::RestoreOptions::default()
    };
    let reconciled = match &held {
        Some(held) => {
            let found = planner.reconcile(&mut client, held, &archive_options).await?;
            if let Some(columns) = listing::columns(repository, snapshot).await? {
                let types = validate::types(&mut client, planner.contents, &columns, &found).await?;
                planner.warnings.extend(types);
            }
            Some(found)
        }
        None => None,
    };
    if let Some(found) = &reconciled {
        narrow::refuse_lost_rows(&planner.contents.archive, found, &|id| conditions.contains_key(&id))?;
    }
    let is_project = held.as_ref().is_some_and(|held| held.is_project);
    let mut found_late = late::Found::default();
    let late = match &reconciled {
        // Elsewhere there is no vault, as a rule: who asks for it is told so.
        Some(found) if is_project || partial => {
            let late = Late::read(repository, snapshot, planner.contents, found, options, &selected).await?;
            found_late = late.look(&mut client).await?;
            Some(late).filter(|late| !late.is_empty())
        }
        _ => None,
    };
    client.close().await;
    if let Some(found) = reconciled.as_ref().filter(|_| partial && options.mode == Mode::Empty) {
        narrow::refuse_present(&planner.contents.archive, &selected, found, options.target.database())?;
    }
    let taken = reconciled.as_ref().map(|found| planner.memberships(&found.keep)).unwrap_or_default();
    if let Some(held) = held.as_ref().filter(|held| held.is_project && !partial) {
        planner.remind();
        planner.settings_left_alone(&held.globals);
    }
    let mut warnings = planner.warnings;
    let mut differs = Vec::new();

    // A scratch server that is to prove something gets all of it, as it was.
    let is_plain = wanted == Roles::Needed && !is_project && contents.of_project;
    let dispensable = if is_plain { dispensable(&contents.archive) } else { HashSet::new() };
    let steps = steps::make(
        repository,
        snapshot,
        &contents,
        &archive_options,
        reconciled.as_ref(),
        &dispensable,
        target.superuser,
    )
    .await?;
    let mut steps = steps;
    conditions::apply(&mut steps, conditions);
    let mut changes = changes::of(&contents, &selected, &steps, reconciled.as_ref());
    let steps = match (&reconciled, &held) {
        (Some(found), Some(held)) if matches!(options.mode, Mode::Merge(_) | Mode::Clear) => {
            let rejects = options.rejects.as_deref();
            grouping::group(steps, &contents.archive, &held.archive, found, options.mode, rejects)
        }
        _ => steps,
    };
    let around = Around {
        contents: &contents,
        selected: &selected,
        options,
        target: &target,
        held: held.as_ref(),
        missing: &missing,
        taken: &taken,
        creates: create.is_some(),
        is_plain,
    };
    let globals = around.decide();
    let (role_steps, database_steps) = (globals.roles, globals.database);
    warnings.extend(globals.warnings);
    differs.extend(globals.differs);
    changes.extend(found_late.changes);
    differs.extend(found_late.differs);
    let documents =
        contents.manifest.supabase.as_ref().and_then(|of| of.counts.get("configuration_documents"));
    if partial && selected.has(Part::Config) && documents.is_some_and(|n| *n > 0) {
        let message = "only the settings of the database: what the project's services are set to goes back with --configuration";
        warnings.push(message.into());
    }
    if is_plain && !partial {
        warnings.extend(late::not_for_plain(&contents.manifest));
    }
    if partial {
        changes.extend(role_steps.iter().chain(&database_steps).map(changes::set));
    }
    let stays = |role: &&String| {
        contents.globals.as_ref().is_ok_and(|globals| roles::is_member(globals, role, &target))
    };
    let borrowed = match target.superuser {
        true => Vec::new(),
        false => missing.iter().chain(&taken).filter(|role| !stays(role)).cloned().collect(),
    };
    let clears = held.is_some() && options.mode == Mode::Clear && !options.no_safety_backup;
    let work = Work {
        safety: clears.then(|| Safety::of(options)),
        target: options.target.clone(),
        create,
        setup: archive::session_setup(&contents.archive),
        roles: role_steps,
        steps,
        database: database_steps,
        borrowed,
        jobs: jobs(options, &target),
        warnings: warnings.clone(),
        lost: reconciled.as_ref().map(|found| found.lost.clone()).unwrap_or_default(),
        after: reconciled.as_ref().and_then(|found| After::new(options, found, &contents, is_project)),
        late,
    };
    let mut plan = describe(&contents, &target, changes, missing, warnings, work, reconciled);
    if !differs.is_empty() {
        plan.summary
            .push(format!("leave {} of what is beside the tables alone, which differ", differs.len()));
        plan.differs.extend(differs);
    }
    Ok(plan)
}

/// Dump ids of entries that only a project needs.
fn dispensable(archive: &archive::Archive) -> HashSet<i32> {
    let whose = objects::belonging(archive);
    archive
        .entries
        .iter()
        .zip(whose)
        .filter(|(entry, whose)| objects::is_dispensable(entry, *whose))
        .map(|(entry, _)| entry.dump_id)
        .collect()
}

fn jobs(options: &RestoreOptions, target: &Target) -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let free = target.free_connections.saturating_sub(SPARE_CONNECTIONS) as usize;
    options.jobs.unwrap_or(cores.clamp(2, MOST_JOBS)).min(free.max(1)).max(1)
}

struct Planner<'a> {
    contents: &'a mut Contents,
    target: &'a Target,
    options: &'a RestoreOptions,
    warnings: Vec<String>,
}

impl Planner<'_> {
    fn check_version(&self) -> Result<(), EngineError> {
        let source = self.contents.manifest.server.version_num / 10_000;
        let target = self.target.version / 10_000;
        if target >= source {
            return Ok(());
        }
        Err(EngineError::usage(format!(
            "the target runs PostgreSQL {target}, the backup is of PostgreSQL {source}"
        ))
        .hint(format!(
            "restore to PostgreSQL {source} or newer: an older server does not know all of its definitions"
        )))
    }

    /// Checks the target's database; gives what is to be created.
    async fn database(&mut self, client: &mut Client) -> Result<Option<DatabaseOptions>, EngineError> {
        let name = self.options.target.database();
        if !self.options.create_database {
            let found = target::contents(client).await?;
            let may_hold = self.options.mode != Mode::Empty
                || narrow::is_partial(self.options)
                || project::is_project(client).await?;
            if !found.is_empty() && !may_hold {
                return Err(EngineError::usage(format!(
                    "the database '{name}' is not empty: it has {}{}",
                    found.iter().take(3).cloned().collect::<Vec<_>>().join(", "),
                    if found.len() > 3 { " and more" } else { "" }
                ))
                .hint("restore to an empty database, or to a new one with --create-database"));
            }
            self.check_encoding(client).await?;
            return Ok(None);
        }
        if self.target.databases.contains(name) {
            return Err(EngineError::usage(format!("the database '{name}' exists already"))
                .hint("name one that does not exist, or leave --create-database out if it is empty"));
        }
        if !self.target.may_create_databases {
            return Err(EngineError::usage(format!(
                "the role '{}' may not create databases",
                self.target.user
            ))
            .hint("have an empty database made for it, and restore without --create-database"));
        }
        let mut create = DatabaseOptions::of(&self.contents.archive, &self.contents.manifest.server);
        for locale in create.libc_locales() {
            if !self.target.locales.iter().any(|known| same_locale(known, locale)) {
                self.warnings.push(format!(
                    "the target may not know the locale '{locale}': then its default locale is used, and texts may sort differently"
                ));
            }
        }
        if let Some(tablespace) = create.tablespace.take_if(|space| !self.keeps_tablespace(space)) {
            self.warnings
                .push(format!("the database goes to the default tablespace instead of '{tablespace}'"));
        }
        Ok(Some(create))
    }

    /// What the target's database holds, where that is allowed.
    async fn held(&mut self, client: &mut Client) -> Result<Option<Held>, EngineError> {
        let partial = narrow::is_partial(self.options);
        if !partial && target::contents(client).await?.is_empty() {
            return Ok(None);
        }
        let encoding = self.contents.archive.encoding().map(ToString::to_string);
        let held = Held::read(client, self.options, encoding).await?;
        if self.options.mode == Mode::Empty && !partial {
            reconcile::refuse_used(client, &held, self.options.target.database()).await?;
        }
        Ok(Some(held))
    }

    async fn reconcile(
        &mut self,
        client: &mut Client,
        held: &Held,
        what: &archive::RestoreOptions,
    ) -> Result<Reconciled, EngineError> {
        let mut found =
            reconcile::definitions(&mut self.contents.archive, held, self.target, self.options, what)?;
        reconcile::rows(client, self.contents, held, self.options, &mut found).await?;
        self.warnings.append(&mut found.warnings);
        for extension in &self.contents.manifest.extensions {
            if let Some(version) = held.extensions.get(&extension.name).filter(|v| **v != extension.version) {
                self.warnings.push(format!(
                    "the extension '{}' is {version} on the target, it was {}",
                    extension.name, extension.version
                ));
            }
        }
        Ok(found)
    }

    async fn check_encoding(&mut self, client: &mut Client) -> Result<(), EngineError> {
        let sql = "SELECT pg_catalog.getdatabaseencoding()";
        let rows = client.query(sql).await.map_err(EngineError::from)?;
        let found = rows.iter().next().and_then(|row| row.get(0).map(str::to_owned)).unwrap_or_default();
        let source = &self.contents.manifest.server.encoding;
        if found != *source {
            self.warnings.push(format!(
                "the target database's encoding is {found}, the source's was {source}: texts that it cannot hold are refused"
            ));
        }
        Ok(())
    }

    fn keeps_tablespace(&self, name: &str) -> bool {
        self.options.tablespaces && self.target.tablespaces.contains(name)
    }

    /// Objects of tablespaces that the target lacks go to its default one.
    fn keep_known_tablespaces(&mut self) {
        if !self.options.tablespaces {
            return;
        }
        let mut missing = BTreeSet::new();
        for entry in &mut self.contents.archive.entries {
            if let Some(name) = entry.tablespace.as_mut().filter(|name| !name.is_empty())
                && !self.target.tablespaces.contains(&*name.to_string())
            {
                missing.insert(name.to_string());
                *name = "".into();
            }
        }
        for name in missing {
            self.warnings.push(format!(
                "the tablespace '{name}' does not exist on the target: its objects go to the default one"
            ));
        }
    }

    fn extensions(&mut self, held: Option<&Held>) {
        for entry in self.contents.archive.entries.iter().filter(|entry| entry.desc == "EXTENSION") {
            let name = entry.tag.as_ref().map(|tag| tag.to_string()).unwrap_or_default();
            if held.is_some_and(|held| held.extensions.contains_key(&name)) {
                continue;
            }
            match self.target.extensions.get(&name) {
                Some(true) => {}
                // A project lets its role create what it lists as allowed.
                Some(false) if held.is_some_and(|held| held.is_project) => {}
                Some(false) => self.warnings.push(format!(
                    "the extension '{name}' may be created by a superuser only, and '{}' is none",
                    self.target.user
                )),
                None => self.warnings.push(format!(
                    "the extension '{name}' is not available on the target: it and what needs it will be missing"
                )),
            }
        }
    }

    /// What a project needs beside what a restore can bring.
    fn remind(&mut self) {
        let manifest = &self.contents.manifest;
        let again = manifest.supabase.iter().flat_map(|project| &project.supply_again);
        let again: Vec<&str> = again.map(String::as_str).collect();
        if !again.is_empty() {
            self.warnings.push(format!("no backup has these, supply them again: {}", again.join(", ")));
        }
        let has_sessions = |table: &&crate::stored::manifest::Table| {
            table.schema == "auth"
                && matches!(table.name.as_str(), "sessions" | "refresh_tokens")
                && table.rows > 0
        };
        if manifest.tables.iter().any(|table| has_sessions(&table)) {
            self.warnings.push(
                "sessions of users stay valid only where the target has the source's JWT secret: the others log in again"
                    .into(),
            );
        }
    }

    fn settings_left_alone(&mut self, held: &Globals) {
        let Ok(globals) = &self.contents.globals else { return };
        let lacking = roles::settings_of_the_platforms_roles(globals, held);
        if !lacking.is_empty() {
            self.warnings.push(format!(
                "roles of the platform had other settings, which are left alone; ALTER ROLE sets them, globals.sql has them: {}",
                lacking.join(", ")
            ));
        }
    }

    /// Memberships in roles that are there and that objects go to: without them nothing can be given to a role.
    fn memberships(&self, keep: &std::collections::HashSet<i32>) -> BTreeSet<String> {
        if self.target.superuser || !self.options.owner || !self.target.may_create_roles {
            return BTreeSet::new();
        }
        let entries = self.contents.archive.entries.iter().filter(|entry| keep.contains(&entry.dump_id));
        entries
            .filter(|entry| entry.grant_target().is_some())
            .filter_map(|entry| entry.owner.as_ref().map(ToString::to_string))
            .filter(|owner| self.target.roles.contains(owner) && !self.target.may_give_to(owner))
            .filter(|owner| !is_platform_role(owner))
            .collect()
    }

    /// Roles to create.
    fn roles(&mut self, wanted: Roles, held: Option<&Held>) -> BTreeSet<String> {
        let is_project = held.is_some_and(|held| held.is_project);
        let globals = match &self.contents.globals {
            Ok(globals) => globals,
            Err(error) => {
                self.warnings.push(format!("roles and database settings are not restored: {error}"));
                return BTreeSet::new();
            }
        };
        let needed = match wanted {
            Roles::All => globals.roles.iter().map(|role| role.name.clone()).collect(),
            Roles::Needed => {
                roles::needed(&self.contents.archive, globals, self.options.owner, self.options.privileges)
            }
        };
        // A project's roles are all its own, whatever refers to them: an application may log in as one.
        let custom = globals.roles.iter().map(|role| role.name.clone()).filter(|name| {
            self.contents.of_project && !narrow::is_partial(self.options) && !is_platform_role(name)
        });
        let needed: BTreeSet<String> = needed.into_iter().chain(custom).collect();
        let missing: BTreeSet<String> = needed
            .into_iter()
            .filter(|name| !self.target.roles.contains(name))
            .filter(|name| !is_project || !is_platform_role(name))
            .collect();
        if missing.is_empty() || (self.options.roles && self.target.may_create_roles) {
            if is_project {
                let without = |name: &&String| {
                    globals.roles.iter().any(|r| r.name == **name && r.login && r.verifier.is_none())
                };
                self.warnings.extend(missing.iter().filter(without).map(|name| {
                    format!("set a password for the role '{name}': the backup could not read it")
                }));
            } else if !missing.is_empty() && !globals.missing.is_empty() {
                self.warnings.extend(globals.missing.iter().map(|what| format!("not in the backup: {what}")));
            }
            return missing;
        }
        let why = if self.options.roles {
            format!("'{}' may not create roles", self.target.user)
        } else {
            "roles are not restored".to_owned()
        };
        let names: Vec<&str> = missing.iter().map(String::as_str).collect();
        self.warnings.push(format!(
            "the target lacks roles that owners, grants or policies name, and {why}: {}",
            names.join(", ")
        ));
        BTreeSet::new()
    }
}

fn describe(
    contents: &Contents,
    target: &Target,
    changes: Vec<Change>,
    roles: BTreeSet<String>,
    warnings: Vec<String>,
    work: Work,
    reconciled: Option<Reconciled>,
) -> RestorePlan {
    let reconciled_tables = reconciled.as_ref().map(|found| found.keep.clone());
    let Reconciled { equal, differs, platform, .. } = reconciled.unwrap_or_default();
    let manifest = &contents.manifest;
    let objects: Vec<(String, u64)> =
        inventory(&contents.archive).into_iter().map(|(kind, n)| (kind.to_lowercase(), n as u64)).collect();
    let count = |stage: Stage| work.steps.iter().filter(|s| s.stage == stage && is_sql(s)).count();
    let mut summary = vec![format!(
        "restore {} (PostgreSQL {}) to {} (PostgreSQL {}) on {} connections",
        manifest.source,
        manifest.server.version,
        work.target.redacted(),
        target.version_text,
        work.jobs
    )];
    if work.safety.is_some() {
        summary.push("back the target up into the same repository first".into());
    }
    if work.create.is_some() {
        summary.push(format!("create the database '{}'", work.target.database()));
    }
    if !roles.is_empty() {
        summary.push(format!("create {} roles", roles.len()));
    }
    if equal > 0 {
        summary.push(format!("skip {equal} objects and tables that are there already"));
    }
    if !differs.is_empty() {
        summary.push(format!("leave {} objects alone that differ", differs.len()));
    }
    if !platform.is_empty() {
        summary.push(format!(
            "leave out {} pieces of the platform that the target does not have",
            platform.len()
        ));
    }
    let tables: Vec<_> = manifest
        .tables
        .iter()
        .filter(|table| reconciled_tables.as_ref().is_none_or(|keep| keep.contains(&table.dump_id)))
        .collect();
    summary.push(format!("create {} definitions", count(Stage::Before)));
    let rows: u64 = tables.iter().map(|table| table.rows).sum();
    summary.push(format!("load {} tables with {rows} rows", tables.len()));
    if let Some(masks) = &contents.masks {
        summary.push(format!(
            "mask {} columns on the way: rows are not those of the backup then",
            masks.plan().columns.iter().filter(|column| column.method != "keep").count()
        ));
    }
    if manifest.large_objects.count > 0 {
        summary.push(format!("load {} large objects", manifest.large_objects.count));
    }
    if !manifest.sequences.is_empty() {
        summary.push(format!("set {} sequences", manifest.sequences.len()));
    }
    summary.push(format!("create {} indexes, constraints, triggers and policies", count(Stage::Parallel)));
    summary.push(format!("set {} grants", count(Stage::Privileges)));
    if count(Stage::Last) > 0 {
        summary.push(format!("refresh materialized views, create event triggers: {}", count(Stage::Last)));
    }
    summary.extend(work.late.iter().flat_map(Late::summary));
    if let Err(why) = &contents.ranges {
        summary
            .push(format!("each table is loaded by one connection: the range index cannot be used ({why})"));
    }
    RestorePlan {
        summary,
        objects,
        tables: tables.iter().map(|t| (format!("{}.{}", t.schema, t.name), t.rows, t.bytes)).collect(),
        roles: roles.into_iter().collect(),
        masks: contents.masks.as_ref().map(|masks| masks.plan().clone()),
        changes,
        equal,
        differs,
        platform,
        warnings,
        lost: lost(manifest),
        work,
    }
}

/// What the backup once had and a repair of the repository took out of it.
fn lost(manifest: &Manifest) -> Vec<(String, String)> {
    if !manifest.warnings.iter().any(|warning| warning.code == REPAIRED) {
        return Vec::new();
    }
    let lost = manifest.not_captured.iter();
    lost.map(|missing| (missing.what.clone(), missing.reason.clone())).collect()
}

fn is_sql(step: &Step) -> bool {
    matches!(step.action, Action::Sql(_))
}
