//! The project's part of `MANIFEST.md`.

use std::fmt::{self, Write};

use super::cell;
use crate::stored::manifest::Supabase;

pub(super) fn write_to(out: &mut String, s: &Supabase) -> fmt::Result {
    writeln!(out, "\n## Supabase\n\n| | |\n| --- | --- |")?;
    for (name, value) in s.lines() {
        writeln!(out, "| {} | {} |", cell(&name), cell(&value))?;
    }
    for (title, lines) in
        [("Uses of pgcrypto", &s.encryption), ("Supply again after a restore", &s.supply_again)]
    {
        if !lines.is_empty() {
            writeln!(out, "\n### {title}\n")?;
            for line in lines {
                writeln!(out, "- {}", cell(line))?;
            }
        }
    }
    Ok(())
}
