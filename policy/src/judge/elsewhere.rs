//! What other nodes saw of a tenant, as the controller told it: it counts as if it had been seen here.
//!
//! An episode that other nodes saw is one strike. The first one here while it is open there belongs to it and is none of its own: a tenant that is moved in the
//! midst of it, or seen by two nodes, has done it once. Another one here, after it was quiet, is a strike: nobody keeps one open there to be free here. **Counting**: each strike says which one it was, by what was on record where it was
//! given; so of all that are known only as many count as the last of them says, and what faded there has faded here. What a node did not
//! know of then is left out: never harsher than what is known for certain.

use std::time::Duration;

use super::{Judge, MAX_STRIKES, Record};
use crate::decision::{Action, Decision, DecisionId, Origin, Scope};
use crate::language::Rule;
use crate::language::conditions::Escalation;
use crate::standing::{StrikeElsewhere, TenantStanding};
use crate::tenant::{Mode, Name, Tenant, TenantId};
use crate::time::Timestamp;

impl Record {
    /// Takes a strike at `at` of an episode that is open here since `at` or longer: which one it is, how many of those before it ceased to count with
    /// it, and how long the one before it was ago. What is only observed is told as the strike that it would have been, and is none.
    pub(super) fn strike(&mut self, rule: &Rule, at: Timestamp, mode: Mode) -> (u32, u32, Option<Duration>) {
        let opened = self.episode.as_ref().map_or(at, |episode| episode.violation.opened);
        let mut counted = self.counted();
        if let Some(there) = self.elsewhere_at(opened).cloned() {
            self.joined = Some((there.opened, opened));
            let before = counted.iter().rev().find(|strike| **strike < there.opened);
            let number = there.number.clamp(1, count(MAX_STRIKES));
            return (number, 0, before.map(|last| there.opened.since(*last)));
        }
        let before = counted.len();
        let horizon = at.minus(rule.memory);
        counted.retain(|strike| *strike >= horizon);
        let last = counted.last().copied();
        let left = rule.after_decay(counted.len(), last, at);
        counted.drain(..counted.len() - left);
        let faded = count(before - left);
        self.strikes.retain(|strike| counted.contains(strike));
        if self.strikes.len() == MAX_STRIKES {
            self.strikes.pop_front();
        }
        let strike = count(counted.len().min(MAX_STRIKES - 1) + 1);
        if mode == Mode::Enforce {
            self.strikes.push_back(opened);
            self.number = Some(strike).filter(|_| !self.elsewhere.is_empty());
        }
        (strike, faded, last.map(|last| at.since(last)))
    }

    /// The strikes that count after the last one, oldest first.
    pub(super) fn counted(&self) -> Vec<Timestamp> {
        if self.elsewhere.is_empty() {
            return self.strikes.iter().copied().collect();
        }
        let own = self.strikes.iter().filter(|strike| self.elsewhere_at(**strike).is_none());
        let own_number = self.number.unwrap_or(count(self.strikes.len()));
        let mut all: Vec<(Timestamp, u32)> = own.map(|strike| (*strike, own_number)).collect();
        all.extend(self.elsewhere.iter().map(|strike| (strike.opened, strike.number)));
        all.sort_unstable();
        let counts = all.last().map_or(0, |(_, number)| *number as usize);
        all.iter().skip(all.len().saturating_sub(counts)).map(|(opened, _)| *opened).collect()
    }

    /// The episode elsewhere that one here belongs to which opened at `opened`: of those that opened while it was open, the first.
    fn elsewhere_at(&self, opened: Timestamp) -> Option<&StrikeElsewhere> {
        let there = self.elsewhere.iter().rev().find(|strike| strike.covers(opened))?;
        let is_later = self.joined.is_some_and(|(joined, first)| joined == there.opened && opened > first);
        (!is_later).then_some(there)
    }

    /// Takes strikes back.
    pub(super) fn forgive(&mut self, is_forgiven: impl Fn(Timestamp) -> bool) {
        let before = self.strikes.len();
        self.strikes.retain(|opened| !is_forgiven(*opened));
        let taken = count(before - self.strikes.len());
        self.number = self.number.map(|number| number.saturating_sub(taken));
    }
}

impl Judge {
    /// Takes what other nodes saw of a tenant, in place of what was told of it before.
    pub fn handle_standing(&mut self, told: &TenantStanding) {
        if let Some(rules) = self.standing.records.get_mut(&told.tenant) {
            rules.values_mut().for_each(|record| record.elsewhere.clear());
        }
        for strike in &told.strikes {
            let record = self.record(&told.tenant, &strike.rule);
            // What was seen here and forgotten elsewhere, as by a controller that was made anew, is not counted twice.
            let is_own = record.strikes.contains(&strike.opened);
            if !is_own && record.elsewhere.len() < MAX_STRIKES {
                record.elsewhere.push(strike.clone());
            }
        }
        if let Some(rules) = self.standing.records.get_mut(&told.tenant) {
            rules.values_mut().for_each(|record| record.elsewhere.sort_by_key(|strike| strike.opened));
        }
    }

    /// Whether a decision that another node made by policy is to hold the tenant here too: not where this node would have done nothing, nor by a rule
    /// that its policy does not have.
    #[must_use]
    pub fn may_follow(&self, decision: &Decision, tenant: &Tenant) -> bool {
        let Origin::Policy { rule, .. } = &decision.origin else { return false };
        let Some(rule) = self.policy.rules.iter().find(|known| known.id == base(rule)) else { return false };
        let modes = [Some(self.node_mode), Some(self.policy.mode), rule.mode, tenant.mode];
        let acts = modes.into_iter().flatten().all(|mode| mode == Mode::Enforce);
        let is_whole = match decision.action {
            Action::Suspend => decision.scope == Scope::All,
            Action::Limit => decision.rate.is_some(),
            Action::Block => decision.rate.is_none(),
            Action::Observe | Action::Notify => false,
        };
        is_whole && acts && self.paused.is_none() && !self.policy.protects(tenant)
    }

    /// The decisions of a tenant that came from elsewhere and hold it here.
    #[must_use]
    pub fn followed(&self, tenant: &TenantId) -> Vec<DecisionId> {
        let all = self.standing.followed.iter();
        all.filter(|(_, whose)| *whose == tenant).map(|(id, _)| id.clone()).collect()
    }

    /// Takes note that a decision from elsewhere holds a tenant here.
    pub fn follow(&mut self, decision: &Decision) {
        self.standing.followed.insert(decision.id.clone(), decision.tenant.clone());
    }

    /// Takes note that a decision holds nobody here any more.
    pub fn unfollow(&mut self, decision: &DecisionId) {
        self.standing.followed.remove(decision);
    }
}

/// The rule behind a key; that of what is held against a reseller is its customers'.
fn base(rule: &Name) -> Name {
    Escalation::rule_behind(rule).unwrap_or_else(|| rule.clone())
}

fn count(strikes: usize) -> u32 {
    u32::try_from(strikes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Judgement, Occupancy};
    use super::*;
    use crate::alert::{Alert, Loss, Window};
    use crate::class::Class;
    use crate::language::Policy;
    use crate::pause::Pause;

    const DAY: u64 = 86_400;
    const POLICY: &str = "[policy]\nname = \"p\"\nversion = 1\nmode = \"enforce\"\n[[rule]]\nid = \"scan\"\n\
        on = [\"portscan.*\"]\nmemory = \"100d\"\ndecay = \"30d\"\nquiet = \"10m\"\nladder = [\n\
        { action = \"notify\" },\n{ action = \"block\", scope = \"tcp/22\", until = \"1h\" },\n\
        { action = \"suspend\", until = \"released\" },\n]\n";

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + secs)
    }

    fn judge(node: &str) -> Judge {
        let policy = Policy::parse("p.toml", POLICY).unwrap();
        Judge::new(node.parse().unwrap(), Mode::Enforce, Arc::new(policy))
    }

    /// The strike that a scan at `secs` is told as.
    fn scan(judge: &mut Judge, secs: u64) -> u32 {
        let alert = Alert {
            class: Class::PortscanVertical,
            tenant: "a".parse().unwrap(),
            at: at(secs),
            window: Window { start: at(secs), end: at(secs) },
            metrics: Vec::new(),
            confidence_percent: 95,
            targets: Vec::new(),
            samples: Vec::new(),
            loss: Loss::default(),
            is_suspicion: false,
        };
        judge.handle_timeout(at(secs));
        judge.handle_alert(&alert, &Tenant::new("a".parse().unwrap()), Occupancy::default());
        let mut strike = 0;
        while let Some(judgement) = judge.poll() {
            if let Judgement::Violation(violation) = judgement {
                strike = violation.strike;
            }
        }
        strike
    }

    fn tell(judge: &mut Judge, strikes: &[(u64, Option<u64>, u32)]) {
        let strike = |(opened, closed, number): &(u64, Option<u64>, u32)| StrikeElsewhere {
            rule: "scan".parse().unwrap(),
            opened: at(*opened),
            closed: closed.map(at),
            number: *number,
        };
        let strikes = strikes.iter().map(strike).collect();
        let (tenant, decisions) = ("a".parse().unwrap(), Vec::new());
        judge.handle_standing(&TenantStanding { tenant, strikes, decisions });
    }

    #[test]
    fn what_was_seen_elsewhere_counts_as_if_it_had_been_seen_here() {
        let mut here = judge("n2");
        tell(&mut here, &[(0, Some(700), 1)]);
        assert_eq!(scan(&mut here, 2_000), 2);
        // The same again, told twice, is the same; and it outlasts a restart.
        tell(&mut here, &[(0, Some(700), 1)]);
        let kept = serde_json::to_string(here.standing()).unwrap();
        let mut again = judge("n2");
        again.restore(serde_json::from_str(&kept).unwrap());
        assert_eq!(scan(&mut again, 4_000), 3);
        // Without any of it a strike would be the first.
        assert_eq!(scan(&mut judge("n2"), 4_000), 1);
        // Taken back elsewhere, it counts here no more.
        tell(&mut again, &[]);
        assert_eq!(scan(&mut again, 8_000), 3, "its own two and this one");
    }

    #[test]
    fn strikes_are_taken_back_wherever_they_were_given_up_to_a_time_and_under_a_rule() {
        let strikes = |rule: Option<&str>, before: u64| {
            let mut here = judge("n2");
            tell(&mut here, &[(0, Some(700), 1)]);
            assert_eq!((scan(&mut here, 2_000), scan(&mut here, 4_000)), (2, 3));
            let rule: Option<Name> = rule.map(|rule| rule.parse().unwrap());
            here.handle_pardon(&"a".parse().unwrap(), rule.as_ref(), at(before));
            scan(&mut here, 6_000)
        };
        assert_eq!(strikes(None, 5_000), 1, "all of them");
        assert_eq!(strikes(Some("scan"), 4_000), 1);
        assert_eq!(strikes(Some("scan"), 3_999), 2, "what came later stays");
        assert_eq!(strikes(None, 0), 3);
        assert_eq!(strikes(Some("spam"), 5_000), 4, "another rule's");
        judge("n1").handle_pardon(&"nobody".parse().unwrap(), None, at(1));
    }

    #[test]
    fn what_is_seen_while_the_episode_is_open_elsewhere_belongs_to_it() {
        let mut here = judge("n2");
        tell(&mut here, &[(0, Some(700), 1), (5_000, None, 2)]);
        assert_eq!(scan(&mut here, 5_100), 2);
        assert_eq!(scan(&mut here, 5_200), 2);
        tell(&mut here, &[(0, Some(700), 1), (5_000, Some(5_900), 2)]);
        assert_eq!(scan(&mut here, 9_000), 3);
        // One that is kept open there is no leave for others here.
        let mut kept = judge("n2");
        tell(&mut kept, &[(0, None, 1)]);
        assert_eq!([100, 2_000, 4_000].map(|secs| scan(&mut kept, secs)), [1, 2, 3]);
        // Whoever saw it first has gone and never told of the end.
        let mut alone = judge("n2");
        tell(&mut alone, &[(0, None, 1)]);
        assert_eq!((scan(&mut alone, DAY), scan(&mut alone, DAY + 1_000)), (1, 2));
    }

    #[test]
    fn what_faded_elsewhere_has_faded_here() {
        let scans = [0, 40 * DAY, 41 * DAY, 80 * DAY, 81 * DAY];
        let mut one = judge("n1");
        let alone: Vec<u32> = scans.iter().map(|secs| scan(&mut one, *secs)).collect();
        assert_eq!(alone, [1, 1, 2, 2, 3]);
        // The same by two nodes in turn, each told of the other's.
        for turns in [[0, 0, 1, 1, 0], [0, 1, 0, 1, 0], [1, 1, 1, 0, 0]] {
            let mut nodes = [judge("n1"), judge("n2")];
            let mut seen: Vec<(usize, _)> = Vec::new();
            for ((turn, secs), expected) in turns.iter().zip(scans).zip(&alone) {
                let others: Vec<_> = seen.iter().filter(|(by, _)| by != turn).map(|(_, one)| *one).collect();
                tell(&mut nodes[*turn], &others);
                let strike = scan(&mut nodes[*turn], secs);
                assert_eq!(strike, *expected, "{turns:?} at {secs}");
                seen.push((*turn, (secs, Some(secs + 600), strike)));
            }
        }
    }

    #[test]
    fn what_this_node_saw_itself_is_not_counted_twice() {
        let mut here = judge("n1");
        assert_eq!(scan(&mut here, 0), 1);
        tell(&mut here, &[(0, Some(600), 1)]);
        assert_eq!(scan(&mut here, 2_000), 2);
    }

    #[test]
    fn a_decision_from_elsewhere_holds_only_where_this_node_would_act() {
        let mut there = judge("n1");
        scan(&mut there, 0);
        scan(&mut there, 1_000);
        let decision = Decision {
            id: DecisionId("d.1".parse().unwrap()),
            tenant: "a".parse().unwrap(),
            violation: None,
            clause: "p/scan".into(),
            origin: Origin::Policy {
                policy: "p".parse().unwrap(),
                version: 1,
                rule: "scan".parse().unwrap(),
                step: 3,
            },
            action: crate::Action::Suspend,
            scope: crate::Scope::All,
            rate: None,
            until: crate::Until::Released,
            at: at(0),
            mode: Mode::Enforce,
            reason: String::new(),
            connections: None,
            softened: None,
            reckoning: None,
        };
        let tenant = Tenant::new("a".parse().unwrap());
        let mut here = judge("n2");
        assert!(here.may_follow(&decision, &tenant));
        let watched = Tenant { mode: Some(Mode::Observe), ..tenant.clone() };
        assert!(!here.may_follow(&decision, &watched));
        let operators = Decision { origin: Origin::Operator { name: "o".into() }, ..decision.clone() };
        assert!(!here.may_follow(&operators, &tenant), "those come as orders");
        here.set_pause(Some(Pause::new("oncall", "", at(0))));
        assert!(!here.may_follow(&decision, &tenant));
        here.set_pause(None);
        here.set_node_mode(Mode::Observe);
        assert!(!here.may_follow(&decision, &tenant));
        let policy = format!("{POLICY}[protected]\nsources = [\"a\"]\n");
        let policy = Arc::new(Policy::parse("p.toml", &policy).unwrap());
        let protecting = Judge::new("n2".parse().unwrap(), Mode::Enforce, policy);
        assert!(!protecting.may_follow(&decision, &tenant));
    }
}
