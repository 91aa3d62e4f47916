//! Grants: exactly those of the snapshot, neither more nor less, on a target that gives some by itself.

use std::collections::HashMap;

use basekeep_archive::{Archive, DifferenceKind, Entry, Grant, ObjectIdentity, grants_sql};
use basekeep_supabase::platform::is_platform_role;

use super::{Decisions, Reconciled};
use crate::restore::project::DefaultGrant;

impl Decisions<'_> {
    /// Decides about an `ACL` or `DEFAULT ACL` entry. `with_object`: its object is created by this restore;
    /// `known`: its object is in the archive.
    pub(super) fn grants(
        &self,
        index: usize,
        entry: &mut Entry,
        state: Option<DifferenceKind>,
        with_object: bool,
        known: bool,
        result: &mut Reconciled,
    ) {
        let text = entry.defn.as_ref().map(ToString::to_string).unwrap_or_default();
        let Some(wanted) = Grant::parse(&text) else {
            // In a way that is not understood: as it is, and the server decides.
            if with_object {
                result.keep.insert(entry.dump_id);
            }
            return;
        };
        let wanted = self.existing(entry, wanted, result);
        let held = match state {
            _ if with_object => Vec::new(),
            None | Some(DifferenceKind::OnlyInB) => {
                result.equal += 1;
                return;
            }
            Some(DifferenceKind::OnlyInA) => Vec::new(),
            Some(DifferenceKind::Changed { b, .. }) => Grant::parse(&b).unwrap_or_default(),
        };
        let users = with_object || self.may_grant(index, entry, known);
        let sql = if users && (with_object || self.may_change()) {
            let mut all: Vec<Grant> = held.iter().rev().map(Grant::reversed).collect();
            all.extend(wanted);
            let (possible, not): (Vec<Grant>, Vec<Grant>) = all.into_iter().partition(|g| self.may_act(g));
            self.tell(entry, &not, result);
            self.sql(&possible)
        } else {
            let missing: Vec<Grant> = wanted.iter().filter(|grant| !held.contains(grant)).cloned().collect();
            // What the role itself granted on a platform's object, it can grant again.
            let (ours, others): (Vec<Grant>, Vec<Grant>) =
                missing.into_iter().partition(|grant| self.is_ours(grant) && self.may_change());
            let more = held.iter().any(|grant| !wanted.contains(grant));
            if !others.is_empty() || more {
                let why = if users { "the target has others" } else { "the target's platform has others" };
                result.differs.push((entry.display(), why.into()));
            }
            self.sql(&ours)
        };
        if !sql.is_empty() {
            entry.defn = Some(sql.into());
            result.keep.insert(entry.dump_id);
        }
    }

    /// Without the grants to roles of the platform that this target does not have.
    fn existing(&self, entry: &Entry, grants: Vec<Grant>, result: &mut Reconciled) -> Vec<Grant> {
        let (there, not): (Vec<Grant>, Vec<Grant>) = grants.into_iter().partition(|grant| {
            grant.grantee().is_none_or(|role| {
                !self.held.is_project || !is_platform_role(&role) || self.target.roles.contains(&role)
            })
        });
        if let Some(role) = not.first().and_then(Grant::grantee) {
            result.platform.push((
                format!("{} for {role}", entry.display()),
                "the target's platform has no such role".into(),
            ));
        }
        there
    }

    /// Whether the entry's privileges are the user's to give.
    fn may_grant(&self, index: usize, entry: &Entry, known: bool) -> bool {
        let owner = entry.owner.as_ref().map(ToString::to_string).unwrap_or_default();
        if owner == "pg_database_owner" {
            // The schema public belongs to who owns the database.
            return self.target.superuser || self.target.owns_database;
        }
        let ours = self.target.superuser || self.target.may_give_to(&owner) || !is_platform_role(&owner);
        if entry.desc == "DEFAULT ACL" {
            ours
        } else {
            ours && (known && self.is_users(index) || !self.held.is_project)
        }
    }

    fn may_act(&self, grant: &Grant) -> bool {
        let Some(grantor) = &grant.grantor else { return true };
        self.target.superuser || self.target.may_give_to(grantor) || !is_platform_role(grantor)
    }

    fn is_ours(&self, grant: &Grant) -> bool {
        grant.grantor.as_ref() == Some(&self.target.user)
    }

    fn tell(&self, entry: &Entry, not: &[Grant], result: &mut Reconciled) {
        if let Some(grantor) = not.first().and_then(|grant| grant.grantor.clone()) {
            let why = format!("some were granted by {grantor}, which only that role can");
            result.differs.push((entry.display(), why));
        }
    }

    fn sql(&self, grants: &[Grant]) -> String {
        grants_sql(grants, &self.target.user)
    }
}

/// Takes back what the target gives by default to an object that was just created, in the same transaction.
/// `ours` is the role that creates.
pub(super) fn neutral(entry: &mut Entry, defaults: &[DefaultGrant], ours: &str) {
    let Some((kind, object)) = entry.grant_target() else { return };
    // The sequence of an identity column is made by the table's owner, whoever alters the table.
    let identity = kind == 'S' && entry.defn.as_ref().is_some_and(|text| text.starts_with(b"ALTER TABLE "));
    let owner = entry.owner.as_ref().filter(|_| identity).map(ToString::to_string);
    let creator = owner.as_deref().unwrap_or(ours);
    let schema = entry.namespace.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut more: Vec<&str> = Vec::new();
    let mut public = true;
    for default in defaults.iter().filter(|default| default.kind == kind && default.creator == creator) {
        match &default.schema {
            Some(name) if *name != schema => continue,
            Some(_) => {}
            // What holds everywhere stands in the place of the built-in default.
            None => public = default.grantees.iter().any(|grantee| grantee == "PUBLIC"),
        }
        more.extend(default.grantees.iter().map(String::as_str));
    }
    let open = matches!(kind, 'f' | 'T');
    more.retain(|grantee| !open || *grantee != "PUBLIC");
    more.sort_unstable();
    more.dedup();
    let Some(definition) = entry.defn.as_ref().filter(|text| !text.is_empty()).map(ToString::to_string)
    else {
        return;
    };
    let mut sql = definition.clone();
    if !more.is_empty() {
        sql.push_str(&format!("\nREVOKE ALL ON {object} FROM {};\n", more.join(", ")));
    }
    if open && !public {
        sql.push_str(&format!("\nGRANT ALL ON {object} TO PUBLIC;\n"));
    }
    if sql != definition {
        entry.defn = Some(sql.into());
    }
}

/// Grants and default privileges of the user's that only the target has are taken back, when the snapshot is of a project
/// too: there, the user had taken them back.
pub(super) fn take_back(
    archive: &mut Archive,
    states: &mut HashMap<ObjectIdentity, DifferenceKind>,
    plan: &Decisions<'_>,
    result: &mut Reconciled,
) {
    let of_project = basekeep_supabase::objects::is_of_project(archive);
    if !plan.held.is_project || !of_project || !plan.may_change() {
        return;
    }
    let ours: HashMap<ObjectIdentity, usize> =
        archive.entries.iter().enumerate().map(|(index, entry)| (entry.identity(), index)).collect();
    let held: HashMap<i32, &Entry> =
        plan.held.archive.entries.iter().map(|entry| (entry.dump_id, entry)).collect();
    let mut added = Vec::new();
    for entry in &plan.held.archive.entries {
        if !matches!(entry.desc.as_slice(), b"ACL" | b"DEFAULT ACL")
            || states.remove(&entry.identity()) != Some(DifferenceKind::OnlyInB)
        {
            continue;
        }
        let object =
            entry.dependencies.iter().filter_map(|id| held.get(id)).find_map(|e| ours.get(&e.identity()));
        let users = match object {
            Some(index) => plan.is_users(*index) && plan.may_grant(*index, entry, true),
            None => entry.desc == "DEFAULT ACL" && plan.may_grant(usize::MAX, entry, false),
        };
        let text = entry.defn.as_ref().map(ToString::to_string).unwrap_or_default();
        let Some(grants) = Grant::parse(&text).filter(|_| users) else { continue };
        let back: Vec<Grant> =
            grants.iter().rev().map(Grant::reversed).filter(|grant| plan.may_act(grant)).collect();
        let sql = plan.sql(&back);
        if !sql.is_empty() {
            added.push(Entry { defn: Some(sql.into()), dependencies: Vec::new(), ..entry.clone() });
        }
    }
    for mut entry in added {
        entry.dump_id = archive.next_dump_id();
        result.keep.insert(entry.dump_id);
        archive.entries.push(entry);
    }
}
