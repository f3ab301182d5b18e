//! A case as one file that can be given away (`reeve_audit::bundle`): what is in it.
//!
//! The file is made while it is sent, one of its files at a time, and no faster than it is taken. Of packets there are headers only, as
//! everywhere. Of the audit log there are the entries about the case, its violations, and its tenant while it was open; they do not follow one
//! another, so that they say what was entered follows from their hashes, and that it was in the log from the controller's signature.

use std::collections::BTreeSet;
use std::sync::Arc;

use reeve_audit::Signer;
use reeve_audit::bundle::{AUDIT, Bundle, MAX_AUDIT};
use reeve_policy::{Alert, Decision, Origin, PolicyVersion, Violation};
use reeve_proto::operator::v1::ExportCaseResponse;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{House, unreadable, unwritable};
use crate::clock;
use crate::store::{CaseRow, MeasureRow, NoticeRow, Story};
use crate::writer::Job;

/// So much of each part of a case's story is written out, the newest.
const MOST: i64 = 2_000;
/// The most bytes of one chunk.
const CHUNK_BYTES: usize = 64 << 10;
/// So many chunks wait for whoever takes them.
const WAITING: usize = 4;

type Chunk = Result<ExportCaseResponse, Status>;

/// The file, in chunks.
pub(super) async fn export(
    house: &House,
    signer: &Arc<Signer>,
    row: CaseRow,
) -> Result<impl Stream<Item = Chunk> + Send + use<>, Status> {
    // What the log says up to now, this call too, is signed over.
    let (log, own) = (Arc::clone(signer), Arc::clone(signer));
    house.writer.ask(|reply| Job::Seal { signer: log, reply }).await.map_err(unwritable)?;
    let story = house.store.story(&row.id, MOST).await.map_err(unreadable)?;
    let (sender, chunks) = mpsc::channel(WAITING);
    let house = house.clone();
    tokio::spawn(async move {
        let bundle = Bundle::new(row.id.as_str(), clock::now(), &own);
        let mut file = File { bundle, sender: sender.clone() };
        let written = match write(&house, &own, &row, &story, &mut file).await {
            Ok(()) => file.finish(&own).await,
            Err(stopped) => Err(stopped),
        };
        if let Err(Stopped::Failed(status)) = written {
            let _ = sender.send(Err(*status)).await;
        }
    });
    Ok(ReceiverStream::new(chunks))
}

/// Why no more is written.
enum Stopped {
    /// Nobody takes it any more.
    Gone,
    /// Something failed.
    Failed(Box<Status>),
}

impl From<Status> for Stopped {
    fn from(status: Status) -> Self {
        Self::Failed(Box::new(status))
    }
}

/// The bundle on its way.
struct File {
    bundle: Bundle,
    sender: mpsc::Sender<Chunk>,
}

impl File {
    async fn put(&mut self, name: &str, content: &[u8]) -> Result<(), Stopped> {
        let part = self.bundle.file(name, content).ok_or_else(|| cannot(name))?;
        self.send(&part).await
    }

    async fn send(&self, part: &[u8]) -> Result<(), Stopped> {
        for chunk in part.chunks(CHUNK_BYTES) {
            let chunk = ExportCaseResponse { chunk: chunk.to_vec() };
            self.sender.send(Ok(chunk)).await.map_err(|_| Stopped::Gone)?;
        }
        Ok(())
    }

    async fn finish(self, signer: &Signer) -> Result<(), Stopped> {
        let Self { bundle, sender } = self;
        let end = bundle.finish(signer).ok_or_else(|| cannot("the manifest"))?;
        for chunk in end.chunks(CHUNK_BYTES) {
            let chunk = ExportCaseResponse { chunk: chunk.to_vec() };
            sender.send(Ok(chunk)).await.map_err(|_| Stopped::Gone)?;
        }
        Ok(())
    }
}

fn cannot(name: &str) -> Status {
    tracing::error!(name, "a case's file has no room for it");
    Status::internal(format!("{name} cannot be written out"))
}

async fn write(
    house: &House,
    signer: &Signer,
    row: &CaseRow,
    story: &Story,
    file: &mut File,
) -> Result<(), Stopped> {
    let snapshot = house.directory.snapshot();
    let tenant = snapshot.tenants.by_id(&row.tenant);
    let name = tenant.map(|tenant| tenant.name.clone()).filter(|name| !name.is_empty());
    let (versions, mut missing) = (versions(&story.decisions), Vec::new());
    let mut texts = Vec::new();
    for version in versions {
        let found = house.store.policy_texts(&version).await.map_err(unreadable)?;
        if found.is_empty() {
            missing.push(version.to_string());
        }
        let is_one = found.len() == 1;
        for (number, text) in (1..).zip(found) {
            // Nodes may have told of several under one name and version.
            let which = if is_one { String::new() } else { format!("-{number}") };
            texts.push((format!("policies/{version}{which}.toml"), text));
        }
    }
    let audit = audit(house, signer, row, story).await?;
    let mut case = case(row, name.as_deref(), story);
    case["policies_missing"] = json!(missing);
    case["audit_is_whole"] = json!(audit.1);
    file.put("case.json", &pretty(&case)?).await?;
    for violation in &story.violations {
        evidence(house, violation, name.as_deref(), file).await?;
    }
    file.put("decisions.jsonl", &lines(story.decisions.iter().map(|one| json!(one)))?).await?;
    file.put("measures.jsonl", &lines(story.measures.iter().map(measure))?).await?;
    file.put("notices.jsonl", &lines(story.notices.iter().map(notice))?).await?;
    for (name, text) in texts {
        file.put(&name, text.as_bytes()).await?;
    }
    file.put(AUDIT, audit.0.as_bytes()).await
}

/// A violation with what was measured, and its packet headers.
async fn evidence(
    house: &House,
    violation: &Violation,
    name: Option<&str>,
    file: &mut File,
) -> Result<(), Stopped> {
    let id = &violation.id;
    // One that was forgotten meanwhile is told as the story has it.
    let dossier = house.store.dossier(id).await.map_err(unreadable)?;
    let dossier = dossier.unwrap_or_else(|| reeve_policy::Dossier::new(violation.clone()));
    let kept = dossier.all();
    let bare = |alert: &Alert| Alert { samples: Vec::new(), ..alert.clone() };
    let told = Violation { evidence: bare(&violation.evidence), ..violation.clone() };
    let alerts: Vec<Value> = kept
        .iter()
        .map(|one| {
            let (complaint, packets) = (one.alert.complaint(name), one.alert.samples.len());
            json!({
                "decision": one.decision, "complaint": complaint, "packets": packets, "alert": bare(&one.alert),
            })
        })
        .collect();
    file.put(&format!("violations/{id}.json"), &pretty(&json!({ "violation": told, "evidence": alerts }))?)
        .await?;
    if kept.iter().any(|one| !one.alert.samples.is_empty()) {
        file.put(&format!("headers/{id}.pcapng"), &dossier.capture(&kept, name)).await?;
    }
    Ok(())
}

/// What the audit log says, with the last checkpoint; whether that is all of it.
async fn audit(
    house: &House,
    signer: &Signer,
    row: &CaseRow,
    story: &Story,
) -> Result<(String, bool), Status> {
    let key = signer.public().to_string();
    let Some((last, checkpoint)) = house.store.audit_checkpoint(&key).await.map_err(unreadable)? else {
        return Ok((String::new(), true));
    };
    let mut subjects = vec![format!("case/{}", row.id)];
    subjects.extend(story.violations.iter().map(|violation| format!("violation/{}", violation.id)));
    let (tenant, until) = (format!("tenant/{}", row.tenant), row.closed.unwrap_or_else(clock::now));
    let about = (tenant.as_str(), row.opened, until);
    let found = house.store.audit_about(&subjects, about, (last, MOST)).await.map_err(unreadable)?;
    let mut is_whole = found.len() < usize::try_from(MOST).unwrap_or(usize::MAX);
    // The newest count most.
    let (mut kept, mut bytes) = (Vec::new(), checkpoint.len() + 1);
    for line in found.into_iter().rev() {
        bytes += line.len() + 1;
        if bytes > MAX_AUDIT {
            is_whole = false;
            break;
        }
        kept.push(line);
    }
    let lines = kept.into_iter().rev().chain([checkpoint]);
    Ok((lines.map(|line| line + "\n").collect(), is_whole))
}

/// The versions of policies that decided, each once.
fn versions(decisions: &[Decision]) -> BTreeSet<PolicyVersion> {
    let version = |decision: &Decision| match &decision.origin {
        Origin::Policy { policy, version, .. } => {
            Some(PolicyVersion { name: policy.clone(), version: *version })
        }
        Origin::Operator { .. } => None,
    };
    decisions.iter().filter_map(version).collect()
}

fn case(row: &CaseRow, name: Option<&str>, story: &Story) -> Value {
    let entries = story.entries.iter().map(|entry| {
        json!({
            "number": entry.number,
            "at": entry.at,
            "kind": entry.kind.map(crate::store::EntryKind::name),
            "author": entry.author,
            "text": entry.text,
            "state": entry.state.map(crate::store::CaseState::name),
            "deadline": entry.deadline,
        })
    });
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    let parts = [
        story.entries.len(),
        story.violations.len(),
        story.decisions.len(),
        story.measures.len(),
        story.notices.len(),
    ];
    json!({
        "id": row.id,
        "tenant": row.tenant,
        "tenant_name": name,
        "clause": row.clause,
        "state": row.state.name(),
        "opened": row.opened,
        "updated": row.updated,
        "deadline": row.deadline,
        "closed": row.closed,
        "held": row.held.as_ref().map(|(by, reason, since)| json!({ "by": by, "reason": reason, "since": since })),
        "sealed": row.sealed.as_ref().map(|(by, reason, since)| json!({ "by": by, "reason": reason, "since": since })),
        "entries": entries.collect::<Vec<_>>(),
        "story_is_whole": parts.iter().all(|part| *part < most),
        "written_by": format!("reeve-controller {}", env!("CARGO_PKG_VERSION")),
    })
}

fn measure(row: &MeasureRow) -> Value {
    json!({
        "node": row.node,
        "decision": row.decision,
        "since": row.since,
        "expires": row.expires,
        "lifted": row.lifted,
        "lift_reason": row.lift_reason,
        "counters": row.counters,
    })
}

fn notice(row: &NoticeRow) -> Value {
    json!({ "number": row.number, "made": row.made, "notice": row.notice })
}

fn pretty(value: &Value) -> Result<Vec<u8>, Status> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|_| cannot("JSON"))?;
    text.push(b'\n');
    Ok(text)
}

fn lines(values: impl Iterator<Item = Value>) -> Result<Vec<u8>, Status> {
    let mut text = Vec::new();
    for value in values {
        serde_json::to_writer(&mut text, &value).map_err(|_| cannot("JSON"))?;
        text.push(b'\n');
    }
    Ok(text)
}
