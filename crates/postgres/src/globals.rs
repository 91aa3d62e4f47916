//! What belongs to the whole cluster or to the database as such: roles, memberships, settings, tablespaces, and the
//! database's owner, privileges, comment and settings. [`Globals::to_sql`] writes them as a script for stock psql.

mod read;
mod script;

pub use read::read_globals;

use crate::Secret;

/// Everything that [`read_globals`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globals {
    /// Version of the server it was read from, such as 150018.
    pub server_version: u32,
    /// Roles by name, without the predefined `pg_*` ones.
    pub roles: Vec<Role>,
    /// Memberships in an order in which they can be granted.
    pub memberships: Vec<Membership>,
    /// Settings of roles, of roles in this database, and of this database.
    pub settings: Vec<Setting>,
    /// Privileges on configuration parameters (15 and newer).
    pub parameter_privileges: Vec<ParameterPrivileges>,
    /// Tablespaces besides the two built in.
    pub tablespaces: Vec<Tablespace>,
    /// The database connected to.
    pub database: DatabaseProperties,
    /// What this role could not read, one sentence each.
    pub missing: Vec<String>,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Whether it is the role that initdb made (oid 10).
    pub bootstrap: bool,
    /// `SUPERUSER`.
    pub superuser: bool,
    /// `INHERIT`.
    pub inherit: bool,
    /// `CREATEROLE`.
    pub create_role: bool,
    /// `CREATEDB`.
    pub create_db: bool,
    /// `LOGIN`.
    pub login: bool,
    /// `REPLICATION`.
    pub replication: bool,
    /// `BYPASSRLS`.
    pub bypass_rls: bool,
    /// `CONNECTION LIMIT`, -1 for none.
    pub connection_limit: i32,
    /// `VALID UNTIL`, UTC.
    pub valid_until: Option<String>,
    /// SCRAM or MD5 verifier, where it is readable.
    pub verifier: Option<Secret>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its security labels.
    pub security_labels: Vec<SecurityLabel>,
}

/// A label of a security provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityLabel {
    /// The provider.
    pub provider: String,
    /// The label.
    pub label: String,
}

/// `GRANT role TO member`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The role granted.
    pub role: String,
    /// The role that is a member.
    pub member: String,
    /// Who granted it; absent where it says nothing (before 16) or is the bootstrap superuser.
    pub grantor: Option<String>,
    /// `ADMIN`.
    pub admin: bool,
    /// `INHERIT` (16 and newer).
    pub inherit: Option<bool>,
    /// `SET` (16 and newer).
    pub set: Option<bool>,
}

/// One setting of a role, of the database, or of both together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The role; none means all.
    pub role: Option<String>,
    /// The database; none means all.
    pub database: Option<String>,
    /// The parameter.
    pub name: String,
    /// Its value as stored.
    pub value: String,
}

/// `GRANT … ON PARAMETER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterPrivileges {
    /// The parameter.
    pub parameter: String,
    /// What is granted on it.
    pub privileges: Vec<Privilege>,
}

/// One granted privilege.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// Who granted it.
    pub grantor: String,
    /// Who has it; none means PUBLIC.
    pub grantee: Option<String>,
    /// Such as `CONNECT`.
    pub privilege: String,
    /// `WITH GRANT OPTION`.
    pub grantable: bool,
}

/// A tablespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tablespace {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Its directory; empty for one in place.
    pub location: String,
    /// Options such as `random_page_cost=1`.
    pub options: Vec<String>,
    /// Privileges; none means the default ones.
    pub acl: Option<Vec<Privilege>>,
    /// Its comment.
    pub comment: Option<String>,
}

/// What a database has besides its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseProperties {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Privileges; none means the default ones.
    pub acl: Option<Vec<Privilege>>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its security labels.
    pub security_labels: Vec<SecurityLabel>,
    /// `CONNECTION LIMIT`, -1 for none.
    pub connection_limit: i32,
    /// `ALLOW_CONNECTIONS`.
    pub allow_connections: bool,
    /// `IS_TEMPLATE`.
    pub is_template: bool,
}
