//! Addresses go from one customer to another, and complaints come later than what they are about.

use crate::common::{Running, execute, import};
use reeve_policy::Timestamp;
use reeve_proto::operator::v1::{Complaint, ComplaintState};
use reeve_proto::types::v1::Tenant;
use tonic::transport::Channel;

use super::complaints::{ago, forget, one, xarf};

const HOUR: u64 = 3_600;

fn tenant(id: &str, addresses: &[&str]) -> Tenant {
    let addresses = addresses.iter().map(|prefix| (*prefix).to_owned()).collect();
    Tenant { id: id.into(), addresses, ..Tenant::default() }
}

/// What becomes of a complaint about an address at a time; `id` is its own.
async fn complain(
    channel: &Channel,
    id: u32,
    source: &str,
    at: Timestamp,
) -> (ComplaintState, String, String) {
    let Complaint { state, tenant, detail, .. } =
        one(channel, &xarf(id, "connection/port_scan", source, at)).await;
    (ComplaintState::try_from(state).unwrap(), tenant, detail)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_is_whose_the_address_was_and_not_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Running::start(dir.path()).await;
    let channel = controller.plain().await;
    use ComplaintState::{Filed, Unmatched};
    let first = vec![
        tenant("alice", &["198.51.100.7/32", "2001:db8:9:7::/64"]),
        tenant("carl", &["203.0.113.1/32"]),
        tenant("reseller", &["192.0.2.0/25"]),
    ];
    import(&channel, first, true).await;
    // What was before the first import nobody knows: whose it was then, it was before.
    let before = complain(&channel, 1, "198.51.100.7", ago(900 * HOUR)).await;
    assert_eq!(before, (Filed, "alice".into(), String::new()));
    // Alice's go to bob, carl's to nobody, dora gets what was free, and erik a part of the reseller's.
    let reseller = || tenant("reseller", &["192.0.2.64/26"]);
    let second = vec![
        tenant("alice", &["192.0.2.200/32"]),
        tenant("bob", &["198.51.100.7/32", "2001:db8:9:7::/64"]),
        tenant("dora", &["203.0.113.9/32"]),
        tenant("erik", &["192.0.2.8/29"]),
        reseller(),
    ];
    import(&channel, second, true).await;
    for (id, source) in [(2, "198.51.100.7"), (3, "2001:db8:9:7::1")] {
        let (state, tenant, detail) = complain(&channel, id, source, ago(HOUR)).await;
        assert_eq!((state, &*tenant), (Filed, "alice"), "{source}: {detail}");
        assert!(detail.starts_with("the address was this tenant's until 20"), "{source}: {detail}");
    }
    let now = reeve_controller::clock::now();
    assert_eq!(complain(&channel, 5, "198.51.100.7", now).await, (Filed, "bob".into(), String::new()));
    assert_eq!(complain(&channel, 6, "192.0.2.9", ago(HOUR)).await.1, "reseller", "a part of what it had");
    assert_eq!(complain(&channel, 7, "192.0.2.9", now).await.1, "erik");
    let all_the_time = complain(&channel, 4, "192.0.2.70", ago(HOUR)).await;
    assert_eq!(all_the_time, (Filed, "reseller".into(), String::new()));
    // Carl is gone: a person finds out what is to be done.
    let (state, _, detail) = complain(&channel, 8, "203.0.113.1", ago(HOUR)).await;
    assert_eq!(state, Unmatched);
    assert!(detail.contains("carl's until") && detail.contains("no tenant any more"), "{detail}");
    // Dora had it before the inventory knew, and not for ever.
    let late = complain(&channel, 9, "203.0.113.9", ago(HOUR)).await;
    assert_eq!(late, (Filed, "dora".into(), String::new()));
    let (state, _, detail) = complain(&channel, 10, "203.0.113.9", ago(30 * HOUR)).await;
    assert_eq!((state, &*detail), (Unmatched, "the address was no one tenant's at that time"));
    // And back: what counts is who had it at that time, of all who had it since.
    import(&channel, vec![reseller(), tenant("alice", &["198.51.100.7/32"])], true).await;
    let between = complain(&channel, 11, "198.51.100.7", now).await;
    assert_eq!((between.0, between.2.contains("bob's until")), (Unmatched, true), "{between:?}");
    assert_eq!(complain(&channel, 12, "198.51.100.7", ago(HOUR)).await.1, "alice");
    let again = complain(&channel, 13, "198.51.100.7", reeve_controller::clock::now()).await;
    assert_eq!(again, (Filed, "alice".into(), String::new()));
    // It is forgotten with all else that is over, and then as if it had never been.
    controller.stop().await;
    execute(dir.path(), "UPDATE holders SET until = until / 1000000").await;
    forget(dir.path()).await;
    let (_, mut writing) = {
        let settings = reeve_controller::settings::Settings::load(dir.path()).unwrap();
        reeve_controller::store::Store::open(&settings.database, dir.path()).await.unwrap()
    };
    let (left,): (i64,) = sqlx::query_as("SELECT count(*) FROM holders")
        .fetch_one(writing.connection().await.unwrap())
        .await
        .unwrap();
    assert_eq!(left, 0);
}
