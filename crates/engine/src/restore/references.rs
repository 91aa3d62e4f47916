//! Foreign keys that lead nowhere.

use basekeep_postgres::{Client, Error, quote_literal};

/// A foreign key with rows that refer to rows which are not there.
pub(super) struct BrokenKey {
    /// The constraint's name.
    pub(super) name: String,
    /// The table that has it, quoted.
    pub(super) table: String,
    /// The table that it leads to, quoted.
    pub(super) to: String,
    /// Rows of `table AS a` whose reference leads nowhere.
    pub(super) condition: String,
    /// How many there are.
    pub(super) rows: u64,
}

impl BrokenKey {
    /// What is wrong, for people.
    pub(super) fn describe(&self) -> String {
        format!(
            "{} rows of {} would refer to rows of {} that are not there (foreign key {})",
            self.rows, self.table, self.to, self.name
        )
    }
}

/// Those of a table, or with `inward` those that lead to it from others. `relation` is quoted. A key that was not valid before
/// is not looked at.
pub(super) async fn broken(
    client: &mut Client,
    relation: &str,
    inward: bool,
) -> Result<Vec<BrokenKey>, Error> {
    // The keys of a partition are those of its partitioned table.
    let mine = format!(
        "(SELECT {0}::pg_catalog.regclass UNION SELECT relid FROM pg_catalog.pg_partition_ancestors({0}::pg_catalog.regclass))",
        quote_literal(relation)
    );
    let wanted = match inward {
        false => format!("k.conrelid IN {mine}"),
        true => format!("k.confrelid IN {mine} AND k.conrelid NOT IN {mine}"),
    };
    among(client, &format!("k.conparentid = 0 AND {wanted}")).await
}

/// Those of one table alone, of a partition too.
pub(super) async fn broken_of(
    client: &mut Client,
    schema: &str,
    table: &str,
) -> Result<Vec<BrokenKey>, Error> {
    let (schema, table) = (quote_literal(schema), quote_literal(table));
    among(client, &format!("n.nspname = {schema} AND c.relname = {table}")).await
}

/// Valid keys that lead nowhere, of those that are `wanted`.
async fn among(client: &mut Client, wanted: &str) -> Result<Vec<BrokenKey>, Error> {
    let sql = format!(
        "SELECT k.conname, pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.format('%I.%I', fn.nspname, f.relname),
        pg_catalog.format('%s AND NOT EXISTS (SELECT FROM %I.%I AS b WHERE %s)', columns.filled, fn.nspname, f.relname, columns.joined)
    FROM pg_catalog.pg_constraint AS k
        JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_class AS f ON f.oid = k.confrelid JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.relnamespace
        CROSS JOIN LATERAL (
            SELECT pg_catalog.string_agg(pg_catalog.format('a.%I IS NOT NULL', x.attname), ' AND ') AS filled,
                pg_catalog.string_agg(pg_catalog.format('b.%I OPERATOR(%s.%s) a.%I', y.attname,
                    pg_catalog.quote_ident(o_n.nspname), o.oprname, x.attname), ' AND ') AS joined
            FROM ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey), pg_catalog.unnest(k.conpfeqop))
                    AS u (mine, other, operator)
                JOIN pg_catalog.pg_attribute AS x ON x.attrelid = k.conrelid AND x.attnum = u.mine
                JOIN pg_catalog.pg_attribute AS y ON y.attrelid = k.confrelid AND y.attnum = u.other
                JOIN pg_catalog.pg_operator AS o ON o.oid = u.operator
                JOIN pg_catalog.pg_namespace AS o_n ON o_n.oid = o.oprnamespace) AS columns
    WHERE k.contype = 'f' AND k.convalidated AND {wanted}
        AND pg_catalog.has_table_privilege(f.oid, 'SELECT') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
    ORDER BY 1"
    );
    let keys = client.query(&sql).await?;
    let mut broken = Vec::new();
    for key in keys.iter() {
        let text = |n: usize| key.get(n).unwrap_or_default().to_owned();
        let (table, condition) = (text(1), text(3));
        let found =
            client.query(&format!("SELECT pg_catalog.count(*) FROM {table} AS a WHERE {condition}")).await?;
        let rows = found.iter().next().and_then(|row| row.get(0)?.parse().ok()).unwrap_or_default();
        if rows > 0 {
            broken.push(BrokenKey { name: text(0), table, to: text(2), condition, rows });
        }
    }
    Ok(broken)
}
