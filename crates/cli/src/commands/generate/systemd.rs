//! systemd: a service and a timer for each job, or one service for the daemon.

use super::facts::{Facts, Planned};
use super::{File, lines};

/// Nothing of the machine can be changed by the service but its own folders and the local repository.
const HARDENING: &str = "\
# What the service may not do. A password_command that needs more (an agent, a socket) may want some of it relaxed.
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077
";

/// A service and a timer for each job.
pub(super) fn timers(facts: &Facts) -> Vec<File> {
    let mut files = Vec::new();
    for planned in facts.jobs() {
        let name = unit_name(&planned, &files);
        files.push(File::new(format!("{name}.service"), service(facts, &planned, &name)));
        files.push(File::new(format!("{name}.timer"), timer(&planned, &name)));
    }
    files
}

/// One service that runs `basekeep serve`.
pub(super) fn daemon(facts: &Facts) -> Vec<File> {
    let mut text = format!(
        "# Runs every source's backups, drills and maintenance on the schedules of its profile.\n\
         # Install: cp basekeep.service /etc/systemd/system/ && systemctl daemon-reload && systemctl enable --now basekeep\n\
         # After a change of the configuration: systemctl reload basekeep\n\
         {}\n\
         [Unit]\n\
         Description=basekeep: backups of Postgres on their schedules\n\
         Documentation=man:basekeep(1)\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart={}\n\
         ExecReload=/bin/kill -HUP $MAINPID\n\
         WatchdogSec=2min\n\
         Restart=on-failure\n\
         RestartSec=30s\n\
         # A backup that runs is ended cleanly: no snapshot, no lock is left behind.\n\
         KillMode=mixed\n\
         TimeoutStopSec=2min\n",
        environment_comment(facts),
        command(facts, &["serve".to_owned()]),
    );
    text += &account(facts);
    text += HARDENING;
    text += "\n[Install]\nWantedBy=multi-user.target\n";
    vec![File::new("basekeep.service", text)]
}

fn service(facts: &Facts, planned: &Planned, name: &str) -> String {
    let commands =
        planned.commands.iter().map(|arguments| format!("ExecStart={}\n", command(facts, arguments)));
    let mut text = format!(
        "# Install: cp {name}.* /etc/systemd/system/ && systemctl daemon-reload && systemctl enable --now {name}.timer\n\
         # Now: systemctl start {name}; what it said: journalctl -u {name}\n\
         {}\n\
         [Unit]\n\
         Description=basekeep: {}\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         # Say here whom to tell of a failure, such as: OnFailure=mail-to-ops@%n.service\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         {}\
         # Exit code 3 (done, but something could not be captured; it is listed) counts as a failure, so that somebody looks.\n\
         # To accept it: SuccessExitStatus=3\n\
         Nice=10\n\
         IOSchedulingClass=best-effort\n\
         IOSchedulingPriority=7\n\
         # Work that runs is ended cleanly: no snapshot, no lock is left behind.\n\
         KillMode=mixed\n\
         TimeoutStopSec=2min\n",
        environment_comment(facts),
        specifier(&planned.title()),
        commands.collect::<String>(),
    );
    text += &account(facts);
    text += HARDENING;
    text
}

fn timer(planned: &Planned, name: &str) -> String {
    let calendar = planned.schedule.calendar().into_iter().map(|event| format!("OnCalendar={event}\n"));
    format!(
        "[Unit]\n\
         Description=basekeep: {}, on its schedule\n\
         \n\
         [Timer]\n\
         # {}\n\
         {}\
         # A run that was missed while the machine was off or asleep is caught up.\n\
         Persistent=yes\n\
         RandomizedDelaySec={}\n\
         Unit={name}.service\n\
         \n\
         [Install]\n\
         WantedBy=timers.target\n",
        specifier(&planned.title()),
        planned.schedule.words(),
        calendar.collect::<String>(),
        planned.jitter.as_secs(),
    )
}

fn environment_comment(facts: &Facts) -> String {
    if facts.variables.is_empty() {
        return "# Passwords come from the files and commands that the configuration names; the account below must be able to read them."
            .to_owned();
    }
    let mut text =
        format!("# Fill in: {ENVIRONMENT}, for root alone (mode 600), with a line NAME=value for each of\n");
    text +=
        &lines(facts.variables.iter().map(|variable| format!("#   {}  {}", variable.name, variable.about)));
    text.trim_end().to_owned()
}

const ENVIRONMENT: &str = "/etc/basekeep/environment";

/// Who runs it, where, and what may be written.
fn account(facts: &Facts) -> String {
    let mut text = format!(
        "User={}\n\
         WorkingDirectory={}\n\
         # systemd reads it as root; it may be missing where files and commands give the passwords.\n\
         EnvironmentFile=-{ENVIRONMENT}\n\
         CacheDirectory=basekeep\n\
         StateDirectory=basekeep\n\
         Environment=BASEKEEP_CACHE_DIR=%C/basekeep XDG_STATE_HOME=%S\n",
        specifier(&facts.user),
        specifier(&facts.folder.display().to_string()),
    );
    // One that is missing is told by the program itself.
    let folders: Vec<String> =
        facts.local_folders().iter().map(|folder| word(&format!("-{}", folder.display()))).collect();
    if !folders.is_empty() {
        text += "# Local repositories, plain copies and reports.\n";
        text += &lines(folders.iter().map(|folder| format!("ReadWritePaths={folder}")));
    }
    text
}

fn command(facts: &Facts, arguments: &[String]) -> String {
    let words = std::iter::once(facts.program.display().to_string())
        .chain(facts.globals())
        .chain(arguments.iter().cloned())
        .map(|argument| word(&argument));
    words.collect::<Vec<_>>().join(" ")
}

/// One word of a command line, as systemd splits it.
fn word(text: &str) -> String {
    let plain =
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:@=+,".contains(c));
    if plain {
        return text.to_owned();
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$");
    format!("\"{}\"", specifier(&escaped))
}

/// A percent sign begins a specifier; lines end a setting.
fn specifier(text: &str) -> String {
    text.replace('%', "%%").replace(['\n', '\r'], " ")
}

/// The name of a unit, which no other has.
fn unit_name(planned: &Planned, others: &[File]) -> String {
    let base = planned.slug();
    let taken = |name: &str| others.iter().any(|file| file.name == format!("{name}.service"));
    let candidates = std::iter::once(base.clone()).chain((2..).map(|n: u32| format!("{base}-{n}")));
    candidates.into_iter().find(|name| !taken(name)).unwrap_or(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_systemd() {
        assert_eq!(word("/usr/bin/basekeep"), "/usr/bin/basekeep");
        assert_eq!(word("a b"), "\"a b\"");
        assert_eq!(word("100%\"$x\\"), "\"100%%\\\"$$x\\\\\"");
        assert_eq!(word(""), "\"\"");
    }
}
