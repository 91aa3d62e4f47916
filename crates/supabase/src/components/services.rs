//! What the platform's services keep in tables: storage, migrations, vault, cron, queues.

use basekeep_postgres::{Error, quote_identifier};

use super::Reading;

impl Reading<'_, '_> {
    pub(super) async fn services(&mut self) -> Result<(), Error> {
        self.rows_of("buckets", "storage.buckets", "buckets").await?;
        self.rows_of("objects", "storage.objects", "objects in storage").await?;
        if self.project.has_column("storage.objects.metadata") {
            self.number("object_bytes", "bytes in storage", OBJECT_BYTES).await?;
        }
        self.rows_of("migrations", "supabase_migrations.schema_migrations", "migrations").await?;
        self.rows_of("vault_secrets", "vault.secrets", "secrets in the vault").await?;
        self.rows_of("pgsodium_keys", "pgsodium.key", "keys of pgsodium").await?;
        self.rows_of("cron_jobs", "cron.job", "cron jobs").await?;
        self.queues().await
    }

    async fn queues(&mut self) -> Result<(), Error> {
        if !self.project.has("pgmq.meta") {
            return Ok(());
        }
        let rows = self.probe.rows("the number of queues", "SELECT queue_name FROM pgmq.meta").await?;
        let Some(rows) = rows else {
            self.refused("queues");
            return Ok(());
        };
        self.found.counts.insert("queues", rows.len() as u64);
        let mut messages = Some(0);
        for row in &rows {
            let name: String = row.parse(0)?;
            let table = quote_identifier(&format!("q_{}", name.to_lowercase()));
            let what = format!("the number of messages in the queue {name}");
            let counted = self.probe.number(&what, &format!("SELECT count(*) FROM pgmq.{table}")).await?;
            if counted.is_none() {
                self.refused("queue_messages");
            }
            messages = messages.zip(counted).map(|(sum, more)| sum + more);
        }
        if let Some(messages) = messages {
            self.found.counts.insert("queue_messages", messages);
        }
        Ok(())
    }
}

/// The sizes that storage noted; a row whose size is no number counts as nothing.
const OBJECT_BYTES: &str = "SELECT coalesce(sum(CASE WHEN metadata ->> 'size' ~ '^[0-9]{1,18}$'
  THEN (metadata ->> 'size')::bigint ELSE 0 END), 0) FROM storage.objects";
