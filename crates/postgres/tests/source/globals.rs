//! Globals loaded elsewhere with stock psql and read back.

use super::{connect, options_as};
use basekeep_postgres::globals::{Globals, Membership, Role, read_globals};
use basekeep_testkit::{TestCluster, servers, tool};
use std::io::Write as _;
use std::process::{Command, Stdio};

const ROLES: &str = r#"
SET password_encryption = 'scram-sha-256';
CREATE ROLE admin LOGIN CREATEROLE CREATEDB BYPASSRLS REPLICATION NOINHERIT PASSWORD 'secret $do$ ''x''' CONNECTION LIMIT 7;
CREATE ROLE "Group ""x"" \ $do$" VALID UNTIL '2031-02-03 04:05:06+01';
CREATE ROLE member LOGIN VALID UNTIL 'infinity';
CREATE ROLE second SUPERUSER PASSWORD 'other';
COMMENT ON ROLE member IS E'it''s\na \\ member $do$';
GRANT "Group ""x"" \ $do$" TO admin WITH ADMIN OPTION;
GRANT pg_monitor TO member;
GRANT member TO second;
ALTER ROLE admin SET search_path = "$user", 'Odd "Schema", one', public;
ALTER ROLE admin SET work_mem = '8MB';
ALTER ROLE admin SET "app.setting" = 'a, ''b'' \ $do$ "c"';
ALTER ROLE admin SET temp_tablespaces = '';
ALTER ROLE admin IN DATABASE shop SET statement_timeout = '5s';
ALTER ROLE ALL SET "app.everyone" = 'yes';
ALTER DATABASE shop SET search_path = public, odd;
ALTER DATABASE shop SET "app.empty" = '';
ALTER DATABASE shop OWNER TO admin;
ALTER DATABASE shop CONNECTION LIMIT 42;
COMMENT ON DATABASE shop IS 'a shop';
REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
GRANT CREATE, CONNECT ON DATABASE shop TO member WITH GRANT OPTION;
SET ROLE member; GRANT CONNECT ON DATABASE shop TO second; RESET ROLE;
"#;

const SINCE_15: &str = "GRANT SET ON PARAMETER log_min_duration_statement TO member WITH GRANT OPTION;
GRANT ALTER SYSTEM ON PARAMETER work_mem TO admin;";

const SINCE_16: &str = r#"
CREATE ROLE team; CREATE ROLE lead; CREATE ROLE worker;
GRANT team TO lead WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;
SET ROLE lead; GRANT team TO admin WITH ADMIN TRUE; RESET ROLE;
SET ROLE admin; GRANT team TO worker WITH INHERIT TRUE, SET FALSE; RESET ROLE;
"#;

fn psql(cluster: &TestCluster, sql: &str) -> (bool, String) {
    let mut child = Command::new(tool("psql", 15))
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &cluster.url("postgres")])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn globals(cluster: &TestCluster) -> Globals {
    read_globals(&mut connect(&cluster.options("shop")).await).await.unwrap()
}

/// Privileges in the order of their names: their stored order says nothing.
fn sorted(mut globals: Globals) -> Globals {
    for acl in globals
        .database
        .acl
        .iter_mut()
        .chain(globals.parameter_privileges.iter_mut().map(|p| &mut p.privileges))
    {
        acl.sort_by_key(|p| (p.grantor.clone(), p.grantee.clone(), p.privilege.clone()));
    }
    globals
}

#[tokio::test]
async fn globals_loaded_with_psql_elsewhere_read_back_equal() {
    for server in servers() {
        let source = TestCluster::private(server.major, &[]);
        let _shop = source.create_database_as("shop", "");
        let sql = format!("{ROLES}{SINCE_15}{}", if server.major >= 16 { SINCE_16 } else { "" });
        connect(&source.options("postgres")).await.execute(&sql).await.unwrap();
        let original = globals(&source).await;
        assert_eq!(original.missing, [] as [String; 0]);
        let script = original.to_sql();
        assert!(!format!("{original:?}").contains("SCRAM"));

        let target = TestCluster::private(server.major, &[]);
        // Before the database exists, after it exists, and once more.
        let (loaded, errors) = psql(&target, &script);
        assert!(loaded, "{}: {errors}", server.major);
        assert!(
            !errors.contains("left out")
                || errors.lines().filter(|l| l.contains("left out")).all(|l| l.contains("shop")),
            "{errors}"
        );
        let _copy = target.create_database_as("shop", "");
        for _ in 0..2 {
            let (loaded, errors) = psql(&target, &script);
            assert!(loaded && !errors.contains("left out"), "{}: {errors}", server.major);
        }
        assert_eq!(sorted(globals(&target).await), sorted(original), "{}", server.major);
    }
}

#[tokio::test]
async fn globals_load_into_every_newer_version() {
    let source = TestCluster::private(15, &[]);
    let _shop = source.create_database_as("shop", "");
    connect(&source.options("postgres")).await.execute(ROLES).await.unwrap();
    connect(&source.options("postgres"))
        .await
        .execute("GRANT admin TO postgres WITH ADMIN OPTION")
        .await
        .unwrap();
    let original = globals(&source).await;
    for major in [16, 17, 18] {
        let target = TestCluster::private(major, &[]);
        let _copy = target.create_database_as("shop", "");
        let (loaded, errors) = psql(&target, &original.to_sql());
        assert!(loaded && !errors.contains("left out"), "{major}: {errors}");
        let there = globals(&target).await;
        assert_eq!(there.roles, original.roles);
        assert_eq!(there.settings, original.settings);
        let names = |m: &Membership| (m.role.clone(), m.member.clone());
        let expected: Vec<_> = original.memberships.iter().map(names).collect();
        assert_eq!(there.memberships.iter().map(names).collect::<Vec<_>>(), expected);
    }
}

/// On Supabase, `postgres` is no superuser. Loading that into a cluster whose bootstrap superuser has this name must
/// neither fail nor take its rights.
#[tokio::test]
async fn a_role_named_like_the_loading_superuser_loses_nothing() {
    let source = TestCluster::private(18, &[]);
    let _shop = source.create_database_as("shop", "");
    let mut client = connect(&source.options("postgres")).await;
    client
        .execute(
            "CREATE ROLE supabase_admin SUPERUSER LOGIN; CREATE ROLE anon; CREATE ROLE authenticator NOINHERIT LOGIN",
        )
        .await
        .unwrap();
    let mut original = globals(&source).await;
    let role = |globals: &mut Globals, name: &str| -> usize {
        globals.roles.iter().position(|r| r.name == name).unwrap()
    };
    let postgres = role(&mut original, "postgres");
    original.roles[postgres] = Role {
        superuser: false,
        bootstrap: false,
        create_role: true,
        login: true,
        replication: true,
        bypass_rls: false,
        connection_limit: 3,
        ..original.roles[postgres].clone()
    };
    original.memberships = vec![
        Membership {
            role: "anon".into(),
            member: "postgres".into(),
            grantor: None,
            admin: true,
            inherit: Some(true),
            set: Some(true),
        },
        Membership {
            role: "anon".into(),
            member: "authenticator".into(),
            grantor: Some("postgres".into()),
            admin: false,
            inherit: Some(false),
            set: Some(true),
        },
    ];
    let target = TestCluster::private(18, &[]);
    let _copy = target.create_database_as("shop", "");
    for _ in 0..2 {
        let (loaded, errors) = psql(&target, &original.to_sql());
        assert!(loaded, "{errors}");
    }
    let there = globals(&target).await;
    let postgres = there.roles.iter().find(|r| r.name == "postgres").unwrap();
    assert!(postgres.superuser && postgres.bypass_rls && postgres.connection_limit == -1);
    assert!(
        there
            .memberships
            .iter()
            .any(|m| m.role == "anon" && m.member == "authenticator" && m.inherit == Some(false))
    );
}

#[tokio::test]
async fn a_setting_that_the_target_refuses_becomes_a_warning() {
    let source = TestCluster::private(15, &[]);
    let _shop = source.create_database_as("shop", "");
    connect(&source.options("postgres"))
        .await
        .execute("CREATE ROLE old; ALTER ROLE old SET old_snapshot_threshold = '1h'; ALTER ROLE old SET work_mem = '6MB'")
        .await
        .map_or_else(|_| (), |()| ());
    let mut original = globals(&source).await;
    if !original.roles.iter().any(|role| role.name == "old") {
        connect(&source.options("postgres"))
            .await
            .execute("CREATE ROLE old; ALTER ROLE old SET work_mem = '6MB'")
            .await
            .unwrap();
        original = globals(&source).await;
    }
    original.settings.push(basekeep_postgres::globals::Setting {
        role: Some("old".into()),
        database: None,
        name: "no_such_parameter".into(),
        value: "it's".into(),
    });
    let target = TestCluster::private(18, &[]);
    let (loaded, errors) = psql(&target, &original.to_sql());
    assert!(loaded && errors.contains("left out") && errors.contains("no_such_parameter"), "{errors}");
    let _copy = target.create_database_as("shop", "");
    assert!(globals(&target).await.settings.iter().any(|s| s.name == "work_mem" && s.value == "6MB"));
}

#[tokio::test]
async fn an_ordinary_role_reads_all_but_the_passwords() {
    let cluster = TestCluster::private(15, &[]);
    let shop = cluster.create_database_as("shop", "");
    connect(&cluster.options("postgres")).await.execute(ROLES).await.unwrap();
    let full = globals(&cluster).await;
    let part = read_globals(&mut connect(&options_as(&shop, "member")).await).await.unwrap();
    assert!(part.missing.len() == 1 && part.missing[0].contains("pg_authid"), "{:?}", part.missing);
    assert!(part.roles.iter().all(|role| role.verifier.is_none()));
    assert!(full.roles.iter().any(|role| role.verifier.is_some()));
    assert_eq!(part.roles.len(), full.roles.len());
    assert_eq!(
        (part.memberships, part.settings, part.database),
        (full.memberships, full.settings, full.database)
    );
    let target = TestCluster::private(15, &[]);
    let (loaded, errors) = psql(
        &target,
        &read_globals(&mut connect(&options_as(&shop, "member")).await).await.unwrap().to_sql(),
    );
    assert!(loaded, "{errors}");
}

#[tokio::test]
async fn tablespaces_are_named_and_adjusted_where_they_exist() {
    let cluster = TestCluster::private(16, &[]);
    let _shop = cluster.create_database_as("shop", "");
    let mut client = connect(&cluster.options("postgres")).await;
    client.execute("CREATE ROLE admin; SET allow_in_place_tablespaces = on").await.unwrap();
    client.execute("CREATE TABLESPACE fast LOCATION ''").await.unwrap();
    client
        .execute(
            "ALTER TABLESPACE fast SET (random_page_cost = 1.5); ALTER TABLESPACE fast OWNER TO admin;
             GRANT CREATE ON TABLESPACE fast TO PUBLIC; COMMENT ON TABLESPACE fast IS 'quick'",
        )
        .await
        .unwrap();
    let original = globals(&cluster).await;
    let script = original.to_sql();
    assert!(script.contains("-- CREATE TABLESPACE \"fast\" OWNER \"admin\""), "{script}");
    let target = TestCluster::private(16, &[]);
    let _copy = target.create_database_as("shop", "");
    assert!(psql(&target, &script).0);
    let mut client = connect(&target.options("postgres")).await;
    client.execute("SET allow_in_place_tablespaces = on").await.unwrap();
    client.execute("CREATE TABLESPACE fast LOCATION ''").await.unwrap();
    assert!(psql(&target, &script).0);
    let there = globals(&target).await;
    let strip = |mut globals: Globals| {
        globals.tablespaces[0].location.clear();
        globals.tablespaces
    };
    assert_eq!(strip(there), strip(original));
}
