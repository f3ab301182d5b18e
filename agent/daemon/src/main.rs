//! `reeve-agent`: reads the command line, does what it says, and tells by its exit code how it went.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use reeve_agent::cli::{self, Cli, Command, RunArgs};
use reeve_agent::{config, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // With stderr gone there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "reeve-agent: {}", cli::explain(&error));
            ExitCode::from(cli::exit::code(&error))
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Run(args) => live(&args),
        Command::Enroll(args) => say(&cli::enroll::enroll(&args)?),
        Command::Check(args) => cli::check::check(&args),
        Command::Doctor(args) => cli::doctor::doctor(&args),
        Command::Replay(args) => cli::play::play(&args),
        Command::Score(args) => cli::play::score(&args),
        Command::Try(args) => cli::trial::run(&args),
        Command::Thresholds(args) => say(&cli::thresholds::thresholds(&args)?),
        Command::Violations(args) => say(&cli::cases::violations(&args)?),
        Command::Evidence(args) => say(&cli::cases::evidence(&args)?),
        Command::Explain(args) => say(&cli::cases::explain(&args)?),
        Command::Ruleset(args) => say(cli::table::ruleset(&args)?.trim_end()),
        Command::Clear(args) => say(&cli::table::clear(&args)?),
        Command::Pause(args) => say(&cli::pause::pause(&args)?),
        Command::ReleaseBrakes(args) => say(&cli::pause::release_brakes(&args)?),
        Command::Resume(args) => say(&cli::pause::resume(&args)?),
        Command::Completion { shell } => {
            Ok(reeve_manual::completions(Cli::command(), shell, &mut std::io::stdout())?)
        }
        Command::Man { folder } => {
            Ok(reeve_manual::pages(Cli::command(), reeve_manual::SYSTEM_ADMINISTRATION, &folder)?)
        }
        Command::Bench { what } => say(&cli::bench::bench(&what)?.to_string()),
    }
}

fn live(args: &RunArgs) -> anyhow::Result<()> {
    reeve_telemetry::logs::init(&args.log, args.log_format)?;
    let loaded = config::load(&args.config)?;
    loaded.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let record = args.record.clone().map(|path| run::Record { path, limit: args.record_limit << 20 });
    runtime.block_on(run::run(&args.config, loaded, record.as_ref(), args.ownership))?;
    Ok(())
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// Whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
