//! Each finding of the preflight, provoked: poolers, standbys, privileges, locks.

use super::{connect, options_as, resolve};
use basekeep_postgres::preflight::{Finding, Preflight, Severity, preflight};
use basekeep_testkit::{TestCluster, servers, tool};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn finding<'p>(preflight: &'p Preflight, code: &str) -> &'p Finding {
    preflight
        .findings
        .iter()
        .find(|finding| finding.code == code)
        .unwrap_or_else(|| panic!("no finding {code} in {:?}", preflight.findings))
}

#[tokio::test]
async fn a_superuser_on_a_quiet_server_may_begin() {
    for server in servers() {
        let database = TestCluster::shared(server.major).create_database();
        connect(&database.options()).await.execute("CREATE TABLE t (id int)").await.unwrap();
        let found = preflight(&database.options()).await.unwrap();
        assert!(found.findings.iter().all(|f| f.severity == Severity::Ok), "{:?}", found.findings);
        assert!(
            !found.is_blocked()
                && !found.facts.pooler
                && found.facts.superuser
                && found.facts.reads_verifiers
        );
        assert_eq!((found.facts.tables, found.facts.max_connections), (1, 100));
        assert!((80..=100).contains(&found.facts.free_connections), "{:?}", found.facts);
        assert_eq!(found.facts.wal_level, "replica");
    }
}

#[tokio::test]
async fn an_ordinary_role_learns_what_it_lacks() {
    let database = TestCluster::shared(15).create_database();
    let mut client = connect(&database.options()).await;
    client
        .execute(
            "CREATE ROLE plain LOGIN CONNECTION LIMIT 6; CREATE TABLE denied (id int); CREATE TABLE secured (id int);
             ALTER TABLE secured ENABLE ROW LEVEL SECURITY; GRANT SELECT ON secured TO plain;
             CREATE SCHEMA closed; CREATE TABLE closed.t (id int); GRANT SELECT ON closed.t TO plain; SELECT lo_create(50000);
             CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
             CREATE USER MAPPING FOR postgres SERVER s OPTIONS (password 'x');
             CREATE SUBSCRIPTION preflight_subscription CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false)",
        )
        .await
        .unwrap();
    let found = preflight(&options_as(&database, "plain")).await.unwrap();
    assert!(!found.is_blocked(), "{:?}", found.findings);
    let hides = |f: &&Finding| f.what.contains("public.secured: row level security hides rows");
    let rls = found.findings.iter().find(hides).unwrap();
    assert!(rls.severity == Severity::Warning && rls.hint.contains("BYPASSRLS"), "{rls:?}");
    let unreadable: Vec<&str> =
        found.findings.iter().filter(|f| f.code == "unreadable").map(|f| f.what.as_str()).collect();
    assert_eq!(unreadable.len(), 3);
    assert!(unreadable.iter().any(|what| what.contains("public.denied: no SELECT")));
    assert!(unreadable.iter().any(|what| what.contains("closed.t: no USAGE on schema closed")));
    assert_eq!(finding(&found, "role-passwords").severity, Severity::Warning);
    assert!(finding(&found, "unreadable-large-objects").what.contains("1 of 1"));
    let hidden: Vec<&str> =
        found.findings.iter().filter(|f| f.code == "hidden-definition").map(|f| f.what.as_str()).collect();
    assert!(
        hidden.len() == 2 && hidden[0].contains("user mapping") && hidden[1].contains("subscription"),
        "{hidden:?}"
    );
    assert_eq!(finding(&found, "few-connections").severity, Severity::Warning);
    assert_eq!(found.facts.free_connections, 6);
    assert!(!found.facts.bypass_rls && !found.facts.superuser && found.facts.unreadable.len() == 3);

    client.execute("ALTER ROLE plain CONNECTION LIMIT 2").await.unwrap();
    let found = when_admitted(&options_as(&database, "plain")).await;
    assert_eq!(finding(&found, "few-connections").severity, Severity::Blocking);
    client.execute("ALTER ROLE plain CONNECTION LIMIT 1").await.unwrap();
    let found = when_admitted(&options_as(&database, "plain")).await;
    assert!(found.findings.iter().any(|f| f.code == "few-connections" && f.what.contains("refused")));
}

/// The preflight's result, as soon as the sessions of the one before have gone.
async fn when_admitted(options: &basekeep_postgres::ConnectOptions) -> Preflight {
    let started = Instant::now();
    loop {
        match preflight(options).await {
            Err(error)
                if error.sqlstate() == Some("53300") && started.elapsed() < Duration::from_secs(20) => {}
            result => return result.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_table_under_an_exclusive_lock_is_named_with_its_holder() {
    let database = TestCluster::shared(15).create_database();
    let mut holder = connect(&database.options()).await;
    holder.execute("CREATE TABLE busy (id int)").await.unwrap();
    holder.execute("BEGIN; LOCK TABLE busy").await.unwrap();
    let found = preflight(&database.options()).await.unwrap();
    let locked = finding(&found, "table-locked");
    assert_eq!(locked.severity, Severity::Blocking);
    assert!(
        locked.what.contains("public.busy") && locked.what.contains(&holder.backend_pid().to_string()),
        "{locked:?}"
    );
    holder.execute("ROLLBACK").await.unwrap();
    assert!(!preflight(&database.options()).await.unwrap().is_blocked());
}

/// Hands connections to two servers in turn.
async fn balancer(ports: [u16; 2]) -> u16 {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for target in ports.into_iter().cycle() {
            let Ok((mut near, _)) = listener.accept().await else { return };
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn a_balancer_in_front_of_two_servers_shares_no_snapshot() {
    let clusters = [TestCluster::private(15, &[]), TestCluster::private(15, &[])];
    let port = balancer(clusters.each_ref().map(|cluster| cluster.port())).await;
    let options = resolve(&format!("postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"));
    let found = preflight(&options).await.unwrap();
    assert_eq!(finding(&found, "snapshot-not-shared").severity, Severity::Blocking);
}

struct PgBouncer {
    process: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl PgBouncer {
    fn start(cluster: &TestCluster, mode: &str, pool_size: u32) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let directory = tempfile::Builder::new().prefix("basekeep-pgbouncer-").tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let ini = directory.path().join("pgbouncer.ini");
        std::fs::write(
            &ini,
            format!(
                "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = {pool_size}\n\
                 auth_file =\nlogfile =\npidfile =\n* \n",
                cluster.port()
            )
            .replace("* = host", "* = user=postgres host")
            .replace("\n* \n", "\n"),
        )
        .unwrap();
        let process = cluster
            .command(&tool("pgbouncer", 0))
            .arg("-q")
            .arg(&ini)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "pgbouncer did not start");
            std::thread::yield_now();
        }
        Self { process, port, _directory: directory }
    }

    async fn preflight(&self, database: &str) -> Preflight {
        let options =
            resolve(&format!("postgresql://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port));
        preflight(&options).await.unwrap()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_proven_whatever_its_pool() {
    let cluster = TestCluster::private(15, &[]);
    for (mode, size) in [("transaction", 20), ("transaction", 1), ("statement", 5)] {
        let bouncer = PgBouncer::start(&cluster, mode, size);
        let found = bouncer.preflight("postgres").await;
        let pooler = finding(&found, "transaction-pooler");
        assert_eq!(pooler.severity, Severity::Blocking, "{mode} {size}: {pooler:?}");
        assert!(pooler.hint.contains("session mode") && found.facts.pooler);
    }
}

#[tokio::test]
async fn a_pooler_in_session_mode_is_fine() {
    let cluster = TestCluster::private(15, &[]);
    let bouncer = PgBouncer::start(&cluster, "session", 20);
    let found = bouncer.preflight("postgres").await;
    let pooler = finding(&found, "transaction-pooler");
    assert_eq!(pooler.severity, Severity::Ok, "{pooler:?}");
    assert!(found.facts.pooler && pooler.what.contains("session mode"));
}

#[tokio::test]
async fn a_hot_standby_can_be_backed_up_with_a_warning() {
    let primary = TestCluster::private(15, &[]);
    let database = primary.create_database();
    let mut client = connect(&database.options()).await;
    client
        .execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1); CREATE UNLOGGED TABLE u (id int); CREATE UNLOGGED SEQUENCE s")
        .await
        .unwrap();
    client.execute("CHECKPOINT").await.unwrap();
    let standby = Standby::of(&primary);
    let options = resolve(&format!("postgresql://postgres@127.0.0.1:{}/{}", standby.port, database.name()));
    let found = preflight(&options).await.unwrap();
    assert!(found.facts.in_recovery && !found.is_blocked(), "{:?}", found.findings);
    let warning = finding(&found, "hot-standby");
    assert!(
        warning.severity == Severity::Warning && warning.hint.contains("hot_standby_feedback"),
        "{warning:?}"
    );
    assert!(finding(&found, "unreadable").what.contains("public.u: unlogged relations"));

    let mut leader = connect(&options).await;
    let snapshot = basekeep_postgres::session::begin_export(&mut leader).await.unwrap();
    assert!(snapshot.in_recovery && snapshot.timeline == Some(1) && snapshot.wal_position.is_some());
    assert_eq!(snapshot.unavailable, []);
    let mut worker = connect(&options).await;
    basekeep_postgres::session::join(&mut worker, &snapshot.id).await.unwrap();
    let catalog = basekeep_postgres::catalog::read_catalog(&mut worker).await.unwrap();
    assert_eq!(catalog.tables.len(), 1);
    assert_eq!(super::copy(&mut worker, &catalog.tables[0].copy_out_sql(Some(0..1))).await, "1\n");
}

struct Standby {
    process: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Standby {
    fn of(primary: &TestCluster) -> Self {
        let directory = tempfile::Builder::new().prefix("basekeep-standby-").tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .unwrap();
        let data = directory.path().join("data");
        let copied = primary
            .command(&tool("pg_basebackup", 15))
            .args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-D"])
            .arg(&data)
            .args(["-d", &primary.url("postgres")])
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let process = primary
            .command(&primary.server().bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-c", &format!("port={port}"), "-c", "unix_socket_directories="])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let ready = || {
            Command::new(tool("pg_isready", 15))
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status()
                .unwrap()
        };
        while !ready().success() {
            assert!(started.elapsed() < Duration::from_secs(60), "the standby did not start");
        }
        Self { process, port, _directory: directory }
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        // SIGQUIT lets the postmaster end its children.
        let _ = Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }
}
