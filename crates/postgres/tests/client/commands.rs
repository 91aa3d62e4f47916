use super::{cluster, connect, servers};
use basekeep_postgres::cluster::{ClusterOptions, ScratchCluster};
use basekeep_postgres::{Client, Error, ErrorClass, SESSION_PINNING};

#[tokio::test]
async fn commands_errors_and_notices_leave_the_session_usable() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    client.execute(SESSION_PINNING).await.unwrap();
    client.execute("CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1), (2); DO $$BEGIN RAISE NOTICE 'hello'; END$$").await.unwrap();
    assert_eq!(client.take_notices()[0].message, "hello");
    let all = client
        .query_all("SELECT a FROM public.t ORDER BY a; UPDATE public.t SET a = a; SELECT 'z'")
        .await
        .unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].iter().map(|r| r.parse::<i32>(0).unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert!(client.query("CREATE TABLE public.u ()").await.unwrap().is_empty());
    assert!(client.query("").await.unwrap().is_empty());

    let error = client.query("SELECT 1; SELECT * FROM nowhere").await.unwrap_err();
    assert_eq!((error.sqlstate(), error.class()), (Some("42P01"), ErrorClass::Server));
    let Error::Server(server) = error else { panic!() };
    assert_eq!((server.severity.as_str(), server.position), ("ERROR", Some(25)));
    for misuse in ["COPY public.t TO STDOUT", "COPY public.t FROM STDIN"] {
        assert_eq!(client.execute(misuse).await.unwrap_err().class(), ErrorClass::Usage);
    }
    assert_eq!(client.copy_out("SELECT 1").await.map(drop).unwrap_err().class(), ErrorClass::Usage);
    assert_eq!(client.copy_in("SELECT 1").await.map(drop).unwrap_err().class(), ErrorClass::Usage);
    assert_eq!(client.query("SELECT 7").await.unwrap().one().unwrap().get(0), Some("7"));
    client.execute("BEGIN").await.unwrap();
    assert!(client.in_transaction());
}

#[tokio::test]
async fn the_pinned_session_is_what_the_format_says() {
    for binaries in servers() {
        let cluster = ScratchCluster::start(&binaries, ClusterOptions::default()).await.unwrap();
        the_session_is_pinned(&cluster).await;
    }
}

async fn the_session_is_pinned(cluster: &ScratchCluster) {
    let mut client = connect(cluster).await;
    client
        .execute(
            "ALTER ROLE postgres SET statement_timeout = '1min'; ALTER ROLE postgres SET DateStyle = German",
        )
        .await
        .unwrap();
    let mut client = connect(cluster).await;
    client.execute(SESSION_PINNING).await.unwrap();
    for (name, expect) in [
        ("DateStyle", "ISO"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("extra_float_digits", "3"),
        ("bytea_output", "hex"),
        ("search_path", "\"\""),
        ("row_security", "off"),
        ("synchronize_seqscans", "off"),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
    ] {
        let rows = client.query(&format!("SHOW {name}")).await.unwrap();
        let value = rows.one().unwrap().get(0).unwrap().to_owned();
        assert!(value.starts_with(expect), "{name}: {value}");
    }
}

#[tokio::test]
async fn a_running_command_is_cancelled() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    let token = client.cancel_token();
    let mut other = connect(&cluster).await;
    let pid = client.backend_pid();
    let cancel = async move {
        let active = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'");
        while other.query(&active).await.unwrap().is_empty() {}
        token.cancel().await.unwrap();
    };
    let (result, ()) = tokio::join!(client.execute("SELECT pg_sleep(60)"), cancel);
    assert_eq!(result.unwrap_err().sqlstate(), Some("57014"));
    client.execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn an_abandoned_command_closes_the_session() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    let slow =
        tokio::time::timeout(std::time::Duration::from_millis(50), client.execute("SELECT pg_sleep(60)"));
    assert!(slow.await.is_err());
    assert!(!client.is_usable());
    assert!(matches!(client.execute("SELECT 1").await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_terminated_session_is_a_lost_connection() {
    let cluster = cluster(Default::default()).await;
    let mut client = connect(&cluster).await;
    let error =
        client.query("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(10)").await.unwrap_err();
    assert_eq!((error.sqlstate(), error.class()), (Some("57P01"), ErrorClass::LostConnection));
    assert!(matches!(client.execute("SELECT 1").await, Err(Error::Closed)));
    let missing = Client::connect(&cluster.options().with_database("missing"), "test").await.unwrap_err();
    assert_eq!((missing.sqlstate(), missing.class()), (Some("3D000"), ErrorClass::Usage));
}
