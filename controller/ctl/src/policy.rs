//! What is done with policies before they are used. No controller is asked; what one has is `rollout`.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use reeve_policy::language::{Difference, Policy, check_tenants, parse_tenants};
use reeve_policy::notice::{Example, FILES, examples};
use reeve_policy::{Mode, Name, Notice, Tenant};
use reeve_replay::{Scene, TenantArg, VantageKind, from_args, trial};
use serde_json::json;

use crate::args::{PolicyCommand, SchemaArg, VantageArg};
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
        PolicyCommand::Try { candidate, pcap, against, tenants, tenant, vantage } => {
            let scene = Scene {
                tenants: whose(tenants.as_deref(), tenant)?,
                kind: match vantage {
                    VantageArg::Port => VantageKind::Port,
                    VantageArg::Mirror => VantageKind::Mirror,
                },
                policy: Arc::new(load(candidate)?),
                mode: Mode::Enforce,
                shards: 1,
            };
            let tried = trial::captures(&scene, &Arc::new(load(against)?), pcap)?;
            if is_json {
                writeln!(out, "{}", serde_json::to_string(&tried).map_err(std::io::Error::from)?)?;
            } else {
                write!(out, "{}", trial::table(&tried))?;
            }
            if tried.differs() {
                let all = &tried.comparison;
                let (newly, no_longer) = (all.newly.len(), all.no_longer.len());
                return Err(CallError::Hits { newly, no_longer, differently: all.differently.len() });
            }
        }
        PolicyCommand::Letters { policy, language, clause, texts } => {
            let mut policy = load(policy)?;
            if let Some(path) = texts {
                policy.add_texts(&path.display().to_string(), &read(path)?)?;
            }
            return letters(&policy, language.as_ref(), clause.as_deref(), is_json);
        }
        PolicyCommand::Texts { language } => {
            let found = FILES.iter().find(|(name, _)| name == language);
            write!(out, "{}", found.map_or("", |(_, text)| text))?;
        }
        PolicyCommand::Schema { of } => {
            let schema = match of {
                SchemaArg::Policy => include_str!("../../../docs/schema/policy.schema.json"),
                SchemaArg::Tenants => include_str!("../../../docs/schema/tenants.schema.json"),
                SchemaArg::Settings => include_str!("../../../docs/schema/agent.schema.json"),
            };
            write!(out, "{schema}")?;
        }
        PolicyCommand::Diff { before, after } => {
            return tell_differences(&load(before)?.differences(&load(after)?), is_json);
        }
        // The controller is asked.
        PolicyCommand::Rollout(_) => {}
    }
    Ok(())
}

/// Shows letters; none at all is an error.
fn letters(
    policy: &Policy,
    language: Option<&Name>,
    clause: Option<&str>,
    is_json: bool,
) -> Result<(), CallError> {
    let mut out = std::io::stdout();
    let all = examples(policy, language, clause);
    if all.is_empty() {
        let of = clause.map_or_else(String::new, |clause| format!(", {clause}"));
        return Err(CallError::NoLetter(format!("{}@{}{of}", policy.name, policy.version)));
    }
    let main = |tag: &Name| tag.as_str().split('-').next().unwrap_or_default().to_ascii_lowercase();
    if let Some(asked) = language.filter(|asked| main(asked) != main(&all[0].notice.language)) {
        let told = &all[0].notice.language;
        writeln!(
            std::io::stderr(),
            "the policy does not write in {asked}: whoever reads that is written to in {told}"
        )?;
    }
    for (number, Example { rule, clause, step, notice }) in all.iter().enumerate() {
        if is_json {
            let told = json!({
                "rule": rule, "clause": clause, "step": step, "kind": notice.kind, "to": notice.recipient,
                "language": notice.language, "subject": notice.subject, "text": notice.text,
            });
            writeln!(out, "{told}")?;
            continue;
        }
        if number > 0 {
            writeln!(out)?;
        }
        let Notice { kind, recipient, language, subject, text, .. } = notice;
        writeln!(out, "--- {clause}, rule {rule}, step {step}: {kind} to {recipient} ({language})")?;
        writeln!(out, "{subject}\n\n{text}")?;
    }
    Ok(())
}

/// Tells in what two policies differ.
///
/// # Errors
/// That they do.
pub fn tell_differences(differences: &[Difference], is_json: bool) -> Result<(), CallError> {
    let mut out = std::io::stdout();
    if is_json {
        writeln!(out, "{}", json!({ "differences": differences }))?;
    } else {
        for difference in differences {
            writeln!(out, "{difference}")?;
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(CallError::Differ { number: differences.len() }) }
}

/// The tenants of a file and of the command line.
fn whose(file: Option<&Path>, args: &[TenantArg]) -> Result<Vec<Arc<Tenant>>, CallError> {
    let mut all = Vec::new();
    if let Some(path) = file {
        let text = read(path)?;
        all.extend(parse_tenants(&path.display().to_string(), &text)?);
    }
    all.extend(from_args(args));
    check_tenants(&all).map_err(|clash| CallError::Clashing(clash.to_string()))?;
    Ok(all.into_iter().map(Arc::new).collect())
}

pub fn read(path: &Path) -> Result<String, CallError> {
    std::fs::read_to_string(path).map_err(|source| CallError::File { path: path.to_owned(), source })
}

/// The policy that is compiled in under a name, or that of a file.
pub fn load(place: &str) -> Result<Policy, CallError> {
    if let Some(policy) = Policy::preset(place) {
        return Ok(policy);
    }
    Ok(Policy::parse(place, &read(Path::new(place))?)?)
}
