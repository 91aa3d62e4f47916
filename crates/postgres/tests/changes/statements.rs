//! The statements that histories are made of, as SQL. Many of them fail where they land (a column that is not there): that
//! is part of the history too.

use super::random::Random;

/// What every life starts with, whatever its tables.
pub(crate) const TYPES: &str = "
CREATE SCHEMA m;
CREATE TYPE m.mood AS ENUM ('sad', 'ok', 'fine');
CREATE TYPE m.pair AS (a int, b m.mood);
CREATE DOMAIN m.amount AS int;
CREATE FUNCTION m.shout() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN NEW.v := pg_catalog.upper(NEW.v); RETURN NEW; END $$;";

/// Tables by name; each has at least `id int, v text`. The first has columns of every kind of type.
const SHAPES: [(&str, &str); 5] = [
    (
        "t",
        "CREATE TABLE m.t (id int, v text, m m.mood DEFAULT 'ok', p m.pair DEFAULT ROW(1, 'sad'), d m.amount DEFAULT 3, \
         c1 int DEFAULT 5, ms m.mood[]) WITH (fillfactor = 60)",
    ),
    (
        "k",
        "CREATE TABLE m.k (id int PRIMARY KEY, v text);
         CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON m.k FOR EACH ROW WHEN (NEW.id % 3 = 0) EXECUTE FUNCTION m.shout()",
    ),
    (
        "f",
        "CREATE TABLE m.target (id int PRIMARY KEY, v text); INSERT INTO m.target SELECT g, 'x' FROM generate_series(0, 9) g;
         CREATE TABLE m.f (id int, v text, r int DEFAULT 3 REFERENCES m.target ON DELETE CASCADE ON UPDATE CASCADE)",
    ),
    (
        "a",
        "CREATE TABLE m.root (id int, v text) PARTITION BY RANGE (id);
         CREATE TABLE m.a PARTITION OF m.root FOR VALUES FROM (0) TO (500);
         CREATE TABLE m.b PARTITION OF m.root FOR VALUES FROM (500) TO (100000)",
    ),
    (
        "u",
        "CREATE UNLOGGED TABLE m.u (id int, v text);
         CREATE TABLE m.heir (extra int DEFAULT 1) INHERITS (m.u)",
    ),
];

/// Definitions of some tables, and the names that rows go to.
pub(crate) fn tables(random: &mut Random) -> (String, Vec<&'static str>) {
    let first = random.below(SHAPES.len() as u64) as usize;
    let second = (first + 1 + random.below(SHAPES.len() as u64 - 1) as usize) % SHAPES.len();
    let mut sql = String::from(TYPES);
    let mut names = Vec::new();
    for (name, definition) in [SHAPES[first], SHAPES[second]] {
        sql.push_str(definition);
        sql.push(';');
        names.push(name);
        match name {
            "a" => names.push("b"),
            "u" => names.push("heir"),
            _ => {}
        }
    }
    for name in &names {
        let (rows, width) = (20 + random.below(200), 30 + random.below(600));
        let from = if *name == "b" { 500 } else { 0 };
        sql.push_str(&format!(
            "INSERT INTO m.{name} (id, v) SELECT g + {from}, pg_catalog.repeat(pg_catalog.md5(g::text), {width} / 32 + 1) \
             FROM pg_catalog.generate_series(1, {rows}) g;"
        ));
    }
    (sql, names)
}

/// Rows near each other, so that most ranges of a table stay as they are.
fn some_rows(random: &mut Random) -> String {
    let at = random.below(200);
    match random.below(6) {
        0 => format!("id = {at}"),
        1 => format!("id IN ({at}, {})", at + 500),
        2 => format!("ctid >= '({0},0)' AND ctid < '({1},0)'", at % 12, at % 12 + 1),
        3 => format!("id % 50 = {}", at % 50),
        _ => format!("id BETWEEN {at} AND {}", at + random.below(20)),
    }
}

/// Writes rows of `table`, or locks them. May run in a transaction.
pub(crate) fn rows(random: &mut Random, table: &str) -> String {
    let t = format!("m.{table}");
    let at = random.below(1000);
    let some = some_rows(random);
    match random.below(20) {
        0..=2 => format!(
            "INSERT INTO {t} (id, v) SELECT g, pg_catalog.repeat(pg_catalog.md5(g::text), {}) \
             FROM pg_catalog.generate_series({at}, {}) g",
            random.below(20),
            at + random.below(8)
        ),
        3 => format!(
            "INSERT INTO {t} (id, v) SELECT {at}, pg_catalog.string_agg(pg_catalog.md5(g::text || '{at}'), '') \
             FROM pg_catalog.generate_series(1, 200) g"
        ),
        4..=5 => format!("UPDATE {t} SET v = v || '.' WHERE {some}"),
        6 => format!("UPDATE {t} SET v = pg_catalog.left(v, 5) WHERE {some}"),
        7 => format!("UPDATE {t} SET id = id + 1 WHERE {some}"),
        8 => format!("UPDATE {t} SET v = v WHERE {some}"),
        9..=11 => format!("DELETE FROM {t} WHERE {some}"),
        12 => format!("SELECT FROM {t} WHERE {some} FOR UPDATE"),
        13 => format!("SELECT FROM {t} WHERE {some} FOR KEY SHARE"),
        14 => format!(
            "INSERT INTO {t} AS x (id, v) VALUES ({}, 'conflict') ON CONFLICT (id) DO UPDATE SET v = 'met ' || pg_catalog.left(x.v, 9)",
            at % 200
        ),
        15 => format!(
            "MERGE INTO {t} AS x USING (VALUES ({0}), ({1})) AS s(id) ON x.id = s.id \
             WHEN MATCHED AND x.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET v = 'merged' \
             WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, 'new')",
            at % 200,
            at
        ),
        16 => format!(
            "DO $$ BEGIN FOR i IN 1..{} LOOP BEGIN
               UPDATE {t} SET v = v || i WHERE id = {at} % 200 + i; IF i % 3 = 0 THEN RAISE 'undone'; END IF;
             EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$",
            if random.chance(30) { 70 } else { 4 }
        ),
        17 => {
            let column = *random.pick(&["m", "d", "c1", "c2", "c3", "r"]);
            let value =
                random.pick(&["(pg_catalog.enum_range(NULL::m.mood))[2]", "-7", "NULL", "DEFAULT", "3"]);
            format!("UPDATE {t} SET {column} = {value} WHERE {some}")
        }
        18 => format!(
            "UPDATE {t} SET p = ROW({at}, 'ok'), ms = pg_catalog.enum_range(NULL::m.mood) WHERE {some}"
        ),
        _ => format!("UPDATE m.target SET id = id + 10 WHERE id = {}", at % 20),
    }
}

/// What changes nothing that a reader sees, or moves all rows to new storage. Not inside a transaction.
pub(crate) fn maintenance(random: &mut Random, table: &str) -> String {
    let t = format!("m.{table}");
    match random.below(14) {
        0..=3 => format!("VACUUM {t}"),
        4..=5 => format!("VACUUM (FREEZE) {t}"),
        6 => format!("VACUUM (INDEX_CLEANUP off) {t}"),
        7 => format!("VACUUM (INDEX_CLEANUP on, TRUNCATE off) {t}"),
        8 => format!("VACUUM (FREEZE, DISABLE_PAGE_SKIPPING, ANALYZE) {t}"),
        9 => format!("ANALYZE {t}"),
        10 => format!("VACUUM (FULL, FREEZE) {t}"),
        11 => format!("VACUUM FULL {t}"),
        12 => format!("CREATE INDEX IF NOT EXISTS {table}_id ON {t} (id); CLUSTER {t} USING {table}_id"),
        _ => "CHECKPOINT".into(),
    }
}

/// Changes the definition of `table`, or its storage. Takes an exclusive lock on it.
pub(crate) fn definition(random: &mut Random, table: &str, other: &str) -> String {
    let t = format!("m.{table}");
    let c = format!("c{}", 1 + random.below(3));
    let d = format!("c{}", 1 + random.below(3));
    match random.below(30) {
        0..=2 => {
            let what = random.pick(&[
                "int",
                "int DEFAULT 7",
                "int DEFAULT 8",
                "int DEFAULT -1",
                "timestamptz DEFAULT pg_catalog.now()",
                "float8 DEFAULT pg_catalog.random()",
                "m.mood DEFAULT 'ok'",
                "m.pair DEFAULT ROW(1, 'ok')",
                "m.amount DEFAULT 4",
                "int GENERATED ALWAYS AS (id * 2) STORED",
                "int GENERATED ALWAYS AS IDENTITY",
                "int GENERATED ALWAYS AS (id * 3) VIRTUAL",
                "varchar(10) DEFAULT 'x'",
                "money DEFAULT 3",
            ]);
            format!("ALTER TABLE {t} ADD COLUMN {c} {what}")
        }
        3..=4 => format!("ALTER TABLE {t} DROP COLUMN {c}"),
        5 => {
            let default = random.pick(&["", " DEFAULT 9"]);
            format!("ALTER TABLE {t} DROP COLUMN IF EXISTS {c}, ADD COLUMN {c} int{default}")
        }
        6 => format!("ALTER TABLE {t} RENAME COLUMN {c} TO {d}"),
        7 => format!(
            "ALTER TABLE {t} RENAME COLUMN {c} TO swap; ALTER TABLE {t} RENAME COLUMN {d} TO {c}; \
             ALTER TABLE {t} RENAME COLUMN swap TO {d}"
        ),
        8..=9 => {
            let kind = random.pick(&["bigint", "oid", "int", "text", "varchar(20)", "varchar"]);
            let using = if random.chance(50) { format!(" USING {c}::text::{kind}") } else { String::new() };
            format!("ALTER TABLE {t} ALTER COLUMN {c} TYPE {kind}{using}")
        }
        10 => {
            let what = random.pick(&[
                "SET NOT NULL",
                "DROP NOT NULL",
                "SET DEFAULT 3",
                "DROP DEFAULT",
                "DROP EXPRESSION",
                "SET STATISTICS 5",
            ]);
            format!("ALTER TABLE {t} ALTER COLUMN {c} {what}")
        }
        11 => {
            format!("ALTER TABLE {t} ALTER COLUMN v TYPE text COLLATE \"{}\"", random.pick(&["C", "default"]))
        }
        12 => {
            format!(
                "ALTER TABLE {t} ALTER COLUMN v SET STORAGE {}",
                random.pick(&["EXTERNAL", "EXTENDED", "MAIN"])
            )
        }
        13 => format!("ALTER TABLE {t} ALTER COLUMN v SET COMPRESSION pglz"),
        14 => format!("ALTER TABLE {t} SET (fillfactor = {})", random.pick(&["100", "50", "20"])),
        15 => format!("ALTER TABLE {t} SET {}", random.pick(&["LOGGED", "UNLOGGED"])),
        16 => format!("ALTER TABLE {t} SET TABLESPACE {}", random.pick(&["elsewhere", "pg_default"])),
        17 => format!("ALTER TABLE {t} ADD CHECK (id > -1)"),
        18 => format!("ALTER TABLE {t} ADD UNIQUE (id)"),
        19 => format!("TRUNCATE {t} {}", random.pick(&["RESTART IDENTITY", "CASCADE", ""])),
        20 => format!(
            "TRUNCATE {t}; INSERT INTO {t} (id, v) SELECT g, 'refilled' FROM pg_catalog.generate_series(1, 90) g"
        ),
        21 => format!("TRUNCATE {t} CASCADE; COPY {t} (id, v) FROM 'rows.txt' WITH (FREEZE)"),
        22 => format!(
            "CREATE TABLE m.copy (LIKE {t} INCLUDING ALL); INSERT INTO m.copy SELECT * FROM {t}; DROP TABLE {t}; \
             ALTER TABLE m.copy RENAME TO {table}"
        ),
        23 => format!(
            "ALTER TABLE {t} RENAME TO swap; ALTER TABLE m.{other} RENAME TO {table}; ALTER TABLE m.swap RENAME TO {other}"
        ),
        24 => format!("ALTER TABLE m.root DETACH PARTITION {t}"),
        25 => {
            let bounds = if table == "b" { "(500) TO (100000)" } else { "(0) TO (500)" };
            format!("ALTER TABLE m.root ATTACH PARTITION {t} FOR VALUES FROM {bounds}")
        }
        26 => format!("ALTER TABLE {t} {} m.u", random.pick(&["INHERIT", "NO INHERIT"])),
        27 => format!("ALTER TABLE {t} ENABLE ROW LEVEL SECURITY, REPLICA IDENTITY FULL"),
        28 => format!("DROP INDEX IF EXISTS m.{table}_id; CREATE INDEX {table}_id ON {t} (v)"),
        _ => format!("CREATE RULE nothing AS ON DELETE TO {t} WHERE OLD.id = 77 DO INSTEAD NOTHING"),
    }
}

const LABELS: [&str; 5] = ["sad", "ok", "fine", "glad", "blue"];

/// Changes a type. Takes no lock on the tables that use it.
pub(crate) fn types(random: &mut Random) -> String {
    match random.below(7) {
        0..=3 => {
            format!("ALTER TYPE m.mood RENAME VALUE '{}' TO '{}'", random.pick(&LABELS), random.pick(&LABELS))
        }
        4 => format!("ALTER TYPE m.mood ADD VALUE IF NOT EXISTS '{}'", random.pick(&LABELS)),
        5 => format!(
            "ALTER TYPE m.pair {}",
            random.pick(&[
                "ADD ATTRIBUTE c text",
                "DROP ATTRIBUTE c",
                "ADD ATTRIBUTE d int",
                "DROP ATTRIBUTE d",
                "RENAME ATTRIBUTE a TO first",
                "RENAME ATTRIBUTE first TO a"
            ])
        ),
        _ => format!(
            "ALTER DOMAIN m.amount {}",
            random.pick(&["SET DEFAULT 1", "SET NOT NULL", "DROP NOT NULL", "ADD CHECK (VALUE > -100)"])
        ),
    }
}

/// Renames a label, and the way back.
pub(crate) fn label(random: &mut Random) -> [String; 2] {
    let (one, other) = (random.pick(&LABELS), random.pick(&LABELS));
    let rename = |from, to| format!("ALTER TYPE m.mood RENAME VALUE '{from}' TO '{to}'");
    [rename(one, other), rename(other, one)]
}
