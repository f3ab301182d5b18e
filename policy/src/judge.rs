//! The judge: alerts in, violations and decisions out, by the policy and what is on record.
//!
//! **Episodes.** A violation is an episode of (tenant, rule), open until the rule has been quiet for its `quiet` time. One
//! episode is one strike, however many alerts it holds. The number of strikes within the rule's `memory` picks the step of
//! the ladder. Within an episode the next step is taken only while the abuse is still seen: [`Rule::AFTER_MEASURE`] after
//! a measure, `grace` after a step that was none.
//!
//! Steps are left out where the abuse is grave, comes again soon, or is that of somebody who is known for it ([`Rule::first_step`]); and
//! in the midst of an episode where it becomes grave.
//!
//! What is only observed is no strike.
//!
//! **Never harsher than told.** The mildest of the node's, the policy's, the rule's and the tenant's mode applies. Above 5 %
//! capture loss nothing harsher than a limit is decided on counted evidence; protected tenants are only told; protected destinations are taken
//! out of a block's scope; and only so many tenants are newly held ([`Occupancy`]). What was softened says why, and is tried
//! again when the abuse is seen again. So is everything while a person has paused the node ([`Pause`]).
//!
//! **Bounds.** At most [`Judge::CAPACITY`] pairs of tenant and rule are remembered; the one that has been quiet longest makes
//! room. At most [`MAX_STRIKES`] strikes and [`MAX_DECISIONS`] decisions an episode.
//!
//! **Exemptions.** What a tenant's exemption excuses is no violation ([`Excused`]); a violation names none of the targets that are excused.
//!
//! **Resellers.** What their customers do is answered on them; where a rule says so, it is also held against whoever is above them, when it comes from
//! several or again ([`Escalated`]).
//!
//! **Other nodes.** What they saw counts as if it had been seen here (`elsewhere`).
//!
//! Left out: telling nodes of each other (the controller's), and carrying decisions out.

mod brakes;
mod elsewhere;
mod episode;
mod excused;
mod family;
#[cfg(test)]
mod ladders;
#[cfg(test)]
mod properties;
mod reckon;
mod relay;
mod spare;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Loss, Metric};
use crate::class::Class;
use crate::decision::{Action, Decision, DecisionId, Origin, Scope};
use crate::language::{History, Policy, Rule, Step};
use crate::net::Target;
use crate::pause::Pause;
use crate::standing::StrikeElsewhere;
use crate::tenant::{Mode, Name, NodeId, Tenant, TenantId};
use crate::time::Timestamp;
use crate::violation::{Violation, ViolationId, ViolationState};
use brakes::Latch;
use brakes::Recent;
pub use brakes::{BRAKE, BrakesSet, Occupancy};
use episode::{Episode, Reach};
pub use excused::Excused;
use excused::Permitted;
pub use family::Escalated;
use family::Families;
use reckon::{Taken, reckon};
pub use relay::{Warning, accepted_by_check};
pub use spare::Spared;

/// The most strikes that are remembered for a tenant and rule; no ladder has more steps.
pub const MAX_STRIKES: usize = 64;
/// The most decisions of one episode; a block that follows a wandering flood needs some.
pub const MAX_DECISIONS: u32 = 64;

/// What the judge says.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// A violation opened, grew or closed.
    Violation(Violation),
    /// Something is to be done, or would be.
    Decision(Decision),
    /// Something was done that would break a rule, and is permitted in writing. Once an episode.
    Excused(Excused),
    /// The brakes are set: nobody else is newly held until a person releases them.
    Braked(BrakesSet),
}

/// What is on record: strikes and open episodes, by tenant and rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    #[serde(flatten)]
    records: BTreeMap<TenantId, BTreeMap<Name, Record>>,
    /// No tenant's key begins so; what was written before there were brakes to be released has none.
    #[serde(rename = "_brakes", default, skip_serializing_if = "Latch::is_default")]
    latch: Latch,
    /// Decisions of other nodes that hold tenants here too, and whom.
    #[serde(rename = "_followed", default, skip_serializing_if = "BTreeMap::is_empty")]
    followed: BTreeMap<DecisionId, TenantId>,
}

impl Standing {
    /// How many pairs of tenant and rule are on record.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.values().map(BTreeMap::len).sum()
    }

    /// Whether nothing is on record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Since when and why the brakes are set, if they are.
    #[must_use]
    pub fn brakes(&self) -> Option<&BrakesSet> {
        self.latch.set.as_ref()
    }

    fn get_mut(&mut self, tenant: &TenantId, rule: &Name) -> Option<&mut Record> {
        self.records.get_mut(tenant)?.get_mut(rule)
    }
}

/// What is on record of a tenant under a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    /// When each episode opened, oldest first.
    strikes: VecDeque<Timestamp>,
    episode: Option<Box<Episode>>,
    /// What was seen last that an exemption excuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permitted: Option<Permitted>,
    /// The mail server that it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server: Option<std::net::IpAddr>,
    /// What other nodes saw, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    elsewhere: Vec<StrikeElsewhere>,
    /// How many strikes counted with the last one here, where others were known of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u32>,
    /// When the episode elsewhere opened that one here was taken to belong to, and when that one here did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    joined: Option<(Timestamp, Timestamp)>,
}

/// Decides by one policy for one node.
#[derive(Debug)]
pub struct Judge {
    node: NodeId,
    node_mode: Mode,
    policy: Arc<Policy>,
    standing: Standing,
    pairs: usize,
    /// When open episodes are over if nothing more is seen.
    quiet_at: BTreeSet<(Timestamp, TenantId, Name)>,
    recent: Recent,
    paused: Option<Pause>,
    families: Families,
    escalated: VecDeque<Escalated>,
    judgements: VecDeque<Judgement>,
}

impl Judge {
    /// The most pairs of tenant and rule that are remembered.
    pub const CAPACITY: usize = 65_536;

    /// A judge without memory.
    #[must_use]
    pub fn new(node: NodeId, node_mode: Mode, policy: Arc<Policy>) -> Self {
        Self {
            node,
            node_mode,
            policy,
            standing: Standing::default(),
            pairs: 0,
            quiet_at: BTreeSet::new(),
            recent: Recent::default(),
            paused: None,
            families: Families::default(),
            escalated: VecDeque::new(),
            judgements: VecDeque::new(),
        }
    }

    /// Goes on from what is on record.
    pub fn restore(&mut self, standing: Standing) {
        self.pairs = standing.len();
        self.quiet_at.clear();
        for (tenant, rules) in &standing.records {
            for (rule, record) in rules {
                if let Some(episode) = &record.episode {
                    self.quiet_at.insert((episode.quiet_at, tenant.clone(), rule.clone()));
                }
            }
        }
        self.standing = standing;
    }

    /// What is on record.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Goes on by another policy. Open episodes of rules that it does not have end quietly in their time.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
    }

    /// Says how far the node may go from now on.
    pub fn set_node_mode(&mut self, mode: Mode) {
        self.node_mode = mode;
    }

    /// Says who has ended what policy does by itself, if anybody has.
    pub fn set_pause(&mut self, paused: Option<Pause>) {
        self.paused = paused;
    }

    /// A person has looked at those who are held, of whom there are so many: the brakes are released.
    pub fn handle_release_brakes(&mut self, held: usize) {
        self.standing.latch.release(held);
    }

    /// The next thing to say, oldest first.
    pub fn poll(&mut self) -> Option<Judgement> {
        self.judgements.pop_front()
    }

    /// Judges what a detector saw `tenant` do. `occupancy` says how many tenants are held. Whether it is to be told: not what is wholly
    /// excused by an exemption.
    pub fn handle_alert(&mut self, alert: &Alert, tenant: &Tenant, occupancy: Occupancy) -> bool {
        let policy = Arc::clone(&self.policy);
        let (left, by) = policy.excused(alert, tenant);
        if by.is_empty() {
            self.hold_against(&policy, alert, tenant, occupancy);
            return true;
        }
        if left.is_empty() {
            if let Some(rule) = policy.rule_against(alert) {
                self.excuse(rule, alert, &by);
            }
            return false;
        }
        let mut named = alert.clone();
        named.targets.retain(|seen| left.contains(&seen.target));
        self.hold_against(&policy, &named, tenant, occupancy);
        true
    }

    /// Takes an alert for what it is.
    fn hold_against(&mut self, policy: &Policy, alert: &Alert, tenant: &Tenant, occupancy: Occupancy) {
        if let Some(rule) = policy.rule_against(alert) {
            self.hold_by(policy, rule, alert, tenant, occupancy);
        }
    }

    /// The same by a rule.
    fn hold_by(
        &mut self,
        policy: &Policy,
        rule: &Rule,
        alert: &Alert,
        tenant: &Tenant,
        occupancy: Occupancy,
    ) {
        let quiet_at = alert.at + rule.quiet;
        let mode = self.mode(policy, rule, tenant);
        let record = self.record(&alert.tenant, &rule.id);
        // A suspicion is no strike. What confirms it later is one, as of when the episode was opened.
        let was_strike = record.episode.as_ref().is_some_and(|episode| episode.violation.strike > 0);
        let is_strike = !was_strike && !alert.is_suspicion;
        let mut history = History::default();
        let (mut strike, mut faded) = (0, 0);
        if is_strike {
            history.is_known_offender = tenant.known_offender.contains(&alert.class);
            (strike, faded, history.since_last) = record.strike(rule, alert.at, mode);
        }
        let node = &self.node.clone();
        let record = self.record(&alert.tenant, &rule.id);
        let episode = record.episode.get_or_insert_with(|| {
            Box::new(Episode::open(open_violation(node, rule, alert, strike), quiet_at))
        });
        if is_strike {
            episode.violation.strike = strike;
            episode.history = history;
            episode.faded = faded;
        }
        episode.see(alert);
        let violation = episode.violation.clone();
        self.judgements.push_back(Judgement::Violation(violation));
        if !alert.is_suspicion {
            self.decide(policy, rule, alert, tenant, occupancy);
        }
        if is_strike && mode == Mode::Enforce {
            self.escalate(rule, alert, tenant);
        }
        self.keep_open(policy, rule, tenant, quiet_at);
    }

    /// An episode is open until `quiet_at` at least, and while there is time to mend it: else what is seen next would be a strike of its
    /// own, and the next step would be taken before that time is over.
    fn keep_open(&mut self, policy: &Policy, rule: &Rule, tenant: &Tenant, quiet_at: Timestamp) {
        let Some(record) = self.standing.get_mut(&tenant.id, &rule.id) else { return };
        let Some(episode) = record.episode.as_mut() else { return };
        let promised = episode.promised(rule, &policy.calendar);
        let before = episode.quiet_at;
        episode.quiet_at = before.max(quiet_at).max(promised.unwrap_or(quiet_at));
        let after = episode.quiet_at;
        self.move_quiet(&tenant.id, &rule.id, before, after);
    }

    /// Whether somebody is to be asked before a suspicion of `class` is held against `tenant`: the policy says how, and what is found may
    /// be acted upon.
    #[must_use]
    pub fn may_ask(&self, class: Class, tenant: &Tenant) -> bool {
        let policy = &self.policy;
        let acts = |rule| self.mode(policy, rule, tenant) == Mode::Enforce;
        policy.relay_check.is_some() && self.paused.is_none() && policy.rule_for(class).is_some_and(acts)
    }

    /// What was suspected is not so: an episode that holds nothing but suspicions is closed, and says why.
    pub fn handle_refuted(&mut self, tenant: &TenantId, class: Class, at: Timestamp) {
        let policy = Arc::clone(&self.policy);
        for rule in policy.rules.iter().filter(|rule| rule.on.contains(&class)).map(|rule| &rule.id) {
            let Some(record) = self.standing.get_mut(tenant, rule) else { continue };
            let is_suspicion = |episode: &mut Box<Episode>| episode.violation.evidence.is_suspicion;
            if let Some(mut episode) = record.episode.take_if(is_suspicion) {
                let refused = Metric { name: "refused_by_check".into(), value: 1.0, threshold: None };
                episode.violation.evidence.metrics.push(refused);
                self.quiet_at.remove(&(episode.quiet_at, tenant.clone(), rule.clone()));
                self.judgements.push_back(Judgement::Violation(episode.close(at, ViolationState::Quiet)));
            }
        }
    }

    /// What was held against a tenant was none of its doing: the strikes of its open episodes, and of the violations `behind` the measures
    /// that hold it, are taken back.
    pub fn handle_forgive(&mut self, tenant: &TenantId, behind: &BTreeSet<ViolationId>) {
        let Some(rules) = self.standing.records.get_mut(tenant) else { return };
        for (rule, record) in rules {
            let open = record.episode.as_ref().map(|episode| episode.violation.id.clone());
            // A strike is known by when its violation opened, which is in the violation's key.
            let node = &self.node;
            record.forgive(|opened| {
                let violation = ViolationId::new(node, tenant, rule, opened);
                behind.contains(&violation) || open.as_ref() == Some(&violation)
            });
        }
    }

    /// A person takes strikes of a tenant back that were given until `before`, under one rule or under all, whichever node saw them. Its open
    /// episodes stay open.
    pub fn handle_pardon(&mut self, tenant: &TenantId, rule: Option<&Name>, before: Timestamp) {
        let Some(rules) = self.standing.records.get_mut(tenant) else { return };
        for (_, record) in rules.iter_mut().filter(|(known, _)| rule.is_none_or(|rule| rule == *known)) {
            record.forgive(|opened| opened <= before);
            record.elsewhere.retain(|strike| strike.opened > before);
        }
    }

    /// An operator lets a tenant go: its open episodes are closed. Strikes stay on record.
    pub fn handle_release(&mut self, tenant: &TenantId, at: Timestamp) {
        let Some(rules) = self.standing.records.get_mut(tenant) else { return };
        for (rule, record) in rules {
            if let Some(episode) = record.episode.take() {
                self.quiet_at.remove(&(episode.quiet_at, tenant.clone(), rule.clone()));
                self.judgements.push_back(Judgement::Violation(episode.close(at, ViolationState::Released)));
            }
        }
    }

    /// What policy did is undone: the violations behind it are closed if they are open, and their strikes taken back if
    /// `strikes` says so.
    pub fn handle_lift(
        &mut self,
        violations: &BTreeSet<(TenantId, ViolationId)>,
        strikes: bool,
        at: Timestamp,
    ) {
        for (tenant, violation) in violations {
            let Some(rules) = self.standing.records.get_mut(tenant) else { continue };
            for (rule, record) in rules {
                if strikes {
                    // A strike is known by when its violation opened, which is in the violation's key.
                    let node = &self.node;
                    record.forgive(|opened| ViolationId::new(node, tenant, rule, opened) == *violation);
                }
                if let Some(episode) = record.episode.take_if(|episode| episode.violation.id == *violation) {
                    self.quiet_at.remove(&(episode.quiet_at, tenant.clone(), rule.clone()));
                    self.judgements
                        .push_back(Judgement::Violation(episode.close(at, ViolationState::Released)));
                }
            }
        }
    }

    /// When [`Judge::handle_timeout`] next has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.quiet_at.first().map(|(at, ..)| *at)
    }

    /// Closes the episodes that have been quiet long enough at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((at, tenant, rule)) = self.quiet_at.pop_first() {
            if at > now {
                self.quiet_at.insert((at, tenant, rule));
                return;
            }
            let episode = self.standing.get_mut(&tenant, &rule).and_then(|record| record.episode.take());
            if let Some(episode) = episode {
                self.judgements.push_back(Judgement::Violation(episode.close(at, ViolationState::Quiet)));
            }
        }
    }

    /// The mildest of all that have a say.
    fn mode(&self, policy: &Policy, rule: &Rule, tenant: &Tenant) -> Mode {
        let all = [Some(self.node_mode), Some(policy.mode), rule.mode, tenant.mode];
        all.into_iter().flatten().min().unwrap_or_default()
    }

    /// Takes the step that is due, if one is.
    fn decide(&mut self, policy: &Policy, rule: &Rule, alert: &Alert, tenant: &Tenant, occupancy: Occupancy) {
        let mode = self.mode(policy, rule, tenant);
        let record = self.standing.records.get_mut(&alert.tenant).and_then(|rules| rules.get_mut(&rule.id));
        let Some(episode) = record.and_then(|record| record.episode.as_deref_mut()) else { return };
        let Some((index, cause)) = episode.step_due(rule, &policy.calendar, alert, mode) else { return };
        let step = &rule.ladder[index];
        let targets: Vec<Target> = alert.targets.iter().map(|seen| seen.target).collect();
        let spared = policy.spare(step.scope.resolve(&targets, &policy.thresholds.endpoints));
        let (is_empty, taken_out) = (spared.is_empty(), spared.taken.len());
        let scope = spared.scope;
        let is_real = step.action.is_measure() && mode == Mode::Enforce;
        let mut softened =
            if step.action.is_measure() { soften(policy, alert, tenant, step, is_empty) } else { None };
        if is_real && softened.is_none() {
            let paused = self.paused.as_ref().map(Pause::to_string);
            let was_set = self.standing.latch.set.is_some();
            let latch = &mut self.standing.latch;
            softened = paused.or_else(|| self.recent.brake(latch, &policy.brakes, occupancy, alert.at));
            if let Some(set) = latch.set.clone().filter(|_| !was_set) {
                self.judgements.push_back(Judgement::Braked(set));
            }
        }
        // The same notice again and again would help nobody.
        if softened.is_some() && episode.was_softened && !episode.is_beyond(index) {
            return;
        }
        if is_real && softened.is_none() {
            self.recent.held(occupancy, alert.at);
        }
        let taken = Taken {
            policy,
            rule,
            alert,
            tenant,
            node_mode: self.node_mode,
            index,
            cause,
            is_softened: softened.is_some(),
            spared: taken_out,
        };
        let reckoning = Some(Box::new(reckon(taken, episode)));
        episode.decisions += 1;
        let decision = Decision {
            id: DecisionId(decision_name(&episode.violation.id, episode.decisions)),
            tenant: alert.tenant.clone(),
            violation: Some(episode.violation.id.clone()),
            clause: rule.clause.clone(),
            origin: Origin::Policy {
                policy: policy.name.clone(),
                version: policy.version,
                rule: rule.id.clone(),
                step: u32::try_from(index + 1).expect("at most 16 steps"),
            },
            action: if softened.is_some() { Action::Notify } else { step.action },
            scope,
            rate: step.rate.filter(|_| softened.is_none()),
            connections: step.connections.filter(|_| softened.is_none()),
            until: step.until.settled(alert.at),
            at: alert.at,
            mode,
            reason: alert.summary(),
            softened,
            reckoning,
        };
        let is_aimless = is_empty && step.scope.is_by_target();
        episode.took(index, &decision, reach(&decision.scope), is_aimless);
        self.judgements.push_back(Judgement::Decision(decision));
        self.keep_for_check(policy, &alert.tenant, rule);
    }

    /// The record of a pair, making room for a new one if need be.
    fn record(&mut self, tenant: &TenantId, rule: &Name) -> &mut Record {
        let is_known = self.standing.records.get(tenant).is_some_and(|rules| rules.contains_key(rule));
        if !is_known {
            if self.pairs >= Self::CAPACITY {
                self.forget_oldest();
            }
            self.pairs += 1;
        }
        self.standing.records.entry(tenant.clone()).or_default().entry(rule.clone()).or_default()
    }

    /// Forgets the pair whose last strike is oldest, those with an open episode last.
    fn forget_oldest(&mut self) {
        let all = self.standing.records.iter().flat_map(|(tenant, rules)| {
            rules.iter().map(move |(rule, record)| {
                ((record.episode.is_some(), record.strikes.back().copied()), tenant, rule)
            })
        });
        let Some((_, tenant, rule)) = all.min() else { return };
        let (tenant, rule) = (tenant.clone(), rule.clone());
        if let Some(rules) = self.standing.records.get_mut(&tenant) {
            if let Some(episode) = rules.remove(&rule).and_then(|record| record.episode) {
                self.quiet_at.remove(&(episode.quiet_at, tenant.clone(), rule));
            }
            self.pairs -= 1;
            if rules.is_empty() {
                self.standing.records.remove(&tenant);
            }
        }
    }
}

fn open_violation(node: &NodeId, rule: &Rule, alert: &Alert, strike: u32) -> Violation {
    Violation {
        id: ViolationId::new(node, &alert.tenant, &rule.id, alert.at),
        node: node.clone(),
        tenant: alert.tenant.clone(),
        rule: rule.id.clone(),
        clause: rule.clause.clone(),
        opened: alert.at,
        last_seen: alert.at,
        closed: None,
        state: ViolationState::Open,
        strike,
        alerts: 0,
        evidence: alert.clone(),
    }
}

fn decision_name(violation: &ViolationId, number: u32) -> Name {
    format!("{violation}.{number}").parse().expect("a violation's key, a dot and a number are a name")
}

/// Why a measure is not to be, if it is not.
fn soften(policy: &Policy, alert: &Alert, tenant: &Tenant, step: &Step, is_empty: bool) -> Option<String> {
    if policy.protects(tenant) {
        return Some("the tenant is protected".to_owned());
    }
    let is_harsh = step.action > Action::Limit;
    if is_harsh && alert.class.counts_distinct() && alert.loss.share() > Loss::HONEST_SHARE {
        let percent = alert.loss.share() * 100.0;
        return Some(format!("{percent:.0} % of the frames were lost, too many to count targets by"));
    }
    match (step.scope.is_by_target() && is_empty, alert.targets.is_empty()) {
        (true, true) => Some("no single destination stands out".to_owned()),
        (true, false) => Some("every destination is protected".to_owned()),
        _ => None,
    }
}

/// What a scope reaches, to be compared with what is seen later.
fn reach(scope: &Scope) -> Reach {
    match scope {
        Scope::All | Scope::Port { .. } | Scope::Forged => Reach::Whole,
        Scope::Endpoint { name, .. } => Reach::Endpoints(BTreeSet::from([name.clone()])),
        Scope::Destinations { addresses } => Reach::Addresses(addresses.iter().copied().collect()),
        Scope::DestinationPorts { targets } => Reach::Targets(targets.iter().copied().collect()),
    }
}
