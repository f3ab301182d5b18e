//! The audit log of a running controller: what is entered, and that nobody changes it unnoticed.

use std::path::Path;

use crate::common::{self, Running};
use reeve_audit::{PublicKey, Verified, Verify};
use reeve_controller::auth::Role;
use reeve_controller::pki::{self, Wanted};
use reeve_proto::operator::v1::access_service_client::AccessServiceClient;
use reeve_proto::operator::v1::audit_service_client::AuditServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::person_service_client::PersonServiceClient;
use reeve_proto::operator::v1::{
    AuditEntry, CreateTokenRequest, ExportAuditRequest, GetViolationRequest, ImportTenantsRequest,
    ListAuditRequest, ListTenantsRequest, RevokeSessionRequest, SuspendRequest,
};
use reeve_proto::types::v1::Tenant;
use tonic::Code;
use tonic::transport::Channel;

/// What takes the database's own guards away, in each engine's words: against change, and against shortening.
const UNGUARDED: [[&str; 2]; 2] = [
    ["DROP TRIGGER audit_is_not_changed", "DROP TRIGGER audit_is_not_changed ON audit"],
    ["DROP TRIGGER audit_is_not_shortened", "DROP TRIGGER audit_is_not_shortened ON audit"],
];

fn initialised() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let people = [(Role::Admin, "root"), (Role::Operator, "oncall"), (Role::Viewer, "reader")];
    let people = people.map(|(role, name)| (role, name.parse().unwrap())).to_vec();
    pki::init(dir.path(), &Wanted { people, ..Wanted::default() }).unwrap();
    dir
}

async fn person(controller: &Running, dir: &Path, name: &str) -> Channel {
    controller.secure(dir, &dir.join("operators"), name).await
}

async fn listed(admin: &Channel, request: ListAuditRequest) -> (Vec<AuditEntry>, String) {
    let answer = AuditServiceClient::new(admin.clone()).list_audit(request).await.unwrap().into_inner();
    (answer.entries, answer.key)
}

async fn exported(admin: &Channel, from: u64) -> Vec<String> {
    let mut stream = AuditServiceClient::new(admin.clone())
        .export_audit(ExportAuditRequest { from })
        .await
        .unwrap()
        .into_inner();
    let mut lines = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        lines.push(answer.line);
    }
    lines
}

fn verified(lines: &[String], key: &str) -> Result<Verified, String> {
    let mut verify = Verify::new([key.parse::<PublicKey>().unwrap()]);
    for line in lines {
        verify.take(line).map_err(|broken| broken.to_string())?;
    }
    Ok(verify.finish())
}

/// Entries as `who role act subject outcome`, oldest first.
fn told(mut entries: Vec<AuditEntry>) -> Vec<String> {
    entries.reverse();
    let line = |entry: AuditEntry| {
        format!("{} {} {} {} {}", entry.who, entry.role, entry.act, entry.subject, entry.outcome)
    };
    entries.into_iter().map(line).collect()
}

fn suspend(tenant: &str) -> SuspendRequest {
    SuspendRequest { tenant: tenant.into(), reason: "sends spam".into(), ..SuspendRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_act_is_entered_with_what_came_of_it_and_every_look_at_evidence() {
    let dir = initialised();
    let controller = Running::start(dir.path()).await;
    let admin = person(&controller, dir.path(), "root").await;
    let oncall = person(&controller, dir.path(), "oncall").await;
    let reader = person(&controller, dir.path(), "reader").await;
    let mut operator = OperatorServiceClient::new(oncall.clone());
    let tenant = Tenant { id: "a".into(), addresses: vec!["203.0.113.1/32".into()], ..Tenant::default() };
    operator
        .import_tenants(ImportTenantsRequest { tenants: vec![tenant], method: 2, ..Default::default() })
        .await
        .unwrap();
    operator.suspend(suspend("a")).await.unwrap();
    assert_eq!(operator.suspend(suspend("nobody")).await.unwrap_err().code(), Code::NotFound);
    let look = GetViolationRequest { id: "none".into() };
    assert!(OperatorServiceClient::new(reader.clone()).get_violation(look).await.is_err());
    // Neither lists nor what the gate refused are entered.
    operator.list_tenants(ListTenantsRequest::default()).await.unwrap();
    let error = OperatorServiceClient::new(reader.clone()).suspend(suspend("a")).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    let request = CreateTokenRequest { name: "portal".into(), role: 1, ..CreateTokenRequest::default() };
    let made = AccessServiceClient::new(admin.clone()).create_token(request).await.unwrap().into_inner();

    let (entries, key) = listed(&admin, ListAuditRequest::default()).await;
    let text = format!("{entries:?}");
    assert!(!text.contains(&made.token), "a secret was entered: {text}");
    let suspended = &entries[entries.len() - 3];
    assert_eq!((suspended.from.as_str(), suspended.reason.as_str()), ("127.0.0.1", "sends spam"));
    assert_eq!(suspended.asked, r#"{"tenant":"a","reason":"sends spam"}"#);
    assert_eq!(entries[entries.len() - 4].asked, format!("{{\"of\":{}}}", suspended.number));
    assert_eq!(
        told(entries),
        [
            "oncall operator ImportTenants  asked",
            "oncall operator ImportTenants  done",
            "oncall operator Suspend tenant/a asked",
            "oncall operator Suspend tenant/a done",
            "oncall operator Suspend tenant/nobody asked",
            "oncall operator Suspend tenant/nobody refused: NotFound: there is no tenant nobody",
            "reader viewer GetViolation violation/none asked",
            "root admin CreateToken token/portal asked",
            "root admin CreateToken token/portal done",
            "root admin ListAudit  asked",
        ]
    );
    let of = |who: &str, act: &str, subject: &str| ListAuditRequest {
        who: who.into(),
        act: act.into(),
        subject: subject.into(),
        ..ListAuditRequest::default()
    };
    assert_eq!(listed(&admin, of("oncall", "Suspend", "tenant/a")).await.0.len(), 2);
    assert!(listed(&admin, of("oncall", "Release", "")).await.0.is_empty());
    // Page by page.
    let mut request = ListAuditRequest { page_size: 4, who: "oncall".into(), ..ListAuditRequest::default() };
    let mut numbers = Vec::new();
    loop {
        let mut client = AuditServiceClient::new(admin.clone());
        let answer = client.list_audit(request.clone()).await.unwrap().into_inner();
        numbers.extend(answer.entries.iter().map(|entry| entry.number));
        request.page_token = answer.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(numbers, [6, 5, 4, 3, 2, 1]);

    // It is verified elsewhere, also in parts, and goes on after a restart.
    let lines = exported(&admin, 0).await;
    let held = verified(&lines, &key).unwrap();
    assert_eq!((held.first, held.entries, held.vouched), (1, held.last, held.last));
    let part = verified(&exported(&admin, 5).await, &key).unwrap();
    assert_eq!((part.first, part.vouched), (5, part.last));
    controller.stop().await;
    let controller = Running::start(dir.path()).await;
    let admin = person(&controller, dir.path(), "root").await;
    let (_, again) = listed(&admin, ListAuditRequest::default()).await;
    assert_eq!(again, key, "the key is kept");
    assert!(verified(&exported(&admin, 0).await, &key).unwrap().last > held.last);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_do_next_to_nothing_does_not_fill_it() {
    let dir = initialised();
    let controller = Running::start(dir.path()).await;
    let admin = person(&controller, dir.path(), "root").await;
    let request = CreateTokenRequest { name: "portal".into(), role: 1, ..CreateTokenRequest::default() };
    let made = AccessServiceClient::new(admin.clone()).create_token(request).await.unwrap().into_inner();
    let mut portal = PersonServiceClient::new(admin.clone());
    let revoke = |length: usize| {
        let mut request = tonic::Request::new(RevokeSessionRequest { id: "x".repeat(length) });
        let shown = format!("Bearer {}", made.token).parse().unwrap();
        request.metadata_mut().insert("authorization", shown);
        request
    };
    assert_eq!(portal.revoke_session(revoke(1 << 20)).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(portal.revoke_session(revoke(10_000)).await.unwrap_err().code(), Code::NotFound);
    let of_portal = ListAuditRequest { who: "token.portal".into(), page_size: 1_000, ..Default::default() };
    let (entries, _) = listed(&admin, of_portal.clone()).await;
    assert_eq!(entries.len(), 2, "what is too long is not entered: {entries:?}");
    for entry in &entries {
        let length = entry.subject.len() + entry.asked.len() + entry.outcome.len();
        assert!(length < 600 && entry.subject.starts_with("session/(10000 bytes, SHA-256 "), "{entry:?}");
    }
    // So many at once, and no more.
    let mut refused = 0;
    for _ in 0..400 {
        let status = portal.revoke_session(revoke(1)).await.unwrap_err();
        refused += usize::from(status.code() == Code::ResourceExhausted);
    }
    assert!(refused > 50, "{refused}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_changes_the_database_is_found_out() {
    let dir = initialised();
    let controller = Running::start(dir.path()).await;
    let admin = person(&controller, dir.path(), "root").await;
    let mut operator = OperatorServiceClient::new(admin.clone());
    for tenant in ["a", "b", "c"] {
        assert!(operator.suspend(suspend(tenant)).await.is_err(), "there are no tenants");
    }
    let (_, key) = listed(&admin, ListAuditRequest::default()).await;
    assert!(verified(&exported(&admin, 0).await, &key).is_ok());
    controller.stop().await;
    let changed = "UPDATE audit SET line = replace(line, 'sends spam', 'a mistake') WHERE number = 3";
    let removed = "DELETE FROM audit WHERE number = 3";
    for (change, word) in [(changed, "not changed"), (removed, "not shortened")] {
        let error = common::try_execute(dir.path(), change).await.unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    // Who owns the database gets past that, and is found out.
    for (guard, change, expect) in [
        (&UNGUARDED[0], changed, "entry 3 does not say what it said"),
        (&UNGUARDED[1], removed, "entry 3 is missing"),
    ] {
        common::try_execute(dir.path(), guard[usize::from(common::IS_ON_POSTGRES)]).await.unwrap();
        assert_eq!(common::execute(dir.path(), change).await, 1);
        let controller = Running::start(dir.path()).await;
        let admin = person(&controller, dir.path(), "root").await;
        let told = verified(&exported(&admin, 0).await, &key).unwrap_err();
        assert!(told.contains(expect), "{told}");
        controller.stop().await;
    }
}
