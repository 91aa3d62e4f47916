//! `basekeep cat`: the repository's parts as they are.

use basekeep_engine::cat::{self, Content, Part};
use basekeep_engine::{EngineError, listing};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Exit;

/// Print a part of the repository: its files, blobs and trees, or a file of a snapshot
#[derive(Debug, Args)]
#[command(
    after_long_help = "JSON is printed to be read; blobs, packs and files as the bytes that they are. Everything but \
a pack and a key is decrypted and verified. `cat masterkey` prints what decrypts the whole repository: keep it off screens \
and out of logs."
)]
pub(crate) struct Cat {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The repository's configuration
    Config,
    /// The master key in the clear: it decrypts everything, whatever the passwords
    Masterkey,
    /// An index file: which blobs are in which packs
    Index(Id),
    /// A snapshot file
    Snapshot(Id),
    /// A key file, sealed
    Key(Id),
    /// A lock
    Lock(Id),
    /// A folder
    Tree(Id),
    /// A blob's content
    Blob(Id),
    /// A pack, sealed
    Pack(Id),
    /// A file of a snapshot
    File {
        /// An id, its beginning, or `latest`
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        /// The file, such as manifest.json or /shop/manifest.json
        #[arg(value_name = "PATH")]
        path: String,
        /// The source that `latest` means
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
    },
}

#[derive(Debug, Args)]
struct Id {
    /// The id or its beginning
    #[arg(value_name = "ID")]
    id: String,
}

pub(crate) async fn run(command: &Cat, context: &Context) -> Result<Exit, EngineError> {
    let repository = context.open_repository().await?;
    let part = match &command.what {
        What::Config => Part::Config,
        What::Masterkey => Part::MasterKey,
        What::Index(Id { id }) => Part::Index(id.clone()),
        What::Snapshot(Id { id }) => Part::Snapshot(id.clone()),
        What::Key(Id { id }) => Part::Key(id.clone()),
        What::Lock(Id { id }) => Part::Lock(id.clone()),
        What::Tree(Id { id }) => Part::Tree(id.clone()),
        What::Blob(Id { id }) => Part::Blob(id.clone()),
        What::Pack(Id { id }) => Part::Pack(id.clone()),
        What::File { snapshot, path, source } => {
            let find = listing::find(&repository, snapshot, source.as_deref());
            let snapshot = context.interrupt.guard(find).await?;
            let mut file = context.interrupt.guard(cat::file(&repository, &snapshot, path)).await?;
            let pieces = async {
                while let Some(piece) = file.next().await {
                    if !context.output.bytes(&piece?)? {
                        break;
                    }
                }
                Ok(Exit::Done)
            };
            return context.interrupt.guard(pieces).await;
        }
    };
    match context.interrupt.guard(cat::part(&repository, &part)).await? {
        Content::Raw(bytes) => drop(context.output.bytes(&bytes)?),
        Content::Json(json) if context.output.json => drop(context.output.bytes(&json)?),
        Content::Json(json) => context.output.data(&pretty(&json))?,
    }
    Ok(Exit::Done)
}

/// The same JSON, indented; fields stay in their order and numbers as they are written.
fn pretty(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut rest = text.trim().chars().peekable();
    while let Some(c) = rest.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                while rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                match rest.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        new_line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out.push('\n');
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_nothing_else_of_it_changes() {
        let json = br#"{"b":[1.50,{}, [ ],"a:\\\"{,"],"a":{"x":null}}"#;
        let expected = r#"{
  "b": [
    1.50,
    {},
    [],
    "a:\\\"{,"
  ],
  "a": {
    "x": null
  }
}
"#;
        assert_eq!(pretty(json), expected);
        let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
        assert_eq!(value(pretty(json).as_bytes()), value(json));
    }
}
