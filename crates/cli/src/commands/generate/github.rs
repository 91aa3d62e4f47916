//! A workflow for GitHub Actions: backups into an encrypted repository in a bucket, drills, maintenance.

use super::facts::{Facts, Job, Planned, in_checkout};
use super::portable::{Portable, portable};
use super::{File, Generate, cron, indented, lines, quoted};
use basekeep_engine::EngineError;

/// Where the workflow lies in the repository.
const NAME: &str = ".github/workflows/basekeep.yml";
/// The configuration that the workflow writes.
const CONFIG: &str = "basekeep.generated.toml";

pub(super) fn files(facts: &Facts, command: &Generate) -> Result<Vec<File>, EngineError> {
    let project = |folder: &std::path::Path| in_checkout(folder).map(|path| path.display().to_string());
    let portable = portable(facts, "s3://CHANGE-ME/backups", project, None)?;
    let jobs = facts.portable_jobs();
    let mut schedules: Vec<&Planned> = Vec::new();
    for planned in &jobs {
        if !schedules.iter().any(|other| other.schedule.cron == planned.schedule.cron) {
            schedules.push(planned);
        }
    }
    let mut text = head(facts, &portable);
    text += "on:\n  workflow_dispatch: # by hand: all backups and drills\n  schedule:\n";
    for planned in schedules {
        text += &format!("    - cron: {} # {}\n", quoted(&planned.schedule.cron), planned.job.name());
    }
    text += "\npermissions:\n  contents: read\n\nenv:\n";
    text += &lines(
        portable.variables.iter().map(|variable| format!("  {0}: ${{{{ secrets.{0} }}}}", variable.name)),
    );
    text += "  BASEKEEP_VERSION: CHANGE-ME # a tag or a commit of basekeep\n";
    text += &format!(
        "  POSTGRES: {} # as new as the newest server, for pg_dump and for drills\n",
        quoted(&command.postgres)
    );
    text += "\njobs:\n";
    for planned in &jobs {
        text += &job(planned, &jobs, &portable);
    }
    Ok(vec![File::new(NAME, text)])
}

fn head(facts: &Facts, portable: &Portable) -> String {
    let mut text = String::from(
        "# Backs up into an encrypted repository, proves the backups, and keeps the repository small.\n\
         #\n\
         # Fill in, as secrets of the repository (Settings, Secrets and variables, Actions):\n",
    );
    text += &lines(
        portable.variables.iter().map(|variable| format!("#   {}  {}", variable.name, variable.about)),
    );
    text += "# and every CHANGE-ME below. Create the repository once: basekeep init --repo URL, with the same password.\n";
    if facts.sources.iter().any(|source| source.local) {
        text += "# A source below is on your own machine, which GitHub's runners do not reach: put its public address there,\n\
                 # or use a self-hosted runner.\n";
    }
    if let Some(zone) = facts.portable_jobs().iter().find_map(|planned| planned.schedule.zone.clone()) {
        text += &format!("# GitHub's schedules are in UTC; yours are meant in {zone}: move the hours.\n");
    }
    text += "# GitHub starts scheduled runs late when it is busy, and stops them after 60 days without a commit: watch the age of the\n\
             # newest backup from elsewhere. The actions are pinned to their major version; pin them to a commit where your rules say so.\n\
             name: basekeep\n\n";
    text
}

fn job(planned: &Planned, all: &[Planned], portable: &Portable) -> String {
    let key = planned.slug().trim_start_matches("basekeep-").to_owned();
    let mut condition = format!("github.event.schedule == '{}'", planned.schedule.cron);
    let mut text = format!("  {key}:\n    name: {}\n", quoted(&planned.title()));
    let by_hand = matches!(planned.job, Job::Backup | Job::Drill);
    if planned.job == Job::Drill {
        let backup = all.iter().find(|other| other.job == Job::Backup && other.source == planned.source);
        if let Some(backup) = backup {
            // The drill proves what was just made, and runs where there was nothing to make.
            text += &format!("    needs: {}\n", backup.slug().trim_start_matches("basekeep-"));
            condition = format!(
                "!cancelled() && !failure() && ({condition} || github.event_name == 'workflow_dispatch')"
            );
        }
    } else if by_hand {
        condition += " || github.event_name == 'workflow_dispatch'";
    }
    text += &format!(
        "    if: ${{{{ {condition} }}}}\n\
         \x20   runs-on: ubuntu-latest\n\
         \x20   timeout-minutes: 180\n\
         \x20   concurrency: # never two at once; the one that runs is not cut off\n\
         \x20     group: {}\n\
         \x20     cancel-in-progress: false\n\
         \x20   steps:\n\
         \x20     - uses: actions/checkout@v4\n",
        quoted(&planned.slug()),
    );
    text += &step("Install PostgreSQL's programs", INSTALL_POSTGRES);
    text += "      - uses: actions/cache@v4\n        with:\n          path: ~/.cargo/bin/basekeep\n          \
             key: basekeep-${{ runner.os }}-${{ env.BASEKEEP_VERSION }}\n";
    text += &step("Install basekeep", INSTALL_BASEKEEP);
    let write = format!("cat >{CONFIG} <<'CONFIGURATION'\n{}CONFIGURATION\n", portable.text);
    text += &step("Write the configuration, in which no secret stands", &write);
    let mut run = String::new();
    for arguments in &planned.commands {
        let words = arguments.iter().map(|argument| cron::word(argument));
        run += &format!("basekeep --config {CONFIG} {}\n", words.collect::<Vec<_>>().join(" "));
    }
    text += &step(&planned.title(), &run);
    if let (Job::Backup, Some(source)) = (planned.job, &planned.source) {
        let report = format!(
            "basekeep --config {CONFIG} report --source {} --markdown >>\"$GITHUB_STEP_SUMMARY\"\n",
            cron::word(source)
        );
        text += &step("Report", &report);
    }
    text + "\n"
}

const INSTALL_POSTGRES: &str = "\
sudo /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y
sudo apt-get install --yes --no-install-recommends \"postgresql-$POSTGRES\"
echo \"BASEKEEP_POSTGRES_BIN=/usr/lib/postgresql/$POSTGRES/bin\" >>\"$GITHUB_ENV\"
";
const INSTALL_BASEKEEP: &str = "\
[ -x ~/.cargo/bin/basekeep ] ||
  cargo install --locked --git https://github.com/CHANGE-ME/basekeep --rev \"$BASEKEEP_VERSION\" basekeep
";

fn step(name: &str, script: &str) -> String {
    format!("      - name: {}\n        run: |\n{}", quoted(name), indented(script, 10))
}
