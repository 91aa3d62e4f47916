//! The keys that say how a source is read.

use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::EngineError;
use crate::backup::Pace;
use crate::config::{jobs, rows_per_second, size, span};

impl Reader<'_> {
    pub(super) fn pace(&self, table: &DeTable<'_>) -> Result<Pace, EngineError> {
        let limit_read = self.text_or_number(table, "limit_read", size)?;
        if limit_read == Some(0) {
            let at = self.position(table, "limit_read");
            return Err(self.wrong(at, "`limit_read`: it must be more than nothing"));
        }
        Ok(Pace {
            jobs: self.text_or_number(table, "jobs", jobs)?,
            gentle: self.boolean(table, "gentle")?,
            limit_rows: self.text_or_number(table, "limit_rows", rows_per_second)?,
            limit_read,
            lock_timeout: self.parsed(table, "lock_timeout", span)?,
            on_table_change: self.parsed(table, "on_table_change", str::parse)?,
            warn_after: self.parsed(table, "warn_snapshot_after", span)?,
        })
    }

    /// A number may stand without quotes.
    fn text_or_number<T>(
        &self,
        table: &DeTable<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, EngineError> {
        match table.get(key).map(|value| value.get_ref()) {
            Some(DeValue::Integer(number)) => {
                let parsed = parse(number.as_str());
                parsed
                    .map(Some)
                    .map_err(|why| self.wrong(self.position(table, key), format!("`{key}`: {why}")))
            }
            _ => self.parsed(table, key, parse),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{parse, refused};
    use super::*;
    use crate::backup::{Jobs, OnTableChange};

    #[test]
    fn a_source_says_how_it_is_read() {
        let config = parse(
            "[source.a]\nurl = 'postgresql://h'\njobs = 3\ngentle = true\nlimit_rows = 20_000\nlimit_read = \"10MiB\"\n\
             lock_timeout = \"5s\"\non_table_change = \"skip\"\nwarn_snapshot_after = \"30m\"\n\
             [source.b]\nurl = 'postgresql://h'\njobs = \"auto\"\n",
        )
        .unwrap();
        let pace = Pace {
            jobs: Some(Jobs::Number(3)),
            gentle: Some(true),
            limit_rows: Some(20_000),
            limit_read: Some(10 << 20),
            lock_timeout: Some(Duration::from_secs(5)),
            on_table_change: Some(OnTableChange::Skip),
            warn_after: Some(Duration::from_secs(1800)),
        };
        assert_eq!(config.sources[0].pace, pace);
        assert_eq!(config.sources[1].pace, Pace { jobs: Some(Jobs::Auto), ..Pace::default() });
        let text = "[source.a]\nurl = 'postgresql://h'\njobs = 0\n";
        refused(text, "/project/basekeep.toml:3: `jobs`: '0' is neither auto nor a number from 1 to 256", "");
        let text = "[source.a]\nurl = 'postgresql://h'\nlock_timeout = \"long\"\n";
        refused(
            text,
            "/project/basekeep.toml:3: `lock_timeout`: 'long' is no time; write it as 500ms, 10s, 5m or 2h",
            "",
        );
    }
}
