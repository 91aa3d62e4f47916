//! A Supabase project on the command line: doctor, backup, show, and functions and configuration sent back.

use basekeep_testkit::management_api::{Answer, ManagementApi, REFERENCE};
use basekeep_testkit::supabase::{Platform, Project};
use basekeep_testkit::{STORAGE_KEY, StorageApi, server};

use crate::sandbox::Sandbox;

const TOKEN: &str = "sbp_0123456789";

/// A project of the platform, its API, and a sandbox that calls it `factory`. The platform must outlive the project.
async fn factory() -> (Platform, Project, ManagementApi, Sandbox) {
    let platform = Platform::start(server(16)).await;
    let project = platform.create_sample_project("factory").await;
    let api = ManagementApi::start(TOKEN).await;
    let bin = server(16).bin.display().to_string();
    let sandbox = Sandbox::new().with_variable("BASEKEEP_PASSWORD", "x");
    let sandbox =
        sandbox.with_variable("BASEKEEP_POSTGRES_BIN", &bin).with_variable("SUPABASE_ACCESS_TOKEN", TOKEN);
    sandbox.write("supabase/functions/hello/index.ts", "Deno.serve(() => new Response('hi'))");
    sandbox.write("supabase/functions/.env", "STRIPE_KEY=sk_live\n");
    sandbox.write(
        "basekeep.toml",
        &format!(
            "[repository]\nurl = \"r\"\n[source.factory]\nurl = \"{}\"\nproject = \".\"\nstorage = \"skip\"\n\
             management = {{ project_ref = \"{REFERENCE}\", url = \"{}\" }}\n",
            project.url(),
            api.url()
        ),
    );
    sandbox.run("init").expect(0);
    (platform, project, api, sandbox)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_looked_at_backed_up_and_shown_and_its_functions_go_back() {
    let (_platform, _project, api, sandbox) = factory().await;
    let doctor = sandbox.run("doctor").expect(0).stdout;
    for line in [
        "  ok       a Supabase project; auth migrated to ",
        "  ok       vault: ",
        "  ok       project folder: 1 edge functions, 1 files; not stored since secret: supabase/functions/.env (STRIPE_KEY)",
        "  ok       files in storage are left out, as configured",
        "opens project abcdefghijklmnopqrst",
        "  warning  role postgres may not read pg_authid: passwords of roles are not in the backup",
    ] {
        assert!(doctor.contains(line), "{line} in\n{doctor}");
    }

    // The platform closes its own lists of migrations: told, and exit code 3.
    let backup = sandbox.run("backup").expect(3);
    assert!(backup.stderr.contains("not captured"), "{}", backup.stderr);
    let shown = sandbox.run("show").expect(0).stdout;
    assert!(shown.contains("supply again: secret STRIPE_KEY of the edge functions"), "{shown}");
    assert!(shown.contains("supply again: smtp_pass in the configuration of auth"), "{shown}");
    let document = sandbox.run("show --json").expect(0).json();
    let counts = &document["supabase"]["counts"];
    assert_eq!(
        (&counts["edge_functions"], &counts["deployed_functions"]),
        (&1.into(), &2.into()),
        "{document}"
    );
    assert!(document["supabase"]["users_by_hash"]["bcrypt"].as_u64().unwrap() > 0, "{document}");
    let all = format!("{doctor}{}{}{shown}{document}", backup.stdout, backup.stderr);
    assert!(
        !all.contains(TOKEN) && !all.contains("geheim") && !all.contains("sk_live"),
        "a secret was printed"
    );

    let ran = sandbox.run("restore --to factory --functions --configuration --dry-run").expect(0);
    assert!(ran.stdout.contains("would go to project abcdefghijklmnopqrst"), "{}", ran.stdout);
    assert!(api.requests().iter().all(|request| request.method == "GET"));
    for slug in ["hook", "send-mail"] {
        api.answer(&format!("GET functions/{slug}"), [Answer::new(200, "{}")]);
        api.answer(&format!("PATCH functions/{slug}"), [Answer::new(200, "{}")]);
    }
    api.answer("GET config/realtime", [Answer::new(200, r#"{"private_only":true}"#)]);
    api.answer("PATCH config/realtime", [Answer::refusal(403, "Forbidden resource")]);
    let ran = sandbox.run("restore --to factory --functions --configuration --yes").expect(3);
    assert!(ran.stdout.contains("deployed: hook\ndeployed: send-mail\n"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("failed: the configuration of realtime: the Management API answered 403"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr.contains("set these secrets of the functions again: OPENAI_KEY, STRIPE_KEY"),
        "{}",
        ran.stderr
    );
    for what in ["--functions", "--only edge-functions", "--only config,edge-functions"] {
        let line = format!("restore --to postgresql://me@127.0.0.1:1/d {what} --yes");
        let ran = sandbox.run(&line).expect(2);
        assert!(ran.stderr.contains("--project-ref"), "{what}: {}", ran.stderr);
    }

    // As a part: alone, and after others.
    let sent =
        |since: usize| api.requests()[since..].iter().filter(|request| request.method == "PATCH").count();
    let since = api.requests().len();
    let ran = sandbox.run("restore --to factory --only edge-functions --yes").expect(0);
    assert!(ran.stdout.contains("2 functions deployed, 0 documents changed"), "{}", ran.stdout);
    assert_eq!(sent(since), 2);
    let dry =
        sandbox.run("restore --to factory --only cron,edge-functions --dry-run --json").expect(0).json();
    let changes = dry["changes"].as_array().unwrap();
    let has = |object: &str, action: &str| {
        changes.iter().any(|change| change["object"] == object && change["action"] == action)
    };
    assert!(has("cron job 'remind'", "skip"), "{dry}");
    assert!(has("edge functions, to project abcdefghijklmnopqrst", "load"), "{dry}");
    let since = api.requests().len();
    let ran = sandbox.run("restore --to factory --only cron,edge-functions --yes").expect(0);
    assert!(ran.stdout.contains("deployed: hook\ndeployed: send-mail\n"), "{}", ran.stdout);
    assert_eq!(sent(since), 2);
    let ran = sandbox.run("restore --to factory --only config --dry-run").expect(0);
    assert!(ran.stderr.contains("goes back with --configuration"), "{}", ran.stderr);
    let ran = sandbox.run("restore --to factory --only files --yes").expect(2);
    assert!(ran.stderr.contains("the snapshot has no files"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_comes_back_with_its_files_and_the_plan_tells_it() {
    let platform = Platform::start(server(15)).await;
    let project = platform.create_project("app").await;
    let api = StorageApi::start(&project.database().options()).await;
    project
        .execute_as(
            "postgres",
            "INSERT INTO storage.buckets (id, name) VALUES ('docs', 'docs'); CREATE TABLE public.own (n int)",
        )
        .await;
    for name in ["a", "b/c"] {
        api.put("docs", name, format!("content of {name}").as_str(), "text/plain").await;
    }
    let bin = server(15).bin.display().to_string();
    let sandbox =
        Sandbox::new().with_variable("BASEKEEP_PASSWORD", "x").with_variable("BASEKEEP_POSTGRES_BIN", &bin);
    let sandbox = sandbox.with_variable("STORAGE_KEY", STORAGE_KEY);
    let config = format!(
        "[repository]\nurl = \"r\"\n[source.app]\nurl = \"{}\"\nstorage = {{ url = \"{}\", service_key_env = \"STORAGE_KEY\" }}\n",
        project.url(),
        api.url()
    );
    sandbox.write("basekeep.toml", &config);
    sandbox.run("init").expect(0);
    sandbox.run("backup").expect(3);
    let rows = "SELECT jsonb_agg(to_jsonb(o) - 'version' ORDER BY o.name)::text FROM storage.objects o";
    let before = project.value_as("supabase_admin", rows).await;

    api.lose("docs", "a").await;
    project
        .execute_as("supabase_admin", "SET session_replication_role = replica; DELETE FROM storage.objects; INSERT INTO public.own VALUES (1)")
        .await;
    let line = "restore --to app --only storage,files --mode merge";
    let dry = sandbox.run(&format!("{line} --dry-run")).expect(0).stdout;
    assert!(dry.contains("load  rows of storage.objects") && dry.contains("load  storage files"), "{dry}");
    let ran = sandbox.run(&format!("{line} --yes")).expect(0);
    assert!(ran.stdout.contains("sent 1 file of storage"), "{}", ran.stdout);
    assert_eq!(project.value_as("supabase_admin", rows).await, before);
    assert!(api.file("docs", "a").await.is_some());
    let own = project.value_as("postgres", "SELECT count(*) FROM public.own").await;
    assert_eq!(own.as_deref(), Some("1"));

    // The files alone, as a part.
    api.lose("docs", "b/c").await;
    let ran = sandbox.run("restore --to app --only files --yes").expect(0);
    assert!(ran.stdout.contains("sent 1 file of storage"), "{}", ran.stdout);
    assert_eq!(project.value_as("supabase_admin", rows).await, before);
}
