//! The inventory is taken over: what an import would change, and what it does.

use crate::common::{Agent, Running, alice, import};
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::tenant_change::Kind;
use reeve_proto::operator::v1::{
    FieldChange, ImportTenantsRequest, ImportTenantsResponse, ListTenantsRequest, TenantChange,
};
use reeve_proto::types::v1::{Profile, Tenant};
use tonic::Code;
use tonic::transport::Channel;

fn bob() -> Tenant {
    Tenant { id: "bob".into(), addresses: vec!["198.51.100.0/28".into()], ..Tenant::default() }
}

async fn ask(channel: &Channel, tenants: Vec<Tenant>, method: i32, dry_run: bool) -> ImportTenantsResponse {
    let request = ImportTenantsRequest { tenants, method, dry_run };
    OperatorServiceClient::new(channel.clone()).import_tenants(request).await.unwrap().into_inner()
}

async fn listed(channel: &Channel) -> (Vec<Tenant>, u64) {
    let mut client = OperatorServiceClient::new(channel.clone());
    let list = client.list_tenants(ListTenantsRequest::default()).await.unwrap().into_inner();
    (list.tenants.into_iter().filter_map(|entry| entry.tenant).collect(), list.version)
}

fn change(tenant: &str, kind: Kind, fields: Vec<FieldChange>) -> TenantChange {
    TenantChange { tenant: tenant.into(), kind: kind.into(), fields }
}

fn field(field: &str, removed: &[&str], added: &[&str]) -> FieldChange {
    let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect();
    FieldChange { field: field.into(), removed: texts(removed), added: texts(added), omitted: 0 }
}

#[tokio::test]
async fn a_dry_run_tells_the_difference_and_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice(), bob()], true).await;
    let before = listed(&channel).await;

    let other = Tenant {
        name: String::new(),
        profile: Profile::Mail.into(),
        addresses: vec!["2001:db8::/48".into(), "203.0.113.64/28".into()],
        quota_bytes: Some(7),
        ..alice()
    };
    let carol = Tenant { id: "carol".into(), macs: vec!["02:00:00:00:00:01".into()], ..Tenant::default() };
    let expect = vec![
        change(
            "alice",
            Kind::Changed,
            vec![
                field("name", &["Alice"], &[]),
                field("addresses", &["203.0.113.0/28"], &["203.0.113.64/28"]),
                field("profile", &["none"], &["mail"]),
                field("quota_bytes", &[], &["7"]),
            ],
        ),
        change("bob", Kind::Removed, Vec::new()),
        change("carol", Kind::Added, Vec::new()),
    ];
    let would = ask(&channel, vec![other.clone(), carol.clone()], 1, true).await;
    assert_eq!((would.added, would.changed, would.removed, would.unchanged), (1, 1, 1, 0));
    assert_eq!((would.changes.as_slice(), would.changes_omitted), (expect.as_slice(), 0));
    assert_eq!(would.version, before.1, "a dry run makes no version");
    assert_eq!(listed(&channel).await, before, "a dry run changes nothing");

    // What is done tells the same, and once more there is nothing to do.
    let done = ask(&channel, vec![other.clone(), carol.clone()], 1, false).await;
    assert_eq!(done.changes, expect);
    assert!(done.version > before.1);
    let again = ask(&channel, vec![other, carol], 1, false).await;
    assert_eq!((again.changes.len(), again.unchanged, again.version), (0, 2, done.version));
    controller.stop().await;
}

#[tokio::test]
async fn a_dry_run_is_refused_where_the_import_would_be() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    import(&channel, vec![alice(), bob()], true).await;
    let (mut agent, _) = Agent::greet(channel.clone(), "n1", 1).await.unwrap();
    agent.suspend(&channel, "alice").await;
    let before = listed(&channel).await;
    let mut client = OperatorServiceClient::new(channel.clone());
    let clash = Tenant { id: "carol".into(), addresses: vec!["203.0.113.1/32".into()], ..Tenant::default() };
    for dry_run in [true, false] {
        // Who is held is not forgotten.
        let request = ImportTenantsRequest { tenants: vec![bob()], method: 1, dry_run };
        let refused = client.import_tenants(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains("alice"), "{refused}");
        // Nor is half of anything taken over.
        let request = ImportTenantsRequest { tenants: vec![bob(), clash.clone()], method: 2, dry_run };
        let refused = client.import_tenants(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains("203.0.113.1/32 of carol"), "{refused}");
        assert_eq!(listed(&channel).await, before);
    }
    controller.stop().await;
}

#[tokio::test]
async fn very_many_changes_are_counted_and_not_all_told() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    let tenant = |number: u32| Tenant {
        id: format!("t{number:05}"),
        addresses: vec![format!("{}/32", std::net::Ipv4Addr::from(0x0A00_0000 + number))],
        ..Tenant::default()
    };
    let done = ask(&channel, (0..6_000).map(tenant).collect(), 1, false).await;
    assert_eq!((done.added, done.changes.len(), done.changes_omitted), (6_000, 5_000, 1_000));
    // Of one field with very many values some are told.
    let many = Tenant {
        addresses: (0..150u32).map(|n| format!("{}/32", std::net::Ipv4Addr::from(0x0B00_0000 + n))).collect(),
        ..tenant(1)
    };
    let done = ask(&channel, vec![many], 2, true).await;
    let [field] = &done.changes[0].fields[..] else { panic!("{done:?}") };
    assert_eq!((field.removed.len(), field.added.len(), field.omitted), (1, 100, 50));
    controller.stop().await;
}
