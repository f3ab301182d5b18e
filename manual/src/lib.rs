//! What the programs tell of themselves: man pages and shell completions, both made of the command line's own definition,
//! so that there is one text to keep true.
//!
//! Model: each program hands over its [`clap::Command`]. The pages of a program and of its subcommands are written into a
//! folder, one file each; packaging calls that by a hidden subcommand `man`.
//!
//! [`findings`] is how what a program's `doctor` finds is told.
//!
//! Left out: anything that is not in `--help`.

pub mod findings;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

pub use clap_complete::Shell;

/// The section of the manual for commands that anybody may use.
pub const USER_COMMANDS: &str = "1";
/// The section of the manual for what administrators and the service manager run.
pub const SYSTEM_ADMINISTRATION: &str = "8";

/// A text of which some values are known: those are completed, and every other is taken as well.
///
/// Shells complete only these where there are any; bash goes on with files.
#[derive(Clone, Debug)]
pub struct Known(pub Vec<&'static str>);

impl TypedValueParser for Known {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(|name| PossibleValue::new(*name))))
    }
}

/// Writes a shell's completions.
///
/// # Errors
/// When `out` cannot be written.
pub fn completions(mut command: Command, shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let name = command.get_name().to_owned();
    // The generator takes a failed write for a bug, and a closed pipe is none.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    out.write_all(&script)
}

/// Writes the pages of a program and of its subcommands into `folder`, which is made if it is not there.
///
/// # Errors
/// When a file cannot be written.
pub fn pages(command: Command, section: &str, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let source = format!("Reeve {}", command.get_version().unwrap_or_default());
    // `help` repeats every subcommand; `reeve-agent-help-run(8)` would say nothing of its own.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    page(&command, section, &source, folder)
}

fn page(command: &Command, section: &str, source: &str, folder: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        page(subcommand, section, source, folder)?;
    }
    let man = Man::new(command.clone()).section(section).source(source).manual("Reeve");
    let mut file = File::create(folder.join(man.get_filename()))?;
    man.render_title(&mut file)?;
    man.render_name_section(&mut file)?;
    man.render_synopsis_section(&mut file)?;
    man.render_description_section(&mut file)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut file)?;
    }
    if command.get_subcommands().any(|subcommand| !subcommand.is_hide_set()) {
        man.render_subcommands_section(&mut file)?;
    }
    if let Some(after) = command.get_after_long_help() {
        lists(&after.to_string()).to_writer(&mut file)?;
    }
    file.flush()
}

/// What stands below the options: blocks, each a heading that ends in a colon and lines that are shown as they are.
fn lists(text: &str) -> Roff {
    let mut roff = Roff::default();
    for block in text.split("\n\n") {
        let (heading, body) = block.split_once(":\n").unwrap_or(("Notes", block));
        roff.control("SH", [heading.to_uppercase().as_str()]);
        roff.control("nf", []);
        for line in body.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

    use super::*;
    use clap::Arg;

    fn program() -> Command {
        Command::new("mill")
            .version("7.1")
            .about("Grinds corn")
            .after_long_help("Examples:\n  mill grind rye\n\nExit codes:\n  0  it is done\n.5  never")
            .subcommand(
                Command::new("grind")
                    .about("Grinds one kind")
                    .long_about("Grinds one kind\n\nSlowly.")
                    .arg(Arg::new("kind").required(true).help("Which.")),
            )
            .subcommand(Command::new("man").hide(true))
    }

    fn written(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_command_that_shows_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        pages(program(), SYSTEM_ADMINISTRATION, &folder.path().join("new")).unwrap();
        let folder = folder.path().join("new");
        assert_eq!(written(&folder), ["mill-grind.8", "mill.8"]);
        let text = std::fs::read_to_string(folder.join("mill.8")).unwrap();
        assert!(text.contains(".TH mill 8  \"Reeve 7.1\" Reeve\n"), "{text}");
        // A line that begins with a dot would be a request to the formatter.
        for line in
            [".SH EXAMPLES", "  mill grind rye", ".SH \"EXIT CODES\"", "  0  it is done", "\\&.5  never"]
        {
            assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
        }
        let text = std::fs::read_to_string(folder.join("mill-grind.8")).unwrap();
        assert!(text.contains("Slowly.") && text.contains("Which."), "{text}");
    }

    #[test]
    fn what_is_known_is_completed_and_all_is_taken() {
        let policy = || Arg::new("policy").long("policy").hide_possible_values(true);
        let program = || Command::new("x").arg(policy().value_parser(Known(vec!["baseline", "extin"])));
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            completions(program(), shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("baseline") && script.contains("extin"), "{shell}");
        }
        let given = program().try_get_matches_from(["x", "--policy", "ours.toml"]).unwrap();
        assert_eq!(given.get_one::<String>("policy").unwrap(), "ours.toml");
        assert!(!program().render_help().to_string().contains("possible values"));
    }

    #[test]
    fn completions_name_the_program_and_a_closed_pipe_is_an_error() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            completions(program(), shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("mill") && script.contains("grind"), "{script}");
        }
        let mut nowhere: &mut [u8] = &mut [];
        assert!(completions(program(), Shell::Bash, &mut nowhere).is_err());
    }
}
