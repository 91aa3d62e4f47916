//! From `globals.json` back to what was read from the server, so that `globals.sql` can be written anew.

use basekeep_postgres::globals as live;

use super::{Database, Globals, Privilege, Role, Tablespace};

impl From<&Globals> for live::Globals {
    fn from(g: &Globals) -> Self {
        Self {
            server_version: g.server_version,
            roles: g.roles.iter().map(live::Role::from).collect(),
            memberships: g
                .memberships
                .iter()
                .map(|m| live::Membership {
                    role: m.role.clone(),
                    member: m.member.clone(),
                    grantor: m.grantor.clone(),
                    admin: m.admin,
                    inherit: m.inherit,
                    set: m.set,
                })
                .collect(),
            settings: g
                .settings
                .iter()
                .map(|s| live::Setting {
                    role: s.role.clone(),
                    database: s.database.clone(),
                    name: s.name.clone(),
                    value: s.value.clone(),
                })
                .collect(),
            parameter_privileges: g
                .parameter_privileges
                .iter()
                .map(|p| live::ParameterPrivileges {
                    parameter: p.parameter.clone(),
                    privileges: p.privileges.iter().map(live::Privilege::from).collect(),
                })
                .collect(),
            tablespaces: g.tablespaces.iter().map(live::Tablespace::from).collect(),
            database: live::DatabaseProperties::from(&g.database),
            missing: g.missing.clone(),
        }
    }
}

impl From<&Role> for live::Role {
    fn from(r: &Role) -> Self {
        Self {
            name: r.name.clone(),
            bootstrap: r.bootstrap,
            superuser: r.superuser,
            inherit: r.inherit,
            create_role: r.create_role,
            create_db: r.create_db,
            login: r.login,
            replication: r.replication,
            bypass_rls: r.bypass_rls,
            connection_limit: r.connection_limit,
            valid_until: r.valid_until.clone(),
            verifier: r.verifier(),
            comment: r.comment.clone(),
            security_labels: labels(&r.security_labels),
        }
    }
}

impl From<&Privilege> for live::Privilege {
    fn from(p: &Privilege) -> Self {
        Self {
            grantor: p.grantor.clone(),
            grantee: p.grantee.clone(),
            privilege: p.privilege.clone(),
            grantable: p.grantable,
        }
    }
}

impl From<&Tablespace> for live::Tablespace {
    fn from(t: &Tablespace) -> Self {
        Self {
            name: t.name.clone(),
            owner: t.owner.clone(),
            location: t.location.clone(),
            options: t.options.clone(),
            acl: privileges(t.acl.as_deref()),
            comment: t.comment.clone(),
        }
    }
}

impl From<&Database> for live::DatabaseProperties {
    fn from(d: &Database) -> Self {
        Self {
            name: d.name.clone(),
            owner: d.owner.clone(),
            acl: privileges(d.acl.as_deref()),
            comment: d.comment.clone(),
            security_labels: labels(&d.security_labels),
            connection_limit: d.connection_limit,
            allow_connections: d.allow_connections,
            is_template: d.is_template,
        }
    }
}

fn privileges(acl: Option<&[Privilege]>) -> Option<Vec<live::Privilege>> {
    acl.map(|acl| acl.iter().map(live::Privilege::from).collect())
}

fn labels(labels: &[(String, String)]) -> Vec<live::SecurityLabel> {
    let pairs = labels.iter().cloned();
    pairs.map(|(provider, label)| live::SecurityLabel { provider, label }).collect()
}
