use super::{cluster, connect};
use basekeep_postgres::cluster::{ClusterOptions, ScratchCluster};
use basekeep_postgres::{Client, ConnectOptions, Environment, Error, ErrorClass};
use std::os::unix::fs::PermissionsExt;

async fn server() -> ScratchCluster {
    let hba = [
        "host all plain all password",
        "host all old all md5",
        "host all open all trust",
        "host all never all reject",
    ];
    let cluster =
        cluster(ClusterOptions { tcp: true, hba: hba.map(str::to_owned).into(), ..Default::default() }).await;
    connect(&cluster)
        .await
        .execute(
            "CREATE ROLE scram LOGIN PASSWORD 'pa ss\u{e9}'; CREATE ROLE plain LOGIN PASSWORD 'pw'; CREATE ROLE open LOGIN; \
             CREATE ROLE never LOGIN; \
             SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'pw'",
        )
        .await
        .unwrap();
    cluster
}

async fn try_as(cluster: &ScratchCluster, more: &str, env: &Environment) -> Result<(), Error> {
    let conninfo = format!("host=127.0.0.1 port={} dbname=postgres {more}", cluster.port());
    let options = ConnectOptions::resolve(&conninfo, env)?;
    let mut client = Client::connect(&options, "test").await?;
    let user = client.query("SELECT current_user").await?;
    assert_eq!(user.one()?.get(0), Some(options.user()));
    Ok(())
}

#[tokio::test]
async fn each_way_of_authentication_works_and_refuses() {
    let cluster = server().await;
    let env = Environment::default();
    for good in
        ["user=scram password='pa ss\u{e9}'", "user=plain password=pw", "user=old password=pw", "user=open"]
    {
        try_as(&cluster, good, &env).await.unwrap();
        try_as(&cluster, &format!("{good} password=wrong"), &env)
            .await
            .map(|()| assert!(good.contains("open")))
            .unwrap_or_else(|e| {
                assert_eq!((e.sqlstate(), e.class()), (Some("28P01"), ErrorClass::Authentication), "{good}");
            });
    }
    let missing = try_as(&cluster, "user=scram", &env).await.unwrap_err();
    assert!(matches!(missing, Error::PasswordMissing { .. }));
    assert!(missing.hints()[0].contains("PGPASSWORD"));
    let rejected = try_as(&cluster, "user=never", &env).await.unwrap_err();
    assert_eq!((rejected.sqlstate(), rejected.class()), (Some("28000"), ErrorClass::Authentication));
    assert!(!rejected.hints().is_empty());
}

#[tokio::test]
async fn require_auth_and_channel_binding_rule_methods_out() {
    let cluster = server().await;
    let env = Environment::default();
    for (more, expect) in [
        ("user=plain password=pw require_auth=password", true),
        ("user=plain password=pw require_auth=scram-sha-256", false),
        ("user=plain password=pw require_auth=!password", false),
        ("user=old password=pw require_auth=md5,scram-sha-256", true),
        ("user=open require_auth=none", true),
        ("user=open require_auth=!none", false),
        ("user=open channel_binding=require", false),
        ("user=scram password='pa ss\u{e9}' channel_binding=require", false),
        ("user=scram password='pa ss\u{e9}' channel_binding=disable", true),
    ] {
        let result = try_as(&cluster, more, &env).await;
        assert_eq!(result.is_ok(), expect, "{more}: {result:?}");
        assert!(result.is_ok() || matches!(result, Err(Error::Authentication(_))), "{more}: {result:?}");
    }
}

#[tokio::test]
async fn passwords_come_from_the_file_and_the_environment() {
    let cluster = server().await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pgpass");
    let write = |text: &str, mode: u32| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let mut env = Environment { home: Some(home.path().to_owned()), ..Environment::default() };
    write(
        &format!("# passwords\nother:*:*:*:x\n127.0.0.1:{}:postgres:scram:pa ss\u{e9}\n", cluster.port()),
        0o600,
    );
    try_as(&cluster, "user=scram", &env).await.unwrap();
    let other_database = try_as(&cluster, "user=scram dbname=template1", &env).await.unwrap_err();
    assert!(matches!(other_database, Error::PasswordMissing { file_problem: None, .. }));

    write("*:*:*:*:pa ss\u{e9}\n", 0o644);
    let ignored = try_as(&cluster, "user=scram", &env).await.unwrap_err();
    assert!(ignored.hints()[0].contains("chmod 0600"), "{:?}", ignored.hints());

    write("*:*:*:*:wrong\n", 0o600);
    let wrong = try_as(&cluster, "user=scram", &env).await.unwrap_err();
    assert!(wrong.hints()[0].contains(".pgpass"), "{:?}", wrong.hints());
    env.vars.insert("PGPASSWORD".into(), "pa ss\u{e9}".into());
    try_as(&cluster, "user=scram", &env).await.unwrap();
}

#[tokio::test]
async fn a_service_file_and_several_hosts_lead_to_the_server() {
    let cluster = server().await;
    let home = tempfile::tempdir().unwrap();
    let service = format!(
        "[mine]\nhost=127.0.0.1\nport={}\nuser=plain\npassword=pw\ndbname=postgres\n",
        cluster.port()
    );
    std::fs::write(home.path().join(".pg_service.conf"), service).unwrap();
    let env = Environment { home: Some(home.path().to_owned()), ..Environment::default() };
    let connect = async |conninfo: &str| {
        Client::connect(&ConnectOptions::resolve(conninfo, &env).unwrap(), "test").await
    };
    assert_eq!(connect("service=mine").await.unwrap().options().user(), "plain");
    assert_eq!(connect("service=mine user=open").await.unwrap().options().user(), "open");

    // A closed port first, then a name with several addresses.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgresql://plain:pw@127.0.0.1:{closed},localhost:{}/postgres", cluster.port());
    let client = connect(&url).await.unwrap();
    assert_eq!((client.options().host(), client.options().port()), ("localhost", cluster.port()));
    let child = client.options().child_environment();
    let get = |name: &str| child.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_str().unwrap().to_owned());
    assert_eq!(get("PGHOSTADDR").as_deref(), Some("127.0.0.1"));
    assert_eq!((get("PGHOST").as_deref(), get("PGPASSWORD").as_deref()), (Some("localhost"), Some("pw")));

    for (wanted, expect) in [
        ("primary", true),
        ("read-write", true),
        ("standby", false),
        ("read-only", false),
        ("prefer-standby", true),
    ] {
        let result = connect(&format!("{url}?target_session_attrs={wanted}")).await;
        assert_eq!(result.is_ok(), expect, "{wanted}");
    }
    let refused = connect(&format!("postgresql://u@127.0.0.1:{closed}/d")).await.unwrap_err();
    assert_eq!(refused.class(), ErrorClass::Unreachable);
    assert!(refused.hints()[0].contains("listen_addresses"));
    let unknown = connect("postgresql://u@no-such-host.invalid/d").await.unwrap_err();
    assert!(matches!(unknown, Error::HostNotFound { .. }));
}

#[tokio::test]
async fn pg_dump_connects_with_the_environment_alone() {
    let cluster = server().await;
    let programs = super::servers().into_iter().find(|b| b.has_pg_dump).unwrap();
    let conninfo = format!(
        "host=127.0.0.1 port={} dbname=postgres user=plain password=pw options='-c work_mem=1MB'",
        cluster.port()
    );
    let options = ConnectOptions::resolve(&conninfo, &Environment::default()).unwrap();
    let mut command = tokio::process::Command::new(programs.program("pg_dump"));
    command.arg("--schema-only").env("PGHOST", "nowhere").env("PGSERVICE", "nowhere");
    options.child_environment_removed().iter().for_each(|name| {
        command.env_remove(name);
    });
    let output = command.envs(options.child_environment()).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
