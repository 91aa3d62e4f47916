//! `MANIFEST.md`: the manifest for people.

mod supabase;

use std::fmt::{self, Write};

use super::manifest::Manifest;

/// Renders the manifest. Writing to a `String` cannot fail, so errors of [`fmt::Write`] are impossible here.
pub fn render(manifest: &Manifest) -> String {
    let mut text = String::new();
    // `fmt::Write` for `String` never returns an error.
    let _ = write_to(&mut text, manifest);
    text
}

fn write_to(out: &mut String, m: &Manifest) -> fmt::Result {
    writeln!(out, "# Backup of {}\n", m.source)?;
    writeln!(out, "| | |\n| --- | --- |")?;
    writeln!(out, "| taken | {} |", m.time)?;
    writeln!(out, "| database | {} |", cell(&m.server.database))?;
    writeln!(out, "| server | PostgreSQL {} |", cell(&m.server.version))?;
    writeln!(out, "| definitions by | pg_dump {} |", cell(&m.pg_dump))?;
    writeln!(out, "| tables | {} |", m.totals.tables)?;
    writeln!(out, "| rows | {} |", m.totals.rows)?;
    writeln!(out, "| bytes (COPY text) | {} |", m.totals.bytes)?;
    writeln!(out, "| large objects | {}, {} bytes |", m.large_objects.count, m.large_objects.bytes)?;
    writeln!(out, "| sequences | {} |", m.sequences.len())?;
    writeln!(out, "| duration | {:.1} s |", m.duration_seconds)?;

    if !m.not_captured.is_empty() {
        writeln!(out, "\n## Not in this backup\n")?;
        for missing in &m.not_captured {
            writeln!(out, "- {}: {}", missing.what, missing.reason)?;
        }
    }
    if !m.warnings.is_empty() {
        writeln!(out, "\n## Warnings\n")?;
        for warning in &m.warnings {
            writeln!(out, "- {}", warning.message)?;
        }
    }
    writeln!(out, "\n## Restore\n")?;
    writeln!(out, "With basekeep: `basekeep restore <snapshot> --to postgresql://…/empty_database`\n")?;
    writeln!(
        out,
        "With stock tools: `restic restore <snapshot> --target out`, then in this folder \
         `sh restore.sh postgresql://…/empty_database`, which runs `psql -f globals.sql` and `pg_restore -j4` on the \
         folder `database`. pg_restore must be {} or newer.",
        m.pg_dump
    )?;

    writeln!(out, "\n## Components\n\n| kind | count |\n| --- | ---: |")?;
    for (kind, count) in &m.components {
        writeln!(out, "| {} | {count} |", cell(kind))?;
    }
    if let Some(supabase) = &m.supabase {
        supabase::write_to(out, supabase)?;
    }
    if !m.circular_foreign_keys.is_empty() {
        writeln!(out, "\n## Circular foreign keys\n")?;
        writeln!(out, "Rows are loaded before keys are added, so these need no special order.\n")?;
        for group in &m.circular_foreign_keys {
            writeln!(out, "- {}", group.join(", "))?;
        }
    }
    if !m.extensions.is_empty() {
        writeln!(out, "\n## Extensions\n\n| name | version | schema |\n| --- | --- | --- |")?;
        for e in &m.extensions {
            writeln!(out, "| {} | {} | {} |", cell(&e.name), cell(&e.version), cell(&e.schema))?;
        }
    }
    writeln!(
        out,
        "\n## Tables\n\n| table | rows | bytes | file | digest |\n| --- | ---: | ---: | --- | --- |"
    )?;
    for t in &m.tables {
        let name = cell(&format!("{}.{}", t.schema, t.name));
        writeln!(out, "| {name} | {} | {} | {} | {} |", t.rows, t.bytes, t.file, t.digest)?;
    }
    Ok(())
}

/// A name that cannot break out of a table's cell.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ")
}
