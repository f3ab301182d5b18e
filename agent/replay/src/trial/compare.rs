//! Two courses side by side.

use std::collections::BTreeMap;

use reeve_policy::TenantId;
use serde::Serialize;

use super::course::{Hit, Whom};

/// In what something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Differs {
    /// What is done: other steps, or more or fewer of them.
    Steps,
    /// When it is done.
    Times,
    /// The clause that it rests on, as whoever is told of it reads it.
    Clauses,
    /// What would come next if it went on, or when.
    Next,
    /// What is cut, though the steps are the same.
    Cut,
}

impl Differs {
    /// The word in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Times => "times",
            Self::Clauses => "clauses",
            Self::Next => "next step",
            Self::Cut => "cut",
        }
    }
}

/// One tenant, for one family of classes, under both policies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Who.
    pub tenant: TenantId,
    /// For what: a family of classes, such as `portscan`.
    pub family: String,
    /// What is done by the policy that runs; `None` for nothing.
    pub before: Option<Hit>,
    /// What would be done by the candidate; `None` for nothing.
    pub after: Option<Hit>,
    /// In what the two differ, where both do something.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<Differs>,
}

/// Who would be hit otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// Who is hit by the candidate only.
    pub newly: Vec<Change>,
    /// Who is hit by the policy that runs only.
    pub no_longer: Vec<Change>,
    /// Who is hit by both, but not in the same way.
    pub differently: Vec<Change>,
    /// How many are hit by both in the same way.
    pub same: usize,
}

impl Comparison {
    /// Holds two courses against each other.
    #[must_use]
    pub(super) fn of(mut before: BTreeMap<Whom, Hit>, after: BTreeMap<Whom, Hit>) -> Self {
        let mut all = Self::default();
        for (whom, after) in after {
            let before = before.remove(&whom);
            let differs = before.as_ref().map(|before| differs(before, &after));
            let change =
                |differs| Change { tenant: whom.0, family: whom.1, before, after: Some(after), differs };
            match differs {
                None => all.newly.push(change(Vec::new())),
                Some(differs) if differs.is_empty() => all.same += 1,
                Some(differs) => all.differently.push(change(differs)),
            }
        }
        let gone = before.into_iter().map(|((tenant, family), hit)| {
            let (before, after, differs) = (Some(hit), None, Vec::new());
            Change { tenant, family, before, after, differs }
        });
        all.no_longer.extend(gone);
        all
    }

    /// Whether anybody is hit otherwise.
    #[must_use]
    pub fn differs(&self) -> bool {
        !(self.newly.is_empty() && self.no_longer.is_empty() && self.differently.is_empty())
    }
}

fn differs(before: &Hit, after: &Hit) -> Vec<Differs> {
    let (old, new) = (&before.steps, &after.steps);
    let same_number = old.len() == new.len() && before.more_steps == after.more_steps;
    let are_alike = same_number && old.iter().zip(new).all(|(old, new)| old.is_like(new));
    let at_once = !same_number || old.iter().zip(new).all(|(old, new)| old.at == new.at);
    let mut all = Vec::new();
    if !are_alike {
        all.push(Differs::Steps);
    }
    if !at_once || before.first != after.first {
        all.push(Differs::Times);
    }
    if before.clauses != after.clauses {
        all.push(Differs::Clauses);
    }
    // Where other steps were taken, another is next as a matter of course.
    if are_alike && !old.iter().zip(new).all(|(old, new)| old.goes_on_like(new)) {
        all.push(Differs::Next);
    }
    if all.is_empty() && before.cut != after.cut {
        all.push(Differs::Cut);
    }
    all
}
