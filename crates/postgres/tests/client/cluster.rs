use super::{cluster, connect, servers};
use basekeep_postgres::cluster::{ClusterOptions, ScratchCluster};

#[tokio::test]
async fn every_server_starts_and_answers_and_leaves_nothing_behind() {
    for binaries in servers() {
        let options = ClusterOptions { tcp: true, ..ClusterOptions::default() };
        let cluster = ScratchCluster::start(&binaries, options).await.unwrap();
        let mut client = connect(&cluster).await;
        assert_eq!(client.server_version(), binaries.version_num);
        let rows = client.query("SELECT 1, NULL, 'x' || chr(233)").await.unwrap();
        let row = rows.one().unwrap();
        assert_eq!((row.get(0), row.get(1), row.get(2)), (Some("1"), None, Some("xé")));
        client.close().await;
        let tcp = cluster.tcp_options().unwrap();
        let client = basekeep_postgres::Client::connect(&tcp, "test").await.unwrap();
        assert_eq!(client.parameter("application_name"), Some("test"));
        let dir = cluster.data_dir();
        cluster.stop().await.unwrap();
        assert!(!dir.exists());
    }
}

#[tokio::test]
async fn a_setting_that_is_wrong_is_reported_from_the_log() {
    let settings = vec![("shared_buffers".into(), "none".into())];
    let error =
        ScratchCluster::start(servers().last().unwrap(), ClusterOptions { settings, ..Default::default() })
            .await
            .unwrap_err();
    assert!(error.to_string().contains("shared_buffers"), "{error}");
}

#[tokio::test]
async fn a_long_directory_gets_its_socket_elsewhere() {
    let parent = tempfile::Builder::new().prefix(&"long".repeat(30)).tempdir().unwrap();
    std::fs::set_permissions(parent.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let cluster =
        cluster(ClusterOptions { parent_dir: Some(parent.path().to_owned()), ..Default::default() }).await;
    connect(&cluster).await.execute("SELECT 1").await.unwrap();
    let socket_dir = cluster.socket_dir().to_owned();
    assert!(!socket_dir.starts_with(parent.path()));
    drop(cluster);
    assert!(!socket_dir.exists());
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}
