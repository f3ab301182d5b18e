//! Enforcement against the real kernel, each test in a network namespace of its own.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on is to fail, and a skipped one to say so"
)]

mod common;

use std::process::Command;
use std::time::Duration;

use common::in_namespace;
use reeve_agent::enforce::Enforcer;
use reeve_core::ruleset::{Element, Elements, Hold, Lasting, Ruleset, text};
use reeve_policy::{DecisionId, Protocol, Timestamp};

/// Runs nft in the thread's namespace and returns what it wrote.
fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().expect("nft is installed");
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_secs(1_700_000_000)
}

fn hold(lasting: Lasting, id: &str) -> Hold {
    Hold { lasting, decisions: vec![DecisionId(id.parse().unwrap())] }
}

/// One of every kind, hosts and prefixes, both versions, and those at the ends of the address space.
fn every_kind() -> Elements {
    let hour = Lasting::Until(now() + Duration::from_secs(3_600));
    let mut elements = Elements::new();
    for net in ["192.0.2.1/32", "192.0.2.2/32", "2001:db8::/32", "255.255.255.255/32"] {
        elements.insert(
            Element::Protected(net.parse().unwrap()),
            Hold { lasting: Lasting::Always, decisions: Vec::new() },
        );
    }
    for net in [
        "203.0.113.10/32",
        "203.0.113.11/32",
        "203.0.113.64/26",
        "0.0.0.0/8",
        "2001:db8:10::/48",
        "ffff::/16",
    ] {
        elements.insert(Element::Suspended(net.parse().unwrap()), hold(Lasting::Lease, "s"));
    }
    elements.insert(Element::SuspendedPort("tap-14-bytes-x".into()), hold(hour, "s"));
    for (source, destination) in [("203.0.113.128/25", "20.0.0.1"), ("2001:db8:20::/48", "2001:db8:f000::1")]
    {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        elements.insert(Element::BlockedDestination { source, destination }, hold(hour, "b"));
        for (protocol, port) in [(Protocol::Tcp, 25), (Protocol::Udp, 65_535)] {
            elements.insert(Element::BlockedPort { source, protocol, port }, hold(hour, "p"));
            elements.insert(Element::BlockedService { source, destination, protocol, port }, hold(hour, "d"));
        }
    }
    elements
}

#[test]
fn both_printers_say_the_same() {
    in_namespace(|| {
        Enforcer::open().unwrap().install(Elements::new(), now()).unwrap();
        let by_netlink = nft(&["-s", "list", "ruleset"]);
        assert_eq!(by_netlink, text::print(&Ruleset::new(), &Elements::new(), now()));
        nft(&["flush", "ruleset"]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &by_netlink).unwrap();
        nft(&["-f", file.path().to_str().unwrap()]);
        assert_eq!(nft(&["-s", "list", "ruleset"]), by_netlink);
    });
}

#[test]
fn every_kind_of_element_is_read_back_as_it_was_told() {
    in_namespace(|| {
        let mut enforcer = Enforcer::open().unwrap();
        enforcer.install(every_kind(), now()).unwrap();
        let observed = enforcer.observe().unwrap();
        assert_eq!(observed.foreign, 0);
        assert!(observed.elements.keys().eq(every_kind().keys()), "{observed:#?}");
        // Both printers again, this time with elements: what nft lists is what it would make of the text.
        let by_netlink = nft(&["-s", "list", "ruleset"]);
        nft(&["flush", "ruleset"]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text::print(&Ruleset::new(), &every_kind(), now())).unwrap();
        nft(&["-f", file.path().to_str().unwrap()]);
        assert_eq!(nft(&["-s", "list", "ruleset"]), by_netlink);
    });
}

#[test]
fn a_difference_is_applied_and_lifted() {
    in_namespace(|| {
        let mut enforcer = Enforcer::open().unwrap();
        enforcer.install(Elements::new(), now()).unwrap();
        enforcer.apply(every_kind(), now()).unwrap();
        let mut fewer = every_kind();
        fewer.retain(|element, _| !matches!(element, Element::Suspended(_)));
        enforcer.apply(fewer.clone(), now()).unwrap();
        assert!(enforcer.observe().unwrap().elements.keys().eq(fewer.keys()));
        enforcer.apply(Elements::new(), now()).unwrap();
        assert!(enforcer.observe().unwrap().elements.is_empty());
    });
}

#[test]
fn whatever_others_do_to_our_table_is_mended_and_theirs_is_left_alone() {
    in_namespace(|| {
        nft(&["add", "table", "inet", "theirs"]);
        nft(&[
            "add",
            "chain",
            "inet",
            "theirs",
            "input",
            "{ type filter hook input priority 0 ; policy accept ; }",
        ]);
        nft(&["add", "rule", "inet", "theirs", "input", "counter accept comment \"reeve\""]);
        let before = nft(&["-s", "list", "ruleset"]);
        let mut enforcer = Enforcer::open().unwrap();
        enforcer.install(every_kind(), now()).unwrap();
        let whole = nft(&["-s", "list", "table", "inet", "reeve"]);
        assert_eq!(enforcer.check(now()).unwrap(), None);
        nft(&["add", "table", "inet", "another"]);
        nft(&["delete", "table", "inet", "another"]);
        assert_eq!(enforcer.check(now()).unwrap(), None, "others' tables are their own");
        for tampering in [
            "flush set inet reeve suspended4",
            "add element inet reeve suspended4 { 198.51.100.1 timeout 1h }",
            "delete element inet reeve protected4 { 192.0.2.1 }",
            "flush chain inet reeve forward",
            "insert rule inet reeve forward accept",
            "delete table inet reeve",
        ] {
            nft(&tampering.split(' ').collect::<Vec<_>>());
            assert!(enforcer.check(now()).unwrap().is_some(), "{tampering}");
            assert_eq!(nft(&["-s", "list", "table", "inet", "reeve"]), whole, "{tampering}");
            assert_eq!(enforcer.check(now()).unwrap(), None, "{tampering}");
        }
        enforcer.clear().unwrap();
        assert_eq!(nft(&["-s", "list", "ruleset"]), before);
        enforcer.clear().unwrap();
        assert_eq!(nft(&["-s", "list", "ruleset"]), before);
    });
}

#[test]
fn a_restarted_agent_takes_the_table_over_and_leases_are_renewed() {
    in_namespace(|| {
        Enforcer::open().unwrap().install(every_kind(), now()).unwrap();
        let mut second = Enforcer::open().unwrap();
        second.install(every_kind(), now()).unwrap();
        assert!(second.observe().unwrap().elements.keys().eq(every_kind().keys()));
        let later = now() + Duration::from_secs(3_601);
        let mut leases = every_kind();
        leases.retain(|_, hold| !matches!(hold.lasting, Lasting::Until(_)));
        second.apply(leases.clone(), later).unwrap();
        second.renew(later).unwrap();
        assert!(second.observe().unwrap().elements.keys().eq(leases.keys()));
    });
}

#[test]
fn ten_thousand_elements_stand_in_one_transaction() {
    in_namespace(|| {
        let mut elements = Elements::new();
        for number in 0..10_000_u32 {
            let host = std::net::Ipv4Addr::from(0x0b00_0000 + number);
            elements
                .insert(Element::Suspended(std::net::IpAddr::from(host).into()), hold(Lasting::Lease, "s"));
        }
        let mut enforcer = Enforcer::open().unwrap();
        enforcer.install(Elements::new(), now()).unwrap();
        enforcer.apply(elements.clone(), now()).unwrap();
        assert_eq!(enforcer.observe().unwrap().elements.len(), 10_000);
        enforcer.apply(Elements::new(), now()).unwrap();
        assert!(enforcer.observe().unwrap().elements.is_empty());
    });
}
