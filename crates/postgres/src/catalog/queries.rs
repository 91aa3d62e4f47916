//! The catalog queries, as SQL text for one round trip. Every name is qualified and nothing depends on the search path.

/// Relations whose data pg_dump looks after: those of ordinary schemas that no extension owns, and the configuration
/// relations of extensions wherever they are. `pg_` and `information_schema` follow `selectDumpableNamespace`; extensions
/// below the first normal oid are part of the server and never dumped. An identity column's sequence goes with its table.
const DUMPABLE: &str = "
configured AS (
  SELECT u.relation, e.extname, u.condition
  FROM pg_catalog.pg_extension e
  CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(e.extconfig), pg_catalog.unnest(e.extcondition)) AS u(relation, condition)
  WHERE e.oid >= 16384
),
dumpable AS (
  SELECT c.oid, n.nspname, c.relname, c.relkind, k.extname, k.condition
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN configured k ON k.relation = c.oid
  WHERE c.relkind IN ('r', 'p', 'S', 'm', 'f')
    AND (k.relation IS NOT NULL
      OR (n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend d
          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0
            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e')
        AND NOT (c.relkind = 'S' AND EXISTS (
          SELECT FROM pg_catalog.pg_depend o
          JOIN pg_catalog.pg_depend d ON d.classid = o.refclassid AND d.objid = o.refobjid AND d.objsubid = 0
          WHERE o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.objid = c.oid AND o.deptype = 'i'
            AND o.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'))))
)";

pub(super) fn database(version: u32) -> String {
    let provider = if version >= 150000 {
        "CASE d.datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE d.datlocprovider::text END"
    } else {
        "'libc'"
    };
    let locale = match version {
        170000.. => "d.datlocale",
        150000.. => "d.daticulocale",
        _ => "NULL",
    };
    let rules = if version >= 160000 { "d.daticurules" } else { "NULL" };
    let collation_version = if version >= 150000 { "d.datcollversion" } else { "NULL" };
    format!(
        "SELECT d.oid, d.datname, pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding),
  d.datcollate, d.datctype, {provider}, {locale}, {rules}, {collation_version}, t.spcname,
  pg_catalog.current_setting('lc_monetary'), pg_catalog.current_setting('block_size'),
  (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user), pg_catalog.pg_is_in_recovery()
FROM pg_catalog.pg_database d
JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = pg_catalog.current_database();"
    )
}

/// One row for each relation. The size is asked only where there is storage, and that of TOAST only where the statistics do not
/// know it: each such question opens the relation, which takes the server longer than anything else here.
pub(super) fn relations(version: u32) -> String {
    // LOCK TABLE … IN ACCESS SHARE MODE asks for SELECT; from 16 on any right that allows a stronger lock will do.
    let lockable = if version >= 160000 { "SELECT, UPDATE, DELETE, TRUNCATE" } else { "SELECT" };
    let lockable = if version >= 170000 { format!("{lockable}, MAINTAIN") } else { lockable.into() };
    format!(
        "WITH RECURSIVE {DUMPABLE},
unsafe_partitioning AS (
  SELECT p.partrelid AS oid FROM pg_catalog.pg_partitioned_table p
  WHERE (SELECT o.oid FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_am a ON a.oid = o.opcmethod
    WHERE o.opcname = 'enum_ops' AND a.amname = 'hash'
      AND o.opcnamespace = 'pg_catalog'::pg_catalog.regnamespace) = ANY (p.partclass)
  UNION
  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN unsafe_partitioning u ON u.oid = i.inhparent
)
SELECT x.oid, x.nspname, x.relname, c.relkind, pg_catalog.pg_get_userbyid(c.relowner), c.relpersistence,
  a.amname, c.relfilenode, c.reltuples, c.relispartition,
  CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_relation_size(c.oid) END,
  CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_relation_size(c.oid) + CASE
    WHEN w.reltuples >= 0 THEN w.relpages * pg_catalog.current_setting('block_size')::bigint
    ELSE coalesce(pg_catalog.pg_relation_size(w.oid), 0) END END,
  CASE WHEN c.relrowsecurity THEN pg_catalog.row_security_active(c.oid) ELSE false END,
  x.extname, x.condition, c.relispopulated,
  pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'),
  pg_catalog.has_table_privilege(c.oid, 'SELECT'),
  CASE WHEN c.relkind IN ('r', 'p') THEN pg_catalog.has_table_privilege(c.oid, '{lockable}') END,
  CASE WHEN c.relispartition AND u.oid IS NOT NULL THEN rn.nspname END,
  CASE WHEN c.relispartition AND u.oid IS NOT NULL THEN rc.relname END,
  o.refobjid, o.attname, o.deptype
FROM dumpable x
JOIN pg_catalog.pg_class c ON c.oid = x.oid
LEFT JOIN pg_catalog.pg_class w ON w.oid = c.reltoastrelid
LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
LEFT JOIN unsafe_partitioning u ON u.oid = c.oid
LEFT JOIN pg_catalog.pg_class rc ON u.oid IS NOT NULL AND c.relispartition AND rc.oid = pg_catalog.pg_partition_root(c.oid)
LEFT JOIN pg_catalog.pg_namespace rn ON rn.oid = rc.relnamespace
LEFT JOIN LATERAL (
  SELECT d.refobjid, d.deptype, t.attname FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_attribute t ON t.attrelid = d.refobjid AND t.attnum = d.refobjsubid
  WHERE c.relkind = 'S' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0
    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
  ORDER BY d.deptype DESC, d.refobjid LIMIT 1
) o ON true
ORDER BY x.nspname COLLATE \"C\", x.relname COLLATE \"C\", x.oid;"
    )
}

/// The live columns of dumpable tables.
pub(super) fn columns() -> String {
    format!(
        "WITH {DUMPABLE}
SELECT a.attrelid, a.attnum, a.attname, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypmod,
  CASE WHEN l.oid IS NOT NULL THEN pg_catalog.quote_ident(ln.nspname) || '.' || pg_catalog.quote_ident(l.collname) END,
  a.attgenerated, a.attidentity, a.attnotnull, a.attmissingval
FROM dumpable x
JOIN pg_catalog.pg_attribute a ON a.attrelid = x.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_catalog.pg_namespace ln ON ln.oid = l.collnamespace
WHERE x.relkind = 'r'
ORDER BY a.attrelid, a.attnum;"
    )
}

/// Every type that a column of a dumpable table is made of, down to the last element, attribute and label.
///
/// Labels and versions come with the transaction that wrote them. Types have no lock that keeps others from changing them: a label
/// that is renamed while a backup reads, and renamed back afterwards, shows in what was read but not in its own text.
pub(super) fn types(version: u32) -> String {
    let multirange = if version >= 140000 {
        "UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = u.oid"
    } else {
        ""
    };
    let range_of_multirange = if version >= 140000 {
        "(SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = t.oid)"
    } else {
        "NULL"
    };
    format!(
        "WITH RECURSIVE {DUMPABLE},
used(oid) AS (
  SELECT DISTINCT a.atttypid FROM dumpable x
  JOIN pg_catalog.pg_attribute a ON a.attrelid = x.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE x.relkind = 'r'
  UNION
  SELECT part.oid FROM used u CROSS JOIN LATERAL (
    SELECT t.typelem AS oid FROM pg_catalog.pg_type t WHERE t.oid = u.oid AND t.typelem <> 0
    UNION ALL SELECT t.typbasetype FROM pg_catalog.pg_type t WHERE t.oid = u.oid AND t.typbasetype <> 0
    UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = u.oid
    UNION ALL SELECT a.atttypid FROM pg_catalog.pg_type t
      JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
      WHERE t.oid = u.oid AND t.typrelid <> 0
    {multirange}
  ) part
)
SELECT t.oid, n.nspname, t.typname, t.typtype,
  CASE WHEN t.typoutput = 'pg_catalog.array_out'::pg_catalog.regproc THEN t.typelem ELSE 0 END,
  t.typbasetype, t.typtypmod, e.extname, e.extversion || ' ' || e.xmin::text,
  (SELECT pg_catalog.array_agg(l.enumlabel || ' ' || l.xmin::text ORDER BY l.enumsortorder) FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid),
  coalesce((SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid), {range_of_multirange}),
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.atttypid::bigint, a.atttypmod,
      (SELECT pg_catalog.quote_ident(ln.nspname) || '.' || pg_catalog.quote_ident(l.collname)
        FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace ln ON ln.oid = l.collnamespace WHERE l.oid = a.attcollation),
      a.attmissingval::text) ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped),
  (SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
FROM used u
JOIN pg_catalog.pg_type t ON t.oid = u.oid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.objsubid = 0
  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid;"
    )
}

/// Primary keys, unique indexes that hold for every row at once, and foreign keys, with their columns by name.
pub(super) fn keys(version: u32) -> String {
    let nulls_equal = if version >= 150000 { "i.indnullsnotdistinct" } else { "false" };
    let names = |relation: &str, numbers: &str| {
        format!(
            "(SELECT pg_catalog.array_agg(a.attname::text ORDER BY u.position)
    FROM pg_catalog.unnest({numbers}) WITH ORDINALITY AS u(attnum, position)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = {relation} AND a.attnum = u.attnum)"
        )
    };
    let indexed = "(i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]";
    let (own, referenced, unique) =
        (names("k.conrelid", "k.conkey"), names("k.confrelid", "k.confkey"), names("i.indrelid", indexed));
    format!(
        "
SELECT k.conrelid, k.contype, k.conname, {own}, false, n.nspname, f.relname, {referenced}
FROM pg_catalog.pg_constraint k
LEFT JOIN pg_catalog.pg_class f ON f.oid = k.confrelid
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = f.relnamespace
WHERE k.contype IN ('p', 'f') AND k.conrelid >= 16384
UNION ALL
SELECT i.indrelid, 'u', c.relname, {unique}, {nulls_equal}, NULL, NULL, NULL
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid >= 16384 AND i.indisunique AND NOT i.indisprimary AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY 1, 2, 3;"
    )
}

pub(super) const FOREIGN_KEYS: &str = "
SELECT k.oid, k.conname, c.oid, n.nspname, c.relname, f.oid, fn.nspname, f.relname, k.convalidated,
  pg_catalog.pg_get_constraintdef(k.oid)
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class f ON f.oid = k.confrelid
JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND n.nspname !~ '^pg_'
ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\", k.conname COLLATE \"C\";";

pub(super) const EXTENSIONS: &str = "
SELECT e.oid, e.extname, e.extversion, n.nspname, e.extconfig
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
ORDER BY e.extname COLLATE \"C\";";

/// Pairs of materialized views: the first reads the second, directly or through views.
pub(super) const MATERIALIZED_VIEW_DEPENDENCIES: &str = "
WITH RECURSIVE reads AS (
  SELECT DISTINCT r.ev_class AS reader, d.refobjid AS relation
  FROM pg_catalog.pg_rewrite r
  JOIN pg_catalog.pg_class c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm')
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> r.ev_class
  JOIN pg_catalog.pg_class f ON f.oid = d.refobjid AND f.relkind IN ('v', 'm')
),
reach AS (
  SELECT s.reader, s.relation FROM reads s JOIN pg_catalog.pg_class c ON c.oid = s.reader AND c.relkind = 'm'
  UNION
  SELECT h.reader, s.relation FROM reach h
  JOIN pg_catalog.pg_class v ON v.oid = h.relation AND v.relkind = 'v'
  JOIN reads s ON s.reader = h.relation
)
SELECT h.reader, h.relation FROM reach h
JOIN pg_catalog.pg_class c ON c.oid = h.relation AND c.relkind = 'm'
ORDER BY 1, 2;";

/// Definitions that pg_dump leaves out in silence, or with a warning only, when the role is no superuser.
pub(super) const HIDDEN: &str = "
SELECT
  (SELECT pg_catalog.count(*) FROM pg_catalog.pg_user_mappings m
    JOIN pg_catalog.pg_foreign_server s ON s.oid = m.srvid
    WHERE m.umoptions IS NULL AND NOT (
      (m.umuser <> 0 AND m.usename = current_user
        AND (pg_catalog.pg_has_role(s.srvowner, 'USAGE') OR pg_catalog.has_server_privilege(s.oid, 'USAGE')))
      OR (m.umuser = 0 AND pg_catalog.pg_has_role(s.srvowner, 'USAGE')))),
  CASE WHEN pg_catalog.has_column_privilege('pg_catalog.pg_subscription', 'subdbid', 'SELECT') THEN 1 ELSE 0 END;";

pub(super) const SUBSCRIPTIONS: &str = "
SELECT pg_catalog.count(s.subdbid) FROM pg_catalog.pg_subscription s
WHERE s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database());";
