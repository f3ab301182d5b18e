//! Acts that take a second person, asked of a running controller: which wait, who may approve them, and that each is done once.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{self, Running};
use reeve_controller::approval::KEY;
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_controller::settings;
use reeve_proto::operator::v1::access_service_client::AccessServiceClient;
use reeve_proto::operator::v1::approval_service_client::ApprovalServiceClient;
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::policy_service_client::PolicyServiceClient;
use reeve_proto::operator::v1::{
    ActivatePolicyRequest, Approval, ApprovalState, ApproveRequest, BatchReleaseRequest, BatchSuspendRequest,
    CreateTokenRequest, GetApprovalRequest, GetRolloutRequest, ImportTenantsRequest, ImposeRequest,
    LiftRequest, ListApprovalsRequest, ListAuditRequest, ListRevocationsRequest, PaidRequest, PauseRequest,
    PauseTarget, RejectRequest, ReleaseRequest, ResumeRequest, RevokeRequest, RevokeTokenRequest,
    Role as WireRole, RollbackPolicyRequest, SuspendRequest, UploadPolicyRequest, VerifyRequest,
    pause_target, revoke_request,
};
use reeve_proto::types::v1::{CheckVerdict, RelayAnswer, Tenant};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with people, whose settings say this of approvals; `Running` adds the database.
fn initialised(approval: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let people = [
        (Role::Admin, "root"),
        (Role::Admin, "chief"),
        (Role::Operator, "ann"),
        (Role::Operator, "ben"),
        (Role::Viewer, "reader"),
        (Role::Billing, "cash"),
    ];
    let people = people.map(|(role, name)| (role, name.parse().unwrap())).to_vec();
    pki::init(dir.path(), &Wanted { people, ..Wanted::default() }).unwrap();
    if common::IS_ON_POSTGRES {
        common::share(dir.path(), &reeve_cluster::Cluster::of_this_process().database().unwrap());
    }
    let path = dir.path().join(settings::FILE_NAME);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(path, format!("{before}[approval]\n{approval}\n")).unwrap();
    dir
}

async fn person(controller: &Running, dir: &Path, name: &str) -> Channel {
    controller.secure(dir, &dir.join("operators"), name).await
}

fn tenants(ids: &[&str]) -> Vec<Tenant> {
    let tenant = |(number, id): (usize, &&str)| Tenant {
        id: (*id).to_owned(),
        addresses: vec![format!("203.0.113.{number}/32"), format!("2001:db8::{number}/128")],
        ..Tenant::default()
    };
    ids.iter().enumerate().map(tenant).collect()
}

async fn import(channel: &Channel, ids: &[&str], method: i32) -> Result<(), Status> {
    let request = ImportTenantsRequest { tenants: tenants(ids), method, ..Default::default() };
    OperatorServiceClient::new(channel.clone()).import_tenants(request).await.map(drop)
}

fn suspend(tenant: &str) -> SuspendRequest {
    SuspendRequest { tenant: tenant.into(), reason: "sends spam".into(), ..SuspendRequest::default() }
}

/// Suspends a tenant; the key of the approval that it waits for, if it does.
async fn suspends(channel: &Channel, tenant: &str) -> Option<String> {
    waits(OperatorServiceClient::new(channel.clone()).suspend(suspend(tenant)).await)
}

/// The key of the approval that a call waits for; `None` if it was done.
fn waits<T>(answer: Result<T, Status>) -> Option<String> {
    let status = answer.err()?;
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    let key = status.metadata().get(KEY).unwrap_or_else(|| panic!("no approval: {status:?}"));
    Some(key.to_str().unwrap().to_owned())
}

async fn approve(channel: &Channel, id: &str) -> Result<Approval, Status> {
    let request = ApproveRequest { id: id.to_owned(), reason: "seen".into() };
    let answer = ApprovalServiceClient::new(channel.clone()).approve(request).await?;
    Ok(answer.into_inner().approval.unwrap())
}

async fn get(channel: &Channel, id: &str) -> Approval {
    let request = GetApprovalRequest { id: id.to_owned() };
    let answer = ApprovalServiceClient::new(channel.clone()).get_approval(request).await.unwrap();
    answer.into_inner().approval.unwrap()
}

async fn listed(channel: &Channel, all: bool) -> Vec<Approval> {
    let request = ListApprovalsRequest { all };
    ApprovalServiceClient::new(channel.clone()).list_approvals(request).await.unwrap().into_inner().approvals
}

async fn token(maker: &Channel, shown: Option<&str>, name: &str, role: WireRole) -> String {
    let mut request = Request::new(CreateTokenRequest {
        name: name.into(),
        role: role.into(),
        ..CreateTokenRequest::default()
    });
    show(&mut request, shown);
    AccessServiceClient::new(maker.clone()).create_token(request).await.unwrap().into_inner().token
}

fn show<T>(request: &mut Request<T>, token: Option<&str>) {
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
}

async fn approve_by(channel: &Channel, token: &str, id: &str) -> Result<(), Status> {
    let mut request = Request::new(ApproveRequest { id: id.to_owned(), reason: String::new() });
    show(&mut request, Some(token));
    ApprovalServiceClient::new(channel.clone()).approve(request).await.map(drop)
}

fn denied<T: std::fmt::Debug>(answer: Result<T, Status>, words: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains(words), "{status:?}");
}

/// How many decisions there are; the controller does not run.
async fn decisions(dir: &Path) -> u64 {
    common::execute(dir, "UPDATE decisions SET tenant = tenant").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_waits_is_approved_by_somebody_else_and_done_once() {
    let dir = initialised("important = ['shop']");
    let controller = Running::start(dir.path()).await;
    let (ann, ben) =
        (person(&controller, dir.path(), "ann").await, person(&controller, dir.path(), "ben").await);
    let admin = person(&controller, dir.path(), "root").await;
    import(&ann, &["shop", "blog"], 2).await.unwrap();
    assert_eq!(suspends(&ann, "blog").await, None);
    let id = suspends(&ann, "shop").await.unwrap();
    assert_eq!(suspends(&ann, "shop").await.as_deref(), Some(id.as_str()), "asked again it is the same");
    // A word that is not read as what it is not: of whom nobody knows nothing waits.
    let nobody = OperatorServiceClient::new(ann.clone()).suspend(suspend("nobody")).await;
    assert_eq!(nobody.unwrap_err().code(), Code::NotFound);

    let waiting = listed(&person(&controller, dir.path(), "reader").await, false).await;
    assert_eq!(waiting.len(), 1);
    let one = &waiting[0];
    assert_eq!(
        (one.id.as_str(), one.subject.as_str(), one.owner.as_str()),
        (id.as_str(), "tenant/shop", "ann")
    );
    assert_eq!(
        (one.state(), one.role(), one.reason.as_str()),
        (ApprovalState::Pending, WireRole::Operator, "sends spam")
    );
    assert_eq!(one.request, r#"{"tenant":"shop","reason":"sends spam"}"#);
    let seconds = |time: Option<prost_types::Timestamp>| time.unwrap().seconds;
    assert!(one.rule.contains("shop is important"), "{}", one.rule);
    assert_eq!(seconds(one.expire_time) - seconds(one.ask_time), 86_400);
    assert_eq!(one.address, "127.0.0.1");

    let done = approve(&ben, &id).await.unwrap();
    assert_eq!((done.state(), done.outcome.as_str()), (ApprovalState::Approved, "done"));
    assert_eq!((done.decided_by.as_str(), done.note.as_str()), ("ben", "seen"));
    for again in [&ben, &admin] {
        let refused = approve(again, &id).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("was approved by ben"), "{}", refused.message());
    }
    assert!(listed(&ben, false).await.is_empty());
    assert_eq!(listed(&ben, true).await.len(), 1);
    let missing = approve(&ben, "A0").await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(approve(&ben, "'; --").await.unwrap_err().code(), Code::InvalidArgument);

    let mut audit = AuditServiceClient::new(admin.clone());
    let mut entries = audit.list_audit(ListAuditRequest::default()).await.unwrap().into_inner().entries;
    entries.reverse();
    let told: Vec<String> = entries
        .iter()
        .filter(|entry| entry.subject == "tenant/shop" || entry.subject.ends_with(&id))
        .map(|entry| format!("{} {} {}: {}", entry.who, entry.role, entry.act, entry.outcome))
        .collect();
    let until = one.expire_time.unwrap();
    let until = reeve_proto::time("t", Some(until)).unwrap();
    let waited = format!("ann operator Suspend: waits for a second person: approval {id} until {until}");
    let over = format!("refused: FailedPrecondition: {id} was approved by ben already");
    assert_eq!(
        told,
        [
            "ann operator Suspend: asked",
            &waited,
            "ann operator Suspend: asked",
            &waited,
            "ben operator Approve: asked",
            &format!("ann operator Suspend: asked, approved by ben (approval {id})"),
            &format!("ann operator Suspend: done, approved by ben (approval {id})"),
            "ben operator Approve: done",
            "ben operator Approve: asked",
            &format!("ben operator Approve: {over}"),
            "root admin Approve: asked",
            &format!("root admin Approve: {over}"),
        ]
    );
    controller.stop().await;
    assert_eq!(decisions(dir.path()).await, 2, "blog's and shop's, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_approves_their_own_act_in_whatever_guise() {
    let dir = initialised("important = ['shop']");
    let controller = Running::start(dir.path()).await;
    let root = person(&controller, dir.path(), "root").await;
    let chief = person(&controller, dir.path(), "chief").await;
    let bare = controller.bare(dir.path()).await;
    import(&root, &["shop"], 2).await.unwrap();
    let id = suspends(&root, "shop").await.unwrap();
    denied(approve(&root, &id).await, "somebody else");
    // By a token of theirs, by one that a token of theirs made, and by another certificate of their name.
    let first = token(&root, None, "first", WireRole::Admin).await;
    let second = token(&bare, Some(&first), "second", WireRole::Operator).await;
    denied(approve_by(&bare, &first, &id).await, "token.first is root");
    denied(approve_by(&bare, &second, &id).await, "token.second is root");
    let authority = pki::Authority::load(dir.path()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap();
    let (name, now) = ("root".parse().unwrap(), reeve_controller::clock::now());
    let other = authority.sign(request.der(), Role::Operator, &name, now, Duration::from_secs(600)).unwrap();
    let ca = std::fs::read(dir.path().join("ca.crt")).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .identity(Identity::from_pem(other, key.serialize_pem()));
    let endpoint = Endpoint::from_shared(format!("https://{}", controller.address)).unwrap();
    let other = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
    denied(approve(&other, &id).await, "root is root");

    // The other way round: what a token asked, whoever made it does not approve, nor another token of theirs.
    let mut request = Request::new(suspend("shop"));
    show(&mut request, Some(&second));
    let by_token = waits(OperatorServiceClient::new(bare.clone()).suspend(request).await).unwrap();
    assert_ne!(by_token, id);
    denied(approve(&root, &by_token).await, "asked for it");
    denied(approve_by(&bare, &first, &by_token).await, "asked for it");
    // Nor does somebody who could not do it themselves.
    for name in ["reader", "cash"] {
        denied(approve(&person(&controller, dir.path(), name).await, &id).await, "may not call");
    }
    let ours = waits({
        let target = Some(PauseTarget { target: Some(pause_target::Target::Fleet(true)) });
        OperatorServiceClient::new(root.clone()).resume(ResumeRequest { target, ..Default::default() }).await
    });
    assert_eq!(approve(&chief, &ours.unwrap()).await.unwrap().outcome, "done");

    // Who asked by a token that was revoked since asks no more.
    let revoke = RevokeTokenRequest { name: "second".into() };
    AccessServiceClient::new(root.clone()).revoke_token(revoke).await.unwrap();
    let late = approve(&chief, &by_token).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert!(late.message().contains("may not call any more"), "{}", late.message());
    // And somebody else's token does approve.
    let third = token(&chief, None, "third", WireRole::Operator).await;
    assert!(approve_by(&bare, &third, &id).await.is_ok());
    controller.stop().await;
    assert_eq!(decisions(dir.path()).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_one_by_one_are_many_and_what_ends_harm_never_waits() {
    let dir = initialised("tenants = 2\nnodes = 1\nremoved = 1\nuncounted = ['token.bridge']");
    let controller = Running::start(dir.path()).await;
    let (ann, ben) =
        (person(&controller, dir.path(), "ann").await, person(&controller, dir.path(), "ben").await);
    let root = person(&controller, dir.path(), "root").await;
    let bare = controller.bare(dir.path()).await;
    import(&ann, &["a", "b", "c", "d"], 2).await.unwrap();
    let shown = token(&root, None, "night", WireRole::Operator).await;
    assert_eq!(suspends(&root, "a").await, None);
    assert_eq!(suspends(&root, "a").await, None, "twice the same is one");
    assert_eq!(suspends(&root, "b").await, None);
    let third = suspends(&root, "c").await.unwrap();
    // A token of theirs is no second person, and a block is no way round.
    let mut by_token = Request::new(suspend("d"));
    show(&mut by_token, Some(&shown));
    assert!(waits(OperatorServiceClient::new(bare.clone()).suspend(by_token).await).is_some());
    let block = ImposeRequest {
        tenant: "c".into(),
        action: 4,
        scope: Some((&reeve_policy::Scope::Port { protocol: "tcp".parse().unwrap(), port: 25 }).into()),
        reason: "x".into(),
        ..ImposeRequest::default()
    };
    assert!(waits(OperatorServiceClient::new(root.clone()).impose(block).await).is_some());
    assert_eq!(suspends(&root, "b").await, None, "those who are counted are not counted again");
    // Somebody else has a count of their own, and a program that may has none.
    assert_eq!(suspends(&ann, "c").await, None);
    let bridge = token(&root, None, "bridge", WireRole::Billing).await;
    for tenant in ["a", "b", "c", "d"] {
        let mut request = Request::new(SuspendRequest { until_paid: true, ..suspend(tenant) });
        show(&mut request, Some(&bridge));
        assert_eq!(waits(OperatorServiceClient::new(bare.clone()).suspend(request).await), None);
    }
    assert_eq!(approve(&ben, &third).await.unwrap().outcome, "done");

    // Nothing of this waits, however much there is of it.
    let mut operator = OperatorServiceClient::new(root.clone());
    for tenant in ["a", "b", "c", "d"] {
        operator.release(ReleaseRequest { tenant: tenant.into(), ..Default::default() }).await.unwrap();
        operator.paid(PaidRequest { tenant: tenant.into(), ..Default::default() }).await.unwrap();
    }
    let fleet = || Some(PauseTarget { target: Some(pause_target::Target::Fleet(true)) });
    operator.pause(PauseRequest { target: fleet(), lift: true, ..Default::default() }).await.unwrap();
    let lift = LiftRequest {
        policy: "baseline".into(),
        policy_version: 1,
        since: Some(reeve_proto::time_to_wire(reeve_policy::Timestamp::from_secs(1))),
        ..LiftRequest::default()
    };
    operator.lift(lift).await.unwrap();
    // To let policy act again does, on the fleet, and on one node after the other.
    let resume = waits(operator.resume(ResumeRequest { target: fleet(), ..Default::default() }).await);
    assert!(resume.is_some());
    let node = |name: &str| ResumeRequest {
        target: Some(PauseTarget { target: Some(pause_target::Target::Node(name.into())) }),
        ..ResumeRequest::default()
    };
    assert_eq!(operator.resume(node("n1")).await.unwrap_err().code(), Code::NotFound, "it is not held up");
    assert!(waits(operator.resume(node("n2")).await).is_some());

    // Imports that take tenants away, one a time.
    assert!(import(&ben, &["a", "b", "c"], 1).await.is_ok());
    let more = import(&ben, &["a", "b"], 1).await.unwrap_err();
    assert!(more.message().contains("takes away more than 1 tenants"), "{}", more.message());
    let told = "this import takes away 1 of 3 tenants, or what they are known by (c), adds 0 and changes 0";
    assert!(more.message().contains(told), "{}", more.message());
    assert!(import(&ben, &["a", "b", "c", "e"], 1).await.is_ok(), "nobody goes");
    let id = waits(Err::<(), _>(more)).unwrap();
    let done = approve(&root, &id).await.unwrap();
    assert_eq!(done.outcome, "done", "{}", done.request);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_important_is_not_taken_away_by_an_import_alone() {
    let dir = initialised("important = ['a']");
    let controller = Running::start(dir.path()).await;
    let (ann, ben) =
        (person(&controller, dir.path(), "ann").await, person(&controller, dir.path(), "ben").await);
    import(&ann, &["a", "b"], 1).await.unwrap();
    import(&ann, &["a"], 1).await.unwrap();
    let without = import(&ann, &["b", "c"], 1).await.unwrap_err();
    let told = "it takes away a, which is important (approval.important): \
                this import takes away 1 of 1 tenants, or what they are known by (a), adds 2 and changes 0";
    assert!(without.message().contains(told), "{}", without.message());
    let id = waits(Err::<(), _>(without)).unwrap();
    assert_eq!(approve(&ben, &id).await.unwrap().outcome, "done");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_suspended_under_another_name() {
    let dir = initialised("important = ['shop']\nremoved = 1");
    let controller = Running::start(dir.path()).await;
    let ann = person(&controller, dir.path(), "ann").await;
    let tenant = |id: &str, addresses: &[&str]| reeve_proto::types::v1::Tenant {
        id: id.into(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let put = async |tenants: Vec<reeve_proto::types::v1::Tenant>| {
        let request = ImportTenantsRequest { tenants, method: 2, ..Default::default() };
        OperatorServiceClient::new(ann.clone()).import_tenants(request).await
    };
    let all = ["192.0.2.0/25", "2001:db8::/48"];
    put(vec![tenant("shop", &all), tenant("a", &["203.0.113.1/32"]), tenant("b", &["203.0.113.2/32"])])
        .await
        .unwrap();
    // Its addresses go to another, all of them, one of two, or a part that holds by the longer prefix.
    for (left, taken) in
        [(&all[2..], "192.0.2.0/25"), (&all[..1], "2001:db8::/48"), (&all[..], "192.0.2.7/32")]
    {
        let refused = put(vec![tenant("shop", left), tenant("x", &[taken])]).await.unwrap_err();
        let told = "it takes away shop, which is important (approval.important)";
        assert!(refused.message().contains(told), "{taken}: {}", refused.message());
    }
    // What it gets waits for nobody, nor what others get that was nobody's.
    let more = [all[0], all[1], "198.51.100.0/24"];
    put(vec![tenant("shop", &more), tenant("x", &["192.0.2.128/32"])]).await.unwrap();
    // Of those who are not important it is counted.
    put(vec![tenant("a", &[])]).await.unwrap();
    let refused = put(vec![tenant("b", &[])]).await.unwrap_err();
    assert!(refused.message().contains("more than 1 tenants"), "{}", refused.message());

    // That a mail server is open is somebody's word, and harms whoever runs it.
    let said = async |verdict: CheckVerdict| {
        let answer = RelayAnswer { server: "192.0.2.7".into(), verdict: verdict.into(), outside: true };
        let request = VerifyRequest { tenant: "shop".into(), answer: Some(answer), ..Default::default() };
        OperatorServiceClient::new(ann.clone()).verify(request).await
    };
    let refused = said(CheckVerdict::Accepted).await.unwrap_err();
    assert!(refused.message().contains("approval.important"), "{}", refused.message());
    for verdict in [CheckVerdict::Refused, CheckVerdict::Unclear] {
        let answered = said(verdict).await;
        assert!(answered.is_ok(), "{answered:?}");
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_ends_is_taken_back_and_is_bounded() {
    let dir = initialised("tenants = 0\nrevoke = true\nexpires = '1m'");
    let controller = Running::start(dir.path()).await;
    let (ann, ben) =
        (person(&controller, dir.path(), "ann").await, person(&controller, dir.path(), "ben").await);
    let (root, chief) =
        (person(&controller, dir.path(), "root").await, person(&controller, dir.path(), "chief").await);
    let ids: Vec<String> = (0..25).map(|number| format!("t{number}")).collect();
    import(&ann, &ids.iter().map(String::as_str).collect::<Vec<_>>(), 2).await.unwrap();
    let mut asked = Vec::new();
    for tenant in &ids[..20] {
        asked.push(suspends(&ann, tenant).await.unwrap());
    }
    let full = OperatorServiceClient::new(ann.clone()).suspend(suspend("t20")).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted);
    assert!(suspends(&ben, "t20").await.is_some(), "nobody takes another's room");
    // Who asked takes it back; others reject; neither is done afterwards.
    for (who, id) in [(&ann, &asked[0]), (&ben, &asked[1])] {
        let request = RejectRequest { id: id.clone(), reason: "no".into() };
        let rejected = ApprovalServiceClient::new(who.clone()).reject(request.clone()).await.unwrap();
        assert_eq!(rejected.into_inner().approval.unwrap().state(), ApprovalState::Rejected);
        assert_eq!(approve(&root, id).await.unwrap_err().code(), Code::FailedPrecondition);
        let again = ApprovalServiceClient::new(who.clone()).reject(request).await.unwrap_err();
        assert_eq!(again.code(), Code::FailedPrecondition);
    }
    // What cannot be begun is told and waits on.
    let bad = waits(
        OperatorServiceClient::new(ann.clone())
            .suspend(SuspendRequest { clause: "no clause".into(), ..suspend("t0") })
            .await,
    )
    .unwrap();
    assert_eq!(approve(&ben, &bad).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(get(&ben, &bad).await.state(), ApprovalState::Pending);
    // To lock somebody else out takes two, oneself does not.
    let revoke = |person: &str| RevokeRequest {
        subject: Some(revoke_request::Subject::Person(person.into())),
        reason: "left".into(),
    };
    let locked = waits(AccessServiceClient::new(root.clone()).revoke(revoke("ann")).await).unwrap();
    assert_eq!(approve(&ben, &locked).await.unwrap_err().code(), Code::PermissionDenied, "no operator");
    assert_eq!(approve(&chief, &locked).await.unwrap().outcome, "done");
    assert!(suspends_err(&ann, "t0").await.is_err(), "she is out");
    // Whoever revokes themselves is cut before they are answered.
    let _ = AccessServiceClient::new(root).revoke(revoke("root")).await;
    let list = AccessServiceClient::new(chief.clone()).list_revocations(ListRevocationsRequest {}).await;
    let subjects = list.unwrap().into_inner().revocations.into_iter().map(|one| one.subject);
    assert_eq!(subjects.collect::<Vec<_>>(), ["person/root", "person/ann"]);
    // Hers are void with her.
    let late = approve(&ben, &asked[3]).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert!(late.message().contains("may not call any more"), "{}", late.message());
    let own = suspends(&ben, "t21").await.unwrap();
    controller.stop().await;

    // Its time is over: moved to the past, as no clock can be here.
    assert!(
        common::execute(dir.path(), "UPDATE approvals SET expires = 1 WHERE state = 'pending'").await > 0
    );
    let controller = Running::start(dir.path()).await;
    let chief = person(&controller, dir.path(), "chief").await;
    assert_eq!(get(&chief, &own).await.state(), ApprovalState::Expired);
    let late = approve(&chief, &own).await.unwrap_err();
    assert!(late.message().contains("undecided"), "{}", late.message());
    assert!(listed(&chief, false).await.is_empty());
    controller.stop().await;
    assert_eq!(decisions(dir.path()).await, 0);
}

async fn suspends_err(channel: &Channel, tenant: &str) -> Result<(), Status> {
    OperatorServiceClient::new(channel.clone()).suspend(suspend(tenant)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_in_the_database_is_not_approved() {
    let changes = [
        // Something else is done, by somebody else, in another role, for another reason, or for longer.
        "UPDATE approvals SET method = '/reeve.operator.v1.OperatorService/Paid'",
        "UPDATE approvals SET body = seal",
        "UPDATE approvals SET owner = 'chief'",
        "UPDATE approvals SET who = 'chief'",
        "UPDATE approvals SET role = 'admin'",
        "UPDATE approvals SET asked = '{}'",
        "UPDATE approvals SET subject = 'tenant/blog'",
        "UPDATE approvals SET expires = expires + 1",
        "UPDATE approvals SET seal = body",
    ];
    let dir = initialised("important = ['shop']");
    let mut known = Vec::new();
    for change in changes {
        let controller = Running::start(dir.path()).await;
        let (ann, ben) =
            (person(&controller, dir.path(), "ann").await, person(&controller, dir.path(), "ben").await);
        import(&ann, &["shop", "blog"], 2).await.unwrap();
        let id = suspends(&ann, "shop").await.unwrap();
        controller.stop().await;
        assert!(common::execute(dir.path(), change).await > 0, "{change}");
        let controller = Running::start(dir.path()).await;
        let (ann2, ben2) =
            (person(&controller, dir.path(), "ann").await, person(&controller, dir.path(), "ben").await);
        drop((ann, ben));
        for who in [&ben2, &ann2] {
            let refused = approve(who, &id).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{change}: {refused:?}");
            assert!(refused.message().contains("not what was asked for"), "{change}: {refused:?}");
        }
        let request = RejectRequest { id: id.clone(), reason: String::new() };
        ApprovalServiceClient::new(ben2).reject(request).await.unwrap();
        known.push(id);
        controller.stop().await;
    }
    assert_eq!(decisions(dir.path()).await, 0);
    // Nor one that another key sealed.
    let controller = Running::start(dir.path()).await;
    let id = suspends(&person(&controller, dir.path(), "ann").await, "shop").await.unwrap();
    controller.stop().await;
    std::fs::remove_file(dir.path().join(reeve_controller::auth::SECRETS_KEY)).unwrap();
    let controller = Running::start(dir.path()).await;
    let ben = person(&controller, dir.path(), "ben").await;
    assert_eq!(approve(&ben, &id).await.unwrap_err().code(), Code::FailedPrecondition);
    controller.stop().await;
}

/// A controller in a process of its own, that can be killed.
struct Killed(Child, String);

impl Killed {
    async fn start(dir: &Path) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_reeve-controller"))
            .args(["run", "--log", "error", "--listen", &free.to_string(), "--dir"])
            .arg(dir)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = std::time::Instant::now();
        while std::net::TcpStream::connect(free).is_err() {
            assert!(began.elapsed() < PATIENCE, "it listens");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self(child, format!("https://{free}"))
    }

    async fn person(&self, dir: &Path, name: &str) -> Channel {
        let read = |file: String| std::fs::read(dir.join(file)).unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.crt".into())))
            .identity(Identity::from_pem(
                read(format!("operators/{name}.crt")),
                read(format!("operators/{name}.key")),
            ));
        Endpoint::from_shared(self.1.clone()).unwrap().tls_config(tls).unwrap().connect().await.unwrap()
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_approve_at_once_and_a_controller_that_is_killed_do_it_once() {
    let dir = initialised("tenants = 0");
    let ids: Vec<String> = (0..8).map(|number| format!("t{number}")).collect();
    {
        let controller = Running::start(dir.path()).await;
        let ann = person(&controller, dir.path(), "ann").await;
        import(&ann, &ids.iter().map(String::as_str).collect::<Vec<_>>(), 2).await.unwrap();
        // Eight at once.
        let id = suspends(&ann, "t0").await.unwrap();
        let approvers = ["ben", "root", "chief", "ben", "root", "chief", "ben", "root"];
        let mut calls = Vec::new();
        for name in approvers {
            let (channel, id) = (person(&controller, dir.path(), name).await, id.clone());
            calls.push(tokio::spawn(async move { approve(&channel, &id).await }));
        }
        let mut good = 0;
        for call in calls {
            match call.await.unwrap() {
                Ok(done) => good += u32::from(done.outcome == "done"),
                Err(refused) => assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}"),
            }
        }
        assert_eq!(good, 1);
        controller.stop().await;
        assert_eq!(decisions(dir.path()).await, 1);
    }
    // Killed in the middle, at one moment or another of the time that it takes, and at last when it was told.
    let began = std::time::Instant::now();
    {
        let controller = Killed::start(dir.path()).await;
        let ann = controller.person(dir.path(), "ann").await;
        let ben = controller.person(dir.path(), "ben").await;
        let id = suspends(&ann, "t1").await.unwrap();
        approve(&ben, &id).await.unwrap();
    }
    let whole = began.elapsed() / 4;
    for (tenant, part) in ids[2..].iter().zip([Some(0), Some(1), Some(2), Some(4), Some(8), None]) {
        let mut controller = Killed::start(dir.path()).await;
        let ann = controller.person(dir.path(), "ann").await;
        let ben = controller.person(dir.path(), "ben").await;
        let id = suspends(&ann, tenant).await.unwrap();
        let mut call = tokio::spawn({
            let id = id.clone();
            async move { approve(&ben, &id).await }
        });
        let mut told = None;
        match part {
            Some(part) => tokio::time::sleep(whole * part / 8).await,
            None => told = Some((&mut call).await.unwrap()),
        }
        controller.kill();
        let told = match told {
            Some(told) => told,
            None => call.await.unwrap(),
        };
        assert!(part.is_some() || told.is_ok(), "{told:?}");
        let controller = Killed::start(dir.path()).await;
        let ben = controller.person(dir.path(), "ben").await;
        match get(&ben, &id).await.state() {
            ApprovalState::Pending => {
                assert!(told.is_err(), "what was told is on disk");
                assert_eq!(approve(&ben, &id).await.unwrap().outcome, "done");
            }
            ApprovalState::Approved => {
                assert_eq!(approve(&ben, &id).await.unwrap_err().code(), Code::FailedPrecondition);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(decisions(dir.path()).await, 8, "each once");
}

/// Suspends several tenants at once; the key of the approval that it waits for, if it does.
async fn suspends_all(channel: &Channel, tenants: &[&str]) -> Option<String> {
    let requests = tenants.iter().map(|tenant| suspend(tenant)).collect();
    let batch = BatchSuspendRequest { requests, ..Default::default() };
    waits(OperatorServiceClient::new(channel.clone()).batch_suspend(batch).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_no_way_round() {
    let dir = initialised("tenants = 3\nimportant = ['shop']");
    let controller = Running::start(dir.path()).await;
    let (ann, ben) =
        (person(&controller, dir.path(), "ann").await, person(&controller, dir.path(), "ben").await);
    let all = ["shop", "a", "b", "c", "d", "e"];
    import(&ann, &all, 2).await.unwrap();
    // All of it waits if one of it does.
    let important = suspends_all(&ann, &["a", "shop"]).await.unwrap();
    assert!(get(&ben, &important).await.rule.contains("shop is important"));
    // Each counts, with those before it, singly or not; whom nobody knows does not.
    assert_eq!(suspends_all(&ann, &["a", "nobody", "nothing"]).await, None);
    assert_eq!(suspends(&ann, "b").await, None);
    let many = suspends_all(&ann, &["c", "d"]).await.unwrap();
    let told = get(&ben, &many).await;
    assert!(told.rule.contains("more than 3 tenants"), "{}", told.rule);
    assert_eq!((told.subject.as_str(), told.reason.as_str()), ("tenants/2", "sends spam"));
    assert_eq!(suspends_all(&ann, &["a", "b", "e"]).await, None, "those before and one more");
    assert!(suspends(&ann, "c").await.is_some());
    // At once it is no better.
    let whole = suspends_all(&ben, &["a", "b", "c", "d"]).await.unwrap();
    // What the service would refuse does not wait to be refused by somebody else.
    let twice = BatchSuspendRequest {
        requests: ["shop", "shop"].map(suspend).into(),
        ..BatchSuspendRequest::default()
    };
    let refused = OperatorServiceClient::new(ann.clone()).batch_suspend(twice).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    // What ends harm never waits.
    let requests = all.map(|tenant| ReleaseRequest { tenant: tenant.into(), ..Default::default() }).into();
    let batch = BatchReleaseRequest { requests, ..Default::default() };
    let released = OperatorServiceClient::new(ann.clone()).batch_release(batch).await.unwrap().into_inner();
    assert_eq!(released.results.len(), all.len());

    let done = approve(&ben, &many).await.unwrap();
    assert_eq!((done.state(), done.outcome.as_str()), (ApprovalState::Approved, "done"));
    let chief = person(&controller, dir.path(), "chief").await;
    let done = approve(&chief, &whole).await.unwrap();
    assert_eq!(done.state(), ApprovalState::Approved);
    controller.stop().await;
    // a, b, again a and b with e, c and d, and ben's four.
    assert_eq!(decisions(dir.path()).await, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_approves_a_batch_sees_all_of_it() {
    let dir = initialised("tenants = 0");
    let controller = Running::start(dir.path()).await;
    let ann = person(&controller, dir.path(), "ann").await;
    let ids: Vec<String> = (0..60).map(|number| format!("t{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    import(&ann, &ids, 2).await.unwrap();
    let id = suspends_all(&ann, &ids).await.unwrap();
    let told = get(&ann, &id).await;
    for id in ids {
        assert!(told.request.contains(&format!("\"tenant\":\"{id}\"")), "{id} is not told");
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn billing_suspends_many_for_its_own_reason_alone() {
    let dir = initialised("");
    let controller = Running::start(dir.path()).await;
    let cash = person(&controller, dir.path(), "cash").await;
    import(&person(&controller, dir.path(), "ann").await, &["a", "b"], 2).await.unwrap();
    let mut requests: Vec<SuspendRequest> = ["a", "b"].map(suspend).into();
    requests[0].until_paid = true;
    let mut client = OperatorServiceClient::new(cash);
    let batch = BatchSuspendRequest { requests: requests.clone(), ..Default::default() };
    assert_eq!(client.batch_suspend(batch).await.unwrap_err().code(), Code::PermissionDenied);
    requests[1].until_paid = true;
    let batch = BatchSuspendRequest { requests, ..Default::default() };
    assert_eq!(client.batch_suspend(batch).await.unwrap().into_inner().results.len(), 2);
    let requests = vec![ReleaseRequest { tenant: "a".into(), ..Default::default() }];
    let batch = BatchReleaseRequest { requests, ..Default::default() };
    assert_eq!(client.batch_release(batch).await.unwrap_err().code(), Code::PermissionDenied);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_for_the_whole_fleet_waits_for_a_second_person() {
    let dir = initialised("");
    let controller = Running::start(dir.path()).await;
    let (root, ann) =
        (person(&controller, dir.path(), "root").await, person(&controller, dir.path(), "ann").await);
    let chief = person(&controller, dir.path(), "chief").await;
    let source = "[policy]\nname = \"ours\"\nversion = 7\nextends = \"baseline\"\n".to_owned();
    let upload = UploadPolicyRequest { source, ..Default::default() };
    let mut policies = PolicyServiceClient::new(root.clone());
    let policy = policies.upload_policy(upload).await.unwrap().into_inner().policy.unwrap();
    let activate = ActivatePolicyRequest {
        name: policy.name.clone(),
        policy_version: policy.policy_version,
        reason: "seen on hv-07".into(),
    };
    let id = waits(policies.activate_policy(activate.clone()).await).unwrap();
    let rollout = async || {
        PolicyServiceClient::new(root.clone())
            .get_rollout(GetRolloutRequest {})
            .await
            .unwrap()
            .into_inner()
            .active
    };
    assert_eq!(rollout().await, None, "nothing is done before it is approved");
    let told = get(&ann, &id).await;
    assert!(told.rule.contains("whole fleet"), "{}", told.rule);
    assert_eq!(told.reason, "seen on hv-07");
    denied(approve(&root, &id).await, "somebody else");
    // An operator stages, and does not activate.
    denied(approve(&ann, &id).await, "could not do it");
    let done = approve(&chief, &id).await.unwrap();
    assert_eq!((done.state(), done.outcome.as_str()), (ApprovalState::Approved, "done"));
    assert!(rollout().await.is_some());
    // The way back is nobody else's to allow.
    let back = RollbackPolicyRequest { assignment: 0, reason: "hits resolvers".into() };
    policies.rollback_policy(back).await.unwrap();
    controller.stop().await;
}
