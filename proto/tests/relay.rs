//! What mail servers say travels whole, and older peers are told in words that they know.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use reeve_policy::{
    CheckVerdict, DecisionId, LiftReason, MeasureCounters, Order, OrderFailure, OrderId, OrderResult,
    RelayAnswer, RelayChecked, Report, Timestamp,
};
use reeve_proto::agent;
use reeve_proto::session::ProtocolVersion;

const OLD: ProtocolVersion = ProtocolVersion { major: 1, minor: 3 };

fn answer(verdict: CheckVerdict) -> RelayAnswer {
    RelayAnswer { server: [203, 0, 113, 10].into(), verdict, is_outside: true }
}

#[test]
fn answers_and_orders_come_back_as_they_were() {
    for verdict in [
        CheckVerdict::Accepted,
        CheckVerdict::Refused,
        CheckVerdict::Deferred,
        CheckVerdict::Unclear,
        CheckVerdict::Unreachable,
    ] {
        let report = Report::RelayChecked(RelayChecked {
            tenant: "alice".parse().unwrap(),
            answer: answer(verdict),
            by: "oncall".into(),
            at: Timestamp::from_secs(1),
        });
        assert_eq!(Report::try_from(agent::v1::Report::from(&report)).unwrap(), report);
        assert!(ProtocolVersion::CURRENT.knows_report(&report) && !OLD.knows_report(&report));
    }
    for answer in [None, Some(answer(CheckVerdict::Refused))] {
        let (id, tenant) = (OrderId("O1".parse().unwrap()), "alice".parse().unwrap());
        let order = Order::Verify { id, tenant, by: "oncall".into(), answer };
        assert_eq!(Order::try_from(agent::v1::Order::from(&order)).unwrap(), order);
        assert!(ProtocolVersion::CURRENT.knows(&order) && !OLD.knows(&order));
    }
    for failure in [
        OrderFailure::NotAsked { detail: "it was asked a moment ago".into() },
        OrderFailure::ObserveOnly,
        OrderFailure::TenantObserved,
        OrderFailure::Protected,
        OrderFailure::ProtectedDestinations { detail: "203.0.113.1 is protected".into() },
    ] {
        let id = OrderId("O1".parse().unwrap());
        let result = OrderResult { id, at: Timestamp::from_secs(1), result: Err(failure) };
        assert_eq!(OrderResult::try_from(agent::v1::OrderResult::from(&result)).unwrap(), result);
    }
}

#[test]
fn an_older_controller_hears_of_a_release() {
    let lifted = |reason| Report::Lifted {
        decision: DecisionId("V.1".parse().unwrap()),
        tenant: "alice".parse().unwrap(),
        reason,
        at: Timestamp::from_secs(1),
        counters: MeasureCounters::default(),
    };
    let verified = lifted(LiftReason::Verified);
    assert_eq!(Report::try_from(agent::v1::Report::from(&verified)).unwrap(), verified);
    assert_eq!(ProtocolVersion::CURRENT.worded(verified.clone()), verified);
    assert_eq!(OLD.worded(verified), lifted(LiftReason::Released));
    assert_eq!(OLD.worded(lifted(LiftReason::Expired)), lifted(LiftReason::Expired));
}
