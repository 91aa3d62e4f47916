//! Vault, cron jobs and queues of a Supabase project.

use basekeep_repository::{Repository, Snapshot};

use super::Options;
use super::items::{Field, Items, Named};
use crate::EngineError;
use crate::stored::supabase::{self, Cron, CronJob, Queue, Queues, Vault, VaultSecret};

pub(super) async fn compare(
    repository: &Repository,
    a: &Snapshot,
    b: &Snapshot,
    options: &Options,
) -> Result<Vec<Items>, EngineError> {
    let show = options.secrets.show;
    let (vault_a, vault_b) =
        (supabase::read_vault(repository, a).await?, supabase::read_vault(repository, b).await?);
    let (cron_a, cron_b) =
        (supabase::read_cron(repository, a).await?, supabase::read_cron(repository, b).await?);
    let (queues_a, queues_b) =
        (supabase::read_queues(repository, a).await?, supabase::read_queues(repository, b).await?);
    let all = [
        Items::of(
            "vault secret",
            "vault secrets",
            &vault(vault_a, show),
            &vault(vault_b, show),
            options.limit,
        ),
        Items::of("cron job", "cron jobs", &cron(cron_a, show), &cron(cron_b, show), options.limit),
        Items::of("queue", "queues", &queues(queues_a), &queues(queues_b), options.limit),
    ];
    Ok(all.into_iter().flatten().collect())
}

fn hidden(name: &str, value: &str, show: bool) -> Field {
    if show { Field::new(name, value) } else { Field::secret(name, value) }
}

fn vault(vault: Option<Vault>, show: bool) -> Named {
    let item = |secret: VaultSecret| {
        let name = secret.name.unwrap_or_else(|| secret.id.clone());
        let mut fields = vec![Field::new("description", &secret.description)];
        fields.extend(secret.secret.map(|value| hidden("secret", value.expose(), show)));
        (name, fields)
    };
    vault.map(|vault| vault.secrets.into_iter().map(item).collect()).unwrap_or_default()
}

fn cron(cron: Option<Cron>, show: bool) -> Named {
    let item = |job: CronJob| {
        let name = job.name.unwrap_or_else(|| format!("job {}", job.id));
        let fields = vec![
            Field::new("schedule", &job.schedule),
            // Commands call webhooks with keys in their headers.
            hidden("command", &job.command, show),
            Field::new("database", &job.database),
            Field::new("username", &job.username),
            Field::new("active", job.active),
        ];
        (name, fields)
    };
    cron.map(|cron| cron.jobs.into_iter().map(item).collect()).unwrap_or_default()
}

fn queues(queues: Option<Queues>) -> Named {
    let item = |queue: Queue| {
        let mut fields =
            vec![Field::new("partitioned", queue.partitioned), Field::new("unlogged", queue.unlogged)];
        fields.extend(Field::some("messages", queue.messages));
        fields.extend(Field::some("archived", queue.archived));
        (queue.name, fields)
    };
    queues.map(|queues| queues.queues.into_iter().map(item).collect()).unwrap_or_default()
}
