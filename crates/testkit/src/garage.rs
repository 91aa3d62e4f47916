//! Throwaway S3 storage: real Garage servers on loopback, one or several, that are gone with the test process, however it
//! ends.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::new_directory;
use crate::programs::garage;

const REGION: &str = "garage";
const START: Duration = Duration::from_secs(60);

/// Runs when the pipe on its standard input ends. `$1` is the cluster's directory.
const JANITOR: &str = r#"
read -r _
for file in "$1"/*.pid; do kill -KILL "$(cat "$file")" 2>/dev/null; done
cd / && rm -rf "$1"
"#;

/// Running servers with one layout.
pub struct Garage {
    directory: PathBuf,
    nodes: Vec<Node>,
    replication: usize,
    buckets: AtomicU32,
    janitor: Child,
}

struct Node {
    id: String,
    rpc_port: u16,
    s3_port: u16,
    server: Mutex<Option<Child>>,
}

/// A bucket with a key of its own.
#[derive(Debug, Clone)]
pub struct GarageBucket {
    /// Of the first node, such as `http://127.0.0.1:40001`.
    pub endpoint: String,
    /// Of every node.
    pub endpoints: Vec<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket's name.
    pub name: String,
    /// The access key's id.
    pub key_id: String,
    /// The access key's secret.
    pub secret: String,
}

impl GarageBucket {
    /// The repository's URL in restic's form, on the first node.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3:{}/{}/{prefix}", self.endpoint, self.name)
    }

    /// The environment that AWS tools, restic and basekeep read.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("AWS_ACCESS_KEY_ID", self.key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret.clone()),
            ("AWS_DEFAULT_REGION", self.region.clone()),
        ]
    }
}

impl Garage {
    /// `nodes` servers that keep each object `replication` times.
    ///
    /// # Panics
    /// When Garage is missing or does not start; the message has the end of a log.
    pub fn start(nodes: usize, replication: usize) -> Self {
        let directory = new_directory();
        let janitor = Command::new("/bin/sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .expect("/bin/sh starts");
        // All at once, so that no two are the same.
        let listeners: Vec<_> = (0..nodes * 2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(listeners);
        let mut cluster =
            Self { directory, nodes: Vec::new(), replication, buckets: AtomicU32::new(0), janitor };
        let secret = random_hex();
        for (index, ports) in ports.chunks(2).enumerate() {
            let (rpc_port, s3_port) = (ports[0], ports[1]);
            cluster.nodes.push(Node { id: String::new(), rpc_port, s3_port, server: Mutex::new(None) });
            cluster.write_configuration(index, &secret, &[]);
            cluster.spawn(index);
        }
        for index in 0..nodes {
            cluster.wait(index, |_| true);
            cluster.nodes[index].id = cluster.cli(index, &["node", "id", "--quiet"]).trim().to_owned();
        }
        let peers: Vec<_> = cluster.nodes.iter().map(|node| node.id.clone()).collect();
        for (index, peer) in peers.iter().enumerate() {
            // For later starts.
            cluster.write_configuration(index, &secret, &peers);
            if index > 0 {
                cluster.cli(0, &["node", "connect", peer]);
            }
        }
        cluster.wait(0, |health| health["connectedNodes"] == nodes);
        for index in 0..nodes {
            let id = cluster.nodes[index].id.split('@').next().unwrap().to_owned();
            cluster.cli(0, &["layout", "assign", &id, "--zone", "loopback", "--capacity", "10G"]);
        }
        cluster.cli(0, &["layout", "apply", "--version", "1"]);
        for index in 0..nodes {
            cluster.wait(index, |health| health["status"] == "healthy" && health["partitionsAllOk"] == 256);
        }
        cluster
    }

    /// A new bucket, with a new key that may do everything in it.
    pub fn bucket(&self) -> GarageBucket {
        let name = format!("bucket-{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        let node = self.running();
        let key = self.call(node, "CreateKey", &json!({ "name": name }));
        let key_id = key["accessKeyId"].as_str().unwrap().to_owned();
        let bucket = self.call(node, "CreateBucket", &json!({ "globalAlias": name }));
        let permissions = json!({ "read": true, "write": true, "owner": true });
        self.call(
            node,
            "AllowBucketKey",
            &json!({ "bucketId": bucket["id"], "accessKeyId": key_id, "permissions": permissions }),
        );
        let endpoints: Vec<_> =
            self.nodes.iter().map(|node| format!("http://127.0.0.1:{}", node.s3_port)).collect();
        GarageBucket {
            endpoint: endpoints[0].clone(),
            endpoints,
            region: REGION.to_owned(),
            name,
            key_id,
            secret: key["secretAccessKey"].as_str().unwrap().to_owned(),
        }
    }

    /// What `key` may do in the bucket from now on.
    pub fn allow(&self, bucket: &GarageBucket, read: bool, write: bool) {
        for (call, read, write) in [("AllowBucketKey", read, write), ("DenyBucketKey", !read, !write)] {
            let node = self.running();
            let info = self.call(node, "GetBucketInfo", &json!({ "globalAlias": bucket.name }));
            let permissions = json!({ "read": read, "write": write, "owner": false });
            self.call(
                node,
                call,
                &json!({ "bucketId": info["id"], "accessKeyId": bucket.key_id, "permissions": permissions }),
            );
        }
    }

    /// The bucket takes no more than `bytes` from now on.
    pub fn set_quota(&self, bucket: &GarageBucket, bytes: u64) {
        self.cli(self.running(), &["bucket", "set-quotas", &bucket.name, "--max-size", &bytes.to_string()]);
    }

    /// Kills a node; its data stays.
    pub fn stop_node(&self, index: usize) {
        if let Some(mut server) = self.nodes[index].server.lock().unwrap().take() {
            server.kill().expect("a server can be killed");
            server.wait().expect("a killed server ends");
        }
    }

    /// Starts a stopped node again, and waits until those that run see each other.
    pub fn start_node(&self, index: usize) {
        self.spawn(index);
        self.wait(index, |_| true);
        let running: Vec<_> = (0..self.nodes.len()).filter(|index| self.runs(*index)).collect();
        for other in &running {
            // By themselves they try again after a minute only.
            if *other != index {
                self.cli(*other, &["node", "connect", &self.nodes[index].id]);
                self.cli(index, &["node", "connect", &self.nodes[*other].id]);
            }
        }
        for index in &running {
            self.wait(*index, |health| health["connectedNodes"].as_u64() >= Some(running.len() as u64));
        }
    }

    /// Lets the nodes tell each other at once what they have missed, which they do by themselves some minutes after a node has
    /// come back. It goes on after this returns.
    pub fn synchronize(&self) {
        self.cli(self.running(), &["repair", "--yes", "--all-nodes", "tables"]);
    }

    /// Where everything of these servers is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What a node has logged so far.
    pub fn log(&self, index: usize) -> String {
        fs::read_to_string(self.file(index, "log")).unwrap_or_default()
    }

    fn running(&self) -> usize {
        (0..self.nodes.len()).find(|index| self.runs(*index)).expect("a node runs")
    }

    fn runs(&self, index: usize) -> bool {
        self.nodes[index].server.lock().unwrap().is_some()
    }

    fn file(&self, index: usize, what: &str) -> PathBuf {
        self.directory.join(format!("node-{index}.{what}"))
    }

    fn write_configuration(&self, index: usize, secret: &str, peers: &[String]) {
        let Node { rpc_port, s3_port, .. } = &self.nodes[index];
        let directory = self.directory.display();
        let replication = self.replication;
        let text = format!(
            "metadata_dir = '{directory}/meta-{index}'\ndata_dir = '{directory}/data-{index}'\n\
             db_engine = 'sqlite'\nmetadata_fsync = false\ndata_fsync = false\ndisable_scrub = true\n\
             replication_factor = {replication}\ncompression_level = 'none'\n\
             rpc_bind_addr = '127.0.0.1:{rpc_port}'\nrpc_public_addr = '127.0.0.1:{rpc_port}'\n\
             rpc_secret = '{secret}'\nrpc_timeout_msec = 5000\nbootstrap_peers = {peers:?}\n\
             [s3_api]\ns3_region = '{REGION}'\napi_bind_addr = '127.0.0.1:{s3_port}'\n"
        );
        fs::write(self.file(index, "toml"), text).unwrap();
    }

    fn command(&self, index: usize) -> Command {
        let mut command = Command::new(garage());
        command.arg("-c").arg(self.file(index, "toml")).env("RUST_LOG", "garage=info").stdin(Stdio::null());
        command
    }

    fn spawn(&self, index: usize) {
        let log = File::options().create(true).append(true).open(self.file(index, "log")).unwrap();
        let mut command = self.command(index);
        command.arg("server").stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        let server = command.spawn().expect("garage starts");
        fs::write(self.file(index, "pid"), server.id().to_string()).unwrap();
        *self.nodes[index].server.lock().unwrap() = Some(server);
    }

    fn try_cli(&self, index: usize, args: &[&str]) -> Result<String, String> {
        let output = self.command(index).args(args).output().unwrap();
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout).unwrap());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[track_caller]
    fn cli(&self, index: usize, args: &[&str]) -> String {
        self.try_cli(index, args)
            .unwrap_or_else(|error| panic!("garage {args:?}: {error}\n{}", self.log(index)))
    }

    #[track_caller]
    fn call(&self, index: usize, name: &str, body: &Value) -> Value {
        let text = self.cli(index, &["json-api", name, &body.to_string()]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"))
    }

    #[track_caller]
    fn wait(&self, index: usize, ready: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        let mut last = String::new();
        while start.elapsed() < START {
            match self.try_cli(index, &["json-api", "GetClusterHealth"]) {
                Ok(text) => {
                    let health = serde_json::from_str(&text).unwrap_or_default();
                    if ready(&health) {
                        return;
                    }
                    last = text;
                }
                Err(error) => last = error,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("garage node {index} is not ready: {last}\n{}", end_of(&self.log(index)));
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        for index in 0..self.nodes.len() {
            self.stop_node(index);
        }
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

fn end_of(log: &str) -> &str {
    let start = log.len().saturating_sub(3000);
    log.get(start..).unwrap_or(log)
}

fn random_hex() -> String {
    let mut bytes = [0; 32];
    File::open(Path::new("/dev/urandom")).unwrap().read_exact(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
