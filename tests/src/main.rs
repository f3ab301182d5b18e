//! `reeve-lab`: plays the demonstration and the benchmarks.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use reeve_tests::{bench, demo};

/// Plays in a lab of network namespaces of its own; takes root, leaves nothing behind.
#[derive(Debug, Parser)]
#[command(name = "reeve-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A tenant's scan ends in a suspension that an operator sees and lifts; exit code 0 only if every step held
    Demo {
        /// Leaves all of it running at the end until Enter is pressed, with its Prometheus at 127.0.0.1:9090 for Grafana
        #[arg(value_parser = ["stay"])]
        stay: Option<String>,
    },
    /// Measures what the design sets targets for, and prints the figures beside them
    Bench {
        /// Which of them; all if none is named
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(bench::parts()))]
        parts: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo { stay } => demo::play(stay.is_some()),
        Command::Bench { parts } => bench::run(&parts),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
