//! docs/CLI.md is what the program says about itself. After a change of an option:
//! `BASEKEEP_UPDATE_DOCS=1 cargo nextest run -p basekeep reference`.

use std::path::Path;

use crate::sandbox::Sandbox;

const OF_EVERY_COMMAND: &str = "\nOptions of every command:\n";

#[test]
fn the_reference_of_the_command_line_is_current() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CLI.md");
    let sandbox = Sandbox::new();
    let whole = help(&sandbox, "");
    let (_, options) = whole.split_once(OF_EVERY_COMMAND).unwrap();
    let mut text = String::from(
        "# The command line\n\nWritten by a test from what `--help` prints; `basekeep man` has the same as manual pages.\n",
    );
    for name in commands(&whole) {
        describe(&sandbox, &name, &mut text);
    }
    text += &format!("\n## Options of every command\n\n```\n{}\n```\n", options.trim_end());
    if std::env::var_os("BASEKEEP_UPDATE_DOCS").is_some() {
        std::fs::write(&page, &text).unwrap();
    }
    let written = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        written == text,
        "docs/CLI.md is not current; write it again with BASEKEEP_UPDATE_DOCS=1 cargo nextest run -p basekeep reference"
    );
}

/// A section for a command, and for each of its own commands.
fn describe(sandbox: &Sandbox, command: &str, text: &mut String) {
    let help = help(sandbox, command);
    let own = help.split_once(OF_EVERY_COMMAND).map_or(help.as_str(), |(own, _)| own);
    *text += &format!("\n## basekeep {command}\n\n```\n{}\n```\n", own.trim_end());
    for below in commands(&help) {
        describe(sandbox, &format!("{command} {below}"), text);
    }
}

fn help(sandbox: &Sandbox, command: &str) -> String {
    let ran = sandbox.run(&format!("{command} --help")).expect(0);
    // No page has blanks at the ends of its lines.
    ran.stdout.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The names in the list of commands.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter(|line| line.starts_with("  "));
    let names =
        names.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next().map(str::to_owned));
    let is_name = |name: &String| name.chars().all(|c| c.is_ascii_lowercase() || c == '-') && name != "help";
    // Continuation lines of long descriptions are indented further.
    names.filter(is_name).filter(|name| help.contains(&format!("\n  {name} "))).collect()
}
