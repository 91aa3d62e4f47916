//! What calls pgcrypto's functions: told by dependencies where the server knows them, by the text of function bodies
//! where it does not. `gen_random_uuid` and `gen_random_bytes` encrypt nothing.

use basekeep_postgres::Error;

use super::{ENCRYPTION_LISTED, Reading, platform_schemas};

impl Reading<'_, '_> {
    pub(super) async fn encryption(&mut self) -> Result<(), Error> {
        let sql = USES.replace("{platform}", &platform_schemas());
        let Some(rows) = self.probe.rows("what calls pgcrypto", &sql).await? else { return Ok(()) };
        self.found.counts.insert("encryption_uses", rows.len() as u64);
        for row in rows.iter().take(ENCRYPTION_LISTED) {
            self.found.encryption.push(row.parse(0)?);
        }
        Ok(())
    }
}

const USES: &str = r#"WITH
crypto AS (
  SELECT p.oid, p.proname FROM pg_catalog.pg_extension e
  JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
    AND d.deptype = 'e' AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
  JOIN pg_catalog.pg_proc p ON p.oid = d.objid
  WHERE e.extname = 'pgcrypto' AND p.proname NOT IN ('gen_random_uuid', 'gen_random_bytes')),
called AS (SELECT '\m(' || pg_catalog.string_agg(DISTINCT proname, '|') || ')\s*\(' AS pattern FROM crypto),
depending AS (
  SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
  WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid IN (SELECT oid FROM crypto) AND d.deptype = 'n')
SELECT DISTINCT u.kind || ' ' || n.nspname || '.' || u.name COLLATE "C" FROM (
  SELECT CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END AS kind, p.pronamespace AS namespace,
    p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' AS name
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
  WHERE l.lanname NOT IN ('c', 'internal')
    AND (p.prosrc ~ (SELECT pattern FROM called)
      OR p.oid IN (SELECT objid FROM depending WHERE classid = 'pg_catalog.pg_proc'::pg_catalog.regclass))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
      AND e.objid = p.oid AND e.deptype = 'e')
  UNION ALL
  SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'rule on table' END, c.relnamespace, c.relname
  FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
  WHERE r.oid IN (SELECT objid FROM depending WHERE classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass)
  UNION ALL
  SELECT 'column', c.relnamespace, c.relname || '.' || a.attname
  FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_class c ON c.oid = f.adrelid
  JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
  WHERE f.oid IN (SELECT objid FROM depending WHERE classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass)
  UNION ALL
  SELECT 'policy on', c.relnamespace, c.relname || ': ' || p.polname
  FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
  WHERE p.oid IN (SELECT objid FROM depending WHERE classid = 'pg_catalog.pg_policy'::pg_catalog.regclass)
  UNION ALL
  SELECT 'constraint on', c.relnamespace, c.relname || ': ' || k.conname
  FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
  WHERE k.oid IN (SELECT objid FROM depending WHERE classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass)
  UNION ALL
  SELECT 'index', c.relnamespace, c.relname FROM pg_catalog.pg_class c
  WHERE c.oid IN (SELECT objid FROM depending WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass)
) u JOIN pg_catalog.pg_namespace n ON n.oid = u.namespace
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ({platform}) ORDER BY 1"#;
