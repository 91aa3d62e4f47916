//! A repository in a bucket on three Garage servers: one may be down, two may not, and nothing is lost either way.

use std::ffi::OsStr;
use std::process::Command;

use basekeep_testkit::{Garage, GarageBucket, TestCluster, load_sql, tool};
use tempfile::TempDir;

use crate::program::{PASSWORD, Ran, binaries, clean};

const ROWS: &str = "CREATE TABLE orders AS SELECT n, md5(n::text) AS a, md5((n * 7)::text) AS b FROM generate_series(1, 60000) n;
                    CREATE TABLE notes AS SELECT n, md5(n::text) AS note FROM generate_series(1, 50) n;";

struct Remote {
    folder: TempDir,
    bucket: GarageBucket,
    url: String,
}

impl Remote {
    fn new(bucket: GarageBucket) -> Self {
        let url = bucket.url("backups/main");
        Self { folder: tempfile::tempdir().unwrap(), bucket, url }
    }

    fn command<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        clean(&mut command, self.folder.path());
        command.envs(self.bucket.environment()).args(args);
        command
    }

    fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        let mut command = self.command(env!("CARGO_BIN_EXE_basekeep"), args);
        command
            .env("BASEKEEP_REPOSITORY", &self.url)
            .env("BASEKEEP_PASSWORD", PASSWORD)
            .env("BASEKEEP_POSTGRES_BIN", binaries())
            .env("BASEKEEP_RETRY_SECONDS", "3");
        Ran::of(command.output().unwrap())
    }

    fn restic<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        let mut command = self.command(tool("restic", 0), args);
        command.env("RESTIC_PASSWORD", PASSWORD).env("RESTIC_REPOSITORY", &self.url).args(["--no-cache"]);
        Ran::of(command.output().unwrap())
    }

    fn snapshots(&self) -> usize {
        self.run(["list", "--json"]).expect(0).json()["snapshots"].as_array().unwrap().len()
    }
}

#[tokio::test]
async fn a_repository_on_three_servers_survives_the_loss_of_one_and_waits_for_two() {
    let garage = Garage::start(3, 3);
    let remote = Remote::new(garage.bucket());
    let source = TestCluster::private(15, &[]).create_database();
    load_sql(&source, ROWS).await;
    let backup = ["backup", &source.url(), "--name", "source"];

    remote.run(["list"]).expect(10);
    remote.run(["init", "--repo", &remote.url]).expect(0);
    remote.run(["init", "--repo", &remote.url]).expect(2);
    remote.run(backup).expect(0);
    remote.restic(["check", "--read-data"]).expect(0);

    garage.stop_node(2);
    remote.run(backup).expect(0);
    remote.run(backup).expect(0);
    remote.run(["forget", "--keep-last", "2"]).expect(0);
    assert_eq!(remote.snapshots(), 2);
    remote.run(["prune", "--max-unused", "0"]).expect(0);
    remote.run(["check", "--read-data"]).expect(0);
    remote.run(["verify", "--read-data"]).expect(0);
    let target = source.cluster().create_database();
    remote.run(["restore", "--to", &target.url(), "--yes"]).expect(0);
    assert_eq!(source.contents().await, target.contents().await);

    garage.stop_node(1);
    let restore = ["restore", "--to", &target.url(), "--yes"];
    for args in [
        &backup[..],
        &["list"],
        &["verify"],
        &["check"],
        &["prune"],
        &["forget", "--keep-last", "1"],
        &restore,
    ] {
        let failed = remote.run(args).expect(1);
        assert!(failed.stderr.contains(&remote.bucket.endpoint), "the server is named: {}", failed.stderr);
    }

    garage.start_node(1);
    garage.start_node(2);
    assert_eq!(remote.snapshots(), 2, "what was saved is there, and nothing else");
    remote.run(backup).expect(0);
    remote.run(["verify", "--read-data"]).expect(0);
    remote.run(["check", "--read-data"]).expect(0);
    // The servers that were down list what was removed meanwhile until they have heard of it. We take no notice; restic does.
    garage.synchronize();
    // Restic's check excludes other work, and a backup that was cut off may have left its lock.
    remote.restic(["unlock", "--remove-all"]).expect(0);
    let agrees = || remote.restic(["check", "--read-data"]).code == Some(0);
    assert!((0..30).any(|_| agrees()), "{:?}", remote.restic(["check", "--read-data"]));
    assert_eq!(remote.snapshots(), 3);
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_said_with_what_to_do() {
    let garage = Garage::start(1, 1);
    let remote = Remote::new(garage.bucket());
    let at = |url: &str| remote.run(["list", "--repo", url]);
    let host = remote.bucket.endpoint.trim_start_matches("http://");
    let name = &remote.bucket.name;

    let ran = at(&format!("s3:http://{host}/no-such-bucket/p")).expect(1);
    assert!(ran.stderr.contains("there is no bucket no-such-bucket"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: create the bucket"), "{}", ran.stderr);

    let ran = at(&format!("s3:http://{host}/{name}?region=mars-1")).expect(1);
    assert!(ran.stderr.contains("AWS_REGION=garage"), "{}", ran.stderr);

    let ran = at(&format!("s3:http://key:hunter2@{host}/{name}")).expect(2);
    assert!(ran.stderr.contains("no user name and password"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);

    garage.stop_node(0);
    let ran = at(&remote.url).expect(1);
    assert!(ran.stderr.contains("cannot connect to"), "{}", ran.stderr);
}
