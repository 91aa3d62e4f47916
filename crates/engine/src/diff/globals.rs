//! Roles, memberships, settings, and what else belongs to the cluster or to the database as a whole.

use super::items::{Field, Items, Named};
use super::secret::Secrets;
use crate::stored::globals::{Globals, Privilege};

pub(super) fn compare(a: &Globals, b: &Globals, secrets: &Secrets) -> Vec<Items> {
    let of = |kind, kinds, list: fn(&Globals, &Secrets) -> Named| {
        Items::of(kind, kinds, &list(a, secrets), &list(b, secrets), usize::MAX)
    };
    [
        of("role", "roles", roles),
        of("membership", "memberships", memberships),
        of("setting", "settings", settings),
        of("parameter privilege", "parameter privileges", parameters),
        of("tablespace", "tablespaces", tablespaces),
        of("database property", "database properties", database),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn roles(globals: &Globals, secrets: &Secrets) -> Named {
    let item = |role: &crate::stored::globals::Role| {
        let mut fields = vec![
            Field::new("superuser", role.superuser),
            Field::new("inherit", role.inherit),
            Field::new("create_role", role.create_role),
            Field::new("create_db", role.create_db),
            Field::new("login", role.login),
            Field::new("replication", role.replication),
            Field::new("bypass_rls", role.bypass_rls),
            Field::new("connection_limit", role.connection_limit),
        ];
        fields.extend(Field::some("valid_until", role.valid_until.as_ref()));
        fields.extend(role.verifier.as_ref().map(|verifier| match secrets.show {
            true => Field::new("password", verifier),
            false => Field::secret("password", verifier),
        }));
        fields.extend(Field::some("comment", role.comment.as_ref()));
        fields.extend(labels(&role.security_labels));
        (role.name.clone(), fields)
    };
    globals.roles.iter().map(item).collect()
}

fn memberships(globals: &Globals, _: &Secrets) -> Named {
    let item = |m: &crate::stored::globals::Membership| {
        let grantor = m.grantor.as_ref().map(|grantor| format!(" by {grantor}")).unwrap_or_default();
        let mut fields = vec![Field::new("admin", m.admin)];
        fields.extend(Field::some("inherit", m.inherit));
        fields.extend(Field::some("set", m.set));
        (format!("{} in {}{grantor}", m.member, m.role), fields)
    };
    globals.memberships.iter().map(item).collect()
}

fn settings(globals: &Globals, secrets: &Secrets) -> Named {
    let item = |s: &crate::stored::globals::Setting| {
        let of = match (&s.role, &s.database) {
            (Some(role), Some(database)) => format!("role {role} in database {database}"),
            (Some(role), None) => format!("role {role}"),
            (None, Some(database)) => format!("database {database}"),
            (None, None) => "everything".to_owned(),
        };
        let value = match secrets.setting(&s.name) {
            true => Field::secret("value", &s.value),
            false => Field::new("value", &s.value),
        };
        (format!("{} of {of}", s.name), vec![value])
    };
    globals.settings.iter().map(item).collect()
}

fn parameters(globals: &Globals, _: &Secrets) -> Named {
    let all = globals.parameter_privileges.iter();
    all.map(|p| (p.parameter.clone(), vec![Field::new("privileges", privileges(&p.privileges))])).collect()
}

fn tablespaces(globals: &Globals, _: &Secrets) -> Named {
    let item = |t: &crate::stored::globals::Tablespace| {
        let mut fields = vec![
            Field::new("owner", &t.owner),
            Field::new("location", &t.location),
            Field::new("options", t.options.join(", ")),
        ];
        fields.extend(Field::some("privileges", t.acl.as_deref().map(privileges)));
        fields.extend(Field::some("comment", t.comment.as_ref()));
        (t.name.clone(), fields)
    };
    globals.tablespaces.iter().map(item).collect()
}

fn database(globals: &Globals, _: &Secrets) -> Named {
    let d = &globals.database;
    let mut fields = vec![
        Field::new("name", &d.name),
        Field::new("owner", &d.owner),
        Field::new("connection_limit", d.connection_limit),
        Field::new("allow_connections", d.allow_connections),
        Field::new("is_template", d.is_template),
    ];
    fields.extend(Field::some("privileges", d.acl.as_deref().map(privileges)));
    fields.extend(Field::some("comment", d.comment.as_ref()));
    fields.extend(labels(&d.security_labels));
    [("database".to_owned(), fields)].into()
}

fn labels(labels: &[(String, String)]) -> impl Iterator<Item = Field> {
    labels.iter().map(|(provider, label)| Field::new(format!("label of {provider}"), label))
}

/// `role: privilege (by grantor)`, sorted, so that their order does not matter.
fn privileges(all: &[Privilege]) -> String {
    let mut words: Vec<String> = all
        .iter()
        .map(|p| {
            let option = if p.grantable { " with grant option" } else { "" };
            format!(
                "{}: {}{option} (by {})",
                p.grantee.as_deref().unwrap_or("PUBLIC"),
                p.privilege,
                p.grantor
            )
        })
        .collect();
    words.sort();
    words.join(", ")
}
