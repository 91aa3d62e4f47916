//! The catalog against what stock pg_dump dumps and locks, as superuser and as an ordinary role.

use super::{catalog, connect, copy, options_as, table};
use basekeep_postgres::catalog::{Catalog, Generated, HIDDEN_ROWS, Persistence, TableKind, UnreadableKind};
use basekeep_postgres::session::{lock_tables, pin, replaced_since_snapshot, sequence_values};
use basekeep_testkit::{ODD_CATALOG, TestCluster, TestDatabase, servers, tool};
use std::collections::BTreeSet;
use std::process::Command;

/// What the fixture does not have: configuration tables of an extension, tables in schemas of an extension, and privileges.
/// The extension is entered into the catalog by hand, so that no file of the server is needed.
const MORE: &str = "
CREATE SCHEMA ext;
CREATE TABLE ext.member (id int); INSERT INTO ext.member VALUES (1);
CREATE TABLE ext.config (id int, note text); INSERT INTO ext.config VALUES (1, 'a'), (2, 'b'), (3, 'c');
CREATE TABLE ext.all_config (id int); INSERT INTO ext.all_config VALUES (1);
CREATE SEQUENCE ext.member_seq; CREATE SEQUENCE ext.config_seq;
CREATE TABLE ext.users_own (id int); INSERT INTO ext.users_own VALUES (1);
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion, extconfig, extcondition)
  SELECT 99999, 'made_up', 10, 'ext'::regnamespace, false, '1.0',
    ARRAY['ext.config'::regclass, 'ext.all_config'::regclass, 'ext.config_seq'::regclass]::oid[], ARRAY['WHERE id > 1', '', ''];
INSERT INTO pg_depend (classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype)
  SELECT 'pg_class'::regclass, o::oid, 0, 'pg_extension'::regclass, 99999, 0, 'e'
  FROM unnest(ARRAY['ext.member', 'ext.config', 'ext.all_config', 'ext.member_seq', 'ext.config_seq']::regclass[]) o
  UNION ALL SELECT 'pg_namespace'::regclass, 'ext'::regnamespace::oid, 0, 'pg_extension'::regclass, 99999, 0, 'e';
CREATE VIEW public.over_unpopulated AS SELECT 1 AS one FROM odd.not_populated;
CREATE MATERIALIZED VIEW public.above_unpopulated AS SELECT * FROM public.over_unpopulated WITH NO DATA;
CREATE TEMPORARY TABLE temporary (id int);
";

fn archive_entries(
    database: &TestDatabase,
    role: &str,
    arguments: &[String],
) -> Result<BTreeSet<String>, String> {
    let major = database.cluster().server().major;
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    let url = database.url().replace("postgres@", &format!("{role}@"));
    let dump = Command::new(tool("pg_dump", major))
        .args(["-Fc", "-Z0", "-f"])
        .arg(&archive)
        .args(arguments)
        .args(["-d", &url])
        .output()
        .unwrap();
    if !dump.status.success() {
        return Err(String::from_utf8_lossy(&dump.stderr).into_owned());
    }
    let list = Command::new(tool("pg_restore", major)).arg("-l").arg(&archive).output().unwrap();
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    let kinds = ["TABLE DATA", "SEQUENCE SET", "MATERIALIZED VIEW DATA"];
    let text = String::from_utf8(list.stdout).unwrap();
    Ok(text
        .lines()
        .filter_map(|line| {
            // 4711; 0 16400 TABLE DATA schema name owner
            let mut words = line.splitn(4, ' ');
            let entry = words.nth(3)?;
            kinds.iter().any(|kind| entry.starts_with(&format!("{kind} "))).then(|| entry.to_owned())
        })
        .collect())
}

fn our_entries(catalog: &Catalog) -> BTreeSet<String> {
    let entry = |kind: &str, schema: &str, name: &str, owner: &str| {
        format!("{kind} {schema} {name} {owner}").replace('\n', " ")
    };
    let tables = catalog.tables.iter().map(|t| entry("TABLE DATA", &t.schema, &t.name, &t.owner));
    let sequences = catalog.sequences.iter().map(|s| entry("SEQUENCE SET", &s.schema, &s.name, &s.owner));
    let views = catalog.materialized_views.iter().filter(|view| view.populated);
    let views = views.map(|v| entry("MATERIALIZED VIEW DATA", &v.schema, &v.name, &v.owner));
    tables.chain(sequences).chain(views).collect()
}

#[tokio::test]
async fn tables_sequences_and_views_are_those_pg_dump_dumps() {
    for server in servers() {
        let cluster = TestCluster::shared(server.major);
        let database = cluster.create_database();
        database.load(ODD_CATALOG).await;
        let mut client = database.client().await;
        client.execute(MORE).await.unwrap();
        let catalog = catalog(&database.options()).await;
        assert_eq!(catalog.unreadable, []);
        assert_eq!(
            our_entries(&catalog),
            archive_entries(&database, "postgres", &[]).unwrap(),
            "PostgreSQL {}",
            server.major
        );

        let by_hash = table(&catalog, "by_hash_1");
        assert_eq!(by_hash.load_via_root, Some(("odd".into(), "by_hash".into())));
        assert_eq!(by_hash.kind, TableKind::Partition);
        assert_eq!(table(&catalog, "by_hash_integer_0").load_via_root, None);
        assert_eq!(table(&catalog, "unlogged").persistence, Persistence::Unlogged);
        assert_eq!(table(&catalog, "config").extension_condition.as_deref(), Some("WHERE id > 1"));
        assert_eq!(table(&catalog, "config").extension.as_deref(), Some("made_up"));
        assert!(!table(&catalog, "config").divisible && table(&catalog, "all_config").divisible);
        assert_eq!(table(&catalog, "users_own").extension, None);
        assert!(table(&catalog, "config").incremental_ineligible.is_some());
        assert!(table(&catalog, "other_access_method").incremental_ineligible.is_some());
        assert_eq!(table(&catalog, "by_range_2023").primary_key, Some(vec!["id".into(), "day".into()]));
        let gross = table(&catalog, "columns").columns.iter().find(|c| c.name == "gross").unwrap().clone();
        assert_eq!(gross.generated, Some(Generated::Stored));
        let view = catalog.materialized_views.iter().find(|v| v.name == "A material on all").unwrap();
        assert_eq!(view.depends_on.len(), 2);
        assert!(catalog.foreign_tables.iter().any(|t| t.name == "foreign_table"));
        assert!(catalog.foreign_keys.iter().any(|k| k.name == "violated_reference" && !k.validated));
        assert_eq!(
            (catalog.database.name.as_str(), catalog.database.encoding.as_str()),
            (database.name(), "UTF8")
        );
    }
}

#[tokio::test]
async fn keys_and_types_are_known_by_column() {
    for server in servers() {
        let database = TestCluster::shared(server.major).create_database();
        database
            .load(
                "CREATE SCHEMA k; CREATE TYPE k.pair AS (a int, \"B c\" numeric(5,2)[]); CREATE DOMAIN k.small AS int CHECK (VALUE < 9);
                CREATE TABLE k.to_it (b text, a int, c k.small, p k.pair, r int4multirange, PRIMARY KEY (a, b), UNIQUE (c), g int GENERATED ALWAYS AS (a + 1) STORED);
                CREATE UNIQUE INDEX partial ON k.to_it (b) WHERE a > 1; CREATE UNIQUE INDEX expression ON k.to_it (lower(b));
                CREATE UNIQUE INDEX included ON k.to_it (b, c) INCLUDE (a);
                CREATE TABLE k.from_it (x int, y text, FOREIGN KEY (y, x) REFERENCES k.to_it (b, a) DEFERRABLE) PARTITION BY LIST (x);
                CREATE TABLE k.part PARTITION OF k.from_it DEFAULT;",
            )
            .await;
        let catalog = catalog(&database.options()).await;
        let to_it = table(&catalog, "to_it");
        let unique: Vec<_> = to_it.unique_keys.iter().map(|key| key.columns.join(" ")).collect();
        assert_eq!(
            (to_it.primary_key.as_ref().unwrap().join(" "), unique),
            ("a b".into(), vec!["b c".into(), "c".into()])
        );
        let foreign = &table(&catalog, "part").foreign_columns;
        assert_eq!(foreign.len(), 1);
        assert_eq!(
            (foreign[0].columns.join(" "), foreign[0].table.as_str(), foreign[0].referenced.join(" ")),
            ("y x".into(), "to_it", "b a".into())
        );

        let of = |name: &str| catalog.types.iter().find(|found| found.name == name).unwrap();
        let pair = of("pair");
        assert_eq!((pair.kind, pair.attributes[1].0.as_str()), ('c', "B c"));
        let array = catalog.types.iter().find(|found| found.oid == pair.attributes[1].1).unwrap();
        assert_eq!(array.element, Some(of("numeric").oid));
        assert_eq!((of("small").kind, of("small").base), ('d', Some(of("int4").oid)));
        assert_eq!(
            (of("int4multirange").subtype, of("int4range").subtype),
            (Some(of("int4range").oid), Some(of("int4").oid))
        );
    }
}

#[tokio::test]
async fn every_table_reads_the_same_whole_and_in_ranges() {
    for server in servers() {
        let database = TestCluster::shared(server.major).create_database();
        database.load(ODD_CATALOG).await;
        let mut client = database.client().await;
        client.execute(MORE).await.unwrap();
        client.execute("INSERT INTO odd.no_columns SELECT FROM generate_series(1, 10000)").await.unwrap();
        let catalog = catalog(&database.options()).await;
        pin(&mut client).await.unwrap();
        client.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.unwrap();
        lock_tables(&mut client, &catalog.tables).await.unwrap();
        assert_eq!(replaced_since_snapshot(&mut client, &catalog.tables).await.unwrap(), [] as [u32; 0]);
        for table in &catalog.tables {
            let whole = copy(&mut client, &table.copy_out_sql(None)).await;
            let step = 1.max(table.pages / 3);
            let mut parts = String::new();
            let mut from = 0;
            while from < table.pages || from == 0 {
                let to = if from + step >= table.pages { u64::MAX } else { from + step };
                parts += &copy(&mut client, &table.copy_out_sql(Some(from..to))).await;
                from = from.saturating_add(step);
            }
            assert_eq!(whole, parts, "{} on {}", table.name, server.major);
        }
        assert!(copy(&mut client, &table(&catalog, "config").copy_out_sql(None)).await == "2\tb\n3\tc\n");
        let values = sequence_values(&mut client, &catalog.sequences).await.unwrap();
        assert_eq!(values.len(), catalog.sequences.len());
        for (sequence, value) in catalog.sequences.iter().zip(&values) {
            assert_eq!(sequence.oid, value.oid);
        }
        let never = catalog.sequences.iter().position(|s| s.name == "never_called").unwrap();
        assert!(!values[never].is_called);
    }
}

#[tokio::test]
async fn rows_go_back_through_the_copy_statements() {
    let cluster = TestCluster::shared(18);
    let database = cluster.create_database();
    let mut client = database.client().await;
    client
        .execute(
            "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE h (m mood, v int) PARTITION BY HASH (m);
             CREATE TABLE h0 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE h1 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 1);
             INSERT INTO h SELECT (ARRAY['sad', 'ok'])[1 + n % 2]::mood, n FROM generate_series(1, 10) n;
             CREATE TABLE g (a int, s int GENERATED ALWAYS AS (a * 2) STORED, v int GENERATED ALWAYS AS (a * 3) VIRTUAL);
             INSERT INTO g VALUES (1), (2); CREATE TABLE none (); INSERT INTO none DEFAULT VALUES;
             CREATE TABLE all_generated (s int GENERATED ALWAYS AS (7) STORED); INSERT INTO all_generated DEFAULT VALUES",
        )
        .await
        .unwrap();
    let catalog = catalog(&database.options()).await;
    assert_eq!(table(&catalog, "g").columns[2].generated, Some(Generated::Virtual));
    let mut texts = Vec::new();
    for table in &catalog.tables {
        texts.push((table, copy(&mut client, &table.copy_out_sql(None)).await));
    }
    client.execute("TRUNCATE h, g, none, all_generated").await.unwrap();
    for (table, text) in &texts {
        let mut copy = client.copy_in(&table.copy_in_sql()).await.unwrap();
        copy.write(text.as_bytes()).await.unwrap();
        assert_eq!(copy.finish().await.unwrap(), text.lines().count() as u64, "{}", table.name);
    }
    for (table, text) in &texts {
        assert_eq!(&copy(&mut client, &table.copy_out_sql(None)).await, text);
    }
}

#[tokio::test]
async fn what_a_role_may_not_read_is_listed_and_pg_dump_works_without_it() {
    for server in servers() {
        let cluster = TestCluster::shared(server.major);
        let database = cluster.create_database();
        database.load(ODD_CATALOG).await;
        let mut client = database.client().await;
        client.execute(MORE).await.unwrap();
        client
            .execute(
                "CREATE ROLE limited LOGIN BYPASSRLS; CREATE SCHEMA closed;
                 DO $$ DECLARE s text; BEGIN
                   FOR s IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'closed' LOOP
                     EXECUTE format('GRANT USAGE ON SCHEMA %I TO limited', s);
                     EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO limited', s);
                     EXECUTE format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO limited', s);
                   END LOOP;
                   -- The fixture leaves rights of other roles behind.
                   FOR s IN SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p', 'S') AND relnamespace = 'closed'::regnamespace LOOP
                     EXECUTE format('REVOKE ALL ON %s FROM limited', s);
                   END LOOP;
                 END $$;
                 CREATE TABLE closed.t (id int); GRANT SELECT ON closed.t TO limited; CREATE SEQUENCE closed.s;
                 CREATE TABLE public.denied (id int); CREATE TABLE public.one_column (a int, b int);
                 GRANT SELECT (a) ON public.one_column TO limited;
                 CREATE TABLE public.writable (id int); GRANT UPDATE ON public.writable TO limited;
                 CREATE TABLE public.parted (id int) PARTITION BY LIST (id);
                 CREATE TABLE public.leaf PARTITION OF public.parted FOR VALUES IN (1); GRANT SELECT ON public.leaf TO limited;
                 CREATE SEQUENCE public.denied_sequence; GRANT USAGE ON SEQUENCE public.denied_sequence TO limited;
                 REVOKE ALL ON ext.config FROM limited",
            )
            .await
            .unwrap();
        let catalog = catalog(&options_as(&database, "limited")).await;
        let newer = server.major >= 16;
        let found: BTreeSet<(String, UnreadableKind, bool)> = catalog
            .unreadable
            .iter()
            .map(|u| (format!("{}.{}", u.relation.schema, u.relation.name), u.kind, u.fails_pg_dump))
            .collect();
        let expected: BTreeSet<_> = [
            ("closed.t", UnreadableKind::Table, true),
            ("closed.s", UnreadableKind::Sequence, false),
            ("public.denied", UnreadableKind::Table, true),
            ("public.one_column", UnreadableKind::Table, true),
            // From 16 on the right to write allows the lock that pg_dump takes.
            ("public.writable", UnreadableKind::Table, !newer),
            ("public.parted", UnreadableKind::PartitionedTable, true),
            ("public.denied_sequence", UnreadableKind::Sequence, false),
            ("ext.config", UnreadableKind::Table, false),
        ]
        .map(|(name, kind, fails)| (name.to_owned(), kind, fails))
        .into();
        assert_eq!(found, expected, "PostgreSQL {}", server.major);

        let pattern = |u: &basekeep_postgres::catalog::Unreadable| {
            format!("--exclude-table=\"{}\".\"{}\"", u.relation.schema, u.relation.name)
        };
        let fails: Vec<String> = catalog.unreadable.iter().filter(|u| u.fails_pg_dump).map(pattern).collect();
        let all: Vec<String> = catalog.unreadable.iter().map(pattern).collect();
        let schema_only = |excluded: &[String]| {
            let mut arguments = vec!["--schema-only".to_owned()];
            arguments.extend_from_slice(excluded);
            archive_entries(&database, "limited", &arguments)
        };
        schema_only(&fails).unwrap();
        for left_in in 0..fails.len() {
            let mut fewer = fails.clone();
            fewer.remove(left_in);
            assert!(schema_only(&fewer).is_err(), "{} is not needed on {}", fails[left_in], server.major);
        }
        let mut data = all.clone();
        data.push("--no-large-objects".to_owned());
        data.retain(|argument| server.major >= 16 || argument != "--no-large-objects");
        if server.major < 16 {
            data.push("--no-blobs".to_owned());
        }
        assert_eq!(our_entries(&catalog), archive_entries(&database, "limited", &data).unwrap());
        client.execute("DROP OWNED BY limited; DROP ROLE limited").await.unwrap();
    }
}

#[tokio::test]
async fn a_table_whose_rows_are_hidden_from_the_role_counts_as_unreadable() {
    let database = TestCluster::shared(15).create_database();
    let mut client = database.client().await;
    client
        .execute(
            "CREATE ROLE rls_reader LOGIN; CREATE TABLE open (id int); CREATE TABLE secured (id int);
             ALTER TABLE secured ENABLE ROW LEVEL SECURITY; GRANT SELECT ON open, secured TO rls_reader",
        )
        .await
        .unwrap();
    let read = |catalog: &Catalog| catalog.tables.iter().map(|table| table.name.clone()).collect::<Vec<_>>();
    assert_eq!(read(&catalog(&database.options()).await), ["open", "secured"]);
    let options = options_as(&database, "rls_reader");
    let seen = catalog(&options).await;
    assert_eq!(read(&seen), ["open"]);
    assert_eq!(seen.unreadable[0].reason, HIDDEN_ROWS);
    assert!(!seen.unreadable[0].fails_pg_dump);
    client.execute("ALTER ROLE rls_reader BYPASSRLS").await.unwrap();
    assert_eq!(read(&catalog(&options).await), ["open", "secured"]);
    client.execute("DROP OWNED BY rls_reader; DROP ROLE rls_reader").await.unwrap();
}

#[tokio::test]
async fn ten_thousand_tables_are_read_in_seconds() {
    let database = TestCluster::shared(18).create_database();
    let mut client = connect(&database.options()).await;
    for batch in 0..10 {
        client
            .execute(&format!(
                "DO $$ BEGIN FOR n IN 1..1000 LOOP
                   EXECUTE format('CREATE TABLE t_%s_%s (id int, a int, b timestamptz, c numeric(10,2))', {batch}, n);
                 END LOOP; END $$"
            ))
            .await
            .unwrap();
    }
    let started = std::time::Instant::now();
    let catalog = catalog(&database.options()).await;
    assert_eq!(catalog.tables.len(), 10_000);
    assert!(catalog.tables.iter().all(|t| t.columns.len() == 4));
    let took = started.elapsed();
    assert!(took.as_secs() < 20, "{took:?}");
    println!("10,000 tables in {took:?}");
}
