//! `violations` and `evidence`: what an agent without a controller has kept, read from its state folder.

use std::fmt::Write as _;
use std::path::Path;

use reeve_policy::{Dossier, Evidence, Explanation, TenantId, evidence};
use serde_json::{Value, json};

use super::{EvidenceArgs, ExplainArgs, ViolationsArgs};
use crate::config;
use crate::state::cases::Cases;
use crate::state::{StateFolder, peek};

/// A violation or decision that was asked for and is not kept.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// There is no such violation.
    #[error(
        "no violation {0} is kept here; a node with a controller leaves them to it: reevectl evidence {0}"
    )]
    Violation(String),
    /// Nothing is kept behind that decision.
    #[error(
        "nothing is kept that decision {0} upon this violation rests on; without --decision all is listed"
    )]
    Decision(u32),
    /// The file cannot be written.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What is kept, and what customers are called.
struct Kept {
    cases: Cases,
    tenants: Vec<reeve_policy::Tenant>,
}

impl Kept {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let loaded = config::load(file)?;
        let folder = &loaded.settings.state_dir;
        let cases = StateFolder::peek_cases(folder)?;
        let roster = peek(folder).map(|(_, roster)| roster).unwrap_or_default();
        let tenants = if roster.version > 0 { roster.tenants } else { loaded.tenants.clone() };
        Ok(Self { cases, tenants })
    }

    fn name(&self, id: &TenantId) -> Option<&str> {
        self.tenants.iter().find(|tenant| tenant.id == *id).map(|tenant| tenant.name.as_str())
    }

    fn told(&self, case: &Dossier, one: &Evidence) -> Value {
        let alert = &one.alert;
        json!({
            "decision": one.decision,
            "at": alert.at,
            "suspected": alert.is_suspicion,
            "complaint": alert.complaint(self.name(&case.violation.tenant)),
            "sources": alert.sources(),
            "forged_sources": alert.forged_sources(),
            "packets": alert.samples.len(),
            "evidence": alert,
        })
    }
}

/// The violations that are kept, newest first.
///
/// # Errors
/// When the settings or the state cannot be read.
pub fn violations(args: &ViolationsArgs) -> anyhow::Result<String> {
    let kept = Kept::read(&args.config)?;
    let cases = kept.cases.all().rev();
    if args.json {
        let each = cases.map(|case| {
            let mut value = serde_json::to_value(&case.violation)?;
            value["grounds"] = case.all().iter().map(|one| kept.told(case, one)).collect();
            Ok(value)
        });
        let all = each.collect::<serde_json::Result<Vec<Value>>>()?;
        return Ok(serde_json::to_string_pretty(&json!({ "violations": all }))?);
    }
    let mut text = String::new();
    for case in cases {
        let violation = &case.violation;
        let strike = match violation.is_suspicion() {
            true => "suspected".to_owned(),
            false => format!("strike {}", violation.strike),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {}  {}  {}  {strike}",
            violation.id,
            violation.tenant,
            violation.state.name(),
            violation.clause
        );
        let complaint = case.chosen().alert.complaint(kept.name(&violation.tenant));
        let _ = writeln!(text, "  {complaint}");
    }
    if text.is_empty() {
        text.push_str("no violation is kept here");
    }
    Ok(text.trim_end().to_owned())
}

/// Why a violation led to what it led to.
///
/// # Errors
/// When the settings or the state cannot be read, or nothing of the kind is kept.
pub fn explain(args: &ExplainArgs) -> anyhow::Result<String> {
    let kept = Kept::read(&args.config)?;
    let wanted = |case: &&Dossier| *case.violation.id.as_name() == args.id;
    let case = kept.cases.all().find(wanted).ok_or_else(|| NotKept::Violation(args.id.to_string()))?;
    let explanation = Explanation::new(&case.violation, case.decisions());
    if args.json {
        return Ok(serde_json::to_string_pretty(&explanation)?);
    }
    Ok(explanation.to_string().trim_end().to_owned())
}

/// What a violation rests on, and its packet headers.
///
/// # Errors
/// When the settings or the state cannot be read, nothing of the kind is kept, or the file cannot be written.
pub fn evidence(args: &EvidenceArgs) -> anyhow::Result<String> {
    let kept = Kept::read(&args.config)?;
    let wanted = |case: &&Dossier| *case.violation.id.as_name() == args.id;
    let case = kept.cases.all().find(wanted).ok_or_else(|| NotKept::Violation(args.id.to_string()))?;
    let (told, written) = match args.decision {
        None => (case.chosen(), case.all()),
        Some(number) => {
            let one = case.behind(number).ok_or(NotKept::Decision(number))?;
            (one.clone(), vec![one])
        }
    };
    let name = kept.name(&case.violation.tenant);
    let packets = evidence::packets(&written).len();
    if let Some(path) = &args.pcapng {
        std::fs::write(path, case.capture(&written, name))
            .map_err(|source| NotKept::Write { path: path.display().to_string(), source })?;
    }
    if args.json {
        let mut value = kept.told(case, &told);
        value["violation"] = json!(case.violation.id);
        value["tenant"] = json!(case.violation.tenant);
        value["clause"] = json!(case.violation.clause);
        value["file"] = json!(args.pcapng);
        value["all"] = case.all().iter().map(|one| kept.told(case, one)).collect();
        return Ok(serde_json::to_string_pretty(&value)?);
    }
    let mut text = format!("{}\n", told.alert.complaint(name));
    if let Some(path) = &args.pcapng {
        let _ = writeln!(text, "{packets} packet headers in {}", path.display());
    }
    let is_other = |one: &Evidence| args.decision.is_none() && *one != told;
    for one in case.all().into_iter().filter(is_other) {
        let what = one.decision.as_ref().map_or_else(|| "also".to_owned(), |id| format!("decision {id}"));
        let _ = writeln!(text, "{what}: {}", one.alert.complaint(name));
    }
    Ok(text.trim_end().to_owned())
}
