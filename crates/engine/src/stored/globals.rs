//! `globals.json`: roles, memberships and settings for programs; `globals.sql` says the same for people and psql.
//!
//! Holds password verifiers where the backup's role could read them, so it is shown to nobody.

mod live_globals;

use basekeep_postgres::Secret;
use basekeep_postgres::globals as live;
use serde::{Deserialize, Serialize};

/// The version this program writes.
pub const VERSION: u32 = 1;

/// What belongs to the cluster rather than to one database, and the database's own properties.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Globals {
    /// Version of this format.
    pub version: u32,
    /// `server_version_num` of the source.
    pub server_version: u32,
    /// Roles.
    pub roles: Vec<Role>,
    /// Memberships, in an order in which they can be granted.
    pub memberships: Vec<Membership>,
    /// Settings of roles and databases.
    pub settings: Vec<Setting>,
    /// Privileges on configuration parameters.
    pub parameter_privileges: Vec<ParameterPrivileges>,
    /// Tablespaces.
    pub tablespaces: Vec<Tablespace>,
    /// The database.
    pub database: Database,
    /// What could not be read.
    pub missing: Vec<String>,
}

/// One role.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is the role attribute of its name")]
pub struct Role {
    pub name: String,
    pub bootstrap: bool,
    pub superuser: bool,
    pub inherit: bool,
    pub create_role: bool,
    pub create_db: bool,
    pub login: bool,
    pub replication: bool,
    pub bypass_rls: bool,
    pub connection_limit: i32,
    pub valid_until: Option<String>,
    pub verifier: Option<String>,
    pub comment: Option<String>,
    pub security_labels: Vec<(String, String)>,
}

/// One membership; `inherit` and `set` exist since PostgreSQL 16.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is the option of its name")]
pub struct Membership {
    pub role: String,
    pub member: String,
    pub grantor: Option<String>,
    pub admin: bool,
    pub inherit: Option<bool>,
    pub set: Option<bool>,
}

/// One setting of a role, of a database, or of a role in a database.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is what its name says")]
pub struct Setting {
    pub role: Option<String>,
    pub database: Option<String>,
    pub name: String,
    pub value: String,
}

/// One privilege; a missing grantee is PUBLIC.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is what its name says")]
pub struct Privilege {
    pub grantor: String,
    pub grantee: Option<String>,
    pub privilege: String,
    pub grantable: bool,
}

/// Privileges on a configuration parameter.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is what its name says")]
pub struct ParameterPrivileges {
    pub parameter: String,
    pub privileges: Vec<Privilege>,
}

/// A tablespace.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is what its name says")]
pub struct Tablespace {
    pub name: String,
    pub owner: String,
    pub location: String,
    pub options: Vec<String>,
    pub acl: Option<Vec<Privilege>>,
    pub comment: Option<String>,
}

/// Properties of the database that are not in its archive's ordinary entries.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is what its name says")]
pub struct Database {
    pub name: String,
    pub owner: String,
    pub acl: Option<Vec<Privilege>>,
    pub comment: Option<String>,
    pub security_labels: Vec<(String, String)>,
    pub connection_limit: i32,
    pub allow_connections: bool,
    pub is_template: bool,
}

impl From<&live::Globals> for Globals {
    fn from(g: &live::Globals) -> Self {
        Self {
            version: VERSION,
            server_version: g.server_version,
            roles: g.roles.iter().map(Role::from).collect(),
            memberships: g
                .memberships
                .iter()
                .map(|m| Membership {
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
                .map(|s| Setting {
                    role: s.role.clone(),
                    database: s.database.clone(),
                    name: s.name.clone(),
                    value: s.value.clone(),
                })
                .collect(),
            parameter_privileges: g
                .parameter_privileges
                .iter()
                .map(|p| ParameterPrivileges {
                    parameter: p.parameter.clone(),
                    privileges: p.privileges.iter().map(Privilege::from).collect(),
                })
                .collect(),
            tablespaces: g.tablespaces.iter().map(Tablespace::from).collect(),
            database: Database::from(&g.database),
            missing: g.missing.clone(),
        }
    }
}

impl From<&live::Role> for Role {
    fn from(r: &live::Role) -> Self {
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
            verifier: r.verifier.as_ref().map(|v| v.expose().to_owned()),
            comment: r.comment.clone(),
            security_labels: labels(&r.security_labels),
        }
    }
}

impl From<&live::Privilege> for Privilege {
    fn from(p: &live::Privilege) -> Self {
        Self {
            grantor: p.grantor.clone(),
            grantee: p.grantee.clone(),
            privilege: p.privilege.clone(),
            grantable: p.grantable,
        }
    }
}

impl From<&live::Tablespace> for Tablespace {
    fn from(t: &live::Tablespace) -> Self {
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

impl From<&live::DatabaseProperties> for Database {
    fn from(d: &live::DatabaseProperties) -> Self {
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

impl Role {
    /// The password verifier as a value that is never printed.
    pub fn verifier(&self) -> Option<Secret> {
        self.verifier.as_deref().map(|verifier| Secret::new(verifier.to_owned()))
    }
}

fn privileges(acl: Option<&[live::Privilege]>) -> Option<Vec<Privilege>> {
    acl.map(|acl| acl.iter().map(Privilege::from).collect())
}

fn labels(labels: &[live::SecurityLabel]) -> Vec<(String, String)> {
    labels.iter().map(|label| (label.provider.clone(), label.label.clone())).collect()
}
