//! Large objects written, read in a snapshot, and listed.

use super::{connect, options_as};
use basekeep_postgres::large_objects::{
    Contents, LargeObjectDigester, Writer, count, digest, digest_all, list,
};
use basekeep_postgres::session::{begin_export, join, pin};
use basekeep_postgres::{Client, Digest};
use basekeep_testkit::{TestCluster, servers};
use std::collections::BTreeMap;

/// Sizes around the limits of batches and ranges.
const SIZES: [usize; 9] = [
    0,
    1,
    2048,
    (16 << 10) - 1,
    16 << 10,
    (16 << 10) + 1,
    (4 << 20) + (16 << 10),
    (4 << 20) + (16 << 10) + 1,
    9_000_000,
];

async fn read_all(client: &mut Client, oids: Vec<u32>) -> BTreeMap<u32, Vec<u8>> {
    let mut contents = Contents::new(oids);
    let mut all: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut ended = 0;
    while let Some(part) = contents.next(client).await.unwrap() {
        assert!(part.data.len() <= 4 << 20);
        all.entry(part.oid).or_default().extend(part.data);
        ended += usize::from(part.last);
    }
    assert_eq!(ended, all.len());
    all
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n * 31 + n / 251) as u8).collect()
}

#[tokio::test]
async fn contents_written_are_read_back_equal() {
    for server in servers() {
        let database = TestCluster::shared(server.major).create_database();
        let mut client = connect(&database.options()).await;
        pin(&mut client).await.unwrap();
        let mut writer = Writer::new();
        let mut expected = BTreeMap::new();
        for (index, size) in SIZES.into_iter().chain((0..600).map(|n| n * 3)).enumerate() {
            let oid = 20_000 + index as u32;
            client.execute(&format!("SELECT lo_create({oid})")).await.unwrap();
            expected.insert(oid, content(size));
        }
        let mut sum = Digest::default();
        for (oid, content) in &expected {
            let mut digester = LargeObjectDigester::new(*oid);
            for piece in content.chunks(700_001) {
                digester.update(piece);
                writer.write(&mut client, *oid, piece).await.unwrap();
            }
            sum += digester.digest();
        }
        writer.finish(&mut client).await.unwrap();
        assert!(!client.in_transaction());

        let mut leader = connect(&database.options()).await;
        let snapshot = begin_export(&mut leader).await.unwrap();
        client.execute("SELECT lo_put(20001, 0, 'changed'), lo_unlink(20002)").await.unwrap();
        let mut worker = connect(&database.options()).await;
        join(&mut worker, &snapshot.id).await.unwrap();
        let oids: Vec<u32> = list(&mut worker).await.unwrap().iter().map(|object| object.oid).collect();
        assert_eq!(oids, expected.keys().copied().collect::<Vec<_>>());
        assert!(read_all(&mut worker, oids.clone()).await == expected, "{}", server.major);
        assert_eq!(digest(&mut worker, &oids).await.unwrap(), sum);
        assert_eq!(digest_all(&mut leader).await.unwrap(), sum);
        assert_ne!(digest_all(&mut client).await.unwrap(), sum);
    }
}

#[tokio::test]
async fn holes_read_as_zeros() {
    let database = TestCluster::shared(15).create_database();
    let mut client = connect(&database.options()).await;
    pin(&mut client).await.unwrap();
    client.execute("SELECT lo_create(30000); SELECT lo_put(30000, 100000, 'end')").await.unwrap();
    let mut expected = vec![0; 100_000];
    expected.extend(b"end");
    assert!(read_all(&mut client, vec![30_000]).await[&30_000] == expected);
}

#[tokio::test]
async fn owner_privileges_comment_and_what_is_unreadable_are_listed() {
    for server in servers() {
        let database = TestCluster::shared(server.major).create_database();
        let mut client = connect(&database.options()).await;
        client
            .execute(
                "CREATE ROLE lo_group; CREATE ROLE lo_reader LOGIN IN ROLE lo_group; CREATE ROLE lo_owner;
                 SELECT lo_create(o) FROM generate_series(40001, 40005) o;
                 ALTER LARGE OBJECT 40001 OWNER TO lo_owner; COMMENT ON LARGE OBJECT 40001 IS 'it''s one';
                 GRANT SELECT ON LARGE OBJECT 40002 TO PUBLIC; GRANT SELECT ON LARGE OBJECT 40003 TO lo_group;
                 ALTER LARGE OBJECT 40004 OWNER TO lo_reader; GRANT UPDATE ON LARGE OBJECT 40005 TO lo_reader",
            )
            .await
            .unwrap();
        let mut reader = connect(&options_as(&database, "lo_reader")).await;
        pin(&mut reader).await.unwrap();
        let listed = list(&mut reader).await.unwrap();
        assert_eq!((listed[0].owner.as_str(), listed[0].comment.as_deref()), ("lo_owner", Some("it's one")));
        assert!(listed[0].acl.is_none());
        assert!(listed[2].acl.as_ref().unwrap().contains(&"lo_group=r/postgres".to_owned()));
        let readable: Vec<u32> = listed.iter().filter(|o| o.readable).map(|o| o.oid).collect();
        assert_eq!(readable, [40_002, 40_003, 40_004]);
        assert_eq!(count(&mut reader).await.unwrap(), (5, 2));
        for object in &listed {
            let works = reader.query(&format!("SELECT lo_get({})", object.oid)).await.is_ok();
            assert_eq!(works, object.readable, "{} on {}", object.oid, server.major);
        }
        assert_eq!(read_all(&mut reader, readable).await.len(), 3);
        assert!(list(&mut client).await.unwrap().iter().all(|object| object.readable));
        client.execute("SELECT lo_unlink(o) FROM generate_series(40001, 40005) o; DROP ROLE lo_reader, lo_group, lo_owner").await.unwrap();
    }
}
