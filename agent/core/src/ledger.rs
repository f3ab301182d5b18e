//! The ledger: decisions in force, as the one value that the kernel is to hold.
//!
//! It keeps the time of each measure itself (the kernel says nothing when an element expires), so what stands is known
//! without asking. Versions only move forward.

use std::collections::BTreeMap;

use reeve_policy::{
    Decision, DecisionId, DesiredState, Lift, LiftReason, Measure, Mode, Origin, TenantId, Timestamp, Until,
};

use crate::flow::Restrictions;

/// Something that changed in the desired state.
#[derive(Clone, Debug, PartialEq)]
pub enum LedgerEvent {
    /// A measure is to stand from now on.
    Imposed(Measure),
    /// A measure is to stand no more.
    Lifted(Measure, LiftReason),
}

/// Decisions in force on this node.
#[derive(Debug, Default)]
pub struct Ledger {
    state: DesiredState,
    refused: u64,
}

impl Ledger {
    /// The most measures that a node holds at once. Beyond it new ones are refused and counted.
    pub const CAPACITY: usize = 65_536;

    /// A ledger that goes on from `state`, as a restarted agent does.
    #[must_use]
    pub fn restore(state: DesiredState) -> Self {
        Self { state, refused: 0 }
    }

    /// What the kernel is to hold.
    #[must_use]
    pub fn desired(&self) -> &DesiredState {
        &self.state
    }

    /// How many decisions found the ledger full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Enters a decision. One that is only observed, that is no measure or that is known already changes nothing.
    pub fn handle_decision(&mut self, decision: &Decision) -> Option<LedgerEvent> {
        if decision.mode != Mode::Enforce
            || !decision.action.is_measure()
            || self.state.measures.contains_key(&decision.id)
        {
            return None;
        }
        if self.state.measures.len() >= Self::CAPACITY {
            self.refused += 1;
            return None;
        }
        // What it was reckoned from stays with the decision as it is told; ten thousand measures need not carry it.
        let decision = Decision { reckoning: None, ..decision.clone() };
        let expires = decision.until.expiry(decision.at);
        let measure = Measure { decision: decision.clone(), expires };
        self.state.measures.insert(decision.id.clone(), measure.clone());
        self.state.version += 1;
        Some(LedgerEvent::Imposed(measure))
    }

    /// Lifts every measure of a tenant, but for an operator's until an invoice is paid.
    pub fn lift(&mut self, tenant: &TenantId, reason: LiftReason) -> Vec<LedgerEvent> {
        self.lift_where(reason, |measure| {
            measure.decision.tenant == *tenant && !measure.decision.is_billing()
        })
    }

    /// Lifts what was decided and `is_meant`.
    pub fn lift_meant(&mut self, is_meant: impl Fn(&Decision) -> bool) -> Vec<LedgerEvent> {
        self.lift_where(LiftReason::Released, |measure| is_meant(&measure.decision))
    }

    /// Lifts what holds a tenant until an invoice is paid.
    pub fn lift_paid(&mut self, tenant: &TenantId) -> Vec<LedgerEvent> {
        self.lift_where(LiftReason::Released, |measure| {
            measure.decision.tenant == *tenant && measure.decision.until == Until::Paid
        })
    }

    /// Lifts every measure of a tenant for which `stays` is false.
    pub fn lift_departed(&mut self, stays: impl Fn(&TenantId) -> bool) -> Vec<LedgerEvent> {
        self.lift_where(LiftReason::Departed, |measure| !stays(&measure.decision.tenant))
    }

    /// Lifts what policy did to tenants that have moved to other nodes, where it holds them.
    pub fn lift_moved(&mut self, has_moved: impl Fn(&TenantId) -> bool) -> Vec<LedgerEvent> {
        let by_policy = |decision: &Decision| matches!(decision.origin, Origin::Policy { .. });
        self.lift_where(LiftReason::Departed, |measure| {
            by_policy(&measure.decision) && has_moved(&measure.decision.tenant)
        })
    }

    /// Lifts what holds a tenant by decisions of other nodes that are no more.
    pub fn lift_decisions(&mut self, over: &[DecisionId]) -> Vec<LedgerEvent> {
        self.lift_where(LiftReason::Released, |measure| over.contains(&measure.decision.id))
    }

    /// Lifts the measures that policy made and a person takes back.
    pub fn lift_policy(&mut self, lift: &Lift) -> Vec<LedgerEvent> {
        self.lift_where(LiftReason::Released, |measure| lift.takes(&measure.decision))
    }

    /// Lifts what holds a tenant until a check finds it mended, since one did.
    pub fn lift_verified(&mut self, tenant: &TenantId) -> Vec<LedgerEvent> {
        let is_mended = |decision: &Decision| decision.tenant == *tenant && decision.until == Until::Verified;
        self.lift_where(LiftReason::Verified, |measure| is_mended(&measure.decision))
    }

    /// When the next measure ends by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.state.measures.values().filter_map(|measure| measure.expires).min()
    }

    /// Ends what is over at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Vec<LedgerEvent> {
        self.lift_where(LiftReason::Expired, |measure| measure.expires.is_some_and(|end| end <= now))
    }

    /// What the measures of each tenant hold back.
    #[must_use]
    pub fn restrictions(&self) -> BTreeMap<&TenantId, Restrictions> {
        let mut by_tenant: BTreeMap<&TenantId, Vec<&Measure>> = BTreeMap::new();
        for measure in self.state.measures.values() {
            by_tenant.entry(&measure.decision.tenant).or_default().push(measure);
        }
        by_tenant
            .into_iter()
            .map(|(tenant, measures)| (tenant, Restrictions::of(measures.into_iter())))
            .collect()
    }

    fn lift_where(&mut self, reason: LiftReason, goes: impl Fn(&Measure) -> bool) -> Vec<LedgerEvent> {
        let gone: Vec<DecisionId> = self
            .state
            .measures
            .iter()
            .filter(|(_, measure)| goes(measure))
            .map(|(id, _)| id.clone())
            .collect();
        if !gone.is_empty() {
            self.state.version += 1;
        }
        gone.iter()
            .filter_map(|id| self.state.measures.remove(id))
            .map(|measure| LedgerEvent::Lifted(measure, reason))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reeve_policy::{Action, PolicyVersion, Scope};

    use super::*;

    fn decision(id: &str, tenant: &str, action: Action, until: Until, mode: Mode) -> Decision {
        Decision {
            id: DecisionId(id.parse().unwrap()),
            tenant: tenant.parse().unwrap(),
            violation: None,
            clause: String::new(),
            origin: Origin::Operator { name: "oncall".into() },
            action,
            scope: Scope::All,
            rate: None,
            until,
            at: Timestamp::from_secs(100),
            mode,
            reason: String::new(),
            connections: None,
            softened: None,
            reckoning: None,
        }
    }

    const HOUR: Until = Until::After(Duration::from_secs(3_600));

    #[test]
    fn measures_stand_until_their_time_or_a_release() {
        let mut ledger = Ledger::default();
        let first = decision("a.1", "a", Action::Suspend, Until::Released, Mode::Enforce);
        assert!(matches!(ledger.handle_decision(&first), Some(LedgerEvent::Imposed(_))));
        assert_eq!(ledger.handle_decision(&first), None, "known");
        assert!(ledger.handle_decision(&decision("b.1", "b", Action::Block, HOUR, Mode::Enforce)).is_some());
        assert_eq!(ledger.next_deadline(), Some(Timestamp::from_secs(3_700)));
        assert!(ledger.handle_timeout(Timestamp::from_secs(3_699)).is_empty());
        let lifted = ledger.handle_timeout(Timestamp::from_secs(3_700));
        assert!(matches!(lifted.as_slice(), [LedgerEvent::Lifted(_, LiftReason::Expired)]));
        assert_eq!(ledger.lift(&"a".parse().unwrap(), LiftReason::Released).len(), 1);
        assert!(ledger.desired().measures.is_empty());
        assert_eq!(ledger.desired().version, 4);
    }

    #[test]
    fn what_is_only_observed_or_told_changes_nothing() {
        let mut ledger = Ledger::default();
        for (action, mode) in [
            (Action::Suspend, Mode::Observe),
            (Action::Notify, Mode::Enforce),
            (Action::Observe, Mode::Enforce),
        ] {
            assert_eq!(ledger.handle_decision(&decision("a.1", "a", action, HOUR, mode)), None);
        }
        assert_eq!(ledger.desired(), &DesiredState::default());
    }

    #[test]
    fn what_a_policy_did_is_taken_back_and_what_people_did_stays() {
        let mut ledger = Ledger::default();
        let by = |id: &str, version, secs| Decision {
            origin: Origin::Policy {
                policy: "p".parse().unwrap(),
                version,
                rule: "r".parse().unwrap(),
                step: 1,
            },
            at: Timestamp::from_secs(secs),
            ..decision(id, "a", Action::Suspend, HOUR, Mode::Enforce)
        };
        let operators = decision("op", "a", Action::Suspend, HOUR, Mode::Enforce);
        for decision in [by("early", 2, 99), by("other", 1, 100), by("it", 2, 100), operators] {
            ledger.handle_decision(&decision).unwrap();
        }
        let policy = PolicyVersion { name: "p".parse().unwrap(), version: 2 };
        let lift = Lift::of(policy, Timestamp::from_secs(100));
        let lifted = ledger.lift_policy(&lift);
        assert!(
            matches!(lifted.as_slice(), [LedgerEvent::Lifted(measure, LiftReason::Released)] if measure.decision.id.0.as_str() == "it")
        );
        assert!(ledger.lift_policy(&lift).is_empty(), "once");
        assert_eq!(ledger.lift_policy(&Lift::ALL).len(), 2);
        let left: Vec<_> = ledger.desired().measures.keys().map(ToString::to_string).collect();
        assert_eq!(left, ["op"]);
    }

    #[test]
    fn what_a_check_ends_is_what_waits_for_one() {
        let mut ledger = Ledger::default();
        for (id, tenant, until) in [
            ("a.1", "a", Until::Verified),
            ("a.2", "a", Until::Released),
            ("a.3", "a", HOUR),
            ("b.1", "b", Until::Verified),
        ] {
            ledger.handle_decision(&decision(id, tenant, Action::Block, until, Mode::Enforce)).unwrap();
        }
        let lifted = ledger.lift_verified(&"a".parse().unwrap());
        assert!(
            matches!(lifted.as_slice(), [LedgerEvent::Lifted(measure, LiftReason::Verified)] if measure.decision.id.0.as_str() == "a.1")
        );
        assert_eq!(ledger.desired().measures.len(), 3);
    }

    #[test]
    fn what_is_held_until_paid_and_what_is_held_for_abuse_end_each_for_itself() {
        let tenant = "a".parse().unwrap();
        let both = || {
            let mut ledger = Ledger::default();
            for (id, until) in [("abuse", Until::Released), ("billing", Until::Paid)] {
                ledger.handle_decision(&decision(id, "a", Action::Suspend, until, Mode::Enforce)).unwrap();
            }
            ledger
                .handle_decision(&decision("other", "b", Action::Suspend, Until::Paid, Mode::Enforce))
                .unwrap();
            ledger
        };
        let left =
            |ledger: &Ledger| ledger.desired().measures.keys().map(ToString::to_string).collect::<Vec<_>>();
        let mut released = both();
        assert_eq!(released.lift(&tenant, LiftReason::Released).len(), 1);
        assert_eq!(left(&released), ["billing", "other"]);
        let mut paid = both();
        assert_eq!(paid.lift_paid(&tenant).len(), 1);
        assert_eq!(left(&paid), ["abuse", "other"]);
        assert_eq!(paid.lift(&tenant, LiftReason::Released).len(), 1);
        // A policy's own step until paid is a person's to release as well.
        let step = Decision {
            origin: Origin::Policy { policy: tenant.clone(), version: 1, rule: tenant.clone(), step: 1 },
            ..decision("step", "a", Action::Suspend, Until::Paid, Mode::Enforce)
        };
        released.handle_decision(&step).unwrap();
        assert_eq!(released.lift(&tenant, LiftReason::Released).len(), 1);
    }

    #[test]
    fn measures_of_departed_tenants_go() {
        let mut ledger = Ledger::default();
        ledger.handle_decision(&decision("a.1", "a", Action::Suspend, HOUR, Mode::Enforce));
        ledger.handle_decision(&decision("b.1", "b", Action::Suspend, HOUR, Mode::Enforce));
        let gone = ledger.lift_departed(|tenant| tenant.as_str() == "a");
        assert!(matches!(gone.as_slice(), [LedgerEvent::Lifted(_, LiftReason::Departed)]));
        assert!(ledger.restrictions().values().all(|held| !held.is_empty()));
    }

    /// How much measures hold a target back, by one number.
    fn rank(held: crate::flow::Held) -> u8 {
        match held {
            crate::flow::Held::Free => 0,
            crate::flow::Held::Limited => 1,
            crate::flow::Held::Blocked => 2,
        }
    }

    /// What each measure alone does to each target: a port and host that several name, the host, the port, and neither.
    #[test]
    fn whatever_stands_together_the_strongest_counts_for_each_target_and_lifting_it_leaves_the_next() {
        use reeve_policy::{Protocol, Target};
        let mail = Scope::Port { protocol: Protocol::Tcp, port: 25 };
        let host = Scope::Destinations { addresses: vec![[20, 0, 0, 1].into()] };
        let alone = [
            (Action::Limit, Scope::All, [1, 1, 1, 1]),
            (Action::Limit, mail.clone(), [1, 0, 1, 0]),
            (Action::Block, mail, [2, 0, 2, 0]),
            (Action::Limit, host.clone(), [1, 1, 0, 0]),
            (Action::Block, host, [2, 2, 0, 0]),
            (Action::Suspend, Scope::All, [2, 2, 2, 2]),
        ];
        let target = |host: u8, port| Target {
            address: [20, 0, 0, host].into(),
            protocol: Protocol::Tcp,
            port: Some(port),
        };
        let targets = [target(1, 25), target(1, 80), target(9, 25), target(9, 80)];
        let tenant: TenantId = "a".parse().unwrap();
        let effect = |ledger: &Ledger| {
            let all = ledger.restrictions();
            targets.map(|target| all.get(&tenant).map_or(0, |held| rank(held.held(&target))))
        };
        let expected = |standing: &[usize]| {
            let mut most = [0; 4];
            for place in standing {
                most = std::array::from_fn(|target| most[target].max(alone[*place].2[target]));
            }
            most
        };
        for chosen in 0_u32..1 << alone.len() {
            let mut standing: Vec<usize> =
                (0..alone.len()).filter(|place| chosen >> place & 1 == 1).collect();
            for is_reversed in [false, true] {
                let mut ledger = Ledger::default();
                if is_reversed {
                    standing.reverse();
                }
                for place in &standing {
                    let (action, scope, _) = &alone[*place];
                    let made = decision(&format!("d.{place}"), "a", *action, Until::Released, Mode::Enforce);
                    assert!(ledger.handle_decision(&Decision { scope: scope.clone(), ..made }).is_some());
                }
                let mut left = standing.clone();
                // All of them are on record, however many reach the same traffic.
                while !left.is_empty() {
                    assert_eq!(ledger.desired().measures.len(), left.len());
                    assert_eq!(effect(&ledger), expected(&left), "{left:?}");
                    let (at, place) =
                        left.iter().copied().enumerate().max_by_key(|(_, place)| alone[*place].0).unwrap();
                    let id = DecisionId(format!("d.{place}").parse().unwrap());
                    assert_eq!(ledger.lift_decisions(&[id]).len(), 1);
                    left.remove(at);
                }
                assert_eq!(effect(&ledger), [0; 4]);
            }
        }
    }
}
