use super::{cluster, connect};
use basekeep_postgres::{BinaryColumn, BinaryRows, Client, Digest};

async fn read_all(client: &mut Client, sql: &str) -> (Vec<u8>, Digest) {
    let mut copy = client.copy_out(sql).await.unwrap();
    let mut text = Vec::new();
    while copy.read(&mut text).await.unwrap() {}
    (text, copy.digest())
}

fn digest_of(text: &[u8]) -> Digest {
    let mut digest = Digest::default();
    text.split_inclusive(|b| *b == b'\n').for_each(|line| digest.add_row(line.strip_suffix(b"\n").unwrap()));
    digest
}

#[tokio::test]
async fn rows_of_all_sizes_go_out_and_in_again() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    client
        .execute(
            "CREATE TABLE a AS SELECT i, repeat(md5(i::text), (i * 7919 % 40) * (i % 3) * (i % 5)) || E'\\\\ \\n\\t é' AS t, \
             CASE WHEN i % 2 = 0 THEN i END AS n FROM generate_series(1, 20000) i; \
             INSERT INTO a SELECT 0, repeat('x', 30000000); CREATE TABLE b (LIKE a)",
        )
        .await
        .unwrap();
    let (text, digest) = read_all(&mut client, "COPY a TO STDOUT").await;
    assert_eq!(digest, digest_of(&text));
    assert_eq!((digest.rows, digest.bytes), (20001, text.len() as u64));

    let mut copy = client.copy_in("COPY b FROM STDIN").await.unwrap();
    for piece in text.chunks(70_001) {
        copy.write(piece).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), 20001);
    let (again, digest_again) =
        read_all(&mut client, "COPY (SELECT * FROM b ORDER BY i DESC) TO STDOUT").await;
    assert!(again != text && digest_again == digest);
}

#[tokio::test]
async fn a_server_that_falls_silent_amid_a_copy_is_heard_again() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    // Longer than bytes are left to gather, so that the socket is watched again, several times.
    let sql = "COPY (SELECT i, repeat('x', 1000), CASE WHEN i % 1500 = 0 THEN pg_catalog.pg_sleep(0.05)::text END \
         FROM generate_series(1, 9000) i) TO STDOUT";
    for _ in 0..2 {
        let (text, digest) = read_all(&mut client, sql).await;
        assert_eq!(digest, digest_of(&text));
        assert_eq!(digest.rows, 9000);
        client.execute("SELECT 1").await.unwrap();
    }
}

#[tokio::test]
async fn tables_without_rows_or_columns_have_their_digest() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    client
        .execute("CREATE TABLE e (a int); CREATE TABLE z (); INSERT INTO z SELECT FROM generate_series(1, 3)")
        .await
        .unwrap();
    assert_eq!(read_all(&mut client, "COPY e TO STDOUT").await, (Vec::new(), Digest::default()));
    let (text, digest) = read_all(&mut client, "COPY z TO STDOUT").await;
    assert_eq!((text.as_slice(), digest.rows), (&b"\n\n\n"[..], 3));
}

#[tokio::test]
async fn an_error_amid_a_copy_out_is_returned_and_the_session_goes_on() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    let mut copy = client
        .copy_out("COPY (SELECT 1 / (100000 - i) FROM generate_series(1, 200000) i) TO STDOUT")
        .await
        .unwrap();
    let mut text = Vec::new();
    let error = loop {
        match copy.read(&mut text).await {
            Ok(more) => assert!(more, "an error must not look like an end"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.sqlstate(), Some("22012"));
    client.execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn an_error_of_copy_in_is_noticed_before_all_is_sent() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    client.execute("CREATE TABLE t (a int)").await.unwrap();
    let mut copy = client.copy_in("COPY t FROM STDIN").await.unwrap();
    let mut pieces = 0;
    let piece = b"1\n2\nhunter2\n".repeat(10_000);
    let error = loop {
        pieces += 1;
        assert!(pieces < 2000, "the server's error was not noticed");
        if let Err(error) = copy.write(&piece).await {
            break error;
        }
    };
    assert_eq!(error.sqlstate(), Some("22P02"));
    assert!(!format!("{error} {error:?} {:?}", error.hints()).contains("hunter2"));
    drop(copy);
    assert_eq!(client.query("SELECT count(*) FROM t").await.unwrap().one().unwrap().get(0), Some("0"));
}

#[tokio::test]
async fn notices_while_data_goes_in_do_not_block() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    client
        .execute(
            "CREATE TABLE t (a int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN RAISE NOTICE '%', repeat('x', 2000); RETURN NEW; END$$; \
             CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
        )
        .await
        .unwrap();
    let mut copy = client.copy_in("COPY t FROM STDIN").await.unwrap();
    for _ in 0..20 {
        copy.write(&b"1\n".repeat(5000)).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), 100_000);
    assert_eq!(client.take_notices().len(), 200);
}

#[tokio::test]
async fn an_aborted_copy_in_leaves_no_rows() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    client.execute("CREATE TABLE t (a int)").await.unwrap();
    let mut copy = client.copy_in("COPY t FROM STDIN").await.unwrap();
    copy.write(b"1\n2\n").await.unwrap();
    copy.abort("changed our mind").await.unwrap();
    assert!(client.query("SELECT FROM t").await.unwrap().is_empty());
}

/// What a receive function must be given for each text, by the server's own send function.
async fn assert_binary_is_the_servers(
    client: &mut Client,
    kind: &str,
    is_enum: bool,
    send: &str,
    values: &str,
) {
    let rows = client.query(&format!("SELECT '{kind}'::regtype::oid")).await.unwrap();
    let oid = rows.iter().next().unwrap().parse(0).unwrap();
    let column = BinaryColumn::of_type(oid, is_enum).unwrap();
    let sql = format!("COPY (SELECT x, encode({send}(x), 'hex') FROM ({values}) AS v (x)) TO STDOUT");
    let (text, digest) = read_all(client, &sql).await;
    assert!(digest.rows > 1, "{kind}");
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let tab = line.iter().rposition(|b| *b == b'\t').unwrap();
        let (field, expected) = (&line[..tab], &line[tab + 1..]);
        let shown = String::from_utf8_lossy(field);
        let mut rows = BinaryRows::new(vec![column]);
        let mut row = field.to_vec();
        row.push(b'\n');
        let out = rows.push(&row).unwrap_or_else(|_| panic!("{kind} {shown} is refused"));
        // Header, number of fields, length.
        let found: String = out[19 + 2 + 4..].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found.as_bytes(), expected, "{kind} {shown}");
        assert_eq!(out[19 + 2..][..4], ((out.len() - 25) as i32).to_be_bytes(), "{kind} {shown}");
    }
}

#[tokio::test]
async fn the_binary_form_of_each_type_is_what_the_server_sends() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    client
        .execute("SELECT setseed(0.3); CREATE TYPE mood AS ENUM ('sad', 'o''k', 'very \\ happy')")
        .await
        .unwrap();
    let n = "generate_series(1, 5000) AS n";
    let number = format!("(random() - 0.5) * 10::float8 ^ (random() * 60 - 30) FROM {n}");
    let many = |values: String, special: &str| format!("{values} UNION ALL VALUES {special}");
    let cases = [
        ("bool", "boolsend", "VALUES (true), (false)".to_owned()),
        (
            "int2",
            "int2send",
            many(
                format!("SELECT (random() * 65535 - 32768)::int2 FROM {n}"),
                "('-32768'::int2), (32767::int2), (0::int2)",
            ),
        ),
        (
            "int4",
            "int4send",
            many(
                format!("SELECT (random() * 4294967295 - 2147483648)::int4 FROM {n}"),
                "('-2147483648'::int4), (2147483647), (0)",
            ),
        ),
        (
            "int8",
            "int8send",
            many(
                format!("SELECT (random() * 1e18 - 5e17)::int8 FROM {n}"),
                "('-9223372036854775808'::int8), (9223372036854775807), (0)",
            ),
        ),
        (
            "float4",
            "float4send",
            many(
                format!("SELECT ((random() - 0.5) * 10::float8 ^ (random() * 60 - 30))::float4 FROM {n}"),
                "('NaN'::float4), ('Infinity'), ('-Infinity'), ('-0'), (3.4028235e38), (1e-45)",
            ),
        ),
        (
            "float8",
            "float8send",
            many(
                format!("SELECT {number}"),
                "('NaN'::float8), ('Infinity'), ('-Infinity'), ('-0'), (1.7976931348623157e308), (5e-324), (0.1), (1e22)",
            ),
        ),
        (
            "numeric",
            "numeric_send",
            many(
                format!("SELECT round((random() - 0.5)::numeric * 10::numeric ^ (n % 40), n % 25) FROM {n}"),
                "('NaN'::numeric), (0), (0.00), (-0.0001), (10000), (100000000), (99999999.9999), (0.00010000), (1.500), (12345.678900), (1e-300), (1e300 + 1), (-1234567890123456789.000000000000000001)",
            ),
        ),
        ("uuid", "uuid_send", format!("SELECT md5(n::text)::uuid FROM {n}")),
        (
            "bytea",
            "byteasend",
            many(format!("SELECT sha256(n::text::bytea) FROM {n}"), "(''::bytea), ('\\x00ff0a5c09')"),
        ),
        (
            "text",
            "textsend",
            many(
                format!("SELECT md5(n::text) FROM {n}"),
                r"(''), (E'\b\f\n\r\t\v\\'), ('\N'), ('é€😀'), (E'\x01\x7f'), ('\.'), ('\\N')",
            ),
        ),
        ("varchar", "varcharsend", "VALUES ('a'::varchar), ('a\tb')".to_owned()),
        ("bpchar", "bpcharsend", "VALUES ('a   '::char(9)), ('')".to_owned()),
        ("json", "json_send", r#"VALUES ('{"a" : "x\n\\y"}'::json), ('null')"#.to_owned()),
        (
            "jsonb",
            "jsonb_send",
            format!(
                r#"SELECT jsonb_build_object('n', n, 't', E'a"\\\n\té' || n, 'l', jsonb_build_array(n, null, true)) FROM {n}"#
            ),
        ),
        ("mood", "enum_send", "SELECT unnest(enum_range(NULL::mood))".to_owned()),
        (
            "date",
            "date_send",
            many(
                format!("SELECT date '0001-01-01' + n * 731 FROM {n}"),
                "(date '0001-01-01'), ('2000-02-29'), ('1999-12-31'), ('9999-12-31'), ('10000-01-01'), ('infinity'), ('-infinity')",
            ),
        ),
    ];
    for (kind, send, values) in &cases {
        assert_binary_is_the_servers(&mut client, kind, *kind == "mood", send, values).await;
    }
    let moments = "SELECT timestamp '0001-01-02 00:00:00' + random() * interval '20000 years' FROM generate_series(1, 5000)
        UNION ALL SELECT timestamp '2024-01-01' + n * interval '0.1 seconds' FROM generate_series(1, 20) AS n
        UNION ALL VALUES (timestamp '1999-12-31 23:59:59.999999'), ('2000-01-01'), ('2000-02-29 12:00:00.5'), ('infinity'), ('-infinity')";
    assert_binary_is_the_servers(&mut client, "timestamp", false, "timestamp_send", moments).await;
    for zone in ["UTC", "Asia/Kolkata", "America/St_Johns", "Europe/Amsterdam", "Pacific/Apia"] {
        client.execute(&format!("SET TimeZone = '{zone}'")).await.unwrap();
        let zoned = format!("SELECT x::timestamptz FROM ({moments}) AS m (x)");
        assert_binary_is_the_servers(&mut client, "timestamptz", false, "timestamptz_send", &zoned).await;
    }
}

#[tokio::test]
async fn rows_that_go_in_as_binary_are_the_same_rows() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    client
        .execute(
            "CREATE TABLE a (i int, t text, n numeric(20,5), j jsonb, z timestamptz, v varchar(40));
             INSERT INTO a SELECT i, CASE WHEN i % 3 > 0 THEN repeat(E'x\\\\\\n\\té', i % 50) END, random() * i,
                 jsonb_build_object('i', i), now() + i * interval '1 minute', md5(i::text) FROM generate_series(1, 20000) AS i;
             CREATE TABLE b (LIKE a)",
        )
        .await
        .unwrap();
    let (text, digest) = read_all(&mut client, "COPY a TO STDOUT").await;
    use BinaryColumn::{Int4, Jsonb, Numeric, Text, Timestamptz};
    let mut rows = BinaryRows::new(vec![Int4, Text, Numeric, Jsonb, Timestamptz, Text]);
    let mut copy = client.copy_in("COPY b FROM STDIN WITH (FORMAT binary)").await.unwrap();
    for piece in text.chunks(7_001) {
        copy.write(rows.push(piece).unwrap()).await.unwrap();
    }
    copy.write(rows.finish().unwrap()).await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 20_000);
    // In any order: scans of large tables begin where others are.
    assert_eq!(read_all(&mut client, "COPY b TO STDOUT").await.1, digest);
}

#[tokio::test]
async fn several_copies_are_read_from_one_command() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    client
        .execute("CREATE TABLE a (x int); CREATE TABLE b (x int); CREATE TABLE c (x text); INSERT INTO a VALUES (1), (2); INSERT INTO c VALUES ('z')")
        .await
        .unwrap();
    let copies = ["a", "b", "c"].map(|table| format!("COPY public.{table} TO STDOUT"));
    let mut copy =
        client.copy_out_many("BEGIN; LOCK TABLE a, b IN ACCESS SHARE MODE", &copies).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let mut text = Vec::new();
        while copy.read(&mut text).await.unwrap() {}
        seen.push((copy.digest().rows, String::from_utf8(text).unwrap()));
        if !copy.next_copy().await.unwrap() {
            break;
        }
    }
    assert_eq!(seen, [(2, "1\n2\n".into()), (0, String::new()), (1, "z\n".into())]);
    client.execute("COMMIT").await.unwrap();

    // One that fails in the middle leaves a session that can go on.
    let copies = ["COPY public.a TO STDOUT".to_owned(), "COPY public.missing TO STDOUT".to_owned()];
    let mut copy = client.copy_out_many("", &copies).await.unwrap();
    while copy.read(&mut Vec::new()).await.unwrap() {}
    assert_eq!(copy.next_copy().await.unwrap_err().sqlstate(), Some("42P01"));
    assert!(client.is_usable());
}
