//! One snapshot, even while others write.

use std::process::Command;

use basekeep_testkit::{TestCluster, tool};

use crate::program::Bench;

#[tokio::test]
async fn pgbench_sums_agree_in_a_backup_taken_under_load() {
    let source = TestCluster::private(15, &[]).create_database();
    let pgbench = tool("pgbench", 15);
    let made =
        Command::new(&pgbench).args(["-i", "-q", "-s", "5"]).arg(source.socket_url()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut load =
        Command::new(&pgbench).args(["-n", "-c", "4", "-T", "600"]).arg(source.socket_url()).spawn().unwrap();

    let bench = Bench::new();
    let mut client = source.client().await;
    while client.query("SELECT 1 FROM pgbench_history LIMIT 1").await.unwrap().iter().next().is_none() {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        bench.backup(&source.url()).expect(0);
    }
    let running = load.try_wait().unwrap().is_none();
    load.kill().unwrap();
    load.wait().unwrap();
    assert!(running, "pgbench wrote until after the last backup");

    let ids: Vec<String> = bench.run(["list", "--json"]).expect(0).json()["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|snapshot| snapshot["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 3);
    for id in ids {
        let target = source.cluster().create_database();
        bench.run(["restore", &id, "--to", &target.url(), "--yes"]).expect(0);
        let sums = target
            .client()
            .await
            .query(
                "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
                        (SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)",
            )
            .await
            .unwrap();
        let row = sums.iter().next().unwrap();
        let sums: Vec<&str> = (0..4).map(|n| row.get(n).unwrap()).collect();
        assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    }
}
