//! Policies that are uploaded, staged, activated and rolled back: what nodes are sent, and what is told of them.

use std::time::Duration;

use crate::common::{self, Agent, Running};
use reeve_controller::clock;
use reeve_policy::{
    Alert, Assignment, Class, Loss, NodeId, PolicyVersion, Report, TenantId, Timestamp, Violation,
    ViolationId, ViolationState, Window,
};
use reeve_proto::operator::v1::policy_service_client::PolicyServiceClient;
use reeve_proto::operator::v1::stage_policy_request::Share;
use reeve_proto::operator::v1::{
    ActivatePolicyRequest, DeletePolicyRequest, DiffPoliciesRequest, GetPolicyRequest, GetRolloutRequest,
    GetRolloutResponse, ListPoliciesRequest, PolicyDiagnostics, PolicyNodes, PolicyProgress, PolicyReference,
    PolicyUse, RollbackPolicyRequest, StagePolicyRequest, TryPolicyRequest, UploadPolicyRequest,
    UploadPolicyResponse,
};
use reeve_proto::session::{Down, PolicyHeld, ProtocolVersion};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A policy of ours.
fn text(version: u32, more: &str) -> String {
    format!("[policy]\nname = \"ours\"\nversion = {version}\nextends = \"baseline\"\n{more}")
}

fn version(version: u32) -> PolicyVersion {
    PolicyVersion { name: "ours".parse().unwrap(), version }
}

fn reference(version: u32) -> PolicyReference {
    PolicyReference { name: "ours".into(), policy_version: version }
}

struct Desk(PolicyServiceClient<Channel>);

impl Desk {
    fn new(channel: &Channel) -> Self {
        Self(PolicyServiceClient::new(channel.clone()))
    }

    async fn upload(&mut self, source: &str) -> Result<UploadPolicyResponse, Status> {
        let request = UploadPolicyRequest { source: source.into(), ..Default::default() };
        Ok(self.0.upload_policy(request).await?.into_inner())
    }

    async fn stage(&mut self, version: u32, share: Share) -> Result<u64, Status> {
        let request = StagePolicyRequest {
            name: "ours".into(),
            policy_version: version,
            share: Some(share),
            reason: "first a few".into(),
        };
        Ok(self.0.stage_policy(request).await?.into_inner().assignment)
    }

    async fn activate(&mut self, version: u32) -> Result<u64, Status> {
        let request =
            ActivatePolicyRequest { name: "ours".into(), policy_version: version, reason: String::new() };
        Ok(self.0.activate_policy(request).await?.into_inner().assignment)
    }

    async fn delete(&mut self, version: u32) -> Result<(), Status> {
        let request = DeletePolicyRequest {
            name: "ours".into(),
            policy_version: version,
            reason: "not used any more".into(),
        };
        self.0.delete_policy(request).await.map(drop)
    }

    /// Of a policy that cannot be deleted, how it is used.
    async fn used(&mut self, version: u32) -> String {
        let refused = self.delete(version).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        let details = refused.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.metadata["policy"].as_str()),
            ("POLICY_IN_USE", &*format!("ours@{version}"))
        );
        info.metadata["use"].clone()
    }

    async fn roll_back(&mut self, assignment: u64) -> Result<(u64, Option<u32>), Status> {
        let request = RollbackPolicyRequest { assignment, reason: String::new() };
        let answer = self.0.rollback_policy(request).await?.into_inner();
        Ok((answer.assignment, answer.active.map(|active| active.policy_version)))
    }

    async fn rollout(&mut self) -> GetRolloutResponse {
        self.0.get_rollout(GetRolloutRequest {}).await.unwrap().into_inner()
    }

    /// How far a node is, what it is to run, and what is said of it.
    async fn on(&mut self, node: &str) -> (PolicyProgress, Option<u32>, String) {
        let rollout = self.rollout().await;
        let one = rollout.nodes.into_iter().find(|one| one.node == node).unwrap();
        let progress = one.progress();
        (progress, one.meant.map(|meant| meant.policy_version), one.detail)
    }
}

fn named(node: &str) -> Share {
    Share::Nodes(PolicyNodes { nodes: vec![node.into()] })
}

/// What a node tells that runs a version of ours, assigned or its own.
fn held(assignment: u64, version: Option<u32>, refused: &str) -> Option<PolicyHeld> {
    let own = PolicyVersion { name: "baseline".parse().unwrap(), version: 1 };
    Some(PolicyHeld {
        assignment,
        running: version.map_or(own, self::version),
        is_assigned: version.is_some(),
        refused: refused.into(),
    })
}

async fn greet(channel: &Channel, node: &str, held: Option<PolicyHeld>) -> Agent {
    Agent::greet_holding(channel.clone(), node, ProtocolVersion::CURRENT, held).await.unwrap()
}

fn told(assignment: &Assignment) -> (u64, Option<u32>) {
    (assignment.number, assignment.policy.as_ref().map(|policy| policy.version.version))
}

#[tokio::test]
async fn a_policy_is_compiled_kept_once_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let mut desk = Desk::new(&channel);

    // Wrong: where and why, so that a program can show it.
    let wrong = text(1, "[thresholds.\"flood.syn\"]\npackets_per_second = \"many\"\n");
    let refused = desk.upload(&wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let all = PolicyDiagnostics::of(&refused).unwrap().diagnostics;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].file.as_str(), all[0].line, all[0].column), ("policy.toml", 6, 22));
    assert_eq!(all[0].excerpt, "packets_per_second = \"many\"");
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "POLICY_UNSOUND");
    assert!(refused.message().contains("policy.toml:6:22"), "{}", refused.message());
    let large = text(1, &"#".repeat(600 << 10));
    let refused = desk.upload(&large).await.unwrap_err();
    let expect = format!("source: found {} bytes; allowed: at most 524288", large.len());
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, expect.as_str()));

    // Only looked at, it is not kept.
    let good = text(1, "[tenant.\"nobody\"]\n\"spam\" = 2\n");
    let request = UploadPolicyRequest { source: good.clone(), validate_only: true, ..Default::default() };
    let looked = desk.0.upload_policy(request).await.unwrap().into_inner();
    assert!(looked.warnings.iter().any(|told| told.contains("`nobody`")), "{:?}", looked.warnings);
    assert!(desk.0.list_policies(ListPoliciesRequest {}).await.unwrap().into_inner().policies.is_empty());

    assert!(!desk.upload(&good).await.unwrap().known);
    assert!(desk.upload(&good).await.unwrap().known, "the same again is no error");
    let other = desk.upload(&text(1, "")).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists, "{other}");
    let preset = "[policy]\nname = \"baseline\"\nversion = 1\nextends = \"extin\"\n";
    assert_eq!(desk.upload(preset).await.unwrap_err().code(), Code::AlreadyExists);
    desk.upload(&text(2, "[thresholds.\"flood.syn\"]\npackets_per_second = 900\n")).await.unwrap();

    let all = desk.0.list_policies(ListPoliciesRequest {}).await.unwrap().into_inner().policies;
    let all: Vec<_> =
        all.iter().map(|one| (one.policy_version, one.r#use(), one.uploaded_by.is_empty())).collect();
    assert_eq!(all, [(2, PolicyUse::None, false), (1, PolicyUse::None, false)]);
    let request = GetPolicyRequest { name: "ours".into(), policy_version: 2 };
    let found = desk.0.get_policy(request).await.unwrap().into_inner();
    assert!(found.source.contains("extends") && !found.resolved.contains("extends"));
    let request = GetPolicyRequest { name: "ours".into(), policy_version: 3 };
    assert_eq!(desk.0.get_policy(request).await.unwrap_err().code(), Code::NotFound);
    let request = DiffPoliciesRequest { before: Some(reference(1)), after: Some(reference(2)) };
    let differences = desk.0.diff_policies(request).await.unwrap().into_inner().differences;
    let flood = differences.iter().find(|one| one.what.contains("packets_per_second")).unwrap();
    assert_eq!((flood.before.as_deref(), flood.after.as_deref()), (Some("200"), Some("900")));
    controller.stop().await;
}

/// A scan of alice's, seen on n1.
fn scan(at: Timestamp) -> Violation {
    let (node, tenant): (NodeId, TenantId) = ("n1".parse().unwrap(), "alice".parse().unwrap());
    let rule = "portscan".parse().unwrap();
    Violation {
        id: ViolationId::new(&node, &tenant, &rule, at),
        node,
        rule,
        clause: "baseline/portscan".into(),
        opened: at,
        last_seen: at,
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence: Alert {
            class: Class::PortscanVertical,
            tenant: tenant.clone(),
            at,
            window: Window { start: at, end: at },
            metrics: Vec::new(),
            confidence_percent: 90,
            targets: Vec::new(),
            samples: Vec::new(),
            loss: Loss::default(),
            is_suspicion: false,
        },
        tenant,
    }
}

#[tokio::test]
async fn a_policy_is_tried_on_what_nodes_saw() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let mut desk = Desk::new(&channel);
    common::import(&channel, vec![common::alice()], true).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    let violation = scan(clock::now().minus(Duration::from_secs(3_600)));
    agent.report(1, Report::Violation(violation.clone())).await;
    agent.acknowledged(1).await;

    let rule = "[[rule]]\nid = \"portscan\"\nclause = \"ours/portscan\"\non = [\"portscan.*\"]\n\
                ladder = [{ action = \"block\", scope = \"tcp/22\", until = \"1h\" }]\n";
    desk.upload(&text(1, rule)).await.unwrap();
    let baseline = PolicyReference { name: "baseline".into(), policy_version: 1 };
    let request = |against: Option<PolicyReference>, days| TryPolicyRequest {
        candidate: Some(reference(1)),
        against,
        days,
    };
    let refused = desk.0.try_policy(request(None, 0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "nothing is active: {refused}");
    let refused = desk.0.try_policy(request(Some(baseline.clone()), 31)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "days: found 31; allowed: 1 to 30")
    );
    let unknown = desk.0.try_policy(request(Some(reference(9)), 0)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let tried = desk.0.try_policy(request(Some(baseline), 0)).await.unwrap().into_inner();
    assert_eq!((tried.violations, tried.alerts, tried.is_cut), (1, 1, false));
    assert_eq!((tried.newly, tried.no_longer, tried.differently, tried.same), (0, 0, 1, 0));
    let [change] = &*tried.changes else { panic!("{tried:?}") };
    assert_eq!((change.tenant.as_str(), change.family.as_str()), ("alice", "portscan"));
    assert_eq!(change.violation, violation.id.to_string());
    assert_eq!(change.before[0].told, "suspend all until released");
    assert_eq!(
        (change.after[0].told.as_str(), change.after[0].clause.as_str()),
        ("block tcp/22 for 1h", "ours/portscan")
    );

    // What is active is what it is held against, where nothing is said.
    desk.activate(1).await.unwrap();
    let same = desk.0.try_policy(request(None, 1)).await.unwrap().into_inner();
    assert_eq!((same.same, same.changes.len(), same.against), (1, 0, Some(reference(1))));
    controller.stop().await;
}

#[tokio::test]
async fn a_policy_goes_to_a_few_then_to_all_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let mut desk = Desk::new(&channel);
    for number in [1, 2] {
        desk.upload(&text(number, "")).await.unwrap();
    }
    let mut n1 = greet(&channel, "n1", held(0, None, "")).await;
    let mut n2 = greet(&channel, "n2", held(0, None, "")).await;
    assert_eq!(desk.on("n1").await, (PolicyProgress::Own, None, String::new()));

    let one = desk.activate(1).await.unwrap();
    assert_eq!(told(&n1.assignment().await), (one, Some(1)));
    assert_eq!(told(&n2.assignment().await), (one, Some(1)));
    assert_eq!(desk.on("n1").await.0, PolicyProgress::Pending);
    assert_eq!(desk.activate(1).await.unwrap(), one, "it is active already");
    let mut n1 = greet(&channel, "n1", held(one, Some(1), "")).await;
    let mut n2 = greet(&channel, "n2", held(one, Some(1), "")).await;
    assert_eq!(desk.on("n1").await, (PolicyProgress::Running, Some(1), String::new()));

    // Staged to one; the other is not told.
    assert_eq!(desk.stage(2, named("n9")).await.unwrap_err().code(), Code::NotFound);
    let two = desk.stage(2, named("n1")).await.unwrap();
    assert!(two > one);
    let assignment = n1.assignment().await;
    assert_eq!(told(&assignment), (two, Some(2)));
    assert_eq!(assignment.policy.unwrap().source, text(2, ""));
    let _n1 = greet(&channel, "n1", held(two, Some(1), "this node does not like it")).await;
    let why = "this node does not like it".to_owned();
    assert_eq!(desk.on("n1").await, (PolicyProgress::Refused, Some(2), why));
    assert_eq!(desk.on("n2").await, (PolicyProgress::Running, Some(1), String::new()));
    let rollout = desk.rollout().await;
    assert_eq!((rollout.staged, rollout.active), (Some(reference(2)), Some(reference(1))));
    assert_eq!(
        (rollout.staged_nodes.as_slice(), rollout.reason.as_str()),
        (&["n1".to_owned()][..], "first a few")
    );

    // For all: the one that refused is asked again.
    let three = desk.activate(2).await.unwrap();
    assert_eq!(told(&n2.assignment().await), (three, Some(2)));
    let mut n1 = greet(&channel, "n1", held(two, Some(1), "no")).await;
    assert_eq!(told(&n1.assignment().await), (three, Some(2)));
    let mut n1 = greet(&channel, "n1", held(three, Some(2), "")).await;
    let mut n2 = greet(&channel, "n2", held(three, Some(2), "")).await;
    let older = desk.activate(1).await.unwrap_err();
    assert_eq!(older.code(), Code::FailedPrecondition);
    assert!(older.message().contains("found ours@1, and ours@2 is active"), "{older}");

    // Back once, though it is asked for twice; and back again, to the nodes' own.
    let (four, active) = desk.roll_back(three).await.unwrap();
    assert_eq!((four > three, active), (true, Some(1)));
    assert_eq!(desk.roll_back(three).await.unwrap_err().code(), Code::Aborted);
    assert_eq!(told(&n1.assignment().await), (four, Some(1)));
    assert_eq!(told(&n2.assignment().await), (four, Some(1)));
    let mut n1 = greet(&channel, "n1", held(four, Some(1), "")).await;
    let (five, active) = desk.roll_back(0).await.unwrap();
    assert_eq!(active, None);
    assert_eq!(told(&n1.assignment().await), (five, None));
    assert_eq!(desk.roll_back(0).await.unwrap_err().code(), Code::FailedPrecondition);
    let _n1 = greet(&channel, "n1", held(five, None, "")).await;
    assert_eq!(desk.on("n1").await, (PolicyProgress::Own, None, String::new()));
    controller.stop().await;
}

#[tokio::test]
async fn what_is_assigned_outlasts_the_controller_and_older_agents_are_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let mut desk = Desk::new(&channel);
    desk.upload(&text(1, "")).await.unwrap();
    let one = desk.activate(1).await.unwrap();
    controller.stop().await;
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let mut desk = Desk::new(&channel);
    let mut n1 = greet(&channel, "n1", held(0, None, "")).await;
    assert_eq!(told(&n1.assignment().await), (one, Some(1)));
    // What an older one is told next is the answer to something that came after its greeting.
    let old = ProtocolVersion { major: 1, minor: 6 };
    let mut n2 = Agent::greet_holding(channel.clone(), "n2", old, None).await.unwrap();
    common::import(&channel, vec![common::alice()], false).await;
    assert!(matches!(n2.next().await.unwrap(), Down::Order(reeve_policy::Order::Tenants { .. })));
    let expect = "its agent speaks protocol 1.6; allowed: 1.7 and later".to_owned();
    assert_eq!(desk.on("n2").await, (PolicyProgress::Pending, Some(1), expect));
    controller.stop().await;
}

#[tokio::test]
async fn numbers_go_on_above_all_that_nodes_tell_unless_it_is_absurd() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let mut desk = Desk::new(&channel);
    desk.upload(&text(1, "")).await.unwrap();
    // As after a copy of the database was brought back that knows nothing of it.
    let mut n1 = greet(&channel, "n1", held(70, Some(9), "")).await;
    let _n2 = greet(&channel, "n2", held(u64::MAX, Some(9), "")).await;
    assert_eq!(desk.on("n1").await.0, PolicyProgress::Own, "nothing was assigned, and nothing is taken away");
    let next = desk.activate(1).await.unwrap();
    assert_eq!(next, 71);
    assert_eq!(told(&n1.assignment().await), (71, Some(1)));
    let (progress, _, detail) = desk.on("n2").await;
    assert!(progress == PolicyProgress::Pending && detail.contains("assign again"), "{detail}");
    controller.stop().await;
}

#[tokio::test]
async fn what_is_aimed_at_what_is_protected_is_not_assigned() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let mut desk = Desk::new(&controller.plain().await);
    let endpoint =
        "[[endpoint]]\nname = \"api\"\naddresses = [\"192.0.2.7\", \"2001:db8:7::7\"]\nports = [443]\n";
    let rule = "[[rule]]\nid = \"calls\"\non = [\"api_burst\"]\nladder = [{ action = \"block\", scope = \"endpoint\", until = \"1h\" }]\n";
    for (number, prefix) in [(1, "192.0.2.0/24"), (2, "2001:db8:7::/48")] {
        let guarded = text(number, &format!("[protected]\ndestinations = [\"{prefix}\"]\n{endpoint}{rule}"));
        let uploaded = desk.upload(&guarded).await.unwrap();
        assert!(uploaded.warnings.iter().any(|told| told.contains(prefix)), "{:?}", uploaded.warnings);
        for refused in [desk.activate(number).await, desk.stage(number, Share::Percent(5)).await] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition);
            assert!(
                refused.message().contains("rule `calls` blocks calls to the endpoint `api`"),
                "{refused}"
            );
        }
    }
    desk.upload(&text(3, &format!("{endpoint}{rule}"))).await.unwrap();
    for percent in [0, 100, u32::MAX] {
        let refused = desk.stage(3, Share::Percent(percent)).await.unwrap_err();
        assert!(refused.message().contains("allowed: 1 to 99"), "{refused}");
    }
    let empty = Share::Nodes(PolicyNodes { nodes: Vec::new() });
    assert_eq!(desk.stage(3, empty).await.unwrap_err().code(), Code::InvalidArgument);
    desk.stage(3, Share::Percent(99)).await.unwrap();
    assert_eq!(desk.rollout().await.percent, 99);
    controller.stop().await;
}

#[tokio::test]
async fn a_policy_is_deleted_when_nothing_rests_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let mut desk = Desk::new(&channel);
    let node = greet(&channel, "n1", held(0, None, "")).await;
    for number in 1..=4 {
        desk.upload(&text(number, "")).await.unwrap();
    }
    for number in 1..=3 {
        desk.activate(number).await.unwrap();
    }
    let four = desk.stage(4, named("n1")).await.unwrap();
    assert_eq!(desk.used(4).await, "staged");
    assert_eq!(desk.used(3).await, "active");
    assert_eq!(desk.used(2).await, "rollback");
    // Longer ago, but a node has it still.
    drop(node);
    let node = greet(&channel, "n1", held(1, Some(1), "")).await;
    assert_eq!(desk.used(1).await, "node");
    drop(node);
    let _node = greet(&channel, "n1", held(four, Some(4), "")).await;
    desk.delete(1).await.unwrap();
    assert_eq!(desk.delete(1).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(desk.delete(9).await.unwrap_err().code(), Code::NotFound);
    let get = GetPolicyRequest { name: "ours".into(), policy_version: 1 };
    assert_eq!(desk.0.get_policy(get).await.unwrap_err().code(), Code::NotFound);

    // Staging ends; back to 2; and before that there is nothing any more.
    assert_eq!(desk.roll_back(0).await.unwrap().1, Some(3));
    assert_eq!(desk.roll_back(0).await.unwrap().1, Some(2));
    desk.delete(3).await.unwrap();
    assert_eq!(desk.roll_back(0).await.unwrap().1, None);
    assert_eq!(desk.used(4).await, "node");
    desk.delete(2).await.unwrap();
    assert_eq!(desk.roll_back(0).await.unwrap_err().code(), Code::FailedPrecondition);

    // Its name and version stand for its text still, over a restart too.
    controller.stop().await;
    let controller = Running::start(dir.path()).await;
    let mut desk = Desk::new(&controller.plain().await);
    let other = text(1, "[thresholds.\"flood.syn\"]\npackets_per_second = 9000\n");
    assert_eq!(desk.upload(&other).await.unwrap_err().code(), Code::AlreadyExists);
    let look = UploadPolicyRequest { source: other, validate_only: true, ..Default::default() };
    assert_eq!(desk.0.upload_policy(look).await.unwrap_err().code(), Code::AlreadyExists);
    assert!(!desk.upload(&text(1, "")).await.unwrap().known);
    desk.activate(1).await.unwrap();
    controller.stop().await;
}
