//! `basekeep check`: the repository's structure, and as much of its data as one wants to read.

use basekeep_engine::EngineError;
use basekeep_engine::check::{self, Subset};
use clap::Args;

use crate::commands::verify;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::units;

/// Check the repository's structure, and read all or a part of its data
///
/// Without --read-data…, what is stored is compared with what the index, the snapshots and their folders say, without reading
/// it. Damage is exit code 4; leftovers that nothing needs are named and are no damage. `verify` does the same for one
/// snapshot and counts its rows.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Read every pack
    #[arg(long, conflicts_with = "read_data_subset")]
    read_data: bool,
    /// Read some packs: a share such as 5% or a size such as 500M at random, or the second of seven groups as 2/7
    #[arg(long, value_name = "5%|N/M|SIZE", value_parser = check::subset)]
    read_data_subset: Option<Subset>,
}

pub(crate) async fn run(command: &Check, context: &Context) -> Result<Exit, EngineError> {
    let data = if command.read_data { Some(Subset::All) } else { command.read_data_subset };
    let repository = context.open_repository().await?;
    let report = check::check(&repository, data, context.observer(), &context.interrupt).await?;
    let read = match data {
        Some(_) => {
            format!(", {} of them read, {}", units::count(report.packs_read), verify::amount_read(&report))
        }
        None => "; --read-data or --read-data-subset would read them".to_owned(),
    };
    verify::show(context, &report, &read, data.is_some())
}
