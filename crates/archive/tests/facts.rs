//! What a backup knows of its source, asked with SQL as a backup would ask.

use basekeep_archive::{Archive, BlobsFile, LargeObject, MaterializedViewData, SequenceSet, TableData};
use serde_json::Value;

use crate::cluster::Cluster;

/// The data of the database `source`.
pub(crate) struct Facts {
    pub(crate) tables: Vec<TableData>,
    pub(crate) sequences: Vec<SequenceSet>,
    pub(crate) large_objects: Vec<LargeObject>,
    pub(crate) views: Vec<MaterializedViewData>,
}

impl Facts {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let rows = |sql: &str| -> Vec<Value> {
            let text = cluster.psql(
                "source",
                &[
                    "-c",
                    &format!(
                        "SELECT coalesce(json_agg(r), '[]') FROM ({}) AS r",
                        sql.replace("EXTENSION", EXTENSION).replace("IS_DUMPED", IS_DUMPED)
                    ),
                ],
            );
            serde_json::from_str(&text).unwrap()
        };
        Self {
            tables: rows(TABLES).iter().map(table).collect(),
            sequences: rows(SEQUENCES).iter().map(|row| sequence(cluster, row)).collect(),
            large_objects: rows(LARGE_OBJECTS).iter().map(large_object).collect(),
            views: rows(VIEWS).iter().map(view).collect(),
        }
    }

    /// Adds all of it to a schema-only archive.
    pub(crate) fn add_to(&self, archive: &mut Archive) -> Vec<BlobsFile> {
        archive.add_tables(&self.tables).unwrap();
        archive.add_sequences(&self.sequences).unwrap();
        let blobs = archive.add_large_objects(&self.large_objects).unwrap().blobs;
        archive.add_materialized_views(&self.views).unwrap();
        blobs
    }
}

const EXTENSION: &str = "(SELECT e.extname FROM pg_extension e WHERE c.oid = ANY (e.extconfig)) AS extension";

const IS_DUMPED: &str = "c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')
         OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig)))";

const TABLES: &str = "SELECT c.oid::bigint, n.nspname, c.relname, pg_get_userbyid(c.relowner) AS owner,
        ARRAY(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              AND a.attgenerated = '' ORDER BY a.attnum) AS columns,
        (SELECT json_build_array(rn.nspname, r.relname) FROM pg_class r JOIN pg_namespace rn ON rn.oid = r.relnamespace
         WHERE c.relispartition AND r.oid = pg_partition_root(c.oid) AND EXISTS (
            SELECT FROM pg_partition_ancestors(c.oid) AS x(relid) JOIN pg_partitioned_table p ON p.partrelid = x.relid
            JOIN pg_attribute pa ON pa.attrelid = p.partrelid AND pa.attnum = ANY (p.partattrs::int2[])
            JOIN pg_type t ON t.oid = pa.atttypid WHERE p.partstrat = 'h' AND t.typtype = 'e')) AS root,
        EXTENSION
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND IS_DUMPED ORDER BY n.nspname, c.relname";

const SEQUENCES: &str = "SELECT c.oid::bigint, n.nspname, c.relname, pg_get_userbyid(c.relowner) AS owner,
        c.oid::regclass::text AS sql_name, EXTENSION
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'S' AND IS_DUMPED ORDER BY n.nspname, c.relname";

const LARGE_OBJECTS: &str = "SELECT m.oid::bigint, pg_get_userbyid(m.lomowner) AS owner,
        CASE WHEN m.lomacl IS NOT NULL THEN m.lomacl::text[] END AS acl,
        obj_description(m.oid, 'pg_largeobject') AS comment
    FROM pg_largeobject_metadata m ORDER BY m.lomowner, m.lomacl::text, m.oid";

const VIEWS: &str = "SELECT c.oid::bigint, n.nspname, c.relname, pg_get_userbyid(c.relowner) AS owner,
        ARRAY(WITH RECURSIVE reads(relid) AS (
            SELECT d.refobjid FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid WHERE r.ev_class = c.oid
            UNION SELECT d.refobjid FROM reads JOIN pg_rewrite r ON r.ev_class = reads.relid
                JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> reads.relid)
          SELECT relid::bigint FROM reads JOIN pg_class rc ON rc.oid = relid WHERE rc.relkind = 'm') AS depends_on
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'm' AND c.relispopulated AND IS_DUMPED ORDER BY n.nspname, c.relname";

fn table(row: &Value) -> TableData {
    TableData {
        oid: oid(&row["oid"]),
        schema: text(&row["nspname"]),
        name: text(&row["relname"]),
        owner: text(&row["owner"]),
        columns: row["columns"].as_array().unwrap().iter().map(text).collect(),
        load_via_root: row["root"].as_array().map(|root| (text(&root[0]), text(&root[1]))),
        extension: row["extension"].as_str().map(str::to_owned),
    }
}

fn sequence(cluster: &Cluster, row: &Value) -> SequenceSet {
    let query = format!("SELECT last_value, is_called FROM {}", row["sql_name"].as_str().unwrap());
    let position = cluster.psql("source", &["-c", &query]);
    let (last_value, is_called) = position.trim().split_once('|').unwrap();
    SequenceSet {
        oid: oid(&row["oid"]),
        schema: text(&row["nspname"]),
        name: text(&row["relname"]),
        owner: text(&row["owner"]),
        last_value: last_value.parse().unwrap(),
        is_called: is_called == "t",
        extension: row["extension"].as_str().map(str::to_owned),
    }
}

fn large_object(row: &Value) -> LargeObject {
    LargeObject {
        oid: oid(&row["oid"]),
        owner: text(&row["owner"]),
        acl: row["acl"].as_array().map(|items| items.iter().map(text).collect()),
        comment: row["comment"].as_str().map(str::to_owned),
        security_labels: Vec::new(),
    }
}

fn view(row: &Value) -> MaterializedViewData {
    MaterializedViewData {
        oid: oid(&row["oid"]),
        schema: text(&row["nspname"]),
        name: text(&row["relname"]),
        owner: text(&row["owner"]),
        depends_on: row["depends_on"].as_array().unwrap().iter().map(oid).collect(),
    }
}

fn oid(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
