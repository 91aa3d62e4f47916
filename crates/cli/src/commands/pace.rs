//! The options that say how hard a source is read, and what a table that changes does.

use std::time::Duration;

use basekeep_engine::backup::{Jobs, OnTableChange, Pace};
use basekeep_engine::config;
use clap::{Args, ValueEnum};

/// What basekeep.toml says of the source holds for what is not given.
#[derive(Debug, Args)]
pub(crate) struct PaceArguments {
    /// Connections that read rows: a number, or auto: by the machine's cores and the server's free connections [default: auto]
    #[arg(long, short, value_name = "N", value_parser = config::jobs)]
    jobs: Option<Jobs>,
    /// Read slower while the server is busy, somebody waits for a lock of the backup, or a standby lags behind
    #[arg(long)]
    gentle: bool,
    /// Read at most so many rows per second, over all connections
    #[arg(long, value_name = "N", value_parser = config::rows_per_second)]
    limit_rows: Option<u64>,
    /// Read at most so many bytes per second, over all connections (10MiB)
    #[arg(long, value_name = "SIZE", value_parser = limit_read)]
    limit_read: Option<u64>,
    /// Wait so long for the lock on a table; 0 waits for ever [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = config::span)]
    lock_timeout: Option<Duration>,
    /// What a table does that was dropped, altered or truncated after the snapshot was taken [default: restart]
    #[arg(long, value_name = "ACTION")]
    on_table_change: Option<TableChange>,
    /// Warn when the snapshot is held for longer; 0 never warns [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = config::span)]
    warn_snapshot_after: Option<Duration>,
}

fn limit_read(text: &str) -> Result<u64, String> {
    match config::size(text)? {
        0 => Err("it must be more than nothing".to_owned()),
        bytes => Ok(bytes),
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TableChange {
    /// Start again with a new snapshot, three times at most
    Restart,
    /// Fail
    Fail,
    /// Leave the table out, name it, and end with exit code 3
    Skip,
}

impl PaceArguments {
    /// As the engine takes it.
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            jobs: self.jobs,
            gentle: self.gentle.then_some(true),
            limit_rows: self.limit_rows,
            limit_read: self.limit_read,
            lock_timeout: self.lock_timeout,
            on_table_change: self.on_table_change.map(|action| match action {
                TableChange::Restart => OnTableChange::Restart,
                TableChange::Fail => OnTableChange::Fail,
                TableChange::Skip => OnTableChange::Skip,
            }),
            warn_after: self.warn_snapshot_after,
        }
    }
}
