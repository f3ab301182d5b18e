//! Replay: a capture file through the same engine that runs live.
//!
//! Deadlines fire up to [`TAIL`] past the last packet, so that attempts which the capture's end left open are told
//! silent as they would have been live. Output is a line an event, for people or as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reeve_core::engine::{DEFAULT_FLOW_BYTES, Engine, EngineConfig, Output};
use reeve_core::packet::{self, Malformed};
use reeve_core::topology::{Vantage, VantageKind};
use reeve_core::{Frame, VantageId};
use reeve_policy::language::Policy;
use reeve_policy::{Alert, Dossier, Evidence, Mode, NodeId, Tenant, TenantId, Timestamp, ViolationId};
use serde::Serialize;

use crate::capture::{CaptureFileError, FileError, FileSource, Progress};
use crate::tenants::{TenantArg, from_args};

/// How long after the last packet deadlines still fire.
pub const TAIL: Duration = Duration::from_secs(5);

/// So many tenants are told apart by whether they sent anything; of more, whether any did.
pub const MAX_SENDERS: usize = 16;

/// The name of the node that a replay pretends to be, and of its one interface.
pub const NODE: &str = "replay";
const INTERFACE: &str = "capture";

/// What to replay, and as whose traffic.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Whose traffic is looked for.
    pub tenants: Vec<Arc<Tenant>>,
    /// Where the capture was taken: a tenant's port (then foreign sources are spoofed), or anywhere.
    pub kind: VantageKind,
    /// The policy to judge by.
    pub policy: Arc<Policy>,
    /// Whether decisions are told as carried out or as observed.
    pub mode: Mode,
    /// Among how many shards the tenants are divided.
    pub shards: u32,
}

/// What a replay came to.
#[derive(Debug, Default, Serialize)]
pub struct Replayed {
    /// Frames read.
    pub frames: u64,
    /// Malformed frames by reason.
    pub malformed: BTreeMap<&'static str, u64>,
    /// Packets of none of the tenants.
    pub unassigned: u64,
    /// Packets with a source that is another's, or nobody's.
    pub spoofed: u64,
    /// Packets with a source that slipped out, such as a private one.
    pub leaked: u64,
    /// Which of up to [`MAX_SENDERS`] tenants have sent anything.
    #[serde(skip)]
    pub senders: BTreeSet<TenantId>,
    /// The first packet that one of the tenants sent.
    pub first_sent: Option<Timestamp>,
    /// The last packet's time.
    pub end: Option<Timestamp>,
    /// The first file that ended in the middle of a frame; what stood before the cut was played.
    #[serde(serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub truncated: Option<CaptureFileError>,
}

impl Scene {
    /// The `baseline` policy on tenants with these addresses, for measurements.
    #[must_use]
    pub fn bench(tenants: &[TenantArg]) -> Self {
        let tenants = from_args(tenants).into_iter().map(Arc::new).collect();
        let policy = Arc::new(Policy::preset("baseline").expect("it is compiled in"));
        Self { tenants, kind: VantageKind::Mirror, policy, mode: Mode::Enforce, shards: 1 }
    }

    /// An engine for this scene.
    #[must_use]
    pub fn engine(&self) -> Engine {
        let node: NodeId = NODE.parse().expect("a fixed name is valid");
        let mut engine = Engine::new(EngineConfig {
            node,
            mode: self.mode,
            policy: Arc::clone(&self.policy),
            flow_bytes: DEFAULT_FLOW_BYTES,
            seed: 0,
            shards: self.shards,
        });
        let vantage = Vantage { id: VantageId(0), interface: INTERFACE.into(), kind: self.kind, sampling: 1 };
        // On a port, the interface tells whose packets with foreign sources are.
        let selector = format!("{NODE}/{INTERFACE}").parse().expect("a fixed name is valid");
        let mut tenants = self.tenants.clone();
        if let (VantageKind::Port, [only]) = (self.kind, tenants.as_mut_slice()) {
            Arc::make_mut(only).interfaces = vec![selector];
        }
        engine.handle_topology(tenants, vec![vantage], Timestamp::EPOCH);
        engine
    }
}

/// Plays `files` one after the other through one engine and hands every output to `sink`.
///
/// # Errors
/// When a file cannot be opened or is no capture. A file that is cut off is noted, not an error.
pub fn replay(
    scene: &Scene,
    files: &[PathBuf],
    mut sink: impl FnMut(Output),
) -> Result<Replayed, CaptureFileError> {
    let mut engine = scene.engine();
    engine.pretend_measures();
    let mut replayed = Replayed::default();
    for file in files {
        match play(file, &mut engine, &mut replayed, &mut sink) {
            Err(error @ CaptureFileError { source: FileError::Truncated { .. }, .. }) => {
                replayed.truncated.get_or_insert(error);
            }
            result => result?,
        }
    }
    if let Some(end) = replayed.end {
        engine.handle_tick(end + TAIL);
    }
    while let Some(output) = engine.poll() {
        sink(output);
    }
    let counters = engine.counters();
    replayed.frames = counters.frames;
    replayed.unassigned = counters.unassigned;
    replayed.spoofed = counters.spoofed;
    replayed.leaked = counters.leaked;
    for (reason, &count) in Malformed::ALL.iter().zip(&counters.malformed) {
        if count > 0 {
            replayed.malformed.insert(reason.name(), count);
        }
    }
    Ok(replayed)
}

fn as_text<S: serde::Serializer>(error: &Option<CaptureFileError>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&error.as_ref().map_or(String::new(), ToString::to_string))
}

fn play(
    file: &Path,
    engine: &mut Engine,
    replayed: &mut Replayed,
    sink: &mut impl FnMut(Output),
) -> Result<(), CaptureFileError> {
    // Of many, one is enough.
    let tenants = engine.topology().tenants().len();
    let wanted = if tenants > MAX_SENDERS { 1 } else { tenants };
    each_frame(file, |frame| {
        replayed.end = Some(replayed.end.map_or(frame.at, |end: Timestamp| end.max(frame.at)));
        // Looking costs as much as parsing, so it ends when all have been seen.
        if replayed.senders.len() < wanted
            && let Some(sender) = sender(engine, frame)
        {
            replayed.first_sent.get_or_insert(frame.at);
            replayed.senders.insert(sender);
        }
        engine.handle_frame(frame);
        while let Some(output) = engine.poll() {
            sink(output);
        }
    })
}

/// Hands over each frame of a capture file; `-` is standard input.
pub(crate) fn each_frame(file: &Path, mut sink: impl FnMut(&Frame<'_>)) -> Result<(), CaptureFileError> {
    let mut source = if file == Path::new("-") {
        FileSource::from_reader(std::io::stdin(), Path::new("standard input"))?
    } else {
        FileSource::open(file)?
    };
    while source.poll(&mut |frame| sink(&frame))? != Progress::Ended {}
    Ok(())
}

/// When the first frame of a capture was seen; `None` for standard input, which is read once, and for what has none that can be read.
pub(crate) fn first_time(file: &Path) -> Option<Timestamp> {
    if file == Path::new("-") {
        return None;
    }
    let mut source = FileSource::open(file).ok()?;
    let mut first = None;
    while first.is_none() {
        let polled = source.poll(&mut |frame| {
            first.get_or_insert(frame.at);
        });
        if !matches!(polled, Ok(Progress::Frames(_))) {
            break;
        }
    }
    first
}

/// The tenant that sent it.
fn sender(engine: &Engine, frame: &Frame<'_>) -> Option<TenantId> {
    let packet = packet::parse(frame.link, frame.data, frame.wire_len).ok()?;
    let topology = engine.topology();
    let sender = topology.attribute(frame.vantage, frame.passage, frame.owner, &packet).sender?;
    Some(topology.tenant(sender).id.clone())
}

/// One output as a line of JSON: `{"event": "...", ...}`.
///
/// # Errors
/// Never for the outputs that the engine makes; the signature is serde's.
pub fn json_line(output: &Output) -> serde_json::Result<String> {
    serde_json::to_string(&json(output)?)
}

/// What people are told beside the outputs themselves: complaints, and what each decision rests on. A record does without.
#[derive(Debug, Default)]
pub struct Teller {
    names: BTreeMap<TenantId, String>,
    dossiers: BTreeMap<ViolationId, Dossier>,
}

impl Teller {
    /// One that knows what customers are called.
    #[must_use]
    pub fn new(tenants: &[Arc<Tenant>]) -> Self {
        let names = tenants.iter().map(|tenant| (tenant.id.clone(), tenant.name.clone())).collect();
        Self { names, dossiers: BTreeMap::new() }
    }

    /// Takes note of an output.
    pub fn take(&mut self, output: &Output) {
        match output {
            Output::Violation(violation) => match self.dossiers.get_mut(&violation.id) {
                Some(dossier) => dossier.see(violation),
                None => {
                    self.dossiers.insert(violation.id.clone(), Dossier::new(violation.clone()));
                }
            },
            Output::Decision(decision) => {
                let dossier = decision.violation.as_ref().and_then(|id| self.dossiers.get_mut(id));
                if let Some(dossier) = dossier {
                    dossier.decide(decision);
                }
            }
            _ => {}
        }
    }

    /// The output, which was taken before, as a line of JSON with `complaint` and `sources` for alerts, violations and decisions; a
    /// decision with the alert that it rests on as `evidence`, a violation with what decisions upon it rest on as `grounds`.
    ///
    /// # Errors
    /// Never for the outputs that the engine makes; the signature is serde's.
    pub fn line(&self, output: &Output) -> serde_json::Result<String> {
        let mut value = json(output)?;
        let dossier = |id: &ViolationId| self.dossiers.get(id);
        match output {
            Output::Alert(alert) => self.tell(&mut value, alert)?,
            Output::Violation(violation) => {
                self.tell(&mut value, &violation.evidence)?;
                let kept = dossier(&violation.id).map(Dossier::all).unwrap_or_default();
                let mut grounds = Vec::new();
                for one in &kept {
                    let mut ground = serde_json::json!({
                        "decision": one.decision,
                        "at": one.alert.at,
                        "class": one.alert.class,
                        "packets": one.alert.samples.len(),
                    });
                    self.tell(&mut ground, &one.alert)?;
                    grounds.push(ground);
                }
                value["grounds"] = grounds.into();
            }
            Output::Decision(decision) => {
                let is_it = |one: &Evidence| one.decision.as_ref() == Some(&decision.id);
                let kept = decision.violation.as_ref().and_then(dossier).map(Dossier::all);
                if let Some(one) = kept.and_then(|kept| kept.into_iter().find(is_it)) {
                    self.tell(&mut value, &one.alert)?;
                    value["evidence"] = serde_json::to_value(&one.alert)?;
                }
            }
            _ => {}
        }
        serde_json::to_string(&value)
    }

    /// Each violation with what is kept of it, and what its customer is called.
    pub fn dossiers(&self) -> impl Iterator<Item = (&Dossier, Option<&str>)> {
        self.dossiers.values().map(|dossier| (dossier, self.name(&dossier.violation.tenant)))
    }

    fn name(&self, tenant: &TenantId) -> Option<&str> {
        self.names.get(tenant).map(String::as_str)
    }

    fn tell(&self, value: &mut serde_json::Value, alert: &Alert) -> serde_json::Result<()> {
        value["complaint"] = alert.complaint(self.name(&alert.tenant)).into();
        value["sources"] = serde_json::to_value(alert.sources())?;
        let forged = alert.forged_sources();
        if !forged.is_empty() {
            value["forged_sources"] = serde_json::to_value(forged)?;
        }
        Ok(())
    }
}

fn json(output: &Output) -> serde_json::Result<serde_json::Value> {
    let (event, mut value) = match output {
        Output::Alert(alert) => ("alert", serde_json::to_value(alert)?),
        Output::Violation(violation) => ("violation", serde_json::to_value(violation)?),
        Output::Decision(decision) => ("decision", serde_json::to_value(decision)?),
        Output::Excused(excused) => ("excused", serde_json::to_value(excused)?),
        Output::BrakesSet(set) => ("brakes-set", serde_json::to_value(set)?),
        Output::Imposed(measure) => ("imposed", serde_json::to_value(measure)?),
        Output::Lifted { measure, reason, at } => {
            ("lifted", serde_json::json!({ "decision": measure.decision.id, "reason": reason, "at": at }))
        }
        Output::CheckRelay { tenant, server, at } => {
            ("check-relay", serde_json::json!({ "tenant": tenant, "server": server, "at": at }))
        }
        Output::RelayChecked(checked) => ("relay-checked", serde_json::to_value(checked)?),
        Output::Degraded { degraded, at } => {
            ("degraded", serde_json::json!({ "degraded": degraded, "at": at }))
        }
    };
    if let Some(object) = value.as_object_mut() {
        object.insert("event".into(), event.into());
    }
    Ok(value)
}

/// One output as a line for people; `None` for those that only repeat another.
#[must_use]
pub fn text_line(output: &Output) -> Option<String> {
    Some(match output {
        Output::Alert(alert) => {
            let numbers: Vec<String> = alert.metrics.iter().map(metric).collect();
            let suspected = if alert.is_suspicion { "suspected " } else { "" };
            format!("{}  {}  {suspected}{}  {}", alert.at, alert.tenant, alert.class, numbers.join(", "))
        }
        Output::Violation(violation) => format!(
            "{}  {}  violation {} of {} ({}), {}, {} alerts",
            violation.closed.unwrap_or(violation.last_seen),
            violation.tenant,
            violation.state.name(),
            violation.clause,
            violation.id,
            if violation.is_suspicion() {
                "suspected".to_owned()
            } else {
                format!("strike {}", violation.strike)
            },
            violation.alerts,
        ),
        Output::Decision(decision) => format!(
            "{}  {}  {} {} [{}]: {}",
            decision.at, decision.tenant, decision.action, decision.scope, decision.mode, decision.reason
        ),
        Output::BrakesSet(set) => format!("{}  the brakes are set: {}", set.at, set.why),
        Output::Excused(excused) => format!("{}  {}  {excused}", excused.at, excused.tenant),
        Output::Lifted { measure, reason, at } => {
            format!(
                "{at}  {}  {} lifted: {}",
                measure.decision.tenant,
                measure.decision.action,
                reason.name()
            )
        }
        Output::CheckRelay { tenant, server, at } => {
            format!("{at}  {tenant}  its mail server {server} is to be asked whether it is an open relay")
        }
        Output::RelayChecked(checked) => format!("{}  {}", checked.at, checked.line()),
        Output::Degraded { degraded: true, at } => {
            format!("{at}  answers to several tenants collapsed: silence is no evidence until they are back")
        }
        Output::Degraded { degraded: false, at } => format!("{at}  answers are back"),
        Output::Imposed(_) => return None,
    })
}

fn metric(metric: &reeve_policy::Metric) -> String {
    let value = (metric.value * 100.0).round() / 100.0;
    match metric.threshold {
        Some(threshold) => format!("{} {value} (limit {threshold})", metric.name),
        None => format!("{} {value}", metric.name),
    }
}
