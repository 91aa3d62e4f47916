//! `basekeep generate`, judged by the programs and schemas that the files are for.

use std::path::Path;
use std::process::Command;

use basekeep_testkit::{tool, validator};

use crate::sandbox::Sandbox;

/// Passwords in every place where one can stand; none of them may come out.
const PLANTED: &str = "geheim-4711";

fn project() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox
        .write("supabase/config.toml", "project_id = \"shop\"\n")
        .write(".git/HEAD", "ref: refs/heads/main\n");
    sandbox.write(
        "basekeep.toml",
        &format!(
            "[repository]\nurl = \"./backups of 100%\"\npassword_command = \"echo {PLANTED}\"\n\
             [[replica]]\nurl = \"s3://elsewhere/backups\"\nregion = \"eu-central-1\"\naccess_key_env = \"FAR_ID\"\n\
             secret_key_env = \"FAR_KEY\"\npassword_command = \"echo {PLANTED}\"\n\
             [source.shop]\nurl = \"postgresql://me:{PLANTED}@127.0.0.1:54322/postgres\"\nproject = \".\"\n\
             management = {{ project_ref = \"abc\", token_env = \"MANAGEMENT_TOKEN\" }}\nprofile = \"production\"\n\
             [source.\"other one\"]\nurl = \"postgresql://me@db.example.com/d?password={PLANTED}\"\n\
             password_env = \"OTHER_PASSWORD\"\nstorage = {{ url = \"https://x\", service_key_env = \"SERVICE_KEY\" }}\n\
             [profile.production]\nkeep = {{ within = \"30d\", monthly = 12, max = 50 }}\ntimezone = \"Europe/Zurich\"\n\
             jitter = \"10m\"\n\
             [export]\nfolder = \"plain\"\n"
        ),
    );
    sandbox
}

/// Writes the files of a kind into `out`, and gives their names.
#[track_caller]
fn generated(sandbox: &Sandbox, line: &str) -> Vec<String> {
    let document = sandbox.run(&format!("generate {line} --output out --json")).expect(0).json();
    let files = document["files"].as_array().unwrap();
    for file in files {
        let text = sandbox.read(&format!("out/{}", file["name"].as_str().unwrap()));
        let told = file["text"]
            .as_str()
            .unwrap()
            .replace("[FOLDER]", sandbox.path("").to_str().unwrap().trim_end_matches('/'));
        assert_eq!(told, text);
        assert!(!text.contains(PLANTED), "{text}");
    }
    files.iter().map(|file| file["name"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn passes(command: &mut Command) {
    let output = command.output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
}

#[track_caller]
fn systemd_accepts(sandbox: &Sandbox, names: &[String]) {
    let files = names.iter().map(|name| sandbox.path("out").join(name));
    let output =
        Command::new(tool("systemd-analyze", 0)).args(["verify", "--man=no"]).args(files).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // Units of the machine itself may be found wanting; ours may not.
    let ours: Vec<&str> = text.lines().filter(|line| line.contains("basekeep")).collect();
    assert!(ours.is_empty() && output.status.success(), "{text}");
}

#[test]
fn systemd_accepts_the_units() {
    let sandbox = project();
    let names = generated(&sandbox, "systemd");
    assert_eq!(names.len(), 12, "{names:?}");
    systemd_accepts(&sandbox, &names);
    let service = sandbox.read("out/basekeep-backup-other-one.service");
    assert!(service.contains(" backup \"other one\" --retry-lock 1h\n"), "{service}");
    assert!(service.contains("backups of 100%%\"\n"), "{service}");
    assert!(service.contains("#   OTHER_PASSWORD  the database password of other one\n"), "{service}");
    let timer = sandbox.read("out/basekeep-drill-shop.timer");
    assert!(timer.contains("OnCalendar=Sun *-*-* 04:00:00 Europe/Zurich\n"), "{timer}");
    assert!(timer.contains("RandomizedDelaySec=600\n"), "as the profile says: {timer}");
    let other = sandbox.read("out/basekeep-drill-other-one.timer");
    assert!(other.contains("OnCalendar=Sun *-*-* 04:12:00\n"), "no profile, so the usual: {other}");
    let prune = sandbox.read("out/basekeep-prune.service");
    assert_eq!(prune.matches("ExecStart=").count(), 2, "forget, then prune: {prune}");
}

#[test]
fn systemd_accepts_the_daemon_and_refuses_what_is_wrong() {
    let sandbox = project();
    let names = generated(&sandbox, "systemd --serve --user backup");
    assert_eq!(names, ["basekeep.service"]);
    systemd_accepts(&sandbox, &names);
    let text = sandbox.read("out/basekeep.service").replace("Type=notify", "Type=notiphy");
    sandbox.write("out/basekeep.service", &text);
    let verify = Command::new(tool("systemd-analyze", 0))
        .args(["verify", "--man=no"])
        .arg(sandbox.path("out/basekeep.service"))
        .output();
    assert!(String::from_utf8_lossy(&verify.unwrap().stderr).contains("basekeep"), "the check sees faults");
}

#[track_caller]
fn follows(schema: &str, file: &Path) {
    passes(validator("check_jsonschema").args(["--builtin-schema", schema]).arg(file));
}

#[test]
fn the_workflow_follows_the_published_schema() {
    let sandbox = project();
    let names = generated(&sandbox, "github-actions");
    assert_eq!(names, [".github/workflows/basekeep.yml"]);
    let file = sandbox.path("out/.github/workflows/basekeep.yml");
    follows("vendor.github-workflows", &file);
    let text = sandbox.read("out/.github/workflows/basekeep.yml");
    for secret in
        ["BASEKEEP_PASSWORD", "SHOP_PASSWORD", "OTHER_PASSWORD", "SERVICE_KEY", "MANAGEMENT_TOKEN", "FAR_KEY"]
    {
        assert!(text.contains(&format!("  {secret}: ${{{{ secrets.{secret} }}}}\n")), "{secret}: {text}");
    }
    assert!(text.contains("GitHub's schedules are in UTC; yours are meant in Europe/Zurich"), "{text}");
    assert!(text.contains("on your own machine"), "a local database is pointed out: {text}");
    sandbox.write("out/.github/workflows/basekeep.yml", &text.replace("runs-on:", "runs_on:"));
    let broken = validator("check_jsonschema")
        .args(["--builtin-schema", "vendor.github-workflows"])
        .arg(file)
        .output();
    assert!(!broken.unwrap().status.success(), "the check sees faults");
}

#[test]
fn the_configuration_that_goes_along_is_one() {
    let sandbox = project();
    generated(&sandbox, "github-actions");
    let text = sandbox.read("out/.github/workflows/basekeep.yml");
    let (_, rest) = text.split_once("<<'CONFIGURATION'\n").unwrap();
    let (config, _) = rest.split_once("          CONFIGURATION\n").unwrap();
    let config: String = config.lines().map(|line| format!("{}\n", line.trim_start())).collect();
    let elsewhere = Sandbox::new();
    elsewhere.write("basekeep.toml", &config);
    let ran = elsewhere.run("generate cron").expect(0);
    assert!(ran.stdout.contains(" backup 'other one' --retry-lock 1h --quiet"), "{}", ran.stdout);
    assert!(ran.stdout.contains(" forget --quiet && "), "the retention went along: {}", ran.stdout);
}

#[test]
fn the_compose_file_follows_the_published_schema() {
    let sandbox = project();
    for storage in ["s3", "volume"] {
        let names = generated(&sandbox, &format!("compose --storage {storage} --force"));
        assert_eq!(names, ["compose.basekeep.yaml"]);
        follows("vendor.compose-spec", &sandbox.path("out/compose.basekeep.yaml"));
        let text = sandbox.read("out/compose.basekeep.yaml");
        assert_eq!(text.contains("url = \"/repository\""), storage == "volume", "{text}");
        assert_eq!(
            text.matches("      profile = \"production\"\n").count(),
            2,
            "each source has a schedule: {text}"
        );
    }
}

#[test]
fn the_manifests_follow_the_schemas_of_kubernetes() {
    let sandbox = project();
    let file = sandbox.path("out/basekeep.yaml");
    for storage in ["s3", "volume"] {
        generated(&sandbox, &format!("kubernetes --storage {storage} --timezone Europe/Zurich --force"));
        for version in ["1.37", "1.31"] {
            passes(
                validator("kubernetes_validate").args(["--strict", "--no-warn", "-k", version]).arg(&file),
            );
        }
    }
    let text = sandbox.read("out/basekeep.yaml");
    assert_eq!(text.matches("kind: CronJob\n").count(), 6, "{text}");
    assert_eq!(text.matches("concurrencyPolicy: Forbid\n").count(), 6);
    assert_eq!(text.matches("readOnlyRootFilesystem: true\n").count(), 7, "forget comes before prune");
    sandbox.write("out/basekeep.yaml", &text.replacen("schedule:", "shedule:", 1));
    let broken = validator("kubernetes_validate").args(["--strict", "--no-warn"]).arg(&file).output();
    assert!(!broken.unwrap().status.success(), "the check sees faults");
}

#[test]
fn cron_lines_work_in_a_shell() {
    let sandbox = project();
    generated(&sandbox, "cron --drill never --program echo");
    let text = sandbox.read("out/basekeep.cron");
    let lines: Vec<&str> =
        text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("0 */6 * * *  cd "), "{text}");
    sandbox.write(".config/basekeep/environment", "OTHER_PASSWORD='x y'\n");
    // As cron does: a percent sign with a backslash is a percent sign.
    let (_, line) = lines[3].split_once("  ").unwrap();
    let line = line.replace("\\%", "%");
    let output = Command::new("sh").args(["-c", &line]).env("HOME", sandbox.path("")).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.ends_with("basekeep.toml check --read-data-subset 5% --quiet\n"), "{said} of {line}");
}

#[test]
fn a_digest_is_sent_on_its_schedule_where_somebody_wants_it() {
    let sandbox = project();
    let config = sandbox.read("basekeep.toml");
    let alerts = format!(
        "[alerts]\ndigest = \"0 8 * * 1\"\nnotify = [{{ slack = \"https://hooks.example.com/{PLANTED}\" }}]\n"
    );
    sandbox.write("basekeep.toml", &(config + &alerts));
    let names = generated(&sandbox, "systemd");
    systemd_accepts(&sandbox, &names);
    assert!(sandbox.read("out/basekeep-digest.timer").contains("OnCalendar=Mon *-*-* 08:00:00\n"));
    let service = sandbox.read("out/basekeep-digest.service");
    assert!(service.contains(" report --digest --notify\n"), "{service}");
    for kind in ["cron", "github-actions", "kubernetes", "compose"] {
        generated(&sandbox, &format!("{kind} --force"));
    }
    assert!(sandbox.read("out/basekeep.cron").contains(" report --digest --notify --quiet\n"));
    assert!(!sandbox.read("out/basekeep.yaml").contains("digest"), "no channel is known there");
}

#[test]
fn without_a_configuration_flags_say_everything() {
    let sandbox = Sandbox::new();
    let url = format!("postgresql://me:{PLANTED}@db.example.com:5433/shop");
    let names =
        generated(&sandbox, &format!("systemd {url} --name shop --repo s3://bucket/x --backup @daily"));
    systemd_accepts(&sandbox, &names);
    let service = sandbox.read("out/basekeep-backup-shop.service");
    assert!(
        service
            .contains(" --repo s3://bucket/x backup postgresql://me@db.example.com:5433/shop --name shop "),
        "{service}"
    );
    assert!(service.contains("#   AWS_SECRET_ACCESS_KEY "), "{service}");
    for kind in ["cron", "github-actions", "kubernetes", "compose"] {
        generated(&sandbox, &format!("{kind} {url} --force"));
    }
    follows("vendor.github-workflows", &sandbox.path("out/.github/workflows/basekeep.yml"));
}

#[test]
fn what_is_there_stays_unless_it_may_be_replaced() {
    let sandbox = project();
    sandbox.write("out/basekeep-check.timer", "mine\n");
    sandbox.refused(
        "generate systemd --output out",
        2,
        "error: out/basekeep-check.timer is there already\n\
         hint: nothing was written; --force replaces it, another --output leaves it alone\n",
    );
    assert_eq!(std::fs::read_dir(sandbox.path("out")).unwrap().count(), 1, "nothing was written");
    let ran = sandbox.run("generate systemd --output out --force").expect(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.matches("wrote out/").count()), ("", 12), "{}", ran.stderr);
    assert_ne!(sandbox.read("out/basekeep-check.timer"), "mine\n");
}

#[test]
fn a_daemon_without_anything_to_do_is_pointed_out() {
    let sandbox = Sandbox::new();
    sandbox.write("basekeep.toml", "[repository]\nurl = \"r\"\n[source.shop]\nurl = \"postgresql://h/d\"\n");
    let ran = sandbox.run("generate systemd --serve").expect(0);
    assert!(ran.stderr.contains("warning: no source names a profile"), "{}", ran.stderr);
    assert!(!project().run("generate systemd --serve").expect(0).stderr.contains("warning"));
}

#[test]
fn schedules_that_are_none_are_refused() {
    let sandbox = project();
    let output = sandbox.command(["generate", "cron", "--backup", "0 25 * * *"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the schedule of backup: '0 25 * * *' is no schedule"), "{said}");
    let ran = sandbox.run("generate cron --timezone Europe/Zürich").expect(2);
    assert!(ran.stderr.contains("such as Europe/Zurich"), "{}", ran.stderr);
    let ran = Sandbox::new().run("generate cron").expect(2);
    assert!(ran.stderr.contains("there is nothing to back up"), "{}", ran.stderr);
}
