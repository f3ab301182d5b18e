//! Reports that the controller has not acknowledged yet, in order and bounded.
//!
//! A report that replaces an older one (counters, health, the same violation grown) takes its place, if that was not sent
//! yet; so the order stays that in which things came about. A violation upon which something was decided since stays: it is the evidence. When there is no more room, samples of the state of affairs go first, then the oldest
//! violations and node events; decisions and what became of measures are the last to go, and every loss is counted.

use std::collections::VecDeque;

use reeve_policy::{Report, Usage};

#[derive(Debug)]
struct Waiting {
    number: u64,
    /// Its key in the journal, if it is kept there.
    key: Option<u64>,
    report: Report,
}

/// A bounded queue of numbered reports.
#[derive(Debug)]
pub struct Spool {
    capacity: usize,
    waiting: VecDeque<Waiting>,
    /// Keys of reports that need not be kept any more.
    finished: Vec<u64>,
    /// The number of the last report that was put in.
    last: u64,
    /// The number of the last report that was sent on this connection, and on any.
    sent: u64,
    ever_sent: u64,
    dropped: u64,
}

impl Spool {
    /// Room for this many reports: hours of a busy node, or 64 MiB of the heaviest.
    pub const CAPACITY: usize = 10_000;

    /// An empty spool for at most `capacity` reports, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            waiting: VecDeque::new(),
            finished: Vec::new(),
            last: 0,
            sent: 0,
            ever_sent: 0,
            dropped: 0,
        }
    }

    /// Takes a report in, with its key in the journal if it is kept there.
    pub fn push(&mut self, key: Option<u64>, report: Report) {
        // How the node fares stands behind all that there was to tell until then: who hears it has heard the rest.
        if matches!(report, Report::Health(_)) {
            let (sent, finished) = (self.ever_sent, &mut self.finished);
            self.waiting.retain(|older| {
                let stays = older.number <= sent || !matches!(older.report, Report::Health(_));
                if !stays {
                    finished.extend(older.key);
                }
                stays
            });
        }
        // What is on its way keeps its number. In its old place it is.
        let mut unsent = self.waiting.iter_mut().rev().take_while(|older| older.number > self.ever_sent);
        // What a decision rests on goes before it, whatever was seen later.
        let stands = |older: &&mut Waiting| !is_decided(&report, &older.report);
        let mut unsent = unsent.by_ref().take_while(stands);
        if let Some(older) = unsent.find(|older| replaces(&report, &older.report)) {
            self.finished.extend(std::mem::replace(&mut older.key, key));
            older.report = report;
            return;
        }
        if self.waiting.len() >= self.capacity {
            self.make_room();
        }
        self.last += 1;
        self.waiting.push_back(Waiting { number: self.last, key, report });
    }

    /// The next report to send on this connection.
    pub fn next_to_send(&mut self) -> Option<(u64, Report)> {
        let place = self.waiting.partition_point(|waiting| waiting.number <= self.sent);
        let Waiting { number, report, .. } = self.waiting.get(place)?;
        self.sent = *number;
        self.ever_sent = self.ever_sent.max(*number);
        Some((*number, report.clone()))
    }

    /// Keys of reports that have been acknowledged, replaced or given up since this was last asked.
    pub fn take_finished(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.finished)
    }

    /// Whether there is anything to send.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.waiting.back().is_some_and(|waiting| waiting.number > self.sent)
    }

    /// The controller has everything up to `number`.
    pub fn acknowledge(&mut self, number: u64) {
        // One that acknowledges what was never sent is wrong; what was not sent stays.
        let number = number.min(self.ever_sent);
        while let Some(first) = self.waiting.pop_front_if(|first| first.number <= number) {
            self.finished.extend(first.key);
        }
    }

    /// Lets go what the controller could not read.
    pub fn retain(&mut self, is_known: impl Fn(&Report) -> bool) {
        let Self { waiting, finished, .. } = self;
        waiting.retain(|one| {
            let keeps = is_known(&one.report);
            if !keeps {
                finished.extend(one.key);
            }
            keeps
        });
    }

    /// A new connection: what was not acknowledged is to be sent again.
    pub fn rewind(&mut self) {
        self.sent = 0;
        // How the node fares goes behind what was to be told since.
        let place = self.waiting.iter().rposition(|waiting| matches!(waiting.report, Report::Health(_)));
        if let Some(Waiting { key, report, .. }) = place.and_then(|place| self.waiting.remove(place)) {
            self.retain(|report| !matches!(report, Report::Health(_)));
            self.last += 1;
            self.waiting.push_back(Waiting { number: self.last, key, report });
        }
    }

    /// How many reports wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many reports had to make room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn make_room(&mut self) {
        let weight = |report: &Report| match report {
            Report::Counters(_) | Report::Health(_) | Report::Usage { .. } => 0,
            Report::Violation(_) | Report::Event(_) | Report::RelayChecked(_) => 1,
            Report::Decision(_) | Report::Standing { .. } | Report::Lifted { .. } => 2,
        };
        let order = |(place, waiting): &(usize, &Waiting)| (weight(&waiting.report), *place);
        let lightest = self.waiting.iter().enumerate().min_by_key(order).map(|(place, _)| place);
        if let Some(given_up) = lightest.and_then(|place| self.waiting.remove(place)) {
            self.finished.extend(given_up.key);
            self.dropped += 1;
        }
    }
}

/// Whether `older` was decided upon the violation that `newer` tells: the alert before it is its evidence.
fn is_decided(newer: &Report, older: &Report) -> bool {
    match (newer, older) {
        (Report::Violation(newer), Report::Decision(older)) => older.violation.as_ref() == Some(&newer.id),
        _ => false,
    }
}

/// Whether `newer` says everything that `older` says.
fn replaces(newer: &Report, older: &Report) -> bool {
    match (newer, older) {
        (Report::Counters(newer), Report::Counters(older)) => older.keys().all(|id| newer.contains_key(id)),
        // Sums only grow, and are told in the order of tenants and months.
        (Report::Usage { tallies: newer }, Report::Usage { tallies: older }) => {
            let is_in = |one: &Usage| newer.binary_search_by(|other| other.key().cmp(&one.key())).is_ok();
            older.iter().all(is_in)
        }
        (Report::Violation(newer), Report::Violation(older)) => newer.id == older.id,
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use reeve_policy::{DecisionId, LiftReason, MeasureCounters, Mode, NodeHealth, Timestamp};

    use super::*;

    fn lifted(number: u64) -> Report {
        Report::Lifted {
            decision: DecisionId(format!("d{number}").parse().unwrap()),
            tenant: "a".parse().unwrap(),
            reason: LiftReason::Expired,
            at: Timestamp::EPOCH,
            counters: MeasureCounters::default(),
        }
    }

    fn sent(spool: &mut Spool) -> Vec<u64> {
        std::iter::from_fn(|| spool.next_to_send()).map(|(number, _)| number).collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_after_a_break() {
        let mut spool = Spool::new(10);
        (1..=4).for_each(|number| spool.push(None, lifted(number)));
        assert_eq!(sent(&mut spool), [1, 2, 3, 4]);
        assert!(!spool.has_unsent());
        spool.acknowledge(2);
        spool.rewind();
        assert_eq!(sent(&mut spool), [3, 4]);
        spool.push(None, lifted(5));
        spool.acknowledge(99);
        assert_eq!(sent(&mut spool), [5], "what was never sent cannot have arrived");
        spool.acknowledge(99);
        assert!(spool.is_empty());
    }

    #[test]
    fn a_newer_state_of_affairs_takes_the_place_of_an_older_one() {
        let mut spool = Spool::new(10);
        spool.push(None, Report::Counters(BTreeMap::new()));
        spool.push(None, lifted(1));
        spool.push(None, Report::Counters(BTreeMap::new()));
        assert_eq!(sent(&mut spool), [1, 2], "in the older one's place");
        spool.push(None, Report::Counters(BTreeMap::new()));
        assert_eq!(sent(&mut spool), [3], "what was sent may have arrived, and goes on as it is");
    }

    #[test]
    fn how_the_node_fares_stands_behind_all_that_is_told_before() {
        let health = |flows| {
            Report::Health(NodeHealth {
                at: Timestamp::EPOCH,
                mode: Mode::Observe,
                policy: None,
                tenants: 0,
                measures: 0,
                vantages: 0,
                frames_received: 0,
                frames_dropped: 0,
                malformed: 0,
                flows,
                evictions: 0,
                agent_version: String::new(),
                paused: None,
                brakes: None,
            })
        };
        let mut spool = Spool::new(10);
        spool.push(None, health(1));
        spool.push(None, lifted(1));
        spool.push(None, health(2));
        spool.push(None, lifted(2));
        spool.push(Some(9), health(3));
        let told: Vec<Report> = std::iter::from_fn(|| spool.next_to_send()).map(|(_, told)| told).collect();
        assert_eq!(told, [lifted(1), lifted(2), health(3)]);
        // What is on its way stays there, until it has to be sent again.
        spool.push(None, lifted(3));
        spool.push(None, health(4));
        assert_eq!(sent(&mut spool), [6, 7]);
        spool.push(None, lifted(4));
        spool.rewind();
        let told: Vec<Report> = std::iter::from_fn(|| spool.next_to_send()).map(|(_, told)| told).collect();
        assert_eq!(told, [lifted(1), lifted(2), lifted(3), lifted(4), health(4)]);
        assert_eq!(spool.take_finished(), [9]);
    }

    #[test]
    fn sums_that_grew_take_the_place_of_those_of_the_same_tenants() {
        let usage = |tenants: &[&str], sent| {
            let month = "2026-11".parse().unwrap();
            let one = |id: &&str| Usage { tenant: id.parse().unwrap(), month, received: 0, sent };
            Report::Usage { tallies: tenants.iter().map(one).collect() }
        };
        let mut spool = Spool::new(10);
        spool.push(None, usage(&["a", "b"], 1));
        spool.push(None, usage(&["a", "b", "c"], 2));
        spool.push(None, usage(&["a", "c"], 3));
        assert_eq!(spool.next_to_send(), Some((1, usage(&["a", "b", "c"], 2))));
        assert_eq!(spool.next_to_send(), Some((2, usage(&["a", "c"], 3))), "b would be lost");
    }

    /// What a journal's line would hold: a violation as of an alert at a second, or what was decided upon it then.
    pub(crate) fn told(second: u64, is_decision: bool) -> Report {
        let at = Timestamp::from_secs(second).to_string();
        let value = if is_decision {
            serde_json::json!({
                "kind": "decision", "id": format!("V.{second}"), "tenant": "a", "violation": "V", "clause": "p/c",
                "origin": { "kind": "policy", "policy": "p", "version": 1, "rule": "r", "step": 1 },
                "action": "notify", "scope": { "kind": "all" }, "rate": null, "until": "released", "at": at,
                "mode": "observe", "reason": "", "softened": null,
            })
        } else {
            serde_json::json!({
                "kind": "violation", "id": "V", "node": "n", "tenant": "a", "rule": "r", "clause": "p/c", "opened": at,
                "last_seen": at, "closed": null, "state": "open", "strike": 1, "alerts": 1,
                "evidence": {
                    "class": "portscan.vertical", "tenant": "a", "at": at, "window": { "start": at, "end": at },
                    "metrics": [], "confidence_percent": 90, "targets": [], "samples": [],
                    "loss": { "received": 0, "dropped": 0 },
                },
            })
        };
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_a_decision_rests_on_is_not_replaced() {
        let mut spool = Spool::new(10);
        for (second, is_decision) in [(1, false), (1, true), (2, false), (3, false), (3, true), (4, false)] {
            spool.push(None, told(second, is_decision));
        }
        let sent: Vec<Report> =
            std::iter::from_fn(|| spool.next_to_send()).map(|(_, report)| report).collect();
        // That of second 2 led to nothing, and the one of second 3 says all that it said.
        let expect = [(1, false), (1, true), (3, false), (3, true), (4, false)];
        assert_eq!(sent, expect.map(|(second, is_decision)| told(second, is_decision)));
    }

    #[test]
    fn what_the_controller_cannot_read_is_let_go() {
        let mut spool = Spool::new(10);
        spool.push(Some(1), Report::Counters(BTreeMap::new()));
        spool.push(Some(2), lifted(1));
        spool.retain(|report| !matches!(report, Report::Counters(_)));
        assert_eq!(spool.take_finished(), [1]);
        assert_eq!(sent(&mut spool), [2]);
    }

    #[test]
    fn a_full_spool_gives_up_what_weighs_least() {
        let mut spool = Spool::new(3);
        spool.push(None, Report::Counters(BTreeMap::new()));
        (1..=4).for_each(|number| spool.push(None, lifted(number)));
        assert_eq!(sent(&mut spool), [3, 4, 5]);
        assert_eq!(spool.dropped(), 2);
    }

    #[test]
    fn what_need_not_be_kept_is_told_once() {
        let mut spool = Spool::new(2);
        spool.push(Some(1), Report::Counters(BTreeMap::new()));
        spool.push(Some(2), Report::Counters(BTreeMap::new()));
        assert_eq!(spool.take_finished(), [1], "replaced");
        (3..=4).for_each(|key| spool.push(Some(key), lifted(key)));
        assert_eq!(spool.take_finished(), [2], "given up");
        sent(&mut spool);
        spool.acknowledge(9);
        assert_eq!(spool.take_finished(), [3, 4], "acknowledged");
        assert!(spool.take_finished().is_empty());
    }

    proptest! {
        /// Within its room nothing is lost, nothing acknowledged is sent again, and the order is kept.
        #[test]
        fn nothing_is_lost_within_the_room(steps in prop::collection::vec(0_u8..4, 1..200)) {
            let mut spool = Spool::new(1_000);
            let (mut pushed, mut acknowledged, mut last_sent) = (0_u64, 0_u64, 0_u64);
            for step in steps {
                match step {
                    0 => { pushed += 1; spool.push(None, lifted(pushed)); }
                    1 => if let Some((number, _)) = spool.next_to_send() {
                        prop_assert!(number > last_sent && number > acknowledged);
                        last_sent = number;
                    },
                    2 => { acknowledged = acknowledged.max(last_sent); spool.acknowledge(last_sent); }
                    _ => { spool.rewind(); last_sent = 0; }
                }
            }
            spool.rewind();
            let left: Vec<u64> = sent(&mut spool);
            prop_assert_eq!(left, (acknowledged + 1..=pushed).collect::<Vec<u64>>());
            prop_assert_eq!(spool.dropped(), 0);
        }
    }
}
