//! A Supabase project on the command line: doctor, backup, show, and functions and configuration sent back.

use basekeep_testkit::management_api::{Answer, ManagementApi, REFERENCE};
use basekeep_testkit::server;
use basekeep_testkit::supabase::{Platform, Project};

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
    let ran = sandbox.run("restore --to postgresql://me@127.0.0.1:1/d --functions --yes").expect(2);
    assert!(ran.stderr.contains("--project-ref"), "{}", ran.stderr);
}
