//! Which large objects there are.

use crate::globals::SecurityLabel;
use crate::rows::Row;
use crate::{Client, Error};

/// Objects listed per round trip.
const PAGE: u32 = 50_000;

/// One large object without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargeObjectInfo {
    /// Its oid.
    pub oid: u32,
    /// Name of its owner.
    pub owner: String,
    /// Privileges as `aclitem` text; none means the default ones.
    pub acl: Option<Vec<String>>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its security labels.
    pub security_labels: Vec<SecurityLabel>,
    /// Whether this role may read the content.
    pub readable: bool,
}

/// All large objects of the database by oid, the unreadable ones included.
pub async fn list(client: &mut Client) -> Result<Vec<LargeObjectInfo>, Error> {
    let mut objects: Vec<LargeObjectInfo> = Vec::new();
    loop {
        let after = objects.last().map_or(0, |object| object.oid);
        let rows = client.query(&page(after)).await?;
        let full = rows.len() >= PAGE as usize;
        for row in rows.iter() {
            objects.push(read(row)?);
        }
        if !full {
            return Ok(objects);
        }
    }
}

/// How many large objects there are, and how many of them this role may not read.
pub async fn count(client: &mut Client) -> Result<(u64, u64), Error> {
    let rows = client
        .query(&format!(
            "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE NOT ({READABLE}))
FROM pg_catalog.pg_largeobject_metadata m
JOIN pg_catalog.pg_roles r ON r.rolname = current_user"
        ))
        .await?;
    let row = rows.one()?;
    Ok((row.parse(0)?, row.parse(1)?))
}

/// The privilege is computed from the ACL: `has_largeobject_privilege` came with version 18 only.
const READABLE: &str = "r.rolsuper OR pg_catalog.current_setting('lo_compat_privileges')::bool OR EXISTS (
    SELECT FROM pg_catalog.aclexplode(coalesce(m.lomacl, pg_catalog.acldefault('L', m.lomowner))) a
    WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))";

fn page(after: u32) -> String {
    format!(
        "SELECT m.oid, pg_catalog.pg_get_userbyid(m.lomowner), m.lomacl::text[],
  pg_catalog.obj_description(m.oid, 'pg_largeobject'),
  (SELECT pg_catalog.array_agg(l.provider ORDER BY l.provider) FROM pg_catalog.pg_seclabel l
    WHERE l.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass AND l.objoid = m.oid),
  (SELECT pg_catalog.array_agg(l.label ORDER BY l.provider) FROM pg_catalog.pg_seclabel l
    WHERE l.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass AND l.objoid = m.oid),
  {READABLE}
FROM pg_catalog.pg_largeobject_metadata m
JOIN pg_catalog.pg_roles r ON r.rolname = current_user
WHERE m.oid > {after}
ORDER BY m.oid LIMIT {PAGE}"
    )
}

fn read(row: Row<'_>) -> Result<LargeObjectInfo, Error> {
    let providers = row.parse::<Option<Vec<String>>>(4)?.unwrap_or_default();
    let labels = row.parse::<Option<Vec<String>>>(5)?.unwrap_or_default();
    Ok(LargeObjectInfo {
        oid: row.parse(0)?,
        owner: row.parse(1)?,
        acl: row.parse(2)?,
        comment: row.parse(3)?,
        security_labels: providers
            .into_iter()
            .zip(labels)
            .map(|(provider, label)| SecurityLabel { provider, label })
            .collect(),
        readable: row.parse(6)?,
    })
}
