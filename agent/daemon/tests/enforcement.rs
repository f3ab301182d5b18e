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
use reeve_agent::enforce::{EnforceError, Enforcer, Ownership};
use reeve_core::ruleset::{Element, Elements, Hold, Lasting, Pace, text};
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
    Hold { decisions: vec![DecisionId(id.parse().unwrap())], ..Hold::new(lasting) }
}

/// One of every kind, hosts and prefixes, both versions, and those at the ends of the address space.
fn every_kind() -> Elements {
    let hour = Lasting::Until(now() + Duration::from_secs(3_600));
    let mut elements = Elements::new();
    for net in ["192.0.2.1/32", "192.0.2.2/32", "2001:db8::/32", "255.255.255.255/32"] {
        elements.insert(Element::Protected(net.parse().unwrap()), Hold::new(Lasting::Always));
        elements.insert(Element::Own(net.parse().unwrap()), Hold::new(Lasting::Always));
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
    elements.insert(Element::HeldPort("tap1".into()), hold(hour, "h"));
    let limit = |rate: &str, id| Hold { rate: Some(rate.parse().unwrap()), ..hold(hour, id) };
    for port in ["tap1", "tap-14-bytes-x"] {
        elements.insert(Element::VettedPort(port.into()), hold(hour, "f"));
        for source in ["203.0.113.10/32", "203.0.113.64/26", "2001:db8:10::/48", "fe80::/10"] {
            let vouched = Element::Vouched { port: port.into(), source: source.parse().unwrap() };
            elements.insert(vouched, hold(hour, "f"));
        }
    }
    elements.insert(Element::ForgedPort("tap1".into()), hold(hour, "f"));
    elements.insert(Element::ForgedLimit("tap-14-bytes-x".into()), limit("10 packets/second", "forged.1"));
    elements.insert(Element::ForgedLimited("tap-14-bytes-x".into()), hold(hour, "l"));
    for (source, destination) in
        [("203.0.113.128/25", "20.0.0.1/32"), ("2001:db8:20::/48", "2001:db8:f000::/36")]
    {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        elements.insert(Element::Held(source), hold(hour, "h"));
        elements.insert(Element::Limited(source), hold(hour, "l"));
        elements.insert(Element::Lifeline { source, destination }, hold(Lasting::Lease, "s"));
        for (pace, rate, id) in [
            (Pace::Traffic, "3 mbytes/second", "bytes.1"),
            (Pace::Traffic, "500 packets/second burst 7", "packets.1"),
            (Pace::Openings, "10/minute", "new.1"),
        ] {
            let port = if id == "bytes.1" { 53 } else { 25 };
            for (destination, service) in
                [(None, Some((Protocol::Tcp, port))), (Some(destination), Some((Protocol::Udp, port)))]
            {
                elements.insert(Element::Limit { pace, source, destination, service }, limit(rate, id));
            }
        }
        let calls = Element::Limit {
            pace: Pace::Calls,
            source,
            destination: Some(destination),
            service: Some((Protocol::Tcp, 443)),
        };
        elements.insert(calls, limit("1/second burst 1", "calls.1"));
        let all = Element::Limit { pace: Pace::Openings, source, destination: None, service: None };
        elements.insert(all, limit("1/day", "all.1"));
        let to =
            Element::Limit { pace: Pace::Traffic, source, destination: Some(destination), service: None };
        elements.insert(to, limit("1 kbytes/hour", "to.1"));
        elements.insert(Element::BlockedDestination { source, destination }, hold(hour, "b"));
        for (protocol, port) in [(Protocol::Tcp, 25), (Protocol::Udp, 65_535)] {
            elements.insert(Element::BlockedPort { source, protocol, port }, hold(hour, "p"));
            elements.insert(Element::BlockedService { source, destination, protocol, port }, hold(hour, "d"));
        }
    }
    elements
}

/// Takes the tables over from an owner that is gone. Its socket may be open for a moment longer in a child that another test has just
/// forked.
fn take_over(enforcer: &mut Enforcer) {
    for _ in 0..100 {
        match enforcer.install(every_kind(), now()) {
            Err(EnforceError::Owned { .. }) => std::thread::sleep(Duration::from_millis(10)),
            result => return result.unwrap(),
        }
    }
    panic!("the owner is gone, and its tables cannot be taken over");
}

/// Whether both tables hold these elements and no others.
fn holds(enforcer: &mut Enforcer, elements: &Elements) -> bool {
    enforcer.observe().unwrap().iter().all(|table| table.elements.keys().eq(elements.keys()))
}

#[test]
fn both_printers_say_the_same() {
    in_namespace(|| {
        Enforcer::open(Ownership::Plain).unwrap().install(Elements::new(), now()).unwrap();
        let by_netlink = nft(&["-s", "list", "ruleset"]);
        assert_eq!(by_netlink, text::print_all(&Elements::new(), now()));
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
        let mut enforcer = Enforcer::open(Ownership::Plain).unwrap();
        enforcer.install(every_kind(), now()).unwrap();
        for observed in enforcer.observe().unwrap() {
            assert_eq!(observed.foreign, 0);
            assert!(observed.elements.keys().eq(every_kind().keys()), "{observed:#?}");
            assert_eq!(observed.limits.len(), 7);
        }
        // Both printers again, this time with elements: what nft lists is what it would make of the text.
        let by_netlink = nft(&["-s", "list", "ruleset"]);
        nft(&["flush", "ruleset"]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text::print_all(&every_kind(), now())).unwrap();
        nft(&["-f", file.path().to_str().unwrap()]);
        assert_eq!(nft(&["-s", "list", "ruleset"]), by_netlink);
    });
}

#[test]
fn a_difference_is_applied_and_lifted() {
    in_namespace(|| {
        let mut enforcer = Enforcer::open(Ownership::Plain).unwrap();
        enforcer.install(Elements::new(), now()).unwrap();
        enforcer.apply(every_kind(), now()).unwrap();
        let mut fewer = every_kind();
        fewer.retain(|element, _| !matches!(element, Element::Suspended(_)));
        enforcer.apply(fewer.clone(), now()).unwrap();
        assert!(holds(&mut enforcer, &fewer));
        fewer.retain(|element, _| !matches!(element, Element::Limit { pace: Pace::Openings, .. }));
        enforcer.apply(fewer.clone(), now()).unwrap();
        assert!(holds(&mut enforcer, &fewer));
        assert!(enforcer.observe().unwrap().iter().all(|table| table.limits.len() == 5), "limits go too");
        enforcer.apply(Elements::new(), now()).unwrap();
        assert!(holds(&mut enforcer, &Elements::new()));
        assert!(enforcer.observe().unwrap().iter().all(|table| table.limits.is_empty()));
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
        let mut enforcer = Enforcer::open(Ownership::Plain).unwrap();
        enforcer.install(every_kind(), now()).unwrap();
        let ours = || {
            let table = |family| nft(&["-s", "list", "table", family, "reeve"]);
            [table("inet"), table("bridge")]
        };
        let whole = ours();
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
            "flush map bridge reeve limit_port6",
            "delete table bridge reeve",
        ] {
            nft(&tampering.split(' ').collect::<Vec<_>>());
            let began = std::time::Instant::now();
            // Looking is put off for a moment after the last look.
            while enforcer.check(now()).unwrap().is_none() {
                assert!(began.elapsed() < Duration::from_secs(1), "{tampering}");
                std::thread::yield_now();
            }
            assert_eq!(ours(), whole, "{tampering}");
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
        Enforcer::open(Ownership::Plain).unwrap().install(every_kind(), now()).unwrap();
        let mut second = Enforcer::open(Ownership::Plain).unwrap();
        second.install(every_kind(), now()).unwrap();
        assert!(holds(&mut second, &every_kind()));
        let later = now() + Duration::from_secs(3_601);
        let mut leases = every_kind();
        leases.retain(|_, hold| !matches!(hold.lasting, Lasting::Until(_)));
        second.apply(leases.clone(), later).unwrap();
        second.renew(later).unwrap();
        assert!(holds(&mut second, &leases));
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
        let mut enforcer = Enforcer::open(Ownership::Plain).unwrap();
        enforcer.install(Elements::new(), now()).unwrap();
        enforcer.apply(elements.clone(), now()).unwrap();
        assert!(holds(&mut enforcer, &elements));
        enforcer.apply(Elements::new(), now()).unwrap();
        assert!(holds(&mut enforcer, &Elements::new()));
    });
}

#[test]
fn an_owned_table_is_nobody_elses_outlives_its_owner_and_is_taken_over() {
    in_namespace(|| {
        let mut first = Enforcer::open(Ownership::Auto).unwrap();
        first.install(every_kind(), now()).unwrap();
        if !first.is_owner() {
            eprintln!("SKIPPED: this kernel knows no tables with owners that persist");
            assert!(Enforcer::open(Ownership::Owner).unwrap().install(every_kind(), now()).is_err());
            return;
        }
        // nft tells whether there is an owner, and knows no other flag of a table.
        let list = || {
            let all = nft(&["-s", "list", "ruleset"]);
            let lines = all.lines().filter(|line| !line.starts_with("	flags ") || line.starts_with("		"));
            lines.map(|line| line.split(" # progname").next().unwrap_or(line)).collect::<Vec<_>>().join(
                "
",
            )
        };
        let whole = list();
        for tampering in
            ["delete table inet reeve", "flush chain bridge reeve forward", "flush set inet reeve held4"]
        {
            let refused = Command::new("nft").args(tampering.split(' ')).output().unwrap();
            assert!(!refused.status.success(), "{tampering}");
        }
        nft(&["flush", "ruleset"]);
        assert!(list() == whole, "a flush has no effect");
        assert_eq!(first.check(now()).unwrap(), None);
        let mut second = Enforcer::open(Ownership::Auto).unwrap();
        assert!(matches!(second.install(every_kind(), now()), Err(EnforceError::Owned { .. })));
        assert!(matches!(second.clear(), Err(EnforceError::Owned { .. })));
        drop(first);
        assert!(list() == whole, "it outlives its owner");
        take_over(&mut second);
        assert!(second.is_owner() && holds(&mut second, &every_kind()));
        let mut fewer = every_kind();
        fewer.retain(|element, _| matches!(element, Element::Protected(_) | Element::Own(_)));
        second.apply(fewer.clone(), now()).unwrap();
        assert!(holds(&mut second, &fewer));
        drop(second);
        // From one kind to the other and back.
        let mut plain = Enforcer::open(Ownership::Plain).unwrap();
        take_over(&mut plain);
        assert!(!plain.is_owner());
        let mut owner = Enforcer::open(Ownership::Auto).unwrap();
        take_over(&mut owner);
        owner.clear().unwrap();
        assert_eq!(nft(&["-s", "list", "ruleset"]), "");
    });
}
