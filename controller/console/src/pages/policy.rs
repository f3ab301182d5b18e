//! One policy: as it was uploaded and as it holds, in what it differs from another, whom it would have hit, and who is to run it.

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query};
use axum::response::Response;
use axum::routing::{get, post};
use reeve_proto::operator::v1::stage_policy_request::Share;
use reeve_proto::operator::v1::{
    ActivatePolicyRequest, DeletePolicyRequest, DiffPoliciesRequest, GetPolicyRequest, ListPoliciesRequest,
    Policy as WirePolicy, PolicyDifference, PolicyNodes, PolicyReference, PolicyTrialChange, PolicyUse,
    StagePolicyRequest, TryPolicyRequest, TryPolicyResponse,
};
use serde::Deserialize;

use super::policies::{named, usage};
use crate::App;
use crate::error::Error;
use crate::forms::Signed;
use crate::page::{self, Base, address};
use crate::session::Session;
use crate::shown::{self, Badge};

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/policies/{name}/{version}", get(show))
        .route("/policies/{name}/{version}/trial", get(trial))
        .route("/policies/{name}/{version}/stage", post(stage))
        .route("/policies/{name}/{version}/activate", post(activate))
        .route("/policies/{name}/{version}/delete", post(delete))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    /// The other one, as `name@version`.
    against: String,
    /// A rule that is pointed out.
    rule: String,
    /// A clause that is pointed out.
    clause: String,
    /// Whether what it extends is put in.
    resolved: String,
}

/// A line of a policy.
struct Line {
    number: usize,
    text: String,
    is_marked: bool,
}

#[derive(Template)]
#[template(path = "policy.html")]
struct Shown {
    base: Base,
    policy: WirePolicy,
    badge: Badge,
    lines: Vec<Line>,
    is_resolved: bool,
    asked: Asked,
    others: Vec<String>,
    differences: Option<Vec<PolicyDifference>>,
}

impl Shown {
    fn at(&self, act: &str) -> String {
        let version = self.policy.policy_version.to_string();
        let parts: &[&str] =
            if act.is_empty() { &[&self.policy.name, &version] } else { &[&self.policy.name, &version, act] };
        address("/policies", parts, &[])
    }

    fn resolved(&self) -> String {
        let version = self.policy.policy_version.to_string();
        address("/policies", &[&self.policy.name, &version], &[("resolved", "1")])
    }

    fn is_active(&self) -> bool {
        self.policy.r#use() == PolicyUse::Active
    }

    fn is_unused(&self) -> bool {
        // One that is compiled in was not uploaded, and cannot be deleted.
        self.policy.r#use() == PolicyUse::None && self.policy.upload_time.is_some()
    }
}

/// A policy by `name@version`.
fn reference(text: &str) -> Option<PolicyReference> {
    let (name, version) = text.trim().rsplit_once('@')?;
    Some(PolicyReference { name: name.to_owned(), policy_version: version.parse().ok()? })
}

/// The lines of a policy; those of a rule, or about a clause, are marked.
fn lines(source: &str, rule: &str, clause: &str) -> Vec<Line> {
    let clause = clause.rsplit('/').next().unwrap_or_default();
    let quoted = |text: &str| (!text.is_empty()).then(|| format!("\"{text}\""));
    let (rule, clause) = (quoted(rule), quoted(clause));
    let mut of_rule = false;
    let mut lines: Vec<Line> = source
        .lines()
        .enumerate()
        .map(|(index, text)| {
            let bare = text.trim_start();
            // A rule goes on until the next table that is none of its own.
            if bare.starts_with('[') && !bare.starts_with("[[rule.") && !bare.starts_with("[rule.") {
                of_rule = false;
            }
            let (key, value) = bare.split_once('=').map_or((bare, ""), |(key, value)| (key.trim(), value));
            if key == "id" && rule.as_ref().is_some_and(|rule| value.contains(rule.as_str())) {
                of_rule = true;
            }
            let of_clause = clause.as_ref().is_some_and(|clause| text.contains(clause.as_str()));
            Line { number: index + 1, text: text.to_owned(), is_marked: of_rule || of_clause }
        })
        .collect();
    // The head of the first marked rule belongs to it.
    for index in 1..lines.len() {
        if lines[index].is_marked && lines[index - 1].text.trim_start().starts_with("[[rule") {
            lines[index - 1].is_marked = true;
        }
    }
    lines
}

async fn show(
    session: Session,
    Path((name, version)): Path<(String, u32)>,
    Query(asked): Query<Asked>,
) -> Result<Response, Error> {
    let own = PolicyReference { name: name.clone(), policy_version: version };
    let (mut one, mut all, mut diff) =
        (session.api().policies(), session.api().policies(), session.api().policies());
    let differ = async {
        match reference(&asked.against) {
            None => Ok(None),
            Some(other) => {
                let request = DiffPoliciesRequest { before: Some(other), after: Some(own.clone()) };
                diff.diff_policies(request).await.map(|answer| Some(answer.into_inner().differences))
            }
        }
    };
    let (found, all, differences) = tokio::join!(
        one.get_policy(GetPolicyRequest { name, policy_version: version }),
        all.list_policies(ListPoliciesRequest {}),
        differ
    );
    let found = found?.into_inner();
    let policy = found.policy.unwrap_or_default();
    // What a policy extends has rules, too: they are pointed out where they stand.
    let mut is_resolved = !asked.resolved.is_empty();
    let mut shown =
        lines(if is_resolved { &found.resolved } else { &found.source }, &asked.rule, &asked.clause);
    let is_asked_for = !asked.rule.is_empty() || !asked.clause.is_empty();
    if !is_resolved && is_asked_for && !shown.iter().any(|line| line.is_marked) {
        let whole = lines(&found.resolved, &asked.rule, &asked.clause);
        if whole.iter().any(|line| line.is_marked) {
            (shown, is_resolved) = (whole, true);
        }
    }
    let all = all?.into_inner().policies;
    let others = all
        .iter()
        .map(|one| PolicyReference { name: one.name.clone(), policy_version: one.policy_version })
        .filter(|one| *one != own)
        .map(|one| named(&one));
    let page = Shown {
        badge: usage(policy.r#use()),
        others: others.collect(),
        differences: differences?,
        base: session.base("policies"),
        policy,
        lines: shown,
        is_resolved,
        asked,
    };
    Ok(page::html(&page))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TrialAsked {
    against: String,
    days: String,
}

/// Whom a policy would treat otherwise.
#[derive(Template)]
#[template(path = "policy_trial.html")]
struct Trial {
    base: Base,
    name: String,
    href: String,
    against: String,
    days: u32,
    result: TryPolicyResponse,
    /// Each with the key of the word for it.
    changes: Vec<(&'static str, &'static str, PolicyTrialChange)>,
    left_out: u64,
}

async fn trial(
    session: Session,
    Path((name, version)): Path<(String, u32)>,
    Query(asked): Query<TrialAsked>,
) -> Result<Response, Error> {
    let days = match asked.days.trim() {
        "" => 7,
        days => days.parse().map_err(|error| Error::Form(format!("days: {error}")))?,
    };
    let against = match asked.against.trim() {
        "" => None,
        text => Some(reference(text).ok_or_else(|| Error::Form(format!("against: {text}")))?),
    };
    let candidate = PolicyReference { name: name.clone(), policy_version: version };
    let request = TryPolicyRequest { candidate: Some(candidate.clone()), against, days };
    let mut result = session.api().policies().try_policy(request).await?.into_inner();
    let changes: Vec<_> = std::mem::take(&mut result.changes).into_iter().map(kind).collect();
    let all = result.newly + result.no_longer + result.differently;
    let page = Trial {
        base: session.base("policies"),
        name: named(&candidate),
        href: address("/policies", &[&name, &version.to_string()], &[]),
        against: result.against.as_ref().map(named).unwrap_or_default(),
        days,
        left_out: all.saturating_sub(changes.len() as u64),
        result,
        changes,
    };
    Ok(page::html(&page))
}

fn kind(change: PolicyTrialChange) -> (&'static str, &'static str, PolicyTrialChange) {
    let (key, tone) = match (change.before.is_empty(), change.after.is_empty()) {
        (true, _) => ("policy.newly", "bad"),
        (_, true) => ("policy.no_longer", "good"),
        _ => ("policy.otherwise", "warn"),
    };
    (key, tone, change)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Act {
    percent: String,
    nodes: String,
    reason: String,
}

async fn stage(
    session: Session,
    Path((name, version)): Path<(String, u32)>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    let back = address("/policies", &[&name, &version.to_string()], &[]);
    let nodes: Vec<String> = act
        .nodes
        .split(|letter: char| letter == ',' || letter.is_whitespace())
        .filter(|node| !node.is_empty())
        .map(str::to_owned)
        .collect();
    let share = if nodes.is_empty() {
        let percent = act.percent.trim().parse();
        Share::Percent(percent.map_err(|error| Error::Form(format!("percent: {error}")))?)
    } else {
        Share::Nodes(PolicyNodes { nodes })
    };
    let request =
        StagePolicyRequest { name, policy_version: version, share: Some(share), reason: act.reason };
    let came = session.api().policies().stage_policy(request).await;
    shown::told(&session, came, &back, |base, answer| {
        warned(base.fill("policy.was_staged", &[&answer.nodes]), &answer.warnings)
    })
}

async fn activate(
    session: Session,
    Path((name, version)): Path<(String, u32)>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    let back = address("/policies", &[&name, &version.to_string()], &[]);
    let request = ActivatePolicyRequest { name, policy_version: version, reason: act.reason };
    let came = session.api().policies().activate_policy(request).await;
    shown::told(&session, came, &back, |base, answer| {
        warned(base.fill("policy.was_activated", &[&answer.nodes]), &answer.warnings)
    })
}

/// What was done, and what is probably a slip.
fn warned(done: String, warnings: &[String]) -> String {
    [&[done], warnings].concat().join(" ")
}

async fn delete(
    session: Session,
    Path((name, version)): Path<(String, u32)>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    let here = address("/policies", &[&name, &version.to_string()], &[]);
    let request = DeletePolicyRequest { name, policy_version: version, reason: act.reason };
    let came = session.api().policies().delete_policy(request).await;
    let back = if came.is_ok() { "/policies" } else { here.as_str() };
    session.done(came, back, "policy.was_deleted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_pointed_out_with_its_ladder() {
        let source = "[policy]\nname = \"p\"\n\n[[rule]]\nid = \"scans\"\n[[rule.ladder]]\naction = \"block\"\n\n[[rule]]\nid = \"spam\"\n";
        let marked = |rule, clause| -> Vec<usize> {
            lines(source, rule, clause).iter().filter(|line| line.is_marked).map(|line| line.number).collect()
        };
        assert_eq!(marked("scans", ""), [4, 5, 6, 7, 8]);
        assert_eq!(marked("spam", ""), [9, 10]);
        assert_eq!(marked("", ""), [0_usize; 0]);
    }

    #[test]
    fn a_policy_is_named_with_its_version() {
        let known = reference(" baseline@3 ").unwrap();
        assert_eq!((known.name.as_str(), known.policy_version), ("baseline", 3));
        assert!(reference("baseline").is_none() && reference("x@y").is_none());
    }
}
