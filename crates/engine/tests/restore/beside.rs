//! Parts that are not, or not only, in the archive, each put back alone: roles, settings, extensions, vault secrets, cron jobs.

use basekeep_engine::restore::{ChangeKind, Mode, RestoreOptions};
use basekeep_engine::selection::{Part, Selection};
use basekeep_testkit::supabase::{Platform, Project};
use basekeep_testkit::{TestCluster, TestDatabase, load_sql, server};

use super::parts::{copy_of, differing, options, parts, planned, restored};
use super::supabase::{backed_up as backed_up_project, into_project};
use crate::support::{Backup, assert_same_text, backed_up, restore};

fn only(part: Part) -> Selection {
    parts(&[part], Selection::default())
}

async fn one(database: &TestDatabase, sql: &str) -> String {
    let mut client = database.client().await;
    let rows = client.query(sql).await.unwrap();
    rows.iter().next().and_then(|row| row.get(0)).unwrap_or_default().to_owned()
}

/// Everything that a server says about its roles.
const ROLES: &str = "SELECT string_agg(concat_ws(' ', to_jsonb(r) - 'oid', shobj_description(r.oid, 'pg_authid'),
        (SELECT jsonb_agg(to_jsonb(s) - 'setrole' - 'setdatabase' ORDER BY s::text) FROM pg_db_role_setting AS s WHERE s.setrole = r.oid),
        (SELECT string_agg(concat_ws('/', m.roleid::regrole, m.admin_option), ',' ORDER BY m.roleid::regrole::text) FROM pg_auth_members AS m WHERE m.member = r.oid),
        (SELECT string_agg(p.parname || p.paracl::text, ',' ORDER BY p.parname) FROM pg_parameter_acl AS p WHERE p.paracl::text LIKE '%' || r.rolname || '=%')),
    E'\n' ORDER BY r.rolname) FROM pg_authid AS r WHERE r.rolname !~ '^pg_'";

async fn roles_come_back(major: u32) {
    let cluster = TestCluster::private(major, &[]);
    let source = cluster.create_database();
    load_sql(
        &source,
        "CREATE ROLE app LOGIN PASSWORD 'first' CONNECTION LIMIT 5; CREATE ROLE team CREATEDB; CREATE ROLE gone VALID UNTIL '2030-01-01';
         COMMENT ON ROLE team IS 'all of us'; GRANT team TO app; GRANT gone TO team WITH ADMIN OPTION; GRANT pg_monitor TO app;
         ALTER ROLE app SET statement_timeout = '5s'; ALTER ROLE gone SET search_path = a, \"B c\"; ALTER ROLE team SET work_mem = '8MB';
         GRANT SET ON PARAMETER session_replication_role TO team; GRANT SET ON PARAMETER log_statement TO gone;
         CREATE TABLE t (n int); INSERT INTO t VALUES (1)",
    )
    .await;
    let backup = backed_up(&source).await;
    let (roles, rows, definitions) =
        (one(&source, ROLES).await, source.contents().await, source.schema_dump());
    let target = copy_of(&source);
    load_sql(
        &target,
        "ALTER ROLE app NOLOGIN PASSWORD 'second' CONNECTION LIMIT 1; REVOKE team, pg_monitor FROM app; ALTER ROLE app SET statement_timeout = '1s';
         ALTER ROLE team NOCREATEDB SUPERUSER; COMMENT ON ROLE team IS NULL; ALTER ROLE team RESET work_mem;
         REVOKE SET ON PARAMETER session_replication_role FROM team; REVOKE SET ON PARAMETER log_statement FROM gone; DROP ROLE gone",
    )
    .await;
    // What is there otherwise is told and stays, what is missing comes.
    let empty = options(&target, only(Part::Roles), Mode::Empty);
    let plan = planned(&backup, &empty).await;
    let differs: Vec<&str> = plan.differs.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(differs, ["role app", "role team", "setting statement_timeout of role app"], "{plan:#?}");
    assert_eq!(plan.differs[0].1, "it has another login, connection limit, password");
    let (changes, report) = restored(&backup, &empty).await;
    assert_eq!(report.failed, []);
    for what in [
        "role gone",
        "membership of app in team",
        "membership of app in pg_monitor",
        "membership of team in gone",
        "setting work_mem of role team",
        "setting search_path of role gone",
        "privilege of team on parameter session_replication_role",
        "privilege of gone on parameter log_statement",
    ] {
        assert_eq!(changes.get(what), Some(&(ChangeKind::Set, None)), "{what}: {changes:#?}");
    }
    assert_eq!(changes.len(), 8, "{changes:#?}");
    assert_eq!(one(&target, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'").await, "f");
    // Nothing of that is left to do.
    assert_eq!(restored(&backup, &empty).await.0.len(), 0);

    let clear = options(&target, only(Part::Roles), Mode::Clear);
    let (changes, report) = restored(&backup, &clear).await;
    assert_eq!(report.failed, []);
    let names: Vec<&str> = changes.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "role app: login, connection limit, password",
            "role team: superuser, createdb, comment",
            "setting statement_timeout of role app"
        ]
    );
    assert_same_text(&roles, &one(&target, ROLES).await);
    assert_eq!(target.contents().await, rows);
    assert_same_text(&definitions, &target.schema_dump());
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_come_back_alone_and_what_is_there_otherwise_stays_or_gives_way_on_15() {
    roles_come_back(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_come_back_alone_and_what_is_there_otherwise_stays_or_gives_way_on_18() {
    roles_come_back(18).await;
}

/// What a database is beside its contents.
const PROPERTIES: &str = "SELECT concat_ws(' ', datconnlimit, shobj_description(d.oid, 'pg_database'),
        (SELECT string_agg(concat_ws(':', g.grantee::regrole, g.privilege_type), ',' ORDER BY g.grantee::regrole::text, g.privilege_type) FROM aclexplode(datacl) AS g),
        (SELECT jsonb_agg(jsonb_build_array(s.setrole::regrole, s.setconfig) ORDER BY s.setrole::regrole::text) FROM pg_db_role_setting AS s WHERE s.setdatabase = d.oid))
    FROM pg_database AS d WHERE datname = current_database()";

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_database_come_back_alone() {
    let cluster = TestCluster::private(15, &[]);
    let source = cluster.create_database();
    let set = |database: &TestDatabase, rest: &str| rest.replace("DB", &format!("\"{}\"", database.name()));
    let settings = "CREATE TABLE t (n int); ALTER DATABASE DB SET work_mem = '8MB'; ALTER DATABASE DB SET \"app.key\" = 'a, b';
        ALTER ROLE reader IN DATABASE DB SET statement_timeout = '3s'; COMMENT ON DATABASE DB IS 'the shop''s';
        ALTER DATABASE DB CONNECTION LIMIT 50; REVOKE CONNECT ON DATABASE DB FROM PUBLIC; GRANT CONNECT ON DATABASE DB TO reader";
    load_sql(&source, &format!("CREATE ROLE reader; {}", set(&source, settings))).await;
    let backup = backed_up(&source).await;
    let target = copy_of(&source);
    let own = set(&target, "ALTER DATABASE DB SET work_mem = '1MB'; COMMENT ON DATABASE DB IS 'mine'");
    load_sql(&target, &own).await;
    let (changes, report) = restored(&backup, &options(&target, only(Part::Config), Mode::Empty)).await;
    assert_eq!(report.failed, []);
    let mut plan = planned(&backup, &options(&target, only(Part::Config), Mode::Empty)).await;
    plan.differs.sort();
    let differs: Vec<&str> = plan.differs.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(differs, ["comment of the database", "setting work_mem of the database"]);
    let names: Vec<&str> = changes.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["connection limit of the database", "grants on the database", "setting app.key of the database"]
    );
    // A role's settings are those of roles.
    let both = parts(&[Part::Config, Part::Roles], Selection::default());
    let (changes, report) = restored(&backup, &options(&target, both, Mode::Clear)).await;
    assert_eq!(report.failed, []);
    assert!(changes.contains_key("setting statement_timeout of role reader in the database"), "{changes:#?}");
    assert_eq!(one(&target, PROPERTIES).await, one(&source, PROPERTIES).await);
    assert_eq!(target.contents().await, source.contents().await);

    // Who does not own the database is told.
    let guest = target.options().with_user("guest", None);
    load_sql(&target, &set(&target, "CREATE ROLE guest LOGIN; GRANT CONNECT ON DATABASE DB TO guest; ALTER DATABASE DB RESET work_mem")).await;
    let asks = RestoreOptions { target: guest, ..options(&target, only(Part::Config), Mode::Empty) };
    let plan = planned(&backup, &asks).await;
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.contains("does not own the database") && warning.contains("work_mem")),
        "{:?}",
        plan.warnings
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_come_back_alone() {
    let source = TestCluster::shared(15).create_database();
    load_sql(
        &source,
        "CREATE SCHEMA x; CREATE EXTENSION hstore SCHEMA x; CREATE EXTENSION pg_trgm; COMMENT ON EXTENSION hstore IS 'pairs'; CREATE TABLE t (n int)",
    )
    .await;
    let backup = backed_up(&source).await;
    let target = copy_of(&source);
    load_sql(&target, "DROP EXTENSION hstore; DROP EXTENSION pg_trgm; INSERT INTO t VALUES (7)").await;
    let rows = target.contents().await;
    for mode in [Mode::Empty, Mode::Clear] {
        let (changes, report) = restored(&backup, &options(&target, only(Part::Extensions), mode)).await;
        assert_eq!(report.failed, []);
        let action = if mode == Mode::Empty { ChangeKind::Create } else { ChangeKind::Skip };
        assert_eq!(changes["extension hstore"], (action, None));
        assert_eq!(changes.len(), 2, "{changes:#?}");
        assert_same_text(&source.schema_dump(), &target.schema_dump());
        assert_eq!(target.contents().await, rows);
    }
}

const SECRETS: &str = "SELECT string_agg(concat_ws('|', name, description, decrypted_secret), E'\n' ORDER BY decrypted_secret) FROM vault.decrypted_secrets";
const JOBS: &str = "SELECT string_agg(concat_ws('|', jobname, schedule, command, username), E'\n' ORDER BY command) FROM cron.job WHERE database = current_database()";

/// A project in use, its backup, and another one that was made of it.
async fn two_projects() -> (Platform, Project, Project, Backup) {
    let platform = Platform::start(server(15)).await;
    let source = platform.create_sample_project("app").await;
    let target = platform.create_project("live").await;
    let backup = backed_up_project(&source).await;
    let report = super::supabase::restored(&backup, &into_project(&target)).await;
    assert_eq!(report.failed, []);
    (platform, source, target, backup)
}

fn of_project(target: &Project, part: Part, mode: Mode) -> RestoreOptions {
    RestoreOptions { selection: only(part), mode, ..into_project(target) }
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_secrets_cron_jobs_and_buckets_come_back_alone_into_a_project_in_use() {
    let (_platform, source, target, backup) = two_projects().await;
    let (before, definitions) = (target.database().contents().await, target.database().schema_dump());
    let value = |sql: &'static str| {
        let (source, target) = (&source, &target);
        async move { (source.value_as("postgres", sql).await, target.value_as("postgres", sql).await) }
    };
    let untouched = |after: &std::collections::BTreeMap<String, String>, but: &str| {
        let others = differing(&before, after);
        assert!(others.iter().all(|name| name.contains(but)), "{others:?}");
    };

    target
        .execute_as(
            "postgres",
            "SELECT vault.update_secret(id, 'mine') FROM vault.decrypted_secrets WHERE name = 'supplier_api_key';
             DELETE FROM vault.secrets WHERE name = 'multi line'",
        )
        .await;
    let (changes, report) = restored(&backup, &of_project(&target, Part::Encryption, Mode::Empty)).await;
    assert_eq!(report.failed, []);
    assert_eq!(changes["vault secret 'multi line'"], (ChangeKind::Create, None));
    assert_eq!(changes["vault secret 'supplier_api_key'"], (ChangeKind::Skip, None));
    assert_eq!(changes.values().filter(|change| change.0 == ChangeKind::Skip).count(), 2, "{changes:#?}");
    assert!(
        report.warnings.iter().any(|w| w.contains("'supplier_api_key' is on the target")),
        "{:?}",
        report.warnings
    );
    let (changes, report) = restored(&backup, &of_project(&target, Part::Encryption, Mode::Clear)).await;
    assert_eq!(report.failed, []);
    assert_eq!(changes["vault secret 'supplier_api_key'"], (ChangeKind::Replace, None));
    let (was, is) = value(SECRETS).await;
    assert_eq!((was.is_some(), was), (true, is));
    untouched(&target.database().contents().await, " vault.");

    target
        .execute_as(
            "postgres",
            "SELECT cron.unschedule('remind'); SELECT cron.schedule('nightly-report', '1 1 * * *', 'SELECT 2');
             SELECT cron.schedule('my own', '1 1 * * *', 'SELECT 3')",
        )
        .await;
    let (changes, report) = restored(&backup, &of_project(&target, Part::Cron, Mode::Empty)).await;
    assert_eq!(report.failed, []);
    assert_eq!(changes["cron job 'remind'"], (ChangeKind::Create, None));
    assert_eq!(changes["cron job 'nightly-report'"], (ChangeKind::Skip, None));
    assert!(
        report.warnings.iter().any(|w| w.contains("'nightly-report' is on the target")),
        "{:?}",
        report.warnings
    );
    let (changes, report) = restored(&backup, &of_project(&target, Part::Cron, Mode::Clear)).await;
    assert_eq!(report.failed, []);
    assert_eq!(changes["cron job 'nightly-report'"], (ChangeKind::Replace, None));
    let own = "SELECT count(*) FROM cron.job WHERE database = current_database() AND active";
    assert_eq!(target.value_as("postgres", own).await.as_deref(), Some("1"), "only that of the target's own");
    target.execute_as("postgres", "SELECT cron.unschedule('my own')").await;
    let (was, is) = value(JOBS).await;
    assert_eq!((was.is_some(), was), (true, is));
    let enabled = RestoreOptions { enable_cron: true, ..of_project(&target, Part::Cron, Mode::Clear) };
    assert_eq!(restored(&backup, &enabled).await.1.failed, []);
    let (was, is) = value("SELECT string_agg(command, ',' ORDER BY command) FROM cron.job WHERE active AND database = current_database()").await;
    assert_eq!(was, is);
    untouched(
        &target
            .database()
            .contents()
            .await
            .into_iter()
            .filter(|(name, _)| !name.contains(" vault."))
            .collect(),
        "",
    );

    target
        .execute_as(
            "supabase_admin",
            "SET session_replication_role = replica; DELETE FROM storage.objects; UPDATE storage.buckets SET public = NOT public",
        )
        .await;
    let (changes, report) = restored(&backup, &of_project(&target, Part::Storage, Mode::Clear)).await;
    assert_eq!(report.failed, []);
    assert_eq!(changes["rows of storage.buckets"].0, ChangeKind::ReplaceRows);
    let after = target.database().contents().await;
    for table in ["table storage.buckets", "table storage.objects"] {
        assert_eq!(after[table], before[table], "{table}");
    }
    assert_same_text(&definitions, &target.database().schema_dump());
    let others: Vec<String> = differing(&before, &after);
    assert!(others.iter().all(|name| name.contains(" vault.") || name.contains(" cron.")), "{others:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_project_takes_is_told_where_there_is_none() {
    let platform = Platform::start(server(15)).await;
    let source = platform.create_sample_project("app").await;
    let backup = backed_up_project(&source).await;
    let target = TestCluster::shared(15).create_database();
    let all = options(&target, Selection::default(), Mode::Empty);
    let warnings = planned(&backup, &all).await.warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("3 vault secrets, 4 cron jobs, 2 queues stay in the snapshot")),
        "{warnings:?}"
    );
    for (part, table) in [(Part::Encryption, "table vault.secrets"), (Part::Cron, "table cron.job")] {
        let error = restore(&backup, &options(&target, only(part), Mode::Empty)).await.unwrap_err();
        assert!(error.message().contains(table), "{part}: {error}");
        assert!(target.contents().await.is_empty());
    }
}
