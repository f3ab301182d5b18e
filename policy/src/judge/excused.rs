//! What an exemption excuses, when it meets the judge: told once an episode, and held against nobody.
//!
//! An open violation stays open while what is excused goes on: else an exemption would make two strikes of what is one without it.

use serde::{Deserialize, Serialize};

use super::{Judge, Judgement};
use crate::alert::Alert;
use crate::class::Class;
use crate::exemption::Exemption;
use crate::language::Rule;
use crate::tenant::{Name, TenantId};
use crate::time::Timestamp;

/// Something that would have been a violation, had nobody permitted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excused {
    /// Who.
    pub tenant: TenantId,
    /// What was seen.
    pub class: Class,
    /// The rule that it would break.
    pub rule: Name,
    /// The clause behind the rule, as `policy/clause`.
    pub clause: String,
    /// When it was seen first.
    pub at: Timestamp,
    /// The permissions that it was done by.
    pub by: Vec<Exemption>,
    /// The numbers, in one line for people.
    pub summary: String,
}

impl std::fmt::Display for Excused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is excused under {} (", self.tenant, self.clause)?;
        for (number, exemption) in self.by.iter().enumerate() {
            write!(f, "{}{exemption}", if number == 0 { "" } else { "; " })?;
        }
        write!(f, "): {}", self.summary)
    }
}

/// What is remembered of an episode of what is excused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Permitted {
    /// When it is over if nothing more is seen.
    quiet_at: Timestamp,
    /// By which references.
    references: Vec<String>,
}

impl Judge {
    /// Takes note of an alert about nothing but what is excused `by` exemptions.
    pub(super) fn excuse(&mut self, rule: &Rule, alert: &Alert, by: &[&Exemption]) {
        let quiet_at = alert.at + rule.quiet;
        let references: Vec<String> = by.iter().map(|exemption| exemption.reference.clone()).collect();
        let record = self.record(&alert.tenant, &rule.id);
        let is_known = record.permitted.as_ref().is_some_and(|known| {
            alert.at <= known.quiet_at && references.iter().all(|one| known.references.contains(one))
        });
        match &mut record.permitted {
            Some(known) if is_known => known.quiet_at = known.quiet_at.max(quiet_at),
            permitted => *permitted = Some(Permitted { quiet_at, references }),
        }
        if let Some(episode) = &mut record.episode {
            let (before, after) = (episode.quiet_at, episode.quiet_at.max(quiet_at));
            episode.quiet_at = after;
            self.move_quiet(&alert.tenant, &rule.id, before, after);
        }
        if !is_known {
            self.judgements.push_back(Judgement::Excused(Excused {
                tenant: alert.tenant.clone(),
                class: alert.class,
                rule: rule.id.clone(),
                clause: rule.clause.clone(),
                at: alert.at,
                by: by.iter().copied().cloned().collect(),
                summary: alert.summary(),
            }));
        }
    }

    /// The end of an episode's quiet is another.
    pub(super) fn move_quiet(&mut self, tenant: &TenantId, rule: &Name, before: Timestamp, after: Timestamp) {
        self.quiet_at.remove(&(before, tenant.clone(), rule.clone()));
        self.quiet_at.insert((after, tenant.clone(), rule.clone()));
    }
}
