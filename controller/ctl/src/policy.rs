//! What is done with policies before they are used. No controller is asked.

use std::io::Write as _;
use std::path::PathBuf;

use reeve_policy::language::Policy;
use serde_json::json;

use crate::args::PolicyCommand;
use crate::client::CallError;

/// Does what the command line says.
///
/// # Errors
/// What is wrong with a file, or that it cannot be read; and that two policies differ, where that was asked.
pub fn run(command: &PolicyCommand, is_json: bool) -> Result<(), CallError> {
    let mut out = std::io::stdout();
    match command {
        PolicyCommand::Check { files } => {
            for file in files {
                let policy = load(file)?;
                let (name, version, rules) = (&policy.name, policy.version, policy.rules.len());
                if is_json {
                    let told = json!({ "file": file, "good": true, "name": name, "version": version, "rules": rules });
                    writeln!(out, "{told}")?;
                } else {
                    writeln!(out, "{file}: policy {name}@{version}, {rules} rules: good")?;
                }
            }
        }
        PolicyCommand::Show { policy } => {
            let policy = load(policy)?;
            if is_json {
                writeln!(out, "{}", serde_json::to_string(&policy).map_err(std::io::Error::from)?)?;
            } else {
                write!(out, "{}", policy.written())?;
            }
        }
        PolicyCommand::Diff { before, after } => {
            let differences = load(before)?.differences(&load(after)?);
            if is_json {
                writeln!(out, "{}", json!({ "differences": differences }))?;
            } else {
                for difference in &differences {
                    writeln!(out, "{difference}")?;
                }
            }
            if !differences.is_empty() {
                return Err(CallError::Differ { number: differences.len() });
            }
        }
    }
    Ok(())
}

/// The policy that is compiled in under a name, or that of a file.
fn load(place: &str) -> Result<Policy, CallError> {
    if let Some(policy) = Policy::preset(place) {
        return Ok(policy);
    }
    let path = PathBuf::from(place);
    let text = std::fs::read_to_string(&path).map_err(|source| CallError::File { path, source })?;
    Ok(Policy::parse(place, &text)?)
}
