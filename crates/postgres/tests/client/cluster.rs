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

#[tokio::test]
async fn a_kept_cluster_runs_on_until_it_is_told_to_stop() {
    let kept = cluster(Default::default()).await.keep();
    let mut client = basekeep_postgres::Client::connect(&kept.options, "test").await.unwrap();
    client.execute("SELECT 1").await.unwrap();
    assert!(kept.instructions[0].starts_with("psql -h "));
    for instruction in &kept.instructions[1..] {
        assert!(std::process::Command::new("sh").args(["-c", instruction]).status().unwrap().success());
    }
    assert!(!kept.dir.exists());
}

const PLACE: &str = "BASEKEEP_TEST_PLACE";

/// Not a test of its own: the process that the next test kills.
#[tokio::test]
#[ignore = "started by another test"]
async fn holds_a_cluster_until_killed() {
    let cluster = cluster(Default::default()).await;
    std::fs::write(std::env::var(PLACE).unwrap(), cluster.data_dir().display().to_string()).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn no_server_and_no_directory_outlive_a_killed_process() {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().join("place");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "client::cluster::holds_a_cluster_until_killed"])
        .env(PLACE, &place)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pause = || tokio::time::sleep(std::time::Duration::from_millis(5));
    let started = async {
        loop {
            match std::fs::read_to_string(&place) {
                Ok(text) if !text.is_empty() => return std::path::PathBuf::from(text),
                _ => pause().await,
            }
        }
    };
    let limit = std::time::Duration::from_secs(60);
    let data = tokio::time::timeout(limit, started).await.unwrap();
    let pid = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.lines().next().unwrap().parse().unwrap());
    assert!(nix::sys::signal::kill(pid, None).is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = async {
        while data.exists() || data.parent().unwrap().exists() || nix::sys::signal::kill(pid, None).is_ok() {
            pause().await;
        }
    };
    tokio::time::timeout(limit, gone).await.unwrap();
}
