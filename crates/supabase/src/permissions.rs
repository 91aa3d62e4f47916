//! Who may do what: every privilege on schemas, tables, columns, sequences, functions, and on objects to come.

use basekeep_postgres::{Error, Rows};

use crate::probe::Probe;

/// `kind, schema, object, role, privileges` for each object and role, sorted. Privileges are the letters of an ACL in
/// alphabetic order, each followed by `*` where it may be granted on. Owners' and built-in privileges are among them, so
/// that two databases can be compared. The server's own schemas are left out.
pub async fn read(probe: &mut Probe<'_>) -> Result<Option<Rows>, Error> {
    probe.rows("the permission matrix", MATRIX).await
}

const MATRIX: &str = r#"WITH
schemas AS (
  SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_catalog.pg_namespace n
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'),
objects AS (
  SELECT 'schema' AS kind, s.nspname AS schema, NULL AS object,
    coalesce(s.nspacl, pg_catalog.acldefault('n', s.nspowner)) AS acl FROM schemas s
  UNION ALL
  SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
      WHEN 'S' THEN 'sequence' ELSE 'table' END, s.nspname, c.relname,
    coalesce(c.relacl, pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END, c.relowner))
  FROM pg_catalog.pg_class c JOIN schemas s ON s.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  UNION ALL
  SELECT 'column', s.nspname, c.relname || '.' || a.attname, a.attacl
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN schemas s ON s.oid = c.relnamespace
  WHERE a.attacl IS NOT NULL AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT 'function', s.nspname, p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')',
    coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))
  FROM pg_catalog.pg_proc p JOIN schemas s ON s.oid = p.pronamespace
  UNION ALL
  SELECT 'default', coalesce(n.nspname, '*'), CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
      WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' WHEN 'L' THEN 'large objects' ELSE d.defaclobjtype::text END
      || ' by ' || pg_catalog.pg_get_userbyid(d.defaclrole), d.defaclacl
  FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace),
held AS (
  SELECT o.kind, o.schema, o.object,
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(a.grantee) END AS role,
    CASE a.privilege_type WHEN 'SELECT' THEN 'r' WHEN 'INSERT' THEN 'a' WHEN 'UPDATE' THEN 'w' WHEN 'DELETE' THEN 'd'
      WHEN 'TRUNCATE' THEN 'D' WHEN 'REFERENCES' THEN 'x' WHEN 'TRIGGER' THEN 't' WHEN 'MAINTAIN' THEN 'm'
      WHEN 'USAGE' THEN 'U' WHEN 'CREATE' THEN 'C' WHEN 'EXECUTE' THEN 'X' ELSE '?' END AS letter,
    pg_catalog.bool_or(a.is_grantable) AS grantable
  FROM objects o CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) a GROUP BY 1, 2, 3, 4, 5)
SELECT kind, schema, object, role,
  pg_catalog.string_agg(letter || CASE WHEN grantable THEN '*' ELSE '' END, '' ORDER BY letter COLLATE "C")
FROM held GROUP BY 1, 2, 3, 4
ORDER BY kind, schema COLLATE "C", object COLLATE "C" NULLS FIRST, role COLLATE "C""#;
