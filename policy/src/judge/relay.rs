//! Open relays: what of a tenant is to be looked at again, since a check can tell whether it was mended.
//!
//! A rule on nothing but `smtp_relay` can be checked ([`Rule::is_checkable`]). Where the policy has somebody asked (`[relay_check]`), a warning
//! of such a rule keeps its episode open until its deadline, and [`ANSWER`] beyond it for the answer to come: what is asked then decides
//! whether the next step is taken. When what the engine asked was refused, the episode is over. Strikes stay: it was an open relay.

use std::net::IpAddr;
use std::time::Duration;

use super::{Judge, Judgement};
use crate::alert::{Alert, Metric, Window};
use crate::language::Policy;
use crate::tenant::{Mode, Name, Tenant, TenantId};
use crate::time::Timestamp;
use crate::violation::{ViolationId, ViolationState};

/// So long after its deadline a warning waits for an answer: it may be put off once, or wait behind others.
const ANSWER: Duration = Duration::from_secs(1_800);

/// A warning that runs: what is to be mended, and by when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// When it was given.
    pub at: Timestamp,
    /// When the next step may be taken.
    pub deadline: Timestamp,
}

impl Judge {
    /// Whether a tenant's mail server may be asked again whether it was mended: the policy says how, nobody has paused, and what is found may
    /// be acted upon.
    #[must_use]
    pub fn may_check(&self, tenant: &Tenant) -> bool {
        let policy = &self.policy;
        let modes = [Some(self.node_mode), Some(policy.mode), tenant.mode];
        let acts = modes.into_iter().flatten().min() == Some(Mode::Enforce);
        policy.relay_check.is_some() && self.paused.is_none() && acts
    }

    /// How often what stands against an open relay is checked; `None` where nobody is asked.
    #[must_use]
    pub fn recheck(&self) -> Option<Duration> {
        self.policy.relay_check.as_ref().map(|check| check.recheck)
    }

    /// Whether a rule of the policy can be checked.
    #[must_use]
    pub fn is_checkable(&self, rule: &Name) -> bool {
        self.policy.rules.iter().any(|known| known.id == *rule && known.is_checkable())
    }

    /// The warning that runs against a tenant under a rule that can be checked, and the next step of which can be taken.
    #[must_use]
    pub fn relay_warning(&self, tenant: &TenantId) -> Option<Warning> {
        let rules = self.standing.records.get(tenant)?;
        self.policy.rules.iter().filter(|rule| rule.is_checkable()).find_map(|rule| {
            let episode = rules.get(&rule.id)?.episode.as_deref()?;
            episode.warning(rule, &self.policy.calendar)
        })
    }

    /// The tenants with an open episode under a rule that can be checked.
    #[must_use]
    pub fn relaying(&self) -> Vec<TenantId> {
        let is_relaying =
            |(rule, record): (&Name, &super::Record)| record.episode.is_some() && self.is_checkable(rule);
        let records = self.standing.records.iter();
        records.filter(|(_, rules)| rules.iter().any(is_relaying)).map(|(tenant, _)| tenant.clone()).collect()
    }

    /// Takes note of which server of a tenant's is meant, so that it can be asked after a restart as well.
    pub fn note_server(&mut self, tenant: &TenantId, server: IpAddr) {
        let Self { policy, standing, .. } = self;
        for rule in policy.rules.iter().filter(|rule| rule.is_checkable()) {
            if let Some(record) = standing.get_mut(tenant, &rule.id) {
                record.server = Some(server);
            }
        }
    }

    /// The server that was noted last.
    #[must_use]
    pub fn server(&self, tenant: &TenantId) -> Option<IpAddr> {
        self.standing.records.get(tenant)?.values().find_map(|record| record.server)
    }

    /// The evidence against a tenant that was warned, as of `at`, when a check has found that nothing was mended.
    #[must_use]
    pub fn still_open(&self, tenant: &TenantId, at: Timestamp) -> Option<Alert> {
        let rules = self.standing.records.get(tenant)?;
        let episode = self.policy.rules.iter().filter(|rule| rule.is_checkable()).find_map(|rule| {
            let episode = rules.get(&rule.id)?.episode.as_deref()?;
            episode.warning(rule, &self.policy.calendar).map(|_| episode)
        })?;
        Some(accepted_by_check(&episode.violation.evidence, at))
    }

    /// A check has found mended what a tenant's open episodes of rules that can be checked are about: they are over, but for those behind
    /// measures that somebody is to end (`held`).
    pub fn handle_mended(&mut self, tenant: &TenantId, held: &[ViolationId], at: Timestamp) {
        let policy = std::sync::Arc::clone(&self.policy);
        for rule in policy.rules.iter().filter(|rule| rule.is_checkable()).map(|rule| &rule.id) {
            let Some(record) = self.standing.get_mut(tenant, rule) else { continue };
            let is_over = |episode: &mut Box<super::Episode>| {
                !episode.violation.evidence.is_suspicion && !held.contains(&episode.violation.id)
            };
            if let Some(mut episode) = record.episode.take_if(is_over) {
                let refused = Metric { name: "refused_by_check".into(), value: 1.0, threshold: None };
                episode.violation.evidence.metrics.push(refused);
                self.quiet_at.remove(&(episode.quiet_at, tenant.clone(), rule.clone()));
                self.judgements.push_back(Judgement::Violation(episode.close(at, ViolationState::Quiet)));
            }
        }
    }

    /// Keeps the episode open for as long as its warning runs, since nothing more may be seen until then.
    pub(super) fn keep_for_check(
        &mut self,
        policy: &Policy,
        tenant: &TenantId,
        rule: &crate::language::Rule,
    ) {
        if policy.relay_check.is_none() || !rule.is_checkable() {
            return;
        }
        let record = self.standing.get_mut(tenant, &rule.id);
        let Some(episode) = record.and_then(|record| record.episode.as_deref_mut()) else { return };
        let Some(warning) = episode.warning(rule, &policy.calendar) else { return };
        let (before, until) = (episode.quiet_at, episode.quiet_at.max(warning.deadline + ANSWER));
        episode.quiet_at = until;
        self.quiet_at.remove(&(before, tenant.clone(), rule.id.clone()));
        self.quiet_at.insert((until, tenant.clone(), rule.id.clone()));
    }
}

/// The same evidence, now that a check has borne it out.
#[must_use]
pub fn accepted_by_check(evidence: &Alert, at: Timestamp) -> Alert {
    let mut alert = evidence.clone();
    alert.metrics.retain(|metric| metric.name != "accepted_by_check");
    let accepted = Metric { name: "accepted_by_check".into(), value: 1.0, threshold: Some(1.0) };
    alert.metrics.insert(0, accepted);
    alert.window = Window { start: alert.window.start, end: at };
    (alert.at, alert.is_suspicion, alert.confidence_percent) = (at, false, 99);
    alert
}
