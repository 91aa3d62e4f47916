use super::{cluster, connect};
use basekeep_postgres::cluster::{ClusterOptions, ScratchCluster};
use basekeep_postgres::{Client, ConnectOptions, Environment, Error};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::<String>::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key in PEM.
    fn issue(&self, common_name: &str, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        parameters.extended_key_usages.push(purpose);
        let key = KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

fn write(path: &Path, text: &str) -> PathBuf {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

struct Server {
    cluster: ScratchCluster,
    home: tempfile::TempDir,
    authority: Authority,
}

impl Server {
    async fn start() -> Self {
        let hba = [
            "hostssl all certified all cert",
            "hostssl all encrypted all scram-sha-256",
            "host all encrypted all reject",
            "hostnossl all bare all scram-sha-256",
            "host all bare all reject",
        ];
        let cluster =
            cluster(ClusterOptions { tcp: true, hba: hba.map(str::to_owned).into(), ..Default::default() })
                .await;
        connect(&cluster)
            .await
            .execute("CREATE ROLE certified LOGIN; CREATE ROLE encrypted LOGIN PASSWORD 'pw'; CREATE ROLE bare LOGIN PASSWORD 'pw'")
            .await
            .unwrap();
        let server =
            Self { cluster, home: tempfile::tempdir().unwrap(), authority: Authority::new("test authority") };
        let purpose = ExtendedKeyUsagePurpose::ServerAuth;
        server.switch_on(&server.authority.issue("server", &["localhost"], purpose)).await;
        write(&server.home.path().join("ca.pem"), &server.authority.pem());
        write(&server.home.path().join("other.pem"), &Authority::new("another").pem());
        server
    }

    /// Gives the server this certificate and waits until it is used.
    async fn switch_on(&self, (certificate, key): &(String, String)) {
        let data = self.cluster.data_dir();
        let owner = std::fs::metadata(&data).unwrap();
        for (name, text) in
            [("server.crt", certificate), ("server.key", key), ("ca.crt", &self.authority.pem())]
        {
            let path = write(&data.join(name), text);
            chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        let mut client = connect(&self.cluster).await;
        client.execute("ALTER SYSTEM SET ssl_ca_file = 'ca.crt'").await.unwrap();
        client.execute("ALTER SYSTEM SET ssl = on").await.unwrap();
        let loaded = "SELECT pg_catalog.pg_conf_load_time()::text";
        let before = client.query(loaded).await.unwrap().one().unwrap().get(0).unwrap().to_owned();
        client.execute("SELECT pg_reload_conf()").await.unwrap();
        // A session that starts after the reload has its time.
        for _ in 0..1000 {
            let rows = connect(&self.cluster).await.query(loaded).await.unwrap();
            if rows.one().unwrap().get(0) != Some(&before) {
                return;
            }
        }
        panic!("the server did not reload");
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    async fn connect(&self, more: &str) -> Result<Client, Error> {
        let password = if more.contains("user=") { "" } else { "user=encrypted" };
        let conninfo = format!(
            "host=localhost hostaddr=127.0.0.1 port={} dbname=postgres password=pw {password} {more}",
            self.cluster.port()
        );
        let env = Environment { home: Some(self.home.path().to_owned()), ..Environment::default() };
        Client::connect(&ConnectOptions::resolve(&conninfo, &env)?, "test").await
    }

    async fn check(&self, more: &str, expect: Result<bool, &str>) {
        let result = self.connect(more).await;
        match (&result, expect) {
            (Ok(client), Ok(encrypted)) => assert_eq!(client.is_encrypted(), encrypted, "{more}"),
            (Err(e), Err(part)) => {
                assert!(format!("{e} {:?}", e.hints()).contains(part), "{more}: {e} {:?}", e.hints())
            }
            _ => panic!("{more}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn each_mode_does_what_libpq_says() {
    let server = Server::start().await;
    let (ca, other) = (server.path("ca.pem"), server.path("other.pem"));
    // The role is let in with TLS only.
    server.check("sslmode=disable", Err("sslmode=require")).await;
    server.check("sslmode=allow", Ok(true)).await;
    server.check("sslmode=prefer", Ok(true)).await;
    server.check("", Ok(true)).await;
    server.check("sslmode=require", Ok(true)).await;
    // And this one without only.
    server.check("user=bare sslmode=allow", Ok(false)).await;
    server.check("user=bare sslmode=prefer", Ok(false)).await;
    server.check("user=bare sslmode=require", Err("28000")).await;

    server.check("sslmode=verify-ca", Err("needs a root certificate")).await;
    server.check(&format!("sslmode=verify-ca sslrootcert={ca}"), Ok(true)).await;
    server.check(&format!("sslmode=verify-full sslrootcert={ca}"), Ok(true)).await;
    server.check(&format!("sslmode=verify-ca sslrootcert={other}"), Err("not trusted")).await;
    server.check(&format!("sslmode=require sslrootcert={other}"), Err("not trusted")).await;
    server.check(&format!("sslmode=verify-full sslrootcert={other}"), Err("not trusted")).await;
    server.check("sslmode=verify-full sslrootcert=/nowhere", Err("/nowhere")).await;
    server.check("sslrootcert=system", Err("TLS")).await;
    server.check(&format!("host=127.0.0.1 sslmode=verify-ca sslrootcert={ca}"), Ok(true)).await;
    server
        .check(
            &format!("host=127.0.0.1 sslmode=verify-full sslrootcert={ca}"),
            Err("not valid for 127.0.0.1"),
        )
        .await;

    for version in ["TLSv1.2", "TLSv1.3"] {
        let only = format!("ssl_min_protocol_version={version} ssl_max_protocol_version={version}");
        server
            .check(&format!("sslmode=verify-full sslrootcert={ca} {only} channel_binding=require"), Ok(true))
            .await;
    }
    let mut client = server.connect("sslmode=require channel_binding=require").await.unwrap();
    let rows = client.query("SELECT repeat('x', 1000000) FROM generate_series(1, 20)").await.unwrap();
    assert_eq!(rows.len(), 20);
    let token = client.cancel_token();
    let slow = client.execute("SELECT pg_sleep(60)");
    let cancel = async {
        loop {
            token.cancel().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        result = slow => assert_eq!(result.unwrap_err().sqlstate(), Some("57014")),
        () = cancel => {}
    }
}

#[tokio::test]
async fn a_self_signed_server_is_trusted_by_its_own_certificate() {
    let server = Server::start().await;
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(Vec::<String>::new()).unwrap();
    // As `openssl req -x509` makes it: an authority, the host in the common name only.
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, "localhost");
    let certificate = parameters.self_signed(&key).unwrap().pem();
    server.switch_on(&(certificate.clone(), key.serialize_pem())).await;
    let root = write(&server.home.path().join("self.pem"), &certificate).display().to_string();
    server.check(&format!("sslmode=verify-full sslrootcert={root}"), Ok(true)).await;
    server
        .check(&format!("host=127.0.0.1 sslmode=verify-full sslrootcert={root}"), Err("not valid for"))
        .await;
    server
        .check(&format!("sslmode=verify-ca sslrootcert={}", server.path("ca.pem")), Err("not trusted"))
        .await;
}

#[tokio::test]
async fn client_certificates_are_shown_and_judged() {
    let server = Server::start().await;
    let purpose = || ExtendedKeyUsagePurpose::ClientAuth;
    for (name, authority) in [("good", &server.authority), ("bad", &Authority::new("another"))] {
        let (certificate, key) = authority.issue("certified", &[], purpose());
        write(&server.home.path().join(format!("{name}.crt")), &certificate);
        write(&server.home.path().join(format!("{name}.key")), &key);
    }
    let with = |certificate: &str, key: &str| {
        format!(
            "user=certified sslmode=require sslcert={} sslkey={}",
            server.path(certificate),
            server.path(key)
        )
    };
    server.check(&with("good.crt", "good.key"), Ok(true)).await;
    server.check(&format!("{} sslcertmode=require", with("good.crt", "good.key")), Ok(true)).await;
    server
        .check(&format!("{} ssl_max_protocol_version=TLSv1.2", with("good.crt", "good.key")), Ok(true))
        .await;
    server
        .check(&format!("{} sslcertmode=disable", with("good.crt", "good.key")), Err("client certificate"))
        .await;
    server.check("user=certified sslmode=require", Err("client certificate")).await;
    server.check(&with("bad.crt", "bad.key"), Err("refused the client certificate")).await;
    server.check(&with("good.crt", "bad.key"), Err("and its key do not work")).await;
    server.check(&with("good.crt", "none.key"), Err("no key for it")).await;
    std::fs::set_permissions(server.path("good.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    server.check(&with("good.crt", "good.key"), Err("chmod 0600")).await;
    // The default files.
    std::fs::create_dir(server.path(".postgresql")).unwrap();
    for (from, to) in [("good.crt", "postgresql.crt"), ("good.key", "postgresql.key"), ("ca.pem", "root.crt")]
    {
        let text = std::fs::read_to_string(server.path(from)).unwrap();
        write(&server.home.path().join(".postgresql").join(to), &text);
    }
    server.check("user=certified sslmode=verify-full", Ok(true)).await;
}

#[tokio::test]
async fn a_server_without_tls_is_used_plainly_only_when_that_is_allowed() {
    let cluster = cluster(ClusterOptions { tcp: true, ..Default::default() }).await;
    connect(&cluster).await.execute("CREATE ROLE encrypted LOGIN PASSWORD 'pw'").await.unwrap();
    let server = Server { cluster, home: tempfile::tempdir().unwrap(), authority: Authority::new("a") };
    server.check("sslmode=prefer", Ok(false)).await;
    server.check("sslmode=allow", Ok(false)).await;
    server.check("sslmode=require", Err("does not support it")).await;
}

#[tokio::test]
async fn direct_negotiation_works_since_17() {
    // The build of 18 that the tests use has no TLS.
    let Some(binaries) = super::servers().into_iter().find(|b| b.major == 17) else { return };
    let options = ClusterOptions { tcp: true, ..Default::default() };
    let cluster = ScratchCluster::start(&binaries, options).await.unwrap();
    connect(&cluster).await.execute("CREATE ROLE encrypted LOGIN PASSWORD 'pw'").await.unwrap();
    let server = Server { cluster, home: tempfile::tempdir().unwrap(), authority: Authority::new("a") };
    server.switch_on(&server.authority.issue("x", &["localhost"], ExtendedKeyUsagePurpose::ServerAuth)).await;
    server.check("sslmode=require sslnegotiation=direct", Ok(true)).await;
    server.check("sslmode=prefer sslnegotiation=direct", Err("too weak")).await;
}
