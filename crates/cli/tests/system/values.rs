//! Random values of every built-in type, rendered by a real server, survive backup and restore unchanged.

use std::fmt::Write as _;

use basekeep_postgres::quote_literal;
use basekeep_testkit::{TestCluster, load_sql};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::compare::{assert_same, picture};
use crate::program::Bench;

/// A type and a strategy for the text of its values. What the server refuses as input becomes NULL.
fn types() -> Vec<(&'static str, BoxedStrategy<String>)> {
    let text =
        || "(\\PC|[\\t\\n\\r\\\\\"'{},.]|\\\\\\.|\\\\N){0,40}".prop_map(|s| s.replace('\0', "")).boxed();
    let int = |low: i64, high: i64| {
        prop_oneof![Just(low), Just(high), Just(0), low..=high].prop_map(|n| n.to_string()).boxed()
    };
    let float = || {
        prop_oneof![
            Just("NaN".to_owned()),
            Just("Infinity".to_owned()),
            Just("-Infinity".to_owned()),
            Just("-0".to_owned()),
            any::<f64>().prop_map(|n| n.to_string())
        ]
        .boxed()
    };
    let numeric = prop_oneof![
        Just("NaN".to_owned()),
        Just("Infinity".to_owned()),
        "-?[0-9]{1,60}(\\.[0-9]{0,60})?",
        "-?[1-9]e-?[0-9]{1,3}"
    ];
    let date = || {
        prop_oneof![
            Just("infinity".to_owned()),
            Just("-infinity".to_owned()),
            (1..9999, 1..13, 1..29, prop_oneof![Just(""), Just(" BC")])
                .prop_map(|(y, m, d, era)| format!("{y:04}-{m:02}-{d:02}{era}"))
        ]
        .boxed()
    };
    let moment = || {
        (1..9999, 1..13, 1..29, 0..24, 0..60, 0..60, 0..1_000_000, prop_oneof![Just(""), Just(" BC")])
            .prop_map(|(y, mo, d, h, mi, s, us, era)| {
                format!("{y:04}-{mo:02}-{d:02} {h:02}:{mi:02}:{s:02}.{us:06}{era}")
            })
            .boxed()
    };
    let interval = (any::<i16>(), any::<i16>(), any::<i32>(), 0..1_000_000)
        .prop_map(|(m, d, s, us)| format!("{m} months {d} days {s}.{us:06} seconds"))
        .boxed();
    let number = || (-1000..1000_i32, 0..1000).prop_map(|(a, b)| format!("{a}.{b}")).boxed();
    let point = || (number(), number()).prop_map(|(x, y)| format!("({x},{y})")).boxed();
    let json = || {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            "(\\PC|[\\t\\n\\\\\"]){0,20}".prop_map(serde_json::Value::from)
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::hash_map("\\PC{0,6}", inner, 0..4)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect()))
            ]
        })
        .prop_map(|value| value.to_string())
        .boxed()
    };
    let bytes = prop::collection::vec(any::<u8>(), 0..60)
        .prop_map(|bytes| bytes.iter().fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}")))
        .boxed();
    let array = prop::collection::vec(prop::option::of("(\\PC|[\\t\\n\\\\\",{} ]){0,8}"), 0..5)
        .prop_map(|items| {
            let items: Vec<String> = items
                .into_iter()
                .map(|item| match item {
                    Some(s) => {
                        format!("\"{}\"", s.replace('\0', "").replace('\\', "\\\\").replace('"', "\\\""))
                    }
                    None => "NULL".into(),
                })
                .collect();
            format!("{{{}}}", items.join(","))
        })
        .boxed();
    let address = (any::<[u8; 4]>(), 0..=32_u8)
        .prop_map(|(a, bits)| format!("{}.{}.{}.{}/{bits}", a[0], a[1], a[2], a[3]));
    vec![
        ("text", text()),
        ("varchar(50)", text()),
        ("char(50)", text()),
        ("name", "\\PC{0,15}".boxed()),
        ("\"char\"", "[ -~]".boxed()),
        ("smallint", int(i64::from(i16::MIN), i64::from(i16::MAX))),
        ("integer", int(i64::from(i32::MIN), i64::from(i32::MAX))),
        ("bigint", int(i64::MIN, i64::MAX)),
        ("real", float()),
        ("double precision", float()),
        ("numeric", numeric.boxed()),
        ("money", (-9_000_000_000_i64..9_000_000_000).prop_map(|n| n.to_string()).boxed()),
        ("boolean", any::<bool>().prop_map(|b| b.to_string()).boxed()),
        ("date", date()),
        ("timestamp", moment()),
        ("timestamptz", moment()),
        (
            "time",
            (0..24, 0..60, 0..60, 0..1_000_000)
                .prop_map(|(h, m, s, u)| format!("{h}:{m}:{s}.{u:06}"))
                .boxed(),
        ),
        ("timetz", (0..24, 0..60, -14..15).prop_map(|(h, m, z)| format!("{h}:{m}:00{z:+03}")).boxed()),
        ("interval", interval),
        ("uuid", any::<u128>().prop_map(|n| format!("{n:032x}")).boxed()),
        ("json", json()),
        ("jsonb", json()),
        ("xml", "[a-z ]{0,10}".prop_map(|s| format!("<a b=\"{s}\">&lt;{s}\t\n</a>")).boxed()),
        ("bytea", bytes),
        ("bit varying", "[01]{0,70}".boxed()),
        ("bit(7)", "[01]{7}".boxed()),
        ("inet", address.clone().boxed()),
        ("cidr", address.prop_map(|a| a.split('/').next().unwrap().to_owned()).boxed()),
        ("macaddr", "[0-9a-f]{12}".boxed()),
        ("macaddr8", "[0-9a-f]{16}".boxed()),
        ("point", point()),
        ("lseg", (point(), point()).prop_map(|(a, b)| format!("[{a},{b}]")).boxed()),
        ("box", (point(), point()).prop_map(|(a, b)| format!("{a},{b}")).boxed()),
        ("path", (point(), point()).prop_map(|(a, b)| format!("[{a},{b}]")).boxed()),
        ("polygon", (point(), point(), point()).prop_map(|(a, b, c)| format!("({a},{b},{c})")).boxed()),
        ("circle", (point(), 0..100).prop_map(|(p, r)| format!("<{p},{r}>")).boxed()),
        ("line", (1..9, number(), number()).prop_map(|(a, b, c)| format!("{{{a},{b},{c}}}")).boxed()),
        (
            "int4range",
            (any::<i16>(), 0..100).prop_map(|(a, n)| format!("[{a},{})", i32::from(a) + n)).boxed(),
        ),
        ("numrange", (number(), 0..9).prop_map(|(a, _)| format!("({a},]")).boxed()),
        ("tstzrange", moment().prop_map(|a| format!("[\"{a}\",)")).boxed()),
        ("int8multirange", (0..50, 60..90).prop_map(|(a, b)| format!("{{[{a},55),[{b},100)}}")).boxed()),
        ("tsvector", "[a-z' :0-9]{0,30}".boxed()),
        ("tsquery", "[a-z]{1,5}( [&|] ![a-z]{1,5}){0,3}".boxed()),
        ("text[]", array.clone()),
        ("varchar[]", array),
        (
            "int[]",
            prop::collection::vec(any::<i32>(), 0..5)
                .prop_map(|v| format!("{v:?}").replace('[', "{").replace(']', "}"))
                .boxed(),
        ),
        ("pg_lsn", (any::<u32>(), any::<u32>()).prop_map(|(a, b)| format!("{a:X}/{b:X}")).boxed()),
        ("tid", (any::<u32>(), any::<u16>()).prop_map(|(a, b)| format!("({a},{b})")).boxed()),
        ("oid", any::<u32>().prop_map(|n| n.to_string()).boxed()),
        ("pg_snapshot", (1..50_u64).prop_map(|n| format!("{n}:{}:{n}", n + 9)).boxed()),
        ("jsonpath", "[a-z]{1,6}".prop_map(|s| format!("$.{s}[*] ? (@ > 1)")).boxed()),
    ]
}

#[tokio::test]
async fn random_values_of_all_built_in_types_come_back_the_same() {
    let mut runner = TestRunner::new(Config::default());
    let types = types();
    let mut sql = String::from(
        "CREATE FUNCTION pg_temp.try(input text, kind text) RETURNS text LANGUAGE plpgsql AS
         $$ DECLARE found text; BEGIN EXECUTE format('SELECT (%L::%s)::text', input, kind) INTO found; RETURN found;
         EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$;",
    );
    for (number, (kind, strategy)) in types.iter().enumerate() {
        let _ = write!(
            sql,
            "CREATE TABLE t{number} (n int, v {kind}); INSERT INTO t{number} SELECT n, pg_temp.try(v, "
        );
        let _ = write!(sql, "{})::{kind} FROM (VALUES (0, NULL)", quote_literal(kind));
        for row in 1..=150 {
            let value = strategy.new_tree(&mut runner).unwrap().current();
            let _ = write!(sql, ", ({row}, {})", quote_literal(&value));
        }
        sql.push_str(") AS given(n, v);");
    }
    let source = TestCluster::private(15, &[]).create_database();
    // What fails is told with the whole SQL, which holds the random values.
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), &sql).unwrap();
    load_sql(&source, &sql).await;
    let filled = source
        .client()
        .await
        .query(
            &(0..types.len())
                .map(|n| format!("SELECT {n}, count(v) FROM t{n}"))
                .collect::<Vec<_>>()
                .join(" UNION ALL "),
        )
        .await
        .unwrap();
    for row in filled.iter() {
        let (number, count): (usize, u64) = (row.parse(0).unwrap(), row.parse(1).unwrap());
        assert!(count > 20, "{} has only {count} values that the server takes", types[number].0);
    }

    let bench = Bench::new();
    bench.backup(&source.url()).expect(0);
    let target = source.cluster().create_database();
    bench.run(["restore", "--to", &target.url(), "--yes"]).expect(0);
    let (expected, found) = (picture(&source, 15).await, picture(&target, 15).await);
    if expected != found {
        panic!("the values are in {}", script.keep().unwrap().1.display());
    }
    assert_same(&expected, &found);
}
