//! The evidence of a violation: an episode goes on, and what a decision rests on must not be lost to what was seen later.
//!
//! Kept are the alert that opened the violation, the one behind each decision, and the latest. At most [`MAX_KEPT`] and the latest.
//! Left out: alerts that led to nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, HeaderSample};
use crate::decision::{Decision, DecisionId};
use crate::judge::MAX_DECISIONS;
use crate::pcapng;
use crate::violation::Violation;

/// The most that is kept of a violation beside its latest alert: what opened it, and what is behind each decision.
pub const MAX_KEPT: usize = 1 + MAX_DECISIONS as usize;
/// Complaints that stand at the head of a capture.
const TOLD_IN_CAPTURE: usize = 16;

/// An alert that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The decision that rests on it; `None` for what opened the violation, and for the latest, where they led to none.
    pub decision: Option<DecisionId>,
    /// What was seen.
    pub alert: Alert,
}

/// A violation with all evidence of it that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dossier {
    /// The violation as it was last told.
    pub violation: Violation,
    /// What opened it and what is behind each decision, oldest first.
    kept: Vec<Evidence>,
    /// What was decided upon it, oldest first.
    #[serde(default)]
    decisions: Vec<Decision>,
}

impl Dossier {
    /// Begins with a violation.
    #[must_use]
    pub fn new(violation: Violation) -> Self {
        let opening = Evidence { decision: None, alert: violation.evidence.clone() };
        Self { violation, kept: vec![opening], decisions: Vec::new() }
    }

    /// What a store kept of a violation, in any order.
    #[must_use]
    pub fn from_kept(violation: Violation, mut kept: Vec<Evidence>) -> Self {
        kept.sort_by_key(|one| one.alert.at);
        kept.truncate(MAX_KEPT);
        Self { violation, kept, decisions: Vec::new() }
    }

    /// The violation was told again.
    pub fn see(&mut self, violation: &Violation) {
        self.violation.clone_from(violation);
        // What a check found out later stands in the alert itself.
        let latest = &violation.evidence;
        let same = |one: &&mut Evidence| one.decision.is_none() && is_same(&one.alert, latest);
        if let Some(known) = self.kept.iter_mut().find(same) {
            known.alert.clone_from(latest);
        }
    }

    /// Something was decided upon it: it rests on the alert that was told just before.
    pub fn decide(&mut self, decision: &Decision) {
        let is_known = self.decisions.iter().any(|known| known.id == decision.id);
        if !is_known && self.decisions.len() < MAX_DECISIONS as usize {
            self.decisions.push(decision.clone());
        }
        let alert = &self.violation.evidence;
        if !is_behind(alert, decision) {
            return;
        }
        if let Some(known) = self.kept.iter_mut().find(|one| is_same(&one.alert, alert)) {
            known.decision.get_or_insert_with(|| decision.id.clone());
        } else if self.kept.len() < MAX_KEPT {
            self.kept.push(Evidence { decision: Some(decision.id.clone()), alert: alert.clone() });
        }
    }

    /// What was decided upon it, oldest first; nothing in what older versions kept.
    #[must_use]
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// How many alerts are kept at most, the latest among them.
    #[must_use]
    pub fn alerts(&self) -> usize {
        self.kept.len() + 1
    }

    /// All that is kept, oldest first; the latest alert last.
    #[must_use]
    pub fn all(&self) -> Vec<Evidence> {
        let mut all = self.kept.clone();
        let latest = &self.violation.evidence;
        if !all.iter().any(|one| is_same(&one.alert, latest)) {
            all.push(Evidence { decision: None, alert: latest.clone() });
        }
        all
    }

    /// What is behind the `number`th decision upon the violation, counted from 1.
    #[must_use]
    pub fn behind(&self, number: u32) -> Option<Evidence> {
        let id = format!("{}.{number}", self.violation.id);
        let is_it = |one: &&Evidence| one.decision.as_ref().is_some_and(|decision| decision.0.as_str() == id);
        self.kept.iter().find(is_it).cloned()
    }

    /// What is behind the latest decision; the latest alert where nothing was decided.
    #[must_use]
    pub fn chosen(&self) -> Evidence {
        let decided = self.kept.iter().rev().find(|one| one.decision.is_some());
        decided
            .cloned()
            .unwrap_or_else(|| Evidence { decision: None, alert: self.violation.evidence.clone() })
    }

    /// The packet headers of `evidence` as a capture (see [`crate::pcapng`]), with what they are evidence of. `name` is what the customer is called.
    #[must_use]
    pub fn capture(&self, evidence: &[Evidence], name: Option<&str>) -> Vec<u8> {
        let told = evidence.iter().take(TOLD_IN_CAPTURE).map(|one| one.alert.complaint(name));
        let told: Vec<String> = told.collect();
        let what =
            format!("Violation {} of {}. {}", self.violation.id, self.violation.clause, told.join("\n"));
        pcapng::capture(&what, &packets(evidence))
    }
}

/// Whether both are the same alert: of a class there is one at a time.
fn is_same(one: &Alert, other: &Alert) -> bool {
    (one.at, one.class, one.is_suspicion) == (other.at, other.class, other.is_suspicion)
}

/// Whether `alert` is what `decision` rests on: the judge decides at the moment of the alert, and on no suspicion.
#[must_use]
pub fn is_behind(alert: &Alert, decision: &Decision) -> bool {
    alert.at == decision.at && alert.tenant == decision.tenant && !alert.is_suspicion
}

/// The packet headers of all of `evidence`, each once, oldest first.
#[must_use]
pub fn packets(evidence: &[Evidence]) -> Vec<HeaderSample> {
    let mut known = BTreeSet::new();
    let mut packets: Vec<HeaderSample> = evidence
        .iter()
        .flat_map(|one| &one.alert.samples)
        .filter(|sample| known.insert((sample.at, sample.wire_len, sample.headers.as_slice())))
        .cloned()
        .collect();
    packets.sort_by_key(|sample| sample.at);
    packets
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::class::Class;
    use crate::judge::{Judge, Judgement, Occupancy};
    use crate::language::Policy;
    use crate::tenant::{Mode, Tenant};
    use crate::time::Timestamp;
    use crate::{Loss, Window};

    const ALL: Occupancy = Occupancy { tenants: 1_000, held: 0, is_held: false };

    fn alert(seconds: u64, class: Class, samples: u8, is_suspicion: bool) -> Alert {
        let at = Timestamp::from_secs(1_000 + seconds);
        let sample = |number: u8| HeaderSample {
            at: at.minus(Duration::from_millis(u64::from(number))),
            wire_len: 40,
            headers: vec![0x45, number],
            is_forged: false,
        };
        Alert {
            class,
            tenant: "alice".parse().unwrap(),
            at,
            window: Window { start: at, end: at },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: (0..samples).map(sample).collect(),
            loss: Loss::default(),
            is_suspicion,
        }
    }

    /// Judges `alerts` by the baseline, and keeps what is told.
    fn keep(alerts: &[Alert]) -> Dossier {
        let policy = Arc::new(Policy::preset("baseline").unwrap());
        let mut judge = Judge::new("n1".parse().unwrap(), Mode::Enforce, policy);
        let tenant = Tenant::new("alice".parse().unwrap());
        let mut dossier: Option<Dossier> = None;
        for alert in alerts {
            judge.handle_alert(alert, &tenant, ALL);
            while let Some(judgement) = judge.poll() {
                match (judgement, &mut dossier) {
                    (Judgement::Violation(violation), Some(dossier)) => dossier.see(&violation),
                    (Judgement::Violation(violation), none) => *none = Some(Dossier::new(violation)),
                    (Judgement::Decision(decision), kept) => kept.as_mut().unwrap().decide(&decision),
                    (Judgement::Excused(_) | Judgement::Braked(_), _) => {}
                }
            }
        }
        dossier.unwrap()
    }

    /// Seconds and the number of the decision of each that is kept.
    fn check(dossier: &Dossier, expect: &[(u64, Option<&str>)]) {
        let told = |one: &Evidence| {
            let decision =
                one.decision.as_ref().map(|id| id.0.as_str().rsplit('.').next().unwrap().to_owned());
            (one.alert.at.since(Timestamp::from_secs(1_000)).as_secs(), decision)
        };
        let kept: Vec<_> = dossier.all().iter().map(told).collect();
        let expect: Vec<_> = expect.iter().map(|(at, decision)| (*at, decision.map(str::to_owned))).collect();
        assert_eq!(kept, expect);
    }

    #[test]
    fn what_a_decision_rests_on_outlives_what_is_seen_later() {
        let scan = alert(0, Class::PortscanVertical, 15, false);
        let again = alert(10, Class::PortscanVertical, 3, false);
        let other = alert(65, Class::PortscanStealth, 0, false);
        let last = alert(70, Class::PortscanStealth, 1, false);
        let dossier = keep(&[scan.clone(), again, other.clone(), last]);
        let decided = dossier.all().iter().filter(|one| one.decision.is_some()).count();
        assert_eq!(dossier.behind(1).unwrap().alert, scan);
        assert_eq!(packets(&[dossier.behind(1).unwrap()]).len(), 15);
        assert_eq!(dossier.behind(9), None);
        match decided {
            1 => assert_eq!(dossier.chosen().alert, scan),
            _ => assert_eq!(dossier.chosen().alert, other),
        }
        // The latest is there, whatever it led to; each packet once, in the order of time.
        let all = dossier.all();
        assert_eq!(all.last().unwrap().alert.at, Timestamp::from_secs(1_070));
        let packets = packets(&all);
        assert_eq!(packets.len(), 16);
        assert!(packets.is_sorted_by_key(|sample| sample.at));
        let capture = dossier.capture(&all, Some("Acme BV"));
        let told = String::from_utf8_lossy(&capture);
        assert!(
            told.contains("customer Acme BV) tried") || told.contains("customer Acme BV tried"),
            "{told}"
        );
    }

    #[test]
    fn a_suspicion_that_opened_it_is_kept_beside_what_confirmed_it() {
        let suspicion = alert(0, Class::SmtpRelay, 1, true);
        let sure = alert(5, Class::SmtpRelay, 2, false);
        check(&keep(&[suspicion.clone(), sure]), &[(0, None), (5, Some("1"))]);
        let alone = keep(std::slice::from_ref(&suspicion));
        check(&alone, &[(0, None)]);
        assert_eq!(alone.chosen().alert, suspicion);
    }

    #[test]
    fn a_store_tells_the_same_and_what_it_lost_is_no_harm() {
        let dossier =
            keep(&[alert(0, Class::PortscanVertical, 2, false), alert(5, Class::PortscanVertical, 1, false)]);
        check(&dossier, &[(0, Some("1")), (5, None)]);
        let mut kept = dossier.all();
        kept.reverse();
        check(&Dossier::from_kept(dossier.violation.clone(), kept), &[(0, Some("1")), (5, None)]);
        check(&Dossier::from_kept(dossier.violation.clone(), Vec::new()), &[(5, None)]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let alerts: Vec<Alert> =
            (0..1_000).map(|turn| alert(turn * 300, Class::PortscanVertical, 1, false)).collect();
        assert!(keep(&alerts).all().len() <= MAX_KEPT + 1);
    }
}
