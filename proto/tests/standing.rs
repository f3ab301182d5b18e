//! What follows tenants from node to node: there and back, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use reeve_policy::{Order, StrikeElsewhere, TenantStanding, Timestamp};
use reeve_proto::agent;
use reeve_proto::session::ProtocolVersion;

fn standings() -> Order {
    let strike = |opened, closed: Option<u64>| StrikeElsewhere {
        rule: "scan.parent".parse().unwrap(),
        opened: Timestamp::from_secs(opened),
        closed: closed.map(Timestamp::from_secs),
        number: 3,
    };
    Order::Standings {
        standings: vec![TenantStanding {
            tenant: "alice".parse().unwrap(),
            strikes: vec![strike(1, Some(2)), strike(3, None)],
            decisions: Vec::new(),
        }],
    }
}

#[test]
fn it_comes_back_as_it_was_and_only_who_knows_it_is_told() {
    let order = standings();
    assert_eq!(Order::try_from(agent::v1::Order::from(&order)).unwrap(), order);
    assert_eq!(order.id(), None);
    assert!(ProtocolVersion::CURRENT.knows(&order) && !ProtocolVersion { major: 1, minor: 4 }.knows(&order));
}

#[test]
fn what_cannot_be_read_says_where() {
    let mut wire = agent::v1::Order::from(&standings());
    let Some(agent::v1::order::Order::Standings(told)) = &mut wire.order else { panic!("another order") };
    told.standings[0].strikes[1].opened = None;
    let error = Order::try_from(wire).unwrap_err().to_string();
    assert!(
        error.contains("standings[0]") && error.contains("strikes[1]") && error.contains("opened"),
        "{error}"
    );
}
