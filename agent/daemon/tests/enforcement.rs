//! Enforcement against the real kernel, each test in a network namespace of its own.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on is to fail, and a skipped one to say so"
)]

mod common;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::in_namespace;
use reeve_agent::enforce::{EnforceError, Enforcer, Ownership, netlink};
use reeve_core::ruleset::elements::{Spared, objects};
use reeve_core::ruleset::{
    Difference, Element, Elements, Extras, Family, Garden, Hold, Lasting, Pace, Rendering, Setting, text,
};
use reeve_policy::{
    Action, Decision, DecisionId, DesiredState, Measure, Mode, Origin, Protocol, Scope, Tenant, Timestamp,
    Until,
};

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
    for net in ["203.0.113.10/32", "203.0.113.64/26", "2001:db8:10::/48"] {
        elements.insert(Element::Cut(net.parse().unwrap()), hold(Lasting::Lease, "s"));
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
        // One by one as well.
        let (mut socket, elements) = (netlink::Socket::open().unwrap(), every_kind());
        let limits = objects(&elements);
        for family in Family::ALL {
            let seen = netlink::read::look_up(&mut socket, family, elements.keys()).unwrap();
            let missing = elements.keys().filter(|element| !seen.elements.contains_key(*element));
            assert_eq!(missing.collect::<Vec<_>>(), Vec::<&Element>::new());
            assert_eq!(netlink::read::missing_limits(&mut socket, family, limits.keys()).unwrap(), 0);
        }
        // Both printers again, this time with elements: what nft lists is what it would make of the text.
        let by_netlink = nft(&["-s", "list", "ruleset"]);
        Enforcer::open(Ownership::Plain).unwrap().install(Elements::new(), now()).unwrap();
        for family in Family::ALL {
            let seen = netlink::read::look_up(&mut socket, family, elements.keys()).unwrap();
            assert_eq!(seen.elements.len(), 0);
            assert_eq!(
                netlink::read::missing_limits(&mut socket, family, limits.keys()).unwrap(),
                limits.len()
            );
        }
        nft(&["flush", "ruleset"]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text::print_all(&every_kind(), now())).unwrap();
        nft(&["-f", file.path().to_str().unwrap()]);
        assert_eq!(nft(&["-s", "list", "ruleset"]), by_netlink);
    });
}

#[test]
fn connections_at_a_time_are_counted_where_that_is_configured_and_nowhere_else() {
    in_namespace(|| {
        let mut elements = every_kind();
        let hour = Lasting::Until(now() + Duration::from_secs(3_600));
        for (source, destination) in
            [("203.0.113.128/25", "20.0.0.1/32"), ("2001:db8:20::/48", "2001:db8:f000::/36")]
        {
            let (source, destination) = (source.parse().unwrap(), Some(destination.parse().unwrap()));
            let service = Some((Protocol::Tcp, 443));
            elements.insert(Element::Cap { most: 1, source }, hold(hour, "c"));
            elements.insert(Element::Cap { most: 4, source }, hold(hour, "c"));
            for (destination, service) in [(None, service), (destination, None), (destination, service)] {
                elements.insert(Element::Capped { source, destination, service }, hold(hour, "c"));
            }
        }
        let counting = Extras { conntrack: true, ..Extras::default() };
        let mut enforcer = Enforcer::open_with(Ownership::Plain, counting).unwrap();
        enforcer.install(elements.clone(), now()).unwrap();
        let observed = enforcer.observe().unwrap();
        assert!(observed[0].elements.keys().eq(elements.keys()), "{observed:#?}");
        // Both printers, and nft's own reading of the text.
        let by_netlink = nft(&["-s", "list", "ruleset"]);
        assert!(by_netlink.contains("ct count over 4"), "{by_netlink}");
        nft(&["flush", "ruleset"]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text::print_all_with(counting, &elements, now())).unwrap();
        nft(&["-f", file.path().to_str().unwrap()]);
        assert_eq!(nft(&["-s", "list", "ruleset"]), by_netlink);
        nft(&["flush", "ruleset"]);

        let mut plain = Enforcer::open(Ownership::Plain).unwrap();
        plain.install(every_kind(), now()).unwrap();
        assert!(holds(&mut plain, &every_kind()));
        assert!(!nft(&["-s", "list", "ruleset"]).contains("ct count"));
    });
}

#[test]
fn the_suspended_are_led_to_the_garden_where_there_is_one_and_nowhere_else() {
    in_namespace(|| {
        let garden = Garden {
            v4: Some("192.0.2.80:8080".parse().unwrap()),
            v6: Some("[2001:db8::80]:8081".parse().unwrap()),
        };
        let one = Garden { v4: None, ..garden };
        for garden in [garden, one] {
            let extras = Extras { conntrack: true, garden, ..Extras::default() };
            let mut enforcer = Enforcer::open_with(Ownership::Plain, extras).unwrap();
            enforcer.install(every_kind(), now()).unwrap();
            assert!(holds(&mut enforcer, &every_kind()));
            // Both printers, and nft's own reading of the text.
            let by_netlink = nft(&["-s", "list", "ruleset"]);
            assert!(by_netlink.contains("dnat ip6 to [2001:db8::80]:8081"), "{by_netlink}");
            assert_eq!(
                by_netlink.contains("dnat ip to 192.0.2.80:8080"),
                garden.v4.is_some(),
                "{by_netlink}"
            );
            nft(&["flush", "ruleset"]);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text::print_all_with(extras, &every_kind(), now())).unwrap();
            nft(&["-f", file.path().to_str().unwrap()]);
            assert_eq!(nft(&["-s", "list", "ruleset"]), by_netlink);
            nft(&["flush", "ruleset"]);
        }
        // It takes connection tracking, which is never loaded unasked.
        let extras = Extras { garden, ..Extras::default() };
        Enforcer::open_with(Ownership::Plain, extras).unwrap().install(every_kind(), now()).unwrap();
        assert!(!nft(&["-s", "list", "ruleset"]).contains("dnat"));
    });
}

#[test]
fn a_difference_is_applied_and_lifted() {
    in_namespace(|| {
        let mut enforcer = Enforcer::open(Ownership::Plain).unwrap();
        enforcer.install(Elements::new(), now()).unwrap();
        enforcer.apply(&every_kind(), now()).unwrap();
        let mut fewer = every_kind();
        fewer.retain(|element, _| !matches!(element, Element::Suspended(_)));
        enforcer.apply(&fewer, now()).unwrap();
        assert!(holds(&mut enforcer, &fewer));
        fewer.retain(|element, _| !matches!(element, Element::Limit { pace: Pace::Openings, .. }));
        enforcer.apply(&fewer, now()).unwrap();
        assert!(holds(&mut enforcer, &fewer));
        assert!(enforcer.observe().unwrap().iter().all(|table| table.limits.len() == 5), "limits go too");
        enforcer.apply(&Elements::new(), now()).unwrap();
        assert!(holds(&mut enforcer, &Elements::new()));
        assert!(enforcer.observe().unwrap().iter().all(|table| table.limits.is_empty()));
    });
}

#[test]
fn each_element_comes_and_goes_alone() {
    in_namespace(|| {
        let mut enforcer = Enforcer::open(Ownership::Plain).unwrap();
        enforcer.install(Elements::new(), now()).unwrap();
        let mut told = Elements::new();
        for (element, hold) in every_kind() {
            told.insert(element.clone(), hold.clone());
            let changed = [(element, hold)].into();
            enforcer.change(&Difference { changed, ..Difference::default() }, now()).unwrap();
            assert!(holds(&mut enforcer, &told));
        }
        assert!(told == every_kind());
        for element in every_kind().into_keys() {
            told.remove(&element);
            let gone = [element].into();
            enforcer.change(&Difference { gone, ..Difference::default() }, now()).unwrap();
            assert!(holds(&mut enforcer, &told));
        }
        assert!(enforcer.observe().unwrap().iter().all(|table| table.limits.is_empty()), "limits go too");
    });
}

#[test]
fn what_others_do_between_two_changes_of_ours_is_noticed() {
    in_namespace(|| {
        let mut enforcer = Enforcer::open(Ownership::Plain).unwrap();
        enforcer.install(every_kind(), now()).unwrap();
        let mut wanted = every_kind();
        let mut change = |enforcer: &mut Enforcer, net: &str| {
            wanted.insert(Element::Suspended(net.parse().unwrap()), hold(Lasting::Lease, "new"));
            enforcer.apply(&wanted, now()).unwrap();
        };
        change(&mut enforcer, "192.0.2.77/32");
        assert_eq!(enforcer.check(now()).unwrap(), None);
        nft(&["delete", "element", "inet", "reeve", "held4", "{ 203.0.113.128/25 }"]);
        nft(&["add", "element", "bridge", "reeve", "suspended4", "{ 198.51.100.1 timeout 1h }"]);
        change(&mut enforcer, "192.0.2.78/32");
        let began = std::time::Instant::now();
        let found = loop {
            if let Some(found) = enforcer.check(now()).unwrap() {
                break found;
            }
            assert!(began.elapsed() < Duration::from_secs(1));
            std::thread::yield_now();
        };
        assert_eq!((found.missing, found.surplus), (1, 1));
        assert!(holds(&mut enforcer, &wanted));
        // What the kernel cannot do as a difference, it can anew: this one is not there to be taken.
        nft(&["flush", "set", "inet", "reeve", "suspended4"]);
        nft(&["delete", "table", "bridge", "reeve"]);
        wanted.retain(|element, _| !matches!(element, Element::Suspended(_)));
        enforcer.apply(&wanted, now()).unwrap();
        assert!(holds(&mut enforcer, &wanted));
    });
}

/// A measure of one of a thousand tenants, of whatever kind its number makes it.
fn measure(number: usize, tenant: &Tenant) -> Measure {
    let target = |last: usize| std::net::IpAddr::from([20, 80, 7, (last % 3) as u8]);
    let (action, scope, rate) = match number % 7 {
        0 => (Action::Suspend, Scope::All, None),
        1 => (Action::Block, Scope::Port { protocol: Protocol::Tcp, port: 25 }, None),
        2 => (Action::Block, Scope::Destinations { addresses: vec![target(number)] }, None),
        3 => (Action::Limit, Scope::Port { protocol: Protocol::Tcp, port: 25 }, Some("10/minute")),
        4 => (Action::Limit, Scope::All, Some("1 mbytes/second")),
        5 => (Action::Limit, Scope::Destinations { addresses: vec![target(number)] }, Some("5/second")),
        _ => {
            let addresses = vec!["20.80.7.0/24".parse().unwrap(), "2001:db8:f000::/64".parse().unwrap()];
            let endpoint = Scope::Endpoint { name: "api".parse().unwrap(), addresses, ports: vec![443] };
            (Action::Limit, endpoint, Some("1 calls/second"))
        }
    };
    let decision = Decision {
        id: DecisionId(format!("m{number}").parse().unwrap()),
        tenant: tenant.id.clone(),
        violation: None,
        clause: String::new(),
        origin: Origin::Operator { name: "oncall".into() },
        action,
        scope,
        rate: rate.map(|rate| rate.parse().unwrap()),
        until: Until::Released,
        at: now(),
        mode: Mode::Enforce,
        reason: String::new(),
        connections: None,
        softened: None,
        reckoning: None,
    };
    Measure { decision, expires: None }
}

fn tenant(number: usize) -> Arc<Tenant> {
    let v4 = std::net::Ipv4Addr::from(0x0b00_0000 + u32::try_from(number).unwrap() * 2);
    let v6 = std::net::Ipv6Addr::from(0x2001_0db8_0000_0000_0000_0000_0000_0000 + ((number as u128) << 64));
    Arc::new(Tenant {
        addresses: vec![std::net::IpAddr::from(v4).into(), ipnet::Ipv6Net::new(v6, 64).unwrap().into()],
        interfaces: vec![format!("n1/tap{number}").parse().unwrap()],
        ..Tenant::new(format!("t{number}").parse().unwrap())
    })
}

/// The skeleton as nft lists it: without elements, and without the limits, which come with them.
fn skeleton() -> Vec<String> {
    let (all, mut is_limit) = (nft(&["--stateless", "--terse", "list", "ruleset"]), false);
    let mut lines: Vec<String> = Vec::new();
    for line in all.lines() {
        is_limit |= line.starts_with("\tlimit ");
        if !is_limit {
            lines.push(line.to_owned());
        }
        is_limit &= line != "\t}";
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[test]
fn the_skeleton_is_the_same_with_a_thousand_measures() {
    in_namespace(|| {
        let (node, tenants) = ("n1".parse().unwrap(), (0..1_000).map(tenant).collect::<Vec<_>>());
        let setting = Setting { node: &node, tenants: &tenants, spared: Spared::default(), here: None };
        let mut desired = DesiredState::default();
        let mut rendering = Rendering::default();
        let mut enforcer = Enforcer::open(Ownership::Plain).unwrap();
        enforcer.install(Elements::new(), now()).unwrap();
        let empty = skeleton();
        assert!(empty.len() > 100, "{empty:#?}");
        for (number, tenant) in tenants.iter().enumerate() {
            let measure = measure(number, tenant);
            desired.measures.insert(measure.decision.id.clone(), measure);
        }
        enforcer.change(&rendering.update(&desired, setting, now()), now()).unwrap();
        assert!(holds(&mut enforcer, rendering.elements()) && rendering.elements().len() > 4_000);
        assert_eq!(skeleton(), empty);
        // And so after each that goes alone.
        for number in 0..14 {
            desired.measures.remove(&DecisionId(format!("m{number}").parse().unwrap()));
            let difference = rendering.update(&desired, setting, now());
            assert!(!difference.gone.is_empty() && difference.changed.is_empty(), "{difference:?}");
            enforcer.change(&difference, now()).unwrap();
        }
        assert!(holds(&mut enforcer, rendering.elements()));
        assert_eq!(skeleton(), empty);
    });
}

#[test]
fn measures_of_the_same_tenants_come_and_go_and_the_kernel_holds_what_is_left() {
    in_namespace(|| {
        let (node, tenants) = ("n1".parse().unwrap(), (0..3).map(tenant).collect::<Vec<_>>());
        let setting = Setting { node: &node, tenants: &tenants, spared: Spared::default(), here: None };
        let (mut desired, mut rendering) = (DesiredState::default(), Rendering::default());
        let mut enforcer = Enforcer::open(Ownership::Plain).unwrap();
        enforcer.install(Elements::new(), now()).unwrap();
        // Marsaglia's xorshift32: the same every time.
        let mut random = 1_u32;
        for _ in 0..150 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let number = (random % 28) as usize;
            let id = DecisionId(format!("m{number}").parse().unwrap());
            if desired.measures.remove(&id).is_none() {
                // Four of each kind, over three tenants: some ask for the same elements.
                desired.measures.insert(id, measure(number, &tenants[number % 3]));
            }
            enforcer.change(&rendering.update(&desired, setting, now()), now()).unwrap();
            assert!(holds(&mut enforcer, rendering.elements()));
            assert_eq!(enforcer.check(now()).unwrap(), None);
            let limits = objects(rendering.elements());
            assert!(enforcer.observe().unwrap().iter().all(|table| table.limits.iter().eq(limits.keys())));
        }
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
        second.apply(&leases, later).unwrap();
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
        enforcer.apply(&elements, now()).unwrap();
        assert!(holds(&mut enforcer, &elements));
        enforcer.apply(&Elements::new(), now()).unwrap();
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
        second.apply(&fewer, now()).unwrap();
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
