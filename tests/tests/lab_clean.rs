//! Nothing of anybody else's is ever touched, and nothing of ours is left.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

use std::time::Duration;

use reeve_tests::house::{House, READY};
use reeve_tests::lab::Lab;
use reeve_tests::wait::wait_until;

/// The ruleset without our tables.
fn others(ruleset: &str) -> String {
    let (mut kept, mut ours) = (String::new(), false);
    for line in ruleset.lines() {
        ours |= line.starts_with("table ") && line.contains(" reeve {");
        if !ours {
            kept.push_str(line);
            kept.push('\n');
        }
        ours &= line != "}";
    }
    kept
}

#[test]
fn the_ruleset_is_as_it_was_after_clear_and_others_never_change() {
    let lab = Lab::up().unwrap();
    let before = lab.rt.ruleset().unwrap();
    assert!(before.contains("table inet operator"), "there is something of others to leave alone");
    let mut house = House::open(lab).unwrap();
    let config = house.path("agent.toml").display().to_string();
    assert_eq!(others(&house.lab.rt.ruleset().unwrap()), before);
    house.reevectl(&["suspend", "alice", "--reason", "test"]).unwrap().success().unwrap();
    assert_eq!(others(&house.lab.rt.ruleset().unwrap()), before);

    let refused = house.reeve_agent(&["clear", "--config", &config]).unwrap();
    assert_eq!(refused.code(), Some(69), "a running agent is not cleared away: {}", refused.text());

    house.stop_agent().unwrap();
    assert!(house.lab.rt.ruleset().unwrap().contains("203.0.113.10"), "measures stand when the agent stops");
    house.reeve_agent(&["clear", "--config", &config]).unwrap().success().unwrap();
    assert_eq!(house.lab.rt.ruleset().unwrap(), before);
    house.reeve_agent(&["clear", "--config", &config]).unwrap().success().unwrap();
    assert_eq!(house.lab.rt.ruleset().unwrap(), before);
}

#[test]
fn a_flushed_ruleset_is_mended() {
    let house = House::open(Lab::up().unwrap()).unwrap();
    house.reevectl(&["suspend", "alice", "--reason", "test"]).unwrap().success().unwrap();
    house.lab.rt.nft("flush ruleset").unwrap();
    let mended = || Ok(house.lab.rt.ruleset()?.contains("203.0.113.10"));
    let took = wait_until("the table to be mended", Duration::from_secs(5), mended).unwrap();
    assert!(took < Duration::from_millis(2_500), "mended after {took:?}");
}

#[test]
fn an_order_against_the_nodes_own_addresses_is_refused_by_name() {
    let house = House::open(Lab::up().unwrap()).unwrap();
    for (to, told) in [
        (&["203.0.113.1"][..], "203.0.113.1 is protected"),
        (&["2001:db8:10::1"], "2001:db8:10::1 is protected"),
        (&["127.0.0.1"], "127.0.0.1 is protected"),
        (&["20.80.7.7", "203.0.113.1"], "203.0.113.1 is protected; nothing was done to the others"),
    ] {
        let mut order = vec!["block", "alice", "--reason", "test"];
        to.iter().for_each(|address| order.extend(["--to", address]));
        let refused = house.reevectl(&order).unwrap();
        assert_eq!(refused.code(), Some(1), "{}", refused.text());
        assert!(refused.text().contains(told), "{}", refused.text());
        assert!(!house.lab.rt.ruleset().unwrap().contains("20.80.7.7"));
    }
    house.reevectl(&["block", "alice", "--reason", "test", "--to", "20.80.7.7"]).unwrap().success().unwrap();
    assert!(house.lab.rt.ruleset().unwrap().contains("20.80.7.7"));
}

#[test]
fn an_observing_agent_touches_nothing() {
    let lab = Lab::up().unwrap();
    let before = lab.rt.ruleset().unwrap();
    let mut house = House::open(lab).unwrap();
    house.reevectl(&["suspend", "alice", "--reason", "test"]).unwrap().success().unwrap();
    house.stop_agent().unwrap();
    house.write_files("observe").unwrap();
    // What the enforcing run left is taken away when the node is only to observe.
    house.start_agent().unwrap();
    wait_until("the table to go", READY, || Ok(house.lab.rt.ruleset()? == before)).unwrap();
    let refused = house.reevectl(&["suspend", "bob", "--reason", "test"]).unwrap();
    assert_eq!(refused.code(), Some(1), "{}", refused.text());
    assert!(refused.text().contains("only observes"), "{}", refused.text());
    assert_eq!(house.lab.rt.ruleset().unwrap(), before);
}
