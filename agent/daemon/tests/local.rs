//! The node's own processes in the real kernel: both printers, and what is read back.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on is to fail, and a skipped one to say so"
)]

mod common;

use std::process::Command;
use std::time::Duration;

use common::in_namespace;
use reeve_agent::enforce::{Enforcer, Ownership};
use reeve_core::ruleset::local::Owned;
use reeve_core::ruleset::{Element, Elements, Hold, Lasting, Local, Pace, text};
use reeve_policy::{DecisionId, Protocol, Timestamp};

const LOCAL: Local = Local { group: 30, snap_len: 128, read_len: 2_048, has_mailer: true };

fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().expect("nft is installed");
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The table, part by part in an order of its own: that of members without ranges is the kernel's, another one each time.
fn listed() -> Vec<String> {
    let text = nft(&["-s", "list", "table", "inet", "reeve"]);
    let mut parts: Vec<String> =
        text.split([',', '{', '}', '\n']).map(|part| part.trim().to_owned()).collect();
    parts.sort();
    parts
}

fn load(text: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    nft(&["-f", file.path().to_str().unwrap()]);
}

fn now() -> Timestamp {
    Timestamp::from_secs(1_700_000_000)
}

/// One of every kind but groups, which nft knows by a path that must be there.
fn every_kind() -> Elements {
    let hold = |id: &str| Hold {
        decisions: vec![DecisionId(id.parse().unwrap())],
        ..Hold::new(Lasting::Until(now() + Duration::from_secs(3_600)))
    };
    let limit = |id: &str, rate: &str| Hold { rate: Some(rate.parse().unwrap()), ..hold(id) };
    let mut all = Elements::new();
    let always = || Hold::new(Lasting::Always);
    all.insert(Element::User { uid: 1_001, owner: 0x8102_0304 }, always());
    all.insert(Element::User { uid: 104, owner: 1 }, always());
    all.insert(Element::ReadPort(25), always());
    for owner in [0x8102_0304, 7] {
        let mut insert = |what, hold| {
            all.insert(Element::Owned { owner, what }, hold);
        };
        for what in [Owned::Suspended, Owned::Held, Owned::Limited, Owned::Weighed] {
            insert(what, hold("s"));
        }
        insert(
            Owned::Limit { pace: Pace::Openings, destination: None, service: None },
            limit("all.1", "10/minute"),
        );
        let services = [None, Some((Protocol::Tcp, 25)), Some((Protocol::Udp, 65_535))];
        for destination in ["20.0.0.1/32", "20.80.0.0/12", "2001:db8:f000::/36"] {
            let net = destination.parse().unwrap();
            let destination = Some(net);
            insert(Owned::Lifeline(net), hold("s"));
            for service in services {
                insert(Owned::Blocked { destination, service }, hold("b"));
                insert(
                    Owned::Limit { pace: Pace::Traffic, destination, service },
                    limit("to.1", "3 kbytes/second"),
                );
            }
            let service = Some((Protocol::Tcp, 443));
            insert(
                Owned::Limit { pace: Pace::Calls, destination, service },
                limit("calls.1", "1 calls/second"),
            );
        }
        for service in services.into_iter().flatten() {
            insert(Owned::Blocked { destination: None, service: Some(service) }, hold("p"));
        }
    }
    all
}

#[test]
fn both_printers_say_the_same_of_the_nodes_own_processes() {
    in_namespace(|| {
        for local in [LOCAL, Local { group: 7, has_mailer: false, ..LOCAL }] {
            let mut enforcer = Enforcer::open_with(Ownership::Plain, Some(local)).unwrap();
            enforcer.install(Elements::new(), now()).unwrap();
            let by_netlink = nft(&["-s", "list", "ruleset"]);
            assert_eq!(by_netlink, text::print_all_with(Some(local), &Elements::new(), now()));
            nft(&["flush", "ruleset"]);
            load(&by_netlink);
            assert_eq!(nft(&["-s", "list", "ruleset"]), by_netlink);
            nft(&["flush", "ruleset"]);
        }
    });
}

#[test]
fn every_kind_of_element_of_theirs_is_read_back_as_it_was_told() {
    in_namespace(|| {
        let mut enforcer = Enforcer::open_with(Ownership::Plain, Some(LOCAL)).unwrap();
        enforcer.install(Elements::new(), now()).unwrap();
        enforcer.apply(&every_kind(), now()).unwrap();
        let observed = enforcer.observe().unwrap();
        assert_eq!(observed[0].foreign, 0);
        assert!(observed[0].elements.keys().eq(every_kind().keys()), "{:#?}", observed[0]);
        assert!(observed[1].elements.is_empty(), "a bridge knows no processes");
        assert_eq!(enforcer.check(now()).unwrap(), None);
        let by_netlink = listed();
        nft(&["flush", "ruleset"]);
        load(&text::print_all_with(Some(LOCAL), &every_kind(), now()));
        assert_eq!(listed(), by_netlink);
        // What others take away is mended.
        nft(&["flush", "chain", "inet", "reeve", "owned"]);
        enforcer.install(every_kind(), now()).unwrap();
        nft(&["delete", "element", "inet", "reeve", "owner_user", "{ 1001 }"]);
        let began = std::time::Instant::now();
        while enforcer.check(now()).unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(1));
        }
        assert_eq!(listed(), by_netlink);
        enforcer.apply(&Elements::new(), now()).unwrap();
        assert!(enforcer.observe().unwrap().iter().all(|table| table.elements.is_empty()));
    });
}

#[test]
fn groups_are_held_by_their_ids() {
    in_namespace(|| {
        let mut enforcer = Enforcer::open_with(Ownership::Plain, Some(LOCAL)).unwrap();
        let group = |id, owner| (Element::Group { depth: 2, id, owner }, Hold::new(Lasting::Always));
        let first = Elements::from([group(77, 5), group(u64::MAX - 1, 6)]);
        enforcer.install(first.clone(), now()).unwrap();
        assert!(enforcer.observe().unwrap()[0].elements.keys().eq(first.keys()));
        let other = Elements::from([group(78, 5), group(u64::MAX - 1, 7)]);
        enforcer.apply(&other, now()).unwrap();
        assert!(enforcer.observe().unwrap()[0].elements.keys().eq(other.keys()));
    });
}
