//! Two repositories in basekeep.toml, and one goes out of reach in the middle of a backup.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use basekeep_testkit::{TestCluster, TestDatabase, load_sql};
use tempfile::TempDir;

use crate::program::{Bench, Ran, binaries, clean};

const ROWS: &str = "CREATE TABLE big AS SELECT n, md5(n::text) || md5((n + 1)::text) AS a,
                    md5(n || 'b') || md5(n || 'c') || md5(n || 'd') || md5(n || 'e') || md5(n || 'f') AS b
                    FROM generate_series(1, 220000) n;";

/// A folder with a configuration: a repository, a replica with a key of its own, a source.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new(source: &TestDatabase) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        let text = format!(
            "[repository]\nurl = \"./near\"\npassword_file = \"near.key\"\n\n\
             [[replica]]\nname = \"away\"\nurl = \"./far\"\npassword_file = \"far.key\"\n\n\
             [source.shop]\nurl = \"{}\"\n",
            source.url()
        );
        std::fs::write(site.path("basekeep.toml"), text).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_basekeep"));
        clean(&mut command, self.folder.path());
        command.env("BASEKEEP_POSTGRES_BIN", binaries()).args(line.split_whitespace());
        command
    }

    fn run(&self, line: &str) -> Ran {
        Ran::of(self.command(line).output().unwrap())
    }

    fn restic(&self, repository: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new(basekeep_testkit::tool("restic", 0));
        clean(&mut command, self.folder.path());
        let key = self.path(&format!("{repository}.key"));
        command.env("RESTIC_PASSWORD_FILE", key).arg("--no-cache").arg("-r").arg(self.path(repository));
        Ran::of(command.args(arguments).output().unwrap())
    }

    fn times(&self, repository: &str) -> Vec<String> {
        let listed = self.run(&format!("list --json --repo {repository}")).expect(0).json();
        let snapshots = listed["snapshots"].as_array().unwrap().clone();
        snapshots.iter().map(|snapshot| snapshot["time"].as_str().unwrap().to_owned()).collect()
    }
}

/// Until the folder holds a pack, at most 60 seconds.
fn wait_for_a_pack(repository: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let has_pack = || {
        let folders = std::fs::read_dir(repository.join("data")).into_iter().flatten().flatten();
        folders
            .filter_map(|folder| std::fs::read_dir(folder.path()).ok())
            .any(|mut files| files.next().is_some())
    };
    while !has_pack() {
        assert!(Instant::now() < deadline, "no pack in {}", repository.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[tokio::test]
async fn a_replica_that_is_lost_in_the_middle_is_named_and_the_next_backup_heals_it() {
    let source = TestCluster::private(15, &[]).create_database();
    load_sql(&source, ROWS).await;
    let site = Site::new(&source);
    let made = site.run("init").expect(0);
    assert!(made.stdout.contains("replica        away: "), "{}", made.stdout);
    let polynomial =
        |name: &str| site.restic(name, &["cat", "config"]).expect(0).json()["chunker_polynomial"].clone();
    assert_eq!(polynomial("near"), polynomial("far"));
    site.run("doctor").expect(0);

    let child = site.command("backup --json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_a_pack(&site.path("near"));
    std::fs::rename(site.path("far"), site.path("elsewhere")).unwrap();
    std::fs::write(site.path("far"), "no folder").unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap()).expect(3);
    let document: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    let replicas = &document["snapshots"][0]["replicas"];
    assert_eq!((&replicas[0]["name"], &replicas[0]["state"]), (&"repository".into(), &"written".into()));
    assert_eq!((&replicas[1]["name"], &replicas[1]["state"]), (&"away".into(), &"failed".into()));
    assert!(replicas[1]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{replicas}");
    assert!(ran.stdout.contains("replica-failed") || ran.stderr.contains("away"), "{ran:?}");
    site.run("doctor").expect(1);

    std::fs::remove_file(site.path("far")).unwrap();
    std::fs::rename(site.path("elsewhere"), site.path("far")).unwrap();
    // The lost one's lock stays, until it is stale: it hinders nobody who shares.
    let ran = site.run("backup").expect(0);
    assert!(ran.stdout.contains("1 earlier snapshot that it had missed"), "{}", ran.stdout);
    assert_eq!(
        site.times(&site.path("near").display().to_string()),
        site.times("away"),
        "a name means the replica"
    );
    assert_eq!(site.times("away").len(), 2);
    for repository in ["near", "far"] {
        site.restic(repository, &["unlock", "--remove-all"]).expect(0);
        site.restic(repository, &["check", "--read-data"]).expect(0);
        let target = site.path(&format!("restored-{repository}"));
        site.restic(repository, &["restore", "latest", "--verify", "--target", target.to_str().unwrap()])
            .expect(0);
    }
    let target = source.cluster().create_database();
    site.run(&format!("restore --repo away --to {} --yes", target.url())).expect(0);
}

#[tokio::test]
async fn a_wrong_password_or_a_missing_replica_is_exit_code_3() {
    let source = TestCluster::private(15, &[]).create_database();
    load_sql(&source, "CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n").await;
    let site = Site::new(&source);
    site.run("init").expect(0);
    std::fs::write(site.path("far.key"), "something else\n").unwrap();
    let ran = site.run("backup").expect(3);
    assert!(ran.stderr.contains("away") && ran.stderr.contains("wrong password"), "{}", ran.stderr);
    assert!(ran.stdout.contains("away: failed"), "{}", ran.stdout);

    std::fs::remove_dir_all(site.path("far")).unwrap();
    let ran = site.run("backup").expect(3);
    assert!(ran.stderr.contains("there is no repository at"), "{}", ran.stderr);
    let made = site.run("init").expect(0);
    assert!(made.stdout.contains("(new)"), "{}", made.stdout);
    site.run("backup").expect(0);
    assert_eq!(site.times("away").len(), 3, "a new replica gets what the repository has");

    // The repository itself may be the one that is gone.
    std::fs::rename(site.path("near"), site.path("elsewhere")).unwrap();
    let ran = site.run("backup").expect(3);
    assert!(ran.stdout.contains("repository: failed"), "{}", ran.stdout);
    std::fs::rename(site.path("elsewhere"), site.path("near")).unwrap();
    site.run("backup").expect(0);
    assert_eq!((site.times("away").len(), site.times("./near").len()), (5, 5));

    // Another repository than the configuration's is written alone.
    let bench = Bench::new();
    let repo = bench.repo().display().to_string();
    let mut command = site.command(&format!("backup --repo {repo}"));
    Ran::of(command.env("BASEKEEP_PASSWORD", crate::program::PASSWORD).output().unwrap()).expect(0);
    assert_eq!((bench.snapshots(), site.times("away").len()), (1, 5));
}
