//! The policies that were uploaded, who runs what, and a new one to be checked and uploaded.

use std::sync::LazyLock;

use askama::Template;
use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use reeve_policy::language::Policy as Language;
use reeve_proto::operator::v1::{
    GetRolloutRequest, GetRolloutResponse, ListPoliciesRequest, Policy, PolicyDiagnostic, PolicyDiagnostics,
    PolicyOnNode, PolicyProgress, PolicyReference, PolicyUse, RollbackPolicyRequest, UploadPolicyRequest,
};
use serde::Deserialize;

use crate::App;
use crate::error::Error;
use crate::forms::Signed;
use crate::page::{self, Base, Flash, address};
use crate::session::Session;
use crate::shown::{self, Badge};

/// Nodes that are shown; those that lag or refuse come first.
const NODES: usize = 500;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/policies", get(list))
        .route("/policies/new", get(new).post(upload))
        .route("/policies/rollback", post(roll_back))
}

struct Row {
    policy: Policy,
    badge: Badge,
    href: String,
}

struct Node {
    node: PolicyOnNode,
    badge: Badge,
    meant: String,
    running: String,
}

#[derive(Template)]
#[template(path = "policies.html")]
struct Policies {
    base: Base,
    rows: Vec<Row>,
    rollout: GetRolloutResponse,
    active: Option<(String, String)>,
    staged: Option<(String, String)>,
    nodes: Vec<Node>,
    left_out: usize,
}

/// Those that are compiled in, with where they are shown.
static PRESETS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let presets = Language::PRESETS.iter().filter_map(|(name, _)| Language::preset(name));
    presets
        .map(|preset| (preset.name.to_string(), preset.version))
        .map(|(name, version)| (format!("{name}@{version}"), href(&name, version)))
        .collect()
});

impl Policies {
    fn presets() -> &'static [(String, String)] {
        &PRESETS
    }

    /// Whether there is anything to go back from.
    fn can_go_back(&self) -> bool {
        self.rollout.assignment > 0 && (self.active.is_some() || self.staged.is_some())
    }
}

/// Whether nodes are to run a policy.
pub(super) const fn usage(usage: PolicyUse) -> Badge {
    match usage {
        PolicyUse::Unspecified => Badge { key: "shown.unknown", tone: "note" },
        PolicyUse::None => Badge { key: "policies.unused", tone: "note" },
        PolicyUse::Staged => Badge { key: "policies.staged", tone: "warn" },
        PolicyUse::Active => Badge { key: "policies.active", tone: "good" },
    }
}

/// How far a node is.
const fn progress(progress: PolicyProgress) -> Badge {
    match progress {
        PolicyProgress::Unspecified => Badge { key: "shown.unknown", tone: "note" },
        PolicyProgress::Running => Badge { key: "policies.running", tone: "good" },
        PolicyProgress::Pending => Badge { key: "policies.pending", tone: "warn" },
        PolicyProgress::Refused => Badge { key: "policies.refused", tone: "bad" },
        PolicyProgress::Own => Badge { key: "policies.own", tone: "note" },
    }
}

/// `name@version`.
pub(super) fn named(policy: &PolicyReference) -> String {
    format!("{}@{}", policy.name, policy.policy_version)
}

fn href(name: &str, version: u32) -> String {
    address("/policies", &[name, &version.to_string()], &[])
}

fn linked(policy: Option<&PolicyReference>) -> Option<(String, String)> {
    policy.map(|policy| (named(policy), href(&policy.name, policy.policy_version)))
}

/// Which nodes are looked at first.
const fn rank(progress: PolicyProgress) -> u8 {
    match progress {
        PolicyProgress::Refused => 0,
        PolicyProgress::Pending => 1,
        PolicyProgress::Unspecified => 2,
        PolicyProgress::Own => 3,
        PolicyProgress::Running => 4,
    }
}

async fn list(session: Session) -> Result<Response, Error> {
    let (mut policies, mut rollouts) = (session.api().policies(), session.api().policies());
    let (all, rollout) = tokio::join!(
        policies.list_policies(ListPoliciesRequest {}),
        rollouts.get_rollout(GetRolloutRequest {})
    );
    let mut rollout = rollout?.into_inner();
    let rows = all?.into_inner().policies.into_iter().map(|policy| Row {
        badge: usage(policy.r#use()),
        href: href(&policy.name, policy.policy_version),
        policy,
    });
    let mut nodes = std::mem::take(&mut rollout.nodes);
    nodes.sort_by(|one, other| (rank(one.progress()), &one.node).cmp(&(rank(other.progress()), &other.node)));
    let left_out = nodes.len().saturating_sub(NODES);
    nodes.truncate(NODES);
    let nodes = nodes.into_iter().map(|node| Node {
        badge: progress(node.progress()),
        meant: node.meant.as_ref().map(named).unwrap_or_default(),
        running: node.running.as_ref().map(named).unwrap_or_default(),
        node,
    });
    let page = Policies {
        base: session.base("policies"),
        rows: rows.collect(),
        active: linked(rollout.active.as_ref()),
        staged: linked(rollout.staged.as_ref()),
        nodes: nodes.collect(),
        left_out,
        rollout,
    };
    Ok(page::html(&page))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GoBack {
    assignment: String,
    reason: String,
}

async fn roll_back(session: Session, Signed(asked): Signed<GoBack>) -> Result<Response, Error> {
    // What is on the page is what is gone back from: who pressed twice goes back once.
    let assignment = asked.assignment.parse().map_err(|error| Error::Form(format!("assignment: {error}")))?;
    let request = RollbackPolicyRequest { assignment, reason: asked.reason };
    let came = session.api().policies().rollback_policy(request).await;
    shown::told(&session, came, "/policies", |base, answer| match answer.active.as_ref() {
        Some(active) => base.fill("policies.now_active", &[&named(active)]),
        None => base.t("policies.now_own").to_owned(),
    })
}

/// A policy that is being written.
#[derive(Template)]
#[template(path = "policy_new.html")]
struct New {
    base: Base,
    source: String,
    reason: String,
    /// What came of the check; absent before one.
    checked: Option<Checked>,
}

/// What came of a check.
struct Checked {
    /// In one line.
    told: String,
    is_good: bool,
    diagnostics: Vec<PolicyDiagnostic>,
    warnings: Vec<String>,
}

async fn new(session: Session) -> Result<Response, Error> {
    let (source, reason) = (String::new(), String::new());
    Ok(page::html(&New { base: session.base("policies"), source, reason, checked: None }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    source: String,
    reason: String,
    /// Which button was pressed: `check` or `upload`.
    act: String,
}

async fn upload(session: Session, Signed(written): Signed<Written>) -> Result<Response, Error> {
    // Browsers end lines with both signs; a policy is the same text by whichever way it came.
    let source = written.source.replace("\r\n", "\n");
    let validate_only = written.act != "upload";
    let request = UploadPolicyRequest {
        source: source.clone(),
        file: String::new(),
        validate_only,
        reason: written.reason.clone(),
        name: String::new(),
    };
    let base = session.base("policies");
    let checked = match session.api().policies().upload_policy(request).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            let policy = answer.policy.unwrap_or_default();
            let name = format!("{}@{}", policy.name, policy.policy_version);
            if !validate_only {
                let text = base.fill("policies.uploaded", &[&name]);
                let to = href(&policy.name, policy.policy_version);
                return Ok(session.back(&to, &Flash { is_wrong: false, text }));
            }
            let told = base.fill("policies.good", &[&name]);
            Checked { told, is_good: true, diagnostics: Vec::new(), warnings: answer.warnings }
        }
        Err(status) => {
            let found = PolicyDiagnostics::of(&status).map(|found| found.diagnostics).unwrap_or_default();
            let told = match (found.len(), Error::from(status)) {
                (0, Error::Refused(status)) => status.message().to_owned(),
                (0, other) => return Err(other),
                (many, _) => base.fill("policies.faults", &[&many]),
            };
            Checked { told, is_good: false, diagnostics: found, warnings: Vec::new() }
        }
    };
    Ok(page::html(&New { base, source, reason: written.reason, checked: Some(checked) }))
}
