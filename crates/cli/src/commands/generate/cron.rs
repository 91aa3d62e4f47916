//! Lines for a crontab.

use super::facts::{Facts, Planned};
use super::{File, lines};

/// One file, for `crontab`.
pub(super) fn files(facts: &Facts) -> Vec<File> {
    let mut text = String::from(
        "# basekeep on its schedules. To install it for this account, beside what is there:\n\
         #   (crontab -l 2>/dev/null; cat basekeep.cron) | crontab -\n\
         # cron mails what is printed: warnings, errors, and what could not be captured. It starts a job at its time even when the\n\
         # one before still runs; their locks make deletions wait. Missed runs are not caught up: `basekeep serve` and systemd do.\n",
    );
    if let Some(zone) = facts.jobs().iter().find_map(|planned| planned.schedule.zone.clone()) {
        text += &format!(
            "# The times are meant in {zone}: cronie and others take the next line, Debian's cron only knows the machine's own zone.\n\
             CRON_TZ={zone}\n"
        );
    }
    text += "SHELL=/bin/sh\n# MAILTO=ops@example.com\n";
    if !facts.variables.is_empty() {
        text += &format!(
            "#\n# Fill in: {ENVIRONMENT}, for this account alone (mode 600), with a line NAME='value' for each of\n{}",
            lines(
                facts.variables.iter().map(|variable| format!("#   {}  {}", variable.name, variable.about))
            )
        );
    }
    for planned in facts.jobs() {
        text += &format!("\n# {}\n{}\n", planned.title().replace(['\n', '\r'], " "), line(facts, &planned));
    }
    vec![File::new("basekeep.cron", text)]
}

const ENVIRONMENT: &str = "~/.config/basekeep/environment";

fn line(facts: &Facts, planned: &Planned) -> String {
    let mut parts = vec![format!("cd {}", word(&facts.folder.display().to_string()))];
    if !facts.variables.is_empty() {
        parts.push(format!("set -a && . {ENVIRONMENT} && set +a"));
    }
    for arguments in &planned.commands {
        let words = std::iter::once(facts.program.display().to_string())
            .chain(facts.globals())
            .chain(arguments.iter().cloned())
            .map(|argument| word(&argument));
        parts.push(words.collect::<Vec<_>>().join(" ") + " --quiet");
    }
    // A percent sign is a line's end for cron.
    format!("{}  {}", planned.schedule.cron, parts.join(" && ").replace('%', "\\%"))
}

/// One word for the shell.
pub(super) fn word(text: &str) -> String {
    let plain =
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:@=+,%".contains(c));
    if plain {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''").replace(['\n', '\r'], " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        for text in ["/usr/bin/basekeep", "a b", "it's $HOME `x` \"y\"", "5%", ""] {
            let output = std::process::Command::new("sh")
                .arg("-c")
                .arg(format!("printf %s {}", word(text)))
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
