//! The differences between two archives' definitions.

use std::collections::BTreeMap;

use bstr::BString;
use serde::Serialize;

use crate::identity::ObjectIdentity;
use crate::model::{Archive, Entry};
use crate::normalize::same;
use crate::owner::alter_owner;
use crate::sql::RestoreOptions;

/// What to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompareOptions {
    /// Which definitions matter: what is not restored is not compared.
    pub restore: RestoreOptions,
    /// Compare large objects, too (owner, privileges, comment, labels). Schema-only archives do not have them.
    pub large_objects: bool,
}

/// One object that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The object.
    pub identity: ObjectIdentity,
    /// How it differs.
    pub kind: DifferenceKind,
}

/// How an object differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum DifferenceKind {
    /// Only the first archive has it.
    OnlyInA,
    /// Only the second archive has it.
    OnlyInB,
    /// Both have it, with different definitions.
    Changed {
        /// Its definition in the first archive.
        a: String,
        /// Its definition in the second archive.
        b: String,
    },
}

/// Compares definitions by identity, in the order of identities. Dump ids, oids, order, data, and the releases of
/// server and pg_dump do not matter.
pub fn compare(a: &Archive, b: &Archive, opts: &CompareOptions) -> Vec<Difference> {
    let (left, mut right) = (definitions(a, opts), definitions(b, opts));
    let releases =
        |archive: &Archive| (major(&archive.header.server_version), major(&archive.header.dump_version));
    let releases_differ = releases(a) != releases(b);
    let mut differences = Vec::new();
    for (identity, a) in left {
        let kind = match right.remove(&identity) {
            None => DifferenceKind::OnlyInA,
            Some(b) if same(&identity.desc, &a, &b, releases_differ) => continue,
            Some(b) => DifferenceKind::Changed { a: a.to_string(), b: b.to_string() },
        };
        differences.push(Difference { identity, kind });
    }
    differences
        .extend(right.into_keys().map(|identity| Difference { identity, kind: DifferenceKind::OnlyInB }));
    differences.sort_by(|x, y| x.identity.cmp(&y.identity));
    differences
}

/// The major release in a version text such as `15.18 (Debian 15.18-0+deb12u1)`.
fn major(version: &Option<BString>) -> Vec<u8> {
    let version = version.as_ref().map_or(&[][..], |v| v.as_slice());
    version.iter().copied().take_while(u8::is_ascii_digit).collect()
}

/// Each object's definition. Objects of one identity (there should be none) are put together in a fixed order.
fn definitions(archive: &Archive, opts: &CompareOptions) -> BTreeMap<ObjectIdentity, BString> {
    let mut definitions: BTreeMap<ObjectIdentity, Vec<BString>> = BTreeMap::new();
    for entry in archive.entries.iter().filter(|e| is_compared(e, opts)) {
        let Some(sql) = entry.create_sql(archive, &opts.restore) else { continue };
        let single = large_objects(entry, archive, &opts.restore);
        let all = if single.is_empty() { vec![(entry.identity(), sql.joined())] } else { single };
        for (identity, sql) in all {
            definitions.entry(identity).or_default().push(sql);
        }
    }
    definitions
        .into_iter()
        .map(|(identity, mut texts)| {
            texts.sort();
            (identity, bstr::join("\n", texts).into())
        })
        .collect()
}

/// The definitions of large objects that share an entry, one by one, as if each had its own.
fn large_objects(entry: &Entry, archive: &Archive, opts: &RestoreOptions) -> Vec<(ObjectIdentity, BString)> {
    let metadata = (entry.desc == "BLOB METADATA").then(|| entry.defn_bytes());
    let Some(oids) = metadata.or_else(|| entry.large_objects_of_acl(archive).map(|oids| &**oids)) else {
        return Vec::new();
    };
    let define = |oid: &[u8]| {
        let (desc, tag, sql) = if metadata.is_some() {
            let create: &[&[u8]] = &[b"SELECT pg_catalog.lo_create('", oid, b"');\n"];
            let single = Entry { desc: "BLOB".into(), tag: Some(oid.into()), ..entry.clone() };
            let owner = if opts.owner { alter_owner(&single) } else { None };
            ("BLOB", oid.to_vec(), [create.concat(), owner.unwrap_or_default().into()].concat())
        } else {
            ("ACL", [b"LARGE OBJECT ", oid].concat(), entry.acl_per_large_object(oid).concat())
        };
        let identity = ObjectIdentity { desc: desc.into(), tag: tag.into(), ..ObjectIdentity::default() };
        (identity, BString::from(sql))
    };
    oids.split(|b| *b == b'\n').filter(|oid| !oid.is_empty()).map(define).collect()
}

fn is_compared(entry: &Entry, opts: &CompareOptions) -> bool {
    let is_large_object =
        matches!(entry.desc.as_slice(), b"BLOB" | b"BLOB METADATA") || entry.is_large_object_attribute();
    if is_large_object { opts.large_objects } else { !entry.is_data() }
}
