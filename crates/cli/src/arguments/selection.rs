//! The options that say which part of a snapshot is meant; the same for every command that takes a part.

use basekeep_engine::selection::{Part, Selection};
use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What part of the snapshot")]
pub(crate) struct SelectionArguments {
    /// Only these parts, separated by commas
    #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = part())]
    only: Vec<Part>,
    /// Only what is in this schema; `*` stands for any characters. Several times for several
    #[arg(long, value_name = "SCHEMA")]
    schema: Vec<String>,
    /// Only this table (or view or sequence) with all that is about it, as schema.table; `*` stands for any characters
    #[arg(long, value_name = "TABLE")]
    table: Vec<String>,
    /// This object, such as 'policy:storage.objects/own files' or 'function:public.total(integer)'
    #[arg(long, value_name = "KIND:NAME")]
    object: Vec<String>,
    /// Also what the selected objects need: types, functions of triggers, tables of foreign keys, schemas, extensions
    #[arg(long)]
    with_dependencies: bool,
}

fn part() -> impl TypedValueParser<Value = Part> {
    PossibleValuesParser::new(Part::ALL.map(Part::name)).try_map(|name| name.parse::<Part>())
}

impl SelectionArguments {
    /// The arguments that say this.
    pub(crate) fn of(selection: Selection) -> Self {
        Self {
            only: selection.parts.into_iter().collect(),
            schema: selection.schemas,
            table: selection.tables,
            object: selection.objects,
            with_dependencies: selection.with_dependencies,
        }
    }

    /// What is asked for.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            parts: self.only.iter().copied().collect(),
            schemas: self.schema.clone(),
            tables: self.table.clone(),
            objects: self.object.clone(),
            with_dependencies: self.with_dependencies,
        }
    }
}
