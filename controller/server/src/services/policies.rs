//! `PolicyService`: which policy nodes run.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use reeve_policy::language::{Policy, Rule};
use reeve_policy::{AssignedPolicy, Name, NodeId, PolicyVersion, Tenant, TenantId};
use reeve_proto::operator::v1::policy_service_server::PolicyService;
use reeve_proto::operator::v1::stage_policy_request::Share as WireShare;
use reeve_proto::operator::v1::{
    ActivatePolicyRequest, ActivatePolicyResponse, DeletePolicyRequest, DeletePolicyResponse,
    DiffPoliciesRequest, DiffPoliciesResponse, GetPolicyRequest, GetPolicyResponse, GetRolloutRequest,
    GetRolloutResponse, ListPoliciesRequest, ListPoliciesResponse, Policy as WirePolicy, PolicyDiagnostics,
    PolicyDifference, PolicyOnNode, PolicyProgress, PolicyReference, PolicyUse, RollbackPolicyRequest,
    RollbackPolicyResponse, StagePolicyRequest, StagePolicyResponse, TryPolicyRequest, TryPolicyResponse,
    UploadPolicyRequest, UploadPolicyResponse,
};
use reeve_proto::{MAX_POLICY_BYTES, time_to_wire};
use tonic::{Request, Response, Status};

use super::orders::check_reason;
use super::{House, trials, unreadable, unwritable};
use crate::auth::Caller;
use crate::directory::{Rollout, Share, Snapshot};
use crate::refusal::{DOMAIN, Reason};
use crate::store::write::{
    DeleteAsked, DeleteTaken, RolloutAsked, RolloutTaken, Upload, UploadTaken, Wanted,
};
use crate::store::{AssignmentRow, UploadedRow};
use crate::writer::Job;

/// The longest message: twice a policy, so that who sends one that is somewhat too long is told so in words.
pub(crate) const MAX_MESSAGE_BYTES: usize = 2 * MAX_POLICY_BYTES;
/// The most warnings that are told.
const MAX_WARNINGS: usize = 50;
/// The longest name that a source may have.
const MAX_FILE_BYTES: usize = 256;
/// What a source is called that has no name.
const FILE: &str = "policy.toml";
/// Since this minor version of the protocol agents take policies.
const TAKES_POLICIES: u32 = 7;

#[derive(Clone, Debug)]
pub(crate) struct Service(pub House);

#[tonic::async_trait]
impl PolicyService for Service {
    async fn upload_policy(
        &self,
        request: Request<UploadPolicyRequest>,
    ) -> Result<Response<UploadPolicyResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        check_reason(&request.reason, false)?;
        let policy = compile(&request)?;
        let version = PolicyVersion { name: policy.name.clone(), version: policy.version };
        let clash = |what: &str| {
            let text = format!(
                "there is another policy {version}, {what}: what was decided by which could not be told apart; give it a version above"
            );
            Status::already_exists(text)
        };
        if compiled_in(&version).is_some_and(|preset| preset != policy) {
            return Err(clash("compiled in"));
        }
        let warnings = warnings(&policy, &self.0.directory.snapshot());
        let known = if request.validate_only {
            match self.0.store.uploaded_policy(&version).await.map_err(unreadable)? {
                Some((_, source)) if source != request.source => return Err(clash("uploaded before")),
                None if self.0.store.is_spent(&version, &request.source).await.map_err(unreadable)? => {
                    return Err(clash("uploaded before"));
                }
                known => known.is_some(),
            }
        } else {
            let (source, by, reason) = (request.source, caller.name.to_string(), request.reason);
            let upload = Box::new(Upload { version: version.clone(), source, by, reason });
            let taken = self.0.writer.ask(|reply| Job::Upload { upload, reply }).await.map_err(unwritable)?;
            match taken {
                UploadTaken::Stored => tracing::info!(%caller, policy = %version, "a policy was uploaded"),
                UploadTaken::Known => {}
                UploadTaken::Differs => return Err(clash("uploaded before")),
                UploadTaken::Full => {
                    return Err(Status::resource_exhausted("there are too many policies: 4096, and no more"));
                }
            }
            taken == UploadTaken::Known
        };
        let row = self.0.store.uploaded_policy(&version).await.map_err(unreadable)?.map(|(row, _)| row);
        let policy = Some(self.told(&version, row.as_ref()));
        Ok(Response::new(UploadPolicyResponse { policy, warnings, known }))
    }

    async fn list_policies(
        &self,
        _: Request<ListPoliciesRequest>,
    ) -> Result<Response<ListPoliciesResponse>, Status> {
        let rows = self.0.store.uploaded().await.map_err(unreadable)?;
        let policies = rows.iter().map(|row| self.told(&row.version, Some(row))).collect();
        Ok(Response::new(ListPoliciesResponse { policies }))
    }

    async fn get_policy(
        &self,
        request: Request<GetPolicyRequest>,
    ) -> Result<Response<GetPolicyResponse>, Status> {
        let GetPolicyRequest { name, policy_version } = request.into_inner();
        let version = version_of(&name, policy_version)?;
        let Found { row, source, policy } = self.find(&version).await?;
        let policy_told = Some(self.told(&version, row.as_ref()));
        Ok(Response::new(GetPolicyResponse { policy: policy_told, source, resolved: policy.written() }))
    }

    async fn diff_policies(
        &self,
        request: Request<DiffPoliciesRequest>,
    ) -> Result<Response<DiffPoliciesResponse>, Status> {
        let request = request.into_inner();
        let before = self.find(&asked("before", request.before)?).await?.policy;
        let after = self.find(&asked("after", request.after)?).await?.policy;
        let differences = before.differences(&after).into_iter().map(|difference| PolicyDifference {
            what: difference.what,
            before: difference.before,
            after: difference.after,
        });
        Ok(Response::new(DiffPoliciesResponse { differences: differences.collect() }))
    }

    async fn stage_policy(
        &self,
        request: Request<StagePolicyRequest>,
    ) -> Result<Response<StagePolicyResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        check_reason(&request.reason, false)?;
        let version = version_of(&request.name, request.policy_version)?;
        let share = share(request.share)?;
        let warnings = self.fit(&version).await?;
        let (number, _) =
            self.roll_out(&caller, Wanted::Stage(version.clone(), share.clone()), request.reason).await?;
        let nodes = self.0.store.assignments().await.map_err(unreadable)?;
        let meant = nodes.iter().filter(|row| share.holds(&row.node)).count();
        tracing::warn!(%caller, policy = %version, assignment = number, nodes = meant, "a policy was staged");
        let nodes = u32::try_from(meant).unwrap_or(u32::MAX);
        Ok(Response::new(StagePolicyResponse { assignment: number, nodes, warnings }))
    }

    async fn activate_policy(
        &self,
        request: Request<ActivatePolicyRequest>,
    ) -> Result<Response<ActivatePolicyResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        check_reason(&request.reason, false)?;
        let version = version_of(&request.name, request.policy_version)?;
        let warnings = self.fit(&version).await?;
        let (number, _) = self.roll_out(&caller, Wanted::Activate(version.clone()), request.reason).await?;
        let nodes = self.0.store.assignments().await.map_err(unreadable)?.len();
        tracing::warn!(%caller, policy = %version, assignment = number, nodes, "a policy was activated");
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        Ok(Response::new(ActivatePolicyResponse { assignment: number, nodes, warnings }))
    }

    async fn rollback_policy(
        &self,
        request: Request<RollbackPolicyRequest>,
    ) -> Result<Response<RollbackPolicyResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let RollbackPolicyRequest { assignment, reason } = request.into_inner();
        check_reason(&reason, false)?;
        let meant = (assignment != 0).then_some(assignment);
        let (number, active) = self.roll_out(&caller, Wanted::Rollback(meant), reason).await?;
        let told = active.as_ref().map_or_else(|| "the nodes' own".to_owned(), PolicyVersion::to_string);
        tracing::warn!(%caller, assignment = number, active = told, "policies were rolled back");
        let active = active.as_ref().map(reference);
        Ok(Response::new(RollbackPolicyResponse { assignment: number, active }))
    }

    async fn try_policy(
        &self,
        request: Request<TryPolicyRequest>,
    ) -> Result<Response<TryPolicyResponse>, Status> {
        let sight = Caller::sight(request.extensions())?;
        let request = request.into_inner();
        let candidate = asked("candidate", request.candidate)?;
        let against = match request.against {
            Some(against) => asked("against", Some(against))?,
            None => {
                let rollout = Arc::clone(&self.0.directory.snapshot().rollout);
                let active = rollout.active.as_ref().map(|active| active.version.clone());
                active.ok_or_else(|| {
                    Status::failed_precondition("no policy is active: say what it is to be held against")
                })?
            }
        };
        let policies = [self.find(&against).await?.policy, self.find(&candidate).await?.policy];
        let answer = trials::play(&self.0, policies.map(Arc::new), request.days, sight).await?;
        let (candidate, against) = (Some(reference(&candidate)), Some(reference(&against)));
        Ok(Response::new(TryPolicyResponse { candidate, against, ..answer }))
    }

    async fn delete_policy(
        &self,
        request: Request<DeletePolicyRequest>,
    ) -> Result<Response<DeletePolicyResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let DeletePolicyRequest { name, policy_version, reason } = request.into_inner();
        check_reason(&reason, false)?;
        let version = version_of(&name, policy_version)?;
        let asked = DeleteAsked { version: version.clone(), by: caller.name.to_string(), reason };
        let asked = Box::new(asked);
        let taken =
            self.0.writer.ask(|reply| Job::DeletePolicy { asked, reply }).await.map_err(unwritable)?;
        let in_use = |how: &str, text: &str| {
            let about = [("policy", version.to_string()), ("use", how.to_owned())];
            Err(Reason::PolicyInUse.about(format!("{version} {text}"), about))
        };
        match taken {
            DeleteTaken::Deleted => {
                tracing::warn!(%caller, policy = %version, "a policy was deleted");
                Ok(Response::new(DeletePolicyResponse {}))
            }
            DeleteTaken::NoPolicy if compiled_in(&version).is_some() => {
                Err(Status::not_found(format!("{version} is compiled in, and was not uploaded")))
            }
            DeleteTaken::NoPolicy => Err(no_policy(&version)),
            DeleteTaken::Active => in_use("active", "is active"),
            DeleteTaken::Staged => in_use("staged", "is staged"),
            DeleteTaken::Before => in_use("rollback", "is what a rollback goes back to"),
            DeleteTaken::Runs(nodes) => {
                in_use("node", &format!("runs still, as they told last, on {}", nodes.join(", ")))
            }
        }
    }

    async fn get_rollout(
        &self,
        _: Request<GetRolloutRequest>,
    ) -> Result<Response<GetRolloutResponse>, Status> {
        let rollout = Arc::clone(&self.0.directory.snapshot().rollout);
        let act = self.0.store.policy_act(rollout.number).await.map_err(unreadable)?;
        let rows = self.0.store.assignments().await.map_err(unreadable)?;
        let nodes = rows.iter().map(|row| {
            let connected = self.0.streams.is_connected(&row.node);
            on_node(&rollout, row, connected)
        });
        let nodes = nodes.collect();
        let (percent, staged_nodes) = match rollout.staged.as_ref().map(|staged| &staged.share) {
            None => (0, Vec::new()),
            Some(Share::Percent(percent)) => (u32::from(*percent), Vec::new()),
            Some(Share::Nodes(nodes)) => (0, nodes.iter().map(ToString::to_string).collect()),
        };
        let of = |policy: &Arc<AssignedPolicy>| reference(&policy.version);
        Ok(Response::new(GetRolloutResponse {
            assignment: rollout.number,
            active: rollout.active.as_ref().map(of),
            staged: rollout.staged.as_ref().map(|staged| of(&staged.policy)),
            percent,
            staged_nodes,
            time: act.as_ref().map(|act| time_to_wire(act.at)),
            ordered_by: act.as_ref().map(|act| act.by.clone()).unwrap_or_default(),
            reason: act.map(|act| act.reason).unwrap_or_default(),
            nodes,
        }))
    }
}

/// A policy that a field of a request names.
fn asked(field: &str, reference: Option<PolicyReference>) -> Result<PolicyVersion, Status> {
    let missing = || Status::invalid_argument(format!("{field}: a policy's name and version"));
    let reference = reference.ok_or_else(missing)?;
    version_of(&reference.name, reference.policy_version)
}

/// A policy that is there.
struct Found {
    /// Absent of one that is compiled in.
    row: Option<UploadedRow>,
    source: String,
    policy: Policy,
}

impl Service {
    /// One that was uploaded, or is compiled in.
    async fn find(&self, version: &PolicyVersion) -> Result<Found, Status> {
        if let Some((row, source)) = self.0.store.uploaded_policy(version).await.map_err(unreadable)? {
            let policy = Policy::parse(&version.to_string(), &source).map_err(|error| {
                Status::failed_precondition(format!("this controller cannot read {version}: {error}"))
            })?;
            return Ok(Found { row: Some(row), source, policy });
        }
        let preset = compiled_in(version);
        let source = Policy::PRESETS.iter().find(|(name, _)| *name == version.name.as_str());
        preset
            .zip(source)
            .map(|(policy, (_, source))| Found { row: None, source: (*source).to_owned(), policy })
            .ok_or_else(|| no_policy(version))
    }

    /// Refuses to assign what is aimed at what it protects; what is probably a slip in it.
    async fn fit(&self, version: &PolicyVersion) -> Result<Vec<String>, Status> {
        let found = self.find(version).await?;
        if found.row.is_none() {
            let text = format!("{version} is compiled in: upload it under a name of yours to assign it");
            return Err(Status::failed_precondition(text));
        }
        let aims = found.policy.aims_at_protected();
        if !aims.is_empty() {
            let text = format!("{version} is aimed at what it protects: {}", aims.join("; "));
            return Err(Status::failed_precondition(text));
        }
        Ok(warnings(&found.policy, &self.0.directory.snapshot()))
    }

    async fn roll_out(
        &self,
        caller: &Caller,
        wanted: Wanted,
        reason: String,
    ) -> Result<(u64, Option<PolicyVersion>), Status> {
        let policy = match &wanted {
            Wanted::Stage(policy, _) | Wanted::Activate(policy) => Some(policy.clone()),
            Wanted::Rollback(_) => None,
        };
        let asked = Box::new(RolloutAsked { wanted, by: caller.name.to_string(), reason });
        let taken = self.0.writer.ask(|reply| Job::RollOut { asked, reply }).await.map_err(unwritable)?;
        let named = || policy.as_ref().map(ToString::to_string).unwrap_or_default();
        Err(match taken {
            RolloutTaken::Done { number, active } => return Ok((number, active)),
            RolloutTaken::NoPolicy => Status::not_found(format!("there is no policy {}", named())),
            RolloutTaken::NoNodes(nodes) => {
                let mut text = "these nodes have never connected:".to_owned();
                for node in nodes.iter().take(20) {
                    // Writing to a String cannot fail.
                    let _ = write!(text, " {node}");
                }
                Status::not_found(text)
            }
            RolloutTaken::IsActive => Status::failed_precondition(format!(
                "{} is active on all nodes; to end what is staged, roll back",
                named()
            )),
            RolloutTaken::Older(active) => Status::failed_precondition(format!(
                "found {}, and {active} is active; allowed: a version above. Versions only move forward: roll back, or upload the older rules \
                 under a higher version",
                named()
            )),
            RolloutTaken::Nothing => {
                Status::failed_precondition("there is nothing to go back from: no policy is staged or active")
            }
            RolloutTaken::Moved(number) => Status::aborted(format!(
                "something was assigned since, as {number}: look at it, and say so if that is to be gone back from"
            )),
        })
    }

    fn told(&self, version: &PolicyVersion, row: Option<&UploadedRow>) -> WirePolicy {
        let rollout = Arc::clone(&self.0.directory.snapshot().rollout);
        let is = |policy: Option<&Arc<AssignedPolicy>>| policy.is_some_and(|one| one.version == *version);
        let used = if is(rollout.active.as_ref()) {
            PolicyUse::Active
        } else if is(rollout.staged.as_ref().map(|staged| &staged.policy)) {
            PolicyUse::Staged
        } else {
            PolicyUse::None
        };
        WirePolicy {
            name: version.name.to_string(),
            policy_version: version.version,
            upload_time: row.map(|row| time_to_wire(row.at)),
            uploaded_by: row.map(|row| row.by.clone()).unwrap_or_default(),
            reason: row.map(|row| row.reason.clone()).unwrap_or_default(),
            r#use: used.into(),
        }
    }
}

/// The policy of a request, or all that is wrong with it.
fn compile(request: &UploadPolicyRequest) -> Result<Policy, Status> {
    let (found, most) = (request.source.len(), MAX_POLICY_BYTES);
    if found > most {
        return Err(Status::invalid_argument(format!(
            "source: found {found} bytes; allowed: at most {most}"
        )));
    }
    let file = if request.file.is_empty() { FILE } else { &request.file };
    if file.len() > MAX_FILE_BYTES || file.chars().any(char::is_control) {
        return Err(Status::invalid_argument(format!("file: at most {MAX_FILE_BYTES} bytes on one line")));
    }
    let policy = Policy::parse(file, &request.source).map_err(|errors| {
        // For those who read no details, the words are in the message too, as far as headers have room.
        const MOST: usize = 1_024;
        let mut text = errors.to_string();
        text.truncate(text.floor_char_boundary(MOST));
        PolicyDiagnostics::from(&errors).refusal(&text, Reason::PolicyUnsound.as_str(), DOMAIN)
    })?;
    if !request.name.is_empty() && request.name != policy.name.as_str() {
        let (found, allowed) = (&request.name, &policy.name);
        return Err(Status::invalid_argument(format!(
            "name: found {found:.80?}; allowed: {allowed}, as the source says"
        )));
    }
    Ok(policy)
}

/// What is probably a slip in a policy, given the tenants that there are and what is active.
fn warnings(policy: &Policy, snapshot: &Snapshot) -> Vec<String> {
    let tenants = || snapshot.tenants.all().values().map(|tenant| -> &Tenant { tenant });
    let idle = |rule: &Rule| {
        format!("rule `{}` protects the provider's own networks, and [networks] `own` names none", rule.id)
    };
    let mut all = policy.aims_at_protected();
    all.extend(policy.covered_tenants(tenants()));
    all.extend(policy.rules_without_networks().map(idle));
    let tailored = &policy.tailoring;
    let named: BTreeSet<&TenantId> = tailored.tenants.keys().chain(tailored.tenant_factors.keys()).collect();
    let strangers = named.into_iter().filter(|id| snapshot.tenants.by_id(id).is_none());
    all.extend(strangers.map(|id| format!("it has numbers for tenant `{id}`, whom nobody knows")));
    if let Some(active) = &snapshot.rollout.active
        && let Ok(active) = active.compile()
    {
        all.extend(policy.step_back(&active));
    }
    all.extend(policy.protected_within(tenants()));
    let more = all.len().saturating_sub(MAX_WARNINGS);
    if more > 0 {
        all.truncate(MAX_WARNINGS);
        all.push(format!("and {more} more"));
    }
    all
}

/// How far a node is.
fn on_node(rollout: &Rollout, row: &AssignmentRow, connected: bool) -> PolicyOnNode {
    let meant = rollout.meant_for(&row.node).map(|policy| &policy.version);
    let assigned = row.running.as_ref().filter(|_| row.is_assigned);
    let is_old = row.protocol.is_some_and(|minor| minor < TAKES_POLICIES);
    let (progress, detail) = if !row.refused.is_empty() && row.decided >= rollout.number {
        (PolicyProgress::Refused, row.refused.clone())
    } else if meant == assigned && row.refused.is_empty() {
        (if meant.is_some() { PolicyProgress::Running } else { PolicyProgress::Own }, String::new())
    } else if rollout.number == 0 {
        (PolicyProgress::Own, "it keeps what another controller, or this one before, assigned".to_owned())
    } else if row.decided >= rollout.number {
        let text = format!(
            "it has assignment {}, which this controller does not know of, as after a copy was brought back: assign again",
            row.decided
        );
        (PolicyProgress::Pending, text)
    } else if is_old {
        let minor = row.protocol.unwrap_or_default();
        (
            PolicyProgress::Pending,
            format!("its agent speaks protocol 1.{minor}; allowed: 1.{TAKES_POLICIES} and later"),
        )
    } else {
        (PolicyProgress::Pending, String::new())
    };
    PolicyOnNode {
        node: row.node.to_string(),
        connected,
        meant: meant.map(reference),
        running: row.running.as_ref().map(reference),
        progress: progress.into(),
        detail,
    }
}

fn compiled_in(version: &PolicyVersion) -> Option<Policy> {
    Policy::preset(version.name.as_str()).filter(|preset| preset.version == version.version)
}

fn no_policy(version: &PolicyVersion) -> Status {
    Status::not_found(format!("there is no policy {version}"))
}

fn reference(version: &PolicyVersion) -> PolicyReference {
    PolicyReference { name: version.name.to_string(), policy_version: version.version }
}

fn version_of(name: &str, version: u32) -> Result<PolicyVersion, Status> {
    let name: Name = name.parse().map_err(|error| Status::invalid_argument(format!("name: {error}")))?;
    Ok(PolicyVersion { name, version })
}

fn share(wire: Option<WireShare>) -> Result<Share, Status> {
    let wrong = |text: String| Err(Status::invalid_argument(text));
    match wire {
        Some(WireShare::Percent(percent @ 1..=99)) => Ok(Share::Percent(u8::try_from(percent).unwrap_or(1))),
        Some(WireShare::Percent(percent)) => {
            wrong(format!("percent: found {percent}; allowed: 1 to 99. On all nodes a policy is activated"))
        }
        Some(WireShare::Nodes(nodes)) if (1..=Share::MAX_NODES).contains(&nodes.nodes.len()) => {
            let node = |text: &String| -> Result<NodeId, Status> {
                text.parse().map_err(|error| Status::invalid_argument(format!("nodes: {error}")))
            };
            Ok(Share::Nodes(nodes.nodes.iter().map(node).collect::<Result<_, _>>()?))
        }
        Some(WireShare::Nodes(nodes)) => {
            let (found, most) = (nodes.nodes.len(), Share::MAX_NODES);
            wrong(format!("nodes: found {found}; allowed: 1 to {most}"))
        }
        None => wrong("share: found nothing; allowed: a percentage, or nodes".to_owned()),
    }
}
