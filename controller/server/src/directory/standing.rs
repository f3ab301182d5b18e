//! What is held against one tenant, and where that leaves it.
//!
//! The state is what kernels hold, as agents read it back. A decision that is not (or no longer) in a kernel makes
//! a warning while its episode is open; one that was only to be observed makes nothing but a remark.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use reeve_policy::notice::Explained;
use reeve_policy::{
    Action, Decision, DecisionId, Measure, Mode, NodeId, Origin, Scope, Timestamp, Until, ViolationId,
};

/// Where a tenant stands. Ordered by harshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing is held against it that it need know.
    Clear,
    /// An episode is open and somebody was told; nothing of its traffic is stopped.
    Warned,
    /// So much of some of its traffic is let through and no more.
    Limited,
    /// Some of its traffic is stopped.
    Blocked,
    /// All of its traffic is stopped.
    Suspended,
}

impl State {
    fn of(action: Action) -> Self {
        match action {
            Action::Observe => Self::Clear,
            Action::Notify => Self::Warned,
            Action::Limit => Self::Limited,
            Action::Block => Self::Blocked,
            Action::Suspend => Self::Suspended,
        }
    }
}

/// A measure that stands on a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The node.
    pub node: NodeId,
    /// The measure.
    pub measure: Measure,
    /// Since when.
    pub since: Timestamp,
}

impl Held {
    /// Whether it still stands at `now`: the kernel takes a measure away at its time, whether or not the node can
    /// tell us so.
    fn stands(&self, now: Timestamp) -> bool {
        self.measure.expires.is_none_or(|expires| now < expires)
    }
}

/// What is held against one tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// The measures that stand, on whatever node.
    pub held: Vec<Held>,
    /// What was decided upon its open episodes, oldest first, observations left out.
    pub decided: Vec<Decision>,
    /// What of it the tenant is told, in its own language.
    pub words: BTreeMap<DecisionId, Explained>,
    /// The clauses of its cases that are sealed and not closed.
    pub sealed: BTreeSet<String>,
}

/// Something that holds a tenant, on whatever nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// The decision.
    pub decision: Decision,
    /// Since when it holds on the first of the nodes.
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// Where.
    pub nodes: BTreeSet<NodeId>,
}

/// Where a tenant stands, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Where.
    pub state: State,
    /// Which of its traffic is concerned.
    pub scope: Option<Scope>,
    /// The clause that it rests on.
    pub clause: String,
    /// One line for people.
    pub reason: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When it ends by itself; `None` where it takes a person, or nothing is stopped.
    pub until: Option<Timestamp>,
    /// The violation behind it.
    pub violation: Option<ViolationId>,
    /// Where it is so.
    pub nodes: BTreeSet<NodeId>,
    /// What would have been done, had policy not been told only to observe.
    pub observed: Option<Action>,
    /// What of it the tenant is told.
    pub words: Option<Explained>,
    /// Whether it is held until an invoice is paid.
    pub is_billing: bool,
    /// Whether a check that finds it mended lets it go.
    pub is_verified: bool,
    /// All that holds it, the harshest first.
    pub holds: Vec<Hold>,
}

impl Status {
    /// Nothing is held against it.
    #[must_use]
    pub const fn clear() -> Self {
        Self {
            state: State::Clear,
            scope: None,
            clause: String::new(),
            reason: String::new(),
            since: None,
            until: None,
            violation: None,
            nodes: BTreeSet::new(),
            observed: None,
            words: None,
            is_billing: false,
            is_verified: false,
            holds: Vec::new(),
        }
    }

    fn of(state: State, decision: &Decision, words: &BTreeMap<DecisionId, Explained>) -> Self {
        Self {
            state,
            words: words.get(&decision.id).cloned(),
            is_billing: decision.is_billing(),
            is_verified: decision.until == Until::Verified,
            scope: Some(decision.scope.clone()),
            clause: decision.clause.clone(),
            reason: decision.reason.clone(),
            since: Some(decision.at),
            violation: decision.violation.clone(),
            ..Self::clear()
        }
    }

    /// What lifts it, in words; empty where nothing is stopped.
    #[must_use]
    pub fn lifted_by(&self) -> String {
        match (self.state, self.until) {
            (State::Clear | State::Warned, _) => String::new(),
            (_, None) if self.is_billing => "the payment of an invoice, as billing tells".to_owned(),
            (_, Some(until)) => format!("the end of its time at {until}, or an operator's release"),
            (_, None) if self.is_verified => {
                "a check that finds the mail server closed, or an operator's release".to_owned()
            }
            (_, None) => "an operator's release".to_owned(),
        }
    }
}

/// A decision without why and by whom.
#[must_use]
pub fn veiled(decision: &Decision) -> Decision {
    Decision {
        violation: None,
        clause: String::new(),
        reason: String::new(),
        origin: Origin::Operator { name: String::new() },
        until: match decision.until {
            Until::Verified => Until::Released,
            until => until,
        },
        softened: None,
        reckoning: None,
        ..decision.clone()
    }
}

impl Standing {
    /// Whether nothing is held against the tenant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.decided.is_empty() && self.sealed.is_empty()
    }

    /// Whether what rests on this clause is sealed.
    #[must_use]
    pub fn is_sealed(&self, clause: &str) -> bool {
        self.sealed.contains(clause)
    }

    /// Whether anything is sealed of the tenant.
    #[must_use]
    pub fn has_seals(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// What everybody but administrators is told: of what is sealed, that something stands, which anybody sees who looks at the machine, and not why.
    #[must_use]
    pub fn unsealed(&self) -> Cow<'_, Self> {
        if self.sealed.is_empty() {
            return Cow::Borrowed(self);
        }
        let is_open = |decision: &&Decision| !self.is_sealed(&decision.clause);
        let veiled = |held: &Held| {
            let measure = if self.is_sealed(&held.measure.decision.clause) {
                Measure { decision: veiled(&held.measure.decision), ..held.measure.clone() }
            } else {
                held.measure.clone()
            };
            Held { measure, ..held.clone() }
        };
        let held: Vec<Held> = self.held.iter().map(veiled).collect();
        let decided: Vec<Decision> = self.decided.iter().filter(is_open).cloned().collect();
        let open = self.held.iter().map(|held| &held.measure.decision).filter(is_open).chain(&decided);
        let open: BTreeSet<&DecisionId> = open.map(|decision| &decision.id).collect();
        let words = self.words.iter().filter(|(id, _)| open.contains(id));
        let words = words.map(|(id, words)| (id.clone(), words.clone())).collect();
        Cow::Owned(Self { held, decided, words, sealed: BTreeSet::new() })
    }

    /// When the next measure ends by itself, after `after`.
    pub(super) fn next_end(&self, after: Timestamp) -> Option<Timestamp> {
        self.held.iter().filter_map(|held| held.measure.expires).filter(|end| *end > after).min()
    }

    /// Where that leaves the tenant at `now`.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        let mut status = self.stopped(now).unwrap_or_else(|| self.warned());
        let observed = self.decided.iter().filter(|decision| decision.mode == Mode::Observe);
        if let Some(worst) = observed.max_by_key(|decision| decision.action) {
            if status.state == State::Clear {
                // The remark explains itself; it is told apart by `observed`.
                status = Status::of(State::Clear, worst, &BTreeMap::new());
            }
            status.observed = Some(worst.action);
        }
        status
    }

    /// The harshest that kernels hold; of several as harsh the one that lasts longest speaks for all.
    fn stopped(&self, now: Timestamp) -> Option<Status> {
        let standing = || self.held.iter().filter(|held| held.stands(now));
        let harshest = standing().map(|held| held.measure.decision.action).max()?;
        let alike = || standing().filter(|held| held.measure.decision.action == harshest);
        let lasting = alike().max_by_key(|held| {
            (held.measure.expires.unwrap_or(Timestamp::from_nanos(u64::MAX)), held.since)
        })?;
        let mut status = Status::of(State::of(harshest), &lasting.measure.decision, &self.words);
        status.since = alike().map(|held| held.since).min();
        status.until = lasting.measure.expires;
        status.nodes = alike().map(|held| held.node.clone()).collect();
        status.holds = self.holds(now, &lasting.measure.decision.id);
        Some(status)
    }

    /// All that kernels hold, decision by decision: first the one that speaks for all, then the harshest.
    fn holds(&self, now: Timestamp, first: &DecisionId) -> Vec<Hold> {
        let mut holds: BTreeMap<&DecisionId, Hold> = BTreeMap::new();
        for held in self.held.iter().filter(|held| held.stands(now)) {
            let decision = &held.measure.decision;
            let hold = holds.entry(&decision.id).or_insert_with(|| Hold {
                decision: decision.clone(),
                since: held.since,
                until: held.measure.expires,
                nodes: BTreeSet::new(),
            });
            hold.since = hold.since.min(held.since);
            hold.nodes.insert(held.node.clone());
        }
        let mut holds: Vec<Hold> = holds.into_values().collect();
        holds.sort_by_key(|hold| {
            (hold.decision.id != *first, std::cmp::Reverse(hold.decision.action), hold.since)
        });
        holds
    }

    /// Warned by the newest decision that was carried out or told; else clear.
    fn warned(&self) -> Status {
        let told = self.decided.iter().filter(|decision| decision.mode == Mode::Enforce);
        told.max_by_key(|decision| decision.at)
            .map_or_else(Status::clear, |decision| Status::of(State::Warned, decision, &self.words))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn decision(id: &str, action: Action, mode: Mode, secs: u64) -> Decision {
        Decision {
            id: DecisionId(id.parse().unwrap()),
            tenant: "t".parse().unwrap(),
            violation: Some(ViolationId::from("v".parse::<reeve_policy::Name>().unwrap())),
            clause: "p/c".to_owned(),
            origin: Origin::Operator { name: "o".to_owned() },
            action,
            scope: Scope::All,
            rate: None,
            until: Until::Released,
            at: Timestamp::from_secs(secs),
            mode,
            reason: id.to_owned(),
            connections: None,
            softened: None,
            reckoning: None,
        }
    }

    fn held(node: &str, id: &str, action: Action, since: u64, expires: Option<u64>) -> Held {
        let measure = Measure {
            decision: decision(id, action, Mode::Enforce, since),
            expires: expires.map(Timestamp::from_secs),
        };
        Held { node: node.parse().unwrap(), measure, since: Timestamp::from_secs(since) }
    }

    fn check(standing: &Standing, now: u64, state: State, reason: &str, observed: Option<Action>) -> Status {
        let status = standing.status(Timestamp::from_secs(now));
        assert_eq!((status.state, status.reason.as_str(), status.observed), (state, reason, observed));
        status
    }

    #[test]
    fn the_harshest_and_most_lasting_measure_speaks() {
        let standing = Standing {
            held: vec![
                held("n1", "block", Action::Block, 1, None),
                held("n1", "short", Action::Suspend, 5, Some(20)),
                held("n2", "long", Action::Suspend, 7, Some(30)),
            ],
            ..Standing::default()
        };
        let status = check(&standing, 10, State::Suspended, "long", None);
        assert_eq!(status.since, Some(Timestamp::from_secs(5)));
        assert_eq!(status.until, Some(Timestamp::from_secs(30)));
        assert_eq!(status.nodes.len(), 2);
        assert!(status.lifted_by().contains("1970-01-01T00:00:30Z"));
        // What is past its time stands no longer, though nobody told.
        let status = check(&standing, 20, State::Suspended, "long", None);
        assert_eq!(status.nodes.len(), 1);
        let status = check(&standing, 30, State::Blocked, "block", None);
        assert_eq!(status.lifted_by(), "an operator's release");
    }

    #[test]
    fn what_a_check_lets_go_is_said_to_be_so() {
        let mut relay = held("n1", "relay", Action::Block, 1, None);
        relay.measure.decision.until = Until::Verified;
        let standing = Standing { held: vec![relay], ..Standing::default() };
        let status = check(&standing, 10, State::Blocked, "relay", None);
        assert!(status.lifted_by().starts_with("a check that finds"), "{}", status.lifted_by());
    }

    #[test]
    fn what_is_sealed_stands_without_a_word_why() {
        let words = |id: &str| {
            let words = Explained {
                reason: format!("words of {id}"),
                lifted_by: String::new(),
                language: "en".parse().unwrap(),
            };
            (DecisionId(id.parse().unwrap()), words)
        };
        let mut told = decision("warned", Action::Notify, Mode::Enforce, 9);
        told.clause = "p/other".into();
        let mut standing = Standing {
            held: vec![held("n1", "block", Action::Block, 1, None)],
            decided: vec![decision("block", Action::Block, Mode::Enforce, 1), told],
            words: [words("block"), words("warned")].into(),
            sealed: BTreeSet::new(),
        };
        assert!(matches!(standing.unsealed(), Cow::Borrowed(_)));
        standing.sealed.insert("p/c".into());
        let unsealed = standing.unsealed();
        let text = format!("{unsealed:?}");
        assert!(text.contains("words of warned") && !text.contains("words of block"), "{text}");
        let status = check(&unsealed, 10, State::Blocked, "", None);
        assert_eq!((status.clause.as_str(), status.violation, status.words.is_none()), ("", None, true));
        assert_eq!((status.holds.len(), status.since), (1, Some(Timestamp::from_secs(1))));
        assert_eq!(unsealed.decided.len(), 1);
        // Of one that nothing else is held against, nothing is told.
        let quiet = Standing { held: Vec::new(), ..standing.clone() };
        assert_eq!(quiet.unsealed().status(Timestamp::from_secs(10)).state, State::Warned);
        let quiet = Standing { sealed: standing.sealed.clone(), ..Standing::default() };
        assert!(!quiet.is_empty());
        assert_eq!(quiet.unsealed().status(Timestamp::EPOCH), Status::clear());
    }

    #[test]
    fn what_is_only_observed_suspends_nobody() {
        let decided = vec![
            decision("told", Action::Notify, Mode::Observe, 1),
            decision("would", Action::Suspend, Mode::Observe, 2),
        ];
        let mut standing = Standing { decided, ..Standing::default() };
        let status = check(&standing, 10, State::Clear, "would", Some(Action::Suspend));
        assert_eq!((status.lifted_by(), status.until), (String::new(), None));
        standing.decided.push(decision("notice", Action::Notify, Mode::Enforce, 3));
        check(&standing, 10, State::Warned, "notice", Some(Action::Suspend));
        standing.held.push(held("n1", "block", Action::Block, 4, Some(Duration::from_secs(50).as_secs())));
        check(&standing, 10, State::Blocked, "block", Some(Action::Suspend));
        assert_eq!(Standing::default().status(Timestamp::EPOCH), Status::clear());
    }
}
