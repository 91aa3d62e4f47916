//! A Compose file: `basekeep serve` beside the databases.

use basekeep_engine::EngineError;

use super::facts::Facts;
use super::portable::portable;
use super::{File, Generate, Keep, indented, lines, quoted};

const FOLDER: &str = "/repository";

pub(super) fn files(facts: &Facts, command: &Generate) -> Result<Vec<File>, EngineError> {
    let place = match command.storage {
        Keep::Volume => FOLDER,
        Keep::S3 => "s3://CHANGE-ME/backups",
    };
    let portable = portable(facts, place, |_| None, Some("production"))?;
    let volume = portable.repository == FOLDER;
    let mut text = String::from(
        "# basekeep serve beside your databases: backups, drills and maintenance on the schedules of the profiles.\n\
         #\n\
         # Fill in basekeep.env beside this file (mode 600, not in Git), with a line NAME=value for each of\n",
    );
    text += &lines(
        portable.variables.iter().map(|variable| format!("#   {}  {}", variable.name, variable.about)),
    );
    text += "# and every CHANGE-ME below. Create the repository once:\n\
             #   docker compose -f compose.basekeep.yaml run --rm basekeep init --repo ";
    text += &format!("{}\n#   docker compose -f compose.basekeep.yaml up --detach\n", portable.repository);
    if facts.sources.iter().any(|source| source.local) {
        text += "# A source below is on this machine: inside of a container it is reached by its service's name.\n";
    }
    text += "# The profile of a source says when: production, staging, development and latest-only are built in (docs/SERVE.md).\n";
    text += &format!(
        "name: basekeep\n\
         services:\n\
         \x20 basekeep:\n\
         \x20   image: {}\n\
         \x20   command: [\"serve\", \"--config\", \"/etc/basekeep/basekeep.toml\"]\n\
         \x20   restart: unless-stopped\n\
         \x20   init: true\n\
         \x20   user: \"10001:10001\"\n\
         \x20   read_only: true\n\
         \x20   cap_drop: [ALL]\n\
         \x20   security_opt: [\"no-new-privileges:true\"]\n\
         \x20   stop_grace_period: 2m # running work is ended cleanly\n\
         \x20   env_file: basekeep.env\n\
         \x20   environment:\n\
         \x20     BASEKEEP_CACHE_DIR: /state/cache\n\
         \x20     XDG_STATE_HOME: /state\n\
         \x20     HOME: /tmp\n",
        quoted(command.image())
    );
    let zone = facts.jobs().iter().find_map(|planned| planned.schedule.zone.clone());
    text += &format!("      TZ: {}\n", quoted(zone.as_deref().unwrap_or("UTC")));
    text += "    configs:\n      - source: basekeep\n        target: /etc/basekeep/basekeep.toml\n    volumes:\n      - state:/state\n      \
             - scratch:/tmp # of drills: as large as the restored database\n";
    if volume {
        text += &format!("      - repository:{FOLDER}\n");
    }
    text += "    networks: [database]\n";
    text += "networks:\n  database:\n    # The network that the database is in, such as supabase_network_PROJECT of a local Supabase stack.\n    \
             name: CHANGE-ME\n    external: true\n";
    text += "volumes:\n  state: {}\n  scratch: {}\n";
    if volume {
        text +=
            "  repository: {} # it survives the containers, not the machine: add a [[replica]] elsewhere\n";
    }
    text += "configs:\n  basekeep:\n    content: |\n";
    // Compose replaces $NAME in texts.
    text += &indented(&portable.text.replace('$', "$$"), 6);
    Ok(vec![File::new("compose.basekeep.yaml", text)])
}
