//! The audit log: shown, written out, and verified without the controller.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

use reeve_audit::{PublicKey, Verified, Verify};
use reeve_proto::operator::v1::{AuditEntry, ExportAuditRequest, ListAuditRequest};
use reeve_proto::time_to_wire;
use serde_json::{Value, json};

use crate::args::{AuditCommand, AuditKey};
use crate::client::CallError;
use crate::commands::Call;
use crate::json::at;
use crate::show::{cells, table, when};

/// The longest line of what is verified, in bytes; entries are shorter by far.
const LINE_MAX: u64 = 4 << 20;
const FIRST_PAGE: i32 = 1_000;

/// Why an audit log was not found good.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Something does not fit.
    #[error("{path}: {broken}", path = path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// The first thing.
        broken: reeve_audit::Broken,
    },
    /// Nobody vouches for it whose key was named.
    #[error("{path}: no checkpoint of {wanted} is in it: {found}", path = path.display())]
    NotVouched {
        /// Which file.
        path: PathBuf,
        /// Whose key was named.
        wanted: String,
        /// Whose were found.
        found: String,
    },
    /// Something in a case that was written out does not fit.
    #[error("{path}: {file}: {what}", path = path.display())]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// Which of those in it, the first.
        file: String,
        /// What about it.
        what: String,
    },
    /// What comes behind is vouched for by somebody else.
    #[error(
        "{path}: a named key vouches for all up to entry {vouched}, and {found} for what comes behind, up to {claimed}: if that is \
         another controller's, name it too (`reevectl audit key`, asked there)",
        path = path.display()
    )]
    Stranger {
        /// Which file.
        path: PathBuf,
        /// The last entry that a named key vouches for.
        vouched: u64,
        /// The last that another does.
        claimed: u64,
        /// Whose were found.
        found: String,
    },
}

impl Call {
    pub(crate) async fn audit(&self, command: AuditCommand) -> Result<(), CallError> {
        match command {
            AuditCommand::List { who, act, subject, since, limit } => {
                let request = ListAuditRequest {
                    who: who.unwrap_or_default(),
                    act: act.unwrap_or_default(),
                    subject: subject.unwrap_or_default(),
                    since: since.map(time_to_wire),
                    page_size: limit.min(FIRST_PAGE),
                    page_token: String::new(),
                };
                let answer = self.controller.audit().list_audit(self.request(request)).await?.into_inner();
                let all = || json!({ "entries": answer.entries.iter().map(entry).collect::<Vec<_>>(), "key": answer.key });
                self.tell(all, || text(&answer.entries))
            }
            AuditCommand::Export { file, from } => self.export(file.as_deref(), from).await,
            AuditCommand::Key => {
                let request = ListAuditRequest { page_size: 1, ..ListAuditRequest::default() };
                let answer = self.controller.audit().list_audit(self.request(request)).await?.into_inner();
                self.tell(|| json!({ "key": answer.key }), || answer.key.clone())
            }
            // It asks nobody.
            AuditCommand::Verify { .. } => Ok(()),
        }
    }

    async fn export(&self, file: Option<&Path>, from: u64) -> Result<(), CallError> {
        let request = self.request(ExportAuditRequest { from });
        let mut lines = self.controller.audit().export_audit(request).await?.into_inner();
        let mut out: Box<dyn std::io::Write> = match file {
            Some(path) => Box::new(BufWriter::new(File::create_new(path)?)),
            None => Box::new(BufWriter::new(std::io::stdout().lock())),
        };
        while let Some(answer) = lines.message().await? {
            writeln!(out, "{}", answer.line)?;
        }
        out.flush()?;
        Ok(())
    }
}

fn entry(entry: &AuditEntry) -> Value {
    json!({
        "number": entry.number,
        "time": at(entry.time),
        "who": entry.who,
        "role": entry.role,
        "from": entry.from,
        "act": entry.act,
        "subject": entry.subject,
        "asked": serde_json::from_str::<Value>(&entry.asked).unwrap_or(Value::Null),
        "reason": entry.reason,
        "outcome": entry.outcome,
    })
}

fn text(entries: &[AuditEntry]) -> String {
    if entries.is_empty() {
        return "nothing of the kind is on the record".to_owned();
    }
    let mut rows = vec![cells(["NUMBER", "TIME", "WHO", "FROM", "ACT", "ABOUT", "OUTCOME", "WHY"])];
    rows.extend(entries.iter().map(|entry| {
        vec![
            entry.number.to_string(),
            when(entry.time),
            format!("{} {}", entry.role, entry.who),
            entry.from.clone(),
            entry.act.clone(),
            entry.subject.clone(),
            plain(&entry.outcome),
            plain(&entry.reason),
        ]
    }));
    table(&rows)
}

/// Without what could move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Verifies what was written out; says what holds.
pub fn verify(path: &Path, keys: &[AuditKey], is_json: bool) -> Result<String, CallError> {
    let file = |source| CallError::File { path: path.to_owned(), source };
    let known: Vec<PublicKey> = keys.iter().map(|key| key.0).collect();
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(file)?)
    };
    let (mut input, mut verify, mut line) =
        (BufReader::new(input), Verify::new(known.iter().copied()), Vec::new());
    loop {
        line.clear();
        if input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(file)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        verify
            .take(text.trim_end_matches(['\n', '\r']))
            .map_err(|broken| AuditError::Broken { path: path.to_owned(), broken })?;
    }
    let verified = verify.finish();
    if !known.is_empty() && verified.vouched == 0 {
        let wanted = known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let found = verified.strangers.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = if found.is_empty() {
            "there is none at all".to_owned()
        } else {
            format!("they are of {}", found.join(", "))
        };
        return Err(AuditError::NotVouched { path: path.to_owned(), wanted, found }.into());
    }
    if !known.is_empty() && verified.claimed > verified.vouched {
        let found = verified.strangers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let Verified { vouched, claimed, .. } = verified;
        return Err(AuditError::Stranger { path: path.to_owned(), vouched, claimed, found }.into());
    }
    Ok(if is_json { told_json(&verified).to_string() } else { told(&verified, !known.is_empty()) })
}

fn told_json(verified: &Verified) -> Value {
    json!({
        "entries": verified.entries,
        "first": verified.first,
        "last": verified.last,
        "head": verified.head.to_string(),
        "checkpoints": verified.checkpoints,
        "vouched": verified.vouched,
        "other_keys": verified.strangers.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn told(verified: &Verified, is_key_named: bool) -> String {
    let Verified { entries, first, last, head, checkpoints, vouched, strangers, .. } = verified;
    if *entries == 0 {
        return "there is no entry in it".to_owned();
    }
    let mut text = format!("{entries} entries hold, {first} to {last}; the last has the hash {head}\n");
    if *first > 1 {
        text.push_str(&format!("what came before entry {first} is not in it\n"));
    }
    if is_key_named {
        text.push_str(&format!("a named key vouches for all up to entry {vouched}\n"));
        if vouched < last {
            text.push_str(&format!("nobody vouches for what comes behind, {} to {last}\n", vouched + 1));
        }
    } else if let Some(key) = strangers.first() {
        text.push_str(&format!(
            "{checkpoints} checkpoints, by {key}{}: see with --key that it is the controller's (`reevectl audit key`)\n",
            if strangers.len() > 1 { " and others" } else { "" }
        ));
    } else {
        text.push_str("no checkpoint is in it: whoever could write it could make it anew\n");
    }
    text
}
