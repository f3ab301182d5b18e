//! What another policy would have come to, judged by what nodes saw: the alerts that are kept of violations, once by the one policy and once by the other.
//!
//! It is the nodes' own judge that judges, with time as an argument; nothing is enforced. What a policy's thresholds would have found or not, alerts do not say:
//! that takes packets or a history (`reevectl policy try`, `reeve-agent try`).

use std::collections::BTreeMap;
use std::sync::Arc;

use reeve_policy::judge::{Judge, Judgement, Occupancy};
use reeve_policy::language::Policy;
use reeve_policy::{
    Action, Alert, Decision, Mode, NodeId, Origin, Rate, Scope, Tenant, TenantId, Timestamp, Until,
    ViolationId, explain,
};

/// The most steps that are listed of one tenant and family.
pub(crate) const MAX_STEPS: usize = 16;

/// Something that a node saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub node: NodeId,
    /// The violation that it belonged to.
    pub violation: ViolationId,
    pub alert: Alert,
}

/// What would be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub at: Timestamp,
    pub told: String,
    pub clause: String,
    pub step: u32,
    felt: Felt,
}

/// What of it is felt: by this steps are compared, and not by when or by which clause.
type Felt = (Action, Scope, Option<Rate>, Until, Mode);

/// Whom it would be done to, and for which family of classes.
type Whom = (TenantId, &'static str);

/// A policy's course: whom it would do what to, and one violation of each.
type Course = BTreeMap<Whom, (Vec<Step>, ViolationId)>;

/// One tenant, for one family of classes, by both policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub tenant: TenantId,
    pub family: &'static str,
    pub before: Vec<Step>,
    pub after: Vec<Step>,
    pub violation: ViolationId,
}

/// Who would be treated otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub newly: Vec<Change>,
    pub no_longer: Vec<Change>,
    pub differently: Vec<Change>,
    pub same: usize,
}

/// Plays what was seen, oldest first, by both policies. `tenant` tells of each who it is.
pub(crate) fn compare(
    before: &Arc<Policy>,
    candidate: &Arc<Policy>,
    seen: &[Seen],
    tenant: impl Fn(&TenantId) -> Arc<Tenant>,
) -> Comparison {
    let mut old = play(before, seen, &tenant);
    let mut all = Comparison::default();
    for ((tenant, family), (after, violation)) in play(candidate, seen, &tenant) {
        let known = old.remove(&(tenant.clone(), family));
        let list = match &known {
            None => Some(&mut all.newly),
            Some((before, _))
                if before.iter().map(|step| &step.felt).eq(after.iter().map(|step| &step.felt)) =>
            {
                None
            }
            Some(_) => Some(&mut all.differently),
        };
        let before = known.map(|(before, _)| before).unwrap_or_default();
        match list {
            None => all.same += 1,
            Some(list) => list.push(Change { tenant, family, before, after, violation }),
        }
    }
    all.no_longer.extend(old.into_iter().map(|((tenant, family), (before, violation))| Change {
        tenant,
        family,
        before,
        after: Vec::new(),
        violation,
    }));
    all
}

fn play(policy: &Arc<Policy>, seen: &[Seen], tenant: &impl Fn(&TenantId) -> Arc<Tenant>) -> Course {
    let mut judges: BTreeMap<&NodeId, Judge> = BTreeMap::new();
    let mut course = Course::new();
    for one in seen {
        let judge = judges
            .entry(&one.node)
            .or_insert_with(|| Judge::new(one.node.clone(), Mode::Enforce, Arc::clone(policy)));
        // Episodes that were over by then are, and what is seen next is a strike of its own.
        judge.handle_timeout(one.alert.at);
        take(judge, one, &mut course);
        // Nobody is said to be held, so no brake is set.
        judge.handle_alert(
            &one.alert,
            &tenant(&one.alert.tenant),
            Occupancy { tenants: usize::MAX, held: 0, is_held: false },
        );
        take(judge, one, &mut course);
    }
    course
}

/// Takes down what a judge decides. What it does when time passes is about whatever was seen before, of the same family or not.
fn take(judge: &mut Judge, seen: &Seen, course: &mut Course) {
    while let Some(judgement) = judge.poll() {
        let Judgement::Decision(decision) = judgement else { continue };
        let Some(step) = step_of(&decision) else { continue };
        let family = decision.reckoning.as_ref().map_or(seen.alert.class, |one| one.class).family();
        let (steps, _) = course
            .entry((decision.tenant.clone(), family))
            .or_insert_with(|| (Vec::new(), seen.violation.clone()));
        if steps.len() < MAX_STEPS {
            steps.push(step);
        }
    }
}

/// A step of a policy's that is more than to look on.
fn step_of(decision: &Decision) -> Option<Step> {
    let Origin::Policy { step, .. } = &decision.origin else { return None };
    let step = *step;
    (decision.action > Action::Observe).then(|| Step {
        at: decision.at,
        told: explain::in_words(decision),
        clause: decision.clause.clone(),
        step,
        felt: (decision.action, decision.scope.clone(), decision.rate, decision.until, decision.mode),
    })
}

#[cfg(test)]
mod tests {
    use reeve_policy::{Class, Loss, Window};

    use super::*;

    fn policy(rules: &str) -> Arc<Policy> {
        let text = format!("[policy]\nname = \"p\"\nversion = 1\nmode = \"enforce\"\n{rules}");
        Arc::new(Policy::parse("p.toml", &text).unwrap())
    }

    fn seen(tenant: &str, class: Class, secs: u64) -> Seen {
        let (node, tenant): (NodeId, TenantId) = ("n1".parse().unwrap(), tenant.parse().unwrap());
        let at = Timestamp::from_secs(1_700_000_000 + secs);
        Seen {
            violation: ViolationId::new(&node, &tenant, &"r".parse().unwrap(), at),
            node,
            alert: Alert {
                class,
                tenant,
                at,
                window: Window { start: at, end: at },
                metrics: Vec::new(),
                confidence_percent: 95,
                targets: Vec::new(),
                samples: Vec::new(),
                loss: Loss::default(),
                is_suspicion: false,
            },
        }
    }

    const SCANS: &str = "[[rule]]\nid = \"scans\"\nclause = \"p/scans\"\non = [\"portscan.*\"]\n";

    #[test]
    fn who_is_treated_otherwise_is_told_and_who_is_not_is_counted() {
        let old =
            format!("{SCANS}ladder = [{{ action = \"suspend\", scope = \"all\", until = \"released\" }}]\n");
        let new = format!("{SCANS}ladder = [{{ action = \"block\", scope = \"tcp/22\", until = \"1h\" }}]\n");
        let crawl = "[[rule]]\nid = \"crawls\"\nclause = \"p/crawls\"\non = [\"crawl\"]\nladder = [{ action = \"notify\" }]\n";
        let all = [
            seen("a", Class::PortscanVertical, 0),
            seen("b", Class::Crawl, 1),
            seen("a", Class::PortscanVertical, 2),
        ];
        let tenant = |id: &TenantId| Arc::new(Tenant::new(id.clone()));
        let told = |before: &str, after: &str| compare(&policy(before), &policy(after), &all, tenant);

        let alike = told(&old, &old);
        assert_eq!((alike.same, alike.differently.len()), (1, 0));
        let milder = told(&old, &new);
        let [change] = &*milder.differently else { panic!("{milder:?}") };
        assert_eq!((change.tenant.as_str(), change.family), ("a", "portscan"));
        assert_eq!(change.before[0].told, "suspend all until released");
        assert_eq!(change.after[0].told, "block tcp/22 for 1h");
        assert_eq!(change.violation, all[0].violation);
        let also = told(&old, &format!("{old}{crawl}"));
        assert_eq!((also.newly.len(), also.same), (1, 1));
        assert_eq!((also.newly[0].tenant.as_str(), also.newly[0].before.len()), ("b", 0));
        let gone = told(&format!("{old}{crawl}"), crawl);
        assert_eq!((gone.no_longer.len(), gone.same, gone.newly.len()), (1, 1, 0));
    }
}
