//! `reevectl`: the operators' command line.

mod access;
mod acts;
mod approval;
mod args;
mod audit;
mod bundle;
mod cases;
mod client;
mod commands;
mod complaints;
mod doctor;
mod dossier;
mod json;
mod outbox;
mod person;
mod policy;
mod reports;
mod rollout;
mod session;
mod show;
mod standing;
mod tenants;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use args::Cli;
use client::CallError;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string(), 1),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CallError::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), error.exit_code()),
    }
}

fn fail(text: &str, code: u8) -> ExitCode {
    // With stderr gone there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "reevectl: {text}");
    ExitCode::from(code)
}
