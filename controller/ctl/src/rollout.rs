//! Policies that the controller has: calls, and their answers shown.

use std::path::Path;

use reeve_policy::PolicyVersion;
use reeve_policy::language::Policy;
use reeve_policy::reader::ConfigErrors;
use reeve_proto::operator::v1::stage_policy_request::Share;
use reeve_proto::operator::v1::{
    ActivatePolicyRequest, DeletePolicyRequest, DiffPoliciesRequest, GetPolicyRequest, GetPolicyResponse,
    GetRolloutRequest, GetRolloutResponse, ListPoliciesRequest, Policy as WirePolicy, PolicyDiagnostics,
    PolicyNodes, PolicyProgress, PolicyReference, PolicyTrialStep, PolicyUse, RollbackPolicyRequest,
    StagePolicyRequest, TryPolicyRequest, TryPolicyResponse, UploadPolicyRequest,
};
use serde_json::{Value, json};
use tonic::Status;

use crate::args::{RolloutCommand, ShareArg};
use crate::client::CallError;
use crate::commands::Call;
use crate::json::at;
use crate::policy::{load, read};
use crate::show::{cells, table, when};

impl Call {
    pub(crate) async fn rollout_command(&self, command: RolloutCommand) -> Result<(), CallError> {
        match command {
            RolloutCommand::Upload { file, validate_only, reason } => {
                self.upload(&file, validate_only, reason).await
            }
            RolloutCommand::List => self.policies().await,
            RolloutCommand::Get { policy, resolved } => {
                let found = self.get(&policy).await?;
                self.tell(
                    || {
                        let policy = found.policy.as_ref().map(policy_json);
                        json!({ "policy": policy, "source": found.source, "resolved": found.resolved })
                    },
                    || if resolved { found.resolved.clone() } else { found.source.clone() },
                )
            }
            RolloutCommand::Stage { policy, share, reason } => self.stage(&policy, share, reason).await,
            RolloutCommand::Activate { policy, reason } => {
                let (name, policy_version) = (policy.name.to_string(), policy.version);
                let request = self.request(ActivatePolicyRequest { name, policy_version, reason });
                let done = self.controller.policies().activate_policy(request).await?.into_inner();
                warn(&done.warnings);
                self.assigned(&policy, (done.assignment, done.nodes), &done.warnings)
            }
            RolloutCommand::Rollback { assignment, reason } => self.roll_back(assignment, reason).await,
            RolloutCommand::Delete { policy, reason } => {
                let (name, policy_version) = (policy.name.to_string(), policy.version);
                let request = self.request(DeletePolicyRequest { name, policy_version, reason });
                self.controller.policies().delete_policy(request).await?;
                self.tell(
                    || json!({ "policy": policy.to_string(), "deleted": true }),
                    || format!("{policy} is deleted"),
                )
            }
            RolloutCommand::Trial { policy, against, days } => {
                self.trial(&policy, against.as_ref(), days).await
            }
            RolloutCommand::Rollout => self.rollout().await,
        }
    }

    async fn trial(
        &self,
        policy: &PolicyVersion,
        against: Option<&PolicyVersion>,
        days: u32,
    ) -> Result<(), CallError> {
        let request =
            TryPolicyRequest { candidate: Some(reference(policy)), against: against.map(reference), days };
        let all = self.controller.policies().try_policy(self.request(request)).await?.into_inner();
        self.tell(|| trial_json(&all), || trial(&all))?;
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let (newly, no_longer, differently) =
            (count(all.newly), count(all.no_longer), count(all.differently));
        if (newly, no_longer, differently) == (0, 0, 0) {
            Ok(())
        } else {
            Err(CallError::Hits { newly, no_longer, differently })
        }
    }

    /// Tells in what two policies differ, one of which at least the controller has.
    pub(crate) async fn policy_diff(&self, before: &str, after: &str) -> Result<(), CallError> {
        let told: Vec<(String, Option<String>, Option<String>)> = match (kept(before), kept(after)) {
            (Some(before), Some(after)) => {
                let request =
                    DiffPoliciesRequest { before: Some(reference(&before)), after: Some(reference(&after)) };
                let request = self.request(request);
                let answer = self.controller.policies().diff_policies(request).await?.into_inner();
                answer.differences.into_iter().map(|one| (one.what, one.before, one.after)).collect()
            }
            _ => {
                let (before, after) = (self.whichever(before).await?, self.whichever(after).await?);
                let differences = before.differences(&after).into_iter();
                differences.map(|one| (one.what, one.before, one.after)).collect()
            }
        };
        let differences: Vec<_> = told
            .into_iter()
            .map(|(what, before, after)| reeve_policy::language::Difference { what, before, after })
            .collect();
        crate::policy::tell_differences(&differences, self.is_json())
    }

    /// The controller's, a file's, or one that is compiled in.
    async fn whichever(&self, place: &str) -> Result<Policy, CallError> {
        match kept(place) {
            Some(version) => Ok(Policy::parse(place, &self.get(&version).await?.resolved)?),
            None => load(place),
        }
    }

    async fn get(&self, policy: &PolicyVersion) -> Result<GetPolicyResponse, CallError> {
        let (name, policy_version) = (policy.name.to_string(), policy.version);
        let request = self.request(GetPolicyRequest { name, policy_version });
        Ok(self.controller.policies().get_policy(request).await?.into_inner())
    }

    async fn upload(&self, file: &str, validate_only: bool, reason: String) -> Result<(), CallError> {
        let source = read(Path::new(file))?;
        // Whoever may use it is told at once, in the words of `policy check`.
        let policy = Policy::parse(file, &source)?;
        let name = policy.name.to_string();
        let short = Path::new(file).file_name().map(|name| name.to_string_lossy().into_owned());
        let file = short.unwrap_or_default();
        let request = self.request(UploadPolicyRequest { source, file, validate_only, reason, name });
        let done = self.controller.policies().upload_policy(request).await.map_err(unsound)?.into_inner();
        warn(&done.warnings);
        let told = done.policy.as_ref().ok_or(CallError::Answer("it holds no policy"))?;
        let place = format!("{}@{}", told.name, told.policy_version);
        self.tell(
            || json!({ "policy": policy_json(told), "known": done.known, "warnings": done.warnings }),
            || match (validate_only, done.known) {
                (_, true) => format!("{place} is there already"),
                (true, false) => format!("{place} is good, and was not kept"),
                (false, false) => format!("{place} is uploaded; no node runs it yet"),
            },
        )
    }

    async fn policies(&self) -> Result<(), CallError> {
        let request = self.request(ListPoliciesRequest {});
        let all = self.controller.policies().list_policies(request).await?.into_inner().policies;
        let json = || json!({ "policies": all.iter().map(policy_json).collect::<Vec<_>>() });
        self.tell(json, || {
            if all.is_empty() {
                return "no policy was uploaded".to_owned();
            }
            let mut rows = vec![cells(["POLICY", "USE", "UPLOADED", "BY", "WHY"])];
            rows.extend(all.iter().map(|one| {
                let place = format!("{}@{}", one.name, one.policy_version);
                let by = one.uploaded_by.clone();
                vec![place, use_word(one.r#use()).to_owned(), when(one.upload_time), by, one.reason.clone()]
            }));
            table(&rows)
        })
    }

    async fn stage(&self, policy: &PolicyVersion, share: ShareArg, reason: String) -> Result<(), CallError> {
        let named = || PolicyNodes { nodes: share.nodes.iter().map(ToString::to_string).collect() };
        let share = Some(share.percent.map_or_else(|| Share::Nodes(named()), Share::Percent));
        let (name, policy_version) = (policy.name.to_string(), policy.version);
        let request = self.request(StagePolicyRequest { name, policy_version, share, reason });
        let done = self.controller.policies().stage_policy(request).await?.into_inner();
        warn(&done.warnings);
        self.assigned(policy, (done.assignment, done.nodes), &done.warnings)
    }

    fn assigned(
        &self,
        policy: &PolicyVersion,
        (assignment, nodes): (u64, u32),
        warnings: &[String],
    ) -> Result<(), CallError> {
        let nodes_word = if nodes == 1 { "node" } else { "nodes" };
        self.tell(
            || {
                let policy = json!({ "name": policy.name, "policy_version": policy.version });
                json!({ "assignment": assignment, "policy": policy, "nodes": nodes, "warnings": warnings })
            },
            || format!("{policy} is assigned to {nodes} {nodes_word}, as {assignment}; how far it is: reevectl policy rollout"),
        )
    }

    async fn roll_back(&self, assignment: Option<u64>, reason: String) -> Result<(), CallError> {
        // Asked for twice, it goes back once.
        let assignment = match assignment {
            Some(assignment) => assignment,
            None => self.ask_rollout().await?.assignment,
        };
        let request = self.request(RollbackPolicyRequest { assignment, reason });
        let done = self.controller.policies().rollback_policy(request).await?.into_inner();
        let (number, active) = (done.assignment, done.active);
        self.tell(
            || json!({ "assignment": number, "active": active.as_ref().map(reference_json) }),
            || match &active {
                Some(active) => format!("{} is active, as {number}", place(active)),
                None => format!("nodes go back to the policies of their own settings, as {number}"),
            },
        )
    }

    async fn ask_rollout(&self) -> Result<GetRolloutResponse, CallError> {
        let request = self.request(GetRolloutRequest {});
        Ok(self.controller.policies().get_rollout(request).await?.into_inner())
    }

    async fn rollout(&self) -> Result<(), CallError> {
        let rollout = self.ask_rollout().await?;
        self.tell(|| rollout_json(&rollout), || rollout_text(&rollout))?;
        let is_any = |progress| rollout.nodes.iter().any(|node| node.progress() == progress);
        if is_any(PolicyProgress::Refused) {
            return Err(CallError::NotDone);
        }
        if is_any(PolicyProgress::Pending) { Err(CallError::NotYet) } else { Ok(()) }
    }
}

/// Whether a policy is the controller's: `NAME@VERSION`, and no file.
pub(crate) fn kept(place: &str) -> Option<PolicyVersion> {
    crate::args::policy(place).ok().filter(|_| !Path::new(place).is_file())
}

/// What the controller has against a source, as `policy check` tells it.
fn unsound(status: Status) -> CallError {
    match PolicyDiagnostics::of(&status) {
        Some(told) => CallError::Content(ConfigErrors::from(told)),
        None => status.into(),
    }
}

/// What is probably a slip goes to standard error: what is on standard output is for programs too.
fn warn(warnings: &[String]) {
    use std::io::Write as _;
    for warning in warnings {
        // With stderr gone there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "reevectl: warning: {warning}");
    }
}

fn reference(policy: &PolicyVersion) -> PolicyReference {
    PolicyReference { name: policy.name.to_string(), policy_version: policy.version }
}

fn place(reference: &PolicyReference) -> String {
    format!("{}@{}", reference.name, reference.policy_version)
}

fn reference_json(reference: &PolicyReference) -> Value {
    json!({ "name": reference.name, "policy_version": reference.policy_version })
}

const fn use_word(used: PolicyUse) -> &'static str {
    match used {
        PolicyUse::Unspecified => "unknown",
        PolicyUse::None => "none",
        PolicyUse::Staged => "staged",
        PolicyUse::Active => "active",
    }
}

const fn progress_word(progress: PolicyProgress) -> &'static str {
    match progress {
        PolicyProgress::Unspecified => "unknown",
        PolicyProgress::Running => "running",
        PolicyProgress::Pending => "pending",
        PolicyProgress::Refused => "refused",
        PolicyProgress::Own => "own",
    }
}

fn policy_json(policy: &WirePolicy) -> Value {
    json!({
        "name": policy.name,
        "policy_version": policy.policy_version,
        "upload_time": at(policy.upload_time),
        "uploaded_by": policy.uploaded_by,
        "reason": policy.reason,
        "use": use_word(policy.r#use()),
    })
}

fn rollout_json(rollout: &GetRolloutResponse) -> Value {
    let nodes = rollout.nodes.iter().map(|node| {
        json!({
            "node": node.node,
            "connected": node.connected,
            "meant": node.meant.as_ref().map(reference_json),
            "running": node.running.as_ref().map(reference_json),
            "progress": progress_word(node.progress()),
            "detail": node.detail,
        })
    });
    json!({
        "assignment": rollout.assignment,
        "active": rollout.active.as_ref().map(reference_json),
        "staged": rollout.staged.as_ref().map(reference_json),
        "percent": rollout.percent,
        "staged_nodes": rollout.staged_nodes,
        "time": at(rollout.time),
        "ordered_by": rollout.ordered_by,
        "reason": rollout.reason,
        "nodes": nodes.collect::<Vec<_>>(),
    })
}

fn rollout_text(rollout: &GetRolloutResponse) -> String {
    let active = rollout.active.as_ref().map_or("none: nodes run their own".to_owned(), place);
    let share = match (rollout.percent, rollout.staged_nodes.as_slice()) {
        (0, nodes) => nodes.join(", "),
        (percent, _) => format!("{percent} % of the nodes"),
    };
    let staged =
        rollout.staged.as_ref().map(|staged| format!("{} to {share}", place(staged))).unwrap_or_default();
    let by = if rollout.assignment == 0 {
        String::new()
    } else {
        format!("{} by {}", when(rollout.time), rollout.ordered_by)
    };
    let number = if rollout.assignment == 0 { String::new() } else { rollout.assignment.to_string() };
    let mut text = crate::show::facts(&[
        ("active", active),
        ("staged", staged),
        ("assignment", number),
        ("ordered", by),
        ("reason", rollout.reason.clone()),
    ]);
    let mut rows = vec![cells(["NODE", "LINK", "STATE", "MEANT", "RUNS", "WHY"])];
    let or_own = |reference: &Option<PolicyReference>, none: &str| {
        reference.as_ref().map_or_else(|| none.to_owned(), place)
    };
    rows.extend(rollout.nodes.iter().map(|node| {
        vec![
            node.node.clone(),
            if node.connected { "up" } else { "down" }.to_owned(),
            progress_word(node.progress()).to_owned(),
            or_own(&node.meant, "own"),
            or_own(&node.running, "-"),
            // A policy may be wrong in many lines.
            node.detail.lines().next().unwrap_or_default().to_owned(),
        ]
    }));
    if rollout.nodes.is_empty() {
        text.push_str("\nno node has ever connected");
    } else {
        text.push('\n');
        text.push('\n');
        text.push_str(&table(&rows));
    }
    text
}

fn at_version(policy: Option<&PolicyReference>) -> String {
    policy.map(|policy| format!("{}@{}", policy.name, policy.policy_version)).unwrap_or_default()
}

fn trial_json(all: &TryPolicyResponse) -> Value {
    let steps = |steps: &[PolicyTrialStep]| {
        let one = |step: &PolicyTrialStep| json!({ "time": at(step.time), "told": step.told, "clause": step.clause, "step": step.step });
        steps.iter().map(one).collect::<Vec<_>>()
    };
    let changes = all.changes.iter().map(|change| {
        json!({
            "tenant": change.tenant,
            "family": change.family,
            "before": steps(&change.before),
            "after": steps(&change.after),
            "violation": change.violation,
        })
    });
    json!({
        "candidate": at_version(all.candidate.as_ref()),
        "against": at_version(all.against.as_ref()),
        "from_time": at(all.from_time),
        "violations": all.violations,
        "alerts": all.alerts,
        "is_cut": all.is_cut,
        "same": all.same,
        "newly": all.newly,
        "no_longer": all.no_longer,
        "differently": all.differently,
        "changes": changes.collect::<Vec<_>>(),
    })
}

fn trial(all: &TryPolicyResponse) -> String {
    let cut = if all.is_cut { " (there were more, older ones)" } else { "" };
    let mut text = format!(
        "{} against {}, on {} violations since {}{cut}\n{} newly, {} no longer, {} otherwise, {} alike",
        at_version(all.candidate.as_ref()),
        at_version(all.against.as_ref()),
        all.violations,
        when(all.from_time),
        all.newly,
        all.no_longer,
        all.differently,
        all.same
    );
    if all.changes.is_empty() {
        return text;
    }
    let steps = |steps: &[PolicyTrialStep]| match steps {
        [] => "-".to_owned(),
        [only] => only.told.clone(),
        [first, more @ ..] => format!("{}, and {} more", first.told, more.len()),
    };
    let mut rows = vec![cells(["TENANT", "FOR", "BEFORE", "AFTER", "VIOLATION"])];
    rows.extend(all.changes.iter().map(|change| {
        let (tenant, family) = (change.tenant.clone(), change.family.clone());
        vec![tenant, family, steps(&change.before), steps(&change.after), change.violation.clone()]
    }));
    text.push_str("\n\n");
    text.push_str(&table(&rows));
    text
}
