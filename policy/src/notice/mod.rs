//! Notices: who is told of a decision, when, and in which words.
//!
//! Every decision that is carried out tells somebody, unless its step says otherwise (`notice = "none"`): the tenant, the reseller above it, or
//! both ([`crate::language::notices::Tell`]). What is only observed tells nobody. The end of a measure is told to whoever was told of it, and that
//! a month's traffic nears its plan or exceeds it.
//!
//! A notice is a pure function of the decision, the violation behind it, the tenants and the policy, and has a key that is the same however
//! often it is made: so whoever keeps them keeps each once. [`texts`] holds the words, [`words`] puts values into them.
//!
//! What is in a notice: the customer's own name, addresses and plan, and the addresses that are in the evidence. Nothing else of third parties.
//! Left out: sending them, and keeping them (the controller's store).

mod example;
mod template;
#[cfg(test)]
mod tests;
pub(crate) mod texts;
mod words;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::class::Class;
use crate::decision::{Decision, DecisionId, Origin, Until};
use crate::language::conditions::Escalation;
use crate::language::notices::Tell;
use crate::language::{Policy, Rule, Step};
use crate::tenant::{Mode, Name, Tenant, TenantId};
use crate::time::Timestamp;
use crate::usage::Usage;
use crate::violation::{Violation, ViolationId};
pub use example::{Example, examples};
use texts::Texts;
pub use texts::{FILES, Own};
pub use words::Explained;

/// What kind of notice it is. The first five are what a policy's step may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// Nobody is told.
    None,
    /// Something to know.
    Information,
    /// Something to be mended, before something is done.
    Warning,
    /// Something was done.
    Immediate,
    /// Something was done, and this is the last that is heard of it.
    Final,
    /// What was done is over.
    Lifted,
}

impl NoticeKind {
    /// Every kind that is given.
    pub const ALL: [Self; 5] = [Self::Information, Self::Warning, Self::Immediate, Self::Final, Self::Lifted];
    /// Those that a step may ask for.
    pub const OF_STEPS: [Self; 5] =
        [Self::None, Self::Information, Self::Warning, Self::Immediate, Self::Final];

    /// The word in policies and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Information => "information",
            Self::Warning => "warning",
            Self::Immediate => "immediate",
            Self::Final => "final",
            Self::Lifted => "lifted",
        }
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The key of a notice: the same however often the notice is made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NoticeId(pub String);

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What somebody is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its key.
    pub id: NoticeId,
    /// Who is told.
    pub recipient: TenantId,
    /// Whom it is about: the same, or one whose reseller is told.
    pub tenant: TenantId,
    /// What it tells of, if that was decided.
    pub decision: Option<DecisionId>,
    /// The violation behind it.
    pub violation: Option<ViolationId>,
    /// What kind of notice it is.
    pub kind: NoticeKind,
    /// The language of its words.
    pub language: Name,
    /// When what it tells of came about.
    pub at: Timestamp,
    /// One line.
    pub subject: String,
    /// The rest: paragraphs with an empty line between them.
    pub text: String,
}

/// What notices are made with.
#[derive(Clone, Copy)]
pub struct Office<'a> {
    /// The policy by which it was decided.
    pub policy: &'a Policy,
    /// Who is who.
    pub tenants: &'a dyn Fn(&TenantId) -> Option<&'a Tenant>,
}

impl fmt::Debug for Office<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Office").field("policy", &self.policy.name).finish_non_exhaustive()
    }
}

/// Parts of a month's plan of which somebody is told when they are used up, in percent.
pub const QUOTA_MARKS: [u8; 2] = [80, 100];

/// What a notice is about.
#[derive(Clone, Copy, Debug)]
enum Matter<'a> {
    /// What was decided, upon what was seen.
    Decided { violation: Option<&'a Violation> },
    /// Its end; whether something else holds the tenant still.
    Ended { at: Timestamp, still_held: bool },
}

/// Who is to be told, and how they stand to whom it is about.
struct Recipient<'a> {
    id: TenantId,
    tenant: Option<&'a Tenant>,
    is_parent: bool,
}

/// The subject whose words a decision has.
fn subject(decision: &Decision, class: Option<Class>) -> &'static str {
    match (class, &decision.origin, decision.until) {
        (Some(class), ..) => texts::subject(class),
        (None, Origin::Operator { .. }, Until::Paid) => texts::BILLING,
        (None, Origin::Operator { .. }, _) => texts::MANUAL,
        // Never a person's words for what no person decided.
        (None, Origin::Policy { .. }, _) => texts::AUTOMATIC,
    }
}

impl<'a> Office<'a> {
    /// Who is told what of a decision; nobody of one that is only observed.
    #[must_use]
    pub fn of_decision(self, decision: &Decision, violation: Option<&Violation>) -> Vec<Notice> {
        let class = violation.map(|violation| violation.evidence.class).or_else(|| self.class_of(decision));
        let kind = self.kind(decision, class);
        if kind == NoticeKind::None {
            return Vec::new();
        }
        let make = |recipient: Recipient<'a>| {
            let key = match self.quota_key(decision, violation) {
                Some(key) => format!("{key}/{}", recipient.id),
                None => format!("{}/{}", decision.id, recipient.id),
            };
            self.notice(key, kind, &recipient, decision, class, Matter::Decided { violation })
        };
        self.recipients(&decision.tenant, self.tell(decision, class)).into_iter().map(make).collect()
    }

    /// Who is told that a measure is over: whoever was told of it. `still_held` says whether another one holds the tenant.
    #[must_use]
    pub fn of_end(
        self,
        decision: &Decision,
        class: Option<Class>,
        at: Timestamp,
        still_held: bool,
    ) -> Vec<Notice> {
        let class = class.or_else(|| self.class_of(decision));
        if self.kind(decision, class) == NoticeKind::None || !decision.action.is_measure() {
            return Vec::new();
        }
        let make = |recipient: Recipient<'a>| {
            let key = format!("{}/{}/{}", decision.id, NoticeKind::Lifted, recipient.id);
            self.notice(
                key,
                NoticeKind::Lifted,
                &recipient,
                decision,
                class,
                Matter::Ended { at, still_held },
            )
        };
        self.recipients(&decision.tenant, self.tell(decision, class)).into_iter().map(make).collect()
    }

    /// Who is told that so many percent of a month's plan are used up.
    #[must_use]
    pub fn of_usage(self, usage: &Usage, mark: u8, limit: u64, at: Timestamp) -> Vec<Notice> {
        let rule = self.policy.rule_for(Class::Quota);
        let step = rule.and_then(|rule| rule.ladder.first());
        if step.is_some_and(|step| step.notice_kind(Some(Class::Quota)) == NoticeKind::None) {
            return Vec::new();
        }
        let tell = self.policy.tells(rule.map(|rule| (rule, step)), Some(Class::Quota));
        let make = |recipient: Recipient<'a>| {
            let (language, texts) = self.texts(recipient.tenant);
            let words = self.words(&texts, &usage.tenant);
            let (subject, text) = words.quota(usage, mark, limit, rule, recipient.is_parent);
            Notice {
                id: NoticeId(format!("{}/{}", quota_key(usage, mark, limit), recipient.id)),
                recipient: recipient.id,
                tenant: usage.tenant.clone(),
                decision: None,
                violation: None,
                kind: NoticeKind::Information,
                language,
                at,
                subject,
                text,
            }
        };
        self.recipients(&usage.tenant, tell).into_iter().map(make).collect()
    }

    /// Why a tenant stands where a decision leaves it, in the tenant's own language and the words of its notices.
    #[must_use]
    pub fn explain(self, decision: &Decision, class: Option<Class>, ends: Option<Timestamp>) -> Explained {
        let class = class.or_else(|| self.class_of(decision));
        let (language, texts) = self.texts((self.tenants)(&decision.tenant));
        let subject = subject(decision, class);
        let for_customers = self.is_for_customers(decision);
        self.words(&texts, &decision.tenant).explain(language, decision, (subject, for_customers), ends)
    }

    fn notice(
        self,
        key: String,
        kind: NoticeKind,
        recipient: &Recipient<'a>,
        decision: &Decision,
        class: Option<Class>,
        matter: Matter<'_>,
    ) -> Notice {
        let (language, texts) = self.texts(recipient.tenant);
        let words = self.words(&texts, &decision.tenant);
        let about = words::About {
            decision,
            subject: subject(decision, class),
            step: self.step(decision),
            kind,
            for_parent: recipient.is_parent,
            for_customers: self.is_for_customers(decision),
        };
        let at = match matter {
            Matter::Decided { .. } => decision.at,
            Matter::Ended { at, .. } => at,
        };
        let (subject, text) = match matter {
            Matter::Decided { violation } => {
                words.decided(&about, violation.map(|violation| &violation.evidence))
            }
            Matter::Ended { still_held, .. } => words.ended(&about, at, still_held),
        };
        Notice {
            id: NoticeId(key),
            recipient: recipient.id.clone(),
            tenant: decision.tenant.clone(),
            decision: Some(decision.id.clone()),
            violation: decision.violation.clone(),
            kind,
            language,
            at,
            subject,
            text,
        }
    }

    /// What kind of notice a decision gives.
    fn kind(self, decision: &Decision, class: Option<Class>) -> NoticeKind {
        if decision.mode == Mode::Observe {
            return NoticeKind::None;
        }
        let step = self.step(decision).map(|(_, step)| step);
        let asked = match step {
            Some(step) => step.notice_kind(class),
            None if decision.action.is_measure() => NoticeKind::Immediate,
            None => NoticeKind::Warning,
        };
        match (&decision.softened, asked) {
            // What was not done is not told as done.
            (Some(_), NoticeKind::Immediate | NoticeKind::Final) => NoticeKind::Warning,
            (_, asked) => asked,
        }
    }

    fn tell(self, decision: &Decision, class: Option<Class>) -> Tell {
        self.policy.tells(self.step(decision).map(|(rule, step)| (rule, Some(step))), class)
    }

    /// The rule and step that a decision was made by, as far as the policy at hand has them.
    fn step(self, decision: &Decision) -> Option<(&'a Rule, &'a Step)> {
        let Origin::Policy { rule, step, .. } = &decision.origin else { return None };
        let (rule, ladder) = self.policy.behind(rule)?;
        let index = usize::try_from(*step).ok()?.checked_sub(1)?;
        Some((rule, ladder.get(index)?))
    }

    /// What the rule of a decision is about, where the violation behind it is not known. The policy at hand may be an older one that does not have the
    /// step, or the rule; then the reason says it, which begins with the class.
    fn class_of(self, decision: &Decision) -> Option<Class> {
        let Origin::Policy { rule, .. } = &decision.origin else { return None };
        let of_step = self.step(decision).map(|(rule, _)| rule);
        let of_rule = of_step.or_else(|| self.policy.rule(&base(rule)));
        let said = || decision.reason.split_once(':').and_then(|(class, _)| class.parse().ok());
        of_rule.and_then(|rule| rule.on.first().copied()).or_else(said)
    }

    /// Whether a decision is held against a reseller for what its customers did.
    fn is_for_customers(self, decision: &Decision) -> bool {
        let Origin::Policy { rule, .. } = &decision.origin else { return false };
        base(rule) != *rule && self.policy.rule(rule).is_none()
    }

    /// What is told once a month is known by the month.
    fn quota_key(self, decision: &Decision, violation: Option<&Violation>) -> Option<String> {
        let evidence = &violation.filter(|_| !decision.action.is_measure())?.evidence;
        let limit = evidence.metrics.first().filter(|_| evidence.class == Class::Quota)?.threshold?;
        let month = crate::usage::Month::of(evidence.window.start);
        let usage = Usage { tenant: decision.tenant.clone(), month, received: 0, sent: 0 };
        // Plans are far below the numbers that a float cannot hold to the byte.
        Some(quota_key(&usage, 100, limit as u64))
    }

    fn recipients(self, about: &TenantId, tell: Tell) -> Vec<Recipient<'a>> {
        let tenant = (self.tenants)(about);
        let parent = tenant.and_then(|tenant| tenant.parent.clone()).filter(|parent| parent != about);
        let mut all = Vec::new();
        // Somebody hears of it.
        if tell.tenant || parent.is_none() {
            all.push(Recipient { id: about.clone(), tenant, is_parent: false });
        }
        if let Some(id) = parent.filter(|_| tell.parent) {
            let tenant = (self.tenants)(&id);
            all.push(Recipient { id, tenant, is_parent: true });
        }
        all
    }

    /// The language in which somebody is written to, and its texts.
    fn texts(self, recipient: Option<&Tenant>) -> (Name, Texts) {
        let notices = &self.policy.notices;
        let main = |tag: &Name| tag.as_str().split('-').next().unwrap_or_default().to_ascii_lowercase();
        let is_written = |tag: &&Name| {
            notices.languages.is_empty() || notices.languages.iter().any(|known| main(known) == main(tag))
        };
        let own = recipient.and_then(|tenant| tenant.language.as_ref()).filter(is_written);
        let all = [own, notices.languages.first(), Some(&self.policy.language)].into_iter().flatten();
        let found = all.filter_map(|tag| Some((tag.clone(), texts::of(tag, &notices.texts)?))).next();
        found.unwrap_or_else(|| ("en".parse().expect("two letters are a name"), texts::english()))
    }

    fn words<'w>(self, texts: &'w Texts, about: &'w TenantId) -> words::Words<'w>
    where
        'a: 'w,
    {
        words::Words { texts, policy: self.policy, about, tenant: (self.tenants)(about) }
    }
}

/// The rule behind what is held against a reseller, and any other rule itself.
fn base(rule: &Name) -> Name {
    Escalation::rule_behind(rule).unwrap_or_else(|| rule.clone())
}

fn quota_key(usage: &Usage, mark: u8, limit: u64) -> String {
    format!("quota/{}/{}/{mark}/{limit}", usage.tenant, usage.month)
}
