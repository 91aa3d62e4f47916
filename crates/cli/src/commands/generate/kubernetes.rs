//! Manifests for Kubernetes: a secret to fill in, the configuration, and a `CronJob` for each job.

use basekeep_engine::EngineError;

use super::facts::{Facts, Job, Planned};
use super::portable::{Portable, portable};
use super::{File, Generate, Keep, indented, lines, quoted};

const FOLDER: &str = "/repository";

pub(super) fn files(facts: &Facts, command: &Generate) -> Result<Vec<File>, EngineError> {
    let place = match command.storage {
        Keep::Volume => FOLDER,
        Keep::S3 => "s3://CHANGE-ME/backups",
    };
    let portable = portable(facts, place, |_| None, None)?;
    let volume = portable.repository == FOLDER;
    let mut text = format!(
        "# Backs up on a schedule, proves the backups, and keeps the repository small.\n\
         #\n\
         # Fill in the secret below (better: make it from elsewhere and take it out here) and every CHANGE-ME, then\n\
         #   kubectl apply --namespace NAMESPACE -f basekeep.yaml\n\
         # Create the repository once: basekeep init --repo URL, with the same password. Now, and by hand:\n\
         #   kubectl create job --from=cronjob/{} first-backup\n",
        facts.portable_jobs().first().map(Planned::slug).unwrap_or_default(),
    );
    if facts.sources.iter().any(|source| source.local) {
        text += "# A source below is on your own machine: put the name of the database's service there.\n";
    }
    text += &secret(&portable);
    text += &configuration(&portable);
    if volume {
        text += &claim();
    }
    for planned in facts.portable_jobs() {
        text += &cron_job(&planned, command, volume);
    }
    Ok(vec![File::new("basekeep.yaml", text)])
}

fn labels(indent: usize) -> String {
    indented("labels:\n  app.kubernetes.io/name: basekeep\n", indent)
}

fn secret(portable: &Portable) -> String {
    let mut text = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: basekeep\n{}type: Opaque\nstringData:\n",
        labels(2)
    );
    for variable in &portable.variables {
        text +=
            &format!("  # {}\n  {}: CHANGE-ME\n", variable.about.replace(['\n', '\r'], " "), variable.name);
    }
    text
}

fn configuration(portable: &Portable) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: basekeep\n{}data:\n  basekeep.toml: |\n{}",
        labels(2),
        indented(&portable.text, 4)
    )
}

fn claim() -> String {
    format!(
        "---\n# The repository. It survives the jobs, not the cluster: add a [[replica]] elsewhere.\n\
         apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: basekeep-repository\n{}\
         spec:\n  accessModes: [ReadWriteOnce]\n  resources:\n    requests:\n      storage: 50Gi # CHANGE-ME\n",
        labels(2)
    )
}

fn cron_job(planned: &Planned, command: &Generate, volume: bool) -> String {
    let zone = planned.schedule.zone.as_ref().map(|zone| format!("  timeZone: {}\n", quoted(zone)));
    let (last, before) = match planned.commands.split_last() {
        Some((last, before)) => (last.as_slice(), before),
        None => (&[][..], &[][..]),
    };
    let mut text = format!(
        "---\n# {}\napiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: {}\n{}spec:\n  schedule: {}\n{}",
        planned.title().replace(['\n', '\r'], " "),
        planned.slug(),
        labels(2),
        quoted(&planned.schedule.cron),
        zone.unwrap_or_default(),
    );
    text += "  concurrencyPolicy: Forbid\n  startingDeadlineSeconds: 3600\n  successfulJobsHistoryLimit: 3\n  failedJobsHistoryLimit: 3\n";
    text += "  jobTemplate:\n    spec:\n      backoffLimit: 2\n      activeDeadlineSeconds: 21600\n      template:\n        metadata:\n";
    text += &labels(10);
    text += "        spec:\n          restartPolicy: Never\n          automountServiceAccountToken: false\n          terminationGracePeriodSeconds: 120\n";
    text += "          securityContext:\n            runAsNonRoot: true\n            runAsUser: 10001\n            runAsGroup: 10001\n            \
             fsGroup: 10001\n            fsGroupChangePolicy: OnRootMismatch\n            seccompProfile:\n              type: RuntimeDefault\n";
    // What comes before the last command has to end well before it begins.
    if !before.is_empty() {
        text += "          initContainers:\n";
        for (n, arguments) in before.iter().enumerate() {
            let name = format!("{}-{n}", arguments.first().map_or("before", String::as_str));
            text += &container(&name, arguments, planned.job, command, volume);
        }
    }
    text += "          containers:\n";
    text += &container(planned.job.name(), last, planned.job, command, volume);
    text += "          volumes:\n            - name: configuration\n              configMap:\n                name: basekeep\n";
    text += "            - name: scratch # of drills: as large as the restored database\n              emptyDir: {}\n";
    text += "            - name: cache\n              emptyDir: {}\n";
    if volume {
        text += "            - name: repository\n              persistentVolumeClaim:\n                claimName: basekeep-repository\n";
    }
    text
}

fn container(name: &str, arguments: &[String], job: Job, command: &Generate, volume: bool) -> String {
    let mut text = format!("- name: {name}\n  image: {}\n  args:\n", quoted(command.image()));
    let all = ["--config", "/etc/basekeep/basekeep.toml", "--no-progress"]
        .into_iter()
        .chain(arguments.iter().map(String::as_str));
    text += &lines(all.map(|argument| format!("    - {}", quoted(argument))));
    text += "  envFrom:\n    - secretRef:\n        name: basekeep\n";
    text += "  env:\n    - name: BASEKEEP_CACHE_DIR\n      value: /cache\n    - name: XDG_STATE_HOME\n      value: /cache/state\n    \
             - name: HOME\n      value: /tmp\n";
    text += "  securityContext:\n    allowPrivilegeEscalation: false\n    readOnlyRootFilesystem: true\n    capabilities:\n      drop: [ALL]\n";
    let memory = if job == Job::Drill { "1Gi" } else { "512Mi" };
    text += &format!(
        "  resources:\n    requests:\n      cpu: 250m\n      memory: 256Mi\n    limits:\n      memory: {memory}\n"
    );
    text += "  volumeMounts:\n    - name: configuration\n      mountPath: /etc/basekeep\n      readOnly: true\n    \
             - name: scratch\n      mountPath: /tmp\n    - name: cache\n      mountPath: /cache\n";
    if volume {
        text += &format!("    - name: repository\n      mountPath: {FOLDER}\n");
    }
    indented(&text, 12)
}
