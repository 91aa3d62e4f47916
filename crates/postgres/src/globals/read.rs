//! Reads the globals from the shared catalogs, in one round trip.

use super::{
    DatabaseProperties, Globals, Membership, ParameterPrivileges, Privilege, Role, SecurityLabel, Setting,
    Tablespace,
};
use crate::rows::Row;
use crate::{Client, Error, Rows, Secret};
use serde::Deserialize;
use std::collections::HashMap;

/// Reads the globals; as an ordinary role too, then with [`Globals::missing`].
pub async fn read_globals(client: &mut Client) -> Result<Globals, Error> {
    let version = client.server_version();
    let access = client.query(ACCESS).await?;
    let access = access.one()?;
    let reads_verifiers: bool = access.parse(0)?;
    let parameters = version >= 150_000;
    let mut sql = [
        roles(reads_verifiers),
        role_labels().to_owned(),
        memberships(version),
        SETTINGS.to_owned(),
        TABLESPACES.to_owned(),
        DATABASE.to_owned(),
        DATABASE_LABELS.to_owned(),
    ]
    .concat();
    if parameters {
        sql.push_str(PARAMETERS);
    }
    let results = client.query_all(&sql).await?;
    let mut results = results.into_iter();
    let mut next =
        || results.next().ok_or_else(|| Error::Protocol("a result of the globals is missing".into()));

    let mut roles: Vec<Role> = next()?.iter().map(read_role).collect::<Result<_, _>>()?;
    attach_labels(&mut roles, &next()?)?;
    let memberships = read_memberships(&next()?)?;
    let settings = next()?.iter().map(read_setting).collect::<Result<_, _>>()?;
    let tablespaces = next()?.iter().map(read_tablespace).collect::<Result<_, _>>()?;
    let mut database = read_database(next()?.one()?)?;
    database.security_labels = next()?.iter().map(|row| read_label(row, 0)).collect::<Result<_, _>>()?;
    let parameter_privileges =
        if parameters { next()?.iter().map(read_parameter).collect::<Result<_, _>>()? } else { Vec::new() };

    let mut missing = Vec::new();
    let logins = roles.iter().filter(|role| role.login).count();
    if !reads_verifiers && logins > 0 {
        missing.push(format!(
            "the passwords of {logins} login roles: only a role that may read pg_authid sees their verifiers"
        ));
    }
    Ok(Globals {
        server_version: version,
        roles,
        memberships: in_grantable_order(memberships),
        settings,
        parameter_privileges,
        tablespaces,
        database,
        missing,
    })
}

const ACCESS: &str = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')";

fn roles(verifiers: bool) -> String {
    // pg_roles is readable by all and shows the password as asterisks.
    let (catalog, verifier) = if verifiers { ("pg_authid", "r.rolpassword") } else { ("pg_roles", "NULL") };
    format!(
        "SELECT r.rolname, r.oid = 10, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
  r.rolreplication, r.rolbypassrls, r.rolconnlimit,
  CASE WHEN pg_catalog.isfinite(r.rolvaliduntil)
    THEN pg_catalog.to_char(r.rolvaliduntil AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00 BC')
    ELSE r.rolvaliduntil::text END,
  {verifier}, pg_catalog.shobj_description(r.oid, 'pg_authid')
FROM pg_catalog.{catalog} r
WHERE r.rolname !~ '^pg_'
ORDER BY r.rolname COLLATE \"C\";"
    )
}

fn role_labels() -> &'static str {
    "SELECT r.rolname, l.provider, l.label FROM pg_catalog.pg_shseclabel l
JOIN pg_catalog.pg_roles r ON r.oid = l.objoid
WHERE l.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND r.rolname !~ '^pg_'
ORDER BY 1, 2;"
}

fn memberships(version: u32) -> String {
    let options = if version >= 160_000 { "m.inherit_option, m.set_option" } else { "NULL, NULL" };
    // Before 16 the grantor is not kept in order: it may long be gone.
    let grantor = if version >= 160_000 { "CASE WHEN m.grantor <> 10 THEN g.rolname END" } else { "NULL" };
    format!(
        "SELECT r.rolname, u.rolname, {grantor}, m.admin_option, {options}
FROM pg_catalog.pg_auth_members m
JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
JOIN pg_catalog.pg_roles u ON u.oid = m.member
LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.grantor
WHERE u.rolname !~ '^pg_'
ORDER BY r.rolname COLLATE \"C\", u.rolname COLLATE \"C\", 3;"
    )
}

/// Settings of this database and of all databases; those of other databases are not ours.
const SETTINGS: &str = "SELECT r.rolname, d.datname, pg_catalog.split_part(c.setting, '=', 1),
  pg_catalog.substr(c.setting, pg_catalog.strpos(c.setting, '=') + 1)
FROM pg_catalog.pg_db_role_setting s
CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS c(setting, position)
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
WHERE (s.setdatabase = 0 OR d.datname = pg_catalog.current_database())
  AND (s.setrole = 0 OR r.rolname IS NOT NULL)
ORDER BY d.datname COLLATE \"C\" NULLS FIRST, r.rolname COLLATE \"C\" NULLS FIRST, c.position;";

/// An ACL as JSON, in stored order; NULL for the default one.
macro_rules! acl_as_json {
    ($acl:literal) => {
        concat!(
            "CASE WHEN ",
            $acl,
            " IS NOT NULL THEN coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_object('grantor', \
             pg_catalog.pg_get_userbyid(x.grantor), 'grantee', CASE WHEN x.grantee <> 0 THEN \
             pg_catalog.pg_get_userbyid(x.grantee) END, 'privilege', x.privilege_type, 'grantable', x.is_grantable)) \
             FROM pg_catalog.aclexplode(",
            $acl,
            ") x), '[]') END"
        )
    };
}

const TABLESPACES: &str = concat!(
    "SELECT t.spcname, pg_catalog.pg_get_userbyid(t.spcowner), pg_catalog.pg_tablespace_location(t.oid), t.spcoptions, ",
    acl_as_json!("t.spcacl"),
    ", pg_catalog.shobj_description(t.oid, 'pg_tablespace')
FROM pg_catalog.pg_tablespace t WHERE t.spcname !~ '^pg_'
ORDER BY t.spcname COLLATE \"C\";"
);

const DATABASE: &str = concat!(
    "SELECT d.datname, pg_catalog.pg_get_userbyid(d.datdba), ",
    acl_as_json!("d.datacl"),
    ", pg_catalog.shobj_description(d.oid, 'pg_database'), d.datconnlimit, d.datallowconn, d.datistemplate
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database();"
);

const DATABASE_LABELS: &str = "SELECT l.provider, l.label FROM pg_catalog.pg_shseclabel l
JOIN pg_catalog.pg_database d ON d.oid = l.objoid
WHERE l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND d.datname = pg_catalog.current_database()
ORDER BY 1;";

const PARAMETERS: &str = concat!(
    "SELECT p.parname, ",
    acl_as_json!("p.paracl"),
    " FROM pg_catalog.pg_parameter_acl p ORDER BY p.parname COLLATE \"C\";"
);

fn read_role(row: Row<'_>) -> Result<Role, Error> {
    Ok(Role {
        name: row.parse(0)?,
        bootstrap: row.parse(1)?,
        superuser: row.parse(2)?,
        inherit: row.parse(3)?,
        create_role: row.parse(4)?,
        create_db: row.parse(5)?,
        login: row.parse(6)?,
        replication: row.parse(7)?,
        bypass_rls: row.parse(8)?,
        connection_limit: row.parse(9)?,
        valid_until: row.parse(10)?,
        verifier: row.get(11).map(Secret::from),
        comment: row.parse(12)?,
        security_labels: Vec::new(),
    })
}

fn read_label(row: Row<'_>, first: usize) -> Result<SecurityLabel, Error> {
    Ok(SecurityLabel { provider: row.parse(first)?, label: row.parse(first + 1)? })
}

fn attach_labels(roles: &mut [Role], rows: &Rows) -> Result<(), Error> {
    let mut labels: HashMap<&str, Vec<SecurityLabel>> = HashMap::new();
    for row in rows.iter() {
        labels.entry(row.get(0).unwrap_or_default()).or_default().push(read_label(row, 1)?);
    }
    for role in roles {
        role.security_labels = labels.remove(role.name.as_str()).unwrap_or_default();
    }
    Ok(())
}

fn read_memberships(rows: &Rows) -> Result<Vec<Membership>, Error> {
    rows.iter()
        .map(|row| {
            Ok(Membership {
                role: row.parse(0)?,
                member: row.parse(1)?,
                grantor: row.parse(2)?,
                admin: row.parse(3)?,
                inherit: row.parse(4)?,
                set: row.parse(5)?,
            })
        })
        .collect()
}

fn read_setting(row: Row<'_>) -> Result<Setting, Error> {
    Ok(Setting { role: row.parse(0)?, database: row.parse(1)?, name: row.parse(2)?, value: row.parse(3)? })
}

#[derive(Deserialize)]
struct AclItem {
    grantor: String,
    grantee: Option<String>,
    privilege: String,
    grantable: bool,
}

fn read_acl(json: Option<&str>) -> Result<Option<Vec<Privilege>>, Error> {
    let Some(json) = json else { return Ok(None) };
    let items: Vec<AclItem> =
        serde_json::from_str(json).map_err(|error| Error::Protocol(format!("privileges: {error}")))?;
    Ok(Some(
        items
            .into_iter()
            .map(|item| Privilege {
                grantor: item.grantor,
                grantee: item.grantee,
                privilege: item.privilege,
                grantable: item.grantable,
            })
            .collect(),
    ))
}

fn read_tablespace(row: Row<'_>) -> Result<Tablespace, Error> {
    Ok(Tablespace {
        name: row.parse(0)?,
        owner: row.parse(1)?,
        location: row.parse(2)?,
        options: row.parse::<Option<Vec<String>>>(3)?.unwrap_or_default(),
        acl: read_acl(row.get(4))?,
        comment: row.parse(5)?,
    })
}

fn read_database(row: Row<'_>) -> Result<DatabaseProperties, Error> {
    Ok(DatabaseProperties {
        name: row.parse(0)?,
        owner: row.parse(1)?,
        acl: read_acl(row.get(2))?,
        comment: row.parse(3)?,
        security_labels: Vec::new(),
        connection_limit: row.parse(4)?,
        allow_connections: row.parse(5)?,
        is_template: row.parse(6)?,
    })
}

fn read_parameter(row: Row<'_>) -> Result<ParameterPrivileges, Error> {
    Ok(ParameterPrivileges {
        parameter: row.parse(0)?,
        privileges: read_acl(row.get(1))?.unwrap_or_default(),
    })
}

/// A grant by somebody needs that somebody to hold the role with ADMIN first.
fn in_grantable_order(mut waiting: Vec<Membership>) -> Vec<Membership> {
    let mut ordered: Vec<Membership> = Vec::with_capacity(waiting.len());
    loop {
        let before = ordered.len();
        let mut later = Vec::new();
        for membership in waiting {
            let grantable = membership.grantor.as_ref().is_none_or(|grantor| {
                ordered
                    .iter()
                    .any(|done| done.admin && done.role == membership.role && done.member == *grantor)
            });
            if grantable { ordered.push(membership) } else { later.push(membership) }
        }
        if later.is_empty() || ordered.len() == before {
            // What is left was granted by a superuser as somebody without ADMIN; the server decides.
            ordered.extend(later);
            return ordered;
        }
        waiting = later;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(role: &str, member: &str, grantor: Option<&str>, admin: bool) -> Membership {
        Membership {
            role: role.into(),
            member: member.into(),
            grantor: grantor.map(Into::into),
            admin,
            inherit: Some(true),
            set: Some(true),
        }
    }

    #[test]
    fn grantors_come_before_what_they_granted() {
        let ordered = in_grantable_order(vec![
            membership("team", "a", Some("c"), false),
            membership("team", "c", Some("b"), true),
            membership("team", "b", None, true),
            membership("other", "x", Some("nobody"), false),
        ]);
        let members: Vec<&str> = ordered.iter().map(|m| m.member.as_str()).collect();
        assert_eq!(members, ["b", "c", "a", "x"]);
    }
}
