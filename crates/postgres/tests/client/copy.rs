use super::{cluster, connect};
use basekeep_postgres::{Client, Digest};

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
