//! The rows of buckets and objects in the database: read inside a backup's snapshot, and set right after a restore.

use basekeep_postgres::{Client, Error, quote_literal};
use serde_json::Value;

use super::index::Object;

/// Rows in one answer of the cursor.
const FETCH: &str = "FETCH FORWARD 500 FROM basekeep_objects";
/// Columns of an object that an upload sets anew, or that only rows have.
const OBJECT_COLUMNS: [&str; 7] =
    ["id", "owner", "owner_id", "created_at", "updated_at", "last_accessed_at", "user_metadata"];
/// The same of a bucket that was created.
const BUCKET_COLUMNS: [&str; 8] = [
    "owner",
    "owner_id",
    "created_at",
    "updated_at",
    "public",
    "avif_autodetection",
    "file_size_limit",
    "allowed_mime_types",
];

/// Sums over all objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Objects.
    pub objects: u64,
    /// Buckets that have any.
    pub buckets: u64,
    /// Bytes, as the rows tell them.
    pub bytes: u64,
}

/// Whether the database has Supabase's tables of files.
pub async fn exist(client: &mut Client) -> Result<bool, Error> {
    // By name: to_regclass is refused where the role may not use the schema.
    let sql = "SELECT count(*) = 4 FROM pg_catalog.pg_attribute a
      JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE NOT a.attisdropped AND n.nspname = 'storage' AND c.relkind IN ('r', 'p') AND (c.relname, a.attname) IN (
        ('objects', 'bucket_id'), ('objects', 'name'), ('objects', 'metadata'), ('buckets', 'id'))";
    client.query(sql).await?.one()?.parse(0)
}

/// Sums over all objects.
pub async fn totals(client: &mut Client) -> Result<Totals, Error> {
    let sql = "SELECT count(*), count(DISTINCT o.bucket_id), coalesce(pg_catalog.sum(
        CASE WHEN o.metadata->>'size' ~ '^[0-9]{1,15}$' THEN (o.metadata->>'size')::pg_catalog.int8 END), 0)::pg_catalog.int8
      FROM storage.objects o";
    let rows = client.query(sql).await?;
    let row = rows.one()?;
    Ok(Totals { objects: row.parse(0)?, buckets: row.parse(1)?, bytes: row.parse(2)? })
}

/// All buckets, by id.
pub async fn buckets(client: &mut Client) -> Result<Vec<Value>, Error> {
    let sql = "SELECT pg_catalog.to_jsonb(b) FROM storage.buckets b ORDER BY b.id COLLATE pg_catalog.\"C\"";
    json_rows(client, sql).await
}

/// Begins to read the objects, sorted by bucket and name. Within a transaction.
pub async fn open_objects(client: &mut Client) -> Result<(), Error> {
    client
        .execute(
            "DECLARE basekeep_objects NO SCROLL CURSOR FOR SELECT pg_catalog.to_jsonb(o) FROM storage.objects o
             ORDER BY o.bucket_id COLLATE pg_catalog.\"C\", o.name COLLATE pg_catalog.\"C\", o.created_at DESC",
        )
        .await
}

/// The next objects; none at the end.
pub async fn next_objects(client: &mut Client) -> Result<Vec<Object>, Error> {
    Ok(json_rows(client, FETCH).await?.into_iter().map(Object::new).collect())
}

/// Ends what [`open_objects`] began.
pub async fn close_objects(client: &mut Client) -> Result<(), Error> {
    client.execute("CLOSE basekeep_objects").await
}

/// The ids of the buckets that there are.
pub async fn bucket_ids(client: &mut Client) -> Result<Vec<String>, Error> {
    let rows = client.query("SELECT b.id FROM storage.buckets b").await?;
    rows.iter().map(|row| row.parse(0)).collect()
}

/// The rows of the same names as `objects`, in no order.
pub async fn existing(client: &mut Client, objects: &[&Object]) -> Result<Vec<Object>, Error> {
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = objects
        .iter()
        .map(|object| format!("({}, {})", quote_literal(object.bucket()), quote_literal(object.name())))
        .collect();
    let sql = format!(
        "SELECT pg_catalog.to_jsonb(o) FROM storage.objects o WHERE (o.bucket_id, o.name) IN ({})",
        names.join(", ")
    );
    Ok(json_rows(client, &sql).await?.into_iter().map(Object::new).collect())
}

/// Lets triggers rest in this session, so that times stay as they are set. Gives whether that is allowed.
pub async fn rest_triggers(client: &mut Client) -> Result<bool, Error> {
    match client.execute("SET session_replication_role = replica").await {
        Ok(()) => Ok(true),
        Err(Error::Server(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives rows back what an upload set anew: owner, times, metadata. The version stays, since it says where the file is, and
/// so does the entity tag, which is that of the file there.
pub async fn set_objects(client: &mut Client, rows: &[Value]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut set = assignments(client, "objects", &OBJECT_COLUMNS).await?;
    set.push(
        "metadata = CASE WHEN r.metadata IS NULL THEN o.metadata
           WHEN o.metadata ? 'eTag' THEN r.metadata || pg_catalog.jsonb_build_object('eTag', o.metadata->'eTag')
           ELSE r.metadata END"
            .to_owned(),
    );
    let sql = format!(
        "UPDATE storage.objects o SET {} FROM {} r WHERE o.bucket_id = r.bucket_id AND o.name = r.name",
        set.join(", "),
        records("objects", rows),
    );
    client.execute(&sql).await
}

/// The same for buckets that were created.
pub async fn set_buckets(client: &mut Client, rows: &[Value]) -> Result<(), Error> {
    let set = assignments(client, "buckets", &BUCKET_COLUMNS).await?;
    if rows.is_empty() || set.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE storage.buckets o SET {} FROM {} r WHERE o.id = r.id",
        set.join(", "),
        records("buckets", rows)
    );
    client.execute(&sql).await
}

/// `column = r.column` for those that the table has here.
async fn assignments(client: &mut Client, table: &str, columns: &[&str]) -> Result<Vec<String>, Error> {
    let sql = format!(
        "SELECT a.attname FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = pg_catalog.to_regclass('storage.{table}') AND a.attnum > 0 AND NOT a.attisdropped
           AND a.attgenerated = ''"
    );
    let rows = client.query(&sql).await?;
    let here: Vec<String> = rows.iter().map(|row| row.parse(0)).collect::<Result<_, _>>()?;
    let common = columns.iter().filter(|column| here.iter().any(|name| name == *column));
    Ok(common.map(|column| format!("{column} = r.{column}")).collect())
}

fn records(table: &str, rows: &[Value]) -> String {
    let json = Value::Array(rows.to_vec()).to_string();
    format!(
        "pg_catalog.jsonb_populate_recordset(NULL::storage.{table}, {}::pg_catalog.jsonb)",
        quote_literal(&json)
    )
}

async fn json_rows(client: &mut Client, sql: &str) -> Result<Vec<Value>, Error> {
    let rows = client.query(sql).await?;
    rows.iter()
        .map(|row| {
            let text: String = row.parse(0)?;
            serde_json::from_str(&text).map_err(|error| Error::Protocol(format!("a row is no JSON: {error}")))
        })
        .collect()
}
