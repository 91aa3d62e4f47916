use super::{cluster, connect};
use basekeep_postgres::cluster::{ClusterOptions, ScratchCluster};
use basekeep_postgres::{Client, ConnectOptions, CopyOut, Environment, Error, ErrorClass};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn cutting_proxy(server: u16, sent_by_server: u64) -> u16 {
    proxy(server, u64::MAX, sent_by_server).await
}

/// Passes one connection on and cuts it when either side has sent this many bytes. Gives the port to connect to.
async fn proxy(server: u16, sent_by_client: u64, sent_by_server: u64) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
        let (from_client, mut to_client) = client.split();
        let (from_server, mut to_server) = server.split();
        let mut from_client = from_client.take(sent_by_client);
        let mut from_server = from_server.take(sent_by_server);
        tokio::select! {
            _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
            _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
        }
        let _ = to_client.shutdown().await;
    });
    port
}

async fn server() -> (ScratchCluster, String) {
    let hba = vec!["host all open all trust".to_owned()];
    let cluster = cluster(ClusterOptions { tcp: true, hba, ..Default::default() }).await;
    connect(&cluster)
        .await
        .execute(
            "CREATE ROLE open LOGIN; CREATE TABLE t AS SELECT i, repeat('x', i % 100) FROM generate_series(1, 50000) i; \
             GRANT ALL ON t TO open",
        )
        .await
        .unwrap();
    let port = cluster.port();
    (cluster, format!("host=127.0.0.1 port={port} user=open dbname=postgres sslmode=disable"))
}

async fn connect_through(conninfo: &str, port: u16) -> Client {
    let options =
        ConnectOptions::resolve(&format!("{conninfo} port={port}"), &Environment::default()).unwrap();
    Client::connect(&options, "test").await.unwrap()
}

async fn read_to_end(mut copy: CopyOut<'_>) -> Result<u64, Error> {
    let mut out = Vec::new();
    while copy.read(&mut out).await? {
        out.clear();
    }
    Ok(copy.digest().rows)
}

#[tokio::test]
async fn a_connection_cut_amid_a_copy_is_never_its_end() {
    let (cluster, conninfo) = server().await;
    let mut whole = connect_through(&conninfo, cutting_proxy(cluster.port(), u64::MAX).await).await;
    assert_eq!(read_to_end(whole.copy_out("COPY t TO STDOUT").await.unwrap()).await.unwrap(), 50_000);
    for cut in [1_000, 4_096, 65_536, 65_537, 300_000, 1_000_001, 2_000_000] {
        let mut client = connect_through(&conninfo, cutting_proxy(cluster.port(), cut).await).await;
        let error = match client.copy_out("COPY t TO STDOUT").await {
            Ok(copy) => read_to_end(copy).await.expect_err("the connection was cut"),
            Err(error) => error,
        };
        assert_eq!(error.class(), ErrorClass::LostConnection, "{error}");
        assert!(matches!(client.execute("SELECT 1").await, Err(Error::Closed)));
    }
}

#[tokio::test]
async fn a_connection_cut_amid_a_copy_in_is_an_error() {
    let (cluster, conninfo) = server().await;
    let mut other = connect(&cluster).await;
    for cut in [10_000, 200_000, 5_000_000] {
        let port = proxy(cluster.port(), cut, u64::MAX).await;
        let mut client = connect_through(&conninfo, port).await;
        let result = async {
            let mut copy = client.copy_in("COPY t FROM STDIN").await?;
            for _ in 0..300 {
                copy.write(&b"1\tx\n".repeat(10_000)).await?;
            }
            copy.finish().await
        };
        assert_eq!(result.await.unwrap_err().class(), ErrorClass::LostConnection);
        let rows = other.query("SELECT count(*) FROM t").await.unwrap();
        assert_eq!(rows.one().unwrap().get(0), Some("50000"), "nothing of it was kept");
    }
}

#[tokio::test]
async fn a_backend_killed_amid_a_copy_is_a_lost_connection() {
    let (cluster, conninfo) = server().await;
    let mut other = connect(&cluster).await;
    for (kill, more) in [("SELECT pg_terminate_backend", "57P01"), ("crash", "")] {
        let mut client = connect_through(&conninfo, cluster.port()).await;
        let pid = client.backend_pid();
        let mut copy =
            client.copy_out("COPY (SELECT t.* FROM t, generate_series(1, 1000)) TO STDOUT").await.unwrap();
        let mut out = Vec::new();
        assert!(copy.read(&mut out).await.unwrap());
        if kill == "crash" {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
                .unwrap();
        } else {
            other.execute(&format!("{kill}({pid})")).await.unwrap();
        }
        let error = read_to_end(copy).await.expect_err("the backend was killed");
        assert_eq!(error.class(), ErrorClass::LostConnection, "{error}");
        assert!(error.sqlstate().is_none_or(|code| code == more), "{error}");
    }
}

#[tokio::test]
async fn a_backend_terminated_amid_a_copy_in_says_so() {
    let (cluster, conninfo) = server().await;
    let mut other = connect(&cluster).await;
    let mut client = connect_through(&conninfo, cluster.port()).await;
    let pid = client.backend_pid();
    let mut copy = client.copy_in("COPY t FROM STDIN").await.unwrap();
    let piece = b"1\tx\n".repeat(50_000);
    copy.write(&piece).await.unwrap();
    other.execute(&format!("SELECT pg_terminate_backend({pid})")).await.unwrap();
    let error = loop {
        if let Err(error) = copy.write(&piece).await {
            break error;
        }
    };
    assert_eq!(error.class(), ErrorClass::LostConnection, "{error}");
}
