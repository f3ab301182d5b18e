//! A violation as the controller tells it, with what decisions upon it rest on and what the customer is called.

use std::ops::Deref;

use reeve_policy::{Decision, DecisionId, Dossier, Evidence, Name, Violation};
use reeve_proto::operator::v1::{self as wire, GetViolationResponse};

/// A violation, its evidence and its tenant's name.
#[derive(Debug)]
pub struct Told {
    dossier: Dossier,
    name: String,
}

impl Told {
    /// From an answer; `None` if it cannot be read.
    pub fn read(answer: &GetViolationResponse) -> Option<Self> {
        let violation = Violation::try_from(answer.violation.clone()?).ok()?;
        let kept = answer.evidence.iter().filter_map(evidence).collect();
        let mut dossier = Dossier::from_kept(violation, kept);
        // A controller that keeps nothing beside a violation tells its latest alert.
        let decisions = answer.decisions.iter().filter_map(|wire| Decision::try_from(wire.clone()).ok());
        decisions.for_each(|decision| dossier.decide(&decision));
        Some(Self { dossier, name: answer.tenant_name.clone() })
    }

    /// What the customer is called, if that is known.
    pub fn name(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| !name.is_empty())
    }

    /// The line for a mail.
    pub fn complaint(&self, evidence: &Evidence) -> String {
        evidence.alert.complaint(self.name())
    }

    /// The headers of some of its evidence.
    pub fn capture(&self, evidence: &[Evidence]) -> Vec<u8> {
        self.dossier.capture(evidence, self.name())
    }
}

impl Deref for Told {
    type Target = Dossier;

    fn deref(&self) -> &Dossier {
        &self.dossier
    }
}

fn evidence(wire: &wire::Evidence) -> Option<Evidence> {
    let alert = wire.alert.clone()?.try_into().ok()?;
    let decision = match wire.decision.as_str() {
        "" => None,
        id => Some(DecisionId(id.parse::<Name>().ok()?)),
    };
    Some(Evidence { decision, alert })
}
