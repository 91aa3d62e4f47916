//! What the catalog knows: tables and their row level security, policies, functions, triggers, extensions, publications.
//! Everybody may read it.

use basekeep_postgres::Error;

use super::{Reading, platform_schemas};

/// In the order of the columns of [`COUNTS`].
const NAMES: [&str; 17] = [
    "schemas",
    "tables",
    "tables_rls_enabled",
    "tables_rls_disabled",
    "tables_rls_forced",
    "views",
    "policies",
    "policies_on_platform_tables",
    "functions",
    "triggers",
    "triggers_on_platform_tables",
    "event_triggers",
    "platform_event_triggers",
    "extensions",
    "webhooks",
    "publications",
    "realtime_tables",
];

impl Reading<'_, '_> {
    pub(super) async fn catalog(&mut self) -> Result<(), Error> {
        let sql = COUNTS.replace("{platform}", &platform_schemas());
        let what = "the number of tables, policies, functions and triggers";
        let Some(rows) = self.probe.rows(what, &sql).await? else { return Ok(()) };
        let row = rows.one()?;
        for (column, name) in NAMES.into_iter().enumerate() {
            self.found.counts.insert(name, row.parse(column)?);
        }
        Ok(())
    }
}

/// `owned` is what extensions own; `users` are the schemas that are neither the platform's nor the server's. A trigger on a
/// platform table is the user's when its function is.
const COUNTS: &str = "WITH
owned AS (
  SELECT classid, objid FROM pg_catalog.pg_depend
  WHERE deptype = 'e' AND refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass),
users AS (
  SELECT n.oid FROM pg_catalog.pg_namespace n
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname NOT IN ({platform})
    AND NOT EXISTS (SELECT FROM owned o WHERE o.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND o.objid = n.oid)),
relations AS (
  SELECT c.oid, c.relkind, c.relrowsecurity, c.relforcerowsecurity FROM pg_catalog.pg_class c
  WHERE c.relnamespace IN (SELECT oid FROM users)
    AND NOT EXISTS (SELECT FROM owned o WHERE o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.objid = c.oid)),
tables AS (SELECT * FROM relations WHERE relkind IN ('r', 'p')),
functions AS (
  SELECT p.oid FROM pg_catalog.pg_proc p
  WHERE p.pronamespace IN (SELECT oid FROM users)
    AND NOT EXISTS (SELECT FROM owned o WHERE o.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND o.objid = p.oid)),
triggers AS (SELECT t.tgrelid, t.tgfoid FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal),
events AS (SELECT e.evtfoid FROM pg_catalog.pg_event_trigger e
  WHERE NOT EXISTS (SELECT FROM owned o WHERE o.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass AND o.objid = e.oid)),
realtime AS (
  SELECT DISTINCT t.schemaname, t.tablename FROM pg_catalog.pg_publication_tables t WHERE t.pubname = 'supabase_realtime')
SELECT
  (SELECT count(*) FROM users),
  (SELECT count(*) FROM tables),
  (SELECT count(*) FROM tables WHERE relrowsecurity),
  (SELECT count(*) FROM tables WHERE NOT relrowsecurity),
  (SELECT count(*) FROM tables WHERE relforcerowsecurity),
  (SELECT count(*) FROM relations WHERE relkind IN ('v', 'm')),
  (SELECT count(*) FROM pg_catalog.pg_policy),
  (SELECT count(*) FROM pg_catalog.pg_policy WHERE polrelid NOT IN (SELECT oid FROM tables)),
  (SELECT count(*) FROM functions),
  (SELECT count(*) FROM triggers WHERE tgrelid IN (SELECT oid FROM relations)),
  (SELECT count(*) FROM triggers WHERE tgrelid NOT IN (SELECT oid FROM relations) AND tgfoid IN (SELECT oid FROM functions)),
  (SELECT count(*) FROM events WHERE evtfoid IN (SELECT oid FROM functions)),
  (SELECT count(*) FROM events WHERE evtfoid NOT IN (SELECT oid FROM functions)),
  (SELECT count(*) FROM pg_catalog.pg_extension),
  (SELECT count(*) FROM triggers t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = 'supabase_functions' AND p.proname = 'http_request'),
  (SELECT count(*) FROM pg_catalog.pg_publication),
  (SELECT count(*) FROM realtime)";
