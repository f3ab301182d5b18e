//! The course of a policy: an engine that plays its measures, and who was hit by them.

use std::collections::{BTreeMap, BTreeSet};

use reeve_core::engine::{Engine, Input, Output};
use reeve_core::flow::{Held, Restrictions};
use reeve_core::packet::{self, Body};
use reeve_core::{Frame, topology::TenantIx};
use reeve_policy::judge::Standing as Judged;
use reeve_policy::{
    Action, Decision, DecisionId, DesiredState, Mode, Origin, PolicyVersion, Rate, Reckoning, Scope, Target,
    TenantId, Timestamp, Until, Violation, ViolationId,
};
use serde::Serialize;

/// The most steps that are listed of one hit; the rest is counted.
const MOST_STEPS: usize = 64;
/// The most targets that are told apart of one hit; beyond, the number is the least there were.
const MOST_TARGETS: usize = 4_096;

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// By which policy.
    pub policy: PolicyVersion,
    /// The clause, as `policy/clause`.
    pub clause: String,
    /// Which of the rule's steps, counted from 1.
    pub step: u32,
    /// What.
    pub action: Action,
    /// Of which traffic.
    pub scope: Scope,
    /// How much of it would be let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Until when.
    pub until: Until,
    /// Whether it would be carried out, or only told: for the policy, the rule or the tenant is only observed.
    pub mode: Mode,
    /// Why it is milder than the ladder says, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub softened: Option<String>,
    /// What comes next if it goes on; `None` where it is the ladder's last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

/// The step after one that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Next {
    /// When at the earliest.
    pub at: Timestamp,
    /// What, as the ladder says it.
    pub told: String,
}

impl Next {
    fn after(step: u32, reckoning: &Reckoning) -> Option<Self> {
        let told = reckoning.ladder.get(usize::try_from(step).ok()?)?.clone();
        Some(Self { at: reckoning.next?, told })
    }
}

impl Step {
    fn of(decision: &Decision) -> Option<Self> {
        let Origin::Policy { policy, version, step, .. } = &decision.origin else { return None };
        Some(Self {
            at: decision.at,
            policy: PolicyVersion { name: policy.clone(), version: *version },
            clause: decision.clause.clone(),
            step: *step,
            action: decision.action,
            scope: decision.scope.clone(),
            rate: decision.rate,
            until: decision.until,
            mode: decision.mode,
            softened: decision.softened.clone(),
            next: decision.reckoning.as_ref().and_then(|reckoning| Next::after(*step, reckoning)),
        })
    }

    /// Whether the same comes next, after as long.
    pub(super) fn goes_on_like(&self, other: &Self) -> bool {
        let next = |step: &Self| step.next.as_ref().map(|next| (next.at.since(step.at), next.told.clone()));
        next(self) == next(other)
    }

    /// The same, but for when and by which clause: what of it is felt.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.action, &self.scope, self.rate, self.until, self.mode, self.softened.is_some())
            == (other.action, &other.scope, other.rate, other.until, other.mode, other.softened.is_some())
    }

    /// It in words: `limit tcp/25 10/minute for 1h`.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = self.action.to_string();
        if self.action.is_measure() {
            text = format!("{text} {}", self.scope);
            text += &self.rate.map(|rate| format!(" at {rate}")).unwrap_or_default();
            text += &format!(" {}", self.until);
        }
        if self.mode == Mode::Observe && self.action > Action::Observe {
            text += ", observed only";
        }
        if let Some(why) = &self.softened {
            text += &format!(" ({why})");
        }
        text
    }
}

/// Traffic that was seen while measures would have stood in its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// Packets that would have been dropped. Where the capture keeps a sample of bulk only, those of the sample.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Packets that a limit would have counted, and let through as far as its rate goes.
    pub limited_packets: u64,
    /// Their bytes on the wire.
    pub limited_bytes: u64,
    /// Different targets (address, protocol, port) of both; at most 4,096 are told apart.
    pub targets: u64,
}

/// What was done to a tenant for one family of classes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    /// The clauses that were broken.
    pub clauses: BTreeSet<String>,
    /// How many violations it was.
    pub violations: u64,
    /// When the first step was taken.
    pub first: Timestamp,
    /// When the last one was.
    pub last: Timestamp,
    /// The steps, oldest first; at most 64.
    pub steps: Vec<Step>,
    /// How many more there were.
    pub more_steps: u64,
    /// What its measures would have cut.
    pub cut: Cut,
    #[serde(skip)]
    ids: BTreeSet<ViolationId>,
    #[serde(skip)]
    targets: BTreeSet<Target>,
}

impl Hit {
    fn new(at: Timestamp) -> Self {
        Self {
            clauses: BTreeSet::new(),
            violations: 0,
            first: at,
            last: at,
            steps: Vec::new(),
            more_steps: 0,
            cut: Cut::default(),
            ids: BTreeSet::new(),
            targets: BTreeSet::new(),
        }
    }

    fn take(&mut self, step: Step, violation: Option<&ViolationId>) {
        self.last = step.at;
        self.clauses.insert(step.clause.clone());
        if let Some(id) = violation
            && self.ids.len() < MOST_TARGETS
            && self.ids.insert(id.clone())
        {
            self.violations += 1;
        }
        if self.steps.len() < MOST_STEPS {
            self.steps.push(step);
        } else {
            self.more_steps += 1;
        }
    }

    fn cut(&mut self, held: Held, target: Target, bytes: u32) {
        let cut = &mut self.cut;
        let (packets, sum) = match held {
            Held::Free => return,
            Held::Limited => (&mut cut.limited_packets, &mut cut.limited_bytes),
            Held::Blocked => (&mut cut.packets, &mut cut.bytes),
        };
        *packets += 1;
        *sum += u64::from(bytes);
        if self.targets.len() < MOST_TARGETS && self.targets.insert(target) {
            cut.targets += 1;
        }
    }
}

/// Whom something was done to, and for which family of classes.
pub(super) type Whom = (TenantId, String);

/// A measure that would stand.
#[derive(Debug)]
struct Standing {
    decision: DecisionId,
    family: String,
    restrictions: Restrictions,
}

/// What a policy comes to, as it is played.
#[derive(Debug)]
pub struct Course {
    engine: Option<Engine>,
    /// What was decided before this is not told.
    since: Option<Timestamp>,
    hits: BTreeMap<Whom, Hit>,
    /// Families of the violations that were seen.
    families: BTreeMap<ViolationId, String>,
    standing: BTreeMap<TenantId, Vec<Standing>>,
    is_anybodys: bool,
}

impl Course {
    /// The course of whatever is played in the engines that it goes on in. What is decided before `since` is not told.
    #[must_use]
    pub fn idle(since: Option<Timestamp>) -> Self {
        Self {
            engine: None,
            since,
            hits: BTreeMap::new(),
            families: BTreeMap::new(),
            standing: BTreeMap::new(),
            is_anybodys: false,
        }
    }

    /// Takes a frame.
    pub fn frame(&mut self, frame: &Frame<'_>) {
        // What is over by then stands in nobody's way.
        self.tick(frame.at);
        if !self.standing.is_empty() || !self.is_anybodys {
            self.weigh(frame);
        }
        self.engine.iter_mut().for_each(|engine| engine.handle_frame(frame));
        self.drain();
    }

    /// Lets time pass.
    pub fn tick(&mut self, at: Timestamp) {
        self.engine.iter_mut().for_each(|engine| engine.handle_tick(at));
        self.drain();
    }

    /// Takes anything else.
    pub fn handle(&mut self, input: Input) {
        if let Some(engine) = &mut self.engine {
            engine.handle(input);
        }
        self.drain();
    }

    /// Whether any packet was one of the tenants'.
    #[must_use]
    pub fn saw_anybody(&self) -> bool {
        self.is_anybodys
    }

    /// Goes on in another engine, as after a restart: who was hit stays, and so does what stands, if the engine was told.
    pub fn go_on_in(&mut self, engine: Engine) {
        self.engine = Some(engine);
        self.drain();
    }

    /// What it would hold, and what it knows of tenants; `None` before it has begun.
    pub(super) fn left(&self) -> Option<(DesiredState, Judged)> {
        let engine = self.engine.as_ref()?;
        Some((engine.desired().clone(), engine.standing().clone()))
    }

    /// Says what was really held back.
    pub(super) fn set_held(&mut self, held: BTreeMap<TenantId, Restrictions>) {
        if let Some(engine) = &mut self.engine {
            engine.set_held(held);
        }
    }

    /// Who was hit.
    pub(super) fn end(self) -> BTreeMap<Whom, Hit> {
        self.hits
    }

    /// Counts a packet that measures would have stood in the way of.
    fn weigh(&mut self, frame: &Frame<'_>) {
        let Ok(packet) = packet::parse(frame.link, frame.data, frame.wire_len) else { return };
        let Some(engine) = &self.engine else { return };
        let topology = engine.topology();
        let who = topology.attribute(frame.vantage, frame.passage, frame.owner, &packet);
        self.is_anybodys |= who.sender.is_some() || who.receiver.is_some();
        let Body::Ip(ip) = &packet.body else { return };
        let (target, bytes) = (ip.target(), frame.wire_len);
        let id = |ix: TenantIx| topology.tenant(ix).id.clone();
        let (sender, receiver) = (who.sender.map(id), who.receiver.map(id));
        if let Some(tenant) = sender {
            self.hold(&tenant, bytes, target, |one| one.restrictions.held(&target));
        }
        // Who is suspended is not reached either.
        if let Some(tenant) = receiver {
            let is_total =
                |one: &Standing| if one.restrictions.is_total() { Held::Blocked } else { Held::Free };
            self.hold(&tenant, bytes, target, is_total);
        }
    }

    /// A packet meets the harshest of the measures that stand, and is counted once.
    fn hold(&mut self, tenant: &TenantId, bytes: u32, target: Target, held: impl Fn(&Standing) -> Held) {
        let Some(all) = self.standing.get(tenant) else { return };
        let rank = |held: Held| match held {
            Held::Free => 0,
            Held::Limited => 1,
            Held::Blocked => 2,
        };
        let Some((held, one)) = all.iter().map(|one| (held(one), one)).max_by_key(|(held, _)| rank(*held))
        else {
            return;
        };
        if let Some(hit) = self.hits.get_mut(&(tenant.clone(), one.family.clone())) {
            hit.cut(held, target, bytes);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.as_mut().and_then(Engine::poll) {
            match output {
                Output::Violation(violation) => self.note(&violation),
                Output::Decision(decision) => self.decide(&decision),
                Output::Imposed(measure) => {
                    let Some(family) = self.family(&measure.decision) else { continue };
                    let restrictions = Restrictions::of(std::iter::once(&measure));
                    let standing = Standing { decision: measure.decision.id, family, restrictions };
                    self.standing.entry(measure.decision.tenant).or_default().push(standing);
                }
                Output::Lifted { measure, .. } => {
                    let decision = measure.decision;
                    if let Some(all) = self.standing.get_mut(&decision.tenant) {
                        all.retain(|one| one.decision != decision.id);
                        if all.is_empty() {
                            self.standing.remove(&decision.tenant);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn note(&mut self, violation: &Violation) {
        if violation.closed.is_some() {
            self.families.remove(&violation.id);
        } else if !self.families.contains_key(&violation.id) {
            self.families.insert(violation.id.clone(), violation.evidence.class.family().to_owned());
        }
    }

    /// What a decision of policy is for; `None` for what people ordered.
    fn family(&self, decision: &Decision) -> Option<String> {
        let Origin::Policy { rule, .. } = &decision.origin else { return None };
        let known = decision.violation.as_ref().and_then(|id| self.families.get(id)).cloned();
        known
            .or_else(|| decision.reckoning.as_ref().map(|one| one.class.family().to_owned()))
            .or_else(|| Some(rule.to_string()))
    }

    fn decide(&mut self, decision: &Decision) {
        if decision.action <= Action::Observe || self.since.is_some_and(|since| decision.at < since) {
            return;
        }
        let (Some(family), Some(step)) = (self.family(decision), Step::of(decision)) else { return };
        let whom = (decision.tenant.clone(), family);
        let hit = self.hits.entry(whom).or_insert_with(|| Hit::new(decision.at));
        hit.take(step, decision.violation.as_ref());
    }
}
